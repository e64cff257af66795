#include "weir/frontend/io/npy.h"
#include "weir/frontend/io/safetensors.h"
#include "weir/tests/fuzz/scratch.h"
#include "weir/tests/fuzz/targets.h"

namespace weir::fuzz {

bool Npy(std::string_view bytes) {
  static const Scratch scratch;
  const absl::StatusOr<Tensor> tensor = LoadNpy(scratch.Write("x.npy", bytes));
  if (!tensor.ok()) return false;
  const std::string path = scratch.path() + "/again.npy";
  Require(SaveNpy(*tensor, path).ok(), "what was read can be saved");
  const absl::StatusOr<Tensor> again = LoadNpy(path);
  Require(again.ok() && BitEqual(*again, *tensor), "what was saved is what was read");
  return true;
}

bool Safetensors(std::string_view bytes) {
  static const Scratch scratch;
  const std::string path = scratch.Write("x.safetensors", bytes);
  const absl::StatusOr<SafetensorsFile> file = LoadSafetensors(path);
  const absl::StatusOr<SafetensorsFile> some =
      LoadSafetensors(path, [](const std::string& name) { return name == "a"; });
  Require(some.ok() || !file.ok(), "a file that can be read whole can be read in part");
  if (!file.ok()) return false;
  const std::string again_path = scratch.path() + "/again.safetensors";
  Require(SaveSafetensors(file->tensors, file->metadata, again_path).ok(), "what was read can be saved");
  const absl::StatusOr<SafetensorsFile> again = LoadSafetensors(again_path);
  Require(again.ok() && again->tensors.size() == file->tensors.size(), "what was saved is what was read");
  for (size_t i = 0; i < file->tensors.size(); ++i) {
    Require(again->tensors[i].first == file->tensors[i].first &&
                BitEqual(again->tensors[i].second, file->tensors[i].second),
            "a tensor that was saved is what was read");
  }
  return true;
}

}  // namespace weir::fuzz
