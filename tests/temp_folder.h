// A folder of a test's own, removed at its end.
#ifndef WEIR_TESTS_TEMP_FOLDER_H_
#define WEIR_TESTS_TEMP_FOLDER_H_

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

namespace weir {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "weir_test_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  std::vector<std::filesystem::path> Files() const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) files.push_back(entry.path());
    return files;
  }

 private:
  std::string path_;
};

}  // namespace weir

#endif  // WEIR_TESTS_TEMP_FOLDER_H_
