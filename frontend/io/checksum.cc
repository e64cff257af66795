#include "weir/frontend/io/checksum.h"

// The library as part of this file: a program needs none at run time.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace weir {

std::string ChecksumOf(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  std::string text;
  for (const unsigned char byte : canonical.digest) {
    text.push_back("0123456789abcdef"[byte >> 4]);
    text.push_back("0123456789abcdef"[byte & 15]);
  }
  return text;
}

std::string ChecksumOf(std::string_view text) { return ChecksumOf(std::as_bytes(std::span(text))); }

}  // namespace weir
