#include "weir/frontend/io/temporary.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "weir/frontend/io/file.h"

namespace weir {
namespace {

constexpr std::string_view kMark = ".weir-";
constexpr std::string_view kEnd = ".tmp";
constexpr size_t kLetters = 6;
constexpr size_t kLongestName = 255;

// Whether the lock is ours and the entry still there: who removes litter may have been faster.
bool Lock(int fd) {
  // A file system without locks has no litter removed either.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  struct stat info;
  return ::fstat(fd, &info) == 0 && info.st_nlink > 0;
}

bool SameEntry(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

}  // namespace

std::string RandomLetters() {
  uint8_t bytes[kLetters];
  size_t have = 0;
  while (have < kLetters) {
    const ssize_t count = ::getrandom(bytes + have, kLetters - have, 0);
    if (count > 0) have += static_cast<size_t>(count);
  }
  std::string letters;
  for (const uint8_t byte : bytes) letters.push_back("abcdefghijklmnopqrstuvwxyz012345"[byte % 32]);
  return letters;
}

bool IsTemporaryOf(std::string_view name, std::string_view base) {
  if (name.size() != base.size() + kMark.size() + kLetters + kEnd.size()) return false;
  if (!name.starts_with(base) || !name.ends_with(kEnd) || name.substr(base.size(), kMark.size()) != kMark) return false;
  for (const char c : name.substr(base.size() + kMark.size(), kLetters)) {
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) return false;
  }
  return true;
}

absl::StatusOr<Descriptor> CreateTemporary(const std::string& path, TemporaryKind kind, std::string& temporary) {
  const std::filesystem::path split(path);
  const std::string name = split.filename().string();
  const bool fits = name.size() + kMark.size() + kLetters + kEnd.size() <= kLongestName;
  const std::string folder = split.has_parent_path() ? split.parent_path().string() : ".";
  int error = EEXIST;
  for (int attempt = 0; attempt < 100; ++attempt) {
    temporary = StrCat(folder, "/", fits ? name : "", kMark, RandomLetters(), kEnd);
    if (kind == TemporaryKind::kFolder && ::mkdir(temporary.c_str(), 0777) != 0) {
      error = errno;
      if (error == EEXIST) continue;
      break;
    }
    Descriptor made(kind == TemporaryKind::kFile
                        ? ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)
                        : ::open(temporary.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    error = errno;
    if (made.get() >= 0 && Lock(made.get())) return made;
    // Taken for litter in the moment before it was locked.
    const bool removed = made.get() >= 0 || (kind == TemporaryKind::kFolder && error == ENOENT);
    if (!removed && error != EEXIST) break;
  }
  return ErrnoStatus(error, path, "creating a temporary beside it failed");
}

void RemoveLitterOf(const std::string& path) {
  const std::filesystem::path split(path);
  const std::string folder = split.has_parent_path() ? split.parent_path().string() : ".";
  std::error_code error;
  std::vector<std::string> found;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (IsTemporaryOf(name, split.filename().string())) found.push_back(StrCat(folder, "/", name));
  }
  for (const std::string& litter : found) {
    const Descriptor opened(::open(litter.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat info, now;
    if (opened.get() < 0 || ::fstat(opened.get(), &info) != 0) continue;
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) continue;
    if (::flock(opened.get(), LOCK_EX | LOCK_NB) != 0) continue;
    // Its writer may have renamed it between the two looks.
    if (::lstat(litter.c_str(), &now) != 0 || !SameEntry(info, now)) continue;
    std::filesystem::remove_all(litter, error);
  }
}

absl::StatusOr<std::string> FollowLinks(const std::string& path) {
  std::filesystem::path at(path);
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(at, error); ++links) {
    if (links == 40) return absl::FailedPreconditionError(StrCat(path, ": too many levels of symbolic links"));
    const std::filesystem::path target = std::filesystem::read_symlink(at, error);
    if (error) return ErrnoStatus(error.value(), path, "reading the symbolic link failed");
    at = target.is_absolute() ? target : at.parent_path() / target;
  }
  return at.string();
}

}  // namespace weir
