// Activations as layers of their own.
#ifndef WEIR_FRONTEND_LAYERS_ACTIVATION_H_
#define WEIR_FRONTEND_LAYERS_ACTIVATION_H_

#include "weir/frontend/layer.h"

namespace weir {

// Keras's Activation layer. Where a layer is wanted, Activation("relu") itself may be written.
struct ActivationLayerOptions {
  Activation activation = {};
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer ActivationLayer(const ActivationLayerOptions& options, Here where = Here::current());
Layer ActivationLayer(const Activation& activation, Here where = Here::current());
// Activation("relu")(x).
SymbolicTensor ApplyActivation(const Activation& activation, const SymbolicTensor& x, Here where);

// max_value where x >= max_value, x where threshold <= x, else negative_slope * (x - threshold).
struct ReLULayerOptions {
  std::optional<double> max_value = {};
  double negative_slope = 0;
  double threshold = 0;
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer ReLU(const ReLULayerOptions& options = {}, Here where = Here::current());
Layer ReLU(double max_value, Here where = Here::current());

struct LeakyReLULayerOptions {
  double negative_slope = 0.3;  // not negative
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer LeakyReLU(const LeakyReLULayerOptions& options = {}, Here where = Here::current());
Layer LeakyReLU(double negative_slope, Here where = Here::current());

struct ELULayerOptions {
  double alpha = 1;
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer ELU(const ELULayerOptions& options = {}, Here where = Here::current());
Layer ELU(double alpha, Here where = Here::current());

struct SoftmaxLayerOptions {
  int axis = -1;
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer Softmax(const SoftmaxLayerOptions& options = {}, Here where = Here::current());
Layer Softmax(int axis, Here where = Here::current());

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_ACTIVATION_H_
