// StepRun: a run of a recorded program with tensors of its own.
#include "weir/core/error.h"
#include "weir/frontend/train_step.h"
#include "weir/frontend/variable_locks.h"

namespace weir {

StepRun::StepRun(const StepProgram& program) : program_(program) {
  inputs_.resize(program.leaves_.size());
  outputs_.resize(program.roots_);
}

void StepRun::BindBatch(std::span<const Tensor> batch, int64_t iterations) {
  WEIR_CHECK(batch.size() == program_.batch_size_, batch.size(), " batch tensors, ", program_.batch_size_, " expected");
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const StepProgram::Leaf& leaf = program_.leaves_[i];
    if (leaf.kind == StepProgram::Leaf::kBatch) inputs_[i] = batch[leaf.index];
    if (leaf.kind == StepProgram::Leaf::kStep) inputs_[i] = Tensor::Scalar(iterations);
  }
}

void StepRun::Read(const Executable* executable, std::span<const Tensor> batch, const TrainingState& state,
                   WeightSnapshot& weights) {
  if (weights.variables != program_.variables_) {
    // Programs of one call that differ in shapes alone have the same variables, in the same order.
    WeightSnapshot wanted{program_.variables_, {}};
    {
      const VariableLocks locks(program_.locked_);
      for (const Variable& variable : wanted.variables) wanted.values.push_back(variable.LockedValue());
    }
    weights = std::move(wanted);
  }
  BindBatch(batch, state.Iterations());
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const StepProgram::Leaf& leaf = program_.leaves_[i];
    if (leaf.kind == StepProgram::Leaf::kVariable) inputs_[i] = weights.values[leaf.index];
  }
  Run(executable, batch);
}

void StepRun::Update(const Executable* executable, std::span<const Tensor> batch, TrainingState& state) {
  BindBatch(batch, state.iterations);
  BindSlots(state);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const StepProgram::Leaf& leaf = program_.leaves_[i];
    if (leaf.kind != StepProgram::Leaf::kVariable) continue;
    Variable variable = program_.variables_[leaf.index];
    inputs_[i] = leaf.written ? variable.LockedExclusive() : variable.LockedValue();
  }
  Run(executable, batch);
}

void StepRun::BindSlots(TrainingState& state) {
  std::vector<float> scalars;
  if (!program_.scalar_names_.empty()) scalars = program_.compiled_->optimizer.Scalars(state.iterations);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const StepProgram::Leaf& leaf = program_.leaves_[i];
    if (leaf.kind == StepProgram::Leaf::kScalar) inputs_[i] = Tensor::Scalar(scalars[leaf.index]);
    if (leaf.kind != StepProgram::Leaf::kSlot) continue;
    const Variable& variable = program_.variables_[leaf.index];
    std::vector<Tensor>& slots = state.slots[variable.id()];
    if (slots.size() != program_.slot_specs_.size()) {
      slots.clear();
      for (const SlotSpec& spec : program_.slot_specs_) {
        slots.push_back(Tensor::Full(DType::kFloat32, variable.shape(), spec.initial));
      }
    }
    if (!HeldAlone(slots[leaf.slot])) slots[leaf.slot] = slots[leaf.slot].Clone();
    inputs_[i] = slots[leaf.slot];
  }
}

void StepRun::Run(const Executable* executable, std::span<const Tensor> batch) {
  const auto keep_leaf = [&](const StepProgram::Root& root) {
    if (root.leaf >= 0) leaf_copies_[root.leaf] = inputs_[static_cast<size_t>(root.leaf)].Clone();
  };
  for (const StepProgram::Root& root : program_.output_roots_) keep_leaf(root);
  for (const std::vector<StepProgram::TapPlan>& plans : program_.taps_) {
    for (const StepProgram::TapPlan& plan : plans) keep_leaf(plan.root);
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (program_.assigned_[i] || program_.fresh_[i]) outputs_[i] = Tensor();
  }
  const absl::Status status =
      executable == nullptr ? absl::OkStatus() : program_.runtime_.Run(*executable, inputs_, outputs_);
  // A handle kept here would make the next step copy what it updates, and keep a caller's batch alive.
  for (Tensor& input : inputs_) input = Tensor();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (program_.assigned_[i]) outputs_[i] = Tensor();
  }
  ThrowIfError(status);
  ReadMetrics(batch);
}

void StepRun::ReadMetrics(std::span<const Tensor> batch) {
  if (program_.loss_root_.output >= 0) {
    loss_ = outputs_[static_cast<size_t>(program_.loss_root_.output)].item<double>();
  }
  const double samples = batch.empty() ? 0 : static_cast<double>(batch[0].shape()[0]);
  output_losses_.clear();
  for (const StepProgram::LossPlan& plan : program_.loss_plans_) {
    output_losses_.push_back({.loss = ValueOf(plan.loss).item<double>(),
                              .count = plan.count ? ValueOf(*plan.count).item<double>() : samples,
                              .sum = plan.sum});
  }
  if (program_.penalty_root_) penalty_ = ValueOf(*program_.penalty_root_).item<double>();
  metric_sums_.clear();
  for (const StepProgram::MetricPlan& plan : program_.metric_plans_) {
    WeightedSum sum{.value = ValueOf(plan.sum).item<double>(), .count = plan.count};
    if (plan.counted) {
      sum.count = ValueOf(*plan.counted).item<double>();
    } else if (plan.weight >= 0) {
      const std::span<const float> weights = batch[static_cast<size_t>(plan.weight)].data<float>();
      double total = 0;
      for (float weight : weights) total += weight;
      sum.count = weights.empty() ? 0 : total * plan.count / static_cast<double>(weights.size());
    }
    metric_sums_.push_back(sum);
  }
}

Tensor StepRun::ValueOf(const StepProgram::Root& root) const {
  return root.output >= 0 ? outputs_[static_cast<size_t>(root.output)] : leaf_copies_.at(root.leaf);
}

std::vector<Tensor> StepRun::outputs() const {
  std::vector<Tensor> values;
  values.reserve(program_.output_roots_.size());
  for (const StepProgram::Root& root : program_.output_roots_) values.push_back(ValueOf(root));
  return values;
}

std::vector<TapReading> StepRun::Readings(size_t tap) {
  std::vector<TapReading> readings;
  for (const StepProgram::TapPlan& plan : program_.taps_[tap]) {
    readings.push_back(
        {.path = plan.path, .gradient = plan.gradient, .step = 0, .value = ValueOf(plan.root), .statistics = {}});
  }
  return readings;
}

void StepRun::DropOutputs() {
  for (const StepProgram::Root& root : program_.output_roots_) {
    if (root.output >= 0) outputs_[static_cast<size_t>(root.output)] = Tensor();
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (program_.fresh_[i]) outputs_[i] = Tensor();
  }
  leaf_copies_.clear();
}

StepLease::StepLease(std::shared_ptr<StepProgram> program, std::shared_ptr<const Executable> executable)
    : program_(std::move(program)), executable_(std::move(executable)) {
  {
    const std::lock_guard lock(program_->mutex_);
    if (!program_->idle_.empty()) {
      run_ = std::move(program_->idle_.back());
      program_->idle_.pop_back();
    }
  }
  if (run_ == nullptr) run_ = std::make_unique<StepRun>(*program_);
}

StepLease& StepLease::operator=(StepLease&& other) {
  Return();
  program_ = std::move(other.program_);
  executable_ = std::move(other.executable_);
  run_ = std::move(other.run_);
  return *this;
}

void StepLease::Return() {
  if (run_ == nullptr) return;
  run_->DropOutputs();
  {
    const std::lock_guard lock(program_->mutex_);
    program_->idle_.push_back(std::move(run_));
  }
  program_ = nullptr;
  executable_ = nullptr;
}

}  // namespace weir
