#include "weir/frontend/plot/images.h"

#include <algorithm>
#include <cmath>

#include "weir/frontend/pictures/image.h"
#include "weir/frontend/plot/axes.h"
#include "weir/frontend/plot/canvas.h"
#include "weir/frontend/plot/grid.h"
#include "weir/frontend/plot/scale.h"

namespace weir::plot {
namespace {

// All lengths are pixels.
constexpr int64_t kMargin = 22;
constexpr int64_t kGap = 12;
constexpr int64_t kLabelSpace = 20;
constexpr int64_t kTitleSpace = 32;
constexpr int64_t kGridCell = 96;
constexpr int64_t kFilterCell = 40;
constexpr int64_t kFilterGap = 4;
constexpr double kTitleSize = 13;
constexpr double kTextSize = 8;
constexpr double kSmallestText = 5;
constexpr double kMaxUnit = 2;  // a picture with larger values is one of bytes

PixelRange ResolveRange(const Tensor& image, PixelRange range) {
  if (range != PixelRange::kAuto || image.dtype() != DType::kFloat32) return range;
  return RangeOf(image.data<float>()).maximum <= kMaxUnit ? PixelRange::kUnit : PixelRange::kByte;
}

uint8_t ToByte(float value, PixelRange range) {
  const float level = range == PixelRange::kUnit ? value * 255 : value;
  return static_cast<uint8_t>(std::floor(std::clamp(level, 0.0f, 255.0f) + 0.5f));
}

// The multiple of `longer` that is nearest above or at `wanted`.
int64_t WholeMultiple(int64_t longer, int64_t wanted) { return (wanted + longer - 1) / longer * longer; }

void CheckImages(const Tensor& images, const std::vector<std::string>& labels) {
  const Shape& shape = images.shape();
  if (!images.defined() || shape.rank() != 4 || images.size() == 0) {
    ThrowInvalidArgument("SaveImageGrid: pictures are ", images.type(), ", expected [count,height,width,channels]");
  }
  if (!labels.empty() && static_cast<int64_t>(labels.size()) != shape[0]) {
    ThrowInvalidArgument("SaveImageGrid: ", labels.size(), " labels for ", shape[0], " pictures");
  }
}

// A float32 kernel without the parts that are not drawn, and its sizes.
struct Filters {
  int64_t height, width, inputs, outputs;  // as drawn
  const float* data;
  int64_t all_inputs, all_outputs;

  float at(int64_t y, int64_t x, int64_t c, int64_t n) const {
    return data[((y * width + x) * all_inputs + c) * all_outputs + n];
  }
  // The elements of filter n, channel by channel.
  std::vector<float> Values(int64_t n) const {
    std::vector<float> values;
    for (int64_t c = 0; c < inputs; ++c) {
      for (int64_t i = 0; i < height * width; ++i) values.push_back(at(i / width, i % width, c, n));
    }
    return values;
  }
};

Filters CheckKernel(const Tensor& kernel, const FilterOptions& options) {
  if (!kernel.defined() || kernel.dtype() != DType::kFloat32 || kernel.shape().rank() != 4 || kernel.size() == 0) {
    ThrowInvalidArgument("SaveFilters: kernel is ", kernel.type(), ", expected f32[height,width,inputs,outputs]");
  }
  const Shape& shape = kernel.shape();
  if (options.rgb && shape[2] != 3) {
    ThrowInvalidArgument("SaveFilters: filters over ", shape[2], " channels can't be drawn in colour (kernel ",
                         kernel.type(), ")");
  }
  if (options.max_inputs < 1 || options.max_outputs < 1 || options.cell_pixels < 0) {
    ThrowInvalidArgument("SaveFilters: max_inputs ", options.max_inputs, ", max_outputs ", options.max_outputs,
                         ", cell_pixels ", options.cell_pixels);
  }
  return {shape[0],
          shape[1],
          options.rgb ? 3 : std::min<int64_t>(shape[2], options.max_inputs),
          std::min<int64_t>(shape[3], options.max_outputs),
          kernel.data<float>().data(),
          shape[2],
          shape[3]};
}

// Slice c of a filter, or the whole filter in colour, from its scaled elements.
Tensor Tile(const Filters& filters, const ScaledBytes& scaled, int64_t c, const FilterOptions& options) {
  const int64_t area = filters.height * filters.width;
  Tensor tile = Tensor::Uninitialized({DType::kUint8, {filters.height, filters.width, 3}});
  uint8_t* dst = tile.data<uint8_t>().data();
  for (int64_t i = 0; i < area; ++i) {
    Rgb colour = MapColor(options.colormap, scaled.bytes[c * area + i]);
    if (options.rgb) colour = {scaled.bytes[i], scaled.bytes[area + i], scaled.bytes[2 * area + i]};
    bool nan = scaled.is_nan[c * area + i];
    if (options.rgb) nan = nan || scaled.is_nan[area + i] || scaled.is_nan[2 * area + i];
    if (nan) colour = kWarning;
    dst = std::copy(colour.begin(), colour.end(), dst);
  }
  return tile;
}

std::string FilterCaption(const Filters& filters, const FilterOptions& options, const ValueRange& all) {
  std::string text = StrCat(filters.all_outputs, " filters of ", filters.height, " x ", filters.width, " over ",
                            filters.all_inputs, " channels, each filter scaled by itself",
                            !options.rgb && options.colormap == Colormap::kDiverging ? " around 0" : "",
                            ", all within ", FormatShort(all.minimum), " to ", FormatShort(all.maximum));
  if (!options.rgb) text += "; row: channel, column: filter";
  if (filters.inputs < filters.all_inputs || filters.outputs < filters.all_outputs) {
    text += StrCat("; drawn: the first ", filters.inputs, " channels of the first ", filters.outputs, " filters");
  }
  if (all.nans > 0) text += StrCat("; ", all.nans, " NaN");
  return text;
}

}  // namespace

Tensor ToRgb(const Tensor& image, PixelRange range) {
  const Shape& shape = image.shape();
  if (image.defined() && shape.rank() == 4 && shape[0] == 1) return ToRgb(image[0], range);
  const bool typed = image.defined() && (image.dtype() == DType::kUint8 || image.dtype() == DType::kFloat32);
  const int64_t channels = shape.rank() == 3 ? shape[2] : 1;
  if (!typed || (shape.rank() != 2 && shape.rank() != 3) || image.size() == 0 ||
      (channels != 1 && channels != 3 && channels != 4)) {
    ThrowInvalidArgument("picture is ", image.type(), ", expected u8 or f32 [height,width,1|3|4]");
  }
  range = ResolveRange(image, range);
  Tensor result = Tensor::Uninitialized({DType::kUint8, {shape[0], shape[1], 3}});
  uint8_t* dst = result.data<uint8_t>().data();
  for (int64_t i = 0; i < shape[0] * shape[1]; ++i) {
    Rgb colour{};
    for (int c = 0; c < 3; ++c) {
      const auto at = static_cast<size_t>(i * channels + (channels == 1 ? 0 : c));
      if (image.dtype() == DType::kUint8) {
        colour[c] = image.data<uint8_t>()[at];
      } else if (std::isnan(image.data<float>()[at])) {
        colour = kWarning;
        break;
      } else {
        colour[c] = ToByte(image.data<float>()[at], range);
      }
    }
    dst = std::copy(colour.begin(), colour.end(), dst);
  }
  return result;
}

absl::Status SaveImage(const Tensor& image, const std::string& path, int scale, PixelRange range) {
  if (scale < 1) ThrowInvalidArgument("SaveImage: scale is ", scale, ", expected 1 at least");
  const Tensor rgb = ToRgb(image, range);
  if (scale == 1) return SavePng(rgb, path);
  Canvas canvas(rgb.shape()[1] * scale, rgb.shape()[0] * scale);
  canvas.Blit(rgb, 0, 0, canvas.width(), canvas.height());
  return canvas.Save(path);
}

absl::Status SaveImageGrid(const Tensor& images, const std::vector<std::string>& labels, const std::string& path,
                           const ImageGridOptions& options) {
  CheckImages(images, labels);
  const int64_t count = images.shape()[0];
  const int64_t longer = std::max(images.shape()[1], images.shape()[2]);
  const int64_t side = options.cell_pixels > 0 ? options.cell_pixels : WholeMultiple(longer, kGridCell);
  const int64_t width = std::max<int64_t>(1, side * images.shape()[2] / longer);
  const int64_t height = std::max<int64_t>(1, side * images.shape()[1] / longer);
  const int64_t columns =
      std::min<int64_t>(count, options.columns > 0 ? options.columns : GridColumns(count));
  const int64_t rows = (count + columns - 1) / columns;
  const int64_t top = kMargin + (options.title.empty() ? 0 : kTitleSpace);
  const int64_t row_height = height + kGap + (labels.empty() ? 0 : kLabelSpace - kGap / 2);
  Canvas canvas(2 * kMargin + columns * (width + kGap) - kGap,
                top + rows * row_height - kGap + kMargin);
  if (!options.title.empty()) {
    const double room = static_cast<double>(canvas.width() - 2 * kMargin);
    const double size = std::max(kSmallestText, FittingSize(options.title, room, kTitleSize, kSmallestText));
    canvas.Text(kMargin, kMargin + kTitleSize, options.title, size, kInk);
  }
  const PixelRange range = ResolveRange(images, options.range);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t x = kMargin + i % columns * (width + kGap);
    const int64_t y = top + i / columns * row_height;
    canvas.Blit(ToRgb(images[i], range), x, y, width, height);
    if (labels.empty()) continue;
    const double size = std::max(
        kSmallestText, FittingSize(labels[i], static_cast<double>(width + kGap - 2), kTextSize, kSmallestText));
    canvas.Text(static_cast<double>(x) + static_cast<double>(width) / 2, static_cast<double>(y + height + 14),
                labels[i], size, kInk, Align::kCentre);
  }
  return canvas.Save(path);
}

absl::Status SaveFilters(const Tensor& kernel, const std::string& path, const FilterOptions& options) {
  const Filters filters = CheckKernel(kernel, options);
  const int64_t longer = std::max(filters.height, filters.width);
  const int64_t side = options.cell_pixels > 0 ? options.cell_pixels : WholeMultiple(longer, kFilterCell);
  const int64_t width = std::max<int64_t>(1, side * filters.width / longer);
  const int64_t height = std::max<int64_t>(1, side * filters.height / longer);
  const int64_t left = kMargin + 20;
  const int64_t top = kMargin + (options.title.empty() ? 0 : kTitleSpace) + 40;
  // In colour a filter is one tile, and the tiles wrap.
  const int64_t columns = options.rgb ? std::min<int64_t>(filters.outputs, 16) : filters.outputs;
  const int64_t rows = options.rgb ? (filters.outputs + columns - 1) / columns : filters.inputs;
  const int64_t label_height = options.rgb ? 16 : 0;
  const std::string caption = FilterCaption(filters, options, RangeOf(kernel.data<float>()));
  const int64_t grid_width = columns * (width + kFilterGap) - kFilterGap;
  const auto text_width = static_cast<int64_t>(TextWidth(caption, kTextSize));
  Canvas canvas(left + std::max(grid_width, text_width) + kMargin,
                top + rows * (height + kFilterGap + label_height) - kFilterGap - label_height + kMargin);
  if (!options.title.empty()) canvas.Text(left, kMargin + kTitleSize, options.title, kTitleSize, kInk);
  canvas.Text(left, static_cast<double>(top - 28), caption, kTextSize, kFaintInk);
  const ScaleRule rule = options.rgb ? ScaleRule::kGrey : RuleFor(options.colormap);
  for (int64_t n = 0; n < filters.outputs; ++n) {
    const ScaledBytes scaled = ScaleToBytes(filters.Values(n), rule);
    const int64_t x = left + n % columns * (width + kFilterGap);
    const int64_t first_y = top + (options.rgb ? n / columns * (height + kFilterGap + label_height) : 0);
    canvas.Text(static_cast<double>(x) + static_cast<double>(width) / 2, static_cast<double>(first_y - 4), StrCat(n),
                kTextSize - 1, kFaintInk, Align::kCentre);
    for (int64_t c = 0; c < (options.rgb ? 1 : filters.inputs); ++c) {
      canvas.Blit(Tile(filters, scaled, c, options), x, first_y + c * (height + kFilterGap), width, height);
    }
  }
  for (int64_t c = 0; c < (options.rgb ? 0 : filters.inputs); ++c) {
    canvas.Text(static_cast<double>(left - 6),
                static_cast<double>(top + c * (height + kFilterGap)) + static_cast<double>(height) / 2 + 4, StrCat(c),
                kTextSize - 1, kFaintInk, Align::kRight);
  }
  return canvas.Save(path);
}

}  // namespace weir::plot
