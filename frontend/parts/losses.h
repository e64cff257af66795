// Losses: what training minimises. Compile takes a name ("sparse_categorical_crossentropy"), one of the functions
// below (SparseCategoricalCrossEntropy({.from_logits = true})) or a function of one's own.
#ifndef WEIR_FRONTEND_PARTS_LOSSES_H_
#define WEIR_FRONTEND_PARTS_LOSSES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <source_location>
#include <string>

#include "weir/core/graph.h"

namespace weir {

// What a softmax (over the last axis) or a sigmoid was applied to, and which of them it was.
struct Logits {
  enum Kind { kSoftmax, kSigmoid };
  Value value;
  Kind activation = kSoftmax;
};

// The logits of a prediction whose last op is softmax over the last axis or sigmoid. As in TensorFlow, a
// cross-entropy computes from them, whichever of the two it was: `Dense(10, "sigmoid")` under the sparse categorical
// cross-entropy trains as softmax regression of its pre-activation.
std::optional<Logits> FindLogits(const Value& y_pred);

enum class Reduction {
  kSumOverBatchSize,      // sum(loss * weight) / number of per-sample values; "sum_over_batch_size", "mean"
  kSum,                   // "sum"; over an epoch or an evaluation too, whatever the batches
  kNone,                  // per-sample values; "none"
  kMeanWithSampleWeight,  // sum(loss * weight) / sum(weight); "mean_with_sample_weight"
};
Reduction ParseReduction(const std::string& name);
const char* Name(Reduction reduction);

class Loss {
 public:
  // One value a sample from labels and predictions; `logits` are those of y_pred, if known.
  using Function = std::function<Value(const Value& y_true, const Value& y_pred, const std::optional<Logits>& logits)>;

  Loss() = default;               // none
  Loss(const char* name);         // NOLINT: throws Error for an unknown name
  Loss(const std::string& name);  // NOLINT
  // One's own, from labels and predictions.
  Loss(std::string name, std::function<Value(const Value& y_true, const Value& y_pred)> function,
       Reduction reduction = Reduction::kSumOverBatchSize);

  bool defined() const { return state_ != nullptr; }
  const std::string& name() const;  // "mean_squared_error"; of a name, as written: "mse"
  Reduction reduction() const;

  // One value a sample: shape [n], or y_pred's without its last axis. Throws Error if labels and predictions don't
  // fit, with a hint where the other kind of labels was given (class numbers or one-hot rows).
  Value PerSample(const Value& y_true, const Value& y_pred, const std::optional<Logits>& logits = std::nullopt) const;

  // 1 where PerSample counts and 0 where it does not (ignore_class), float32 of PerSample's shape; undefined if all
  // count.
  Value Mask(const Value& y_true, const Value& y_pred) const;

  // PerSample, weighted and reduced: a scalar, or per-sample values for Reduction::kNone. Weights [n] or [n, 1] are
  // broadcast to the per-sample values' further axes. What Mask leaves out is in neither sum nor count.
  // What it records is said to come from `where`.
  Value operator()(const Value& y_true, const Value& y_pred, const std::optional<Logits>& logits = std::nullopt,
                   const Value& sample_weight = {},
                   std::source_location where = std::source_location::current()) const;

  // The same with what it is a mean over, so that the loss of several batches is that of all their samples at once: the
  // sum of loss * count over the sum of counts. `count` is a scalar (how many values count, or the sum of their weights),
  // undefined where every sample counts 1; of a sum ("sum") the batches' losses are added.
  struct Batch {
    Value loss;
    Value count;
    bool sum = false;
  };
  Batch Reduce(const Value& y_true, const Value& y_pred, const std::optional<Logits>& logits = std::nullopt,
               const Value& sample_weight = {}) const;

  nlohmann::json ToJson() const;  // the name if made from one; null for none
  static Loss FromJson(const nlohmann::json& json);

 private:
  struct State;
  friend struct LossBuilder;

  std::shared_ptr<const State> state_;
};

// Labels: class numbers [n] or [n, 1] of any integer type, or whole numbers as floats; predictions [n, classes].
// Value, with z the logits (given by from_logits, or found) and p the probabilities: logsumexp(z) - z[label]; without
// logits -log(c[label] / sum(c)) with c = clip(p, 1e-7, 1 - 1e-7). A label outside [0, classes), or that is
// no whole number (0.5, NaN), fails the run.
struct SparseCategoricalCrossEntropyOptions {
  bool from_logits = false;
  std::optional<int64_t> ignore_class = {};  // samples with this label count nowhere
  std::string reduction = "sum_over_batch_size";
  std::string name = "sparse_categorical_crossentropy";
  // "tensorflow", or "jax" or "torch", where found logits are not used and probabilities are first divided by their
  // sum, then clipped.
  std::string engine = "tensorflow";
};
Loss SparseCategoricalCrossEntropy(const SparseCategoricalCrossEntropyOptions& options = {});

// Labels: rows of probabilities (one-hot) of y_pred's shape.
struct CategoricalCrossEntropyOptions {
  bool from_logits = false;
  double label_smoothing = 0;  // y (1 - a) + a / classes
  std::string reduction = "sum_over_batch_size";
  std::string name = "categorical_crossentropy";
  std::string engine = "tensorflow";
};
Loss CategoricalCrossEntropy(const CategoricalCrossEntropyOptions& options = {});

// Labels 0 or 1, of y_pred's shape; mean over the last axis. Behind a softmax the found logits are taken as a sigmoid's,
// as TensorFlow takes them: the loss of logits (2, 0) and labels (1, 0) is 0.4100376, where the probabilities that the
// model gives would make it 0.1269280. For that use a sigmoid, categorical_crossentropy, or another engine here.
struct BinaryCrossEntropyOptions {
  bool from_logits = false;
  double label_smoothing = 0;  // y (1 - a) + a / 2
  std::string reduction = "sum_over_batch_size";
  std::string name = "binary_crossentropy";
  std::string engine = "tensorflow";
};
Loss BinaryCrossEntropy(const BinaryCrossEntropyOptions& options = {});

// The following take labels of y_pred's shape (or with one axis fewer where y_pred's last is 1).
// As Keras spells them.
inline Loss SparseCategoricalCrossentropy(const SparseCategoricalCrossEntropyOptions& options = {}) {
  return SparseCategoricalCrossEntropy(options);
}
inline Loss CategoricalCrossentropy(const CategoricalCrossEntropyOptions& options = {}) {
  return CategoricalCrossEntropy(options);
}
inline Loss BinaryCrossentropy(const BinaryCrossEntropyOptions& options = {}) { return BinaryCrossEntropy(options); }

struct LossOptions {
  std::string reduction = "sum_over_batch_size";
};
Loss MeanSquaredError(const LossOptions& options = {});
Loss MeanAbsoluteError(const LossOptions& options = {});
Loss MeanAbsolutePercentageError(const LossOptions& options = {});  // 100 mean(|y - p| / max(|y|, 1e-7))
Loss MeanSquaredLogarithmicError(const LossOptions& options = {});
Loss LogCosh(const LossOptions& options = {});
Loss Hinge(const LossOptions& options = {});  // labels -1 and 1; 0 and 1 are taken as such
Loss SquaredHinge(const LossOptions& options = {});
Loss CategoricalHinge(const LossOptions& options = {});
Loss KLDivergence(const LossOptions& options = {});
Loss Poisson(const LossOptions& options = {});
Loss CosineSimilarity(const LossOptions& options = {});  // minus the cosine: -1 is the best

struct HuberOptions {
  double delta = 1;  // squared up to here, linear beyond
  std::string reduction = "sum_over_batch_size";
  std::string name = "huber_loss";
};
Loss Huber(const HuberOptions& options = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_LOSSES_H_
