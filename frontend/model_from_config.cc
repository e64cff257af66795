// Reading a model's architecture: ModelFromJson. Writing: model_config.cc.
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "weir/core/error.h"
#include "weir/frontend/layers/input.h"
#include "weir/frontend/layers/registry.h"
#include "weir/frontend/model_config.h"

namespace weir {
namespace {

using TensorKey = std::tuple<std::string, int64_t, int64_t>;  // layer, use, output

TensorKey KeyOf(const nlohmann::json& history) {
  return {history.at(0).get<std::string>(), history.at(1).get<int64_t>(), history.at(2).get<int64_t>()};
}

// Tensors that a saved call takes: one, or a list of them.
std::vector<TensorKey> ArgumentsOf(const nlohmann::json& node) {
  std::vector<TensorKey> keys;
  const nlohmann::json& first = node.at("args").at(0);
  const auto add = [&](const nlohmann::json& tensor) {
    keys.push_back(KeyOf(tensor.at("config").at("keras_history")));
  };
  if (first.is_array()) {
    for (const nlohmann::json& tensor : first) add(tensor);
  } else {
    add(first);
  }
  return keys;
}

// One tensor's key as a list of one, or a list of keys.
std::vector<TensorKey> KeyList(const nlohmann::json& json) {
  if (!json.empty() && json.at(0).is_string()) return {KeyOf(json)};
  std::vector<TensorKey> keys;
  for (const nlohmann::json& key : json) keys.push_back(KeyOf(key));
  return keys;
}

std::shared_ptr<ModelBase> SequentialFrom(const nlohmann::json& config, const ModelOptions& options) {
  std::vector<Layer> layers;
  for (const nlohmann::json& layer : config.at("layers")) {
    layers.push_back(LayerFromJson(layer));
    if (layers.back().base().is_input()) layers.back() = Layer(layers.back().output());
  }
  auto model = std::make_shared<ModelBase>(layers, options);
  if (!model->built() && config.contains("build_input_shape") && !config["build_input_shape"].is_null()) {
    TensorSpec spec;
    for (const nlohmann::json& dim : config["build_input_shape"])
      spec.dims.push_back(dim.is_null() ? kNone : dim.get<int64_t>());
    model->EnsureBuilt(std::vector<TensorSpec>{spec});
  }
  return model;
}

std::shared_ptr<ModelBase> FunctionalFrom(const nlohmann::json& config, const ModelOptions& options) {
  struct Pending {
    Layer layer;
    std::string name;
    std::vector<std::vector<TensorKey>> nodes;
    size_t next = 0;
  };
  std::map<TensorKey, SymbolicTensor> tensors;
  std::vector<Pending> pending;
  for (const nlohmann::json& object : config.at("layers")) {
    Layer layer = LayerFromJson(object);
    const std::string name = layer.name();
    if (layer.base().is_input()) {
      tensors[{name, 0, 0}] = layer.output();
      continue;
    }
    Pending entry{.layer = layer, .name = name, .nodes = {}};
    for (const nlohmann::json& node : object.at("inbound_nodes")) entry.nodes.push_back(ArgumentsOf(node));
    pending.push_back(std::move(entry));
  }
  // Layers come in an order of their own; each round makes the calls whose arguments are known.
  for (bool progress = true; progress;) {
    progress = false;
    for (Pending& entry : pending) {
      while (entry.next < entry.nodes.size()) {
        std::vector<SymbolicTensor> arguments;
        for (const TensorKey& key : entry.nodes[entry.next]) {
          if (tensors.count(key) > 0) arguments.push_back(tensors[key]);
        }
        if (arguments.size() != entry.nodes[entry.next].size()) break;
        const std::vector<SymbolicTensor> results = entry.layer.Outputs(arguments);
        for (size_t i = 0; i < results.size(); ++i) {
          tensors[{entry.name, static_cast<int64_t>(entry.next), static_cast<int64_t>(i)}] = results[i];
        }
        ++entry.next;
        progress = true;
      }
    }
  }
  const auto find = [&](const char* key) {
    std::vector<SymbolicTensor> found;
    for (const TensorKey& tensor : KeyList(config.at(key))) {
      if (tensors.count(tensor) == 0) {
        ThrowInvalidArgument("the configuration's ", key, " name layer \"", std::get<0>(tensor), "\", use ",
                             std::get<1>(tensor), ", which can't be made from it");
      }
      found.push_back(tensors[tensor]);
    }
    return found;
  };
  return std::make_shared<ModelBase>(find("input_layers"), find("output_layers"), options);
}

}  // namespace

bool IsModelClass(const std::string& class_name) {
  return class_name == "Sequential" || class_name == "Functional" || class_name == "Model";
}

std::shared_ptr<ModelBase> ModelFromJson(const nlohmann::json& json, const ModelOptions& options) {
  const std::string class_name = json.at("class_name").get<std::string>();
  if (!IsModelClass(class_name)) ThrowInvalidArgument("class \"", class_name, "\" is no model");
  const nlohmann::json& config = json.at("config");
  ModelOptions named = options;
  if (named.name.empty() && config.contains("name")) named.name = config["name"].get<std::string>();
  return class_name == "Sequential" ? SequentialFrom(config, named) : FunctionalFrom(config, named);
}

}  // namespace weir
