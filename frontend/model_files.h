// Models on disk: a folder with config.json (architecture, compiled choices, training state, in Keras's spelling) and
// weights.safetensors (weights, optimizer state, and a probe: an input with the output the model gave for it, checked
// when the model is loaded). A reader sees the old folder or the new one, never a mixture.
#ifndef WEIR_FRONTEND_MODEL_FILES_H_
#define WEIR_FRONTEND_MODEL_FILES_H_

#include <string>
#include <vector>

#include "weir/core/error.h"
#include "weir/frontend/model.h"

namespace weir {

// Everything needed to predict, or to go on training bit for bit. Replaces an earlier model at `path`; anything else
// there is an error. A model with parts of the user's own (a function as activation) can be saved, not loaded.
absl::Status SaveModel(ModelBase& model, const std::string& path);

// kDataLoss or kInvalidArgument, naming file and reason, for files that are cut, changed or of another version, and if
// the probe's output differs by more than 1e-5 of its largest element. Without `compile`, as in Keras, the model can
// predict, but has no optimizer, loss or metrics; the optimizer's state (Adam's is twice the weights) is not read.
absl::StatusOr<Model> LoadModel(const std::string& path, const ModelOptions& options = {}, bool compile = true);

// The weights alone, as one safetensors file; names are layer paths ("conv2d/kernel").
absl::Status SaveWeights(const ModelBase& model, const std::string& path);

// Loads weights from such a file, or from a saved model's folder. Strict: unless names and shapes agree wholly the
// error lists what is missing, unexpected and mismatched, and the model is unchanged. With `partial`, what fits is
// loaded and the rest is returned, one line each.
absl::StatusOr<std::vector<std::string>> LoadWeights(ModelBase& model, const std::string& path, bool partial = false);

}  // namespace weir

#endif  // WEIR_FRONTEND_MODEL_FILES_H_
