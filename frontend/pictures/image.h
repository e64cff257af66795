// Pictures as tensors: PNG and JPEG files in, PNG files out, and resizing. A picture is (height, width, channels),
// channels 1 (grey), 3 (red, green, blue) or 4 (with alpha, not premultiplied).
#ifndef WEIR_FRONTEND_PICTURES_IMAGE_H_
#define WEIR_FRONTEND_PICTURES_IMAGE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "weir/core/error.h"
#include "weir/core/tensor.h"

namespace weir {

enum class Channels { kGrey = 1, kRgb = 3, kRgba = 4 };

struct ImageOptions {
  Channels channels = Channels::kRgb;
  // Whether a picture with other channels is converted. If false, it is an error.
  bool convert = true;
  // Where the wanted channels have no alpha but the file has: the colour (0..255) that shows through. Without one,
  // alpha is dropped and the colours are taken as stored.
  std::optional<std::array<float, 3>> background = std::nullopt;
  // Width times height of the largest picture that is read; checked before memory is taken for it.
  int64_t max_pixels = int64_t{1} << 26;
  // Whether a picture that its camera or EXIF data calls turned or mirrored is set upright, so that height and width
  // may change places. If false, rows are as stored (as Keras's load_img and TensorFlow's decode_jpeg give them).
  bool apply_orientation = true;
};

// Reads a PNG or JPEG file, told apart by content: float32 (height, width, channels) in 0..255. 16-bit values keep
// their precision (v / 257). Grey becomes RGB by repetition, RGB becomes grey by 0.299 R + 0.587 G + 0.114 B
// (ITU-R BT.601), missing alpha is 255. CMYK and YCCK (JPEG) become RGB as the product of each ink's share of light with
// black's, inverted where Adobe's marker says so. EXIF orientation is applied; gamma and colour profiles are not.
// Failures name the file: kInvalidArgument (neither format, wrong channels), kDataLoss (empty, cut or damaged, a
// palette index beyond the palette), kResourceExhausted (more than max_pixels). A JPEG that lacks its end marker alone
// is read, with a warning on standard error.
absl::StatusOr<Tensor> LoadImage(const std::string& path, const ImageOptions& options = {});

// float32 (height, width, C) from uint8 or float32 (H, W, C). Bilinear with half-pixel centres: the output pixel's
// centre (i + 0.5) * H / height is mapped into the input and its neighbours are weighted by a triangle. Shrinking
// widens the triangle by the factor (antialiasing: every input pixel counts); edges use what lies inside, weights
// adding up to 1. The same size gives the same values. Throws Error for other ranks or types and sizes below 1.
Tensor Resize(const Tensor& image, int64_t height, int64_t width);

// Writes uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), atomically. Throws Error for any other tensor.
absl::Status SavePng(const Tensor& image, const std::string& path);

}  // namespace weir

#endif  // WEIR_FRONTEND_PICTURES_IMAGE_H_
