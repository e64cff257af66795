// Files as wholes: reading with a size limit, and writing such that a reader sees the old contents or the new, never
// a part. Everything that weir writes goes through WriteFileAtomically. Paths are bytes as the system has them; all
// failures are statuses that name the path and the system's reason.
#ifndef WEIR_FRONTEND_IO_FILE_H_
#define WEIR_FRONTEND_IO_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "weir/core/error.h"

namespace weir {

// "<path>: <what>: <reason of errno>" with the code that fits: kNotFound, kPermissionDenied, kResourceExhausted (disk
// full, quota, file too large), else kUnavailable.
absl::Status ErrnoStatus(int error, const std::string& path, std::string_view what);

// A regular file open for reading at any offset. Its size is taken once, when it is opened.
class InputFile {
 public:
  static absl::StatusOr<InputFile> Open(const std::string& path);
  // The file `name` of a folder that is open; `path` is how messages call it.
  static absl::StatusOr<InputFile> OpenAt(int folder, const std::string& name, const std::string& path);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }  // bytes

  // Fills `destination` from byte `offset`; kDataLoss with the sizes if the file ends before.
  absl::Status ReadAt(int64_t offset, std::span<std::byte> destination) const;

 private:
  InputFile(std::string path, int descriptor, int64_t size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}

  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

inline constexpr int64_t kNoSizeLimit = INT64_MAX;

// The whole file; kResourceExhausted, before anything is allocated, if it has more than `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes = kNoSizeLimit);
absl::StatusOr<std::string> ReadFile(const InputFile& file, int64_t max_bytes = kNoSizeLimit);

// Replaces `path` by the concatenated parts: a temporary file in the same folder is written, flushed to the disk and
// renamed, then the folder is flushed. On any failure the old file is whole and the temporary is gone. The old file's
// mode is kept; a symbolic link stays one and what it points to is replaced. A device or pipe is written in place.
absl::Status WriteFileAtomically(const std::string& path, std::span<const std::string_view> parts);
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

// Removes temporaries that saves of `path` (a file, or a folder: folder.h) left beside it when they were killed. Those
// of a running save are locked by it, and stay; so do all where the file system has no locks.
void RemoveLitterOf(const std::string& path);

// Whether a file or folder `path` could be made or replaced now, with folders above it that don't exist made too, as far
// as types and permissions tell. Writes nothing.
absl::Status CheckCanWrite(const std::string& path);

// Makes the folder and its parents; none of them missing is no error.
absl::Status EnsureDirectory(const std::string& path);

}  // namespace weir

#endif  // WEIR_FRONTEND_IO_FILE_H_
