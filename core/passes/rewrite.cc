#include "weir/core/passes/rewrite.h"

namespace weir {

std::vector<bool> Reachable(const Program& program) {
  const Graph& graph = *program.graph;
  std::vector<bool> needed(static_cast<size_t>(graph.size()), false);
  for (Ref root : program.roots) needed[static_cast<size_t>(root.node)] = true;
  for (Ref input : program.inputs) needed[static_cast<size_t>(input.node)] = true;
  for (NodeId id = graph.size() - 1; id >= 0; --id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    for (Ref ref : graph.node(id).inputs) needed[static_cast<size_t>(ref.node)] = true;
  }
  return needed;
}

Program Rewrite(const Program& program, const ReplaceFn& replace, const CopiedFn& copied) {
  const Graph& from = *program.graph;
  const std::vector<bool> needed = Reachable(program);
  std::shared_ptr<Graph> to = Graph::Create();
  // New node of each old one; replaced nodes have one output.
  std::vector<Ref> first_output(static_cast<size_t>(from.size()));
  const auto map = [&](Ref ref) {
    const Ref base = first_output[static_cast<size_t>(ref.node)];
    return Ref{base.node, base.output + ref.output};
  };
  std::vector<Ref> inputs;
  for (NodeId id = 0; id < from.size(); ++id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    inputs.clear();
    for (Ref ref : from.node(id).inputs) inputs.push_back(map(ref));
    if (const std::optional<Ref> replaced = replace ? replace(*to, id, inputs) : std::nullopt) {
      first_output[static_cast<size_t>(id)] = *replaced;
      continue;
    }
    const NodeId copy = to->AppendCopy(from, id, inputs);
    first_output[static_cast<size_t>(id)] = {copy, 0};
    if (copied) copied(copy);
  }
  Program result{.graph = to, .inputs = {}, .roots = {}};
  for (Ref ref : program.inputs) result.inputs.push_back(map(ref));
  for (Ref ref : program.roots) result.roots.push_back(map(ref));
  return result;
}

}  // namespace weir
