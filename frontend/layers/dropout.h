// Dropout layers: active in training only. Survivors are scaled by 1 / (1 - rate). The mask is a pure function of
// seed, use and step (core/rng.h): equal on every backend and for any number of threads, another one each step.
#ifndef WEIR_FRONTEND_LAYERS_DROPOUT_H_
#define WEIR_FRONTEND_LAYERS_DROPOUT_H_

#include "weir/frontend/layer.h"

namespace weir {

struct DropoutLayerOptions {
  std::vector<int64_t> noise_shape = {};  // the mask's shape, kNone for "as the input"; default: the input's
  std::optional<int64_t> seed = {};       // default: the model's seed
  std::vector<int64_t> input_shape = {};
  std::string name = {};
};
// rate in [0, 1]: Keras's share of elements dropped; 1 gives zeros. Throws Error outside.
Layer Dropout(double rate, const DropoutLayerOptions& options = {}, Here where = Here::current());

// Whole feature maps are dropped: one draw for each (sample, channel).
Layer SpatialDropout1D(double rate, const DropoutLayerOptions& options = {}, Here where = Here::current());
Layer SpatialDropout2D(double rate, const DropoutLayerOptions& options = {}, Here where = Here::current());
Layer SpatialDropout3D(double rate, const DropoutLayerOptions& options = {}, Here where = Here::current());

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_DROPOUT_H_
