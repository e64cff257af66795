#include "weir/frontend/plot/heat_map.h"

#include <algorithm>
#include <cmath>

#include "weir/frontend/pictures/image.h"
#include "weir/frontend/plot/axes.h"
#include "weir/frontend/plot/canvas.h"
#include "weir/frontend/plot/scale.h"

namespace weir::plot {
namespace {

// All lengths are pixels.
constexpr int64_t kPicture = 384;
constexpr int64_t kMargin = 22;
constexpr int64_t kTitleSpace = 30;
constexpr int64_t kBarWidth = 16;
constexpr int64_t kBarSpace = 96;  // bar with its labels
constexpr double kTitleSize = 13;
constexpr double kTextSize = 8;
constexpr double kSmallestText = 5;

// (h, w, 1) of whatever form a map has.
Tensor PlainMap(const Tensor& map) {
  const Shape& shape = map.shape();
  const int rank = shape.rank();
  const bool fits = rank == 2 || (rank == 3 && shape[2] == 1) || (rank == 4 && shape[0] == 1 && shape[3] == 1);
  if (!map.defined() || map.dtype() != DType::kFloat32 || !fits || map.size() == 0) {
    ThrowInvalidArgument("heat map is ", map.type(), ", expected f32 [height,width], [height,width,1] or [1,height,width,1]");
  }
  const int first = rank == 4 ? 1 : 0;
  return map.Reshaped({shape[first], shape[first + 1], 1});
}

}  // namespace

Tensor Overlay(const Tensor& image, const Tensor& map, int64_t height, int64_t width, const HeatMapOptions& options) {
  if (!(options.opacity >= 0 && options.opacity <= 1)) {
    ThrowInvalidArgument("Overlay: opacity is ", options.opacity, ", expected 0 to 1");
  }
  const Tensor plain = PlainMap(map);
  const Tensor rgb = ToRgb(image, options.range);
  if (height < 1 || width < 1) ThrowInvalidArgument("Overlay: to ", height, " x ", width, ", expected 1 at least");
  Canvas canvas(width, height);
  canvas.Blit(rgb, 0, 0, width, height);
  Tensor result = canvas.pixels().Clone();
  // The map's own range holds, also where it is smoothed.
  const ValueRange range = RangeOf(plain.data<float>());
  const Tensor large = Resize(plain, height, width);
  const ScaledBytes scaled = ScaleToBytes(large.data<float>(), RuleFor(options.colormap), range);
  uint8_t* dst = result.data<uint8_t>().data();
  for (size_t i = 0; i < scaled.bytes.size(); ++i) {
    const Rgb colour = scaled.is_nan[i] ? kWarning : MapColor(options.colormap, scaled.bytes[i]);
    for (size_t c = 0; c < 3; ++c, ++dst) {
      *dst = static_cast<uint8_t>(*dst * (1 - options.opacity) + colour[c] * options.opacity + 0.5);
    }
  }
  return result;
}

absl::Status SaveHeatMap(const Tensor& image, const Tensor& map, const std::string& path,
                         const HeatMapOptions& options) {
  if (options.picture_pixels < 0) ThrowInvalidArgument("SaveHeatMap: picture_pixels ", options.picture_pixels);
  const Tensor rgb = ToRgb(image, options.range);
  const int64_t longer = std::max(rgb.shape()[0], rgb.shape()[1]);
  const int64_t side =
      options.picture_pixels > 0 ? options.picture_pixels : (kPicture + longer - 1) / longer * longer;
  const int64_t height = std::max<int64_t>(1, side * rgb.shape()[0] / longer);
  const int64_t width = std::max<int64_t>(1, side * rgb.shape()[1] / longer);
  const Tensor picture = Overlay(rgb, map, height, width, options);
  if (!options.legend && options.title.empty()) return SavePng(picture, path);

  const int64_t top = kMargin + (options.title.empty() ? 0 : kTitleSpace);
  Canvas canvas(2 * kMargin + width + (options.legend ? kBarSpace : 0), top + height + kMargin);
  canvas.Blit(picture, kMargin, top, width, height);
  if (!options.title.empty()) {
    const auto room = static_cast<double>(canvas.width() - 2 * kMargin);
    const double size = std::max(kSmallestText, FittingSize(options.title, room, kTitleSize, kSmallestText));
    canvas.Text(kMargin, kMargin + kTitleSize, options.title, size, kInk);
  }
  if (!options.legend) return canvas.Save(path);
  const int64_t x = kMargin + width + 20;
  const int64_t bar = std::min<int64_t>(256, height);
  for (int64_t i = 0; i < bar; ++i) {
    const auto index = static_cast<uint8_t>((bar - 1 - i) * 256 / bar);
    canvas.FillRect(x, top + i, kBarWidth, 1, MapColor(options.colormap, index));
  }
  const ValueRange range = RangeOf(map.data<float>());
  const bool diverging = options.colormap == Colormap::kDiverging;
  const auto label_x = static_cast<double>(x + kBarWidth + 6);
  canvas.Text(label_x, static_cast<double>(top) + kTextSize, FormatShort(diverging ? range.magnitude() : range.maximum),
              kTextSize, kFaintInk);
  canvas.Text(label_x, static_cast<double>(std::max(top + bar, top + 3 * static_cast<int64_t>(kTextSize))),
              FormatShort(diverging ? -range.magnitude() : range.minimum), kTextSize, kFaintInk);
  return canvas.Save(path);
}

}  // namespace weir::plot
