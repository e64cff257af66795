#include "weir/frontend/layers/conv.h"

#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/core/graph.h"
#include "weir/frontend/layers/registry.h"
#include "weir/frontend/model_base.h"
#include "weir/ops/winograd.h"

namespace weir {
namespace {

// "Conv2D".
std::string ClassName(int rank) { return StrCat("Conv", rank, "D"); }

const char* NameOf(ConvAlgorithm algorithm) {
  switch (algorithm) {
    case ConvAlgorithm::kAuto: return "auto";
    case ConvAlgorithm::kDirect: return "direct";
    case ConvAlgorithm::kWinograd: return "winograd";
  }
  return "unknown";
}

class ConvLayer : public LayerBase {
 public:
  ConvLayer(int rank, const ConvLayerOptions& options)
      : LayerBase(ClassName(rank), {options.name, options.trainable, options.input_shape}),
        rank_(rank),
        options_(options),
        kernel_size_(options.kernel_size.Resolve(rank, class_name(), "kernel_size")),
        strides_(options.strides.Resolve(rank, class_name(), "strides")),
        dilations_(options.dilation_rate.Resolve(rank, class_name(), "dilation_rate")) {
    if (options.filters <= 0) {
      ThrowInvalidArgument(
          class_name(), ": invalid value for argument `filters`. Expected a strictly positive value. Received filters=",
          options.filters);
    }
    if (options.groups <= 0) {
      ThrowInvalidArgument(class_name(),
                           ": the number of groups must be a positive integer. Received groups=", options.groups);
    }
    if (options.filters % options.groups != 0) {
      ThrowInvalidArgument(
          class_name(),
          ": the number of filters must be evenly divisible by the number of groups. Received: groups=", options.groups,
          ", filters=", options.filters);
    }
    const std::string& padding = options.padding;
    if (padding != "valid" && padding != "same" && !(padding == "causal" && rank == 1)) {
      ThrowInvalidArgument(
          class_name(),
          ": the `padding` argument must be \"valid\" or \"same\" (or \"causal\", only for `Conv1D`). Received: ",
          padding);
    }
    if (AboveOne(strides_) && AboveOne(dilations_)) {
      ThrowInvalidArgument(class_name(),
                           ": `strides > 1` not supported in conjunction with `dilation_rate > 1`. Received: strides=",
                           ShapeText(strides_), " and dilation_rate=", ShapeText(dilations_));
    }
  }

  void Check(std::span<const TensorSpec> inputs) const override {
    CheckCount(inputs, 1);
    CheckRank(inputs[0], rank_ + 2);
    CheckChannels(inputs[0]);
    const int64_t channels = inputs[0].dims.back();
    if (channels % options_.groups != 0) {
      ThrowInvalidArgument(
          Where(), "the number of input channels must be evenly divisible by the number of groups. Received groups=",
          options_.groups, ", but the input has ", channels, " channels (full input shape is ",
          ShapeText(inputs[0].dims), ")");
    }
  }

  void Build(std::span<const TensorSpec> inputs) override {
    Dims shape(kernel_size_.begin(), kernel_size_.end());
    shape.push_back(inputs[0].dims.back() / options_.groups);
    shape.push_back(options_.filters);
    kernel_ = AddWeight({.name = "kernel",
                         .shape = Shape(shape),
                         .initializer = options_.kernel_initializer,
                         .regularizer = options_.kernel_regularizer,
                         .constraint = options_.kernel_constraint});
    if (options_.use_bias) {
      bias_ = AddWeight({.name = "bias",
                         .shape = {options_.filters},
                         .initializer = options_.bias_initializer,
                         .regularizer = options_.bias_regularizer,
                         .constraint = options_.bias_constraint});
    }
  }

  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    Value y = Conv(inputs[0], context.Weight(kernel_), OpOptions());
    if (options_.use_bias) y = y + context.Weight(bias_);
    y = context.Activate(options_.activation, y);
    context.Regularize(options_.activity_regularizer, y);
    return {y};
  }

  void SetAlgorithm(ConvAlgorithm algorithm) {
    options_.algorithm = algorithm;
    Changed();
  }

  bool SameInBatches(std::span<const int64_t> sizes) const override {
    if (options_.activation.is_own()) return false;
    if (options_.algorithm != ConvAlgorithm::kAuto) return true;
    for (const std::shared_ptr<const LayerCall>& call : Calls()) {
      if (!SameAlgorithm(call->inputs[0].spec(), sizes)) return false;
    }
    return true;
  }
  nlohmann::json Config() const override {
    nlohmann::json config = {{"filters", options_.filters},
                             {"kernel_size", kernel_size_},
                             {"strides", strides_},
                             {"padding", options_.padding},
                             {"data_format", "channels_last"},
                             {"dilation_rate", dilations_},
                             {"groups", options_.groups},
                             {"activation", options_.activation.ToJson()},
                             {"use_bias", options_.use_bias},
                             {"kernel_initializer", options_.kernel_initializer.ToJson()},
                             {"bias_initializer", options_.bias_initializer.ToJson()},
                             {"kernel_regularizer", options_.kernel_regularizer.ToJson()},
                             {"bias_regularizer", options_.bias_regularizer.ToJson()},
                             {"activity_regularizer", options_.activity_regularizer.ToJson()},
                             {"kernel_constraint", options_.kernel_constraint.ToJson()},
                             {"bias_constraint", options_.bias_constraint.ToJson()}};
    // Keras has no such option, so that it is said only where it was.
    if (options_.algorithm != ConvAlgorithm::kAuto) config["algorithm"] = NameOf(options_.algorithm);
    return config;
  }

 private:
  ConvOptions OpOptions() const {
    return {.strides = strides_,
            .padding = options_.padding,
            .dilations = dilations_,
            .groups = options_.groups,
            .algorithm = options_.algorithm};
  }

  // Which algorithm is the faster, and so which bits come out, depends on the batch too.
  bool SameAlgorithm(const TensorSpec& input, std::span<const int64_t> sizes) const {
    Dims dims(input.dims.begin(), input.dims.end());
    if (std::find(dims.begin() + 1, dims.end(), kNone) != dims.end()) {
      return std::count(kernel_size_.begin(), kernel_size_.end(), 3) < 2;  // Winograd's algorithm is for 3x3
    }
    const std::shared_ptr<Graph> graph = Graph::Create();
    const Value kernel = graph->Input(kernel_.type(), "kernel");
    std::vector<bool> winograd;
    for (int64_t size : sizes) {
      dims[0] = size;
      const Value y = Conv(graph->Input({input.dtype, Shape(dims)}, "x"), kernel, OpOptions());
      winograd.push_back(UsesWinograd(graph->node(y.ref.node).attrs));
    }
    return std::adjacent_find(winograd.begin(), winograd.end(), std::not_equal_to<>()) == winograd.end();
  }

  static bool AboveOne(const std::vector<int64_t>& values) {
    for (int64_t value : values) {
      if (value > 1) return true;
    }
    return false;
  }

  int rank_;
  ConvLayerOptions options_;
  std::vector<int64_t> kernel_size_, strides_, dilations_;
  Variable kernel_, bias_;
};

ConvAlgorithm AlgorithmFrom(const std::string& name) {
  for (ConvAlgorithm algorithm : {ConvAlgorithm::kAuto, ConvAlgorithm::kDirect, ConvAlgorithm::kWinograd}) {
    if (name == NameOf(algorithm)) return algorithm;
  }
  ThrowInvalidArgument("algorithm '", name, "' is none of auto, direct, winograd");
}

template <int rank>
Layer FromConfig(const KerasConfig& config, const LayerOptions& common) {
  RequireChannelsLast(config);
  const nlohmann::json& json = config.json();
  return MakeLayer<ConvLayer>(
      Here(), rank,
      ConvLayerOptions{.filters = config.Int("filters", 0),
                             .kernel_size = config.Ints("kernel_size", {}),
                             .strides = config.Ints("strides", {1}),
                             .padding = config.String("padding", "valid"),
                             .dilation_rate = config.Ints("dilation_rate", {1}),
                             .groups = config.Int("groups", 1),
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
                             .trainable = common.trainable,
                             .algorithm = AlgorithmFrom(config.String("algorithm", "auto"))});
}

ConvLayerOptions WithSizes(int rank, int64_t filters, const IntList& kernel_size, const ConvLayerOptions& options,
                           const Here& where) {
  NamingLine(where, [&] {
    if (options.filters == 0 && options.kernel_size.empty()) return;
    ThrowInvalidArgument("Conv", rank, "D: filters and kernel_size are given in front, and among the options again");
  });
  ConvLayerOptions all = options;
  all.filters = filters;
  all.kernel_size = kernel_size;
  return all;
}

}  // namespace

Layer Conv1D(const ConvLayerOptions& options, Here where) { return MakeLayer<ConvLayer>(where, 1, options); }
Layer Conv1D(int64_t filters, const IntList& kernel_size, const ConvLayerOptions& options, Here where) {
  return Conv1D(WithSizes(1, filters, kernel_size, options, where), where);
}
Layer Conv1D(int64_t filters, const IntList& kernel_size, int64_t strides, const std::string& padding, Here where) {
  return Conv1D(filters, kernel_size, IntList(strides), padding, where);
}
Layer Conv1D(int64_t filters, const IntList& kernel_size, const IntList& strides, const std::string& padding,
             Here where) {
  return Conv1D({.filters = filters, .kernel_size = kernel_size, .strides = strides, .padding = padding}, where);
}
Layer Conv2D(const ConvLayerOptions& options, Here where) { return MakeLayer<ConvLayer>(where, 2, options); }
Layer Conv2D(int64_t filters, const IntList& kernel_size, const ConvLayerOptions& options, Here where) {
  return Conv2D(WithSizes(2, filters, kernel_size, options, where), where);
}
Layer Conv2D(int64_t filters, const IntList& kernel_size, int64_t strides, const std::string& padding, Here where) {
  return Conv2D(filters, kernel_size, IntList(strides), padding, where);
}
Layer Conv2D(int64_t filters, const IntList& kernel_size, const IntList& strides, const std::string& padding,
             Here where) {
  return Conv2D({.filters = filters, .kernel_size = kernel_size, .strides = strides, .padding = padding}, where);
}
Layer Conv3D(const ConvLayerOptions& options, Here where) { return MakeLayer<ConvLayer>(where, 3, options); }
Layer Conv3D(int64_t filters, const IntList& kernel_size, const ConvLayerOptions& options, Here where) {
  return Conv3D(WithSizes(3, filters, kernel_size, options, where), where);
}
Layer Conv3D(int64_t filters, const IntList& kernel_size, int64_t strides, const std::string& padding, Here where) {
  return Conv3D(filters, kernel_size, IntList(strides), padding, where);
}
Layer Conv3D(int64_t filters, const IntList& kernel_size, const IntList& strides, const std::string& padding,
             Here where) {
  return Conv3D({.filters = filters, .kernel_size = kernel_size, .strides = strides, .padding = padding}, where);
}

std::vector<KnownLayer> ConvLayers() {
  return {{"Conv1D", FromConfig<1>}, {"Conv2D", FromConfig<2>}, {"Conv3D", FromConfig<3>}};
}

int64_t SetConvAlgorithm(const Layer& model, ConvAlgorithm algorithm) {
  if (algorithm == ConvAlgorithm::kWinograd) {
    ThrowInvalidArgument("SetConvAlgorithm: not every convolution has Winograd's algorithm; kAuto takes it where it is less "
                         "work");
  }
  if (auto* const convolution = dynamic_cast<ConvLayer*>(&model.base())) {
    convolution->SetAlgorithm(algorithm);
    return 1;
  }
  if (!model.base().is_model()) return 0;
  int64_t count = 0;
  for (const Layer& layer : AsModel(model).layers()) count += SetConvAlgorithm(layer, algorithm);
  return count;
}

}  // namespace weir
