#include "weir/core/passes/simplify.h"

#include "weir/core/error.h"
#include "weir/core/op_def.h"
#include "weir/core/passes/rewrite.h"

namespace weir {

Program Simplify(const Program& program) {
  const Graph& from = *program.graph;
  return Rewrite(program, [&](Graph& graph, NodeId id, std::span<const Ref> inputs) -> std::optional<Ref> {
    const Node& node = from.node(id);
    if (node.op->simplify == nullptr) return std::nullopt;
    const std::optional<Ref> kept = node.op->simplify(from, id);
    if (!kept) return std::nullopt;
    // The rule speaks of the old graph; all it may name is one of the node's own inputs.
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (node.inputs[i] == *kept) {
        WEIR_CHECK(graph.type(inputs[i]) == node.outputs[0], "simplify of ", node.op->name, " changed the type");
        return inputs[i];
      }
    }
    WEIR_CHECK(false, "simplify of ", node.op->name, " returned a value that is not its input");
    return std::nullopt;
  });
}

}  // namespace weir
