// How a model's architecture is written in Keras's spelling: ModelBase::Config and ToJson. Reading: model_files.cc.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

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

// Layers that are part of several models of one tree (a model and its sub-model, two sub-models). As Keras does, each
// has a number in the file, "shared_object_id", by which its second place is known to be the same layer; the second
// place has no configuration of its own. The outermost model that is written looks for them.
class SharedLayers {
 public:
  explicit SharedLayers(const ModelBase& root) : outermost_(current_ == nullptr) {
    if (!outermost_) return;
    Count(root);
    current_ = this;
  }
  ~SharedLayers() {
    if (outermost_) current_ = nullptr;
  }
  SharedLayers(const SharedLayers&) = delete;
  SharedLayers& operator=(const SharedLayers&) = delete;

  static nlohmann::json ObjectOf(const LayerBase& layer) {
    const auto shared = current_->numbers_.find(&layer);
    if (shared == current_->numbers_.end()) return layer.ToJson();
    nlohmann::json object = current_->written_.insert(&layer).second
                                ? layer.ToJson()
                                : MakeKerasObject("keras.layers", layer.class_name(), {{"name", layer.name()}});
    object["shared_object_id"] = shared->second;
    return object;
  }

 private:
  void Count(const ModelBase& model) {
    if (!seen_.insert(&model).second) return;
    for (const Layer& layer : model.layers()) {
      const LayerBase* base = &layer.base();
      if (base->is_input()) continue;
      if (!placed_.insert(base).second) numbers_.try_emplace(base, numbers_.size() + 1);
      if (base->is_model()) Count(AsModel(layer));
    }
  }

  static thread_local SharedLayers* current_;
  bool outermost_;
  std::set<const LayerBase*> seen_, placed_, written_;
  std::map<const LayerBase*, size_t> numbers_;
};

thread_local SharedLayers* SharedLayers::current_ = nullptr;

}  // namespace

nlohmann::json ModelBase::Config() const {
  const SharedLayers shared(*this);
  nlohmann::json config{{"layers", nlohmann::json::array()}};
  if (sequential_) {
    if (built()) config["layers"].push_back(network_->input_calls[0]->layer->ToJson());
    for (const Layer& layer : given_) config["layers"].push_back(SharedLayers::ObjectOf(layer.base()));
    if (built()) config["build_input_shape"] = ShapeJson(network_->inputs[0].spec());
    return config;
  }
  const Network& net = network();
  for (const Layer& layer : net.layers) {
    // An input layer belongs to one model: another one's input of the same name is fed apart.
    nlohmann::json object = layer.base().is_input() ? layer.base().ToJson() : SharedLayers::ObjectOf(layer.base());
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
