// Pooling layers over (N, spatial..., C). Padding never wins a maximum and is not counted in an average.
#ifndef WEIR_FRONTEND_LAYERS_POOLING_H_
#define WEIR_FRONTEND_LAYERS_POOLING_H_

#include "weir/frontend/layer.h"
#include "weir/frontend/layers/int_list.h"

namespace weir {

struct PoolLayerOptions {
  IntList pool_size = 2;
  IntList strides = {};           // default: pool_size
  std::string padding = "valid";  // or "same"
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer MaxPooling1D(const PoolLayerOptions& options = {});
Layer MaxPooling2D(const PoolLayerOptions& options = {});
Layer MaxPooling3D(const PoolLayerOptions& options = {});
Layer AveragePooling1D(const PoolLayerOptions& options = {});
Layer AveragePooling2D(const PoolLayerOptions& options = {});
Layer AveragePooling3D(const PoolLayerOptions& options = {});

// Over all spatial axes: (N, C), or with keepdims (N, 1..., C).
struct GlobalPoolLayerOptions {
  bool keepdims = false;
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer GlobalMaxPooling1D(const GlobalPoolLayerOptions& options = {});
Layer GlobalMaxPooling2D(const GlobalPoolLayerOptions& options = {});
Layer GlobalMaxPooling3D(const GlobalPoolLayerOptions& options = {});
Layer GlobalAveragePooling1D(const GlobalPoolLayerOptions& options = {});
Layer GlobalAveragePooling2D(const GlobalPoolLayerOptions& options = {});
Layer GlobalAveragePooling3D(const GlobalPoolLayerOptions& options = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_POOLING_H_
