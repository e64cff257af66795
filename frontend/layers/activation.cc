#include "weir/frontend/layers/activation.h"

#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/layers/registry.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

class FunctionLayer : public LayerBase {
 public:
  FunctionLayer(std::string class_name, LayerOptions options, Activation activation, nlohmann::json config)
      : LayerBase(std::move(class_name), std::move(options)),
        activation_(std::move(activation)),
        config_(std::move(config)) {}

  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    // The argument has the name of the layer before; it is this layer's pre-activation too.
    const Value y = context.Activate(activation_, inputs[0]);
    return {y.ref == inputs[0].ref ? context.Identity(y) : y};
  }

  nlohmann::json Config() const override { return config_; }

 private:
  Activation activation_;
  nlohmann::json config_;
};

Layer Make(const Here& where, const std::string& class_name, LayerOptions options, const Activation& activation,
           nlohmann::json config) {
  return MakeLayer<FunctionLayer>(where, class_name, std::move(options), activation, std::move(config));
}

void RequireNotNegative(double value, const char* message) {
  if (value < 0) ThrowInvalidArgument(message, ". Received: ", value);
}

Value ReLUFormula(const Value& x, const ReLULayerOptions& options) {
  Value y;
  if (options.threshold == 0) {
    y = options.negative_slope == 0 ? Relu(x) : LeakyRelu(x, options.negative_slope);
  } else {
    y = Where(GreaterEqual(x, options.threshold), x, options.negative_slope * (x - options.threshold));
  }
  return options.max_value ? Minimum(y, *options.max_value) : y;
}

Layer ActivationFromConfig(const KerasConfig& config, const LayerOptions& common) {
  return ActivationLayer({.activation = Part<Activation>(config.json(), "activation"), .name = common.name}, Here());
}
Layer ReLUFromConfig(const KerasConfig& config, const LayerOptions& common) {
  return ReLU({.max_value = config.OptionalNumber("max_value"),
               .negative_slope = config.Number("negative_slope", 0),
               .threshold = config.Number("threshold", 0),
               .name = common.name},
              Here());
}
Layer LeakyReLUFromConfig(const KerasConfig& config, const LayerOptions& common) {
  // Keras 2 calls it alpha.
  return LeakyReLU(
      {.negative_slope = config.Number("negative_slope", config.Number("alpha", 0.3)), .name = common.name}, Here());
}
Layer ELUFromConfig(const KerasConfig& config, const LayerOptions& common) {
  return ELU({.alpha = config.Number("alpha", 1), .name = common.name}, Here());
}
Layer SoftmaxFromConfig(const KerasConfig& config, const LayerOptions& common) {
  return Softmax({.axis = config.Axis("axis", -1), .name = common.name}, Here());
}

}  // namespace

Layer ActivationLayer(const ActivationLayerOptions& options, Here where) {
  return Make(where, "Activation", {.name = options.name, .input_shape = options.input_shape}, options.activation,
              {{"activation", options.activation.ToJson()}});
}
Layer ActivationLayer(const Activation& activation, Here where) {
  return ActivationLayer(ActivationLayerOptions{.activation = activation}, where);
}
SymbolicTensor ApplyActivation(const Activation& activation, const SymbolicTensor& x, Here where) {
  return ActivationLayer(activation, where)(x);
}

Layer ReLU(const ReLULayerOptions& options, Here where) {
  return NamingLine(where, [&] {
    if (options.max_value) {
      RequireNotNegative(*options.max_value, "ReLU: max_value of a ReLU layer cannot be a negative value");
    }
    RequireNotNegative(options.negative_slope, "ReLU: negative_slope of a ReLU layer cannot be a negative value");
    RequireNotNegative(options.threshold, "ReLU: threshold of a ReLU layer cannot be a negative value");
    return Make(where, "ReLU", {.name = options.name, .input_shape = options.input_shape},
                Activation("relu_layer", [options](const Value& x) { return ReLUFormula(x, options); }),
                {{"max_value", options.max_value ? JsonNumber(*options.max_value) : nlohmann::json()},
                 {"negative_slope", JsonNumber(options.negative_slope)},
                 {"threshold", JsonNumber(options.threshold)}});
  });
}
Layer ReLU(double max_value, Here where) { return ReLU(ReLULayerOptions{.max_value = max_value}, where); }

Layer LeakyReLU(const LeakyReLULayerOptions& options, Here where) {
  return NamingLine(where, [&] {
    RequireNotNegative(options.negative_slope,
                       "LeakyReLU: the negative_slope value of a Leaky ReLU layer cannot be negative");
    return Make(where, "LeakyReLU", {.name = options.name, .input_shape = options.input_shape},
                Activation("leaky_relu_layer",
                           [slope = options.negative_slope](const Value& x) { return LeakyRelu(x, slope); }),
                {{"negative_slope", JsonNumber(options.negative_slope)}});
  });
}
Layer LeakyReLU(double negative_slope, Here where) {
  return LeakyReLU(LeakyReLULayerOptions{.negative_slope = negative_slope}, where);
}

Layer ELU(const ELULayerOptions& options, Here where) {
  return Make(where, "ELU", {.name = options.name, .input_shape = options.input_shape},
              Activation("elu_layer", [alpha = options.alpha](const Value& x) { return Elu(x, alpha); }),
              {{"alpha", JsonNumber(options.alpha)}});
}
Layer ELU(double alpha, Here where) { return ELU(ELULayerOptions{.alpha = alpha}, where); }

Layer Softmax(const SoftmaxLayerOptions& options, Here where) {
  return Make(where, "Softmax", {.name = options.name, .input_shape = options.input_shape},
              Activation("softmax_layer", [axis = options.axis](const Value& x) { return Softmax(x, axis); }),
              {{"axis", options.axis}});
}
Layer Softmax(int axis, Here where) { return Softmax(SoftmaxLayerOptions{.axis = axis}, where); }

std::vector<KnownLayer> ActivationLayers() {
  return {{"Activation", ActivationFromConfig},
          {"ReLU", ReLUFromConfig},
          {"LeakyReLU", LeakyReLUFromConfig},
          {"ELU", ELUFromConfig},
          {"Softmax", SoftmaxFromConfig}};
}

}  // namespace weir
