// The composition root: the one place where backends, ops and threads come together to a Runtime. Everything else is
// handed one, or asks for the default.
#ifndef WEIR_FRONTEND_SESSION_H_
#define WEIR_FRONTEND_SESSION_H_

#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/core/runtime.h"

namespace weir {

struct RuntimeOptions {
  // "llvm", "highway", "reference" or "auto"; "": environment variable WEIR_BACKEND, else auto. What one declines the
  // next takes, in this order: see BackendPolicy.
  std::string backend = "";
  // 0: environment variable WEIR_THREADS, else all this process may use; at most kMaxThreads.
  int threads = 0;
  // Highway's instruction set: "" (WEIR_HIGHWAY_TARGET, else the best this machine has), or a name that
  // HighwayTargets() lists.
  std::string highway_target = "";
  // Folder of compiled kernels (llvm): "" (WEIR_JIT_CACHE, else weir/jit in the user's cache), or "off".
  std::string jit_cache = "";
  // Folder that gets a file for every plan compiled, with its kernels: "" (WEIR_DUMP, else none).
  std::string dump = "";
  CompileOptions compile = {};
  // Bytes that the runtime keeps for later runs, at most: see Runtime::SetCacheLimit. -1: WEIR_CACHE_BYTES, else an
  // eighth of the memory that this process may use.
  int64_t cache_bytes = -1;
};

// The backends of this build, by name.
std::vector<std::string> BackendNames();

// Which backends a runtime asks, in this order, and why: what "auto" means on this machine.
struct BackendPolicy {
  std::vector<std::string> order;
  std::string reason;
};
// kInvalidArgument for an unknown name; a backend that this machine can't run is found out by MakeRuntime, but "auto"
// leaves it out.
absl::StatusOr<BackendPolicy> PolicyFor(const std::string& backend);

// kInvalidArgument for an unknown backend or a target this machine lacks, with the known ones; kUnimplemented for a
// backend that this build or this machine can't have.
absl::StatusOr<std::unique_ptr<Runtime>> MakeRuntime(const RuntimeOptions& options = {});

// Made with default options at first use.
Runtime& DefaultRuntime();
// Replaces the default runtime; to be called before anything uses it (programs do, from their flags).
absl::Status SetDefaultRuntime(const RuntimeOptions& options);

// A runtime on this backend with otherwise default options, made at first use and kept. An unknown or missing backend
// is thrown as Error.
Runtime& RuntimeWithBackend(const std::string& backend);

// Runtime::Evaluate with the default runtime.
std::vector<Tensor> Evaluate(std::span<const Value> values);
inline std::vector<Tensor> Evaluate(std::initializer_list<Value> values) {
  return Evaluate(std::span<const Value>(values.begin(), values.size()));
}
Tensor Evaluate(const Value& value);

}  // namespace weir

#endif  // WEIR_FRONTEND_SESSION_H_
