#include "weir/core/verify.h"

#include "absl/container/flat_hash_set.h"
#include "weir/core/error.h"
#include "weir/core/op_def.h"
#include "weir/core/passes/rewrite.h"

namespace weir {
namespace {

absl::Status VerifyNode(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  std::vector<TensorType> types;
  for (Ref ref : node.inputs) {
    if (ref.node < 0 || ref.node >= id) {
      return absl::InternalError(StrCat("verify: ", graph.Path(id), " reads ", ref, ", which is not before it"));
    }
    if (ref.output < 0 || static_cast<size_t>(ref.output) >= graph.node(ref.node).outputs.size()) {
      return absl::InternalError(StrCat("verify: ", graph.Path(id), " reads ", ref, ", an output that does not exist"));
    }
    types.push_back(graph.type(ref));
  }
  std::vector<TensorType> inferred;
  try {
    inferred = node.op->infer({*node.op, node.attrs, types});
  } catch (const Error& error) {
    return absl::InternalError(StrCat("verify: ", graph.Path(id), ": ", error.message()));
  }
  if (inferred.size() != node.outputs.size() || !std::equal(inferred.begin(), inferred.end(), node.outputs.begin())) {
    return absl::InternalError(StrCat("verify: ", graph.Path(id), " has type ", StrJoin(node.outputs, ", "),
                                      ", its op infers ", StrJoin(inferred, ", ")));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyProgram(const Program& program) {
  const Graph& graph = *program.graph;
  const auto exists = [&](Ref ref) {
    return ref.node >= 0 && ref.node < graph.size() && ref.output >= 0 &&
           static_cast<size_t>(ref.output) < graph.node(ref.node).outputs.size();
  };
  for (Ref root : program.roots) {
    if (!exists(root)) return absl::InternalError(StrCat("verify: root ", root, " does not exist"));
  }
  absl::flat_hash_set<Ref> bound;
  for (Ref input : program.inputs) {
    if (!exists(input) || graph.node(input.node).op->kind != OpKind::kLeaf) {
      return absl::InternalError(StrCat("verify: bound input ", input, " is not a leaf"));
    }
    if (!bound.insert(input).second) return absl::InternalError(StrCat("verify: leaf ", input, " is bound twice"));
  }
  const std::vector<bool> needed = Reachable(program);
  absl::flat_hash_set<Ref> assigned;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    WEIR_RETURN_IF_ERROR(VerifyNode(graph, id));
    const Node& node = graph.node(id);
    if (node.op->kind == OpKind::kLeaf && !bound.contains({id, 0})) {
      return absl::InternalError(StrCat("verify: leaf ", graph.Path(id), " is not bound"));
    }
    if (node.op->kind == OpKind::kAssign) {
      const Ref variable = node.inputs[0];
      if (graph.node(variable.node).op->kind != OpKind::kLeaf) {
        return absl::InternalError(StrCat("verify: ", graph.Path(id), " assigns to ", variable, ", which is not a leaf"));
      }
      if (!assigned.insert(variable).second) {
        return absl::InternalError(StrCat("verify: variable ", graph.Path(variable.node), " is assigned twice"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace weir
