#include "weir/frontend/network.h"

#include <algorithm>
#include <map>
#include <set>

#include "weir/core/error.h"
#include "weir/frontend/layers/input.h"

namespace weir {
namespace {

using CallPtr = std::shared_ptr<const LayerCall>;

// Walks from the outputs to the inputs. Order and depths follow Keras's Functional, so that `layers` come in the
// order users know.
class Mapper {
 public:
  explicit Mapper(Network& network) : network_(network) {
    for (size_t i = 0; i < network.inputs.size(); ++i) {
      if (!entries_.emplace(network.inputs[i], network.input_calls[i]).second) {
        ThrowInvalidArgument("Model: input ", i, " (layer \"", network.inputs[i].layer().name(), "\") is given twice");
      }
      entry_calls_.insert(network.input_calls[i].get());
    }
  }

  void Run() {
    for (const SymbolicTensor& output : network_.outputs) VisitAll(output);
    for (const CallPtr& call : network_.input_calls) {
      if (done_.insert(call.get()).second) {  // nothing depends on this input
        layer_index_[call->layer.get()] = -1;
        unused_.push_back(call);
      }
    }
    ComputeDepths();
    ListLayers();
    network_.chain = IsChain();
  }

 private:
  const CallPtr& Resolve(const SymbolicTensor& tensor) const {
    const auto entry = entries_.find(tensor);
    return entry == entries_.end() ? tensor.call() : entry->second;
  }
  bool IsEntry(const CallPtr& call) const { return entry_calls_.contains(call.get()); }

  // A call on the way from an output: its inputs before `next` have been visited.
  struct Visit {
    CallPtr call;
    size_t next = 0;
  };

  // Goes from a tensor to all that it is made of, depth first, with a path of its own instead of the stack.
  void VisitAll(const SymbolicTensor& output) {
    std::vector<Visit> path;
    Enter(output, nullptr, path);
    while (!path.empty()) {
      Visit& top = path.back();
      if (!IsEntry(top.call) && top.next < top.call->inputs.size()) {
        const SymbolicTensor& input = top.call->inputs[top.next++];
        Enter(input, top.call->layer.get(), path);
        continue;
      }
      const CallPtr call = std::move(top.call);
      path.pop_back();
      done_.insert(call.get());
      order_.push_back(call);
      if (!IsEntry(call)) network_.calls.push_back(call);
    }
  }

  // Puts the call that makes `tensor` on the path, unless it has been visited. `wanted_by`: null for the model.
  void Enter(const SymbolicTensor& tensor, const LayerBase* wanted_by, std::vector<Visit>& path) {
    tensor.spec();  // throws if undefined
    const CallPtr& call = Resolve(tensor);
    if (done_.count(call.get()) > 0) return;
    if (call->layer->is_input() && !IsEntry(call)) {
      ThrowInvalidArgument("Graph disconnected: cannot obtain value for tensor ", tensor.spec(), " of input layer \"",
                           call->layer->name(), "\" at \"", wanted_by == nullptr ? "the model" : wanted_by->name(),
                           "\": it is not among the model's inputs");
    }
    layer_index_.try_emplace(call->layer.get(), static_cast<int>(layer_index_.size()));
    path.push_back({call});
  }

  void ComputeDepths() {
    for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
      const CallPtr& call = *it;
      int& layer_depth = layer_depth_[call->layer.get()];
      const int depth = std::max(call_depth_[call.get()], layer_depth);
      layer_depth = depth;
      call_depth_[call.get()] = depth;
      if (IsEntry(call)) continue;
      for (const SymbolicTensor& input : call->inputs) {
        int& before = call_depth_[Resolve(input).get()];
        before = std::max(before, depth + 1);
      }
    }
    for (const CallPtr& call : unused_) layer_depth_[call->layer.get()] = call_depth_[call.get()] = 0;
  }

  void ListLayers() {
    std::map<const LayerBase*, std::vector<CallPtr>> uses;
    for (const auto* calls : {&unused_, &order_}) {
      for (const CallPtr& call : *calls) uses[call->layer.get()].push_back(call);
    }
    for (auto& [layer, calls] : uses) {
      std::sort(calls.begin(), calls.end(), [](const CallPtr& a, const CallPtr& b) { return a->index < b->index; });
      network_.layers.emplace_back(calls[0]->layer, calls);
    }
    std::sort(network_.layers.begin(), network_.layers.end(), [&](const Layer& a, const Layer& b) {
      const int depth_a = layer_depth_[&a.base()], depth_b = layer_depth_[&b.base()];
      if (depth_a != depth_b) return depth_a > depth_b;
      return layer_index_[&a.base()] < layer_index_[&b.base()];
    });
    for (const Layer& layer : network_.layers) {
      for (size_t use = 0; layer.uses().size() > 1 && use < layer.uses().size(); ++use) {
        network_.several_uses[layer.uses()[use].get()] = static_cast<int>(use);
      }
    }
  }

  bool IsChain() const {
    std::map<int, int> at_depth;
    for (const auto& [call, depth] : call_depth_) {
      if (++at_depth[depth] > 1) return false;
    }
    for (const CallPtr& call : network_.calls) {
      if (call->inputs.size() > 1) return false;
    }
    return std::all_of(network_.layers.begin(), network_.layers.end(),
                       [](const Layer& layer) { return layer.uses().size() == 1; });
  }

  Network& network_;
  std::map<SymbolicTensor, CallPtr> entries_;
  std::set<const LayerCall*> entry_calls_;
  std::set<const LayerCall*> done_;
  std::vector<CallPtr> order_, unused_;
  std::map<const LayerBase*, int> layer_index_, layer_depth_;
  std::map<const LayerCall*, int> call_depth_;
};

}  // namespace

const LayerCall& Network::CallOf(const SymbolicTensor& tensor) const {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == tensor) return *input_calls[i];
  }
  return *tensor.call();
}

int Network::UseOf(const LayerCall& call) const {
  const auto found = several_uses.find(&call);
  return found == several_uses.end() ? 0 : found->second;
}

std::string Network::ScopeOf(const LayerCall& call) const {
  const std::string name = call.layer->name();
  const auto found = several_uses.find(&call);
  return found == several_uses.end() ? name : StrCat(name, "#", found->second);
}

void Network::Extend(std::shared_ptr<const LayerCall> call) {
  WEIR_CHECK(chain && call->inputs.size() == 1 && call->inputs[0] == outputs[0], "only a chain can be extended");
  outputs = {SymbolicTensor(call, 0)};
  layers.emplace_back(call->layer, std::vector<std::shared_ptr<const LayerCall>>{call});
  calls.push_back(std::move(call));
}

Network MapNetwork(std::vector<SymbolicTensor> inputs, std::vector<SymbolicTensor> outputs) {
  if (inputs.empty()) ThrowInvalidArgument("Model: there are no inputs");
  if (outputs.empty()) ThrowInvalidArgument("Model: there are no outputs");
  Network network{
      .inputs = std::move(inputs), .outputs = std::move(outputs), .input_calls = {}, .calls = {}, .layers = {}, .several_uses = {}};
  for (const SymbolicTensor& input : network.inputs) {
    const TensorSpec& spec = input.spec();
    if (input.call()->layer->is_input()) {
      network.input_calls.push_back(input.call());
      continue;
    }
    if (spec.dims.empty())
      ThrowInvalidArgument("Model: the input of layer \"", input.layer().name(), "\" has no batch axis");
    network.input_calls.push_back(
        Input({spec.dims.begin() + 1, spec.dims.end()}, {.batch_size = spec.dims[0], .dtype = spec.dtype}).call());
  }
  Mapper(network).Run();
  return network;
}

void LayerNames::Add(std::span<const Layer> layers) {
  for (const Layer& layer : layers) {
    if (layer.base().has_name() && ++count_[layer.name()] > 1) {
      ThrowInvalidArgument("The name \"", layer.name(), "\" is used ", count_[layer.name()],
                           " times in the model. All layer names should be unique.");
    }
  }
  std::vector<LayerBase*> unnamed;
  for (const Layer& layer : layers) {
    if (!layer.base().has_name()) unnamed.push_back(&layer.base());
  }
  std::sort(unnamed.begin(), unnamed.end(),
            [](const LayerBase* a, const LayerBase* b) { return a->serial() < b->serial(); });
  for (LayerBase* layer : unnamed) {
    const std::string base = layer->is_input() ? "input" : layer->name();
    int& number = next_.try_emplace(base, layer->is_input() ? 1 : 0).first->second;
    std::string name;
    do {
      name = number == 0 ? base : StrCat(base, "_", number);
      ++number;
    } while (count_.count(name) > 0);
    ++count_[name];
    layer->SetName(name);
  }
}

}  // namespace weir
