// Metrics: see metrics.h. All are means of per-sample values; the running mean itself is kept by whoever runs them.
#include "weir/frontend/parts/metrics.h"

#include <vector>

#include "weir/core/error.h"
#include "weir/frontend/parts/custom.h"
#include "weir/frontend/parts/labels.h"
#include "weir/frontend/parts/loss_builder.h"
#include "weir/ops/ops.h"

namespace weir {

using nlohmann::json;

struct Metric::State {
  std::string name;
  json serialized;  // a name, or an object whose config gets the name
  Loss::Function function;
  std::function<Value(const Value& y_true, const Value& y_pred)> mask;  // none: all count
  std::optional<bool> larger_is_better;
  bool own = false;  // a function of the user's
};

struct MetricBuilder {
  static Metric Make(const std::string& name, json serialized, Loss::Function function,
                     std::optional<bool> larger_is_better) {
    Metric metric;
    metric.state_ = std::make_shared<Metric::State>(
        Metric::State{name, std::move(serialized), std::move(function), nullptr, larger_is_better});
    return metric;
  }
  // A metric of Keras's own, of those whose larger values are the better ones.
  static Metric Make(const std::string& name, const std::string& class_name, json config, Loss::Function function) {
    config["dtype"] = "float32";
    return Make(name, MakeKerasObject("keras.metrics", class_name, std::move(config)), std::move(function), true);
  }
  static Metric Masked(const Metric& metric, std::function<Value(const Value& y_true, const Value& y_pred)> mask) {
    Metric::State state = *metric.state_;
    state.mask = std::move(mask);
    Metric masked;
    masked.state_ = std::make_shared<Metric::State>(std::move(state));
    return masked;
  }
  static const json& Serialized(const Metric& metric) { return metric.state_->serialized; }
  static Metric Own(const Metric& metric) {
    Metric::State state = *metric.state_;
    state.own = true;
    Metric own;
    own.state_ = std::make_shared<Metric::State>(std::move(state));
    return own;
  }
};

namespace {

using Found = std::optional<Logits>;

Value AsFloat(const Value& x) { return Cast(x, DType::kFloat32); }

// Whether ArgMax of the predictions is the label; float labels are compared as they are, so that 2.5 is no class.
Value SparseMatches(std::string_view who, const Value& y_true, const Value& y_pred) {
  const Value numbers = ClassNumbers(who, y_true, y_pred, "categorical_accuracy");  // checks the shapes
  const Value best = ArgMax(y_pred);
  if (IsFloating(y_true.dtype())) {
    return AsFloat(Equal(Cast(best, y_true.dtype()), Reshape(y_true, best.shape().dims())));
  }
  return AsFloat(Equal(Cast(best, numbers.dtype()), numbers));
}

Value CategoricalMatches(std::string_view who, const Value& y_true, const Value& y_pred) {
  return AsFloat(Equal(ArgMax(MatchingLabels(who, y_true, y_pred, "sparse_categorical_accuracy")), ArgMax(y_pred)));
}

Value BinaryMatches(std::string_view who, const Value& y_true, const Value& y_pred, double threshold) {
  const Value labels = AsFloat(MatchingLabels(who, y_true, y_pred));
  return Mean(AsFloat(Equal(AsFloat(Greater(y_pred, threshold)), labels)), {-1});
}

// Whether fewer than k predictions are not at most the label's: a NaN is not at most anything, so it counts against.
Value InTopK(const Value& numbers, const Value& y_pred, int64_t k) {
  const Value chosen = TakeAlongLast(y_pred, numbers);
  std::vector<int64_t> column(numbers.shape().begin(), numbers.shape().end());
  column.push_back(1);
  const Value above = AsFloat(LogicalNot(LessEqual(y_pred, Reshape(chosen, column))));
  return AsFloat(Less(Sum(above, {-1}), static_cast<double>(k)));
}

enum class LabelKind { kBinary, kSparse, kCategorical };

// What "accuracy" and "crossentropy" stand for, as Keras decides it.
LabelKind GuessKind(const Value& y_true, const Value& y_pred) {
  const Shape &labels = y_true.shape(), &predictions = y_pred.shape();
  if (predictions.rank() > 0 && predictions[-1] == 1) return LabelKind::kBinary;
  if (labels.rank() < predictions.rank() || (labels.rank() > 0 && labels[-1] == 1)) return LabelKind::kSparse;
  return LabelKind::kCategorical;
}

Metric Accuracy(const std::string& name) {
  return MetricBuilder::Make(name, name, [name](const Value& y_true, const Value& y_pred, const Found&) {
    switch (GuessKind(y_true, y_pred)) {
      case LabelKind::kBinary: return BinaryMatches(name, y_true, y_pred, 0.5);
      case LabelKind::kSparse: return SparseMatches(name, y_true, y_pred);
      case LabelKind::kCategorical: break;
    }
    return CategoricalMatches(name, y_true, y_pred);
  }, true);
}

Metric CrossEntropy(const std::string& name) {
  return MetricBuilder::Make(name, name, [](const Value& y_true, const Value& y_pred, const Found& logits) {
    switch (GuessKind(y_true, y_pred)) {
      case LabelKind::kBinary: return BinaryCrossEntropy().PerSample(y_true, y_pred, logits);
      case LabelKind::kSparse: return SparseCategoricalCrossEntropy().PerSample(y_true, y_pred, logits);
      case LabelKind::kCategorical: break;
    }
    return CategoricalCrossEntropy().PerSample(y_true, y_pred, logits);
  }, false);
}

// The loss is minus the cosine, the metric the cosine.
Metric Cosine(const std::string& name) {
  return MetricBuilder::Make(name, "CosineSimilarity", {{"axis", -1}},
                             [](const Value& y_true, const Value& y_pred, const Found&) {
                               return -CosineSimilarity().PerSample(y_true, y_pred);
                             });
}

Metric FromLoss(const Loss& loss, json serialized) {
  return MetricBuilder::Masked(
      MetricBuilder::Make(
          loss.name(), std::move(serialized),
          [loss](const Value& y_true, const Value& y_pred, const Found& logits) {
            return loss.PerSample(y_true, y_pred, logits);
          },
          false),
      [loss](const Value& y_true, const Value& y_pred) { return loss.Mask(y_true, y_pred); });
}

std::span<const KnownPart<Metric>> OwnMetrics() {
  using Config = KerasConfig;
  static const std::vector<KnownPart<Metric>>& known = *new std::vector<KnownPart<Metric>>{
      {"acc", "", [](const Config&) { return Accuracy("acc"); }},
      {"accuracy", "", [](const Config&) { return Accuracy("accuracy"); }},
      {"binary_accuracy", "BinaryAccuracy",
       [](const Config& c) {
         return BinaryAccuracy({.name = c.String("name", "binary_accuracy"), .threshold = c.Number("threshold", 0.5)});
       }},
      {"categorical_accuracy", "CategoricalAccuracy",
       [](const Config& c) { return CategoricalAccuracy(c.String("name", "categorical_accuracy")); }},
      {"ce", "", [](const Config&) { return CrossEntropy("ce"); }},
      {"cosine_similarity", "CosineSimilarity",
       [](const Config& c) { return Cosine(c.String("name", "cosine_similarity")); }},
      {"crossentropy", "", [](const Config&) { return CrossEntropy("crossentropy"); }},
      {"sparse_categorical_accuracy", "SparseCategoricalAccuracy",
       [](const Config& c) { return SparseCategoricalAccuracy(c.String("name", "sparse_categorical_accuracy")); }},
      {"sparse_top_k_categorical_accuracy", "SparseTopKCategoricalAccuracy",
       [](const Config& c) {
         return SparseTopKCategoricalAccuracy({.k = c.Int("k", 5), .name = c.String("name", "")});
       }},
      {"top_k_categorical_accuracy", "TopKCategoricalAccuracy",
       [](const Config& c) { return TopKCategoricalAccuracy({.k = c.Int("k", 5), .name = c.String("name", "")}); }},
  };
  return known;
}

Metric FromConfig(const KerasConfig& config) {
  const std::string& name = config.class_name();
  if (const KnownPart<Metric>* part = FindKnownPart(OwnMetrics(), name)) return part->make(config);
  if (const auto make = OwnParts<Metric>::Find(name)) return make(config);
  if (FindKnownPart(KnownLosses(), name) != nullptr || OwnParts<Loss>::Find(name)) {
    const Loss loss = NamedLoss(config);
    return FromLoss(loss, loss.ToJson());
  }
  std::vector<std::string> names;
  for (const KnownPart<Metric>& part : OwnMetrics()) names.push_back(part.name);
  for (const KnownPart<Loss>& part : KnownLosses()) {
    if (!part.alias && part.name != "cosine_similarity") names.push_back(part.name);
  }
  OwnParts<Metric>::AddNames(names);
  OwnParts<Loss>::AddNames(names);
  ThrowInvalidArgument(UnknownNameMessage("metric", name, names), OwnPartHint("RegisterMetric"));
}

// A metric by name: its key in the logs is the name as written, and so is its form in a file.
Metric FromName(const std::string& name) {
  const Metric metric = FromConfig(KerasConfig(name, json::object()));
  return MetricBuilder::Make(name, name, [metric](const Value& y_true, const Value& y_pred, const Found& logits) {
    return metric.PerSample(y_true, y_pred, logits);
  }, metric.larger_is_better());
}

std::string NameOr(const std::string& name, const char* otherwise) { return name.empty() ? otherwise : name; }

void CheckK(std::string_view who, int64_t k) {
  if (k < 1) ThrowInvalidArgument(who, ": k is ", k, ", expected at least 1");
}

}  // namespace

Metric::Metric(const char* name) : Metric(std::string(name)) {}

Metric::Metric(const std::string& name) : Metric(FromName(name)) {}

Metric::Metric(const Loss& loss) {
  if (loss.defined()) *this = FromLoss(loss, loss.ToJson());
}

Metric::Metric(std::string name, std::function<Value(const Value& y_true, const Value& y_pred)> function)
    : Metric(MetricBuilder::Own(MetricBuilder::Make(
          name, name, [function = std::move(function)](const Value& y_true, const Value& y_pred, const Found&) {
            // The lines of the user's own function tell more than where it was handed over.
            const Graph::SourceScope own(*y_pred.graph, std::source_location());
            return function(y_true, y_pred);
          }, std::nullopt))) {}

void RegisterMetric(const std::string& name, PerSampleFunction function) {
  const bool taken = FindKnownPart(OwnMetrics(), name) != nullptr || FindKnownPart(KnownLosses(), name) != nullptr;
  CheckOwnName("RegisterMetric", name, taken, function != nullptr);
  OwnParts<Metric>::Add(name, [name, function = std::move(function)](const KerasConfig&) {
    return Metric(name, function);
  });
}

const std::string& Metric::name() const {
  static const std::string& none = *new std::string;
  return defined() ? state_->name : none;
}

Metric Metric::Named(std::string name) const {
  if (!defined()) return {};
  const Metric named = MetricBuilder::Masked(
      MetricBuilder::Make(name, state_->serialized, state_->function, state_->larger_is_better), state_->mask);
  return state_->own ? MetricBuilder::Own(named) : named;
}

std::optional<bool> Metric::larger_is_better() const { return defined() ? state_->larger_is_better : std::nullopt; }

Value Metric::PerSample(const Value& y_true, const Value& y_pred, const std::optional<Logits>& logits) const {
  if (!defined()) ThrowInvalidArgument("there is no metric for predictions ", y_pred.type());
  return state_->function(y_true, y_pred, logits);
}

Value Metric::Mask(const Value& y_true, const Value& y_pred) const {
  return defined() && state_->mask ? state_->mask(y_true, y_pred) : Value();
}

json Metric::ToJson() const {
  if (!defined()) return nullptr;
  json serialized = state_->serialized;
  if (serialized.is_object()) serialized["config"]["name"] = state_->name;
  if (serialized.is_string()) {
    // Of a loss of the user's own it is the loss's name.
    const std::string name = serialized.get<std::string>();
    const bool known = FindKnownPart(OwnMetrics(), name) != nullptr || FindKnownPart(KnownLosses(), name) != nullptr;
    const bool registered = OwnParts<Metric>::Find(name) || OwnParts<Loss>::Find(name);
    if (!registered && (state_->own || !known)) UnloadableParts::Note("metric", name, "RegisterMetric");
  }
  return serialized;
}

Metric Metric::FromJson(const json& json) {
  if (json.is_string()) return Metric(json.get<std::string>());
  const std::optional<KerasConfig> config = ParseKerasObject("metric", json);
  if (!config.has_value()) return {};
  if (json.value("module", "") == "keras.losses") return Metric(Loss::FromJson(json));
  return FromConfig(*config);
}

Metric SparseCategoricalAccuracy(const std::string& name) {
  return MetricBuilder::Make(
      name, "SparseCategoricalAccuracy", json::object(),
      [name](const Value& y_true, const Value& y_pred, const Found&) { return SparseMatches(name, y_true, y_pred); });
}

Metric CategoricalAccuracy(const std::string& name) {
  return MetricBuilder::Make(name, "CategoricalAccuracy", json::object(),
                             [name](const Value& y_true, const Value& y_pred, const Found&) {
                               return CategoricalMatches(name, y_true, y_pred);
                             });
}

Metric BinaryAccuracy(const BinaryAccuracyOptions& options) {
  return MetricBuilder::Make(options.name, "BinaryAccuracy", {{"threshold", options.threshold}},
                             [options](const Value& y_true, const Value& y_pred, const Found&) {
                               return BinaryMatches(options.name, y_true, y_pred, options.threshold);
                             });
}

Metric TopKCategoricalAccuracy(const TopKOptions& options) {
  const std::string name = NameOr(options.name, "top_k_categorical_accuracy");
  CheckK(name, options.k);
  return MetricBuilder::Make(name, "TopKCategoricalAccuracy", {{"k", options.k}},
                             [name, k = options.k](const Value& y_true, const Value& y_pred, const Found&) {
                               return InTopK(ArgMax(MatchingLabels(name, y_true, y_pred, "sparse_top_k_categorical_accuracy")), y_pred, k);
                             });
}

Metric SparseTopKCategoricalAccuracy(const TopKOptions& options) {
  const std::string name = NameOr(options.name, "sparse_top_k_categorical_accuracy");
  CheckK(name, options.k);
  return MetricBuilder::Make(name, "SparseTopKCategoricalAccuracy", {{"k", options.k}},
                             [name, k = options.k](const Value& y_true, const Value& y_pred, const Found&) {
                               return InTopK(ClassNumbers(name, y_true, y_pred, "top_k_categorical_accuracy"), y_pred, k);
                             });
}

}  // namespace weir
