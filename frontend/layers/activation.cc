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

Layer Make(const std::string& class_name, LayerOptions options, const Activation& activation, nlohmann::json config) {
  return Layer(std::make_shared<FunctionLayer>(class_name, std::move(options), activation, std::move(config)));
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
  return ActivationLayer({.activation = Part<Activation>(config.json(), "activation"), .name = common.name});
}
Layer ReLUFromConfig(const KerasConfig& config, const LayerOptions& common) {
  return ReLU({.max_value = config.OptionalNumber("max_value"),
               .negative_slope = config.Number("negative_slope", 0),
               .threshold = config.Number("threshold", 0),
               .name = common.name});
}
Layer LeakyReLUFromConfig(const KerasConfig& config, const LayerOptions& common) {
  // Keras 2 calls it alpha.
  return LeakyReLU(
      {.negative_slope = config.Number("negative_slope", config.Number("alpha", 0.3)), .name = common.name});
}
Layer ELUFromConfig(const KerasConfig& config, const LayerOptions& common) {
  return ELU({.alpha = config.Number("alpha", 1), .name = common.name});
}
Layer SoftmaxFromConfig(const KerasConfig& config, const LayerOptions& common) {
  return Softmax({.axis = static_cast<int>(config.Int("axis", -1)), .name = common.name});
}

}  // namespace

Layer ActivationLayer(const ActivationLayerOptions& options) {
  return Make("Activation", {.name = options.name, .input_shape = options.input_shape}, options.activation,
              {{"activation", options.activation.ToJson()}});
}

Layer ReLU(const ReLULayerOptions& options) {
  if (options.max_value && *options.max_value < 0) {
    ThrowInvalidArgument("ReLU: max_value of a ReLU layer cannot be a negative value. Received: ", *options.max_value);
  }
  if (options.negative_slope < 0) {
    ThrowInvalidArgument("ReLU: negative_slope of a ReLU layer cannot be a negative value. Received: ",
                         options.negative_slope);
  }
  if (options.threshold < 0) {
    ThrowInvalidArgument("ReLU: threshold of a ReLU layer cannot be a negative value. Received: ", options.threshold);
  }
  return Make("ReLU", {.name = options.name, .input_shape = options.input_shape},
              Activation("relu_layer", [options](const Value& x) { return ReLUFormula(x, options); }),
              {{"max_value", options.max_value ? JsonNumber(*options.max_value) : nlohmann::json()},
               {"negative_slope", JsonNumber(options.negative_slope)},
               {"threshold", JsonNumber(options.threshold)}});
}

Layer LeakyReLU(const LeakyReLULayerOptions& options) {
  if (options.negative_slope < 0) {
    ThrowInvalidArgument("LeakyReLU: the negative_slope value of a Leaky ReLU layer cannot be negative. Received: ",
                         options.negative_slope);
  }
  return Make(
      "LeakyReLU", {.name = options.name, .input_shape = options.input_shape},
      Activation("leaky_relu_layer", [slope = options.negative_slope](const Value& x) { return LeakyRelu(x, slope); }),
      {{"negative_slope", JsonNumber(options.negative_slope)}});
}

Layer ELU(const ELULayerOptions& options) {
  return Make("ELU", {.name = options.name, .input_shape = options.input_shape},
              Activation("elu_layer", [alpha = options.alpha](const Value& x) { return Elu(x, alpha); }),
              {{"alpha", JsonNumber(options.alpha)}});
}

Layer Softmax(const SoftmaxLayerOptions& options) {
  return Make("Softmax", {.name = options.name, .input_shape = options.input_shape},
              Activation("softmax_layer", [axis = options.axis](const Value& x) { return Softmax(x, axis); }),
              {{"axis", options.axis}});
}

std::vector<KnownLayer> ActivationLayers() {
  return {{"Activation", ActivationFromConfig},
          {"ReLU", ReLUFromConfig},
          {"LeakyReLU", LeakyReLUFromConfig},
          {"ELU", ELUFromConfig},
          {"Softmax", SoftmaxFromConfig}};
}

}  // namespace weir
