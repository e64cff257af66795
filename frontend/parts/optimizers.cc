// The Optimizer handle: what is common to all rules (clipping, weight decay, moving averages, files). The rules are in
// optimizer_rules.cc.
#include "weir/frontend/parts/optimizers.h"

#include <algorithm>
#include <limits>

#include "weir/core/error.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/frontend/parts/optimizer_rules.h"
#include "weir/ops/ops.h"

namespace weir {

using nlohmann::json;

namespace {

constexpr char kLearningRate[] = "learning_rate";

void CheckPositive(std::string_view who, std::string_view option, const std::optional<double>& value) {
  if (value.has_value() && !(*value > 0)) {
    ThrowInvalidArgument(who, ": ", option, " is ", *value, ", expected above 0");
  }
}

void CheckOptions(std::string_view who, const OptimizerOptions& options) {
  CheckPositive(who, "clipnorm", options.clipnorm);
  CheckPositive(who, "global_clipnorm", options.global_clipnorm);
  CheckPositive(who, "clipvalue", options.clipvalue);
  if (options.clipnorm.has_value() + options.global_clipnorm.has_value() + options.clipvalue.has_value() > 1) {
    ThrowInvalidArgument(who, ": only one of clipnorm, global_clipnorm and clipvalue can be given");
  }
  if (!(options.ema_momentum >= 0 && options.ema_momentum <= 1)) {
    ThrowInvalidArgument(who, ": ema_momentum is ", options.ema_momentum, ", expected 0 to 1");
  }
  if (options.ema_overwrite_frequency.has_value() && *options.ema_overwrite_frequency < 1) {
    ThrowInvalidArgument(who, ": ema_overwrite_frequency is ", *options.ema_overwrite_frequency,
                         ", expected at least 1");
  }
}

// Gradients whose squares overflow are measured in this unit.
constexpr double kUnit = 0x1p70;

Value Finite(const Value& squares) { return Less(squares, std::numeric_limits<double>::infinity()); }

// w * scale with the scalar scale = limit / max(|g|, limit), in Keras's order of operations.
Value ClipNorm(const Value& gradient, double limit) {
  const Value squares = SumSquares(gradient), small = gradient * (1 / kUnit);
  return Where(Finite(squares), gradient * limit / Maximum(Sqrt(squares), limit),
               small * (limit / Sqrt(SumSquares(small))));
}

std::vector<Value> ClipGlobalNorm(std::span<const Value> gradients, double limit) {
  Value squares, small_squares;
  for (const Value& gradient : gradients) {
    const Value own = SumSquares(gradient), small = SumSquares(gradient * (1 / kUnit));
    squares = squares.defined() ? squares + own : own;
    small_squares = small_squares.defined() ? small_squares + small : small;
  }
  std::vector<Value> clipped;
  if (!squares.defined()) return clipped;
  const Value scale = limit * Minimum(1 / Sqrt(squares), 1 / limit);
  const Value small_scale = limit / Sqrt(small_squares);
  for (const Value& gradient : gradients) {
    clipped.push_back(Where(Finite(squares), gradient * scale, gradient * (1 / kUnit) * small_scale));
  }
  return clipped;
}

std::string SnakeCase(const std::string& class_name) {
  std::string name = class_name;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

bool Contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

Optimizer::Optimizer(const char* name) : Optimizer(std::string(name)) {}

Optimizer::Optimizer(const std::string& name)
    : Optimizer(MakeKnownPart<Optimizer>("optimizer", "RegisterOptimizer", KnownOptimizers(),
                                         KerasConfig(name, json::object()))) {}

Optimizer::Optimizer(std::shared_ptr<const OptimizerRule> rule, LearningRate learning_rate, OptimizerOptions options)
    : rule_(std::move(rule)), learning_rate_(std::move(learning_rate)), options_(std::move(options)) {
  CheckOptions(class_name(), options_);
  if (options_.name.empty()) options_.name = SnakeCase(class_name());
}

void Optimizer::set_learning_rate(double learning_rate) {
  if (learning_rate_.is_schedule()) {
    ThrowFailedPrecondition(name(), ": the learning rate follows a schedule and can't be set to ", learning_rate);
  }
  learning_rate_ = learning_rate;
}

Optimizer Optimizer::ExcludeFromWeightDecay(const std::vector<std::string>& names) const {
  if (!options_.weight_decay.has_value()) {
    ThrowFailedPrecondition(name(), ": there is no weight decay to exclude weights from");
  }
  Optimizer made = *this;
  for (const std::string& name : names) {
    if (name.empty()) ThrowInvalidArgument(this->name(), ": ExcludeFromWeightDecay: a name is empty");
    made.excluded_.push_back(name);
  }
  return made;
}

bool Optimizer::decays(std::string_view path) const {
  return std::none_of(excluded_.begin(), excluded_.end(),
                      [&](const std::string& name) { return path.find(name) != std::string_view::npos; });
}

std::vector<SlotSpec> Optimizer::slots() const {
  std::vector<SlotSpec> all;
  if (!defined()) return all;
  if (options_.use_ema) all.push_back({.name = "average", .initial = 0, .group = 0});
  for (SlotSpec slot : rule_->slots()) {
    slot.group += options_.use_ema ? 1 : 0;
    all.push_back(std::move(slot));
  }
  return all;
}

std::vector<std::string> Optimizer::scalar_names() const {
  std::vector<std::string> names;
  if (!defined()) return names;
  names = rule_->scalar_names();
  if (options_.weight_decay.has_value() && !Contains(names, kLearningRate)) names.push_back(kLearningRate);
  if (options_.use_ema) {
    names.push_back("ema_momentum");
    if (options_.ema_overwrite_frequency.has_value()) names.push_back("ema_overwrite");
  }
  return names;
}

std::vector<float> Optimizer::Scalars(int64_t iterations) const {
  std::vector<float> scalars;
  if (!defined()) return scalars;
  const float learning_rate = static_cast<float>(learning_rate_.At(iterations));
  scalars = rule_->Scalars(learning_rate, iterations);
  if (options_.weight_decay.has_value() && !Contains(rule_->scalar_names(), kLearningRate)) {
    scalars.push_back(learning_rate);
  }
  if (options_.use_ema) {
    // The first average is the weight itself.
    scalars.push_back(iterations == 0 ? 0.0f : static_cast<float>(options_.ema_momentum));
    if (options_.ema_overwrite_frequency.has_value()) {
      scalars.push_back((iterations + 1) % *options_.ema_overwrite_frequency == 0 ? 1.0f : 0.0f);
    }
  }
  return scalars;
}

std::vector<Value> Optimizer::Clip(std::span<const Value> gradients) const {
  std::vector<Value> clipped(gradients.begin(), gradients.end());
  if (options_.global_clipnorm.has_value()) return ClipGlobalNorm(gradients, *options_.global_clipnorm);
  for (Value& gradient : clipped) {
    if (options_.clipnorm.has_value()) gradient = ClipNorm(gradient, *options_.clipnorm);
    if (options_.clipvalue.has_value()) {
      gradient = weir::Clip(gradient, -*options_.clipvalue, *options_.clipvalue);
    }
  }
  return clipped;
}

UpdateResult Optimizer::Update(const Value& weight, const Value& gradient, std::span<const Value> slots,
                               std::span<const Value> scalars, bool exclude_from_weight_decay) const {
  if (!defined()) ThrowInvalidArgument("there is no optimizer for a weight ", weight.type());
  const std::vector<std::string> names = scalar_names();
  if (slots.size() != this->slots().size() || scalars.size() != names.size()) {
    ThrowInvalidArgument(name(), ": got ", slots.size(), " slots and ", scalars.size(), " scalars, expected ",
                         this->slots().size(), " and ", names.size());
  }
  if (gradient.type() != weight.type()) {
    ThrowInvalidArgument(name(), ": gradient is ", gradient.type(), ", expected the weight's ", weight.type());
  }
  const auto scalar = [&](std::string_view name) {
    return scalars[static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin())];
  };

  Value start = weight;
  if (options_.weight_decay.has_value() && !exclude_from_weight_decay) {
    start = weight - weight * *options_.weight_decay * scalar(kLearningRate);
  }
  const size_t averages = options_.use_ema ? 1 : 0;
  UpdateResult result =
      rule_->Update(start, gradient, slots.subspan(averages), scalars.first(rule_->scalar_names().size()));
  if (options_.use_ema) {
    const Value momentum = scalar("ema_momentum");
    const Value average = momentum * slots[0] + (1 - momentum) * result.weight;
    if (options_.ema_overwrite_frequency.has_value()) {
      const Value overwrite = BroadcastTo(Greater(scalar("ema_overwrite"), 0.5), weight.shape());
      result.weight = Where(overwrite, average, result.weight);
    }
    result.slots.insert(result.slots.begin(), average);
  }
  return result;
}

json Optimizer::ToJson() const {
  if (!defined()) return nullptr;
  json config = {{"name", options_.name},
                 {"learning_rate", learning_rate_.ToJson()},
                 {"weight_decay", JsonOptional(options_.weight_decay)},
                 {"clipnorm", JsonOptional(options_.clipnorm)},
                 {"global_clipnorm", JsonOptional(options_.global_clipnorm)},
                 {"clipvalue", JsonOptional(options_.clipvalue)},
                 {"use_ema", options_.use_ema},
                 {"ema_momentum", options_.ema_momentum},
                 {"ema_overwrite_frequency", JsonOptional(options_.ema_overwrite_frequency)},
                 {"loss_scale_factor", nullptr},
                 {"gradient_accumulation_steps", nullptr}};
  rule_->AddConfig(config);
  if (FindKnownPart(KnownOptimizers(), class_name()) == nullptr) {
    NoteUnlessRegistered<Optimizer>("optimizer", class_name(), "RegisterOptimizer");
  }
  // Keras forgets it when it saves a model.
  if (!excluded_.empty()) config["exclude_from_weight_decay"] = excluded_;
  return MakeKerasObject("keras.optimizers", class_name(), std::move(config));
}

Optimizer Optimizer::FromJson(const json& json) {
  const std::optional<KerasConfig> config = ParseKerasObject("optimizer", json);
  if (!config.has_value()) return {};
  if (config->Int("gradient_accumulation_steps", 1) > 1) {
    ThrowInvalidArgument(config->class_name(), ": gradient_accumulation_steps is not supported");
  }
  // Some Keras 2 releases write "Custom>Adam".
  std::string class_name = config->class_name();
  const bool registered = OwnParts<Optimizer>::Find(class_name) != nullptr;
  if (const size_t prefix = class_name.rfind('>'); prefix != std::string::npos && !registered) {
    class_name.erase(0, prefix + 1);
  }
  const KerasConfig own(class_name, config->json());
  const Optimizer made = MakeKnownPart<Optimizer>("optimizer", "RegisterOptimizer", KnownOptimizers(), own);
  const std::vector<std::string> excluded = own.Strings("exclude_from_weight_decay");
  return excluded.empty() ? made : made.ExcludeFromWeightDecay(excluded);
}

}  // namespace weir
