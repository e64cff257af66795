#include "weir/frontend/fit_loop.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "weir/core/error.h"
#include "weir/core/float_state.h"
#include "weir/core/fork_guard.h"
#include "weir/core/rng.h"
#include "weir/frontend/model.h"

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

FitLoop::FitLoop(Trainer& trainer, const Examples& data, const FitOptions& options)
    : trainer_(trainer),
      options_(options),
      means_(*trainer.compiled_),
      interrupt_(options.handle_interrupt),
      context_(*this) {
  SplitData(data);
  steps_ = (train_->size() + options.batch_size - 1) / options.batch_size;
  keys_ = means_.keys();
  if (validation_) {
    for (const std::string& key : means_.keys()) keys_.push_back("val_" + key);
  }
  for (const CallbackPtr& callback : options.callbacks) guard_ = guard_ || callback->guards_weights();
}

FitLoop::~FitLoop() {
  trainer_.running_progress_ = outer_progress_;
  trainer_.PublishOwn();
}

// Weights of classes are for training alone.
void FitLoop::SplitData(const Examples& data) {
  const ModelBase& model = trainer_.model_;
  train_.emplace(model, data, true, options_.scale, options_.class_weight);
  const int64_t all = train_->size();
  if (options_.validation_data.defined()) {
    validation_.emplace(model, options_.validation_data, true, options_.scale);
    if (validation_->size() == 0) ThrowInvalidArgument("Fit: validation_data has no examples");
  } else if (options_.validation_split > 0) {
    const int64_t split = static_cast<int64_t>(std::floor(static_cast<double>(all) * (1 - options_.validation_split)));
    if (split == all && split > 0) {
      ThrowInvalidArgument("Fit: validation_split ", options_.validation_split, " of ", all,
                           " examples leaves no validation examples");
    }
    validation_ = BoundExamples(model, data, true, options_.scale).Part(split, all);
    train_ = train_->Part(0, split);
  }
  if (train_->size() == 0) {
    ThrowInvalidArgument(
        "Fit: zero training samples remain",
        all == 0 ? ": the data has none" : StrCat(" of ", all, " with validation_split ", options_.validation_split));
  }
}

History FitLoop::Run() {
  FitProgress& progress = *trainer_.progress_;
  epoch_ = options_.initial_epoch;
  if (options_.resume && progress.stopped_at) {
    epoch_ = progress.stopped_at->epoch;
    step_ = std::clamp<int64_t>(progress.stopped_at->step, 0, steps_);
    stop_ = progress.stopped_at->stopping;
  } else if (options_.resume) {
    epoch_ = progress.history.epoch.empty() ? 0 : progress.history.epoch.back() + 1;
  }
  first_epoch_ = epoch_;
  for (const CallbackPtr& callback : options_.callbacks) callback->CheckFit(context_);

  FitProgress before = progress;
  try {
    Begin(progress);
  } catch (...) {
    progress = std::move(before);
    throw;
  }
  try {
    TrainEpochs();
  } catch (...) {
    progress = Progress();
    progress.stopped_at = {.epoch = epoch_, .step = step_, .stopping = stop_, .means = means_.State()};
    throw;
  }
  progress = Progress();
  // As in Keras, before callbacks that choose the weights. A training that was interrupted goes on without averages.
  if (!interrupted_ && options_.epochs > 0) trainer_.TakeAverages();
  ForEachCallback([&](Callback& callback) { callback.OnTrainEnd(context_); });
  progress = Progress();
  return std::move(result_);
}

void FitLoop::Begin(FitProgress before) {
  if (step_ > 0) means_.SetState(before.stopped_at->means);
  const bool goes_on = epoch_ > 0 || options_.resume;
  if (goes_on) RestoreCallbacks(before.callbacks);
  trainer_.progress_->stopped_at.reset();
  trainer_.progress_->history.KeepBefore(epoch_);
  // A model saved by a callback has the state of this moment.
  trainer_.running_progress_ = [this] { return Progress(); };
  for (const CallbackPtr& callback : options_.callbacks) callback->OnTrainBegin(context_);
  trainer_.DropAverages(goes_on);
  Publish();
}

void FitLoop::TrainEpochs() {
  // An epoch that has begun is ended also where a callback has asked for the end.
  while (epoch_ < options_.epochs && (!stop_ || step_ > 0)) {
    if (!Epoch()) {
      interrupted_ = result_.interrupted = trainer_.progress_->history.interrupted = true;
      return;
    }
  }
}

// False if SIGINT has ended the training before its time.
bool FitLoop::Epoch() {
  const int64_t epoch = epoch_;
  if (step_ == 0) means_.Reset();
  line_ = std::make_unique<ProgressLine>(ProgressOptions{.steps = steps_,
                                                             .epoch = epoch,
                                                             .epochs = options_.epochs,
                                                             .verbose = options_.verbose,
                                                             .output = options_.output});
  ForEachCallback([&](Callback& callback) { callback.OnEpochBegin(context_, epoch); });
  Publish();
  const std::vector<int64_t> order = EpochOrder(train_->size(), options_.shuffle, trainer_.model_.seed(), epoch);
  while (step_ < steps_ && !stop_) {
    const int64_t begin = step_ * options_.batch_size, end = std::min(begin + options_.batch_size, train_->size());
    Step({order.data() + begin, static_cast<size_t>(end - begin)});
    // The validation is still to come behind the last step: that is part of going on.
    if (interrupt_.interrupted() && !stop_) {
      line_->Finish(step_, means_.Values().entries());
      line_.reset();
      return false;
    }
  }
  Logs logs = means_.Values();
  if (context_.validates(epoch)) {
    const int64_t batch = options_.validation_batch_size > 0 ? options_.validation_batch_size : options_.batch_size;
    const Logs validation = trainer_.EvaluateBound(*validation_, batch, {}, 0, {});
    for (const auto& [key, value] : validation) logs.Set("val_" + key, value);
  }
  line_->Finish(step_, logs.entries());
  EndEpoch(logs);
  line_.reset();
  // SIGINT during validation ends the training between epochs.
  return !interrupt_.interrupted() || stop_ || epoch_ >= options_.epochs;
}

// Callbacks may add to the logs; those that save the model come last and find all the others did.
void FitLoop::EndEpoch(Logs& logs) {
  const int64_t epoch = epoch_;
  History& history = trainer_.progress_->history;
  const History before = history;
  const auto publish = [&] {
    history = before;
    history.Append(epoch, logs);
  };
  Calls calls(context_);
  for (const bool saving : {false, true}) {
    for (const CallbackPtr& callback : options_.callbacks) {
      if (callback->saves_model() != saving) continue;
      publish();
      calls.Make([&] { callback->OnEpochEnd(context_, epoch, logs); });
    }
  }
  publish();
  result_.Append(epoch, logs);
  epoch_ = epoch + 1;
  step_ = 0;
  Publish();
  for (const CallbackPtr& callback : options_.callbacks) {
    if (callback->saves_model()) calls.Make([&] { callback->OnSave(context_); });
  }
  Publish();
  calls.Rethrow();
}

void FitLoop::Step(std::span<const int64_t> rows) {
  const int64_t step = step_;
  ForEachCallback([&](Callback& callback) { callback.OnBatchBegin(context_, step); });
  // Behind the step also where a tap's receiver throws: the weights are.
  const auto done = [&](const StepRun& run) {
    last_rows_.assign(rows.begin(), rows.end());
    means_.Add(run, static_cast<int64_t>(rows.size()));
    step_ = step + 1;
    const std::lock_guard lock(trainer_.published_mutex_);
    trainer_.published_->step = step_;
    trainer_.published_->means = means_;
  };
  trainer_.RunBatch(call_, RunMode::kTrain, *train_, rows, options_.taps, trainer_.state_.iterations, guard_, done);
  if (line_->WantsUpdate()) line_->Update(step_, means_.Values().entries());
  if (options_.callbacks.empty()) return;
  const Logs logs = means_.Values();
  ForEachCallback([&](Callback& callback) { callback.OnBatchEnd(context_, step, logs); });
  Publish();
}

std::string FitLoop::FirstNonFinite() {
  std::string first;
  if (last_rows_.empty()) return first;
  const TapReceiver look = [&](const TapReading& reading) {
    const TapStatistics& s = reading.statistics;
    if (!first.empty() || s.nans + s.infinities == 0) return;
    first = StrCat(reading.path, " (", s.nans, " NaNs and ", s.infinities, " infinities among ", s.count, " elements)");
  };
  TrainerCall call(trainer_);
  trainer_.RunBatch(call, RunMode::kEvaluate, *train_, last_rows_, {{"**", {.statistics_only = true, .receive = look}}},
                    trainer_.state_.iterations, false);
  return first;
}

std::vector<CallbackState> FitLoop::CallbackStates() const {
  std::vector<CallbackState> states;
  for (const CallbackPtr& callback : options_.callbacks) {
    states.push_back({callback->class_name(), callback->State(), callback->StateTensors()});
  }
  return states;
}

FitProgress FitLoop::Progress() const {
  FitProgress progress{.history = trainer_.progress_->history, .callbacks = CallbackStates(), .stopped_at = {}};
  if (step_ > 0 || interrupted_) {
    progress.stopped_at = {.epoch = epoch_, .step = step_, .stopping = stop_, .means = means_.State()};
  }
  return progress;
}

// To be called where all callbacks have been told of what there was to tell.
void FitLoop::Publish() {
  FitProgress progress{.history = trainer_.progress_->history, .callbacks = CallbackStates(), .stopped_at = {}};
  trainer_.Publish({.progress = std::move(progress),
                    .optimizer = trainer_.compiled_->optimizer,
                    .epoch = epoch_,
                    .step = step_,
                    .stopping = stop_,
                    .means = means_});
}

// By kind, in order: callbacks that were not there before begin anew.
void FitLoop::RestoreCallbacks(const std::vector<CallbackState>& states) {
  std::vector<bool> used(states.size(), false);
  for (const CallbackPtr& callback : options_.callbacks) {
    for (size_t i = 0; i < states.size(); ++i) {
      if (used[i] || states[i].class_name != callback->class_name()) continue;
      used[i] = true;
      try {
        callback->SetState(states[i].state);
      } catch (const Error& error) {
        throw Error(error.code(), StrCat("Fit: the saved state of ", states[i].class_name, ": ", error.message()));
      } catch (const nlohmann::json::exception& error) {
        ThrowInvalidArgument("Fit: the saved state of ", states[i].class_name, ": ", error.what());
      }
      callback->SetStateTensors(states[i].tensors);
      break;
    }
  }
}

void FitLoop::Calls::Note() {
  if (!first_) {
    first_ = std::current_exception();
    return;
  }
  // One exception can be thrown; the others are not kept from the user.
  try {
    throw;
  } catch (const std::exception& error) {
    context_.Warn(error.what());
  } catch (...) {
    context_.Warn("a callback threw an exception");
  }
}

History Trainer::Fit(const Examples& data, const FitOptions& options) {
  const LibraryCall call;
  ThrowIfError(CheckFork());
  const ScopedFloatState state(ScopedFloatState::Subnormals::kKept);
  RequireCompiled("Fit");
  CheckOptions(options);
  const TrainingTurn turn(*this, "Fit", /*fits=*/true);
  EnsureBuilt(data.x);
  FitLoop loop(*this, data.Weighted(options.sample_weight.tensors(), "Fit"), options);
  RememberData(model_, data, options.scale);
  return loop.Run();
}

}  // namespace weir
