// Lowering: each cluster to the first backend, in order of preference, that takes it.
#ifndef WEIR_CORE_PASSES_LOWER_H_
#define WEIR_CORE_PASSES_LOWER_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/core/passes/fuse.h"
#include "weir/core/plan.h"

namespace weir {

// One step a cluster; places are not set yet. A cluster that nobody takes, or whose taker is in `forbid`, is an error
// that lists the refusals.
absl::StatusOr<std::vector<PlanStep>> LowerClusters(std::vector<FusedCluster> clusters,
                                                    std::span<const Backend* const> backends,
                                                    std::span<const std::string> forbid);

}  // namespace weir

#endif  // WEIR_CORE_PASSES_LOWER_H_
