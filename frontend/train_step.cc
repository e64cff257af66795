#include "weir/frontend/train_step.h"

#include <algorithm>
#include <limits>
#include <set>

#include "weir/core/error.h"
#include "weir/frontend/layers/registry.h"
#include "weir/frontend/variable_locks.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {

namespace {

void CheckHasGradient(const NamedValue& value) {
  if (IsFloating(value.value.dtype())) return;
  ThrowInvalidArgument("Tap: '", value.path, "' is ", value.value.type(), ": it has no gradient");
}

}  // namespace

bool ForwardHas(const ModelBase& model, std::span<const TensorType> inputs, bool training, const std::string& pattern,
                bool gradient) {
  CallContext context(Graph::Create(), training, model.seed());
  std::vector<Value> values;
  for (const TensorType& type : inputs) values.push_back(context.graph()->Input(type));
  context.CallLayer(model, model.name(), values);
  try {
    for (const NamedValue& value : ResolveTap(pattern, context.named(), context.graph())) {
      if (gradient) CheckHasGradient(value);
    }
  } catch (const Error& error) {
    if (error.code() != absl::StatusCode::kNotFound) throw;
    return false;
  }
  return true;
}

StepProgram::StepProgram(const ModelBase& model, const CompiledModel* compiled, const StepRequest& request)
    : runtime_(model.runtime()), graph_(Graph::Create()), compiled_(compiled) {
  CallContext context(graph_, request.mode == RunMode::kTrain, model.seed());
  const std::vector<std::string> input_names = model.InputNames();
  std::vector<Value> inputs, targets, weights;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    inputs.push_back(AddLeaf(graph_->Input(request.inputs[i], input_names[i]), {Leaf::kBatch, batch_size_++}));
  }
  const std::vector<Value> outputs = context.CallLayer(model, model.name(), inputs);
  for (const TensorType& type : request.targets) {
    targets.push_back(AddLeaf(graph_->Input(type, StrCat("target_", targets.size())), {Leaf::kBatch, batch_size_++}));
  }
  first_weight_ = batch_size_;
  for (const TensorType& type : request.weights) {
    weights.push_back(
        AddLeaf(graph_->Input(type, StrCat("sample_weight_", weights.size())), {Leaf::kBatch, batch_size_++}));
  }
  for (const auto& [variable, leaf] : context.weights()) {
    AddLeaf(leaf, {Leaf::kVariable, variables_.size()});
    variables_.push_back(variable);
  }
  if (context.step().defined()) AddLeaf(context.step(), {Leaf::kStep});
  named_ = context.named();
  if (request.mode == RunMode::kPredict) {
    for (const Value& output : outputs) output_roots_.push_back(AddRoot(output));
  } else {
    NamingLine(compiled->where, [&] {
      RecordLosses(model, *compiled, context, outputs, targets, weights, request.mode == RunMode::kTrain);
    });
    named_.push_back({model.name() + "/loss", total_});
  }
  RecordTaps(model, compiled, request, context);
}

std::shared_ptr<const Executable> StepProgram::Compile() {
  absl::StatusOr<std::shared_ptr<const Executable>> made = std::shared_ptr<const Executable>();
  if (!root_values_.empty()) {
    made = runtime_.Compile(leaf_values_, root_values_);
    ThrowIfError(made.status());
  }
  executable_ = *made;
  computes_ = *made != nullptr;
  roots_ = root_values_.size();
  locked_ = InLockOrder(variables_);
  for (const std::vector<TapPlan>& plans : taps_) {
    for (const TapPlan& plan : plans) {
      if (plan.root.output >= 0) fresh_[static_cast<size_t>(plan.root.output)] = true;
    }
  }
  // The plan has a graph of its own; what was recorded is many times as large as what runs need.
  graph_ = nullptr;
  leaf_values_.clear();
  root_values_.clear();
  root_index_.clear();
  named_.clear();
  total_ = {};
  return *std::move(made);
}

StepProgram::~StepProgram() = default;

Value StepProgram::AddLeaf(const Value& value, Leaf leaf) {
  leaf_index_.try_emplace(value.ref, static_cast<int>(leaf_values_.size()));
  leaf_values_.push_back(value);
  leaves_.push_back(leaf);
  return value;
}

StepProgram::Root StepProgram::AddRoot(const Value& value) {
  if (const auto leaf = leaf_index_.find(value.ref); leaf != leaf_index_.end()) return {.leaf = leaf->second};
  const auto [found, added] = root_index_.try_emplace(value.ref, static_cast<int>(root_values_.size()));
  if (added) {
    root_values_.push_back(value);
    assigned_.push_back(false);
    fresh_.push_back(false);
  }
  return {.output = found->second};
}

void StepProgram::RecordLosses(const ModelBase& model, const CompiledModel& compiled, CallContext& context, std::span<const Value> outputs,
                               std::span<const Value> targets, std::span<const Value> weights, bool trains) {
  Graph::LayerScope scope(*graph_, "loss");
  const Graph::SourceScope source(*graph_, compiled.where);
  const auto add = [&](const Value& value) { total_ = total_.defined() ? total_ + value : value; };
  for (size_t i = 0; i < compiled.outputs.size(); ++i) {
    const OutputPlan& plan = compiled.outputs[i];
    const Value weight = weights.empty() ? Value() : weights[i];
    RecordMetrics(plan, targets[i], outputs[i], weight, i);
    if (!plan.loss.defined()) continue;
    const Loss::Batch batch = plan.loss.Reduce(targets[i], outputs[i], FindLogits(outputs[i]), weight);
    const Value loss = batch.loss.shape().rank() > 0 ? Mean(batch.loss) : batch.loss;
    loss_plans_.push_back({.loss = AddRoot(loss), .count = {}, .sum = batch.sum});
    if (batch.count.defined()) loss_plans_.back().count = AddRoot(batch.count);
    counts_apart_ |= batch.sum || batch.count.defined();
    if (compiled.outputs.size() > 1) named_.push_back({StrCat(model.name(), "/", plan.name, "_loss"), loss});
    add(plan.loss_weight == 1 ? loss : loss * plan.loss_weight);
  }
  std::vector<Value> penalties;
  for (const auto& [variable, leaf] : context.weights()) {
    if (variable.regularizer().defined()) penalties.push_back(variable.regularizer().Penalty(leaf));
  }
  penalties.insert(penalties.end(), context.losses().begin(), context.losses().end());
  Value penalty;
  for (const Value& value : penalties) {
    add(value);
    penalty = penalty.defined() ? penalty + value : value;
  }
  if (counts_apart_ && penalty.defined()) penalty_root_ = AddRoot(penalty);
  if (!total_.defined()) {
    if (trains) ThrowFailedPrecondition("the model has neither a loss nor a regularizer: there is nothing to minimise");
    total_ = Constant(*graph_, 0, DType::kFloat32);
  }
  if (graph_->node(total_.ref.node).name.empty()) graph_->SetName(total_.ref.node, "loss");
  loss_root_ = AddRoot(total_);
}

void StepProgram::RecordMetrics(const OutputPlan& plan, const Value& y_true, const Value& y_pred, const Value& weight,
                                size_t output) {
  const std::optional<Logits> logits = FindLogits(y_pred);
  const auto record = [&](const Metric& metric, bool weighted) {
    const Value values = metric.PerSample(y_true, y_pred, logits), mask = metric.Mask(y_true, y_pred);
    MetricPlan made{.sum = {}, .count = static_cast<double>(values.shape().size())};
    if (!weighted) {
      made.sum = AddRoot(Sum(values));
      if (mask.defined()) made.counted = AddRoot(Sum(mask));
    } else {
      std::vector<int64_t> dims(static_cast<size_t>(values.shape().rank()), 1);
      dims[0] = weight.shape()[0];
      const Value aligned = Reshape(weight, std::span<const int64_t>(dims));
      made.sum = AddRoot(Sum(values * aligned));
      made.weight = static_cast<int>(first_weight_ + output);
      if (mask.defined()) made.counted = AddRoot(Sum(mask * aligned));
    }
    metric_plans_.push_back(made);
  };
  for (const Metric& metric : plan.metrics) record(metric, false);
  for (const Metric& metric : plan.weighted_metrics) record(metric, weight.defined());
}

// Nothing for an optional tap of what is not there. A value that the other kind of run has is told as such.
std::vector<NamedValue> StepProgram::FindTap(const ModelBase& model, const StepRequest& request,
                                             const StepRequest::Tap& tap) {
  try {
    return ResolveTap(tap.pattern, named_, graph_);
  } catch (const Error& error) {
    if (error.code() != absl::StatusCode::kNotFound) throw;
    if (tap.optional) return {};
    const bool training = request.mode == RunMode::kTrain;
    if (!ForwardHas(model, request.inputs, !training, tap.pattern, tap.gradient)) throw;
    ThrowFailedPrecondition("Tap: '", tap.pattern, "' exists in ",
                            training ? "inference only: tap Predict or Evaluate" : "training only: tap Fit or TrainOnBatch");
  }
}

// Values first, then all gradients in one call: those of taps are among those of the weights, so that a tapped run is
// the same program with more roots.
void StepProgram::RecordTaps(const ModelBase& model, const CompiledModel* compiled, const StepRequest& request,
                             CallContext& context) {
  std::vector<Value> gradient_of;
  std::vector<size_t> later;  // not among the values: perhaps among what the optimizer computes
  taps_.resize(request.taps.size());
  const auto add = [&](size_t i, const std::vector<NamedValue>& found) {
    const bool gradient = request.taps[i].gradient;
    for (const NamedValue& value : found) {
      if (gradient) CheckHasGradient(value);
      taps_[i].push_back({value.path, gradient, {}});
      if (gradient) gradient_of.push_back(value.value);
      if (!gradient) taps_[i].back().root = AddRoot(value.value);
    }
  };
  for (size_t i = 0; i < request.taps.size(); ++i) {
    StepRequest::Tap tap = request.taps[i];
    const bool updates = request.mode == RunMode::kTrain && !tap.gradient;
    if (updates) tap.optional = true;
    const std::vector<NamedValue> found = FindTap(model, request, tap);
    if (updates && found.empty()) later.push_back(i);
    add(i, found);
  }
  if (!gradient_of.empty() && request.mode == RunMode::kPredict) {
    ThrowFailedPrecondition("Tap: Predict has no loss, so there is no gradient of '", request.taps[0].pattern,
                            "': tap TrainOnBatch, Fit or Evaluate");
  }
  std::vector<Value> gradients;
  if (request.mode == RunMode::kTrain) {
    NamingLine(compiled->where, [&] { RecordUpdate(*compiled, request, context, gradient_of, gradients); });
  } else if (!gradient_of.empty()) {
    gradients = Gradients({&total_, 1}, gradient_of);
  }
  size_t next = 0;
  for (std::vector<TapPlan>& plans : taps_) {
    for (TapPlan& plan : plans) {
      if (plan.gradient) plan.root = AddRoot(gradients[next++]);
    }
  }
  for (size_t i : later) add(i, FindTap(model, request, request.taps[i]));
}

void StepProgram::RecordUpdate(const CompiledModel& compiled, const StepRequest& request, CallContext& context,
                               std::span<const Value> tapped, std::vector<Value>& tap_gradients) {
  const Optimizer& optimizer = compiled.optimizer;
  for (const std::string& name : optimizer.excluded_from_weight_decay()) {
    std::vector<std::string> paths;
    for (const Variable& variable : variables_) paths.push_back(variable.path());
    const auto has = [&](const std::string& path) { return path.find(name) != std::string::npos; };
    if (std::none_of(paths.begin(), paths.end(), has)) {
      ThrowNotFound(optimizer.name(), ": ExcludeFromWeightDecay: ", UnknownNameMessage("weight", name, paths));
    }
  }
  slot_specs_ = optimizer.slots();
  std::vector<size_t> trained;  // positions among variables_
  std::vector<Value> xs;
  const std::set<const void*> wanted(request.trained.begin(), request.trained.end());
  for (size_t i = 0; i < variables_.size(); ++i) {
    if (!wanted.contains(variables_[i].id())) continue;
    trained.push_back(i);
    xs.push_back(context.weights()[i].second);
  }
  xs.insert(xs.end(), tapped.begin(), tapped.end());
  std::vector<Value> gradients = xs.empty() ? std::vector<Value>{} : Gradients({&total_, 1}, xs);
  tap_gradients.assign(gradients.begin() + static_cast<ptrdiff_t>(trained.size()), gradients.end());
  gradients.resize(trained.size());

  Graph::LayerScope scope(*graph_, optimizer.name());
  const Graph::SourceScope source(*graph_, compiled.where);
  std::vector<Value> scalars;
  scalar_names_ = optimizer.scalar_names();
  for (const std::string& name : scalar_names_) {
    scalars.push_back(AddLeaf(graph_->Input({DType::kFloat32, Shape{}}, name), {Leaf::kScalar, scalars.size()}));
  }
  Value finite;
  if (request.guard) finite = LessEqual(Abs(total_), static_cast<double>(std::numeric_limits<float>::max()));
  const auto assign = [&](const Value& leaf, const Value& value) {
    const Root root = AddRoot(Assign(leaf, request.guard ? Where(finite, value, leaf) : value));
    assigned_[static_cast<size_t>(root.output)] = true;
  };
  const auto writes = [&](const Value& leaf) {
    leaves_[static_cast<size_t>(leaf_index_.at(leaf.ref))].written = true;
  };
  gradients = optimizer.Clip(gradients);
  for (size_t i = 0; i < trained.size(); ++i) {
    const Variable& variable = variables_[trained[i]];
    const Value& leaf = xs[i];
    std::vector<Value> slots;
    for (size_t s = 0; s < slot_specs_.size(); ++s) {
      slots.push_back(AddLeaf(graph_->Input(leaf.type(), StrCat(variable.path(), "_", slot_specs_[s].name)),
                              {Leaf::kSlot, trained[i], s, true}));
    }
    writes(leaf);
    const UpdateResult result = optimizer.Update(leaf, gradients[i], slots, scalars, !optimizer.decays(variable.path()));
    assign(leaf, variable.constraint().Apply(result.weight));
    for (size_t s = 0; s < slots.size(); ++s) assign(slots[s], result.slots[s]);
  }
  for (const CallContext::Assignment& state : context.assignments()) {
    writes(state.leaf);
    assign(state.leaf, state.value);
  }
}

}  // namespace weir
