#include "weir/core/plan.h"

#include "weir/core/error.h"
#include "weir/core/op_def.h"

namespace weir {

std::ostream& operator<<(std::ostream& out, const Location& location) {
  switch (location.kind) {
    case Location::Kind::kNone: return out << "nowhere";
    case Location::Kind::kInput: return out << "input " << location.index;
    case Location::Kind::kOutput: return out << "output " << location.index;
    case Location::Kind::kArena: return out << "arena+" << location.index;
    case Location::Kind::kKept: return out << "kept+" << location.index;
  }
  return out;
}

Ref ResolveAlias(const Graph& graph, Ref ref) {
  while (true) {
    const Node& node = graph.node(ref.node);
    if (node.op->kind == OpKind::kAlias) {
      ref = node.inputs[0];
    } else if (node.op->kind == OpKind::kAssign) {
      ref = node.inputs[1];
    } else {
      return ref;
    }
  }
}

}  // namespace weir
