// The cross-entropies. Each has up to three forms: from logits (given, or found under the predictions), from
// probabilities as TensorFlow computes it, and from probabilities as Keras on other engines does.
#include <algorithm>
#include <vector>

#include "weir/core/error.h"
#include "weir/frontend/parts/labels.h"
#include "weir/frontend/parts/loss_builder.h"
#include "weir/frontend/parts/losses.h"
#include "weir/ops/ops.h"

namespace weir {

using nlohmann::json;

namespace {

enum class Engine { kTensorFlow, kOther };

Engine ParseEngine(const std::string& name) {
  if (name == "tensorflow") return Engine::kTensorFlow;
  if (name == "jax" || name == "torch") return Engine::kOther;
  const std::vector<std::string> known = {"jax", "tensorflow", "torch"};
  ThrowInvalidArgument(UnknownNameMessage("engine", name, known));
}

// The logits to compute from; undefined if there are only probabilities.
Value LogitsToUse(Engine engine, bool from_logits, const Value& y_pred, const std::optional<Logits>& found) {
  if (engine == Engine::kTensorFlow && found.has_value()) return found->value;
  return from_logits ? y_pred : Value();
}

Value ClipProbabilities(const Value& p) { return Clip(p, kLossEpsilon, 1 - kLossEpsilon); }

// Probabilities divided by their sum, then clipped.
Value Normalized(const Value& p) { return ClipProbabilities(p / Sum(p, {-1}, /*keep_dims=*/true)); }

double CheckSmoothing(std::string_view who, double smoothing) {
  if (!(smoothing >= 0 && smoothing <= 1)) {
    ThrowInvalidArgument(who, ": label_smoothing is ", smoothing, ", expected 0 to 1");
  }
  return smoothing;
}

// y (1 - a) + a / n.
Value Smooth(const Value& y, double smoothing, double n) {
  return smoothing == 0 ? y : y * (1 - smoothing) + smoothing / n;
}

// Keras knows no "engine": only what differs from TensorFlow's way is written.
void AddEngine(json& config, const std::string& engine) {
  if (engine != "tensorflow") config["engine"] = engine;
}

SparseCategoricalCrossEntropyOptions SparseOptions(const KerasConfig& config) {
  SparseCategoricalCrossEntropyOptions options;
  options.from_logits = config.Bool("from_logits", false);
  options.ignore_class = config.OptionalInt("ignore_class");
  options.reduction = config.String("reduction", options.reduction);
  options.name = config.String("name", options.name);
  options.engine = config.String("engine", options.engine);
  return options;
}

template <class Options>
Options DenseOptions(const KerasConfig& config) {
  Options options;
  options.from_logits = config.Bool("from_logits", false);
  options.label_smoothing = config.Number("label_smoothing", 0);
  options.reduction = config.String("reduction", options.reduction);
  options.name = config.String("name", options.name);
  options.engine = config.String("engine", options.engine);
  return options;
}

}  // namespace

std::span<const KnownPart<Loss>> CrossEntropies() {
  using Config = KerasConfig;
  static const auto binary = [](const Config& c) {
    return BinaryCrossEntropy(DenseOptions<BinaryCrossEntropyOptions>(c));
  };
  static const std::vector<KnownPart<Loss>>& known = *new std::vector<KnownPart<Loss>>{
      {"binary_crossentropy", "BinaryCrossentropy", binary},
      {"categorical_crossentropy", "CategoricalCrossentropy",
       [](const Config& c) { return CategoricalCrossEntropy(DenseOptions<CategoricalCrossEntropyOptions>(c)); }},
      {"sparse_categorical_crossentropy", "SparseCategoricalCrossentropy",
       [](const Config& c) { return SparseCategoricalCrossEntropy(SparseOptions(c)); }},
      {"bce", "BCE", binary, true},
  };
  return known;
}

Loss SparseCategoricalCrossEntropy(const SparseCategoricalCrossEntropyOptions& options) {
  json config = {{"from_logits", options.from_logits}, {"ignore_class", JsonOptional(options.ignore_class)}};
  AddEngine(config, options.engine);
  LossBuilder::State state{.name = options.name,
                           .class_name = "SparseCategoricalCrossentropy",
                           .config = std::move(config),
                           .reduction = ParseReduction(options.reduction),
                           .function = nullptr,
                           .mask = nullptr};
  const std::string who = options.name;
  const Engine engine = ParseEngine(options.engine);
  const std::optional<int64_t> ignored = options.ignore_class;
  if (ignored.has_value() && (*ignored < INT32_MIN || *ignored > INT32_MAX)) {
    ThrowInvalidArgument(who, ": ignore_class is ", *ignored, ", expected a label, a number of 32 bits");
  }
  if (ignored.has_value()) {
    state.mask = [who, ignored](const Value& y_true, const Value& y_pred) {
      return Cast(NotEqual(ClassNumbers(who, y_true, y_pred), static_cast<double>(*ignored)), DType::kFloat32);
    };
  }
  state.function = [who, engine, ignored, from_logits = options.from_logits](const Value& y_true, const Value& y_pred,
                                                                             const std::optional<Logits>& found) {
    Value labels = ClassNumbers(who, y_true, y_pred);
    Value counts;
    if (ignored.has_value()) {
      // Ignored labels may lie outside the classes: any valid one stands in for them, and its value is not used.
      counts = NotEqual(labels, static_cast<double>(*ignored));
      labels = Where(counts, labels, 0);
    }
    Value values;
    if (const Value logits = LogitsToUse(engine, from_logits, y_pred, found); logits.defined()) {
      values = SparseSoftmaxCrossEntropy(logits, labels);
    } else if (engine == Engine::kTensorFlow) {
      // Softmax over log(clip(p)) divides by the sum of the clipped probabilities.
      values = SparseSoftmaxCrossEntropy(Log(ClipProbabilities(y_pred)), labels);
    } else {
      values = -Log(TakeAlongLast(Normalized(y_pred), labels));
    }
    return counts.defined() ? Where(counts, values, 0) : values;
  };
  return LossBuilder::Make(std::move(state));
}

Loss CategoricalCrossEntropy(const CategoricalCrossEntropyOptions& options) {
  const std::string who = options.name;
  const Engine engine = ParseEngine(options.engine);
  const double smoothing = CheckSmoothing(who, options.label_smoothing);
  json config = {{"from_logits", options.from_logits}, {"label_smoothing", smoothing}, {"axis", -1}};
  AddEngine(config, options.engine);
  return LossBuilder::Make(
      {.name = who,
       .class_name = "CategoricalCrossentropy",
       .config = std::move(config),
       .reduction = ParseReduction(options.reduction),
       .function = [who, engine, smoothing, from_logits = options.from_logits](
                       const Value& y_true, const Value& y_pred, const std::optional<Logits>& found) -> Value {
         const Value y = Smooth(MatchingLabels(who, y_true, y_pred, "sparse_categorical_crossentropy"), smoothing,
                                static_cast<double>(y_pred.shape()[-1]));
         if (const Value logits = LogitsToUse(engine, from_logits, y_pred, found); logits.defined()) {
           return SoftmaxCrossEntropy(logits, y);
         }
         return -Sum(y * Log(Normalized(y_pred)), {-1});
       },
       .mask = nullptr});
}

Loss BinaryCrossEntropy(const BinaryCrossEntropyOptions& options) {
  const std::string who = options.name;
  const Engine engine = ParseEngine(options.engine);
  const double smoothing = CheckSmoothing(who, options.label_smoothing);
  json config = {{"from_logits", options.from_logits}, {"label_smoothing", smoothing}, {"axis", -1}};
  AddEngine(config, options.engine);
  return LossBuilder::Make(
      {.name = who,
       .class_name = "BinaryCrossentropy",
       .config = std::move(config),
       .reduction = ParseReduction(options.reduction),
       .function = [who, engine, smoothing, from_logits = options.from_logits](
                       const Value& y_true, const Value& y_pred, const std::optional<Logits>& found) -> Value {
         const Value y = Smooth(MatchingLabels(who, y_true, y_pred), smoothing, 2);
         if (const Value logits = LogitsToUse(engine, from_logits, y_pred, found); logits.defined()) {
           return Mean(SigmoidCrossEntropy(logits, y), {-1});
         }
         const Value p = ClipProbabilities(y_pred);
         return Mean(-(y * Log(p) + (1 - y) * Log(1 - p)), {-1});
       },
       .mask = nullptr});
}

}  // namespace weir
