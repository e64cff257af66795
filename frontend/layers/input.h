// Input: where a functional model begins, and optionally a Sequential.
#ifndef WEIR_FRONTEND_LAYERS_INPUT_H_
#define WEIR_FRONTEND_LAYERS_INPUT_H_

#include <optional>

#include "weir/frontend/layer.h"

namespace weir {

struct InputOptions {
  std::vector<int64_t> shape = {};  // where it is not given in front
  int64_t batch_size = kNone;
  DType dtype = DType::kFloat32;
  std::string name = {};  // default: "input_1", "input_2", ... in the model
};

// A symbolic tensor of the given shape, without the batch axis; kNone for dimensions that may vary. Throws Error for
// a dimension that is not positive.
// A template only so that Input({.shape = {32, 32, 3}}) never means it.
SymbolicTensor InputOf(const std::vector<int64_t>& shape, const InputOptions& options, const Here& where);
template <class = void>
SymbolicTensor Input(const std::vector<int64_t>& shape, const InputOptions& options = {}, Here where = Here::current()) {
  return InputOf(shape, options, where);
}
SymbolicTensor Input(const InputOptions& options, Here where = Here::current());

// What bytes that are fed to an input layer are multiplied with, as training had it (FitOptions::scale): it belongs to the
// input, so that extractors and other models that begin there share it. Nothing before a training on bytes, and for
// layers that are no inputs.
std::optional<double> InputScaleOf(const LayerBase& layer);
void SetInputScale(LayerBase& layer, std::optional<double> scale);

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_INPUT_H_
