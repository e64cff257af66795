#include "weir/frontend/session.h"

#include <charconv>
#include <cstdlib>
#include <map>
#include <mutex>

#include "absl/strings/match.h"
#include "weir/backends/highway/highway_backend.h"
#ifdef WEIR_HAS_LLVM
#include "weir/backends/llvm/llvm_backend.h"
#endif
#include "weir/backends/reference/reference_backend.h"
#include "weir/core/error.h"
#include "weir/core/fork_guard.h"
#include "weir/ops/registry.h"

namespace weir {
namespace {

// Whoever starts a set-user-id program has no say in what it does for its owner: there all variables are as if not set.
std::string FromEnvironment(const char* name) {
  const char* value = secure_getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<int> ThreadsFromEnvironment() {
  const std::string text = FromEnvironment("WEIR_THREADS");
  if (text.empty()) return 0;
  int threads = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), threads);
  if (error != std::errc() || end != text.data() + text.size() || threads < 1 || threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        StrCat("WEIR_THREADS=", text, ": expected a number of threads, 1 to ", kMaxThreads));
  }
  return threads;
}

// -1 if the variable is not set.
absl::StatusOr<int64_t> CacheLimitFromEnvironment() {
  const std::string text = FromEnvironment("WEIR_CACHE_BYTES");
  if (text.empty()) return -1;
  int64_t bytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (error != std::errc() || end != text.data() + text.size() || text[0] == '-') {
    return absl::InvalidArgumentError(StrCat("WEIR_CACHE_BYTES=", text, ": expected a number of bytes, 0 or more"));
  }
  return bytes;
}

#ifdef WEIR_HAS_LLVM
// Where compiled kernels are kept: the option, else WEIR_JIT_CACHE, else a folder in the user's cache; "off" is none.
// Relative folders of the user's are ignored, as the specification of XDG's variables says.
std::string JitCacheFolder(const RuntimeOptions& options) {
  const std::string folder = options.jit_cache.empty() ? FromEnvironment("WEIR_JIT_CACHE") : options.jit_cache;
  if (absl::EqualsIgnoreCase(folder, "off")) return "";
  if (!folder.empty()) return folder;
  const std::string cache = FromEnvironment("XDG_CACHE_HOME"), home = FromEnvironment("HOME");
  if (cache.starts_with('/')) return cache + "/weir/jit";
  if (home.starts_with('/')) return home + "/.cache/weir/jit";
  return "";
}
#endif

absl::StatusOr<std::unique_ptr<Backend>> MakeLlvm(const RuntimeOptions& options) {
#ifdef WEIR_HAS_LLVM
  return MakeLlvmBackend({.cpu = FromEnvironment("WEIR_JIT_CPU"), .cache_folder = JitCacheFolder(options)});
#else
  (void)options;
  return absl::UnimplementedError(
      StrCat("backend 'llvm': this build has none (it was configured without LLVM 19); known: ",
             StrJoin(BackendNames(), ", ")));
#endif
}

std::unique_ptr<Runtime>& DefaultSlot() {
  static std::unique_ptr<Runtime> runtime;
  return runtime;
}

std::mutex& DefaultMutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

std::vector<std::string> BackendNames() {
#ifdef WEIR_HAS_LLVM
  return {"highway", "llvm", "reference"};
#else
  return {"highway", "reference"};
#endif
}

absl::StatusOr<BackendPolicy> PolicyFor(const std::string& backend) {
  if (backend == "reference") return BackendPolicy{{"reference"}, "asked for"};
  if (backend == "highway") return BackendPolicy{{"highway", "reference"}, "asked for"};
  if (backend == "llvm") return BackendPolicy{{"llvm", "highway", "reference"}, "asked for"};
  if (backend != "auto") {
    std::vector<std::string> known = BackendNames();
    known.push_back("auto");
    return absl::InvalidArgumentError(UnknownNameMessage("backend", backend, known));
  }
  // Measured on the op cases and the tutorial's model (tools/bench): kernels made for their shapes are the faster ones
  // nearly everywhere, and compiled once they come from the object cache.
  const absl::Status llvm = MakeLlvm({.jit_cache = "off"}).status();
  if (llvm.ok()) return BackendPolicy{{"llvm", "highway", "reference"}, "compiled kernels are the fastest measured"};
  if (!absl::IsUnimplemented(llvm)) return llvm;  // a wrong option is not to be passed over
  return BackendPolicy{{"highway", "reference"}, std::string(llvm.message())};
}

absl::StatusOr<std::unique_ptr<Runtime>> MakeRuntime(const RuntimeOptions& options) {
  std::string backend = options.backend.empty() ? FromEnvironment("WEIR_BACKEND") : options.backend;
  if (backend.empty()) backend = "auto";
  WEIR_ASSIGN_OR_RETURN(const BackendPolicy policy, PolicyFor(backend));
  std::vector<std::unique_ptr<Backend>> backends;
  for (const std::string& name : policy.order) {
    if (name == "llvm") {
      WEIR_ASSIGN_OR_RETURN(std::unique_ptr<Backend> llvm, MakeLlvm(options));
      backends.push_back(std::move(llvm));
    } else if (name == "highway") {
      const std::string target =
          options.highway_target.empty() ? FromEnvironment("WEIR_HIGHWAY_TARGET") : options.highway_target;
      WEIR_ASSIGN_OR_RETURN(std::unique_ptr<Backend> highway, MakeHighwayBackend({.target = target}));
      backends.push_back(std::move(highway));
    }
  }
  backends.push_back(MakeReferenceBackend());
  int threads = options.threads;
  if (threads < 0 || threads > kMaxThreads) {
    return absl::InvalidArgumentError(StrCat("threads ", threads, ": expected 0 (all) or 1 to ", kMaxThreads));
  }
  if (threads == 0) {
    WEIR_ASSIGN_OR_RETURN(threads, ThreadsFromEnvironment());
  }
  int64_t cache_bytes = options.cache_bytes;
  if (cache_bytes < -1) return absl::InvalidArgumentError(StrCat("cache_bytes ", cache_bytes, ": expected 0 or more"));
  if (cache_bytes == -1) {
    WEIR_ASSIGN_OR_RETURN(cache_bytes, CacheLimitFromEnvironment());
  }
  OpRegistry ops;
  RegisterAllOps(ops);
  auto runtime = std::make_unique<Runtime>(std::move(ops), std::move(backends), threads, options.compile);
  if (cache_bytes >= 0) runtime->SetCacheLimit(cache_bytes);
  runtime->SetDumpFolder(options.dump.empty() ? FromEnvironment("WEIR_DUMP") : options.dump);
  return runtime;
}

Runtime& DefaultRuntime() {
  const LibraryCall call;
  ThrowIfError(CheckFork());
  std::lock_guard lock(DefaultMutex());
  std::unique_ptr<Runtime>& slot = DefaultSlot();
  if (slot == nullptr) {
    absl::StatusOr<std::unique_ptr<Runtime>> made = MakeRuntime();
    ThrowIfError(made.status());
    slot = *std::move(made);
  }
  return *slot;
}

Runtime& RuntimeWithBackend(const std::string& backend) {
  static std::map<std::string, std::unique_ptr<Runtime>> made;
  const LibraryCall call;
  ThrowIfError(CheckFork());
  std::lock_guard lock(DefaultMutex());
  std::unique_ptr<Runtime>& runtime = made[backend];
  if (runtime == nullptr) {
    absl::StatusOr<std::unique_ptr<Runtime>> fresh = MakeRuntime({.backend = backend});
    ThrowIfError(fresh.status());
    runtime = *std::move(fresh);
  }
  return *runtime;
}

absl::Status SetDefaultRuntime(const RuntimeOptions& options) {
  const LibraryCall call;
  WEIR_RETURN_IF_ERROR(CheckFork());
  WEIR_ASSIGN_OR_RETURN(std::unique_ptr<Runtime> made, MakeRuntime(options));
  std::lock_guard lock(DefaultMutex());
  DefaultSlot() = std::move(made);
  return absl::OkStatus();
}

std::vector<Tensor> Evaluate(std::span<const Value> values) { return DefaultRuntime().Evaluate(values); }

Tensor Evaluate(const Value& value) { return DefaultRuntime().Evaluate({&value, 1})[0]; }

}  // namespace weir
