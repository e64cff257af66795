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
  std::vector<uint8_t> bytes = {};  // row-major, interleaved
  bool is_cmyk = false;        // whether the RGB here was made of cyan, magenta, yellow and black
  std::string exif = {};       // what cameras noted, "Exif\0\0" and a TIFF structure; empty: nothing
  std::string warning = {};    // of a fault of the file that cost no pixel; empty: none
};

bool IsPng(std::string_view contents);
bool IsJpeg(std::string_view contents);

// `contents` is a whole file. Messages do not name the file: the caller does.
absl::StatusOr<RawImage> DecodePng(std::string_view contents, int64_t max_pixels);
absl::StatusOr<RawImage> DecodeJpeg(std::string_view contents, int64_t max_pixels);

// What EXIF data begins with, in a JPEG's segment and in RawImage.
inline constexpr std::string_view kExifStart("Exif\0\0", 6);

// The orientation that EXIF data tells, 1 (upright) to 8 (TIFF 6.0, tag 274): 1 where it tells none, none that there is,
// or is damaged.
int ExifOrientation(std::string_view exif);

// kResourceExhausted if the picture has more than `max_pixels`.
absl::Status CheckPixels(int64_t height, int64_t width, int64_t max_pixels);

}  // namespace weir::internal

#endif  // WEIR_FRONTEND_PICTURES_DECODE_H_
