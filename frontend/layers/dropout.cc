#include "weir/frontend/layers/dropout.h"

#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/layers/registry.h"

namespace weir {
namespace {

class DropoutLayer : public LayerBase {
 public:
  // spatial_rank 0: plain dropout.
  DropoutLayer(int spatial_rank, double rate, const DropoutLayerOptions& options)
      : LayerBase(spatial_rank == 0 ? "Dropout" : StrCat("SpatialDropout", spatial_rank, "D"),
                  {.name = options.name, .input_shape = options.input_shape}),
        spatial_rank_(spatial_rank),
        rate_(rate),
        options_(options) {
    if (!(rate >= 0 && rate <= 1)) {
      ThrowInvalidArgument(
          class_name(),
          ": invalid value received for argument `rate`. Expected a float value between 0 and 1. Received: rate=",
          rate);
    }
  }

  void Check(std::span<const TensorSpec> inputs) const override {
    CheckCount(inputs, 1);
    if (spatial_rank_ > 0) CheckRank(inputs[0], spatial_rank_ + 2);
    if (!options_.noise_shape.empty() && static_cast<int>(options_.noise_shape.size()) != inputs[0].rank()) {
      ThrowInvalidArgument(Where(), "noise_shape ", ShapeText(options_.noise_shape),
                           " has another rank than the input ", ShapeText(inputs[0].dims));
    }
  }

  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    const Shape& shape = inputs[0].shape();
    std::optional<Shape> noise;
    if (spatial_rank_ > 0) {
      Dims dims(shape.begin(), shape.end());
      for (int i = 1; i <= spatial_rank_; ++i) dims[static_cast<size_t>(i)] = 1;
      noise = Shape(dims);
    } else if (!options_.noise_shape.empty()) {
      Dims dims(options_.noise_shape.begin(), options_.noise_shape.end());
      for (size_t i = 0; i < dims.size(); ++i) {
        if (dims[i] == kNone) dims[i] = shape[static_cast<int>(i)];
      }
      noise = Shape(dims);
    }
    std::optional<uint64_t> seed;
    if (options_.seed) seed = static_cast<uint64_t>(*options_.seed);
    return {context.Drop(inputs[0], rate_, seed, noise)};
  }

  bool SameInBatches(std::span<const int64_t> /*sizes*/) const override { return true; }
  nlohmann::json Config() const override {
    nlohmann::json config{{"rate", JsonNumber(rate_)}, {"seed", JsonOptional(options_.seed)}};
    if (spatial_rank_ == 0) {
      config["noise_shape"] = nullptr;
      if (!options_.noise_shape.empty()) {
        config["noise_shape"] = nlohmann::json::array();
        for (int64_t dim : options_.noise_shape) {
          config["noise_shape"].push_back(dim == kNone ? nlohmann::json() : nlohmann::json(dim));
        }
      }
    } else if (spatial_rank_ > 1) {
      config["data_format"] = "channels_last";
    }
    return config;
  }

 private:
  int spatial_rank_;
  double rate_;
  DropoutLayerOptions options_;
};

Layer Make(int spatial_rank, double rate, const DropoutLayerOptions& options, const Here& where) {
  return MakeLayer<DropoutLayer>(where, spatial_rank, rate, options);
}

template <int spatial_rank>
Layer FromConfig(const KerasConfig& config, const LayerOptions& common) {
  RequireChannelsLast(config);
  DropoutLayerOptions options{.seed = config.OptionalInt("seed"), .name = common.name};
  if (config.Has("noise_shape")) options.noise_shape = JsonDims(config.json().at("noise_shape"), "noise_shape", kNone);
  return Make(spatial_rank, config.Number("rate", 0), options, Here());
}

}  // namespace

Layer Dropout(double rate, const DropoutLayerOptions& options, Here where) {
  return Make(0, rate, options, where);
}
Layer SpatialDropout1D(double rate, const DropoutLayerOptions& options, Here where) {
  return Make(1, rate, options, where);
}
Layer SpatialDropout2D(double rate, const DropoutLayerOptions& options, Here where) {
  return Make(2, rate, options, where);
}
Layer SpatialDropout3D(double rate, const DropoutLayerOptions& options, Here where) {
  return Make(3, rate, options, where);
}

std::vector<KnownLayer> DropoutLayers() {
  return {{"Dropout", FromConfig<0>},
          {"SpatialDropout1D", FromConfig<1>},
          {"SpatialDropout2D", FromConfig<2>},
          {"SpatialDropout3D", FromConfig<3>}};
}

}  // namespace weir
