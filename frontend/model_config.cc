// How a model's architecture is written in Keras's spelling: ModelBase::Config and ToJson. Reading: model_files.cc.
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/model_base.h"
#include "weir/frontend/parts/keras_config.h"

namespace weir {
namespace {

nlohmann::json ShapeJson(const TensorSpec& spec) {
  nlohmann::json dims = nlohmann::json::array();
  for (int64_t dim : spec.dims) dims.push_back(dim == kNone ? nlohmann::json() : nlohmann::json(dim));
  return dims;
}

nlohmann::json HistoryOf(const Network& network, const SymbolicTensor& tensor) {
  const LayerCall& call = network.CallOf(tensor);
  const int index = &call == tensor.call().get() ? tensor.index() : 0;
  return {call.layer->name(), network.UseOf(call), index};
}

nlohmann::json InboundNode(const Network& network, const LayerCall& call) {
  nlohmann::json tensors = nlohmann::json::array();
  for (const SymbolicTensor& input : call.inputs) {
    tensors.push_back({{"class_name", "__keras_tensor__"},
                       {"config",
                        {{"shape", ShapeJson(input.spec())},
                         {"dtype", Name(input.spec().dtype)},
                         {"keras_history", HistoryOf(network, input)}}}});
  }
  // One input is an argument of its own, several are a list.
  nlohmann::json args = nlohmann::json::array();
  args.push_back(tensors.size() == 1 ? tensors[0] : tensors);
  return {{"args", args}, {"kwargs", nlohmann::json::object()}};
}

bool IsInputOf(const Network& network, const LayerCall& call) {
  for (const auto& input : network.input_calls) {
    if (input.get() == &call) return true;
  }
  return false;
}

}  // namespace

nlohmann::json ModelBase::Config() const {
  nlohmann::json config{{"layers", nlohmann::json::array()}};
  if (sequential_) {
    if (built()) config["layers"].push_back(network_->input_calls[0]->layer->ToJson());
    for (const Layer& layer : given_) config["layers"].push_back(layer.base().ToJson());
    if (built()) config["build_input_shape"] = ShapeJson(network_->inputs[0].spec());
    return config;
  }
  const Network& net = network();
  for (const Layer& layer : net.layers) {
    nlohmann::json object = layer.base().ToJson();
    object["name"] = layer.name();
    object["inbound_nodes"] = nlohmann::json::array();
    for (const auto& call : layer.uses()) {
      if (!IsInputOf(net, *call)) object["inbound_nodes"].push_back(InboundNode(net, *call));
    }
    config["layers"].push_back(std::move(object));
  }
  config["input_layers"] = nlohmann::json::array();
  config["output_layers"] = nlohmann::json::array();
  for (const SymbolicTensor& input : net.inputs) config["input_layers"].push_back(HistoryOf(net, input));
  for (const SymbolicTensor& output : net.outputs) config["output_layers"].push_back(HistoryOf(net, output));
  return config;
}

nlohmann::json ModelBase::ToJson() const {
  nlohmann::json config = Config();
  config["name"] = name();
  config["trainable"] = trainable();
  if (sequential_) config["dtype"] = MakeKerasObject("keras", "DTypePolicy", {{"name", "float32"}});
  // Keras 3 calls models of inputs and outputs Functional.
  nlohmann::json object = sequential_ ? MakeKerasObject("keras", "Sequential", std::move(config))
                                      : MakeKerasObject("keras.src.models.functional", "Functional", std::move(config));
  if (built() && network_->inputs.size() == 1)
    object["build_config"] = {{"input_shape", ShapeJson(network_->inputs[0].spec())}};
  return object;
}

}  // namespace weir
