// Pooling layers over (N, spatial..., C). Padding never wins a maximum and is not counted in an average.
#ifndef WEIR_FRONTEND_LAYERS_POOLING_H_
#define WEIR_FRONTEND_LAYERS_POOLING_H_

#include "weir/frontend/layer.h"
#include "weir/frontend/layers/int_list.h"

namespace weir {

struct PoolLayerOptions {
  NamedOnly named = NamedOnly();
  IntList pool_size = 2;
  IntList strides = {};           // default: pool_size
  std::string padding = "valid";  // or "same"
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
// The options with this pool_size.
PoolLayerOptions WithPoolSize(const IntList& pool_size, const PoolLayerOptions& options);

// By position too: those that take a pool_size alone are templates only so that {.pool_size = 2} never means them.
// MaxPooling2D(), MaxPooling2D(2), MaxPooling2D({3, 3}, {.padding = "same"}), MaxPooling2D(3, 2, "same").
Layer MaxPooling1D(const PoolLayerOptions& options = {}, Here where = Here::current());
template <class = void>
Layer MaxPooling1D(const IntList& pool_size, const PoolLayerOptions& options = {}, Here where = Here::current()) {
  return MaxPooling1D(WithPoolSize(pool_size, options), where);
}
Layer MaxPooling1D(const IntList& pool_size, int64_t strides, const std::string& padding = "valid", Here where = Here::current());
Layer MaxPooling1D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where = Here::current());
Layer MaxPooling2D(const PoolLayerOptions& options = {}, Here where = Here::current());
template <class = void>
Layer MaxPooling2D(const IntList& pool_size, const PoolLayerOptions& options = {}, Here where = Here::current()) {
  return MaxPooling2D(WithPoolSize(pool_size, options), where);
}
Layer MaxPooling2D(const IntList& pool_size, int64_t strides, const std::string& padding = "valid", Here where = Here::current());
Layer MaxPooling2D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where = Here::current());
Layer MaxPooling3D(const PoolLayerOptions& options = {}, Here where = Here::current());
template <class = void>
Layer MaxPooling3D(const IntList& pool_size, const PoolLayerOptions& options = {}, Here where = Here::current()) {
  return MaxPooling3D(WithPoolSize(pool_size, options), where);
}
Layer MaxPooling3D(const IntList& pool_size, int64_t strides, const std::string& padding = "valid", Here where = Here::current());
Layer MaxPooling3D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where = Here::current());
Layer AveragePooling1D(const PoolLayerOptions& options = {}, Here where = Here::current());
template <class = void>
Layer AveragePooling1D(const IntList& pool_size, const PoolLayerOptions& options = {}, Here where = Here::current()) {
  return AveragePooling1D(WithPoolSize(pool_size, options), where);
}
Layer AveragePooling1D(const IntList& pool_size, int64_t strides, const std::string& padding = "valid", Here where = Here::current());
Layer AveragePooling1D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where = Here::current());
Layer AveragePooling2D(const PoolLayerOptions& options = {}, Here where = Here::current());
template <class = void>
Layer AveragePooling2D(const IntList& pool_size, const PoolLayerOptions& options = {}, Here where = Here::current()) {
  return AveragePooling2D(WithPoolSize(pool_size, options), where);
}
Layer AveragePooling2D(const IntList& pool_size, int64_t strides, const std::string& padding = "valid", Here where = Here::current());
Layer AveragePooling2D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where = Here::current());
Layer AveragePooling3D(const PoolLayerOptions& options = {}, Here where = Here::current());
template <class = void>
Layer AveragePooling3D(const IntList& pool_size, const PoolLayerOptions& options = {}, Here where = Here::current()) {
  return AveragePooling3D(WithPoolSize(pool_size, options), where);
}
Layer AveragePooling3D(const IntList& pool_size, int64_t strides, const std::string& padding = "valid", Here where = Here::current());
Layer AveragePooling3D(const IntList& pool_size, const IntList& strides, const std::string& padding, Here where = Here::current());

// Over all spatial axes: (N, C), or with keepdims (N, 1..., C).
struct GlobalPoolLayerOptions {
  bool keepdims = false;
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer GlobalMaxPooling1D(const GlobalPoolLayerOptions& options = {}, Here where = Here::current());
Layer GlobalMaxPooling2D(const GlobalPoolLayerOptions& options = {}, Here where = Here::current());
Layer GlobalMaxPooling3D(const GlobalPoolLayerOptions& options = {}, Here where = Here::current());
Layer GlobalAveragePooling1D(const GlobalPoolLayerOptions& options = {}, Here where = Here::current());
Layer GlobalAveragePooling2D(const GlobalPoolLayerOptions& options = {}, Here where = Here::current());
Layer GlobalAveragePooling3D(const GlobalPoolLayerOptions& options = {}, Here where = Here::current());

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_POOLING_H_
