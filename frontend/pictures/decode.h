// The two decoders, each in its own file, behind one form of raw pixels. Private to the pictures library.
#ifndef WEIR_FRONTEND_PICTURES_DECODE_H_
#define WEIR_FRONTEND_PICTURES_DECODE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weir/core/error.h"

namespace weir::internal {

// What is in the file, not yet converted.
struct RawImage {
  int64_t height = 0;
  int64_t width = 0;
  int channels = 0;            // 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
  int bytes_per_sample = 1;    // 2: big-endian
  std::vector<uint8_t> bytes;  // row-major, interleaved
};

bool IsPng(std::string_view contents);
bool IsJpeg(std::string_view contents);

// `contents` is a whole file. Messages do not name the file: the caller does.
absl::StatusOr<RawImage> DecodePng(std::string_view contents, int64_t max_pixels);
absl::StatusOr<RawImage> DecodeJpeg(std::string_view contents, int64_t max_pixels);

// kResourceExhausted if the picture has more than `max_pixels`.
absl::Status CheckPixels(int64_t height, int64_t width, int64_t max_pixels);

}  // namespace weir::internal

#endif  // WEIR_FRONTEND_PICTURES_DECODE_H_
