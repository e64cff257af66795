// Trainer: what a model needs to be trained, evaluated and asked for predictions: the compiled choices, optimizer
// state, recorded programs, taps. One a model, made when first needed. Users call it through Model.
#ifndef WEIR_FRONTEND_TRAINER_H_
#define WEIR_FRONTEND_TRAINER_H_

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weir/frontend/train_step.h"
#include "weir/frontend/training_options.h"

namespace weir {

// Running means of one epoch: loss weighted by batch size, metrics by what they count.
class EpochMeans {
 public:
  explicit EpochMeans(const CompiledModel& compiled);

  void Reset();
  void Add(const StepProgram& step, int64_t batch_size);
  Logs Values() const;
  const std::vector<std::string>& keys() const { return keys_; }

  nlohmann::json State() const;
  void SetState(const nlohmann::json& state);

 private:
  std::vector<std::string> keys_;
  std::vector<MeanState> means_;
  size_t output_losses_ = 0;  // of them behind the loss; none for a single output
};

class Trainer {
 public:
  explicit Trainer(ModelBase& model);
  ~Trainer();

  void Compile(const ModelCompileOptions& options);
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
  const History& history() const { return history_; }

  // Drops recorded programs: the model's structure has changed.
  void Forget() { steps_.clear(); }

  // ---- For model_files.cc ----
  // Optimizer, losses and metrics as Keras writes them; null if not compiled.
  nlohmann::json CompileConfig() const;
  void CompileFrom(const nlohmann::json& config);
  // Counters, history and callbacks' states; slots are tensors and go apart.
  nlohmann::json ProgressState() const;
  void SetProgressState(const nlohmann::json& state);
  TrainingState& mutable_state() { return state_; }

 private:
  friend class FitContext;
  friend class FitLoop;

  // Where an interrupted epoch stopped.
  struct Position {
    int64_t epoch = 0;
    int64_t step = 0;
  };

  void EnsureBuilt(const std::vector<Tensor>& x);
  std::optional<std::vector<TensorType>> GuessTargets(const std::vector<TensorType>& inputs) const;
  void Adopt(CompiledModel compiled);
  StepProgram& StepFor(const StepRequest& request);
  // One batch through the right program, its taps delivered.
  StepProgram& RunBatch(RunMode mode, const BoundExamples& data, std::span<const int64_t> rows,
                        const std::vector<TapRequest>& taps, int64_t tap_step, bool guard);
  void AfterStep();
  void TakeAverages();
  Logs EvaluateBound(const BoundExamples& data, int64_t batch_size, const std::vector<TapRequest>& taps, int verbose,
                     const ProgressOutput& output);

  ModelBase& model_;
  std::optional<CompiledModel> compiled_;
  TrainingState state_;
  absl::flat_hash_map<StepRequest, std::unique_ptr<StepProgram>> steps_;
  absl::flat_hash_map<std::vector<TensorType>, std::vector<Tensor>> buffers_;  // of batches, by their types
  std::vector<std::weak_ptr<TapHandle::State>> handles_;
  History history_;
  std::unique_ptr<nlohmann::json> callback_states_;
  std::unique_ptr<nlohmann::json> interrupted_means_;
  std::optional<Position> interrupted_at_;
  std::function<void(nlohmann::json& state)> add_running_state_;  // while Fit runs: what only it knows
};

}  // namespace weir

#endif  // WEIR_FRONTEND_TRAINER_H_
