#include "weir/frontend/layers/input.h"

#include <atomic>
#include <cmath>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/layers/registry.h"

namespace weir {
namespace {

class InputLayer : public LayerBase {
 public:
  InputLayer(TensorSpec spec, const std::string& name)
      : LayerBase("InputLayer", {.name = name}), spec_(std::move(spec)) {
    SetBuilt({});
  }

  bool is_input() const override { return true; }
  void Check(std::span<const TensorSpec> inputs) const override { CheckCount(inputs, 0); }
  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> inputs) const override {
    return {inputs.begin(), inputs.end()};
  }
  std::vector<TensorSpec> OutputSpecs(std::span<const TensorSpec> /*inputs*/) const override { return {spec_}; }

  bool SameInBatches(std::span<const int64_t> /*sizes*/) const override { return true; }
  nlohmann::json Config() const override {
    nlohmann::json dims = nlohmann::json::array();
    for (int64_t dim : spec_.dims) dims.push_back(dim == kNone ? nlohmann::json() : nlohmann::json(dim));
    return {{"batch_shape", dims}, {"sparse", false}, {"ragged", false}, {"optional", false}};
  }

  nlohmann::json ToJson() const override {
    nlohmann::json config = Config();
    config["name"] = name();
    config["dtype"] = Name(spec_.dtype);
    return MakeKerasObject("keras.layers", class_name(), std::move(config));
  }

  std::optional<double> scale() const {
    const double scale = scale_;
    return std::isnan(scale) ? std::nullopt : std::optional(scale);
  }
  void SetScale(std::optional<double> scale) { scale_ = scale.value_or(std::nan("")); }

 private:
  TensorSpec spec_;
  // Other threads may predict while a training begins. NaN: none.
  std::atomic<double> scale_ = std::nan("");
};

SymbolicTensor Make(TensorSpec spec, const std::string& name, const Here& where) {
  if (spec.dims.empty()) ThrowInvalidArgument("Input: batch_shape () has no batch axis");
  for (size_t i = 0; i < spec.dims.size(); ++i) {
    if (spec.dims[i] <= 0 && spec.dims[i] != kNone) {
      ThrowInvalidArgument("Input: shape ", ShapeText(spec.dims), " has a dimension that is not positive");
    }
  }
  const auto layer = std::make_shared<InputLayer>(std::move(spec), name);
  layer->SetWhere(where);
  return {layer->AddCall({}), 0};
}

Layer FromConfig(const KerasConfig& config, const LayerOptions& common) {
  TensorSpec spec;
  const char* key = config.Has("batch_shape") ? "batch_shape" : "batch_input_shape";
  if (!config.Has(key)) ThrowInvalidArgument("InputLayer: the configuration has no batch_shape");
  spec.dims = JsonDims(config.json().at(key), key, kNone);
  if (config.json().contains("dtype") && config.json()["dtype"].is_string()) {
    spec.dtype = ParseDType(config.String("dtype", "float32"));
  }
  return Make(std::move(spec), common.name, Here()).layer();
}

}  // namespace

SymbolicTensor InputOf(const std::vector<int64_t>& shape, const InputOptions& options, const Here& where) {
  return NamingLine(where, [&] {
    if (!options.shape.empty()) ThrowInvalidArgument("Input: the shape is given in front, and among the options again");
    TensorSpec spec{options.dtype, {options.batch_size}};
    spec.dims.insert(spec.dims.end(), shape.begin(), shape.end());
    return Make(std::move(spec), options.name, where);
  });
}
SymbolicTensor Input(const InputOptions& options, Here where) {
  InputOptions others = options;
  others.shape.clear();
  return InputOf(options.shape, others, where);
}

std::optional<double> InputScaleOf(const LayerBase& layer) {
  const auto* input = dynamic_cast<const InputLayer*>(&layer);
  return input == nullptr ? std::nullopt : input->scale();
}

void SetInputScale(LayerBase& layer, std::optional<double> scale) {
  if (auto* input = dynamic_cast<InputLayer*>(&layer)) input->SetScale(scale);
}

std::vector<KnownLayer> InputLayers() { return {{"InputLayer", FromConfig}}; }

}  // namespace weir
