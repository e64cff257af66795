// StepProgram: one run of a model on one batch, recorded once for its shapes and kept compiled: forward, and as far
// as asked for loss, metrics, gradients, optimizer, constraints and taps, all in one program. It doesn't change once it
// is recorded, so any number of threads may run it at once; what a run binds and computes is in the StepRun that it
// leases for itself. The trainer feeds it.
#ifndef WEIR_FRONTEND_TRAIN_STEP_H_
#define WEIR_FRONTEND_TRAIN_STEP_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/runtime.h"
#include "weir/frontend/model_base.h"
#include "weir/frontend/parts/losses.h"
#include "weir/frontend/parts/metrics.h"
#include "weir/frontend/parts/optimizers.h"
#include "weir/frontend/tap.h"

namespace weir {

// What Compile chose for one output.
struct OutputPlan {
  std::string name;
  Loss loss;
  double loss_weight = 1;
  std::vector<Metric> metrics;
  std::vector<Metric> weighted_metrics;
};

struct CompiledModel {
  Optimizer optimizer;
  std::vector<OutputPlan> outputs;
  std::source_location where;  // the user's line that chose them, which their nodes come from
};

// What training changes besides the weights.
struct TrainingState {
  int64_t iterations = 0;  // of another thread's training: see Iterations
  std::map<const void*, std::vector<Tensor>> slots;  // by variable
  // By variable: the weights that use_ema's averages have taken the place of at the end of Fit.
  std::map<const void*, Tensor> unaveraged;

  int64_t Iterations() const { return __atomic_load_n(&iterations, __ATOMIC_RELAXED); }
  void Count() { __atomic_fetch_add(&iterations, 1, __ATOMIC_RELAXED); }
};

enum class RunMode { kPredict, kEvaluate, kTrain };

// Equal requests of a model are served by one program.
struct StepRequest {
  // Of a TapRequest, what the program depends on.
  struct Tap {
    std::string pattern;
    bool gradient = false;
    bool optional = false;  // nothing to read, and no error, where this kind of run has no such value
    friend bool operator==(const Tap&, const Tap&) = default;
    template <class H>
    friend H AbslHashValue(H h, const Tap& tap) {
      return H::combine(std::move(h), tap.pattern, tap.gradient, tap.optional);
    }
  };

  RunMode mode = RunMode::kPredict;
  std::vector<TensorType> inputs = {}, targets = {}, weights = {};  // of a batch
  std::vector<Tap> taps = {};
  std::vector<const void*> trained = {};  // ModelBase::Trained: ids of the variables that training changes, and more
  bool guard = false;                // a step with a loss that is not finite changes nothing

  friend bool operator==(const StepRequest&, const StepRequest&) = default;
  template <class H>
  friend H AbslHashValue(H h, const StepRequest& r) {
    return H::combine(std::move(h), r.mode, r.inputs, r.targets, r.weights, r.taps, r.trained, r.guard);
  }
};

// Whether a model's forward pass, in training or in inference, has values that a tap of this pattern means. Throws
// Error for an ambiguous pattern, or one of values without a gradient where that is wanted.
bool ForwardHas(const ModelBase& model, std::span<const TensorType> inputs, bool training, const std::string& pattern,
                bool gradient);

// The weights that the batches of one call read: as of its first batch.
struct WeightSnapshot {
  std::vector<Variable> variables;
  std::vector<Tensor> values;
};

class StepRun;

class StepProgram {
 public:
  // Records. `compiled` is null for kPredict, and must outlive the program otherwise. Throws Error where the model, its
  // loss or a tap does.
  StepProgram(const ModelBase& model, const CompiledModel* compiled, const StepRequest& request);
  ~StepProgram();

  // To be called once, before the first run. What runs the program, which does not keep it alive; null for one that only
  // hands on its inputs.
  std::shared_ptr<const Executable> Compile();

  // All variables that a run reads or writes, in the order of variable_locks.h.
  std::span<const Variable> locked() const { return locked_; }
  // What runs it; null if the runtime has dropped it to make room: then the program must be recorded anew.
  std::shared_ptr<const Executable> executable() const { return executable_.lock(); }
  // A program that only hands on its inputs has none.
  bool computes() const { return computes_; }
  Runtime& runtime() const { return runtime_; }

 private:
  friend class StepRun;
  friend class StepLease;

  struct Leaf {
    enum Kind { kBatch, kVariable, kSlot, kScalar, kStep } kind = kBatch;
    size_t index = 0;
    size_t slot = 0;
    bool written = false;
  };
  struct Root {
    int output = -1;  // among the executable's roots
    int leaf = -1;    // or a leaf, whose value is copied before the run
  };
  struct TapPlan {
    std::string path;
    bool gradient = false;
    Root root;
  };
  struct MetricPlan {
    Root sum;
    double count = 0;  // values a batch has, without sample weights
    int weight = -1;   // batch tensor of the sample weights whose sum counts instead
    std::optional<Root> counted = {};  // or what the batch itself says
  };
  struct LossPlan {
    Root loss;
    std::optional<Root> count = {};
    bool sum = false;
  };

  void RecordLosses(const ModelBase& model, const CompiledModel& compiled, CallContext& context, std::span<const Value> outputs,
                    std::span<const Value> targets, std::span<const Value> weights, bool trains);
  void RecordMetrics(const OutputPlan& plan, const Value& y_true, const Value& y_pred, const Value& weight,
                     size_t output);
  void RecordUpdate(const CompiledModel& compiled, const StepRequest& request, CallContext& context,
                    std::span<const Value> tapped, std::vector<Value>& tap_gradients);
  void RecordTaps(const ModelBase& model, const CompiledModel* compiled, const StepRequest& request,
                  CallContext& context);
  std::vector<NamedValue> FindTap(const ModelBase& model, const StepRequest& request, const StepRequest::Tap& tap);
  Value AddLeaf(const Value& value, Leaf leaf);
  Root AddRoot(const Value& value);
  Runtime& runtime_;
  std::shared_ptr<Graph> graph_;
  std::vector<Value> leaf_values_;
  std::vector<Leaf> leaves_;
  std::vector<Variable> variables_, locked_;
  std::vector<std::string> scalar_names_;
  std::vector<SlotSpec> slot_specs_;
  const CompiledModel* compiled_;  // the trainer's: its learning rate may change between runs
  std::vector<Value> root_values_;
  std::map<Ref, int> leaf_index_, root_index_;
  std::vector<bool> assigned_;  // roots that are variables' own tensors
  std::vector<bool> fresh_;     // roots that get a new tensor each run

  Value total_;
  Root loss_root_;
  std::vector<LossPlan> loss_plans_;
  bool counts_apart_ = false;
  std::optional<Root> penalty_root_;
  std::vector<MetricPlan> metric_plans_;
  std::vector<Root> output_roots_;
  std::vector<std::vector<TapPlan>> taps_;
  std::vector<NamedValue> named_;
  size_t batch_size_ = 0;
  size_t first_weight_ = 0;  // batch tensor

  std::weak_ptr<const Executable> executable_;
  bool computes_ = false;
  size_t roots_ = 0;

  std::mutex mutex_;  // guards idle_
  std::vector<std::unique_ptr<StepRun>> idle_;
};

// What one run at a time of a program needs: the tensors bound, and the results of the last run.
class StepRun {
 public:
  // Sums over the batch, to be divided by the counts.
  struct WeightedSum {
    double value = 0;
    double count = 0;
  };

  explicit StepRun(const StepProgram& program);

  // Runs on a batch: inputs, targets and weights in the order of the request. Throws Error for what the data causes (a
  // label out of range).
  //
  // Without an update: reads the weights of `weights`, which are taken now if there are none yet.
  void Read(const Executable* executable, std::span<const Tensor> batch, const TrainingState& state,
            WeightSnapshot& weights);
  // With one: weights and slots are updated in place unless somebody holds them. The caller holds the locks of
  // program.locked().
  void Update(const Executable* executable, std::span<const Tensor> batch, TrainingState& state);

  double loss() const { return loss_; }
  // The loss of an output over a batch, and what it is a mean over.
  struct OutputLoss {
    double loss = 0;
    double count = 0;  // of values, or the sum of their weights; the batch's size where every sample counts 1
    bool sum = false;  // of a batch, not a mean
  };
  const std::vector<OutputLoss>& output_losses() const { return output_losses_; }
  // Whether some output's loss is a sum, or a mean over something else than the samples: the loss of several batches is
  // then that of the outputs' losses, each taken together by what it counts, and of the rest.
  bool counts_apart() const { return program_.counts_apart_; }
  double penalty() const { return penalty_; }  // if so: what regularizers and layers add to the loss
  const std::vector<WeightedSum>& metrics() const {
    return metric_sums_;
  }  // output by output: metrics, then weighted ones
  // The model's outputs (kPredict only); overwritten by the next run.
  std::vector<Tensor> outputs() const;
  // The values of tap `i` of the request, in tensors of their own.
  std::vector<TapReading> Readings(size_t tap);
  // Lets go of outputs, which belong to whoever asked for them.
  void DropOutputs();

 private:
  void BindBatch(std::span<const Tensor> batch, int64_t iterations);
  void BindSlots(TrainingState& state);
  void Run(const Executable* executable, std::span<const Tensor> batch);
  void ReadMetrics(std::span<const Tensor> batch);
  Tensor ValueOf(const StepProgram::Root& root) const;

  const StepProgram& program_;
  std::vector<Tensor> inputs_, outputs_;
  std::map<int, Tensor> leaf_copies_;
  double loss_ = 0;
  double penalty_ = 0;
  std::vector<OutputLoss> output_losses_;
  std::vector<WeightedSum> metric_sums_;
};

// A program, kept alive, and a run of it that is nobody else's for as long as the lease lives.
class StepLease {
 public:
  StepLease() = default;
  // `executable` is the program's: it is not dropped while the lease lives.
  StepLease(std::shared_ptr<StepProgram> program, std::shared_ptr<const Executable> executable);
  StepLease(StepLease&&) = default;
  StepLease& operator=(StepLease&& other);
  ~StepLease() { Return(); }

  bool defined() const { return run_ != nullptr; }
  const StepProgram& program() const { return *program_; }
  StepRun& run() const { return *run_; }
  const Executable* executable() const { return executable_.get(); }

 private:
  void Return();

  std::shared_ptr<StepProgram> program_;
  std::shared_ptr<const Executable> executable_;
  std::unique_ptr<StepRun> run_;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_TRAIN_STEP_H_
