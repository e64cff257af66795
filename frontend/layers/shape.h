// Layers that change shape or scale without weights.
#ifndef WEIR_FRONTEND_LAYERS_SHAPE_H_
#define WEIR_FRONTEND_LAYERS_SHAPE_H_

#include "weir/frontend/layer.h"

namespace weir {

// (N, ...) -> (N, product of the rest), row-major: after a convolution rows are ordered (height, width, channel).
// (N) becomes (N, 1).
struct FlattenLayerOptions {
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer Flatten(const FlattenLayerOptions& options = {}, Here where = Here::current());

// (N, ...) -> (N, target...); one dimension of the target may be -1. Throws Error if the counts differ.
struct ReshapeLayerOptions {
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer Reshape(const std::vector<int64_t>& target_shape, const ReshapeLayerOptions& options = {},
              Here where = Here::current());

// x * scale + offset, in training as in inference. Throws Error for a scale of 0, which 1 / 255 is in C++: write 1. / 255.
struct RescalingLayerOptions {
  double scale = 1;
  double offset = 0;
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
Layer Rescaling(const RescalingLayerOptions& options, Here where = Here::current());
Layer Rescaling(double scale, double offset = 0, Here where = Here::current());
Layer Rescaling(double scale, const RescalingLayerOptions& options, Here where = Here::current());

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_SHAPE_H_
