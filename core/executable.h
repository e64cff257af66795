// Executable: a compiled program, ready to run. Const and shared: several threads may run one at once, each with its
// own tensors. A run allocates nothing after its first (except tensors for outputs that the caller did not provide),
// looks nothing up and takes no lock between steps.
#ifndef WEIR_CORE_EXECUTABLE_H_
#define WEIR_CORE_EXECUTABLE_H_

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "weir/core/compile.h"
#include "weir/core/plan.h"
#include "weir/core/profiler.h"
#include "weir/core/tensor.h"
#include "weir/core/thread_pool.h"

namespace weir {

struct RunOptions {
  ThreadPool* pool = nullptr;     // null: the calling thread alone
  Profiler* profiler = nullptr;
};

class Executable {
 public:
  Executable(Plan plan, CompileOptions options);
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

 private:
  struct Context;  // arena, scratch and resolved addresses of one run at a time
  std::unique_ptr<Context> Acquire(int threads) const;
  void Release(std::unique_ptr<Context> context) const;
  absl::Status CheckTensors(std::span<const Tensor> inputs, std::span<const Tensor> outputs) const;
  absl::Status CheckBuffers(std::span<const Tensor> inputs) const;
  absl::Status RunSteps(Context& context, const RunOptions& options) const;
  void Poison(Context& context, size_t step) const;

  Plan plan_;
  CompileOptions options_;
  bool writes_inputs_ = false;  // some input is a variable
  std::vector<bool> turning_;  // steps whose stages each go through their tasks the other way than the one before
  mutable std::mutex mutex_;  // guards idle_
  mutable std::vector<std::unique_ptr<Context>> idle_;
};

}  // namespace weir

#endif  // WEIR_CORE_EXECUTABLE_H_
