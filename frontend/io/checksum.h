// Checksums of what weir writes (XXH3 of 128 bits), to find bytes that changed by accident: on a disk, on the way, by a
// writer that stopped half-way. No protection against forgery.
#ifndef WEIR_FRONTEND_IO_CHECKSUM_H_
#define WEIR_FRONTEND_IO_CHECKSUM_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace weir {

inline constexpr size_t kChecksumDigits = 32;

// 32 lower-case hexadecimal digits.
std::string ChecksumOf(std::span<const std::byte> bytes);
std::string ChecksumOf(std::string_view text);

}  // namespace weir

#endif  // WEIR_FRONTEND_IO_CHECKSUM_H_
