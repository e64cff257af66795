// Trainer: what a model needs to be trained, evaluated and asked for predictions: the compiled choices, optimizer
// state, recorded programs, taps. One a model, made when first needed. Users call it through Model.
//
// Predict, Evaluate and AddTap may be called by any number of threads at once, also while another trains the model; each
// call has its own runs, buffers and weights (TrainerCall). So may what saves the model: it sees the state between two
// steps (Moment). One thread trains at a time: calls of TrainOnBatch wait for
// one another, a Fit beside another thread's is an error. What changes the model itself (Compile, Add, SetRuntime,
// SetSeed, LoadWeights into a model that trains) is to be called while no other thread uses it.
#ifndef WEIR_FRONTEND_TRAINER_H_
#define WEIR_FRONTEND_TRAINER_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weir/frontend/train_step.h"
#include "weir/frontend/training_options.h"

namespace weir {

struct FitProgress;

// Running means of one epoch, those of all its samples at once: the loss weighted by batch size or by what counts in it
// (masks, sample weights; the losses of sums are added), metrics by what they count.
class EpochMeans {
 public:
  explicit EpochMeans(const CompiledModel& compiled);

  void Reset();
  void Add(const StepRun& step, int64_t batch_size);
  Logs Values() const;
  const std::vector<std::string>& keys() const { return keys_; }
  // Of the value with this key; nothing if it is none of them or a function of the user's own.
  std::optional<bool> larger_is_better(std::string_view key) const;

  nlohmann::json State() const;
  void SetState(const nlohmann::json& state);

 private:
  std::vector<std::string> keys_;
  std::vector<std::optional<bool>> larger_;  // is better, for each key
  std::vector<MeanState> means_;        // of the keys
  std::vector<MeanState> parts_;        // of outputs' losses, then of the rest, where they count apart
  std::vector<double> part_weights_;
  size_t output_losses_ = 0;  // of them behind the loss; none for a single output
};

// Tensors that batches are converted or gathered into, one a column of the data; smaller batches use their first rows.
struct BatchBuffers {
  std::vector<Tensor> whole;

  // Whether batches of these types can use them, or grow them.
  bool Fit(std::span<const TensorType> types) const;
  // The buffers as tensors of these types, undefined where there is none yet; Keep takes in those made since.
  std::vector<Tensor> Views(std::span<const TensorType> types) const;
  void Keep(std::span<const Tensor> views);
};

// All that is saved of a model besides its architecture, as of one moment between two training steps.
struct TrainingMoment {
  TrainingMoment();
  TrainingMoment(TrainingMoment&&) = default;
  ~TrainingMoment();

  std::vector<Tensor> weights;  // in the order of the variables asked for
  TrainingState state;
  Optimizer optimizer;  // undefined if the model is not compiled
  std::unique_ptr<const FitProgress> progress;
};

class Trainer;

// What one call of Fit, Predict, Evaluate or TrainOnBatch has for itself, for all its batches.
class TrainerCall {
 public:
  explicit TrainerCall(Trainer& trainer) : trainer_(trainer) {}
  ~TrainerCall();
  TrainerCall(const TrainerCall&) = delete;
  TrainerCall& operator=(const TrainerCall&) = delete;

 private:
  friend class Trainer;

  Trainer& trainer_;
  StepRequest request_;
  StepLease lease_;  // for the request
  int64_t generation_ = -1;
  WeightSnapshot weights_;
  BatchBuffers buffers_;
};

class Trainer {
 public:
  explicit Trainer(ModelBase& model);
  ~Trainer();

  void Compile(const ModelCompileOptions& options, const std::source_location& where);
  bool compiled() const { return compiled_.has_value(); }
  // Throws Error, naming `what` needs it, unless the model is compiled.
  const CompiledModel& RequireCompiled(std::string_view what) const;

  History Fit(const Examples& data, const FitOptions& options);
  Logs Evaluate(const Examples& data, const EvaluateOptions& options);
  std::vector<Tensor> Predict(const std::vector<Tensor>& x, const PredictOptions& options);
  Logs TrainOnBatch(const Examples& batch, const BatchOptions& options);

  std::shared_ptr<TapHandle::State> AddTap(const TapRequest& request);
  const Optimizer& optimizer() const { return RequireCompiled("the optimizer").optimizer; }
  void set_learning_rate(double learning_rate);
  const TrainingState& state() const { return state_; }
  const History& history() const;

  // Drops recorded programs: the model's structure has changed.
  void Forget();

  // ---- For model_files.cc ----
  // The state of now, with these weights, which must be all of the model's. The thread that trains may ask from within
  // a callback, and finds the callbacks as they are; others wait for a step that is running, and find the callbacks as
  // they were when all had been told of the step or epoch before.
  TrainingMoment Moment(std::span<const Variable> variables) const;
  // Optimizer, losses and metrics as Keras writes them; null if not compiled.
  nlohmann::json CompileConfig(const TrainingMoment& moment) const;
  void CompileFrom(const nlohmann::json& config, const std::source_location& where);
  // Counters, history and callbacks' states; slots are tensors and go apart.
  static nlohmann::json ProgressState(const TrainingMoment& moment);
  void SetProgressState(const nlohmann::json& state);
  // The callbacks' tensors, under names that SetCallbackTensors asks for: "0/1" for the second of the first callback.
  static std::vector<std::pair<std::string, Tensor>> CallbackTensors(const TrainingMoment& moment);
  void SetCallbackTensors(const std::function<const Tensor*(const std::string& name)>& find);
  TrainingState& mutable_state() { return state_; }

 private:
  friend class FitContext;
  friend class FitLoop;
  friend class TrainerCall;

  // While alive, this thread alone trains the model; it may take a turn within its own.
  class TrainingTurn {
   public:
    TrainingTurn(Trainer& trainer, std::string_view what, bool fits);
    ~TrainingTurn();
    TrainingTurn(const TrainingTurn&) = delete;
    TrainingTurn& operator=(const TrainingTurn&) = delete;

   private:
    Trainer& trainer_;
    bool outer_fits_ = false;
  };

  struct Recorded {
    std::shared_ptr<StepProgram> program;
    int64_t last_used = 0;
    std::shared_ptr<std::mutex> recording = std::make_shared<std::mutex>();  // held by the one thread that records
  };

  void EnsureBuilt(const std::vector<Tensor>& x);
  std::optional<std::vector<TensorType>> GuessTargets(const std::vector<TensorType>& inputs) const;
  void Adopt(CompiledModel compiled);
  StepLease StepFor(const StepRequest& request);
  std::optional<StepLease> RecordedStep(const StepRequest& request, std::shared_ptr<std::mutex>& recording);
  void BoundSteps();
  // One batch through the right program, its taps delivered; a training step is counted. The run is the call's, until
  // its next batch. `done` is called within the step, before anybody else sees what it has changed.
  StepRun& RunBatch(TrainerCall& call, RunMode mode, const BoundExamples& data, std::span<const int64_t> rows,
                    const std::vector<TapRequest>& taps, int64_t tap_step, bool guard,
                    const std::function<void(const StepRun&)>& done = {});
  // The first `own_taps` are the call's, and must be there; the others are handles'.
  StepRequest RequestFor(RunMode mode, const BoundExamples& data, int64_t count, std::span<const TapRequest> taps,
                         size_t own_taps, bool guard) const;
  std::vector<Tensor> BatchOf(TrainerCall& call, const BoundExamples& data, std::span<const int64_t> rows);
  std::vector<std::shared_ptr<TapHandle::State>> LivingHandles(RunMode mode);
  // Counts the step; the moving averages take the weights' place where the optimizer says so. For who holds the locks.
  void AfterStep();
  // Puts the moving averages in the weights' place, if the optimizer keeps any.
  void TakeAverages();
  // Before more training. `goes_on`: the weights of before are put back, unless others have taken the averages' place.
  void DropAverages(bool goes_on);
  // What other threads are to see from now on; the trainer's own progress if no Fit runs.
  struct Published;
  void Publish(Published published);
  void PublishOwn();
  bool TrainsHere() const;
  Logs EvaluateBound(const BoundExamples& data, int64_t batch_size, const std::vector<TapRequest>& taps, int verbose,
                     const ProgressOutput& output);

  ModelBase& model_;
  std::optional<CompiledModel> compiled_;
  TrainingState state_;

  std::mutex mutex_;  // guards steps_, uses_, idle_buffers_ and handles_
  absl::flat_hash_map<StepRequest, Recorded> steps_;
  int64_t uses_ = 0;
  std::vector<BatchBuffers> idle_buffers_;  // the last used last
  std::vector<std::weak_ptr<TapHandle::State>> handles_;
  std::atomic<bool> any_handles_{false};
  std::atomic<int64_t> generation_{0};  // of the model's structure

  mutable std::mutex turn_mutex_;  // guards what follows
  std::condition_variable turn_ended_;
  std::thread::id training_thread_;
  int turns_ = 0;
  bool fits_ = false;

  std::unique_ptr<FitProgress> progress_;
  std::function<FitProgress()> running_progress_;  // while Fit runs: what only it knows
  // What other threads see of the training. Its position changes within steps only, by who holds the weights' locks.
  mutable std::mutex published_mutex_;  // guards published_; taken last
  std::unique_ptr<Published> published_;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_TRAINER_H_
