// Fuzz targets: one for every reader of what others wrote. Each takes the bytes of a file, has them read, and returns
// whether they were accepted; a crash, a sanitizer's report, an exception that is no weir::Error, or a broken promise
// (what was read isn't what is read again after saving) is a finding. The fuzzer calls them with whatever it thinks of
// (tools/test --fuzz), seeds_test with the files of seeds/.
#ifndef WEIR_TESTS_FUZZ_TARGETS_H_
#define WEIR_TESTS_FUZZ_TARGETS_H_

#include <string_view>

namespace weir::fuzz {

bool Npy(std::string_view bytes);
bool Safetensors(std::string_view bytes);
// The checksums of chunks are set right first: else nearly all changes end there.
bool Png(std::string_view bytes);
bool Jpeg(std::string_view bytes);
// An archive of CIFAR-10, or of anything.
bool Archive(std::string_view bytes);
// An entry of the cache of compiled kernels: after an even byte its bytes, after an odd one changes (a place of two
// bytes and the byte that comes there) of an entry that is sound.
bool ObjectCache(std::string_view bytes);
// The configuration of a saved model. The checksums that go with it are set right, and weights, optimizer's state and
// probe are made to fit it as far as it can be read; what loads is saved, loaded again and trained for an epoch.
bool SavedModel(std::string_view bytes);
// The weights of a saved model whose format needs no checksums.
bool SavedWeights(std::string_view bytes);
// A log that CSVLogger appends to.
bool CsvLog(std::string_view bytes);
// A byte that chooses a value and an epoch, then the pattern of a checkpoint's path.
bool CheckpointPattern(std::string_view bytes);
// A byte that chooses a variable of the environment, then its value.
bool Environment(std::string_view bytes);

struct Target {
  const char* name;  // of its folder of seeds
  bool (*run)(std::string_view bytes);
};
inline constexpr Target kTargets[] = {{"npy", Npy},
                                      {"safetensors", Safetensors},
                                      {"png", Png},
                                      {"jpeg", Jpeg},
                                      {"archive", Archive},
                                      {"object_cache", ObjectCache},
                                      {"saved_model", SavedModel},
                                      {"saved_weights", SavedWeights},
                                      {"csv_log", CsvLog},
                                      {"checkpoint_pattern", CheckpointPattern},
                                      {"environment", Environment}};

}  // namespace weir::fuzz

#endif  // WEIR_TESTS_FUZZ_TARGETS_H_
