#include "weir/frontend/pictures/image.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "weir/core/float_state.h"
#include "weir/frontend/io/checked.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/pictures/decode.h"

namespace weir {
namespace {

using internal::RawImage;

constexpr float kOpaque = 255;

const char* ChannelsName(int channels) {
  switch (channels) {
    case 1: return "grey";
    case 2: return "grey with alpha";
    case 3: return "RGB";
    default: return "RGBA";
  }
}

// Red, green, blue, alpha of pixel `i`, 0..255.
std::array<float, 4> Pixel(const RawImage& raw, int64_t i) {
  std::array<float, 4> samples{};
  const uint8_t* bytes = raw.bytes.data() + i * raw.channels * raw.bytes_per_sample;
  for (int c = 0; c < raw.channels; ++c) {
    samples[c] = raw.bytes_per_sample == 1 ? static_cast<float>(bytes[c])
                                           : static_cast<float>(bytes[2 * c] * 256 + bytes[2 * c + 1]) / 257.0f;
  }
  switch (raw.channels) {
    case 1: return {samples[0], samples[0], samples[0], kOpaque};
    case 2: return {samples[0], samples[0], samples[0], samples[1]};
    case 3: return {samples[0], samples[1], samples[2], kOpaque};
    default: return samples;
  }
}

absl::StatusOr<Tensor> Convert(const RawImage& raw, const ImageOptions& options) {
  const int wanted = static_cast<int>(options.channels);
  if (!options.convert && (raw.channels != wanted || raw.is_cmyk)) {
    return absl::InvalidArgumentError(StrCat("picture has ", raw.is_cmyk ? 4 : raw.channels, " channels (",
                                             raw.is_cmyk ? "CMYK" : ChannelsName(raw.channels), "), expected ", wanted, " (", ChannelsName(wanted), ")"));
  }
  WEIR_ASSIGN_OR_RETURN(Tensor image, CheckedTensor({DType::kFloat32, {raw.height, raw.width, wanted}}));
  float* dst = image.data<float>().data();
  const bool blend = options.background.has_value() && options.channels != Channels::kRgba;
  for (int64_t i = 0; i < raw.height * raw.width; ++i) {
    std::array<float, 4> pixel = Pixel(raw, i);
    if (blend && pixel[3] != kOpaque) {
      const float alpha = pixel[3] / kOpaque;
      for (int c = 0; c < 3; ++c) pixel[c] = pixel[c] * alpha + (*options.background)[c] * (1 - alpha);
    }
    if (wanted == 1) {
      // Equal colours give themselves, not a sum that rounding has moved.
      const bool grey = pixel[0] == pixel[1] && pixel[1] == pixel[2];
      *dst++ = grey ? pixel[0] : 0.299f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2];
    } else {
      for (int c = 0; c < wanted; ++c) *dst++ = pixel[c];
    }
  }
  return image;
}

// The picture set upright: `orientation` as EXIF has it, 1 to 8. From 5 on rows were stored as columns.
absl::StatusOr<Tensor> Upright(Tensor image, int orientation) {
  if (orientation == 1) return image;
  const int64_t height = image.shape()[0], width = image.shape()[1], channels = image.shape()[2];
  const bool transposed = orientation >= 5;
  // Whether rows and columns, as stored, run backwards.
  const bool rows_back = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool columns_back = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  Shape shape = transposed ? Shape{width, height, channels} : image.shape();
  WEIR_ASSIGN_OR_RETURN(Tensor result, CheckedTensor({DType::kFloat32, shape}));
  const float* src = image.data<float>().data();
  float* dst = result.data<float>().data();
  for (int64_t y = 0; y < shape[0]; ++y) {
    for (int64_t x = 0; x < shape[1]; ++x, dst += channels) {
      int64_t row = transposed ? x : y, column = transposed ? y : x;
      if (rows_back) row = height - 1 - row;
      if (columns_back) column = width - 1 - column;
      std::copy_n(src + (row * width + column) * channels, channels, dst);
    }
  }
  return result;
}

absl::StatusOr<RawImage> Decode(std::string_view contents, int64_t max_pixels) {
  if (contents.empty()) return absl::DataLossError("is empty (0 bytes), expected a PNG or JPEG");
  if (internal::IsPng(contents)) return internal::DecodePng(contents, max_pixels);
  if (internal::IsJpeg(contents)) return internal::DecodeJpeg(contents, max_pixels);
  return absl::InvalidArgumentError(StrCat("is neither PNG nor JPEG (", contents.size(), " bytes)"));
}

absl::StatusOr<Tensor> Load(std::string_view contents, const ImageOptions& options, const std::string& path) {
  WEIR_ASSIGN_OR_RETURN(const RawImage raw, Decode(contents, options.max_pixels));
  WEIR_ASSIGN_OR_RETURN(Tensor image, Convert(raw, options));
  if (!raw.warning.empty()) std::fprintf(stderr, "weir: warning: %s: %s\n", path.c_str(), raw.warning.c_str());
  if (!options.apply_orientation || raw.exif.empty()) return image;
  return Upright(std::move(image), internal::ExifOrientation(raw.exif));
}

// The weights with which input elements make up one output element.
struct Tap {
  int64_t first = 0;
  std::vector<float> weights;
};

std::vector<Tap> Taps(int64_t from, int64_t to) {
  std::vector<Tap> taps(static_cast<size_t>(to));
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double support = std::max(1.0, scale);
  for (int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(std::floor(centre - support)));
    const int64_t last = std::min(from - 1, static_cast<int64_t>(std::floor(centre + support)));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t j = first; j <= last; ++j) {
      weights.push_back(std::max(0.0, 1 - std::abs((static_cast<double>(j) + 0.5 - centre) / support)));
      sum += weights.back();
    }
    taps[i].first = first;
    for (const double weight : weights) taps[i].weights.push_back(static_cast<float>(weight / sum));
  }
  return taps;
}

}  // namespace

namespace internal {

absl::Status CheckPixels(int64_t height, int64_t width, int64_t max_pixels) {
  if (height < 1 || width < 1) return absl::DataLossError(StrCat("picture of ", width, " x ", height, " pixels"));
  if (width > max_pixels / height) {
    return absl::ResourceExhaustedError(
        StrCat("picture of ", width, " x ", height, " pixels, at most ", max_pixels, " pixels are read"));
  }
  return absl::OkStatus();
}

}  // namespace internal

absl::StatusOr<Tensor> LoadImage(const std::string& path, const ImageOptions& options) {
  // Four channels of 16 bits, stored and not compressed, with room for what else is in a file.
  constexpr int64_t kMaxBytesPerPixel = 8;
  constexpr int64_t kMaxOtherBytes = int64_t{1} << 26;
  if (options.max_pixels < 1) ThrowInvalidArgument("LoadImage: max_pixels is ", options.max_pixels, " (", path, ")");
  const int64_t pixels = std::min(options.max_pixels, INT64_MAX / 16);
  WEIR_ASSIGN_OR_RETURN(const std::string contents, ReadFile(path, pixels * kMaxBytesPerPixel + kMaxOtherBytes));
  absl::StatusOr<Tensor> image = Load(contents, options, path);
  if (!image.ok()) return absl::Status(image.status().code(), StrCat(path, ": ", image.status().message()));
  return image;
}

Tensor Resize(const Tensor& image, int64_t height, int64_t width) {
  if (!image.defined() || image.shape().rank() != 3 || image.size() == 0 ||
      (image.dtype() != DType::kUint8 && image.dtype() != DType::kFloat32)) {
    ThrowInvalidArgument("Resize: picture is ", image.type(), ", expected u8 or f32 [height,width,channels]");
  }
  if (height < 1 || width < 1) ThrowInvalidArgument("Resize: to ", height, " x ", width, ", expected 1 at least");
  const ScopedFloatState state(ScopedFloatState::Subnormals::kKept);
  const Tensor source = image.dtype() == DType::kFloat32 ? image : image.Cast(DType::kFloat32);
  const int64_t from_height = source.shape()[0];
  const int64_t from_width = source.shape()[1];
  const int64_t channels = source.shape()[2];
  if (height == from_height && width == from_width) return source.Clone();

  Tensor narrow(DType::kFloat32, {from_height, width, channels});
  const std::vector<Tap> columns = Taps(from_width, width);
  for (int64_t y = 0; y < from_height; ++y) {
    const float* row = source.data<float>().data() + y * from_width * channels;
    float* dst = narrow.data<float>().data() + y * width * channels;
    for (const Tap& tap : columns) {
      for (size_t j = 0; j < tap.weights.size(); ++j) {
        const float* src = row + (tap.first + static_cast<int64_t>(j)) * channels;
        for (int64_t c = 0; c < channels; ++c) dst[c] += tap.weights[j] * src[c];
      }
      dst += channels;
    }
  }
  Tensor result(DType::kFloat32, {height, width, channels});
  const std::vector<Tap> rows = Taps(from_height, height);
  const int64_t row_size = width * channels;
  for (int64_t y = 0; y < height; ++y) {
    float* dst = result.data<float>().data() + y * row_size;
    for (size_t j = 0; j < rows[y].weights.size(); ++j) {
      const float* src = narrow.data<float>().data() + (rows[y].first + static_cast<int64_t>(j)) * row_size;
      for (int64_t i = 0; i < row_size; ++i) dst[i] += rows[y].weights[j] * src[i];
    }
  }
  return result;
}

}  // namespace weir
