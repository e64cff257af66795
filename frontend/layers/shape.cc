#include "weir/frontend/layers/shape.h"

#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/layers/registry.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

class FlattenLayer : public LayerBase {
 public:
  explicit FlattenLayer(const FlattenLayerOptions& options)
      : LayerBase("Flatten", {.name = options.name, .input_shape = options.input_shape}) {}

  void Check(std::span<const TensorSpec> inputs) const override {
    CheckCount(inputs, 1);
    CheckMinRank(inputs[0], 1);
  }

  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> inputs) const override {
    const Shape& shape = inputs[0].shape();
    int64_t rest = 1;
    for (int i = 1; i < shape.rank(); ++i) rest = CheckedMultiply(rest, shape[i], "Flatten");
    return {weir::Reshape(inputs[0], {shape[0], rest})};
  }

  bool SameInBatches(std::span<const int64_t> /*sizes*/) const override { return true; }
  nlohmann::json Config() const override { return {{"data_format", "channels_last"}}; }
};

class ReshapeLayer : public LayerBase {
 public:
  ReshapeLayer(std::vector<int64_t> target, const ReshapeLayerOptions& options)
      : LayerBase("Reshape", {.name = options.name, .input_shape = options.input_shape}), target_(std::move(target)) {
    int unknown = 0;
    for (int64_t dim : target_) {
      unknown += dim == -1;
      if (dim < -1) ThrowInvalidArgument("Reshape: target_shape ", ShapeText(target_), " has a negative dimension");
    }
    if (unknown > 1)
      ThrowInvalidArgument("Reshape: there must be at most one unknown dimension (-1) in target_shape. Received: (",
                           StrJoin(target_, ", "), ")");
  }

  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> inputs) const override {
    const Shape& shape = inputs[0].shape();
    int64_t have = 1, known = 1;
    for (int i = 1; i < shape.rank(); ++i) have = CheckedMultiply(have, shape[i], "Reshape");
    std::vector<int64_t> dims{shape[0]};
    for (int64_t dim : target_) known = dim == -1 ? known : CheckedMultiply(known, dim, "Reshape");
    bool open = false;
    for (int64_t dim : target_) {
      open = open || dim == -1;
      dims.push_back(dim != -1 ? dim : known == 0 ? 0 : have / known);
    }
    if (open ? (known == 0 || have % known != 0) : known != have) {
      Dims rest(shape.begin() + 1, shape.end());
      ThrowInvalidArgument(Where(), "total size of the tensor must be unchanged. Received: input_shape=(",
                           StrJoin(rest, ", "), "), target_shape=(", StrJoin(target_, ", "), ")");
    }
    return {weir::Reshape(inputs[0], std::span<const int64_t>(dims))};
  }

  bool SameInBatches(std::span<const int64_t> /*sizes*/) const override { return true; }
  nlohmann::json Config() const override { return {{"target_shape", target_}}; }

 private:
  std::vector<int64_t> target_;
};

class RescalingLayer : public LayerBase {
 public:
  explicit RescalingLayer(const RescalingLayerOptions& options)
      : LayerBase("Rescaling", {.name = options.name, .input_shape = options.input_shape}),
        scale_(options.scale),
        offset_(options.offset) {
    if (scale_ == 0) ThrowInvalidArgument("Rescaling: the scale is 0, as 1 / 255 is in C++: write 1. / 255");
  }

  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> inputs) const override {
    return {Cast(inputs[0], DType::kFloat32) * scale_ + offset_};
  }

  bool SameInBatches(std::span<const int64_t> /*sizes*/) const override { return true; }
  nlohmann::json Config() const override { return {{"scale", scale_}, {"offset", offset_}}; }

 private:
  double scale_, offset_;
};

Layer FlattenFromConfig(const KerasConfig& config, const LayerOptions& common) {
  RequireChannelsLast(config);
  return Flatten({.name = common.name}, Here());
}
Layer ReshapeFromConfig(const KerasConfig& config, const LayerOptions& common) {
  std::vector<int64_t> target;
  if (config.Has("target_shape")) {
    target = JsonDims(config.json().at("target_shape"), "target_shape", -1);
  }
  return Reshape(target, {.name = common.name}, Here());
}
Layer RescalingFromConfig(const KerasConfig& config, const LayerOptions& common) {
  return Rescaling({.scale = config.Number("scale", 1), .offset = config.Number("offset", 0), .name = common.name},
                   Here());
}

}  // namespace

Layer Flatten(const FlattenLayerOptions& options, Here where) { return MakeLayer<FlattenLayer>(where, options); }
Layer Reshape(const std::vector<int64_t>& target_shape, const ReshapeLayerOptions& options, Here where) {
  return MakeLayer<ReshapeLayer>(where, target_shape, options);
}
Layer Rescaling(const RescalingLayerOptions& options, Here where) { return MakeLayer<RescalingLayer>(where, options); }
Layer Rescaling(double scale, double offset, Here where) {
  return Rescaling(RescalingLayerOptions{.scale = scale, .offset = offset}, where);
}
Layer Rescaling(double scale, const RescalingLayerOptions& options, Here where) {
  RescalingLayerOptions all = options;
  all.scale = scale;
  return Rescaling(all, where);
}

std::vector<KnownLayer> ShapeLayers() {
  return {{"Flatten", FlattenFromConfig}, {"Reshape", ReshapeFromConfig}, {"Rescaling", RescalingFromConfig}};
}

}  // namespace weir
