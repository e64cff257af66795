// The processor that code is generated for, as far as lowerings and the object cache ask for it: without LLVM, which is
// not loaded for kernels that were compiled before.
#ifndef WEIR_BACKENDS_LLVM_PROCESSOR_H_
#define WEIR_BACKENDS_LLVM_PROCESSOR_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace weir::jit {

struct Target {
  std::string cpu;           // LLVM's name of it; "" for the processor this runs on
  std::string identity;      // equal for two processors only if the same code is generated for both
  int vector_registers = 0;  // vectors of 16 floats that the registers hold
  int vector_parts = 1;      // registers of such a vector
  bool fetches_far = false;  // see TileLimits
  int64_t far_bytes = 0;
};

// Those that can be named.
std::vector<std::string_view> ProcessorNames();

// The processor this runs on (""), or another one that it can stand in for ("x86-64-v3": AVX2). kUnimplemented if it
// has no AVX2 with fused multiply-add, without which results could not be the reference's; kInvalidArgument for an
// unknown processor or one with instructions that this machine lacks.
absl::StatusOr<Target> FindTarget(const std::string& cpu);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_PROCESSOR_H_
