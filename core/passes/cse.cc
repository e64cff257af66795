#include "weir/core/passes/cse.h"

#include "absl/container/flat_hash_map.h"
#include "weir/core/fingerprint.h"
#include "weir/core/op_def.h"
#include "weir/core/passes/rewrite.h"

namespace weir {

Program EliminateCommonSubexpressions(const Program& program) {
  const Graph& from = *program.graph;
  absl::flat_hash_map<uint64_t, std::vector<NodeId>> seen;  // by hash, nodes of the new graph
  const Graph* to = nullptr;
  const auto may_merge = [](const Node& node) {
    return node.op->kind != OpKind::kLeaf && node.op->kind != OpKind::kAssign;
  };
  return Rewrite(
      program,
      [&](Graph& graph, NodeId id, std::span<const Ref> inputs) -> std::optional<Ref> {
        to = &graph;
        const Node& node = from.node(id);
        if (!may_merge(node)) return std::nullopt;
        const auto found = seen.find(HashNode(*node.op, node.attrs, inputs));
        if (found == seen.end()) return std::nullopt;
        for (NodeId candidate : found->second) {
          const Node& other = graph.node(candidate);
          if (other.op == node.op && other.attrs == node.attrs &&
              std::equal(other.inputs.begin(), other.inputs.end(), inputs.begin(), inputs.end())) {
            return Ref{candidate, 0};
          }
        }
        return std::nullopt;
      },
      [&](NodeId id) {
        const Node& node = to->node(id);
        if (may_merge(node)) seen[HashNode(*node.op, node.attrs, {node.inputs.data(), node.inputs.size()})].push_back(id);
      });
}

}  // namespace weir
