// Activations: see activations.h.
#include "weir/frontend/parts/activations.h"

#include <algorithm>
#include <limits>

#include "weir/core/error.h"
#include "weir/frontend/parts/custom.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

constexpr double kLargest = std::numeric_limits<float>::max(), kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

struct Activation::State {
  std::string name;
  Function function;  // none for linear
  bool has_logits = false;
  bool own = false;  // a function of the user's
};

namespace {

struct KnownActivation {
  std::string name;
  Activation::Function function;
  bool has_logits = false;
};

const std::vector<KnownActivation>& KnownActivations() {
  static const std::vector<KnownActivation>& known = *new std::vector<KnownActivation>{
      {"elu", [](const Value& x) { return Elu(x); }},
      {"exponential", [](const Value& x) { return Exp(x); }},
      {"gelu", [](const Value& x) { return Gelu(x); }},
      {"hard_sigmoid", HardSigmoid},
      {"hard_silu", HardSilu},
      {"hard_swish", HardSilu},
      {"leaky_relu", [](const Value& x) { return LeakyRelu(x); }},
      {"linear", nullptr},
      {"log_softmax", [](const Value& x) { return LogSoftmax(x); }},
      {"mish", Mish},
      {"relu", [](const Value& x) { return Relu(x); }},
      {"relu6", Relu6},
      {"selu", Selu},
      {"sigmoid", [](const Value& x) { return Sigmoid(x); }, true},
      {"silu", [](const Value& x) { return Silu(x); }},
      {"softmax", [](const Value& x) { return Softmax(x); }, true},
      {"softplus", [](const Value& x) { return Softplus(x); }},
      {"softsign", Softsign},
      {"swish", [](const Value& x) { return Silu(x); }},
      {"tanh", [](const Value& x) { return Tanh(x); }},
  };
  return known;
}

}  // namespace

Activation::Activation(const char* name) : Activation(std::string(name)) {}

Activation::Activation(const std::string& name) {
  for (const KnownActivation& known : KnownActivations()) {
    if (known.name == name) {
      state_ = std::make_shared<State>(State{name, known.function, known.has_logits});
      return;
    }
  }
  if (const auto make = OwnParts<Activation>::Find(name)) {
    *this = make(KerasConfig(name, nlohmann::json::object()));
    return;
  }
  std::vector<std::string> names = ActivationNames();
  OwnParts<Activation>::AddNames(names);
  ThrowInvalidArgument(UnknownNameMessage("activation", name, names), OwnPartHint("RegisterActivation"));
}

Activation::Activation(std::string name, Function function)
    : state_(std::make_shared<State>(State{std::move(name), std::move(function), false, true})) {}

void RegisterActivation(const std::string& name, Activation::Function function) {
  const std::vector<std::string> names = ActivationNames();
  CheckOwnName("RegisterActivation", name, std::find(names.begin(), names.end(), name) != names.end(),
               function != nullptr);
  OwnParts<Activation>::Add(name, [name, function = std::move(function)](const KerasConfig&) {
    return Activation(name, function);
  });
}

bool Activation::is_linear() const { return !defined() || state_->function == nullptr; }

const std::string& Activation::name() const {
  static const std::string& linear = *new std::string("linear");
  return defined() ? state_->name : linear;
}

Value Activation::operator()(const Value& x) const { return is_linear() ? x : state_->function(x); }

bool Activation::has_logits() const { return defined() && state_->has_logits; }

nlohmann::json Activation::ToJson() const {
  if (defined() && state_->own) NoteUnlessRegistered<Activation>("activation", name(), "RegisterActivation");
  return name();
}

Activation Activation::FromJson(const nlohmann::json& json) {
  const std::optional<KerasConfig> config = ParseKerasObject("activation", json);
  return config.has_value() ? Activation(config->class_name()) : Activation();
}

std::vector<std::string> ActivationNames() {
  std::vector<std::string> names;
  for (const KnownActivation& known : KnownActivations()) names.push_back(known.name);
  return names;
}

Value Relu6(const Value& x) { return Where(GreaterEqual(x, 6), 6, Relu(x)); }

Value Selu(const Value& x) {
  constexpr double kScale = 1.0507009873554805, kAlpha = 1.6732632423543772;
  return Where(Greater(x, 0), kScale * x, kScale * kAlpha * Elu(x));
}

// Infinities count as the largest numbers, of which the formulas and their slopes are finite; the values of others stay.
Value Softsign(const Value& x) {
  const Value finite = Clip(x, -kLargest, kLargest);
  return finite / (1 + Abs(finite));
}

Value HardSigmoid(const Value& x) { return Relu6(x + 3) / 6; }

Value HardSilu(const Value& x) { return Clip(x, -kLargest, kInfinity) * (Clip(x + 3, 0, 6) / 6); }

// From about 9 on the second factor is 1, below about -104 it is 0.
Value Mish(const Value& x) {
  const Value curved = Clip(x, -200, 20);
  return Where(Greater(x, 20), x, curved * Tanh(Softplus(curved)));
}

}  // namespace weir
