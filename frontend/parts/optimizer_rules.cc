// The rules of the optimizers (formulas: optimizers.h). The order of operations is that of Keras 3, so that float32
// results agree; powers of the step are taken in float32 on the host for the same reason.
#include "weir/frontend/parts/optimizer_rules.h"
#include "weir/frontend/parts/custom.h"

#include <cmath>
#include <vector>

#include "weir/core/error.h"
#include "weir/ops/ops.h"

namespace weir {

using nlohmann::json;

namespace {

using Values = std::span<const Value>;

// What every options struct repeats.
template <class Options>
OptimizerOptions Common(const Options& options) {
  return {.weight_decay = options.weight_decay,
          .clipnorm = options.clipnorm,
          .clipvalue = options.clipvalue,
          .global_clipnorm = options.global_clipnorm,
          .use_ema = options.use_ema,
          .ema_momentum = options.ema_momentum,
          .ema_overwrite_frequency = options.ema_overwrite_frequency,
          .name = options.name};
}

void CheckUnit(std::string_view who, std::string_view option, double value) {
  if (!(value >= 0 && value <= 1)) ThrowInvalidArgument(who, ": ", option, " is ", value, ", expected 0 to 1");
}

float Power(double base, int64_t exponent) { return std::pow(static_cast<float>(base), static_cast<float>(exponent)); }

// A gradient whose square, sums and differences are finite: what is larger counts as this, so that no rule divides one
// infinity by another. Steps of rules that divide by the gradients' size are the same for it.
Value Bounded(const Value& g) {
  constexpr double kMost = 0x1p60;  // about 1e18
  return Clip(g, -kMost, kMost);
}

// The running mean: m + (x - m) * (1 - beta).
Value Towards(const Value& mean, const Value& x, double beta) { return mean + (x - mean) * (1 - beta); }

class SgdRule final : public OptimizerRule {
 public:
  explicit SgdRule(const SGDOptions& options) : momentum_(options.momentum), nesterov_(options.nesterov) {
    CheckUnit("SGD", "momentum", momentum_);
  }
  std::string class_name() const override { return "SGD"; }
  std::vector<SlotSpec> slots() const override {
    return momentum_ == 0 ? std::vector<SlotSpec>() : std::vector<SlotSpec>{{.name = "momentum"}};
  }
  UpdateResult Update(const Value& w, const Value& g, Values slots, Values scalars) const override {
    const Value step = g * scalars[0];
    if (momentum_ == 0) return {w - step, {}};
    const Value velocity = slots[0] * momentum_ - step;
    return {nesterov_ ? w + (velocity * momentum_ - step) : w + velocity, {velocity}};
  }
  void AddConfig(json& config) const override {
    config["momentum"] = momentum_;
    config["nesterov"] = nesterov_;
  }

 private:
  double momentum_;
  bool nesterov_;
};

// Adam and AdamW differ in their defaults and names only.
class AdamRule final : public OptimizerRule {
 public:
  AdamRule(std::string class_name, const AdamOptions& o)
      : class_name_(std::move(class_name)),
        beta_1_(o.beta_1),
        beta_2_(o.beta_2),
        epsilon_(o.epsilon),
        amsgrad_(o.amsgrad) {
    CheckUnit(class_name_, "beta_1", beta_1_);
    CheckUnit(class_name_, "beta_2", beta_2_);
  }
  std::string class_name() const override { return class_name_; }
  std::vector<SlotSpec> slots() const override {
    std::vector<SlotSpec> slots = {{.name = "momentum"}, {.name = "velocity"}};
    if (amsgrad_) slots.push_back({.name = "velocity_hat", .initial = 0, .group = 1});
    return slots;
  }
  std::vector<std::string> scalar_names() const override { return {"alpha"}; }
  std::vector<float> Scalars(float learning_rate, int64_t iterations) const override {
    const int64_t t = iterations + 1;
    return {learning_rate * std::sqrt(1 - Power(beta_2_, t)) / (1 - Power(beta_1_, t))};
  }
  UpdateResult Update(const Value& w, const Value& gradient, Values slots, Values scalars) const override {
    const Value g = Bounded(gradient);
    const Value m = Towards(slots[0], g, beta_1_);
    const Value v = Towards(slots[1], Square(g), beta_2_);
    UpdateResult result{.weight = {}, .slots = {m, v}};
    Value under_root = v;
    if (amsgrad_) {
      under_root = Maximum(slots[2], v);
      result.slots.push_back(under_root);
    }
    result.weight = w - m * scalars[0] / (Sqrt(under_root) + epsilon_);
    return result;
  }
  void AddConfig(json& config) const override {
    config["beta_1"] = beta_1_;
    config["beta_2"] = beta_2_;
    config["epsilon"] = epsilon_;
    config["amsgrad"] = amsgrad_;
  }

 private:
  std::string class_name_;
  double beta_1_, beta_2_, epsilon_;
  bool amsgrad_;
};

class RmspropRule final : public OptimizerRule {
 public:
  explicit RmspropRule(const RMSpropOptions& o)
      : rho_(o.rho), momentum_(o.momentum), epsilon_(o.epsilon), centered_(o.centered) {
    CheckUnit("RMSprop", "rho", rho_);
    CheckUnit("RMSprop", "momentum", momentum_);
  }
  std::string class_name() const override { return "RMSprop"; }
  std::vector<SlotSpec> slots() const override {
    std::vector<SlotSpec> slots = {{.name = "velocity"}};
    int group = 0;
    if (momentum_ > 0) slots.push_back({.name = "momentum", .initial = 0, .group = ++group});
    if (centered_) slots.push_back({.name = "average_gradient", .initial = 0, .group = ++group});
    return slots;
  }
  UpdateResult Update(const Value& w, const Value& gradient, Values slots, Values scalars) const override {
    const Value g = Bounded(gradient);
    const Value velocity = rho_ * slots[0] + (1 - rho_) * Square(g);
    UpdateResult result{.weight = {}, .slots = {velocity}};
    Value denominator = velocity + epsilon_;
    Value average;
    if (centered_) {
      average = rho_ * slots.back() + (1 - rho_) * g;
      // A variance, which rounding may make negative by more than epsilon.
      denominator = Maximum(velocity - Square(average), 0) + epsilon_;
    }
    Value step = scalars[0] * g / Sqrt(denominator);
    if (momentum_ > 0) {
      step = momentum_ * slots[1] + step;
      result.slots.push_back(step);
    }
    if (centered_) result.slots.push_back(average);
    result.weight = w - step;
    return result;
  }
  void AddConfig(json& config) const override {
    config["rho"] = rho_;
    config["momentum"] = momentum_;
    config["epsilon"] = epsilon_;
    config["centered"] = centered_;
  }

 private:
  double rho_, momentum_, epsilon_;
  bool centered_;
};

class AdagradRule final : public OptimizerRule {
 public:
  explicit AdagradRule(const AdagradOptions& o) : initial_(o.initial_accumulator_value), epsilon_(o.epsilon) {}
  std::string class_name() const override { return "Adagrad"; }
  std::vector<SlotSpec> slots() const override { return {{.name = "accumulator", .initial = initial_}}; }
  UpdateResult Update(const Value& w, const Value& gradient, Values slots, Values scalars) const override {
    const Value g = Bounded(gradient);
    const Value accumulator = slots[0] + Square(g);
    return {w - scalars[0] * g / Sqrt(accumulator + epsilon_), {accumulator}};
  }
  void AddConfig(json& config) const override {
    config["initial_accumulator_value"] = initial_;
    config["epsilon"] = epsilon_;
  }

 private:
  double initial_, epsilon_;
};

class AdadeltaRule final : public OptimizerRule {
 public:
  explicit AdadeltaRule(const AdadeltaOptions& o) : rho_(o.rho), epsilon_(o.epsilon) {
    CheckUnit("Adadelta", "rho", rho_);
  }
  std::string class_name() const override { return "Adadelta"; }
  std::vector<SlotSpec> slots() const override {
    return {{.name = "accumulated_grad"}, {.name = "accumulated_delta_var"}};
  }
  UpdateResult Update(const Value& w, const Value& gradient, Values slots, Values scalars) const override {
    const Value g = Bounded(gradient);
    const Value squares = rho_ * slots[0] + (1 - rho_) * Square(g);
    const Value delta = -(Sqrt(slots[1] + epsilon_) * g / Sqrt(squares + epsilon_));
    const Value deltas = rho_ * slots[1] + (1 - rho_) * Square(delta);
    return {w + scalars[0] * delta, {squares, deltas}};
  }
  void AddConfig(json& config) const override {
    config["rho"] = rho_;
    config["epsilon"] = epsilon_;
  }

 private:
  double rho_, epsilon_;
};

class AdamaxRule final : public OptimizerRule {
 public:
  explicit AdamaxRule(const AdamaxOptions& o) : beta_1_(o.beta_1), beta_2_(o.beta_2), epsilon_(o.epsilon) {
    CheckUnit("Adamax", "beta_1", beta_1_);
    CheckUnit("Adamax", "beta_2", beta_2_);
  }
  std::string class_name() const override { return "Adamax"; }
  std::vector<SlotSpec> slots() const override { return {{.name = "momentum"}, {.name = "norm"}}; }
  std::vector<std::string> scalar_names() const override { return {"learning_rate", "momentum_correction"}; }
  std::vector<float> Scalars(float learning_rate, int64_t iterations) const override {
    return {learning_rate, 1 - Power(beta_1_, iterations + 1)};
  }
  UpdateResult Update(const Value& w, const Value& gradient, Values slots, Values scalars) const override {
    const Value g = Bounded(gradient);
    const Value m = Towards(slots[0], g, beta_1_);
    const Value norm = Maximum(beta_2_ * slots[1], Abs(g));
    return {w - scalars[0] * m / (scalars[1] * (norm + epsilon_)), {m, norm}};
  }
  void AddConfig(json& config) const override {
    config["beta_1"] = beta_1_;
    config["beta_2"] = beta_2_;
    config["epsilon"] = epsilon_;
  }

 private:
  double beta_1_, beta_2_, epsilon_;
};

class NadamRule final : public OptimizerRule {
 public:
  explicit NadamRule(const NadamOptions& o) : beta_1_(o.beta_1), beta_2_(o.beta_2), epsilon_(o.epsilon) {
    CheckUnit("Nadam", "beta_1", beta_1_);
    CheckUnit("Nadam", "beta_2", beta_2_);
  }
  std::string class_name() const override { return "Nadam"; }
  std::vector<SlotSpec> slots() const override { return {{.name = "momentum"}, {.name = "velocity"}}; }
  std::vector<std::string> scalar_names() const override {
    return {"learning_rate", "next_momentum", "next_correction", "gradient_share", "correction", "velocity_correction"};
  }
  std::vector<float> Scalars(float learning_rate, int64_t iterations) const override {
    const int64_t t = iterations + 1;
    // The product of momenta vanishes in float32 long before the loop gets long (0.9^1000 = 0).
    float product = 1;
    for (int64_t i = 1; i <= t && product != 0; ++i) product *= Momentum(i);
    const float next = Momentum(t + 1);
    return {learning_rate, next, 1 - product * next, 1 - Momentum(t), 1 - product, 1 - Power(beta_2_, t)};
  }
  UpdateResult Update(const Value& w, const Value& gradient, Values slots, Values scalars) const override {
    const Value g = Bounded(gradient);
    const Value m = Towards(slots[0], g, beta_1_);
    const Value v = Towards(slots[1], Square(g), beta_2_);
    const Value m_hat = scalars[1] * m / scalars[2] + scalars[3] * g / scalars[4];
    const Value v_hat = v / scalars[5];
    return {w - m_hat * scalars[0] / (Sqrt(v_hat) + epsilon_), {m, v}};
  }
  void AddConfig(json& config) const override {
    config["beta_1"] = beta_1_;
    config["beta_2"] = beta_2_;
    config["epsilon"] = epsilon_;
  }

 private:
  float Momentum(int64_t t) const { return static_cast<float>(beta_1_) * (1 - 0.5f * Power(0.96, t)); }

  double beta_1_, beta_2_, epsilon_;
};

// Options common to all, from a file's config; the rate's default is the optimizer's own.
template <class Options>
Options ReadCommon(const KerasConfig& c) {
  Options options;
  if (c.Has("learning_rate")) options.learning_rate = LearningRate::FromJson(c.json().at("learning_rate"));
  if constexpr (std::is_same_v<Options, AdamWOptions>) {
    options.weight_decay = c.Number("weight_decay", options.weight_decay);
  } else {
    options.weight_decay = c.OptionalNumber("weight_decay");
  }
  options.clipnorm = c.OptionalNumber("clipnorm");
  options.global_clipnorm = c.OptionalNumber("global_clipnorm");
  options.clipvalue = c.OptionalNumber("clipvalue");
  options.use_ema = c.Bool("use_ema", false);
  options.ema_momentum = c.Number("ema_momentum", 0.99);
  options.ema_overwrite_frequency = c.OptionalInt("ema_overwrite_frequency");
  options.name = c.String("name", "");
  return options;
}

// With the betas and epsilon of the Adam family.
template <class Options>
Options ReadBetas(const KerasConfig& c) {
  Options options = ReadCommon<Options>(c);
  options.beta_1 = c.Number("beta_1", options.beta_1);
  options.beta_2 = c.Number("beta_2", options.beta_2);
  options.epsilon = c.Number("epsilon", options.epsilon);
  if constexpr (!std::is_same_v<Options, AdamaxOptions>) options.amsgrad = c.Bool("amsgrad", false);
  return options;
}

Optimizer ReadSgd(const KerasConfig& c) {
  SGDOptions options = ReadCommon<SGDOptions>(c);
  options.momentum = c.Number("momentum", options.momentum);
  options.nesterov = c.Bool("nesterov", false);
  return SGD(options);
}

Optimizer ReadRmsprop(const KerasConfig& c) {
  RMSpropOptions options = ReadCommon<RMSpropOptions>(c);
  options.rho = c.Number("rho", options.rho);
  options.momentum = c.Number("momentum", options.momentum);
  options.epsilon = c.Number("epsilon", options.epsilon);
  options.centered = c.Bool("centered", false);
  return RMSprop(options);
}

Optimizer ReadAdagrad(const KerasConfig& c) {
  AdagradOptions options = ReadCommon<AdagradOptions>(c);
  options.initial_accumulator_value = c.Number("initial_accumulator_value", options.initial_accumulator_value);
  options.epsilon = c.Number("epsilon", options.epsilon);
  return Adagrad(options);
}

Optimizer ReadAdadelta(const KerasConfig& c) {
  AdadeltaOptions options = ReadCommon<AdadeltaOptions>(c);
  options.rho = c.Number("rho", options.rho);
  options.epsilon = c.Number("epsilon", options.epsilon);
  return Adadelta(options);
}

}  // namespace

std::span<const KnownPart<Optimizer>> KnownOptimizers() {
  using Config = KerasConfig;
  static const std::vector<KnownPart<Optimizer>>& known = *new std::vector<KnownPart<Optimizer>>{
      {"adadelta", "Adadelta", ReadAdadelta},
      {"adagrad", "Adagrad", ReadAdagrad},
      {"adam", "Adam", [](const Config& c) { return Adam(ReadBetas<AdamOptions>(c)); }},
      {"adamax", "Adamax", [](const Config& c) { return Adamax(ReadBetas<AdamaxOptions>(c)); }},
      {"adamw", "AdamW", [](const Config& c) { return AdamW(ReadBetas<AdamWOptions>(c)); }},
      {"nadam", "Nadam", [](const Config& c) { return Nadam(ReadBetas<NadamOptions>(c)); }},
      {"rmsprop", "RMSprop", ReadRmsprop},
      {"sgd", "SGD", ReadSgd},
  };
  return known;
}

void RegisterOptimizer(const std::string& name, OptimizerRuleMaker make) {
  CheckOwnName("RegisterOptimizer", name, FindKnownPart(KnownOptimizers(), name) != nullptr, make != nullptr);
  OwnParts<Optimizer>::Add(name, [name, make = std::move(make)](const KerasConfig& config) {
    // Of all defaults only the rate's is an optimizer's own; files have it.
    const RMSpropOptions common = ReadCommon<RMSpropOptions>(config);
    std::shared_ptr<const OptimizerRule> rule = make(config.json());
    if (rule == nullptr || rule->class_name() != name) {
      ThrowInvalidArgument("what is registered as optimizer \"", name, "\" made ",
                           rule == nullptr ? "no rule" : StrCat("a rule of class \"", rule->class_name(), "\""));
    }
    return Optimizer(std::move(rule), common.learning_rate, Common(common));
  });
}

Optimizer SGD(const SGDOptions& options) {
  return Optimizer(std::make_shared<SgdRule>(options), options.learning_rate, Common(options));
}

Optimizer Adam(const AdamOptions& options) {
  return Optimizer(std::make_shared<AdamRule>("Adam", options), options.learning_rate, Common(options));
}

Optimizer AdamW(const AdamWOptions& options) {
  const AdamOptions adam{.learning_rate = options.learning_rate,
                         .beta_1 = options.beta_1,
                         .beta_2 = options.beta_2,
                         .epsilon = options.epsilon,
                         .amsgrad = options.amsgrad};
  return Optimizer(std::make_shared<AdamRule>("AdamW", adam), options.learning_rate, Common(options));
}

Optimizer RMSprop(const RMSpropOptions& options) {
  return Optimizer(std::make_shared<RmspropRule>(options), options.learning_rate, Common(options));
}

Optimizer Adagrad(const AdagradOptions& options) {
  return Optimizer(std::make_shared<AdagradRule>(options), options.learning_rate, Common(options));
}

Optimizer Adadelta(const AdadeltaOptions& options) {
  return Optimizer(std::make_shared<AdadeltaRule>(options), options.learning_rate, Common(options));
}

Optimizer Adamax(const AdamaxOptions& options) {
  return Optimizer(std::make_shared<AdamaxRule>(options), options.learning_rate, Common(options));
}

Optimizer Nadam(const NadamOptions& options) {
  return Optimizer(std::make_shared<NadamRule>(options), options.learning_rate, Common(options));
}

Optimizer SGD(const LearningRate& learning_rate) { return SGD(SGDOptions{.learning_rate = learning_rate}); }
Optimizer Adam(const LearningRate& learning_rate) { return Adam(AdamOptions{.learning_rate = learning_rate}); }
Optimizer AdamW(const LearningRate& learning_rate) { return AdamW(AdamWOptions{.learning_rate = learning_rate}); }
Optimizer RMSprop(const LearningRate& learning_rate) { return RMSprop(RMSpropOptions{.learning_rate = learning_rate}); }
Optimizer Adagrad(const LearningRate& learning_rate) { return Adagrad(AdagradOptions{.learning_rate = learning_rate}); }
Optimizer Adadelta(const LearningRate& learning_rate) { return Adadelta(AdadeltaOptions{.learning_rate = learning_rate}); }
Optimizer Adamax(const LearningRate& learning_rate) { return Adamax(AdamaxOptions{.learning_rate = learning_rate}); }
Optimizer Nadam(const LearningRate& learning_rate) { return Nadam(NadamOptions{.learning_rate = learning_rate}); }

}  // namespace weir
