#include "weir/backends/llvm/object_cache.h"

#include <fstream>
#include <iterator>

#include "weir/tests/fuzz/scratch.h"
#include "weir/tests/fuzz/targets.h"

namespace weir::fuzz {
namespace {

constexpr size_t kEditBytes = 3;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// `entry` changed as `edits` say: two bytes of a place, and the byte that comes there.
std::string Edited(std::string entry, std::string_view edits) {
  for (; edits.size() >= kEditBytes; edits.remove_prefix(kEditBytes)) {
    const size_t place = static_cast<uint8_t>(edits[0]) | static_cast<size_t>(static_cast<uint8_t>(edits[1])) << 8;
    entry[place % entry.size()] = edits[2];
  }
  return entry;
}

}  // namespace

bool ObjectCache(std::string_view bytes) {
  static const Scratch scratch;
  static const std::string folder = scratch.path() + "/cache";
  static const jit::ObjectCache cache(folder, int64_t{1} << 20);
  static const std::string key = "what a kernel is made from", object(200, 'x');
  static const std::string path = cache.PathOf(key);
  static const std::string sound = [] {
    cache.Store(key, object);
    return Contents(path);
  }();
  Require(!sound.empty(), "an entry is stored");
  if (bytes.empty()) return false;
  const bool edits = bytes[0] % 2 != 0;
  bytes.remove_prefix(1);
  const std::string entry = edits ? Edited(sound, bytes) : std::string(bytes);
  // Written in place: the entry keeps the owner and mode that it was stored with.
  std::ofstream(path, std::ios::binary | std::ios::trunc) << entry;
  const auto found = cache.Find(key);
  if (edits && found.has_value()) Require(*found == object, "a changed object is not taken for the one stored");
  if (!edits && entry != sound) Require(!found.has_value() || *found != object, "foreign bytes are not the one stored");
  // Whatever lay there, the next entry is stored in its place and found.
  cache.Store(key, object);
  const auto again = cache.Find(key);
  Require(again.has_value() && *again == object, "what is stored is found");
  return found.has_value();
}

}  // namespace weir::fuzz
