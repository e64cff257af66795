// The SIMD backend: kernels compiled ahead of time with Google Highway for several targets, of which each backend
// instance uses one. Results are the reference's bits in float32, on every target and for any number of threads.
//
//   auto backend = weir::MakeHighwayBackend({.target = "AVX2"});  // or {} for the best this machine has
//   if (!backend.ok()) std::cerr << backend.status();             // unknown target: lists those there are
#ifndef WEIR_BACKENDS_HIGHWAY_HIGHWAY_BACKEND_H_
#define WEIR_BACKENDS_HIGHWAY_HIGHWAY_BACKEND_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/core/backend.h"

namespace weir {

struct HighwayOptions {
  std::string target = {};  // "" for the best; one of HighwayTargets() otherwise
};

// An unknown target, or one this machine can't run, is kInvalidArgument.
absl::StatusOr<std::unique_ptr<Backend>> MakeHighwayBackend(const HighwayOptions& options = {});

// Targets that were compiled and that this machine can run, best first: "AVX3", "AVX2", "SSE4" and the baseline.
std::vector<std::string> HighwayTargets();

}  // namespace weir

#endif  // WEIR_BACKENDS_HIGHWAY_HIGHWAY_BACKEND_H_
