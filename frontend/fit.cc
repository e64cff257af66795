// Trainer::Fit: epochs of shuffled batches, validation, callbacks, progress, interruption.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "weir/core/error.h"
#include "weir/core/float_state.h"
#include "weir/core/fork_guard.h"
#include "weir/core/rng.h"
#include "weir/frontend/interrupt.h"
#include "weir/frontend/model.h"
#include "weir/frontend/trainer.h"

namespace weir {
namespace {

// Streams of epochs' orders; initial weights use small numbers, dropout those from 2^32.
constexpr uint64_t kShuffleStreams = uint64_t{1} << 48;

// A permutation that depends on seed, epoch and count alone, so that a resumed training sees the same order.
std::vector<int64_t> EpochOrder(int64_t count, bool shuffle, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  if (!shuffle) return order;
  RandomStream random(seed, kShuffleStreams + static_cast<uint64_t>(epoch));
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
  return order;
}

void CheckOptions(const FitOptions& options) {
  if (options.batch_size <= 0) ThrowInvalidArgument("Fit: batch_size ", options.batch_size, ", expected at least 1");
  if (options.validation_batch_size < 0)
    ThrowInvalidArgument("Fit: validation_batch_size ", options.validation_batch_size);
  if (options.validation_freq <= 0)
    ThrowInvalidArgument("Fit: validation_freq ", options.validation_freq, ", expected at least 1");
  if (options.epochs < 0 || options.initial_epoch < 0) ThrowInvalidArgument("Fit: a negative number of epochs");
  if (!(options.validation_split >= 0 && options.validation_split < 1)) {
    ThrowInvalidArgument("Fit: validation_split ", options.validation_split, ", expected a share in [0, 1)");
  }
  for (const CallbackPtr& callback : options.callbacks) {
    if (callback == nullptr) ThrowInvalidArgument("Fit: a callback is null");
  }
}

}  // namespace

// The running of one Fit.
class FitLoop {
 public:
  FitLoop(Trainer& trainer, const Examples& data, const FitOptions& options)
      : trainer_(trainer),
        options_(options),
        all_(trainer.model_, data, true, options.scale, options.class_weight),
        train_(all_),
        means_(*trainer.compiled_),
        interrupt_(options.handle_interrupt),
        context_(*this) {
    SplitValidation();
    steps_ = (train_.size() + options.batch_size - 1) / options.batch_size;
    keys_ = means_.keys();
    if (validation_) {
      for (const std::string& key : means_.keys()) keys_.push_back("val_" + key);
    }
    for (const CallbackPtr& callback : options.callbacks) guard_ = guard_ || callback->guards_weights();
  }

  ~FitLoop() { trainer_.add_running_state_ = outer_state_; }

  History Run() {
    int64_t first = options_.initial_epoch, first_step = 0;
    History before = std::move(trainer_.history_);
    if (options_.resume) {
      first = before.epoch.empty() ? 0 : before.epoch.back() + 1;
      if (trainer_.interrupted_at_) {
        first = trainer_.interrupted_at_->epoch;
        first_step = std::min(trainer_.interrupted_at_->step, steps_);
      }
    }
    if (first_step > 0) means_.SetState(*trainer_.interrupted_means_);
    trainer_.interrupted_at_.reset();
    if (first > 0 || options_.resume) RestoreCallbacks();
    KeepEpochsBefore(before, first);
    trainer_.history_ = std::move(before);
    // A model saved by a callback has the state of this moment.
    trainer_.add_running_state_ = [this](nlohmann::json& state) { AddRunningState(state); };
    ForEachCallback([&](Callback& callback) { callback.OnTrainBegin(context_); });
    int64_t step = first_step;
    for (int64_t epoch = first; epoch < options_.epochs && !stop_; ++epoch) {
      if (!Epoch(epoch, step)) break;
      step = 0;
      SaveCallbacks();
    }
    progress_ = nullptr;
    ForEachCallback([&](Callback& callback) { callback.OnTrainEnd(context_); });
    if (trainer_.compiled_->optimizer.options().use_ema) trainer_.TakeAverages();
    return std::move(result_);
  }

 private:
  friend class FitContext;

  template <class F>
  void ForEachCallback(const F& call) {
    for (const CallbackPtr& callback : options_.callbacks) call(*callback);
  }

  void SplitValidation() {
    if (options_.validation_data.defined()) {
      validation_.emplace(trainer_.model_, options_.validation_data, true, options_.scale);
      if (validation_->size() == 0) ThrowInvalidArgument("Fit: validation_data has no examples");
    } else if (options_.validation_split > 0) {
      const int64_t split =
          static_cast<int64_t>(std::floor(static_cast<double>(all_.size()) * (1 - options_.validation_split)));
      if (split == all_.size() && split > 0) {
        ThrowInvalidArgument("Fit: validation_split ", options_.validation_split, " of ", all_.size(),
                             " examples leaves no validation examples");
      }
      train_ = all_.Part(0, split);
      validation_ = all_.Part(split, all_.size());
    }
    if (train_.size() == 0) {
      ThrowInvalidArgument("Fit: zero training samples remain",
                           all_.size() == 0
                               ? ": the data has none"
                               : StrCat(" of ", all_.size(), " with validation_split ", options_.validation_split));
    }
  }

  static void KeepEpochsBefore(History& history, int64_t first) {
    size_t keep = 0;
    while (keep < history.epoch.size() && history.epoch[keep] < first) ++keep;
    const size_t all = history.epoch.size();
    history.epoch.resize(keep);
    history.interrupted = false;
    for (auto& entry : history.series) {
      // A series with a value in some epochs only (validation_freq) is cut in proportion.
      const size_t count = entry.second.size();
      entry.second.resize(all == 0 ? 0 : count == all ? keep : count * keep / all);
    }
    std::erase_if(history.series, [](const auto& entry) { return entry.second.empty(); });
  }

  // False if the training ends within the epoch.
  bool Epoch(int64_t epoch, int64_t first_step) {
    if (first_step == 0) means_.Reset();
    ProgressLine progress({.steps = steps_,
                           .epoch = epoch,
                           .epochs = options_.epochs,
                           .verbose = options_.verbose,
                           .output = options_.output});
    progress_ = &progress;
    ForEachCallback([&](Callback& callback) { callback.OnEpochBegin(context_, epoch); });
    const std::vector<int64_t> order = EpochOrder(train_.size(), options_.shuffle, trainer_.model_.seed(), epoch);
    int64_t step = first_step;
    while (step < steps_ && !stop_) {
      Step(order, epoch, step++);
      if (interrupt_.interrupted()) return Interrupt(epoch, step);
    }
    Logs logs = means_.Values();
    if (validation_ && (epoch + 1) % options_.validation_freq == 0 && !nan_) {
      const int64_t batch = options_.validation_batch_size > 0 ? options_.validation_batch_size : options_.batch_size;
      const Logs validation = trainer_.EvaluateBound(*validation_, batch, {}, 0, {});
      for (const auto& [key, value] : validation) logs.Set("val_" + key, value);
    }
    progress.Finish(step, logs.entries());
    EndEpoch(epoch, logs);
    progress_ = nullptr;
    // SIGINT during validation ends the training between epochs.
    if (interrupt_.interrupted()) return Interrupt(epoch + 1, 0);
    return true;
  }

  // Callbacks may add to the logs; those that save the model come last and find all the others did.
  void EndEpoch(int64_t epoch, Logs& logs) {
    position_.reset();
    const History before = trainer_.history_;
    const auto publish = [&] {
      trainer_.history_ = before;
      trainer_.history_.Append(epoch, logs);
    };
    for (const bool saving : {false, true}) {
      ForEachCallback([&](Callback& callback) {
        if (callback.saves_model() != saving) return;
        publish();
        callback.OnEpochEnd(context_, epoch, logs);
      });
    }
    publish();
    result_.Append(epoch, logs);
  }

  void AddRunningState(nlohmann::json& state) const {
    state["callbacks"] = CallbackStates();
    if (!position_) return;
    state["interrupted"] = {{"epoch", position_->epoch}, {"step", position_->step}, {"means", means_.State()}};
  }

  void Step(const std::vector<int64_t>& order, int64_t epoch, int64_t step) {
    ForEachCallback([&](Callback& callback) { callback.OnBatchBegin(context_, step); });
    const int64_t begin = step * options_.batch_size, end = std::min(begin + options_.batch_size, train_.size());
    const std::span<const int64_t> rows(order.data() + begin, static_cast<size_t>(end - begin));
    const StepRun& run =
        trainer_.RunBatch(call_, RunMode::kTrain, train_, rows, options_.taps, trainer_.state_.iterations, guard_);
    last_rows_ = rows;
    nan_ = guard_ && !std::isfinite(run.loss());
    means_.Add(run, end - begin);
    position_ = Trainer::Position{epoch, step + 1};
    if (progress_->WantsUpdate()) progress_->Update(step + 1, means_.Values().entries());
    if (options_.callbacks.empty()) return;
    const Logs logs = means_.Values();
    ForEachCallback([&](Callback& callback) { callback.OnBatchEnd(context_, step, logs); });
  }

  std::string FirstNonFinite() {
    std::string first;
    const TapReceiver look = [&](const TapReading& reading) {
      const TapStatistics& s = reading.statistics;
      if (!first.empty() || s.nans + s.infinities == 0) return;
      first =
          StrCat(reading.path, " (", s.nans, " NaNs and ", s.infinities, " infinities among ", s.count, " elements)");
    };
    TrainerCall call(trainer_);
    trainer_.RunBatch(call, RunMode::kEvaluate, train_, last_rows_, {{"**", {.statistics_only = true, .receive = look}}},
                      trainer_.state_.iterations, false);
    return first;
  }

  bool Interrupt(int64_t epoch, int64_t step) {
    if (progress_ != nullptr) progress_->Finish(step, means_.Values().entries());
    progress_ = nullptr;
    // At the end of an epoch's steps its validation is still to come: that is part of going on.
    trainer_.interrupted_at_ = Trainer::Position{epoch, step};
    trainer_.interrupted_means_ = std::make_unique<nlohmann::json>(means_.State());
    SaveCallbacks();
    result_.interrupted = trainer_.history_.interrupted = true;
    return false;
  }

  nlohmann::json CallbackStates() const {
    nlohmann::json states = nlohmann::json::array();
    for (const CallbackPtr& callback : options_.callbacks) {
      states.push_back({{"class_name", callback->class_name()}, {"state", callback->State()}});
    }
    return states;
  }

  void SaveCallbacks() { trainer_.callback_states_ = std::make_unique<nlohmann::json>(CallbackStates()); }

  // By kind, in order: callbacks that were not there before begin anew.
  void RestoreCallbacks() {
    if (trainer_.callback_states_ == nullptr) return;
    std::vector<bool> used(trainer_.callback_states_->size(), false);
    ForEachCallback([&](Callback& callback) {
      for (size_t i = 0; i < used.size(); ++i) {
        const nlohmann::json& saved = (*trainer_.callback_states_)[i];
        if (used[i] || saved.at("class_name") != callback.class_name()) continue;
        used[i] = true;
        callback.SetState(saved.at("state"));
        return;
      }
    });
  }

  Trainer& trainer_;
  TrainerCall call_{trainer_};
  const FitOptions& options_;
  BoundExamples all_, train_;
  std::optional<BoundExamples> validation_;
  EpochMeans means_;
  InterruptScope interrupt_;
  FitContext context_;
  ProgressLine* progress_ = nullptr;
  std::vector<std::string> keys_;
  std::optional<Trainer::Position> position_;  // within an epoch: after its last step
  std::function<void(nlohmann::json& state)> outer_state_ = trainer_.add_running_state_;
  int64_t steps_ = 0;
  std::span<const int64_t> last_rows_;  // of the step before callbacks are told of it
  bool guard_ = false;
  bool nan_ = false;
  bool stop_ = false;
  History result_;
};

Model FitContext::model() const {
  return Model(std::static_pointer_cast<ModelBase>(loop_.trainer_.model_.shared_from_this()));
}
int64_t FitContext::epochs() const { return loop_.options_.epochs; }
int64_t FitContext::steps_per_epoch() const { return loop_.steps_; }
bool FitContext::has_validation() const { return loop_.validation_.has_value(); }
const std::vector<std::string>& FitContext::keys() const { return loop_.keys_; }
void FitContext::StopTraining() { loop_.stop_ = true; }
bool FitContext::stopping() const { return loop_.stop_; }
double FitContext::learning_rate() const {
  return loop_.trainer_.compiled_->optimizer.learning_rate().At(loop_.trainer_.state_.iterations);
}
void FitContext::set_learning_rate(double learning_rate) { loop_.trainer_.set_learning_rate(learning_rate); }
std::string FitContext::FirstNonFinite() { return loop_.FirstNonFinite(); }

void FitContext::Print(const std::string& line) {
  if (loop_.options_.verbose == 0) return;
  if (loop_.progress_ != nullptr) {
    loop_.progress_->Message(line);
    return;
  }
  const ProgressOutput output = loop_.options_.output.write ? loop_.options_.output : StandardOutput();
  output.write(line + "\n");
}

History Trainer::Fit(const Examples& data, const FitOptions& options) {
  const LibraryCall call;
  ThrowIfError(CheckFork());
  const ScopedFloatState state(ScopedFloatState::Subnormals::kKept);
  RequireCompiled("Fit");
  CheckOptions(options);
  const TrainingTurn turn(*this, "Fit", /*fits=*/true);
  EnsureBuilt(data.x);
  FitLoop loop(*this, data, options);
  RememberData(model_, data, options.scale);
  return loop.Run();
}

}  // namespace weir
