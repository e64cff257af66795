// Cluster formation: which nodes are computed together. Policy is here (an anchor, elementwise prologue and epilogue, a
// tail, no cycles, never twice except constants and counters); what a backend can do is its own answer (Backend::MayJoin,
// Backend::MayPrecede, Backend::MayFollow).
#ifndef WEIR_CORE_PASSES_FUSE_H_
#define WEIR_CORE_PASSES_FUSE_H_

#include <string>
#include <vector>

#include "weir/core/backend.h"
#include "weir/core/program.h"

namespace weir {

struct FusedCluster {
  Cluster cluster;
  std::vector<std::string> not_joined;  // why nodes next to it are not part of it
};

// Clusters in an order in which their first nodes come. Together they compute every value that roots need, each
// once. With `fuse` false each node is its own cluster. `looked_at` gets the number of clusters that searches for what
// needs what have met: the work that could grow faster than the program.
std::vector<FusedCluster> FormClusters(const Program& program, const Backend& preferred, bool fuse,
                                       int64_t* looked_at = nullptr);

}  // namespace weir

#endif  // WEIR_CORE_PASSES_FUSE_H_
