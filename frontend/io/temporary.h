// Temporaries beside what they are to replace: files and folders called "<name>.weir-<6 letters>.tmp", which whoever makes
// them locks (flock) as long as they are in use. For what writes files.
#ifndef WEIR_FRONTEND_IO_TEMPORARY_H_
#define WEIR_FRONTEND_IO_TEMPORARY_H_

#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "weir/core/error.h"

namespace weir {

// An open file or folder, closed at its end.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  int get() const { return fd_; }
  // close() reports write errors that a network file system held back.
  int Close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_ = -1;
};

enum class TemporaryKind { kFile, kFolder };

// Makes an empty temporary beside `path` with the mode that the process gives new files or folders, open (a file for
// writing) and locked; `temporary` gets its path. Names are random: neither process numbers nor containers meet.
absl::StatusOr<Descriptor> CreateTemporary(const std::string& path, TemporaryKind kind, std::string& temporary);

// Whether a name is one CreateTemporary gives for a file or folder called `base`.
bool IsTemporaryOf(std::string_view name, std::string_view base);

// The path that symbolic links at the end of `path` lead to, whether anything is there or not. kFailedPrecondition for
// links in a circle.
absl::StatusOr<std::string> FollowLinks(const std::string& path);

// Flushes the folder that holds `path` to the disk.
absl::Status SyncFolderOf(const std::string& path);

// Six random letters and digits.
std::string RandomLetters();

}  // namespace weir

#endif  // WEIR_FRONTEND_IO_TEMPORARY_H_
