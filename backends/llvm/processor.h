// The processor that code is generated for, as far as lowerings and the object cache ask for it. What is known of
// processors is LLVM's, see plugin.h.
#ifndef WEIR_BACKENDS_LLVM_PROCESSOR_H_
#define WEIR_BACKENDS_LLVM_PROCESSOR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weir/backends/llvm/plugin.h"

namespace weir::jit {

struct Target {
  ProcessorFacts facts;
  std::string identity;      // equal for two processors only if the same code is generated for both
  int vector_registers = 0;  // vectors of 16 floats that the registers hold
  int vector_parts = 1;      // registers of such a vector
  bool fetches_far = false;  // see TileLimits
  int64_t far_bytes = 0;
};

// Whether this machine has AVX2 with fused multiply-add, without which results could not be the reference's; asks the
// processor alone. kUnimplemented if not.
absl::Status CheckThisProcessor();

// The processor this runs on (""), or another one that it can stand in for ("x86-64-v3": AVX2); loads the plug-in.
// kUnimplemented if it has no AVX2 with fused multiply-add; kInvalidArgument for an unknown processor or one with
// vector instructions that this machine lacks; kUnavailable where the plug-in can't be loaded.
absl::StatusOr<Target> FindTarget(const std::string& cpu);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_PROCESSOR_H_
