// Optimizers: how a gradient changes a weight. Compile takes a name ("adam"), one of the functions below
// (Adam({.learning_rate = 1e-4})) or a rule of one's own (OptimizerRule).
//
// The update is recorded once into the step's graph. What changes from step to step (the learning rate, powers of
// Adam's betas) are scalar float32 leaves, which the trainer binds to Scalars(iterations) before each run:
//
//   grads = optimizer.Clip(grads);
//   for each weight: UpdateResult r = optimizer.Update(w, g, its slots, scalars); w' = constraint.Apply(r.weight);
#ifndef WEIR_FRONTEND_PARTS_OPTIMIZERS_H_
#define WEIR_FRONTEND_PARTS_OPTIMIZERS_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/core/graph.h"
#include "weir/frontend/parts/schedules.h"

namespace weir {

// State that an optimizer keeps for each weight, of the weight's shape, float32.
struct SlotSpec {
  std::string name;    // "momentum", as Keras names it
  double initial = 0;  // every element at the start
  // Order in files: all weights' slots of group 0, weight by weight, then those of group 1.
  int group = 0;
};

struct UpdateResult {
  Value weight;
  std::vector<Value> slots;  // in the order of slots()
};

// The rule of one optimizer, without what is common to all. Immutable.
class OptimizerRule {
 public:
  virtual ~OptimizerRule() = default;
  virtual std::string class_name() const = 0;  // "Adam"
  virtual std::vector<SlotSpec> slots() const { return {}; }
  virtual std::vector<std::string> scalar_names() const { return {"learning_rate"}; }
  // One number for each scalar name, for the step after `iterations` steps; computed in float32, as Keras does.
  virtual std::vector<float> Scalars(float learning_rate, int64_t /*iterations*/) const { return {learning_rate}; }
  // Slots and scalars in the order of slots() and scalar_names().
  virtual UpdateResult Update(const Value& weight, const Value& gradient, std::span<const Value> slots,
                              std::span<const Value> scalars) const = 0;
  virtual void AddConfig(nlohmann::json& config) const = 0;
};

// Options that all optimizers share; each optimizer's struct repeats them, so that they can be given by name.
struct OptimizerOptions {
  std::optional<double> weight_decay = {};     // w -= w * decay * rate before the update
  std::optional<double> clipnorm = {};         // each gradient's L2 norm at most this
  std::optional<double> clipvalue = {};        // each gradient's elements within +-this
  std::optional<double> global_clipnorm = {};  // the norm of all gradients together at most this
  // Keep a moving average of each weight (before its constraint). At the end of Fit the averages become the weights,
  // unless Fit was interrupted; a Fit that goes on from there (resume, initial_epoch) does so without them.
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<int64_t> ema_overwrite_frequency = {};  // every so many steps, weights become their averages
  std::string name = "";                                // default: "adam" for Adam
};

class Optimizer {
 public:
  Optimizer() = default;               // none
  Optimizer(const char* name);         // NOLINT: with default options; throws Error for an unknown name
  Optimizer(const std::string& name);  // NOLINT
  // Throws Error for contradictory options: more than one kind of clipping, values out of range.
  Optimizer(std::shared_ptr<const OptimizerRule> rule, LearningRate learning_rate, OptimizerOptions options = {});

  bool defined() const { return rule_ != nullptr; }
  std::string class_name() const { return defined() ? rule_->class_name() : ""; }
  const std::string& name() const { return options_.name; }
  const OptimizerOptions& options() const { return options_; }

  const LearningRate& learning_rate() const { return learning_rate_; }
  // Changes this handle only. Throws Error if the rate is a schedule.
  void set_learning_rate(double learning_rate);

  // This optimizer without weight decay for weights whose path ("dense/bias") contains one of `names`:
  // AdamW().ExcludeFromWeightDecay({"bias"}). Throws Error if there is no weight decay or a name is empty; the first step
  // of a training throws it for a name that no weight has.
  Optimizer ExcludeFromWeightDecay(const std::vector<std::string>& names) const;
  const std::vector<std::string>& excluded_from_weight_decay() const { return excluded_; }
  bool decays(std::string_view path) const;

  // State for each weight, in the order Update takes it. With use_ema the first slot is "average".
  std::vector<SlotSpec> slots() const;
  std::vector<std::string> scalar_names() const;
  // The scalars' values for the step after `iterations` steps.
  std::vector<float> Scalars(int64_t iterations) const;

  // Gradients clipped as the options say, or as they are.
  std::vector<Value> Clip(std::span<const Value> gradients) const;

  // Weight decay (if asked for and not excluded), the rule, the moving average. Constraints come after it. Throws
  // Error if the counts of slots or scalars, or the types, don't fit.
  UpdateResult Update(const Value& weight, const Value& gradient, std::span<const Value> slots,
                      std::span<const Value> scalars, bool exclude_from_weight_decay = false) const;

  nlohmann::json ToJson() const;  // null for none
  static Optimizer FromJson(const nlohmann::json& json);

 private:
  std::shared_ptr<const OptimizerRule> rule_;
  LearningRate learning_rate_ = 0;
  OptimizerOptions options_;
  std::vector<std::string> excluded_;  // from weight decay
};

// Formulas: g gradient, r learning rate, t the step from 1; epsilon is added where the formula shows it.

// v = momentum * v - r * g; w += v, or with nesterov w += momentum * v - r * g. Without momentum w -= r * g.
struct SGDOptions {
  LearningRate learning_rate = 0.01;
  double momentum = 0;
  bool nesterov = false;
  std::optional<double> weight_decay = {};
  std::optional<double> clipnorm = {};
  std::optional<double> clipvalue = {};
  std::optional<double> global_clipnorm = {};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<int64_t> ema_overwrite_frequency = {};
  std::string name = "";
};
Optimizer SGD(const SGDOptions& options = {});
Optimizer SGD(const LearningRate& learning_rate);

// m += (g - m) * (1 - b1); v += (g^2 - v) * (1 - b2); w -= a * m / (sqrt(v) + epsilon) with
// a = r * sqrt(1 - b2^t) / (1 - b1^t). amsgrad: the largest v so far in v's place.
struct AdamOptions {
  LearningRate learning_rate = 0.001;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  bool amsgrad = false;
  std::optional<double> weight_decay = {};
  std::optional<double> clipnorm = {};
  std::optional<double> clipvalue = {};
  std::optional<double> global_clipnorm = {};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<int64_t> ema_overwrite_frequency = {};
  std::string name = "";
};
Optimizer Adam(const AdamOptions& options = {});
Optimizer Adam(const LearningRate& learning_rate);

// Adam with weight decay 0.004 by default.
struct AdamWOptions {
  LearningRate learning_rate = 0.001;
  double weight_decay = 0.004;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  bool amsgrad = false;
  std::optional<double> clipnorm = {};
  std::optional<double> clipvalue = {};
  std::optional<double> global_clipnorm = {};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<int64_t> ema_overwrite_frequency = {};
  std::string name = "";
};
Optimizer AdamW(const AdamWOptions& options = {});
Optimizer AdamW(const LearningRate& learning_rate);

// v = rho * v + (1 - rho) * g^2; w -= r * g / sqrt(v + epsilon). centered: v - a^2 + epsilon under the root, a being
// the mean of g. momentum: b = momentum * b + increment; w -= b.
struct RMSpropOptions {
  LearningRate learning_rate = 0.001;
  double rho = 0.9;
  double momentum = 0;
  double epsilon = 1e-7;
  bool centered = false;
  std::optional<double> weight_decay = {};
  std::optional<double> clipnorm = {};
  std::optional<double> clipvalue = {};
  std::optional<double> global_clipnorm = {};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<int64_t> ema_overwrite_frequency = {};
  std::string name = "";
};
Optimizer RMSprop(const RMSpropOptions& options = {});
Optimizer RMSprop(const LearningRate& learning_rate);

// a += g^2; w -= r * g / sqrt(a + epsilon).
struct AdagradOptions {
  LearningRate learning_rate = 0.001;
  double initial_accumulator_value = 0.1;
  double epsilon = 1e-7;
  std::optional<double> weight_decay = {};
  std::optional<double> clipnorm = {};
  std::optional<double> clipvalue = {};
  std::optional<double> global_clipnorm = {};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<int64_t> ema_overwrite_frequency = {};
  std::string name = "";
};
Optimizer Adagrad(const AdagradOptions& options = {});
Optimizer Adagrad(const LearningRate& learning_rate);

// a = rho * a + (1 - rho) * g^2; d = -g * sqrt(u + epsilon) / sqrt(a + epsilon); u = rho * u + (1 - rho) * d^2;
// w += r * d.
struct AdadeltaOptions {
  LearningRate learning_rate = 0.001;
  double rho = 0.95;
  double epsilon = 1e-7;
  std::optional<double> weight_decay = {};
  std::optional<double> clipnorm = {};
  std::optional<double> clipvalue = {};
  std::optional<double> global_clipnorm = {};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<int64_t> ema_overwrite_frequency = {};
  std::string name = "";
};
Optimizer Adadelta(const AdadeltaOptions& options = {});
Optimizer Adadelta(const LearningRate& learning_rate);

// m as Adam; u = max(b2 * u, |g|); w -= r * m / ((1 - b1^t) * (u + epsilon)).
struct AdamaxOptions {
  LearningRate learning_rate = 0.001;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  std::optional<double> weight_decay = {};
  std::optional<double> clipnorm = {};
  std::optional<double> clipvalue = {};
  std::optional<double> global_clipnorm = {};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<int64_t> ema_overwrite_frequency = {};
  std::string name = "";
};
Optimizer Adamax(const AdamaxOptions& options = {});
Optimizer Adamax(const LearningRate& learning_rate);

// Adam with Nesterov momentum: with u_t = b1 * (1 - 0.96^t / 2) and U_t their product up to t,
// w -= r * (u_{t+1} * m / (1 - U_{t+1}) + (1 - u_t) * g / (1 - U_t)) / (sqrt(v / (1 - b2^t)) + epsilon).
using NadamOptions = AdamaxOptions;
Optimizer Nadam(const NadamOptions& options = {});
Optimizer Nadam(const LearningRate& learning_rate);

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_OPTIMIZERS_H_
