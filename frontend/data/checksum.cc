#include "weir/frontend/data/checksum.h"

#include <nettle/md5.h>
#include <nettle/sha2.h>

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "weir/frontend/io/file.h"

namespace weir {

namespace {

// Gives `update` the file's bytes, a piece at a time.
absl::Status Walk(const std::string& path, const std::function<void(size_t, const uint8_t*)>& update) {
  WEIR_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  std::vector<std::byte> buffer(size_t{1} << 20);
  for (int64_t at = 0; at < file.size();) {
    const int64_t count = std::min<int64_t>(file.size() - at, static_cast<int64_t>(buffer.size()));
    const std::span<std::byte> chunk = std::span(buffer).first(static_cast<size_t>(count));
    WEIR_RETURN_IF_ERROR(file.ReadAt(at, chunk));
    update(chunk.size(), reinterpret_cast<const uint8_t*>(chunk.data()));
    at += count;
  }
  return absl::OkStatus();
}

std::string Hexadecimal(std::span<const uint8_t> digest) {
  std::string text;
  for (const uint8_t byte : digest) {
    text.push_back("0123456789abcdef"[byte >> 4]);
    text.push_back("0123456789abcdef"[byte & 15]);
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> Md5OfFile(const std::string& path) {
  md5_ctx context;
  md5_init(&context);
  WEIR_RETURN_IF_ERROR(Walk(path, [&](size_t size, const uint8_t* data) { md5_update(&context, size, data); }));
  uint8_t digest[MD5_DIGEST_SIZE];
  md5_digest(&context, sizeof(digest), digest);
  return Hexadecimal(digest);
}

absl::StatusOr<std::string> Sha256OfFile(const std::string& path) {
  sha256_ctx context;
  sha256_init(&context);
  WEIR_RETURN_IF_ERROR(Walk(path, [&](size_t size, const uint8_t* data) { sha256_update(&context, size, data); }));
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(&context, sizeof(digest), digest);
  return Hexadecimal(digest);
}

}  // namespace weir
