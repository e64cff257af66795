// Input: where a functional model begins, and optionally a Sequential.
#ifndef WEIR_FRONTEND_LAYERS_INPUT_H_
#define WEIR_FRONTEND_LAYERS_INPUT_H_

#include "weir/frontend/layer.h"

namespace weir {

struct InputOptions {
  std::string name = {};  // default: "input_1", "input_2", ... in the model
  DType dtype = DType::kFloat32;
  int64_t batch_size = kNone;
};

// A symbolic tensor of the given shape, without the batch axis; kNone for dimensions that may vary. Throws Error for
// a dimension that is not positive.
SymbolicTensor Input(const std::vector<int64_t>& shape, const InputOptions& options = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_INPUT_H_
