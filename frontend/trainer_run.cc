// Running batches: programs recorded once, what a call has for itself, and who may train.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "weir/core/error.h"
#include "weir/frontend/trainer.h"
#include "weir/frontend/variable_locks.h"

namespace weir {
namespace {

// Sets of batch buffers that a model keeps between calls: of training and evaluation, and their last batches.
constexpr size_t kIdleBuffers = 4;
// Programs that a model keeps, and of how many of them what runs have prepared: see BoundSteps.
constexpr size_t kSteps = 32, kPreparedSteps = 4;

bool SameRows(const Tensor& tensor, const TensorType& type) {
  const Shape &a = tensor.shape(), &b = type.shape;
  return tensor.dtype() == type.dtype && a.rank() == b.rank() && a.rank() > 0 &&
         std::equal(a.begin() + 1, a.end(), b.begin() + 1);
}

std::vector<TensorType> TypesOf(const StepRequest& request) {
  std::vector<TensorType> types = request.inputs;
  for (const auto* more : {&request.targets, &request.weights}) types.insert(types.end(), more->begin(), more->end());
  return types;
}

}  // namespace

bool BatchBuffers::Fit(std::span<const TensorType> types) const {
  if (whole.size() != types.size()) return false;
  for (size_t i = 0; i < types.size(); ++i) {
    if (whole[i].defined() && !SameRows(whole[i], types[i])) return false;
  }
  return true;
}

std::vector<Tensor> BatchBuffers::Views(std::span<const TensorType> types) const {
  std::vector<Tensor> views(types.size());
  for (size_t i = 0; i < types.size() && i < whole.size(); ++i) {
    if (!whole[i].defined() || !SameRows(whole[i], types[i]) || whole[i].shape()[0] < types[i].shape[0]) continue;
    views[i] = whole[i].shape()[0] == types[i].shape[0] ? whole[i] : whole[i].Rows(0, types[i].shape[0]);
  }
  return views;
}

void BatchBuffers::Keep(std::span<const Tensor> views) {
  whole.resize(views.size());
  for (size_t i = 0; i < views.size(); ++i) {
    if (views[i].defined() && (!whole[i].defined() || views[i].raw() != whole[i].raw())) whole[i] = views[i];
  }
}

TrainerCall::~TrainerCall() {
  if (std::none_of(buffers_.whole.begin(), buffers_.whole.end(), [](const Tensor& t) { return t.defined(); })) return;
  const std::lock_guard lock(trainer_.mutex_);
  std::vector<BatchBuffers>& idle = trainer_.idle_buffers_;
  idle.push_back(std::move(buffers_));
  if (idle.size() > kIdleBuffers) idle.erase(idle.begin());
}

Trainer::TrainingTurn::TrainingTurn(Trainer& trainer, std::string_view what, bool fits) : trainer_(trainer) {
  std::unique_lock lock(trainer.turn_mutex_);
  const std::thread::id self = std::this_thread::get_id();
  while (trainer.turns_ > 0 && trainer.training_thread_ != self) {
    if (trainer.fits_) {
      ThrowFailedPrecondition(what, ": model \"", trainer.model_.name(),
                              "\" is being trained by Fit in another thread; one thread trains a model at a time");
    }
    trainer.turn_ended_.wait(lock);
  }
  trainer.training_thread_ = self;
  ++trainer.turns_;
  outer_fits_ = trainer.fits_;
  trainer.fits_ = trainer.fits_ || fits;
}

Trainer::TrainingTurn::~TrainingTurn() {
  {
    const std::lock_guard lock(trainer_.turn_mutex_);
    --trainer_.turns_;
    trainer_.fits_ = outer_fits_;
  }
  trainer_.turn_ended_.notify_all();
}

void Trainer::Forget() {
  const std::lock_guard lock(mutex_);
  steps_.clear();
  ++generation_;
}

// The program if it is recorded and can run; else what to hold while recording it.
std::optional<StepLease> Trainer::RecordedStep(const StepRequest& request, std::shared_ptr<std::mutex>& recording) {
  const std::lock_guard lock(mutex_);
  Recorded& recorded = steps_[request];
  recorded.last_used = ++uses_;
  recording = recorded.recording;
  if (recorded.program == nullptr) return std::nullopt;
  std::shared_ptr<const Executable> executable = recorded.program->executable();
  if (executable == nullptr && recorded.program->computes()) return std::nullopt;
  return StepLease(recorded.program, std::move(executable));
}

// Threads that want the same new program wait for the one that records it.
StepLease Trainer::StepFor(const StepRequest& request) {
  std::shared_ptr<std::mutex> recording;
  if (std::optional<StepLease> lease = RecordedStep(request, recording)) return *std::move(lease);
  const std::lock_guard record(*recording);
  std::shared_ptr<std::mutex> later;
  if (std::optional<StepLease> lease = RecordedStep(request, later)) return *std::move(lease);
  std::shared_ptr<const Executable> executable;
  std::shared_ptr<StepProgram> program;
  try {
    program = std::make_shared<StepProgram>(model_, compiled_ ? &*compiled_ : nullptr, request);
    executable = program->Compile();
  } catch (...) {
    const std::lock_guard lock(mutex_);
    const auto found = steps_.find(request);
    if (found != steps_.end() && found->second.program == nullptr) steps_.erase(found);
    throw;
  }
  {
    const std::lock_guard lock(mutex_);
    Recorded& recorded = steps_[request];
    recorded.program = program;
    recorded.last_used = ++uses_;
  }
  BoundSteps();
  return StepLease(std::move(program), std::move(executable));
}

// Of a model that meets ever new shapes the last few programs stay, and what their runs have prepared for the next (the
// weights in another order) of even fewer. Arenas are the runtime's, and shared.
void Trainer::BoundSteps() {
  std::vector<Recorded> dropped, idle;
  {
    const std::lock_guard lock(mutex_);
    std::vector<int64_t> uses;
    for (const auto& [request, recorded] : steps_) uses.push_back(recorded.last_used);
    std::sort(uses.begin(), uses.end(), std::greater<>());
    if (uses.size() > kPreparedSteps) {
      for (auto step = steps_.begin(); step != steps_.end();) {
        const auto found = step++;
        if (found->second.program == nullptr) continue;
        if (found->second.last_used > uses[kPreparedSteps - 1]) continue;
        if (uses.size() > kSteps && found->second.last_used <= uses[kSteps]) {
          dropped.push_back(std::move(found->second));
          steps_.erase(found);
        } else {
          idle.push_back(found->second);
        }
      }
    }
  }
  for (const Recorded& recorded : idle) {
    if (const auto executable = recorded.program->executable()) executable->Trim();
  }
  for (const Recorded& recorded : dropped) {
    const Executable* address = recorded.program->executable().get();
    if (address != nullptr) recorded.program->runtime().cache().Drop(*address);
  }
}

// Of handles that live, those that have what they want from this kind of run.
std::vector<std::shared_ptr<TapHandle::State>> Trainer::LivingHandles(RunMode mode) {
  std::vector<std::shared_ptr<TapHandle::State>> handles;
  if (!any_handles_) return handles;
  const std::lock_guard lock(mutex_);
  std::erase_if(handles_, [](const auto& handle) { return handle.expired(); });
  if (handles_.empty()) any_handles_ = false;
  for (const auto& weak : handles_) {
    auto handle = weak.lock();
    if (handle == nullptr || (handle->request.options.gradient && mode == RunMode::kPredict)) continue;
    handles.push_back(std::move(handle));
  }
  return handles;
}

StepRequest Trainer::RequestFor(RunMode mode, const BoundExamples& data, int64_t count,
                                std::span<const TapRequest> taps, size_t own_taps, bool guard) const {
  StepRequest request;
  request.mode = mode;
  request.guard = guard;
  request.inputs = data.InputTypes(count);
  if (mode != RunMode::kPredict) {
    request.targets = data.TargetTypes(count);
    request.weights = data.WeightTypes(count);
  }
  for (size_t i = 0; i < taps.size(); ++i) {
    request.taps.push_back({taps[i].pattern, taps[i].options.gradient, /*optional=*/i >= own_taps});
  }
  if (mode == RunMode::kTrain) request.trained = model_.Trained();
  return request;
}

std::vector<Tensor> Trainer::BatchOf(TrainerCall& call, const BoundExamples& data, std::span<const int64_t> rows) {
  const std::vector<TensorType> types = TypesOf(call.request_);
  if (call.buffers_.whole.empty()) {
    const std::lock_guard lock(mutex_);
    for (size_t i = idle_buffers_.size(); i-- > 0;) {
      if (!idle_buffers_[i].Fit(types)) continue;
      call.buffers_ = std::move(idle_buffers_[i]);
      idle_buffers_.erase(idle_buffers_.begin() + static_cast<ptrdiff_t>(i));
      break;
    }
  }
  std::vector<Tensor> views = call.buffers_.Views(types);
  std::vector<Tensor> batch = data.Batch(rows, views);
  call.buffers_.Keep(views);
  return batch;
}

StepRun& Trainer::RunBatch(TrainerCall& call, RunMode mode, const BoundExamples& data, std::span<const int64_t> rows,
                           const std::vector<TapRequest>& taps, int64_t tap_step, bool guard,
                           const std::function<void(const StepRun&)>& done) {
  // The call's own taps, then those of living handles.
  const std::vector<std::shared_ptr<TapHandle::State>> handles = LivingHandles(mode);
  std::vector<TapRequest> all = taps;
  for (const auto& handle : handles) all.push_back(handle->request);
  StepRequest request = RequestFor(mode, data, static_cast<int64_t>(rows.size()), all, taps.size(), guard);
  const int64_t generation = generation_;
  if (!call.lease_.defined() || call.generation_ != generation || call.request_ != request) {
    call.lease_ = StepFor(request);
    call.generation_ = generation;
    call.request_ = std::move(request);
  }
  const std::vector<Tensor> batch = BatchOf(call, data, rows);
  StepRun& run = call.lease_.run();
  if (mode == RunMode::kTrain) {
    const VariableLocks locks(call.lease_.program().locked());
    run.Update(call.lease_.executable(), batch, state_);
    // A step that was held back is no step.
    if (!guard || std::isfinite(run.loss())) AfterStep();
    if (done) done(run);
  } else {
    run.Read(call.lease_.executable(), batch, state_, call.weights_);
  }
  for (size_t i = 0; i < all.size(); ++i) {
    std::vector<TapReading> readings = run.Readings(i);
    for (TapReading& reading : readings) {
      reading.step = tap_step;
      reading.statistics = ComputeStatistics(reading.value);
      if (all[i].options.statistics_only) reading.value = Tensor();
      if (all[i].options.receive) all[i].options.receive(reading);
    }
    if (i >= taps.size() && !readings.empty()) handles[i - taps.size()]->Set(std::move(readings));
  }
  return run;
}

// ema_overwrite_frequency is part of the step itself.
void Trainer::AfterStep() { state_.Count(); }

void Trainer::TakeAverages() {
  // Steps that were held back have averaged nothing.
  if (!compiled_->optimizer.options().use_ema || state_.iterations == 0) return;
  const std::vector<Variable> variables = InLockOrder(model_.trainable_weights());
  const VariableLocks locks(variables);
  for (Variable variable : variables) {
    const auto slots = state_.slots.find(variable.id());
    if (slots == state_.slots.end()) continue;
    state_.unaveraged[variable.id()] = variable.LockedValue();
    variable.LockedAdopt(slots->second[0].Clone());
  }
}

void Trainer::DropAverages(bool goes_on) {
  if (state_.unaveraged.empty()) return;
  std::vector<Variable> variables = model_.weights();
  std::erase_if(variables, [&](const Variable& variable) { return !state_.unaveraged.contains(variable.id()); });
  variables = InLockOrder(std::move(variables));
  const VariableLocks locks(variables);
  const std::map<const void*, Tensor> before = std::exchange(state_.unaveraged, {});
  if (!goes_on) return;
  const auto averaged = [&](const Variable& variable) {
    const auto slots = state_.slots.find(variable.id());
    if (slots == state_.slots.end()) return false;
    const Tensor &now = variable.LockedValue(), &average = slots->second[0];
    return now.type() == average.type() && std::memcmp(now.raw(), average.raw(), static_cast<size_t>(now.bytes())) == 0;
  };
  if (!std::all_of(variables.begin(), variables.end(), averaged)) return;
  for (Variable variable : variables) variable.LockedAdopt(before.at(variable.id()));
}

}  // namespace weir
