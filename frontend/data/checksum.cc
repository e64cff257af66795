#include "weir/frontend/data/checksum.h"

#include <nettle/md5.h>

#include <algorithm>
#include <vector>

#include "weir/frontend/io/file.h"

namespace weir {

absl::StatusOr<std::string> Md5OfFile(const std::string& path) {
  WEIR_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  std::vector<std::byte> buffer(size_t{1} << 20);
  md5_ctx context;
  md5_init(&context);
  for (int64_t at = 0; at < file.size();) {
    const int64_t count = std::min<int64_t>(file.size() - at, static_cast<int64_t>(buffer.size()));
    const std::span<std::byte> chunk = std::span(buffer).first(static_cast<size_t>(count));
    WEIR_RETURN_IF_ERROR(file.ReadAt(at, chunk));
    md5_update(&context, chunk.size(), reinterpret_cast<const uint8_t*>(chunk.data()));
    at += count;
  }
  uint8_t digest[MD5_DIGEST_SIZE];
  md5_digest(&context, sizeof(digest), digest);
  std::string text;
  for (const uint8_t byte : digest) {
    text.push_back("0123456789abcdef"[byte >> 4]);
    text.push_back("0123456789abcdef"[byte & 15]);
  }
  return text;
}

}  // namespace weir
