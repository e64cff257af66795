// Network: the layer graph between a model's inputs and outputs, put in order. Pure description; ModelBase (model.h)
// records from it.
#ifndef WEIR_FRONTEND_NETWORK_H_
#define WEIR_FRONTEND_NETWORK_H_

#include <memory>
#include <string>
#include <vector>

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
  // "conv2d", or "dense#1" for the second of several uses.
  std::string ScopeOf(const LayerCall& call) const;
};

// Orders what lies between inputs and outputs. Throws Error if an output does not depend on the inputs alone ("Graph
// disconnected"), or an input is given twice.
Network MapNetwork(std::vector<SymbolicTensor> inputs, std::vector<SymbolicTensor> outputs);

// Names the layers that have none by Keras's rules, counted within `layers` in order of creation: "conv2d",
// "conv2d_1", "input_1". Throws Error if two layers then have one name.
void NameLayers(std::span<const Layer> layers);

}  // namespace weir

#endif  // WEIR_FRONTEND_NETWORK_H_
