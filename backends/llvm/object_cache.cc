#include "weir/backends/llvm/object_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr char kMagic[8] = {'W', 'E', 'I', 'R', 'J', 'I', 'T', '1'};
constexpr std::string_view kSuffix = ".wjo", kTemporarySuffix = ".tmp";
// No plan's part comes near it.
constexpr int64_t kMaxEntryBytes = int64_t{64} << 20;
constexpr time_t kStaleSeconds = 3600;  // a temporary file this old is of a process that died
constexpr int64_t kSlack = 16;  // this part of the bound is free after a check

struct Hash {
  uint64_t low = 0, high = 0;
  friend bool operator==(const Hash&, const Hash&) = default;
};

// Two multiplicative hashes of eight bytes at a time: no defence against an attacker, who could write the object too.
Hash HashOf(const std::string& text) {
  uint64_t a = 0x9E3779B97F4A7C15u ^ text.size(), b = 0xD1342543DE82EF95u + text.size();
  const auto mix = [&](uint64_t word) {
    a = (a ^ word) * 0xBF58476D1CE4E5B9u;
    a ^= a >> 29;
    b = (b + word) * 0x94D049BB133111EBu;
    b ^= b >> 31;
  };
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    mix(word);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, text.data() + i, text.size() - i);
  mix(rest);
  mix(a ^ b);
  return {a, b};
}

struct Header {
  char magic[8];
  Hash key;
  uint64_t key_bytes = 0;
  Hash object;
  uint64_t object_bytes = 0;
};

void WarnOnce(const std::string& path, std::string_view why) {
  static std::atomic<bool> warned{false};
  if (warned.exchange(true)) return;
  std::fprintf(stderr, "weir: compiled kernels in %s are not used, %.*s; compiling again\n", path.c_str(),
               static_cast<int>(why.size()), why.data());
}

// A file descriptor that is closed.
class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  File& operator=(File&&) = delete;
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  bool ok() const { return descriptor_ >= 0; }
  int get() const { return descriptor_; }
  // Whether all was written to the disk's satisfaction.
  bool Close() { return close(std::exchange(descriptor_, -1)) == 0; }

 private:
  int descriptor_;
};

// Why a file or folder may hold what others put there; "" if not.
std::string_view Distrust(const struct stat& info) {
  if (info.st_uid != geteuid()) return "they belong to another user";
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "others may write them";
  return "";
}

// Makes the folder and those above it, where they are missing.
void MakeFolders(const std::string& path) {
  for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    mkdir(path.substr(0, end).c_str(), 0700);
  }
  mkdir(path.c_str(), 0700);
}

// The folder, if nobody else may put anything into it.
File OpenFolder(const std::string& path) {
  File folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat info;
  if (!folder.ok() || fstat(folder.get(), &info) != 0) return File(-1);
  if (const std::string_view why = Distrust(info); !why.empty()) {
    WarnOnce(path, why);
    return File(-1);
  }
  return folder;
}

// The whole of an entry's bytes; nothing, with the reason, where it can't be had.
std::optional<std::string> ReadEntry(int folder, const std::string& name, std::string_view* why) {
  const File file(openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.ok()) {
    *why = errno == ENOENT ? "" : errno == ELOOP ? "they are a link" : "they can't be read";
    return std::nullopt;
  }
  struct stat info;
  if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    *why = "they are no regular file";
    return std::nullopt;
  }
  if (*why = Distrust(info); !why->empty()) return std::nullopt;
  if (info.st_size > kMaxEntryBytes) {
    *why = "they are too large";
    return std::nullopt;
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  for (size_t read_bytes = 0; read_bytes < bytes.size();) {
    const ssize_t got = read(file.get(), bytes.data() + read_bytes, bytes.size() - read_bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      *why = "they can't be read";
      return std::nullopt;
    }
    read_bytes += static_cast<size_t>(got);
  }
  // The time of writing is that of the last use.
  futimens(file.get(), nullptr);
  return bytes;
}

// While it lives, a file that grows beyond the process's limit is an error of writing on this thread, not its end.
class WithoutFileSizeSignal {
 public:
  WithoutFileSizeSignal() {
    sigemptyset(&signal_);
    sigaddset(&signal_, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signal_, &before_);
  }
  ~WithoutFileSizeSignal() {
    const timespec now = {0, 0};
    while (sigtimedwait(&signal_, nullptr, &now) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WithoutFileSizeSignal(const WithoutFileSizeSignal&) = delete;
  WithoutFileSizeSignal& operator=(const WithoutFileSizeSignal&) = delete;

 private:
  sigset_t signal_, before_;
};

bool WriteAll(int file, const void* data, size_t size) {
  const char* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = write(file, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

std::string NameOf(const Hash& key) {
  char name[40];
  std::snprintf(name, sizeof(name), "%016llx%016llx", static_cast<unsigned long long>(key.high),
                static_cast<unsigned long long>(key.low));
  return StrCat(name, kSuffix);
}

}  // namespace

std::string ObjectCache::PathOf(const std::string& key) const { return StrCat(folder_, "/", NameOf(HashOf(key))); }

std::optional<std::string> ObjectCache::Find(const std::string& key) const {
  const File folder = OpenFolder(folder_);
  if (!folder.ok()) return std::nullopt;
  const Hash hash = HashOf(key);
  std::string_view why;
  std::optional<std::string> bytes = ReadEntry(folder.get(), NameOf(hash), &why);
  if (bytes) {
    Header header;
    const auto sound = [&] {
      if (bytes->size() < sizeof(header)) return false;
      std::memcpy(&header, bytes->data(), sizeof(header));
      bytes->erase(0, sizeof(header));
      return std::memcmp(header.magic, kMagic, sizeof(kMagic)) == 0 && header.key == hash &&
             header.key_bytes == key.size() && header.object_bytes == bytes->size() && header.object == HashOf(*bytes);
    };
    if (sound()) return bytes;
    why = "they are damaged";
  }
  if (!why.empty()) WarnOnce(PathOf(key), why);
  return std::nullopt;
}

void ObjectCache::Store(const std::string& key, const std::string& object) const {
  static std::atomic<uint64_t> serial{0};
  Header header;
  if (static_cast<int64_t>(sizeof(header) + object.size()) > kMaxEntryBytes) return;
  MakeFolders(folder_);
  const File folder = OpenFolder(folder_);
  if (!folder.ok()) return;
  header.key = HashOf(key);
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.key_bytes = key.size();
  header.object = HashOf(object);
  header.object_bytes = object.size();
  const std::string name = NameOf(header.key);
  // Two processes may have the same number in different containers: a name that is taken is another's.
  const std::string temporary = StrCat(name, ".", getpid(), ".", serial++, kTemporarySuffix);
  {
    File file(openat(folder.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.ok()) return;
    const WithoutFileSizeSignal without;
    const bool written =
        WriteAll(file.get(), &header, sizeof(header)) && WriteAll(file.get(), object.data(), object.size());
    if (!file.Close() || !written) {
      unlinkat(folder.get(), temporary.c_str(), 0);
      return;
    }
  }
  if (renameat(folder.get(), temporary.c_str(), folder.get(), name.c_str()) != 0) {
    unlinkat(folder.get(), temporary.c_str(), 0);
  }
  // Looking through the folder costs more than a small entry: done at first, and whenever the share of the bound that
  // was left free may have been used up.
  const int64_t size = static_cast<int64_t>(sizeof(header) + object.size());
  if (unchecked_.fetch_add(size) + size < max_bytes_ / kSlack) return;
  unchecked_ = 0;
  RemoveOldest(folder.get());
}

void ObjectCache::RemoveOldest(int folder) const {
  struct Entry {
    std::string name;
    timespec used;
    int64_t bytes = 0;
  };
  std::vector<Entry> entries;
  int64_t total = 0;
  // Closing the stream closes its descriptor.
  const int own = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const stream = own < 0 ? nullptr : fdopendir(own);
  if (stream == nullptr) {
    if (own >= 0) close(own);
    return;
  }
  const time_t now = time(nullptr);
  while (const dirent* listed = readdir(stream)) {
    Entry entry{.name = listed->d_name, .used = {}, .bytes = 0};
    struct stat info;
    if (fstatat(folder, entry.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) continue;
    entry.used = info.st_mtim;
    entry.bytes = info.st_size;
    if (entry.name.ends_with(kSuffix)) {
      total += entry.bytes;
      entries.push_back(std::move(entry));
    } else if (entry.name.ends_with(kTemporarySuffix) && entry.used.tv_sec < now - kStaleSeconds) {
      unlinkat(folder, entry.name.c_str(), 0);
    }
  }
  closedir(stream);
  const int64_t wanted = max_bytes_ - max_bytes_ / kSlack;
  if (total <= wanted) return;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  for (const Entry& entry : entries) {
    if (total <= wanted) return;
    if (unlinkat(folder, entry.name.c_str(), 0) == 0) total -= entry.bytes;
  }
}

}  // namespace weir::jit
