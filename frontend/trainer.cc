#include "weir/frontend/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "weir/core/error.h"
#include "weir/core/float_state.h"
#include "weir/core/fork_guard.h"
#include "weir/frontend/fit_progress.h"
#include "weir/frontend/session.h"

namespace weir {
namespace {

// The values given for outputs, sorted to the outputs. `every`: one unnamed value is for all of them.
template <class T>
std::vector<T> ByOutput(const std::vector<std::pair<std::string, T>>& values, const std::vector<std::string>& names,
                        std::string_view what, bool every, T otherwise) {
  std::vector<T> sorted(names.size(), otherwise);
  std::vector<bool> given(names.size(), false);
  if (every && values.size() == 1 && values[0].first.empty()) return std::vector<T>(names.size(), values[0].second);
  size_t unnamed = 0;
  for (const auto& [name, value] : values) {
    size_t at = unnamed;
    if (name.empty()) {
      ++unnamed;
    } else {
      at = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
      if (at == names.size()) ThrowNotFound("Compile: ", what, ": ", UnknownNameMessage("output", name, names));
    }
    if (at >= names.size()) {
      ThrowInvalidArgument("Compile: ", values.size(), " values of ", what, " for ", names.size(), " output(s)");
    }
    if (given[at]) ThrowInvalidArgument("Compile: ", what, " of output \"", names[at], "\" is given twice");
    sorted[at] = value;
    given[at] = true;
  }
  if (unnamed > 0 && unnamed != names.size()) {
    ThrowInvalidArgument("Compile: ", unnamed, " values of ", what, " for ", names.size(), " output(s) (",
                         StrJoin(names, ", "), ")");
  }
  return sorted;
}

// Metric keys of one output: prefixed if there are several outputs; weighted metrics avoid taken names.
std::vector<std::string> MetricKeys(const OutputPlan& plan, bool several) {
  std::vector<std::string> keys;
  const std::string prefix = several ? plan.name + "_" : "";
  for (const Metric& metric : plan.metrics) keys.push_back(prefix + metric.name());
  for (const Metric& metric : plan.weighted_metrics) {
    std::string key = prefix + metric.name();
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) key = prefix + "weighted_" + metric.name();
    keys.push_back(key);
  }
  return keys;
}

// Around what users call: results don't depend on the floating-point state of the caller, which gets it back, and a
// process that can't compute is told so.
class Entry {
 public:
  Entry() { ThrowIfError(CheckFork()); }

 private:
  const LibraryCall call_;
  const ScopedFloatState state_{ScopedFloatState::Subnormals::kKept};
};

}  // namespace

EpochMeans::EpochMeans(const CompiledModel& compiled) {
  const auto add = [&](const std::string& key, std::optional<bool> larger) {
    keys_.push_back(key);
    larger_.push_back(larger);
  };
  add("loss", false);
  const bool several = compiled.outputs.size() > 1;
  for (const OutputPlan& plan : compiled.outputs) {
    if (!several || !plan.loss.defined()) continue;
    add(plan.name + "_loss", false);
    ++output_losses_;
  }
  for (const OutputPlan& plan : compiled.outputs) {
    size_t next = 0;
    for (const std::string& key : MetricKeys(plan, several)) {
      const size_t i = next++, unweighted = plan.metrics.size();
      add(key, (i < unweighted ? plan.metrics[i] : plan.weighted_metrics[i - unweighted]).larger_is_better());
    }
  }
  means_.resize(keys_.size());
  for (const OutputPlan& plan : compiled.outputs) {
    if (plan.loss.defined()) part_weights_.push_back(plan.loss_weight);
  }
  parts_.resize(part_weights_.size() + 1);
}

std::optional<bool> EpochMeans::larger_is_better(std::string_view key) const {
  const auto found = std::find(keys_.begin(), keys_.end(), key);
  return found == keys_.end() ? std::nullopt : larger_[static_cast<size_t>(found - keys_.begin())];
}

void EpochMeans::Reset() {
  for (MeanState& mean : means_) mean.Reset();
  for (MeanState& mean : parts_) mean.Reset();
}

void EpochMeans::Add(const StepRun& step, int64_t batch_size) {
  const double n = static_cast<double>(batch_size);
  size_t next = 0;
  means_[next++].Update(step.loss() * n, n);
  const std::vector<StepRun::OutputLoss>& losses = step.output_losses();
  for (size_t i = 0; i < output_losses_; ++i) means_[next++].Update(losses[i].loss * n, n);
  if (step.counts_apart()) {
    for (size_t i = 0; i < losses.size(); ++i) {
      parts_[i].Update(losses[i].sum ? losses[i].loss : losses[i].loss * losses[i].count, losses[i].count);
      if (losses[i].sum) parts_[i].count = 1;
    }
    parts_.back().Update(step.penalty() * n, n);
  }
  for (const StepRun::WeightedSum& sum : step.metrics()) means_[next++].Update(sum.value, sum.count);
}

Logs EpochMeans::Values() const {
  Logs logs;
  const bool apart = parts_.back().count > 0;
  double loss = parts_.back().Result();
  for (size_t i = 0; i < part_weights_.size(); ++i) loss += part_weights_[i] * parts_[i].Result();
  for (size_t i = 0; i < keys_.size(); ++i) {
    const double mean = i >= 1 && i <= output_losses_ && apart ? parts_[i - 1].Result() : means_[i].Result();
    logs.Set(keys_[i], i == 0 && apart ? loss : mean);
  }
  return logs;
}

TrainingMoment::TrainingMoment() = default;
TrainingMoment::~TrainingMoment() = default;

Trainer::Trainer(ModelBase& model)
    : model_(model), progress_(std::make_unique<FitProgress>()), published_(std::make_unique<Published>()) {}
Trainer::~Trainer() = default;

void Trainer::Compile(const ModelCompileOptions& options, const std::source_location& where) {
  const Entry entry;
  if (!options.optimizer.defined()) ThrowInvalidArgument("Compile: there is no optimizer");
  if (options.seed) model_.SetSeed(*options.seed);
  if (options.runtime != nullptr && !options.backend.empty()) {
    ThrowInvalidArgument("Compile: both a runtime and the backend '", options.backend, "'");
  }
  if (options.runtime != nullptr) model_.SetRuntime(options.runtime);
  if (!options.backend.empty()) model_.SetRuntime(&RuntimeWithBackend(options.backend));
  CompiledModel compiled{.optimizer = options.optimizer, .outputs = {}, .where = where};
  // A Sequential without an input shape has no output names yet, but one output.
  const std::vector<std::string> names =
      model_.built() ? model_.OutputNames()
                     : std::vector<std::string>{model_.layers().empty() ? "output" : model_.layers().back().name()};
  const std::vector<Loss> losses = ByOutput<Loss>(options.loss.values(), names, "loss", true, {});
  const std::vector<double> weights = ByOutput<double>(options.loss_weights.values(), names, "loss_weights", false, 1);
  const std::vector<MetricList> metrics = ByOutput<MetricList>(options.metrics.values(), names, "metrics", true, {});
  const std::vector<MetricList> weighted =
      ByOutput<MetricList>(options.weighted_metrics.values(), names, "weighted_metrics", true, {});
  for (size_t i = 0; i < names.size(); ++i) {
    compiled.outputs.push_back({.name = names[i],
                                .loss = losses[i],
                                .loss_weight = weights[i],
                                .metrics = {metrics[i].begin(), metrics[i].end()},
                                .weighted_metrics = {weighted[i].begin(), weighted[i].end()}});
  }
  Adopt(std::move(compiled));
}

void Trainer::Adopt(CompiledModel compiled) {
  compiled_ = std::move(compiled);
  state_ = {};
  *progress_ = {};
  PublishOwn();
  Forget();
}

const CompiledModel& Trainer::RequireCompiled(std::string_view what) const {
  if (!compiled_)
    ThrowFailedPrecondition("You must call `Compile()` before using ", what, " (model \"", model_.name(), "\").");
  return *compiled_;
}

void Trainer::set_learning_rate(double learning_rate) {
  RequireCompiled("set_learning_rate");
  compiled_->optimizer.set_learning_rate(learning_rate);
  // Within Fit the rate belongs to what callbacks have counted, and is published with that.
  PublishOwn();
}

void Trainer::EnsureBuilt(const std::vector<Tensor>& x) {
  if (model_.built()) return;
  std::vector<TensorSpec> specs;
  for (const Tensor& tensor : x) {
    if (!tensor.defined() || tensor.shape().rank() < 1)
      ThrowInvalidArgument("model \"", model_.name(), "\": input without a batch axis");
    specs.push_back({DType::kFloat32, {tensor.shape().begin(), tensor.shape().end()}});
    specs.back().dims[0] = kNone;
  }
  model_.EnsureBuilt(specs);
}

// Types of targets that losses and metrics take, for a recording that never runs: like the output, or class numbers.
// Nothing if neither will do.
std::optional<std::vector<TensorType>> Trainer::GuessTargets(const std::vector<TensorType>& inputs) const {
  CallContext context(Graph::Create(), /*training=*/true, model_.seed());
  Graph& graph = *context.graph();
  std::vector<Value> values;
  for (const TensorType& type : inputs) values.push_back(graph.Input(type));
  const std::vector<Value> outputs = context.CallLayer(model_, model_.name(), values);
  std::vector<TensorType> targets;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const OutputPlan& plan = compiled_->outputs[i];
    const Shape& shape = outputs[i].shape();
    std::vector<TensorType> candidates{outputs[i].type()};
    if (shape.rank() > 1) candidates.push_back({DType::kInt32, Shape(Dims(shape.begin(), shape.end() - 1))});
    const auto takes = [&](const TensorType& type) {
      try {
        const Value target = graph.Input(type);
        if (plan.loss.defined()) plan.loss(target, outputs[i], FindLogits(outputs[i]), {});
        for (const auto* metrics : {&plan.metrics, &plan.weighted_metrics}) {
          for (const Metric& metric : *metrics) metric.PerSample(target, outputs[i], FindLogits(outputs[i]));
        }
        return true;
      } catch (const Error&) {
        return false;
      }
    };
    const auto fits = std::find_if(candidates.begin(), candidates.end(), takes);
    if (fits == candidates.end()) return std::nullopt;
    targets.push_back(*fits);
  }
  return targets;
}

// A wrong name is reported here, not in the middle of a training. A right one is that of a value in any kind of run.
std::shared_ptr<TapHandle::State> Trainer::AddTap(const TapRequest& request) {
  const Entry entry;
  std::vector<TensorType> inputs;
  for (const SymbolicTensor& input : model_.network().inputs) {  // throws if not built
    Dims dims(input.shape().begin(), input.shape().end());
    for (int64_t& dim : dims) dim = dim == kNone ? 1024 : dim;
    inputs.push_back({input.spec().dtype, Shape(dims)});
  }
  if (!ForwardHas(model_, inputs, /*training=*/true, request.pattern, request.options.gradient) &&
      !ForwardHas(model_, inputs, /*training=*/false, request.pattern, request.options.gradient)) {
    // What is left is of the loss, the gradients or the optimizer: known once the model is compiled.
    StepRequest step{.mode = RunMode::kTrain, .inputs = inputs, .taps = {{request.pattern, request.options.gradient}}};
    const std::optional<std::vector<TensorType>> targets = compiled_ ? GuessTargets(inputs) : std::nullopt;
    step.mode = targets ? RunMode::kTrain : RunMode::kPredict;
    if (targets) step.targets = *targets;
    if (targets) step.trained = model_.Trained();
    step.taps[0].gradient = targets && request.options.gradient;
    const bool loss = request.pattern == "loss" || request.pattern == model_.name() + "/loss";
    if (targets || !loss) StepProgram(model_, compiled_ ? &*compiled_ : nullptr, step);  // throws if it has none either
  }
  auto state = std::make_shared<TapHandle::State>(request);
  const std::lock_guard lock(mutex_);
  handles_.push_back(state);
  any_handles_ = true;
  return state;
}

std::vector<Tensor> Trainer::Predict(const std::vector<Tensor>& x, const PredictOptions& options) {
  const Entry entry;
  if (options.batch_size <= 0)
    ThrowInvalidArgument("Predict: batch_size ", options.batch_size, ", expected at least 1");
  EnsureBuilt(x);
  CheckScale(model_, x, options.scale, "Predict");
  const BoundExamples data(model_, Examples(x, std::vector<Tensor>{}), /*with_targets=*/false, options.scale);
  TrainerCall call(*this);
  std::vector<Tensor> results;
  std::vector<int64_t> rows;
  for (int64_t begin = 0; begin < data.size(); begin += options.batch_size) {
    const int64_t end = std::min(begin + options.batch_size, data.size());
    rows.resize(static_cast<size_t>(end - begin));
    std::iota(rows.begin(), rows.end(), begin);
    StepRun& run = RunBatch(call, RunMode::kPredict, data, rows, options.taps, begin / options.batch_size, false);
    std::vector<Tensor> outputs = run.outputs();
    for (size_t i = 0; begin == 0 && i < outputs.size(); ++i) {
      const Shape& shape = outputs[i].shape();
      if (shape.rank() == 0 || shape[0] != end)
        ThrowInvalidArgument("Predict: output ", i, " of model \"", model_.name(), "\" has no batch axis");
    }
    if (begin == 0 && end == data.size()) {
      // The only batch's outputs are the results, unless something else is the same tensor.
      run.DropOutputs();
      for (Tensor& output : outputs) {
        if (output.use_count() > 1) output = output.Clone();
      }
      return outputs;
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (begin == 0) {
        Dims dims(outputs[i].shape().begin(), outputs[i].shape().end());
        dims[0] = data.size();
        results.push_back(Tensor::Uninitialized({outputs[i].dtype(), Shape(dims)}));
      }
      const int64_t row_bytes = outputs[i].bytes() / (end - begin);
      std::memcpy(results[i].raw() + begin * row_bytes, outputs[i].raw(), static_cast<size_t>(outputs[i].bytes()));
    }
  }
  if (data.size() > 0) return results;
  // No kernel runs for an empty batch; the shapes are those of the description.
  for (const SymbolicTensor& output : model_.network().outputs) {
    Dims dims(output.shape().begin(), output.shape().end());
    for (int64_t& dim : dims) dim = dim == kNone ? 0 : dim;
    results.emplace_back(output.spec().dtype, Shape(dims));
  }
  return results;
}

Logs Trainer::EvaluateBound(const BoundExamples& data, int64_t batch_size, const std::vector<TapRequest>& taps,
                            int verbose, const ProgressOutput& output) {
  TrainerCall call(*this);
  EpochMeans means(*compiled_);
  const int64_t steps = (data.size() + batch_size - 1) / batch_size;
  std::optional<ProgressLine> progress;
  if (verbose > 0) progress.emplace(ProgressOptions{.steps = steps, .verbose = verbose, .output = output});
  std::vector<int64_t> rows;
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t begin = step * batch_size, end = std::min(begin + batch_size, data.size());
    rows.resize(static_cast<size_t>(end - begin));
    std::iota(rows.begin(), rows.end(), begin);
    means.Add(RunBatch(call, RunMode::kEvaluate, data, rows, taps, step, false), end - begin);
    if (progress && progress->WantsUpdate()) progress->Update(step + 1, means.Values().entries());
  }
  if (progress) progress->Finish(steps, means.Values().entries());
  return means.Values();
}

Logs Trainer::Evaluate(const Examples& data, const EvaluateOptions& options) {
  const Entry entry;
  RequireCompiled("Evaluate");
  if (options.batch_size <= 0)
    ThrowInvalidArgument("Evaluate: batch_size ", options.batch_size, ", expected at least 1");
  EnsureBuilt(data.x);
  CheckScale(model_, data.x, options.scale, "Evaluate");
  const BoundExamples bound(model_, data.Weighted(options.sample_weight.tensors(), "Evaluate"),
                            /*with_targets=*/true, options.scale);
  if (bound.size() == 0) ThrowInvalidArgument("Evaluate: there are no examples");
  return EvaluateBound(bound, options.batch_size, options.taps, options.verbose, options.output);
}

Logs Trainer::TrainOnBatch(const Examples& batch, const BatchOptions& options) {
  const Entry entry;
  RequireCompiled("TrainOnBatch");
  const TrainingTurn turn(*this, "TrainOnBatch", /*fits=*/false);
  EnsureBuilt(batch.x);
  const BoundExamples bound(model_, batch.Weighted(options.sample_weight.tensors(), "TrainOnBatch"),
                            /*with_targets=*/true, options.scale, options.class_weight);
  if (bound.size() == 0) ThrowInvalidArgument("TrainOnBatch: the batch is empty");
  RememberData(model_, batch, options.scale);
  std::vector<int64_t> rows(static_cast<size_t>(bound.size()));
  std::iota(rows.begin(), rows.end(), 0);
  TrainerCall call(*this);
  DropAverages(/*goes_on=*/false);
  EpochMeans means(*compiled_);
  means.Add(RunBatch(call, RunMode::kTrain, bound, rows, options.taps, state_.iterations, false), bound.size());
  return means.Values();
}

}  // namespace weir
