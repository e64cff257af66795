#include "weir/frontend/layers/dense.h"

#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/layers/registry.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

class DenseLayer : public LayerBase {
 public:
  explicit DenseLayer(const DenseLayerOptions& options)
      : LayerBase("Dense", {options.name, options.trainable, options.input_shape}), options_(options) {
    if (options.units <= 0) {
      ThrowInvalidArgument(
          "Dense: received an invalid value for `units`, expected a positive integer. Received: units=", options.units);
    }
  }

  void Check(std::span<const TensorSpec> inputs) const override {
    CheckCount(inputs, 1);
    CheckMinRank(inputs[0], 2);
    CheckChannels(inputs[0]);
  }

  void Build(std::span<const TensorSpec> inputs) override {
    kernel_ = AddWeight({.name = "kernel",
                         .shape = {inputs[0].dims.back(), options_.units},
                         .initializer = options_.kernel_initializer,
                         .regularizer = options_.kernel_regularizer,
                         .constraint = options_.kernel_constraint});
    if (options_.use_bias) {
      bias_ = AddWeight({.name = "bias",
                         .shape = {options_.units},
                         .initializer = options_.bias_initializer,
                         .regularizer = options_.bias_regularizer,
                         .constraint = options_.bias_constraint});
    }
  }

  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    const Value& x = inputs[0];
    const Value kernel = context.Weight(kernel_);
    // Axes between batch and features are more rows of the same product.
    const bool flat = x.shape().rank() == 2;
    Value y =
        MatMul(flat ? x : Reshape(x, {x.shape().size() / std::max<int64_t>(x.shape()[-1], 1), x.shape()[-1]}), kernel);
    if (options_.use_bias) y = y + context.Weight(bias_);
    if (!flat) {
      Dims dims(x.shape().begin(), x.shape().end());
      dims.back() = options_.units;
      y = Reshape(y, std::span<const int64_t>(dims.data(), dims.size()));
    }
    y = context.Activate(options_.activation, y);
    context.Regularize(options_.activity_regularizer, y);
    return {y};
  }

  bool SameInBatches(std::span<const int64_t> /*sizes*/) const override { return !options_.activation.is_own(); }
  nlohmann::json Config() const override {
    return {{"units", options_.units},
            {"activation", options_.activation.ToJson()},
            {"use_bias", options_.use_bias},
            {"kernel_initializer", options_.kernel_initializer.ToJson()},
            {"bias_initializer", options_.bias_initializer.ToJson()},
            {"kernel_regularizer", options_.kernel_regularizer.ToJson()},
            {"bias_regularizer", options_.bias_regularizer.ToJson()},
            {"activity_regularizer", options_.activity_regularizer.ToJson()},
            {"kernel_constraint", options_.kernel_constraint.ToJson()},
            {"bias_constraint", options_.bias_constraint.ToJson()}};
  }

 private:
  DenseLayerOptions options_;
  Variable kernel_, bias_;
};

Layer FromConfig(const KerasConfig& config, const LayerOptions& common) {
  const nlohmann::json& json = config.json();
  return Dense({.units = config.Int("units", 0),
                .activation = Part<Activation>(json, "activation"),
                .use_bias = config.Bool("use_bias", true),
                .kernel_initializer = Part<Initializer>(json, "kernel_initializer", "glorot_uniform"),
                .bias_initializer = Part<Initializer>(json, "bias_initializer", "zeros"),
                .kernel_regularizer = Part<Regularizer>(json, "kernel_regularizer"),
                .bias_regularizer = Part<Regularizer>(json, "bias_regularizer"),
                .activity_regularizer = Part<Regularizer>(json, "activity_regularizer"),
                .kernel_constraint = Part<Constraint>(json, "kernel_constraint"),
                .bias_constraint = Part<Constraint>(json, "bias_constraint"),
                .input_shape = common.input_shape,
                .name = common.name,
                .trainable = common.trainable},
               Here());
}

}  // namespace

Layer Dense(const DenseLayerOptions& options, Here where) { return MakeLayer<DenseLayer>(where, options); }
Layer Dense(int64_t units, const DenseLayerOptions& options, Here where) {
  NamingLine(where, [&] {
    if (options.units != 0) ThrowInvalidArgument("Dense: units are given in front, and among the options again");
  });
  DenseLayerOptions all = options;
  all.units = units;
  return Dense(all, where);
}
Layer Dense(int64_t units, const Activation& activation, const DenseLayerOptions& options, Here where) {
  NamingLine(where, [&] {
    if (options.activation.defined()) {
      ThrowInvalidArgument("Dense: the activation is given in front, and among the options again");
    }
  });
  DenseLayerOptions all = options;
  all.activation = activation;
  return Dense(units, all, where);
}

std::vector<KnownLayer> DenseLayers() { return {{"Dense", FromConfig}}; }

}  // namespace weir
