// The folder of a saved model: config.json and weights.safetensors as files that belong together. model_files.cc knows
// what is in them.
#ifndef WEIR_FRONTEND_SAVED_FOLDER_H_
#define WEIR_FRONTEND_SAVED_FOLDER_H_

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "weir/core/error.h"
#include "weir/frontend/io/safetensors.h"

namespace weir {

struct SavedFiles {
  nlohmann::json config;
  SafetensorsFile weights;
  // Of those that were read: whether both files had checksums (which agreed), and what to call them.
  bool has_checksums = false;
  std::string config_path, weights_path;
};

// kFailedPrecondition for what WriteSaved would not replace: a file, or a folder that holds anything but a saved model.
absl::Status CheckReplaceable(const std::string& path);

// Writes both files such that whoever reads, and whoever reads after a kill at any moment, finds the old pair or the
// new one. Where the folder can be exchanged for a new one (ReplaceFolder) that is done. Otherwise the weights get a
// name of their own ("weights.weir-x7k2pq.safetensors"), and the configuration, which says that name ("weights_file") and
// replaces the old one at once, decides which pair is in force. An earlier model is replaced; modes of folder and files
// are kept. kFailedPrecondition for a folder that holds anything else, or a file.
absl::Status WriteSaved(const std::string& path, const SavedFiles& saved);

// Reads the pair at `path`, with the tensors that `wanted` takes. kNotFound ("No saved model at ...") where there is
// none; kDataLoss naming the file for one that is cut, changed or belongs to another save. A pair that is replaced in
// the meantime is read anew.
absl::StatusOr<SavedFiles> ReadSaved(const std::string& path,
                                     const std::function<bool(const std::string& name)>& wanted);

}  // namespace weir

#endif  // WEIR_FRONTEND_SAVED_FOLDER_H_
