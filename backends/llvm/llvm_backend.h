// The JIT backend: a cluster becomes one kernel made for its shapes, compiled with LLVM when its plan is. Results are
// the reference's bits in float32. What it declines, the backend behind it takes; clusters are formed so that it can.
//
//   auto backend = weir::MakeLlvmBackend({.cache_folder = "/var/cache/weir"});
//   if (!backend.ok()) std::cerr << backend.status();  // kUnimplemented: no AVX2 with fused multiply-add, or no plug-in
//
// LLVM is in a plug-in, weir_llvm.so, that is loaded when the first program is compiled, and found where the libraries
// of the program are; the environment's WEIR_LLVM_LIBRARY names its file where it is elsewhere. WEIR_JIT_PERF=1 has all
// kernels written to a jitdump, for perf.
#ifndef WEIR_BACKENDS_LLVM_LLVM_BACKEND_H_
#define WEIR_BACKENDS_LLVM_LLVM_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "weir/core/backend.h"

namespace weir {

struct LlvmOptions {
  // "" for the processor this runs on, or the name of one that it can stand in for ("x86-64-v3": AVX2); an unknown name's
  // error lists those that are known.
  std::string cpu = {};
  // Where compiled kernels are kept between processes; "" keeps none.
  std::string cache_folder = {};
  int64_t cache_bytes = int64_t{256} << 20;  // at most, on disk
  // Kernels are interpreted instead of compiled: for tests of what the lowerings say, without LLVM in between.
  bool interpret = false;
};

absl::StatusOr<std::unique_ptr<Backend>> MakeLlvmBackend(const LlvmOptions& options = {});

}  // namespace weir

#endif  // WEIR_BACKENDS_LLVM_LLVM_BACKEND_H_
