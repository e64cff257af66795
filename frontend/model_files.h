// Models on disk: a folder with config.json (architecture, compiled choices, training state, in Keras's spelling) and
// weights.safetensors (weights, optimizer state, checksums of both files, and a probe: an input with the output the
// model gave for it, checked when the model is loaded). A reader sees the old pair or the new one, never a mixture.
#ifndef WEIR_FRONTEND_MODEL_FILES_H_
#define WEIR_FRONTEND_MODEL_FILES_H_

#include <string>
#include <vector>

#include "weir/core/error.h"
#include "weir/frontend/model.h"

namespace weir {

// Everything needed to predict, or to go on training bit for bit, as of one moment: while another thread trains the
// model it is the state between two of its steps. Replaces an earlier model at `path`; anything else
// there is an error. A kill or a full disk at any moment leaves the earlier model; of several savers, in any processes,
// the last one's model stays. Modes and symbolic links at `path` are kept; what killed saves left is removed.
// kFailedPrecondition for a model that could not be loaded again: two layers that share a weight without being the same
// layer; a layer, or a function (an activation, a loss), of the user's own that is not registered (layers/custom.h,
// parts/custom.h).
absl::Status SaveModel(ModelBase& model, const std::string& path);

// Whether SaveModel could save at `path` now, as far as that can be told without writing: for programs that would rather
// hear of a wrong path before they train.
absl::Status CheckCanSaveModel(const std::string& path);
// Whether the model, saved at `path`, could be loaded again: see SaveModel.
absl::Status CheckLoadsAgain(ModelBase& model, const std::string& path);

// kNotFound ("No saved model at ...") where there is none. kDataLoss or kInvalidArgument, naming file and reason, for
// files that are cut, changed (any bit: every tensor read, the header and the configuration have checksums; files of
// earlier versions have none) or of another version, and if the probe's output differs by more than 1e-5 of its largest
// element. kResourceExhausted for a configuration that stands for boundless work (ModelFromJson). Without `compile`, as
// in Keras, the model can predict, but has no optimizer, loss or metrics; the optimizer's state (Adam's is twice the
// weights) is not read.
// Layers, losses and optimizer are said to come from `where`.
absl::StatusOr<Model> LoadModel(const std::string& path, const ModelOptions& options = {}, bool compile = true,
                                Here where = Here::current());

// The weights alone, as one safetensors file; names are layer paths ("conv2d/kernel").
absl::Status SaveWeights(const ModelBase& model, const std::string& path);

// Loads weights from such a file, or from a saved model's folder. Strict: unless names and shapes agree wholly the
// error lists what is missing, unexpected and mismatched, and the model is unchanged. With `partial`, what fits is
// loaded and the rest is returned, one line each.
absl::StatusOr<std::vector<std::string>> LoadWeights(ModelBase& model, const std::string& path, bool partial = false);

}  // namespace weir

#endif  // WEIR_FRONTEND_MODEL_FILES_H_
