// Regularizers: see regularizers.h.
#include "weir/frontend/parts/regularizers.h"

#include "weir/core/error.h"
#include "weir/frontend/parts/custom.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/ops/ops.h"

namespace weir {

using nlohmann::json;

struct Regularizer::State {
  std::string class_name;
  json config;
  Function function;
  bool built_in = true;
};

Regularizer MakeRegularizer(const std::string& class_name, json config, Regularizer::Function function) {
  Regularizer regularizer;
  regularizer.state_ =
      std::make_shared<Regularizer::State>(Regularizer::State{class_name, std::move(config), std::move(function)});
  return regularizer;
}

namespace {

void CheckFactor(std::string_view class_name, std::string_view factor, double value) {
  if (!(value >= 0)) ThrowInvalidArgument(class_name, ": ", factor, " is ", value, ", expected at least 0");
}

std::span<const KnownPart<Regularizer>> KnownRegularizers() {
  using Config = KerasConfig;
  static const std::vector<KnownPart<Regularizer>>& known = *new std::vector<KnownPart<Regularizer>>{
      {"l1", "L1", [](const Config& c) { return L1(c.Number("l1", 0.01)); }},
      {"l1_l2", "L1L2", [](const Config& c) { return L1L2({.l1 = c.Number("l1", 0), .l2 = c.Number("l2", 0)}); }},
      {"l2", "L2", [](const Config& c) { return L2(c.Number("l2", 0.01)); }},
  };
  return known;
}

// The name alone means a factor of 0.01 for each of the two, where an object's missing factor is 0.
KerasConfig NamedConfig(const std::string& name) {
  return KerasConfig(name, name == "l1_l2" ? json{{"l1", 0.01}, {"l2", 0.01}} : json::object());
}

}  // namespace

Regularizer::Regularizer(const char* name) : Regularizer(std::string(name)) {}

Regularizer::Regularizer(const std::string& name)
    : Regularizer(MakeKnownPart<Regularizer>("regularizer", "RegisterRegularizer", KnownRegularizers(),
                                             NamedConfig(name))) {}

Regularizer::Regularizer(std::string name, Function function)
    : state_(std::make_shared<State>(State{std::move(name), json::object(), std::move(function), false})) {}

void RegisterRegularizer(const std::string& name, Regularizer::Function function) {
  CheckOwnName("RegisterRegularizer", name, FindKnownPart(KnownRegularizers(), name) != nullptr, function != nullptr);
  OwnParts<Regularizer>::Add(name, [name, function = std::move(function)](const KerasConfig&) {
    return Regularizer(name, function);
  });
}

const std::string& Regularizer::class_name() const {
  static const std::string& none = *new std::string;
  return defined() ? state_->class_name : none;
}

Value Regularizer::Penalty(const Value& weight) const {
  if (!defined()) ThrowInvalidArgument("there is no regularizer for ", weight.type());
  Value penalty = state_->function(weight);
  if (penalty.shape().rank() != 0) ThrowInvalidArgument(class_name(), ": gives ", penalty.type(), ", not a scalar");
  return penalty;
}

json Regularizer::ToJson() const {
  if (!defined()) return nullptr;
  if (!state_->built_in) {
    NoteUnlessRegistered<Regularizer>("regularizer", state_->class_name, "RegisterRegularizer");
    return state_->class_name;
  }
  return MakeKerasObject("keras.regularizers", state_->class_name, state_->config);
}

Regularizer Regularizer::FromJson(const json& json) {
  if (json.is_string()) return Regularizer(json.get<std::string>());
  const std::optional<KerasConfig> config = ParseKerasObject("regularizer", json);
  if (!config.has_value()) return {};
  return MakeKnownPart<Regularizer>("regularizer", "RegisterRegularizer", KnownRegularizers(), *config);
}

Regularizer L1(double l1) {
  CheckFactor("L1", "l1", l1);
  return MakeRegularizer("L1", {{"l1", l1}}, [l1](const Value& weight) { return l1 * Sum(Abs(weight)); });
}

Regularizer L2(double l2) {
  CheckFactor("L2", "l2", l2);
  return MakeRegularizer("L2", {{"l2", l2}}, [l2](const Value& weight) { return l2 * SumSquares(weight); });
}

Regularizer L1L2(const L1L2Options& options) {
  CheckFactor("L1L2", "l1", options.l1);
  CheckFactor("L1L2", "l2", options.l2);
  return MakeRegularizer("L1L2", {{"l1", options.l1}, {"l2", options.l2}}, [options](const Value& weight) {
    if (options.l2 == 0) return options.l1 * Sum(Abs(weight));
    if (options.l1 == 0) return options.l2 * SumSquares(weight);
    return options.l1 * Sum(Abs(weight)) + options.l2 * SumSquares(weight);
  });
}

}  // namespace weir
