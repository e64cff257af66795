// Network: the layer graph between a model's inputs and outputs, put in order. Pure description; ModelBase (model.h)
// records from it.
#ifndef WEIR_FRONTEND_NETWORK_H_
#define WEIR_FRONTEND_NETWORK_H_

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weir/frontend/layer.h"

namespace weir {

struct Network {
  std::vector<SymbolicTensor> inputs;  // as given: outputs of input layers, or values inside another model
  std::vector<SymbolicTensor> outputs;
  // One an input: the call of its input layer. A value inside another model gets an input layer of its own.
  std::vector<std::shared_ptr<const LayerCall>> input_calls;
  // All calls in an order in which they can be made, without those of input_calls.
  std::vector<std::shared_ptr<const LayerCall>> calls;
  // All layers in Keras's order (by distance from the outputs), each with its uses in this network.
  std::vector<Layer> layers;
  // Whether it is a chain in which each layer is used once: then a summary needs no "Connected to".
  bool chain = false;

  // The call that makes `tensor` here: an input layer's for an input.
  const LayerCall& CallOf(const SymbolicTensor& tensor) const;
  // Of a call in this network: the number it has among its layer's uses.
  int UseOf(const LayerCall& call) const;
  // "conv2d", or "dense#1" for the second of several uses.
  std::string ScopeOf(const LayerCall& call) const;

  // Puts a new layer's only call, of the only output, behind a chain, which it stays.
  void Extend(std::shared_ptr<const LayerCall> call);

  // The uses of layers that have several.
  absl::flat_hash_map<const LayerCall*, int> several_uses;
};

// Orders what lies between inputs and outputs. Throws Error if an output does not depend on the inputs alone ("Graph
// disconnected"), or an input is given twice.
Network MapNetwork(std::vector<SymbolicTensor> inputs, std::vector<SymbolicTensor> outputs);

// Names layers by Keras's rules: "conv2d", "conv2d_1", "input_1".
class LayerNames {
 public:
  // Names those of `layers` that have no name, in order of creation, beside all that were added before. Throws Error if
  // two layers have one name.
  void Add(std::span<const Layer> layers);

 private:
  std::map<std::string, int> count_;  // of names
  std::map<std::string, int> next_;   // the number to try for a class; those before are taken
};

}  // namespace weir

#endif  // WEIR_FRONTEND_NETWORK_H_
