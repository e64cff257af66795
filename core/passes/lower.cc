#include "weir/core/passes/lower.h"

#include <algorithm>

namespace weir {

absl::StatusOr<std::vector<PlanStep>> LowerClusters(std::vector<FusedCluster> clusters,
                                                    std::span<const Backend* const> backends,
                                                    std::span<const std::string> forbid) {
  std::vector<PlanStep> steps;
  for (FusedCluster& fused : clusters) {
    PlanStep step;
    step.not_joined = std::move(fused.not_joined);
    for (const Backend* backend : backends) {
      std::variant<Lowering, Decline> answer = backend->Lower(fused.cluster);
      if (const Decline* decline = std::get_if<Decline>(&answer)) {
        step.declined.push_back(StrCat(backend->name(), ": ", decline->reason));
        continue;
      }
      step.backend = backend->name();
      step.lowering = std::get<Lowering>(std::move(answer));
      break;
    }
    if (step.backend.empty()) {
      return absl::UnimplementedError(
          StrCat("no backend takes ", Describe(fused.cluster), ": ", StrJoin(step.declined, "; ")));
    }
    if (std::find(forbid.begin(), forbid.end(), step.backend) != forbid.end()) {
      return absl::FailedPreconditionError(StrCat(Describe(fused.cluster), " falls back to ", step.backend,
                                                  ", which is forbidden: ", StrJoin(step.declined, "; ")));
    }
    step.cluster = std::move(fused.cluster);
    steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace weir
