// Chunks of PNG files, for tests that make and damage them.
#ifndef WEIR_TESTS_PNG_CHUNKS_H_
#define WEIR_TESTS_PNG_CHUNKS_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace weir {

inline constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);

// As the format defines it, of a chunk's type and data.
inline uint32_t Crc(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

inline std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

inline std::string Chunk(const std::string& type, const std::string& data) {
  return BigEndian(static_cast<uint32_t>(data.size())) + type + data + BigEndian(Crc(type + data));
}

// Makes the checksums of a file's chunks right, up to the first whose length leads out of the file.
inline void SetPngChecksums(std::string& file) {
  for (size_t at = kPngSignature.size(); at + 12 <= file.size();) {
    size_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(file[at + i]);
    if (length > file.size() - at - 12) return;
    file.replace(at + 8 + length, 4, BigEndian(Crc(std::string_view(file).substr(at + 4, length + 4))));
    at += length + 12;
  }
}

}  // namespace weir

#endif  // WEIR_TESTS_PNG_CHUNKS_H_
