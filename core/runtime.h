// Runtime: what computing needs, passed and never global: ops, backends, threads, plan cache, profiler. The default
// one is made at the composition root (frontend/session.h).
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

class Runtime {
 public:
  // `backends` in order of preference; the last should accept everything (the reference). threads 0: DefaultThreads().
  Runtime(OpRegistry ops, std::vector<std::unique_ptr<Backend>> backends, int threads = 0, CompileOptions options = {});

  const OpRegistry& ops() const { return ops_; }
  std::span<const Backend* const> backends() const { return backend_pointers_; }
  const CompileOptions& options() const { return options_; }
  int threads() const { return pool_->threads(); }
  PlanCache& cache() { return cache_; }

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
  absl::StatusOr<std::shared_ptr<const Executable>> CompileAnew(const Program& program, const Fingerprint& key);

  OpRegistry ops_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<const Backend*> backend_pointers_;
  std::mutex reported_mutex_;
  std::vector<const Backend*> reported_;  // passed over, and said so
  CompileOptions options_;
  std::string config_key_;
  std::unique_ptr<ThreadPool> pool_;
  PlanCache cache_;
  std::shared_ptr<Profiler> profiler_;
  std::string dump_folder_;
};

}  // namespace weir

#endif  // WEIR_CORE_RUNTIME_H_
