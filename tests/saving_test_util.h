// What the tests of saved models share.
#ifndef WEIR_TESTS_SAVING_TEST_UTIL_H_
#define WEIR_TESTS_SAVING_TEST_UTIL_H_

#include <string>
#include <string_view>

#include "frontend_test_util.h"
#include "weir/frontend/io/checksum.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/io/safetensors.h"
#include "weir/frontend/layers/layers.h"
#include "weir/ops/ops.h"

namespace weir {

namespace fs = std::filesystem;

inline std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteBytes(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Whether the message of a failure has `part`.
inline bool Says(const absl::Status& status, const std::string& part) {
  return std::string(status.message()).find(part) != std::string::npos;
}

// A folder as a hostile or foreign program may write it: any configuration beside any tensors, checksums and all.
inline void WriteModel(const std::string& path, const std::string& config, const NamedTensors& tensors) {
  std::filesystem::create_directories(path);
  WriteBytes(path + "/config.json", config);
  const absl::Status saved = SaveSafetensors(
      tensors, {{"format", "weir"}, {"config_bytes", StrCat(config.size())}, {"config_checksum", ChecksumOf(config)}},
      path + "/weights.safetensors");
  ASSERT_TRUE(saved.ok()) << saved;
}

// Only probes, weights and optimizer state: what a saved model's file of weights has.
inline NamedTensors TensorsOf(const std::string& path) {
  const absl::StatusOr<SafetensorsFile> file = LoadSafetensors(path + "/weights.safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? file->tensors : NamedTensors{};
}

}  // namespace weir

#endif  // WEIR_TESTS_SAVING_TEST_UTIL_H_
