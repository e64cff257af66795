// What the targets share: a folder for the files that are to be read, and promises that must hold.
#ifndef WEIR_TESTS_FUZZ_SCRATCH_H_
#define WEIR_TESTS_FUZZ_SCRATCH_H_

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace weir::fuzz {

// A folder of this process's own, in memory where the system has such; removed when it ends.
class Scratch {
 public:
  Scratch() {
    std::error_code ignored;
    const std::string parent =
        std::filesystem::is_directory("/dev/shm", ignored) && ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    std::string pattern = parent + "/weir_fuzz_XXXXXX";
    const char* made = ::mkdtemp(pattern.data());
    if (made == nullptr) std::abort();
    path_ = made;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  // The path of the file, which now has these bytes.
  std::string Write(const std::string& name, std::string_view bytes) const {
    const std::string path = path_ + "/" + name;
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

}  // namespace weir::fuzz

#endif  // WEIR_TESTS_FUZZ_SCRATCH_H_
