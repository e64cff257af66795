// Runtime: what computing needs, passed and never global: ops, backends, threads, plan cache, profiler. The default
// one is made at the composition root (frontend/session.h). Compile, Run and Evaluate may be called by any number of
// threads at once; those that want the same new program wait for the one that compiles it. A graph belongs to the thread
// that records it, but several may evaluate one that nobody appends to.
#ifndef WEIR_CORE_RUNTIME_H_
#define WEIR_CORE_RUNTIME_H_

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/core/compile.h"
#include "weir/core/executable.h"
#include "weir/core/graph.h"
#include "weir/core/op_def.h"
#include "weir/core/plan_cache.h"
#include "weir/core/profiler.h"
#include "weir/core/thread_pool.h"

namespace weir {

// An eighth of the memory that this process may use: the machine's, or its cgroup's limit.
int64_t DefaultCacheLimit();

class Runtime {
 public:
  // `backends` in order of preference; the last should accept everything (the reference). threads 0: DefaultThreads().
  // Throws Error above kMaxThreads.
  Runtime(OpRegistry ops, std::vector<std::unique_ptr<Backend>> backends, int threads = 0, CompileOptions options = {});

  const OpRegistry& ops() const { return ops_; }
  std::span<const Backend* const> backends() const { return backend_pointers_; }
  const CompileOptions& options() const { return options_; }
  int threads() const { return pool_->threads(); }
  PlanCache& cache() { return cache_; }

  // The bound, in bytes, of what is kept for later runs: plans (by estimate), what their runs have prepared, arenas. What
  // was used longest ago goes first; what is in use stays, and so does the arena of the latest run. Default:
  // DefaultCacheLimit(). May be set at any time, 0 or more.
  void SetCacheLimit(int64_t bytes);
  int64_t cache_limit() const { return cache_limit_; }
  // The bytes kept now, with those in use.
  int64_t cached_bytes() const { return *account_; }

  // Not to be called while anything runs. 0: DefaultThreads().
  void SetThreads(int threads) { pool_ = std::make_unique<ThreadPool>(threads); }
  // Null turns profiling off.
  void SetProfiler(std::shared_ptr<Profiler> profiler) { profiler_ = std::move(profiler); }
  const std::shared_ptr<Profiler>& profiler() const { return profiler_; }

  // Every plan compiled from now on is written to a file in this folder, with its kernels' loops; "" writes none.
  void SetDumpFolder(std::string folder) { dump_folder_ = std::move(folder); }

  // The executable of a program, compiled unless an equal one is cached. `inputs` are the leaves that a run will bind,
  // in this order: all that the roots need.
  absl::StatusOr<std::shared_ptr<const Executable>> Compile(std::span<const Value> inputs, std::span<const Value> roots);

  // Runs with this runtime's threads and profiler: see Executable::Run.
  absl::Status Run(const Executable& executable, std::span<Tensor> inputs, std::span<Tensor> outputs);

  // Computes values whose leaves all carry data (Graph::Data). Computed values are kept in the graph and are leaves to
  // later evaluations, so that control flow may look at them and go on recording at no extra cost. A failure is thrown
  // as Error. Values must be of one graph.
  std::vector<Tensor> Evaluate(std::span<const Value> values);

 private:
  // The backends that this machine lets work; of another one is said so on standard error, once.
  std::vector<const Backend*> UsableBackends();
  // Compiles, records the time, caches.
  absl::StatusOr<std::shared_ptr<const Executable>> CompileAnew(const Program& program);
  absl::StatusOr<std::shared_ptr<const Executable>> FindOrCompile(const Program& program);
  void EnforceCacheLimit();

  OpRegistry ops_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<const Backend*> backend_pointers_;
  std::mutex reported_mutex_;
  std::vector<const Backend*> reported_;  // passed over, and said so
  CompileOptions options_;
  std::string config_key_;
  std::unique_ptr<ThreadPool> pool_;
  const std::shared_ptr<ByteAccount> account_ = std::make_shared<ByteAccount>(0);
  std::atomic<int64_t> cache_limit_;
  BlockPool blocks_{account_};
  PlanCache cache_;
  std::shared_ptr<Profiler> profiler_;
  std::string dump_folder_;
};

}  // namespace weir

#endif  // WEIR_CORE_RUNTIME_H_
