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
    const NodeId before = graph.size();
    const std::optional<Ref> kept = node.op->simplify({graph, node, inputs});
    WEIR_CHECK(!kept || graph.type(*kept) == node.outputs[0], "simplify of ", node.op->name, " changed the type");
    for (NodeId added = before; added < graph.size(); ++added) graph.CopyOrigin(from, id, added);
    return kept;
  });
}

}  // namespace weir
