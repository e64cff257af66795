// Convolution layers: cross-correlation of (N, spatial..., C) with a kernel (window..., C / groups, filters), a bias
// and an activation. Formulas and padding: ops/ops.h, Conv.
#ifndef WEIR_FRONTEND_LAYERS_CONV_H_
#define WEIR_FRONTEND_LAYERS_CONV_H_

#include "weir/frontend/layer.h"
#include "weir/frontend/layers/int_list.h"
#include "weir/ops/ops.h"

namespace weir {

// Conv2D(32, 3), Conv2D(32, {3, 3}, {.padding = "same", .activation = "relu"}), or all by name as
// Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu"}).
struct ConvLayerOptions {
  NamedOnly named = NamedOnly();
  int64_t filters = 0;       // required
  IntList kernel_size = {};  // required
  IntList strides = 1;
  std::string padding = "valid";  // or "same"; "causal" for Conv1D
  IntList dilation_rate = 1;
  int64_t groups = 1;
  Activation activation = {};
  bool use_bias = true;
  Initializer kernel_initializer = "glorot_uniform";
  Initializer bias_initializer = "zeros";
  Regularizer kernel_regularizer = {};
  Regularizer bias_regularizer = {};
  Regularizer activity_regularizer = {};
  Constraint kernel_constraint = {};
  Constraint bias_constraint = {};
  std::vector<int64_t> input_shape = {};
  std::string name = {};
  bool trainable = true;
  // kAuto takes Winograd's algorithm for windows of 3x3 where it is less work, whose errors are of the size of the
  // largest values nearby, not of an output's own: see ops/ops.h (Conv) and docs/numbers.md. kDirect is the plain sum.
  ConvAlgorithm algorithm = ConvAlgorithm::kAuto;
};

// Throw Error for options that make no convolution, when called; for inputs that don't fit, when they meet them.
// (N, steps, C)
Layer Conv1D(const ConvLayerOptions& options, Here where = Here::current());
Layer Conv1D(int64_t filters, const IntList& kernel_size, const ConvLayerOptions& options = {},
             Here where = Here::current());
Layer Conv1D(int64_t filters, const IntList& kernel_size, int64_t strides, const std::string& padding = "valid",
             Here where = Here::current());
Layer Conv1D(int64_t filters, const IntList& kernel_size, const IntList& strides, const std::string& padding,
             Here where = Here::current());
// (N, height, width, C)
Layer Conv2D(const ConvLayerOptions& options, Here where = Here::current());
Layer Conv2D(int64_t filters, const IntList& kernel_size, const ConvLayerOptions& options = {},
             Here where = Here::current());
Layer Conv2D(int64_t filters, const IntList& kernel_size, int64_t strides, const std::string& padding = "valid",
             Here where = Here::current());
Layer Conv2D(int64_t filters, const IntList& kernel_size, const IntList& strides, const std::string& padding,
             Here where = Here::current());
// (N, depth, height, width, C)
Layer Conv3D(const ConvLayerOptions& options, Here where = Here::current());
Layer Conv3D(int64_t filters, const IntList& kernel_size, const ConvLayerOptions& options = {},
             Here where = Here::current());
Layer Conv3D(int64_t filters, const IntList& kernel_size, int64_t strides, const std::string& padding = "valid",
             Here where = Here::current());
Layer Conv3D(int64_t filters, const IntList& kernel_size, const IntList& strides, const std::string& padding,
             Here where = Here::current());

// Sets the algorithm of every convolution of a model, those of models inside it too; it is saved with the model. Returns
// how many there were. Another model that has run with the same layers keeps what it recorded. For example SetConvAlgorithm(model, ConvAlgorithm::kDirect) where infinities or very large values
// must not reach outputs whose window does not hold them.
int64_t SetConvAlgorithm(const Layer& model, ConvAlgorithm algorithm);

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_CONV_H_
