// Constraints: see constraints.h. The quotient of norms is recorded before the product with the weight, which decides
// its rounding in float32.
#include "weir/frontend/parts/constraints.h"

#include "weir/core/error.h"
#include "weir/frontend/parts/custom.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/ops/ops.h"

namespace weir {

using nlohmann::json;

struct Constraint::State {
  std::string class_name;
  json config;
  Function function;
  bool built_in = true;
};

Constraint MakeConstraint(const std::string& class_name, json config, Constraint::Function function) {
  Constraint constraint;
  constraint.state_ =
      std::make_shared<Constraint::State>(Constraint::State{class_name, std::move(config), std::move(function)});
  return constraint;
}

namespace {

constexpr double kEpsilon = 1e-7;

Value Norm(const Value& weight, const std::vector<int64_t>& axes, std::string_view class_name) {
  for (const int64_t axis : axes) NormalizeAxis(axis, weight.shape().rank(), class_name);
  return Sqrt(SumSquares(weight, axes, /*keep_dims=*/true));
}

void CheckAxes(std::string_view class_name, const std::vector<int64_t>& axes) {
  if (axes.empty()) ThrowInvalidArgument(class_name, ": the list of axes is empty");
}

// One axis is written as a number, as users of Keras give it.
json AxisJson(const std::vector<int64_t>& axes) { return axes.size() == 1 ? json(axes[0]) : json(axes); }

std::span<const KnownPart<Constraint>> KnownConstraints() {
  using Config = KerasConfig;
  static const std::vector<KnownPart<Constraint>>& known = *new std::vector<KnownPart<Constraint>>{
      {"max_norm", "MaxNorm", [](const Config& c) { return MaxNorm(c.Number("max_value", 2), c.Ints("axis", {0})); }},
      {"min_max_norm", "MinMaxNorm",
       [](const Config& c) {
         return MinMaxNorm({.min_value = c.Number("min_value", 0),
                            .max_value = c.Number("max_value", 1),
                            .rate = c.Number("rate", 1),
                            .axis = c.Ints("axis", {0})});
       }},
      {"non_neg", "NonNeg", [](const Config&) { return NonNeg(); }},
      {"unit_norm", "UnitNorm", [](const Config& c) { return UnitNorm(c.Ints("axis", {0})); }},
      {"maxnorm", "", [](const Config&) { return MaxNorm(); }, true},
      {"nonneg", "", [](const Config&) { return NonNeg(); }, true},
      {"unitnorm", "", [](const Config&) { return UnitNorm(); }, true},
  };
  return known;
}

}  // namespace

Constraint::Constraint(const char* name) : Constraint(std::string(name)) {}

Constraint::Constraint(const std::string& name)
    : Constraint(MakeKnownPart<Constraint>("constraint", "RegisterConstraint", KnownConstraints(),
                                           KerasConfig(name, json::object()))) {}

Constraint::Constraint(std::string name, Function function)
    : state_(std::make_shared<State>(State{std::move(name), json::object(), std::move(function), false})) {}

void RegisterConstraint(const std::string& name, Constraint::Function function) {
  CheckOwnName("RegisterConstraint", name, FindKnownPart(KnownConstraints(), name) != nullptr, function != nullptr);
  OwnParts<Constraint>::Add(name, [name, function = std::move(function)](const KerasConfig&) {
    return Constraint(name, function);
  });
}

const std::string& Constraint::class_name() const {
  static const std::string& none = *new std::string;
  return defined() ? state_->class_name : none;
}

Value Constraint::Apply(const Value& weight) const {
  if (!defined()) return weight;
  Value projected = state_->function(weight);
  if (projected.type() != weight.type()) {
    ThrowInvalidArgument(class_name(), ": gives ", projected.type(), " for a weight ", weight.type());
  }
  return projected;
}

json Constraint::ToJson() const {
  if (!defined()) return nullptr;
  if (!state_->built_in) {
    NoteUnlessRegistered<Constraint>("constraint", state_->class_name, "RegisterConstraint");
    return state_->class_name;
  }
  return MakeKerasObject("keras.constraints", state_->class_name, state_->config);
}

Constraint Constraint::FromJson(const json& json) {
  const std::optional<KerasConfig> config = ParseKerasObject("constraint", json);
  if (!config.has_value()) return {};
  return MakeKnownPart<Constraint>("constraint", "RegisterConstraint", KnownConstraints(), *config);
}

Constraint MaxNorm(double max_value, int64_t axis) { return MaxNorm(max_value, std::vector<int64_t>{axis}); }

Constraint MaxNorm(double max_value, std::vector<int64_t> axes) {
  CheckAxes("MaxNorm", axes);
  if (!(max_value >= 0)) ThrowInvalidArgument("MaxNorm: max_value is ", max_value, ", expected at least 0");
  json config = {{"max_value", JsonNumber(max_value)}, {"axis", AxisJson(axes)}};
  return MakeConstraint("MaxNorm", std::move(config), [max_value, axes = std::move(axes)](const Value& weight) {
    const Value norm = Norm(weight, axes, "MaxNorm");
    return weight * (Clip(norm, 0, max_value) / (norm + kEpsilon));
  });
}

Constraint UnitNorm(int64_t axis) { return UnitNorm(std::vector<int64_t>{axis}); }

Constraint UnitNorm(std::vector<int64_t> axes) {
  CheckAxes("UnitNorm", axes);
  json config = {{"axis", AxisJson(axes)}};
  return MakeConstraint("UnitNorm", std::move(config), [axes = std::move(axes)](const Value& weight) {
    return weight / (Norm(weight, axes, "UnitNorm") + kEpsilon);
  });
}

Constraint NonNeg() {
  return MakeConstraint("NonNeg", json::object(), [](const Value& weight) { return Maximum(weight, 0); });
}

Constraint MinMaxNorm(const MinMaxNormOptions& options) {
  CheckAxes("MinMaxNorm", options.axis);
  if (!(options.min_value >= 0 && options.min_value <= options.max_value)) {
    ThrowInvalidArgument("MinMaxNorm: expected 0 <= min_value <= max_value, got ", options.min_value, " and ",
                         options.max_value);
  }
  json config = {{"min_value", options.min_value},
                 {"max_value", options.max_value},
                 {"rate", options.rate},
                 {"axis", AxisJson(options.axis)}};
  return MakeConstraint("MinMaxNorm", std::move(config), [options](const Value& weight) {
    const Value norm = Norm(weight, options.axis, "MinMaxNorm");
    const Value target = options.rate * Clip(norm, options.min_value, options.max_value) + (1 - options.rate) * norm;
    return weight * (target / (norm + kEpsilon));
  });
}

}  // namespace weir
