// Executable: a compiled program, ready to run. Const and shared: any number of threads may run one at once, each with its
// own tensors; every run has arena, scratch and prepared weights of its own. A run allocates nothing once as many as run
// at a time have run (except tensors for outputs that the caller did not provide), looks nothing up and takes no lock
// between steps. Results don't depend on the caller's floating-point state, which is as before after the run.
#ifndef WEIR_CORE_EXECUTABLE_H_
#define WEIR_CORE_EXECUTABLE_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "weir/core/block_pool.h"
#include "weir/core/compile.h"
#include "weir/core/plan.h"
#include "weir/core/profiler.h"
#include "weir/core/tensor.h"
#include "weir/core/thread_pool.h"

namespace weir {

struct RunOptions {
  ThreadPool* pool = nullptr;     // null: the calling thread alone
  Profiler* profiler = nullptr;
  BlockPool* blocks = nullptr;    // null: memory of the executable's own
};

class Executable {
 public:
  // `account`: where the bytes it holds are counted; null: nowhere.
  Executable(Plan plan, CompileOptions options, std::shared_ptr<ByteAccount> account = nullptr);
  ~Executable();

  const Plan& plan() const { return plan_; }
  std::span<const Ref> inputs() const { return plan_.program.inputs; }
  size_t num_roots() const { return plan_.roots.size(); }
  const TensorType& root_type(size_t i) const;

  // Computes the roots. `inputs` are the leaves' tensors in the order of the request; those of assigned variables are
  // overwritten with their new values, so they must not be shared with anybody who expects the old ones. `outputs`
  // has one tensor a root: one that is defined is written into (it must have the root's type and not be an input),
  // one that is not is allocated; the root of an assign is the variable's own tensor.
  //
  // Errors: kInvalidArgument for a wrong count or type; what kernels report about the data (a label out of range:
  // kOutOfRange). After such an error variables keep their old values, unless an earlier step had already stored a
  // new one: updates come last in a training step's plan for that reason.
  absl::Status Run(std::span<Tensor> inputs, std::span<Tensor> outputs, const RunOptions& options) const;

  // Frees what runs have prepared for the next; they will prepare it anew.
  void Trim() const;
  // Notes a use; when the last one was, by steady_clock.
  void Touch() const { last_used_.store(Now(), std::memory_order_relaxed); }
  int64_t last_used() const { return last_used_.load(std::memory_order_relaxed); }

 private:
  struct Context;  // prepared weights and resolved addresses of one run at a time
  static int64_t Now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
  std::unique_ptr<Context> Acquire() const;
  void Release(std::unique_ptr<Context> context) const;
  absl::Status CheckTensors(std::span<const Tensor> inputs, std::span<const Tensor> outputs) const;
  absl::Status CheckBuffers(std::span<const Tensor> inputs) const;
  absl::Status RunSteps(Context& context, const RunOptions& options) const;
  void Poison(Context& context, size_t step) const;

  Plan plan_;
  CompileOptions options_;
  bool writes_inputs_ = false;  // some input is a variable
  const std::shared_ptr<ByteAccount> account_;
  int64_t plan_bytes_ = 0;     // about: of nodes, steps and code
  int64_t scratch_stride_ = 0;  // from one thread's scratch to the next one's, behind the arena
  mutable BlockPool own_blocks_;
  mutable std::atomic<int64_t> last_used_{0};
  std::vector<bool> turning_;  // steps whose stages each go through their tasks the other way than the one before
  mutable std::mutex mutex_;  // guards idle_
  mutable std::vector<std::unique_ptr<Context>> idle_;
};

}  // namespace weir

#endif  // WEIR_CORE_EXECUTABLE_H_
