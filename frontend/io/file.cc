#include "weir/frontend/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "weir/frontend/io/temporary.h"

namespace weir {
namespace {

// One call of read or write moves at most this much: above 2 GiB Linux shortens it anyway.
constexpr size_t kMaxTransfer = size_t{1} << 30;

absl::Status WriteAll(int fd, std::span<const std::string_view> parts, const std::string& path) {
  for (std::string_view part : parts) {
    while (!part.empty()) {
      const ssize_t written = ::write(fd, part.data(), std::min(part.size(), kMaxTransfer));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return ErrnoStatus(written < 0 ? errno : EIO, path, "write failed");
      part.remove_prefix(static_cast<size_t>(written));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteInPlace(const std::string& path, std::span<const std::string_view> parts) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) return ErrnoStatus(errno, path, "open for writing failed");
  WEIR_RETURN_IF_ERROR(WriteAll(file.get(), parts, path));
  if (file.Close() != 0) return ErrnoStatus(errno, path, "close failed");
  return absl::OkStatus();
}

}  // namespace

absl::Status SyncFolderOf(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A folder that may be written but not read can't be opened; the file itself is safe on the disk by now.
  if (directory.get() < 0) return errno == EACCES ? absl::OkStatus() : ErrnoStatus(errno, folder, "open failed");
  if (::fsync(directory.get()) != 0 && errno != EINVAL) return ErrnoStatus(errno, folder, "fsync failed");
  return absl::OkStatus();
}

namespace {

absl::Status WriteTemporary(const Descriptor& file, const struct stat* old_file, std::span<const std::string_view> parts,
                            const std::string& path) {
  const int fd = file.get();
  if (old_file != nullptr && ::fchmod(fd, old_file->st_mode & 07777) != 0) {
    return ErrnoStatus(errno, path, "setting the mode failed");
  }
  WEIR_RETURN_IF_ERROR(WriteAll(fd, parts, path));
  if (::fsync(fd) != 0) return ErrnoStatus(errno, path, "fsync failed");
  // A copy is closed for what close() reports; the file stays open and locked until it has its name.
  Descriptor copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (copy.get() < 0 || copy.Close() != 0) return ErrnoStatus(errno, path, "close failed");
  return absl::OkStatus();
}

}  // namespace

absl::Status ErrnoStatus(int error, const std::string& path, std::string_view what) {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  switch (error) {
    case ENOENT:
    case ENOTDIR: code = absl::StatusCode::kNotFound; break;
    case EACCES:
    case EPERM:
    case EROFS: code = absl::StatusCode::kPermissionDenied; break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM: code = absl::StatusCode::kResourceExhausted; break;
    case EISDIR: code = absl::StatusCode::kFailedPrecondition; break;
    default: break;
  }
  return absl::Status(code, StrCat(path, ": ", what, ": ", std::generic_category().message(error)));
}

absl::StatusOr<InputFile> InputFile::Open(const std::string& path) { return OpenAt(AT_FDCWD, path, path); }

absl::StatusOr<InputFile> InputFile::OpenAt(int folder, const std::string& name, const std::string& path) {
  // Without O_NONBLOCK, opening a pipe that nobody writes would wait for ever.
  const int fd = ::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoStatus(errno, path, "open failed");
  struct stat info;
  if (::fstat(fd, &info) != 0) {
    const int error = errno;
    ::close(fd);
    return ErrnoStatus(error, path, "stat failed");
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return absl::FailedPreconditionError(
        StrCat(path, ": is ", S_ISDIR(info.st_mode) ? "a folder" : "no regular file", ", expected a file"));
  }
  return InputFile(path, fd, info.st_size);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

absl::Status InputFile::ReadAt(int64_t offset, std::span<std::byte> destination) const {
  size_t done = 0;
  while (done < destination.size()) {
    const ssize_t count =
        ::pread(descriptor_, destination.data() + done, std::min(destination.size() - done, kMaxTransfer),
                offset + static_cast<int64_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, path_, "read failed");
    if (count == 0) {
      return absl::DataLossError(StrCat(path_, ": ends after ", offset + static_cast<int64_t>(done),
                                        " bytes, expected ", offset + static_cast<int64_t>(destination.size())));
    }
    done += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  WEIR_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  return ReadFile(file, max_bytes);
}

absl::StatusOr<std::string> ReadFile(const InputFile& file, int64_t max_bytes) {
  if (file.size() > max_bytes) {
    return absl::ResourceExhaustedError(
        StrCat(file.path(), ": has ", file.size(), " bytes, at most ", max_bytes, " are read"));
  }
  std::string contents(static_cast<size_t>(file.size()), '\0');
  WEIR_RETURN_IF_ERROR(file.ReadAt(0, std::as_writable_bytes(std::span(contents))));
  return contents;
}

absl::Status WriteFileAtomically(const std::string& path, std::span<const std::string_view> parts) {
  // Without resolving, renaming onto a symbolic link would replace the link.
  WEIR_ASSIGN_OR_RETURN(const std::string target, FollowLinks(path));
  struct stat info;
  const bool exists = ::stat(target.c_str(), &info) == 0;
  if (!exists && errno != ENOENT) return ErrnoStatus(errno, path, "stat failed");
  if (exists && S_ISDIR(info.st_mode)) return ErrnoStatus(EISDIR, path, "can't be written");
  if (exists && !S_ISREG(info.st_mode)) return WriteInPlace(target, parts);

  std::string temporary;
  WEIR_ASSIGN_OR_RETURN(const Descriptor file, CreateTemporary(target, TemporaryKind::kFile, temporary));
  absl::Status status = WriteTemporary(file, exists ? &info : nullptr, parts, path);
  if (status.ok() && ::rename(temporary.c_str(), target.c_str()) != 0) {
    status = ErrnoStatus(errno, path, "rename failed");
  }
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  return SyncFolderOf(target);
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view contents) {
  return WriteFileAtomically(path, std::span(&contents, 1));
}

absl::Status CheckCanWrite(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) {
    const bool folder = S_ISDIR(info.st_mode), writable = access(path.c_str(), folder ? W_OK | X_OK : W_OK) == 0;
    if (folder && writable) return absl::OkStatus();
    if (!folder && !writable) return ErrnoStatus(errno, path, "write");
  }
  // The nearest folder that there is.
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  while (stat(folder.c_str(), &info) != 0) {
    if (errno != ENOENT) return ErrnoStatus(errno, path, "write");
    folder = folder.parent_path();
    if (folder.empty()) folder = ".";
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(StrCat(path, ": ", folder.string(), " is no folder"));
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) return ErrnoStatus(errno, path, StrCat("write in ", folder.string()));
  return absl::OkStatus();
}

absl::Status EnsureDirectory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), path, "making the folder failed");
  if (!std::filesystem::is_directory(path, error)) return ErrnoStatus(ENOTDIR, path, "is no folder");
  return absl::OkStatus();
}

}  // namespace weir
