#include "weir/backends/llvm/object_cache.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

namespace weir::jit {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'W', 'E', 'I', 'R', 'J', 'I', 'T', '1'};
constexpr const char* kSuffix = ".wjo";
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

void WarnOnce(const std::string& path) {
  static std::atomic<bool> warned{false};
  if (warned.exchange(true)) return;
  std::fprintf(stderr, "weir: compiled kernels in %s are damaged; compiling again\n", path.c_str());
}

}  // namespace

std::string ObjectCache::PathOf(const std::string& key) const {
  const Hash hash = HashOf(key);
  char name[40];
  std::snprintf(name, sizeof(name), "%016llx%016llx", static_cast<unsigned long long>(hash.high),
                static_cast<unsigned long long>(hash.low));
  return folder_ + "/" + name + kSuffix;
}

std::optional<std::string> ObjectCache::Find(const std::string& key) const {
  const std::string path = PathOf(key);
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Header header;
  const Hash hash = HashOf(key);
  if (bytes.size() < sizeof(header)) {
    WarnOnce(path);
    return std::nullopt;
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  std::string object = bytes.substr(sizeof(header));
  const bool sound = std::memcmp(header.magic, kMagic, sizeof(kMagic)) == 0 && header.key == hash &&
                     header.key_bytes == key.size() && header.object_bytes == object.size() &&
                     header.object == HashOf(object);
  if (!sound) {
    WarnOnce(path);
    return std::nullopt;
  }
  // The time of writing is that of the last use.
  std::error_code ignored;
  fs::last_write_time(path, fs::file_time_type::clock::now(), ignored);
  return object;
}

void ObjectCache::Store(const std::string& key, const std::string& object) const {
  static std::atomic<uint64_t> serial{0};
  std::error_code error;
  fs::create_directories(folder_, error);
  const std::string path = PathOf(key);
  const std::string temporary = path + "." + std::to_string(getpid()) + "." + std::to_string(serial++) + ".tmp";
  Header header;
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.key = HashOf(key);
  header.key_bytes = key.size();
  header.object = HashOf(object);
  header.object_bytes = object.size();
  {
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(&header), sizeof(header));
    file.write(object.data(), static_cast<std::streamsize>(object.size()));
    file.close();
    if (!file) {
      fs::remove(temporary, error);
      return;
    }
  }
  fs::rename(temporary, path, error);
  if (error) fs::remove(temporary, error);
  // Looking through the folder costs more than a small entry: done at first, and whenever the share of the bound that
  // was left free may have been used up.
  const int64_t size = static_cast<int64_t>(sizeof(header) + object.size());
  if (unchecked_.fetch_add(size) + size < max_bytes_ / kSlack) return;
  unchecked_ = 0;
  RemoveOldest();
}

void ObjectCache::RemoveOldest() const {
  struct Entry {
    fs::path path;
    fs::file_time_type used;
    int64_t bytes = 0;
  };
  std::vector<Entry> entries;
  int64_t total = 0;
  std::error_code error;
  const auto stale = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    Entry entry{it->path(), it->last_write_time(ignored), static_cast<int64_t>(it->file_size(ignored))};
    if (ignored) continue;
    if (entry.path.extension() == kSuffix) {
      total += entry.bytes;
      entries.push_back(std::move(entry));
    } else if (entry.path.extension() == ".tmp" && entry.used < stale) {
      fs::remove(entry.path, ignored);  // of a process that died
    }
  }
  const int64_t wanted = max_bytes_ - max_bytes_ / kSlack;
  if (total <= wanted) return;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const Entry& entry : entries) {
    if (total <= wanted) return;
    std::error_code ignored;
    if (fs::remove(entry.path, ignored)) total -= entry.bytes;
  }
}

}  // namespace weir::jit
