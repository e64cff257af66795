// Layers that take several inputs: elementwise merges with broadcasting, and concatenation.
#ifndef WEIR_FRONTEND_LAYERS_MERGE_H_
#define WEIR_FRONTEND_LAYERS_MERGE_H_

#include "weir/frontend/layer.h"

namespace weir {

struct MergeLayerOptions {
  std::string name = {};
};
// At least two inputs; an input of fewer axes gets axes of size 1 behind the batch.
Layer Add(const MergeLayerOptions& options = {});
Layer Subtract(const MergeLayerOptions& options = {});  // exactly two inputs
Layer Multiply(const MergeLayerOptions& options = {});
Layer Average(const MergeLayerOptions& options = {});
Layer Maximum(const MergeLayerOptions& options = {});
Layer Minimum(const MergeLayerOptions& options = {});

struct ConcatenateLayerOptions {
  int64_t axis = -1;  // the batch axis counts as 0
  std::string name = {};
};
Layer Concatenate(const ConcatenateLayerOptions& options = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_MERGE_H_
