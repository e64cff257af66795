#include "weir/frontend/io/folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "weir/frontend/io/temporary.h"

namespace weir {
namespace {

constexpr unsigned kNoReplace = 1, kExchange = 2;  // RENAME_NOREPLACE, RENAME_EXCHANGE

int Rename(const std::string& from, const std::string& to, unsigned flags) {
  return syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

bool SameFolder(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

// Errors that say that a folder can't be exchanged here, whatever it holds.
bool CanNeverBe(int error) {
  return error == EBUSY || error == EXDEV || error == EINVAL || error == ENOSYS || error == EOPNOTSUPP ||
         error == EPERM || error == EACCES || error == EROFS;
}

absl::Status NotExchangeable(const std::string& path, int error) {
  return absl::UnimplementedError(
      StrCat(path, ": the folder can't be exchanged for another: ", std::generic_category().message(error)));
}

// Puts `temporary` in the place of `path`. What was there is at `temporary` then.
absl::Status PutInPlace(const std::string& temporary, const std::string& path) {
  int error = 0;
  // Between two looks another may have put a folder there, or taken it away.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    error = Rename(temporary, path, kNoReplace);
    if (error == EINVAL || error == ENOSYS) {
      // A file system without the flag: a folder that is empty or missing is replaced by the plain call.
      error = ::rename(temporary.c_str(), path.c_str()) == 0 ? 0 : errno;
      if (error == ENOTEMPTY) error = EEXIST;
    }
    if (error == 0) return absl::OkStatus();
    if (error != EEXIST) break;
    error = Rename(temporary, path, kExchange);
    if (error == 0) return absl::OkStatus();
    if (error != ENOENT) break;
  }
  return CanNeverBe(error) ? NotExchangeable(path, error) : ErrnoStatus(error, path, "rename failed");
}

}  // namespace

absl::StatusOr<InputFolder> InputFolder::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) return InputFolder(path, fd);
  if (errno == ENOTDIR && ::access(path.c_str(), F_OK) == 0) {
    return absl::FailedPreconditionError(StrCat(path, ": is a file, expected a folder"));
  }
  return ErrnoStatus(errno, path, "open failed");
}

InputFolder::InputFolder(InputFolder&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

InputFolder& InputFolder::operator=(InputFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

InputFolder::~InputFolder() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

absl::StatusOr<InputFile> InputFolder::OpenFile(const std::string& name) const {
  return InputFile::OpenAt(descriptor_, name, StrCat(path_, "/", name));
}

bool InputFolder::IsStillThere() const {
  struct stat now, opened;
  return ::stat(path_.c_str(), &now) == 0 && ::fstat(descriptor_, &opened) == 0 && SameFolder(now, opened);
}

absl::Status ReplaceFolder(const std::string& path,
                           const std::function<absl::Status(const std::string& folder)>& fill) {
  WEIR_ASSIGN_OR_RETURN(const std::string target, FollowLinks(path));
  if (const std::string parent = std::filesystem::path(target).parent_path().string(); !parent.empty()) {
    WEIR_RETURN_IF_ERROR(EnsureDirectory(parent));
  }
  struct stat old, above, here;
  const bool exists = ::stat(target.c_str(), &old) == 0;
  if (exists && ::stat((target + "/..").c_str(), &above) == 0 && above.st_dev != old.st_dev) {
    return NotExchangeable(path, EXDEV);
  }
  // Whoever works in the folder would be left in one that is gone.
  if (exists && ::stat(".", &here) == 0 && SameFolder(here, old)) return NotExchangeable(path, EBUSY);
  RemoveLitterOf(target);

  std::string temporary;
  const absl::StatusOr<Descriptor> made = CreateTemporary(target, TemporaryKind::kFolder, temporary);
  if (!made.ok()) {
    // Its own files may be writable all the same.
    return exists && absl::IsPermissionDenied(made.status()) ? NotExchangeable(path, EACCES) : made.status();
  }
  absl::Status status = fill(temporary);
  if (status.ok() && exists && ::fchmod(made->get(), old.st_mode & 07777) != 0) {
    status = ErrnoStatus(errno, path, "setting the mode failed");
  }
  if (status.ok()) status = PutInPlace(temporary, target);
  // The new folder after a failure, the old one otherwise.
  std::error_code ignored;
  std::filesystem::remove_all(temporary, ignored);
  if (!status.ok()) return status;
  return SyncFolderOf(target);
}

absl::StatusOr<FolderLock> FolderLock::Acquire(const std::string& path) {
  WEIR_RETURN_IF_ERROR(EnsureDirectory(path));
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, path, "open failed");
  FolderLock lock(fd);
  const auto start = std::chrono::steady_clock::now();
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) break;  // no locks here
    if (std::chrono::steady_clock::now() - start > std::chrono::minutes(1)) {
      return absl::UnavailableError(StrCat(path, ": another save into it has gone on for a minute"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return lock;
}

FolderLock::FolderLock(FolderLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace weir
