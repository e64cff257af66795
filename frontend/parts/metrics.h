// Metrics: what training and evaluation report, each a running mean over samples. Compile takes names
// ("sparse_categorical_accuracy", "accuracy", any loss's name), the functions below, losses, or functions of one's
// own: .metrics = {"accuracy", SparseTopKCategoricalAccuracy({.k = 3}), {"mean_p", [](auto& y, auto& p) {...}}}.
#ifndef WEIR_FRONTEND_PARTS_METRICS_H_
#define WEIR_FRONTEND_PARTS_METRICS_H_

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "weir/core/graph.h"
#include "weir/frontend/parts/losses.h"

namespace weir {

class Metric {
 public:
  Metric() = default;               // none
  Metric(const char* name);         // NOLINT: throws Error for an unknown name
  Metric(const std::string& name);  // NOLINT
  Metric(const Loss& loss);         // NOLINT: its per-sample values
  // One's own: one value a sample from labels and predictions.
  Metric(std::string name, std::function<Value(const Value& y_true, const Value& y_pred)> function);

  bool defined() const { return state_ != nullptr; }
  const std::string& name() const;  // the key of logs and history; of a name, as written: "acc"
  Metric Named(std::string name) const;
  // Whether a larger value is better; not known of a function of one's own.
  std::optional<bool> larger_is_better() const;

  // One float32 value a sample (or, for predictions of rank above 2, one a position). "accuracy" and "crossentropy"
  // choose their form by the shapes. Throws Error if labels and predictions don't fit.
  Value PerSample(const Value& y_true, const Value& y_pred, const std::optional<Logits>& logits = std::nullopt) const;

  // As Loss::Mask: what a loss as metric leaves out (ignore_class) is not counted either.
  Value Mask(const Value& y_true, const Value& y_pred) const;

  nlohmann::json ToJson() const;  // the name if made from one; null for none
  static Metric FromJson(const nlohmann::json& json);

 private:
  struct State;
  friend struct MetricBuilder;

  std::shared_ptr<const State> state_;
};

// What Compile's metrics option takes: one metric or several.
class MetricList {
 public:
  MetricList() = default;
  MetricList(const char* name) : metrics_{Metric(name)} {}         // NOLINT
  MetricList(const std::string& name) : metrics_{Metric(name)} {}  // NOLINT
  MetricList(const Metric& metric) : metrics_{metric} {}           // NOLINT
  MetricList(std::initializer_list<Metric> metrics) : metrics_(metrics) {}
  MetricList(std::vector<Metric> metrics) : metrics_(std::move(metrics)) {}  // NOLINT

  auto begin() const { return metrics_.begin(); }
  auto end() const { return metrics_.end(); }
  size_t size() const { return metrics_.size(); }
  bool empty() const { return metrics_.empty(); }
  const Metric& operator[](size_t i) const { return metrics_[i]; }

 private:
  std::vector<Metric> metrics_;
};

// 1 where the largest prediction (the first of equals) is that of the label, else 0.
Metric SparseCategoricalAccuracy(const std::string& name = "sparse_categorical_accuracy");
// 1 where the largest prediction is where the largest label is.
Metric CategoricalAccuracy(const std::string& name = "categorical_accuracy");

// Share of the last axis where (p > threshold) == y.
struct BinaryAccuracyOptions {
  std::string name = "binary_accuracy";
  double threshold = 0.5;
};
Metric BinaryAccuracy(const BinaryAccuracyOptions& options = {});

// 1 where fewer than k predictions are greater than that of the label. NaN predictions count as greater.
struct TopKOptions {
  int64_t k = 5;
  std::string name = "";  // default: the function's name in snake case
};
Metric TopKCategoricalAccuracy(const TopKOptions& options = {});
Metric SparseTopKCategoricalAccuracy(const TopKOptions& options = {});

// The state of a running mean: sum of values times weights over sum of weights.
struct MeanState {
  double total = 0;
  double count = 0;

  void Reset() { *this = {}; }
  // Adds `count` values (or a weight of that sum) whose weighted sum is `sum`.
  void Update(double sum, double weight) {
    total += sum;
    count += weight;
  }
  // 0 if nothing was added.
  double Result() const { return count == 0 ? 0 : total / count; }
};

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_METRICS_H_
