// Reading a model's architecture: ModelFromJson. Writing: model_config.cc.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "weir/core/error.h"
#include "weir/frontend/layers/input.h"
#include "weir/frontend/layers/registry.h"
#include "weir/frontend/model_config.h"
#include "weir/frontend/parts/keras_config.h"

namespace weir {
namespace {

using TensorKey = std::tuple<std::string, int64_t, int64_t>;  // layer, use, output

TensorKey KeyOf(const nlohmann::json& history) {
  return {JsonString(history.at(0), "keras_history"), JsonInt(history.at(1), "keras_history", 0, INT64_MAX),
          JsonInt(history.at(2), "keras_history", 0, INT64_MAX)};
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

std::shared_ptr<ModelBase> SequentialFrom(const nlohmann::json& config, const ModelOptions& options,
                                          ConfigContext& context) {
  std::vector<Layer> layers;
  for (const nlohmann::json& layer : config.at("layers")) {
    layers.push_back(LayerFromJson(layer, &context));
    if (layers.back().base().is_input()) layers.back() = Layer(layers.back().output());
    context.CountCall(layers.back());
  }
  auto model = std::make_shared<ModelBase>(layers, options);
  if (!model->built() && config.contains("build_input_shape") && !config["build_input_shape"].is_null()) {
    const TensorSpec spec{DType::kFloat32, JsonDims(config["build_input_shape"], "build_input_shape", kNone)};
    if (spec.dims.empty()) ThrowInvalidArgument("the configuration's \"build_input_shape\" has no batch axis");
    for (const int64_t dim : spec.dims) {
      if (dim <= 0 && dim != kNone) {
        ThrowInvalidArgument("the configuration's \"build_input_shape\" is ", ShapeText(spec.dims));
      }
    }
    model->EnsureBuilt(std::vector<TensorSpec>{spec});
  }
  return model;
}

// Makes the calls of a functional model, each as soon as its arguments are there, in whatever order layers are listed.
class CallMaker {
 public:
  explicit CallMaker(ConfigContext& context) : context_(context) {}

  void AddInput(const Layer& layer) { Provide({layer.name(), 0, 0}, layer.output()); }

  void AddLayer(const Layer& layer, const nlohmann::json& inbound_nodes) {
    const size_t index = entries_.size();
    entries_.push_back({layer, layer.name(), {}, 0});
    for (const nlohmann::json& node : inbound_nodes) entries_[index].nodes.push_back(ArgumentsOf(node));
    ready_.push_back(index);
  }

  void MakeCalls() {
    // Last in, first out: the work of a layer is done when it is first asked for, and again for each argument it
    // waited for.
    std::reverse(ready_.begin(), ready_.end());
    while (!ready_.empty()) {
      const size_t index = ready_.back();
      ready_.pop_back();
      Advance(index);
    }
  }

  std::vector<SymbolicTensor> Find(const nlohmann::json& config, const char* key) const {
    std::vector<SymbolicTensor> found;
    for (const TensorKey& wanted : KeyList(config.at(key))) {
      const auto tensor = tensors_.find(wanted);
      if (tensor == tensors_.end()) {
        ThrowInvalidArgument("the configuration's ", key, " name layer \"", std::get<0>(wanted), "\", use ",
                             std::get<1>(wanted), ", which can't be made from it");
      }
      found.push_back(tensor->second);
    }
    return found;
  }

 private:
  struct Entry {
    Layer layer;
    std::string name;
    std::vector<std::vector<TensorKey>> nodes;
    size_t next = 0;  // the call to be made, in the order of the file: it numbers the layer's uses
  };

  void Provide(const TensorKey& key, const SymbolicTensor& tensor) {
    tensors_[key] = tensor;
    const auto waiting = waiting_.find(key);
    if (waiting == waiting_.end()) return;
    ready_.insert(ready_.end(), waiting->second.begin(), waiting->second.end());
    waiting_.erase(waiting);
  }

  // Makes the calls of a layer up to the first that lacks an argument, for which the layer then waits.
  void Advance(size_t index) {
    for (; entries_[index].next < entries_[index].nodes.size(); ++entries_[index].next) {
      Entry& entry = entries_[index];
      std::vector<SymbolicTensor> arguments;
      for (const TensorKey& key : entry.nodes[entry.next]) {
        const auto known = tensors_.find(key);
        if (known == tensors_.end()) {
          waiting_[key].push_back(index);
          return;
        }
        arguments.push_back(known->second);
      }
      context_.CountCall(entry.layer);
      const std::vector<SymbolicTensor> results = entry.layer.Outputs(arguments);
      for (size_t i = 0; i < results.size(); ++i) {
        Provide({entry.name, static_cast<int64_t>(entry.next), static_cast<int64_t>(i)}, results[i]);
      }
    }
  }

  ConfigContext& context_;
  std::map<TensorKey, SymbolicTensor> tensors_;
  std::map<TensorKey, std::vector<size_t>> waiting_;  // layers by what they lack
  std::vector<Entry> entries_;
  std::vector<size_t> ready_;
};

std::shared_ptr<ModelBase> FunctionalFrom(const nlohmann::json& config, const ModelOptions& options,
                                          ConfigContext& context) {
  CallMaker calls(context);
  for (const nlohmann::json& object : config.at("layers")) {
    const Layer layer = LayerFromJson(object, &context);
    if (layer.base().is_input()) {
      calls.AddInput(layer);
    } else {
      calls.AddLayer(layer, object.at("inbound_nodes"));
    }
  }
  calls.MakeCalls();
  return std::make_shared<ModelBase>(calls.Find(config, "input_layers"), calls.Find(config, "output_layers"), options);
}

}  // namespace

bool IsModelClass(const std::string& class_name) {
  return class_name == "Sequential" || class_name == "Functional" || class_name == "Model";
}

void ConfigContext::CountCall(const Layer& layer) {
  // Models nested in one another are recorded once a level.
  constexpr int64_t kMost = 8 * kMaxConfiguredCalls;
  recorded_calls += layer.base().is_model() ? std::max<int64_t>(AsModel(layer).call_count(), 1) : 1;
  if (recorded_calls <= kMost) return;
  throw Error(absl::StatusCode::kResourceExhausted,
              StrCat("the configuration takes more than ", kMost, " calls of layers to be read (at layer \"",
                     layer.name(), "\")"));
}

std::shared_ptr<ModelBase> ModelFromJson(const nlohmann::json& json, const ModelOptions& options,
                                         ConfigContext* context) {
  ConfigContext own;
  if (context == nullptr) context = &own;
  const std::string class_name = JsonString(json.at("class_name"), "class_name");
  if (!IsModelClass(class_name)) ThrowInvalidArgument("class \"", class_name, "\" is no model");
  const nlohmann::json& config = json.at("config");
  ModelOptions named = options;
  if (named.name.empty() && config.contains("name")) named.name = JsonString(config["name"], "name");
  const std::shared_ptr<ModelBase> model =
      class_name == "Sequential" ? SequentialFrom(config, named, *context) : FunctionalFrom(config, named, *context);
  // Before anything calls it, which may record all of it.
  if (model->call_count() > kMaxConfiguredCalls) {
    throw Error(absl::StatusCode::kResourceExhausted,
                StrCat("model \"", model->name(), "\" stands for ", model->call_count(),
                       " calls of layers, at most ", kMaxConfiguredCalls, " are read from a configuration"));
  }
  // The layers know for themselves whether they are trained; this is the model's own switch.
  if (const auto trainable = config.find("trainable"); trainable != config.end() && trainable->is_boolean()) {
    model->LayerBase::SetTrainable(trainable->get<bool>());
  }
  return model;
}

}  // namespace weir
