// Program: what is compiled, as the passes hand it on. A graph with its leaves in the order in which they are bound
// and its roots in the order in which they are wanted.
#ifndef WEIR_CORE_PROGRAM_H_
#define WEIR_CORE_PROGRAM_H_

#include <memory>
#include <vector>

#include "weir/core/graph.h"

namespace weir {

struct Program {
  std::shared_ptr<const Graph> graph;
  std::vector<Ref> inputs;  // leaves
  std::vector<Ref> roots;   // values to compute; an assign node's output is stored in its variable too
};

}  // namespace weir

#endif  // WEIR_CORE_PROGRAM_H_
