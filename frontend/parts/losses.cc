// The Loss handle: names, files, weights and reduction. The formulas are in cross_entropy_losses.cc and
// comparison_losses.cc.
#include "weir/frontend/parts/losses.h"

#include <vector>

#include "weir/core/op_def.h"
#include "weir/frontend/parts/custom.h"
#include "weir/frontend/parts/loss_builder.h"
#include "weir/ops/ops.h"

namespace weir {

using nlohmann::json;

namespace {

// Weights [n] or [n, 1] with as many axes as the per-sample values, so that they broadcast along the batch axis.
Value AlignWeights(std::string_view who, const Value& weight, const Value& per_sample) {
  const Shape& wanted = per_sample.shape();
  const Shape& shape = weight.shape();
  Value aligned = weight.dtype() == per_sample.dtype() ? weight : Cast(weight, per_sample.dtype());
  if (shape == wanted) return aligned;
  const bool per_batch_row = wanted.rank() > 0 && shape.rank() > 0 && shape[0] == wanted[0] && shape.size() == shape[0];
  if (!per_batch_row) {
    ThrowInvalidArgument(who, ": sample weights are ", weight.type(), ", expected shape ", wanted, " or one a sample");
  }
  std::vector<int64_t> dims(static_cast<size_t>(wanted.rank()), 1);
  dims[0] = wanted[0];
  return Reshape(aligned, dims);
}

}  // namespace

std::optional<Logits> FindLogits(const Value& y_pred) {
  const Node& node = y_pred.graph->node(y_pred.ref.node);
  const std::string_view op = node.op->name;
  if (op == "sigmoid") return Logits{y_pred.graph->value(node.inputs[0]), Logits::kSigmoid};
  // The op runs over the last axis; for another one Softmax records transposes around it.
  if (op == "softmax") return Logits{y_pred.graph->value(node.inputs[0]), Logits::kSoftmax};
  return std::nullopt;
}

Reduction ParseReduction(const std::string& name) {
  if (name == "sum_over_batch_size" || name == "mean" || name == "auto") return Reduction::kSumOverBatchSize;
  if (name == "sum") return Reduction::kSum;
  if (name == "none") return Reduction::kNone;
  if (name == "mean_with_sample_weight") return Reduction::kMeanWithSampleWeight;
  const std::vector<std::string> known = {"mean", "mean_with_sample_weight", "none", "sum", "sum_over_batch_size"};
  ThrowInvalidArgument(UnknownNameMessage("reduction", name, known));
}

const char* Name(Reduction reduction) {
  switch (reduction) {
    case Reduction::kSumOverBatchSize: return "sum_over_batch_size";
    case Reduction::kSum: return "sum";
    case Reduction::kNone: return "none";
    case Reduction::kMeanWithSampleWeight: return "mean_with_sample_weight";
  }
  return "";
}

Loss LossBuilder::Make(Loss::State state) {
  Loss loss;
  loss.state_ = std::make_shared<Loss::State>(std::move(state));
  return loss;
}

Loss LossBuilder::Renamed(const Loss& loss, const std::string& name) {
  Loss::State state = *loss.state_;
  state.name = name;
  return Make(std::move(state));
}

Loss LossBuilder::ByName(const Loss& loss, const std::string& name) {
  Loss::State state = *loss.state_;
  state.name = name;
  state.by_name = true;
  return Make(std::move(state));
}

Loss NamedLoss(const KerasConfig& config) {
  return MakeKnownPart<Loss>("loss", "RegisterLoss", KnownLosses(), config);
}

std::span<const KnownPart<Loss>> KnownLosses() {
  static const std::vector<KnownPart<Loss>>& known = *new std::vector<KnownPart<Loss>>([] {
    std::vector<KnownPart<Loss>> all(CrossEntropies().begin(), CrossEntropies().end());
    all.insert(all.end(), ComparisonLosses().begin(), ComparisonLosses().end());
    return all;
  }());
  return known;
}

Loss::Loss(const char* name) : Loss(std::string(name)) {}

Loss::Loss(const std::string& name)
    : Loss(LossBuilder::ByName(NamedLoss(KerasConfig(name, json::object())), name)) {}

Loss::Loss(std::string name, std::function<Value(const Value& y_true, const Value& y_pred)> function,
           Reduction reduction)
    : state_(std::make_shared<State>(
          State{.name = std::move(name),
                .class_name = "",
                .config = json::object(),
                .reduction = reduction,
                .function =
                    [function = std::move(function)](const Value& y_true, const Value& y_pred,
                                                     const std::optional<Logits>&) {
                      // The lines of the user's own function tell more than where it was handed over.
                      const Graph::SourceScope own(*y_pred.graph, std::source_location());
                      return function(y_true, y_pred);
                    },
                .mask = nullptr,
                .by_name = true})) {}

void RegisterLoss(const std::string& name, PerSampleFunction function, Reduction reduction) {
  CheckOwnName("RegisterLoss", name, FindKnownPart(KnownLosses(), name) != nullptr, function != nullptr);
  OwnParts<Loss>::Add(name, [name, function = std::move(function), reduction](const KerasConfig& config) {
    return Loss(name, function, ParseReduction(config.String("reduction", Name(reduction))));
  });
}

const std::string& Loss::name() const {
  static const std::string& none = *new std::string;
  return defined() ? state_->name : none;
}

Reduction Loss::reduction() const { return defined() ? state_->reduction : Reduction::kSumOverBatchSize; }

Value Loss::PerSample(const Value& y_true, const Value& y_pred, const std::optional<Logits>& logits) const {
  if (!defined()) ThrowInvalidArgument("there is no loss for predictions ", y_pred.type());
  return state_->function(y_true, y_pred, logits);
}

Value Loss::Mask(const Value& y_true, const Value& y_pred) const {
  return defined() && state_->mask ? state_->mask(y_true, y_pred) : Value();
}

Loss::Batch Loss::Reduce(const Value& y_true, const Value& y_pred, const std::optional<Logits>& logits,
                         const Value& sample_weight) const {
  Value values = PerSample(y_true, y_pred, logits);
  Value weight = Mask(y_true, y_pred);
  const Value mask = weight;
  if (sample_weight.defined()) {
    const Value aligned = AlignWeights(name(), sample_weight, values);
    weight = weight.defined() ? weight * aligned : aligned;
  }
  if (weight.defined()) values = values * weight;
  switch (reduction()) {
    case Reduction::kNone: return {.loss = values, .count = {}};
    case Reduction::kSum: return {.loss = Sum(values), .count = {}, .sum = true};
    case Reduction::kMeanWithSampleWeight:
      if (weight.defined()) {
        // No weight at all gives 0, as every value is then 0 too.
        const Value total = Sum(BroadcastTo(weight, values.shape()));
        return {.loss = Sum(values) / Where(Equal(total, 0), 1, total), .count = total};
      }
      break;
    case Reduction::kSumOverBatchSize:
      if (mask.defined()) {
        const Value count = Sum(mask);
        return {.loss = Sum(values) / Maximum(count, 1), .count = count};
      }
      break;
  }
  const int64_t count = values.shape().size();
  return {.loss = count == 0 ? Sum(values) : Sum(values) / static_cast<double>(count), .count = {}};
}

Value Loss::operator()(const Value& y_true, const Value& y_pred, const std::optional<Logits>& logits,
                       const Value& sample_weight, std::source_location where) const {
  const Graph::SourceScope source(*y_pred.graph, where);
  return Reduce(y_true, y_pred, logits, sample_weight).loss;
}

json Loss::ToJson() const {
  if (!defined()) return nullptr;
  const bool own = state_->class_name.empty();
  if (own) NoteUnlessRegistered<Loss>("loss", state_->name, "RegisterLoss");
  if (own && state_->reduction != Reduction::kSumOverBatchSize) {
    return {{"module", nullptr}, {"class_name", state_->name}, {"config", {{"reduction", Name(state_->reduction)}}}};
  }
  if (state_->by_name) return state_->name;
  json config = state_->config;
  config["name"] = state_->name;
  config["reduction"] = Name(state_->reduction);
  return MakeKerasObject("keras.losses", state_->class_name, std::move(config));
}

Loss Loss::FromJson(const json& json) {
  if (json.is_string()) return Loss(json.get<std::string>());
  const std::optional<KerasConfig> config = ParseKerasObject("loss", json);
  return config.has_value() ? NamedLoss(*config) : Loss();
}

}  // namespace weir
