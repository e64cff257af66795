// Dense: activation(x W + b) over the last axis.
#ifndef WEIR_FRONTEND_LAYERS_DENSE_H_
#define WEIR_FRONTEND_LAYERS_DENSE_H_

#include "weir/frontend/layer.h"

namespace weir {

struct DenseLayerOptions {
  int64_t units = 0;  // required
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
};

// (N, ..., in) -> (N, ..., units); kernel (in, units). Throws Error if units is not positive.
Layer Dense(const DenseLayerOptions& options, Here where = Here::current());
// Dense(10), Dense(10, {.use_bias = false}), Dense(10, "relu").
Layer Dense(int64_t units, const DenseLayerOptions& options = {}, Here where = Here::current());
Layer Dense(int64_t units, const Activation& activation, const DenseLayerOptions& options = {},
            Here where = Here::current());

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_DENSE_H_
