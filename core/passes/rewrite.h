// Rebuilding a program node by node: the frame that simplify, cse and dce share.
#ifndef WEIR_CORE_PASSES_REWRITE_H_
#define WEIR_CORE_PASSES_REWRITE_H_

#include <functional>
#include <span>
#include <vector>

#include "weir/core/program.h"

namespace weir {

// Which nodes the roots need (and the bound leaves).
std::vector<bool> Reachable(const Program& program);

// Copies the reachable part of a program. For each node, in order, `replace(new_graph, old_id, new_inputs)` may
// return a value of the new graph that takes the place of the node's output 0; otherwise the node is copied.
using ReplaceFn = std::function<std::optional<Ref>(Graph& graph, NodeId old_id, std::span<const Ref> inputs)>;
// Called with each copied node.
using CopiedFn = std::function<void(NodeId new_id)>;
Program Rewrite(const Program& program, const ReplaceFn& replace, const CopiedFn& copied = {});

}  // namespace weir

#endif  // WEIR_CORE_PASSES_REWRITE_H_
