// Layers that take several inputs: elementwise merges with broadcasting, and concatenation.
#ifndef WEIR_FRONTEND_LAYERS_MERGE_H_
#define WEIR_FRONTEND_LAYERS_MERGE_H_

#include "weir/frontend/layer.h"

namespace weir {

struct MergeLayerOptions {
  std::string name = {};
};
// At least two inputs; an input of fewer axes gets axes of size 1 behind the batch.
Layer Add(const MergeLayerOptions& options = {}, Here where = Here::current());
Layer Subtract(const MergeLayerOptions& options = {}, Here where = Here::current());  // exactly two inputs
Layer Multiply(const MergeLayerOptions& options = {}, Here where = Here::current());
Layer Average(const MergeLayerOptions& options = {}, Here where = Here::current());
Layer Maximum(const MergeLayerOptions& options = {}, Here where = Here::current());
Layer Minimum(const MergeLayerOptions& options = {}, Here where = Here::current());

struct ConcatenateLayerOptions {
  int64_t axis = -1;  // the batch axis counts as 0
  std::string name = {};
};
Layer Concatenate(const ConcatenateLayerOptions& options = {}, Here where = Here::current());
Layer Concatenate(int64_t axis, Here where = Here::current());

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_MERGE_H_
