#include "weir/frontend/plot/feature_maps.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "weir/frontend/io/npy.h"
#include "weir/frontend/plot/axes.h"
#include "weir/frontend/plot/canvas.h"
#include "weir/frontend/plot/grid.h"
#include "weir/frontend/plot/images.h"

namespace weir::plot {
namespace {

// All lengths are pixels.
constexpr int64_t kTargetWidth = 1600;
constexpr int64_t kMinCell = 104;  // narrower, the range of a map is not legible
constexpr int64_t kMaxCell = 512;
constexpr int64_t kMargin = 22;
constexpr int64_t kGap = 14;
constexpr int64_t kHeader = 17;     // number and range above a map
constexpr int64_t kTickSpace = 30;  // labels left of the first column
constexpr int64_t kTickBelow = 22;  // labels below the last row
constexpr int64_t kTickLength = 4;
constexpr int64_t kBarWidth = 16;
constexpr int64_t kBarSpace = 86;  // bar with its labels
constexpr int64_t kMinBarHeight = 60;
constexpr int64_t kBarLabelDistance = 14;  // from one label's line to the next
constexpr double kTitleSize = 13;
constexpr double kTextSize = 8;
constexpr double kSmallestText = 5;

struct Layout {
  int64_t maps = 0, map_height = 0, map_width = 0;
  int64_t rows = 0, columns = 0;
  int64_t cell_width = 0, cell_height = 0;
  int64_t left = 0, top = 0;  // of the first map
  int64_t input_width = 0, input_height = 0;
  int64_t width = 0, height = 0;
  bool legend = true;

  int64_t CellX(int64_t i) const { return left + i % columns * (cell_width + kGap); }
  int64_t CellY(int64_t i) const { return top + i / columns * RowHeight(); }
  int64_t RowHeight() const { return cell_height + kGap + (legend ? kHeader : 0); }
  // Whether nothing is drawn below map `i`.
  bool IsLowest(int64_t i) const { return i + columns >= maps; }
};

Tensor WithoutBatch(const Tensor& maps) {
  if (!maps.defined() || maps.dtype() != DType::kFloat32) {
    ThrowInvalidArgument("SaveFeatureMaps: maps are ", maps.type(), ", expected f32[height,width,channels]");
  }
  const Shape& shape = maps.shape();
  if (shape.rank() == 4 && shape[0] != 1) {
    ThrowInvalidArgument("SaveFeatureMaps: maps are ", maps.type(), ", a batch of ", shape[0],
                         "; pick one picture with maps[i]");
  }
  if ((shape.rank() != 3 && shape.rank() != 4) || maps.size() == 0) {
    ThrowInvalidArgument("SaveFeatureMaps: maps are ", maps.type(),
                         ", expected f32[height,width,channels] or f32[1,height,width,channels] that is not empty");
  }
  return shape.rank() == 4 ? maps[0] : maps;
}

void ChooseGrid(const FeatureMapOptions& options, Layout& layout) {
  if (options.rows < 0 || options.columns < 0 || options.cell_pixels < 0) {
    ThrowInvalidArgument("SaveFeatureMaps: rows ", options.rows, ", columns ", options.columns, ", cell_pixels ",
                         options.cell_pixels, ": can't be negative");
  }
  layout.columns = options.columns;
  layout.rows = options.rows;
  if (layout.columns == 0 && layout.rows == 0) {
    layout.columns = GridColumns(layout.maps);
  }
  if (layout.columns == 0) layout.columns = (layout.maps + layout.rows - 1) / layout.rows;
  if (layout.rows == 0) layout.rows = (layout.maps + layout.columns - 1) / layout.columns;
  if (layout.rows * layout.columns < layout.maps) {
    ThrowInvalidArgument("SaveFeatureMaps: ", layout.maps, " maps do not fit in a grid of ", layout.rows, " x ",
                         layout.columns);
  }
  // Room for maps that there are not would only make the others smaller.
  layout.columns = std::min(layout.columns, layout.maps);
}

void ChooseCells(const FeatureMapOptions& options, Layout& layout) {
  const int64_t longer = std::max(layout.map_height, layout.map_width);
  int64_t side = options.cell_pixels;
  if (side == 0) {
    // The input takes the width of two maps.
    const int64_t columns = layout.columns + (options.input.defined() ? 2 : 0);
    const int64_t room = (kTargetWidth - 2 * kMargin - kTickSpace - kBarSpace) / columns - kGap;
    side = std::clamp(room, kMinCell, kMaxCell);
    // Whole multiples, so that all elements are equally large.
    if (longer <= side) side = side / longer * longer;
  }
  layout.cell_width = std::max<int64_t>(1, side * layout.map_width / longer);
  layout.cell_height = std::max<int64_t>(1, side * layout.map_height / longer);
}

Layout MakeLayout(const Tensor& maps, const FeatureMapOptions& options) {
  Layout layout{.maps = maps.shape()[2], .map_height = maps.shape()[0], .map_width = maps.shape()[1]};
  layout.legend = options.legend;
  ChooseGrid(options, layout);
  ChooseCells(options, layout);
  layout.left = kMargin + (options.legend ? kTickSpace : 0);
  layout.top = kMargin + (options.title.empty() ? 0 : 30) + (options.legend ? 24 + kHeader : 0);
  const int64_t used_rows = (layout.maps + layout.columns - 1) / layout.columns;
  int64_t grid_height = used_rows * layout.RowHeight() - kGap - (options.legend ? kHeader : 0);
  if (options.input.defined()) {
    const Tensor input = ToRgb(options.input);
    layout.input_height = std::min(grid_height, std::max<int64_t>(2 * layout.cell_height, kMinCell));
    layout.input_width = layout.input_height * input.shape()[1] / input.shape()[0];
    layout.left += layout.input_width + 2 * kGap;
  }
  layout.width =
      layout.left + layout.columns * (layout.cell_width + kGap) - kGap + kMargin + (options.legend ? kBarSpace : 0);
  // Room for the colour bar's labels above each other, however low the maps are.
  layout.height = layout.top + std::max(grid_height, options.legend ? kMinBarHeight : 0) + kMargin +
                  (options.legend ? kTickBelow : 0);
  return layout;
}

std::vector<float> Channel(const Tensor& maps, int64_t channel) {
  const int64_t channels = maps.shape()[2];
  std::vector<float> values(static_cast<size_t>(maps.size() / channels));
  const std::span<const float> src = maps.data<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] = src[i * channels + channel];
  return values;
}

std::string BadValues(const ValueRange& range) {
  std::string text;
  if (range.nans > 0) text = StrCat(range.nans, " NaN");
  if (range.infinities > 0) text += StrCat(text.empty() ? "" : ", ", range.infinities, " inf");
  return text;
}

// The number of the map at the left, its range at the right.
void DrawHeader(Canvas& canvas, const Layout& layout, int64_t i, const ValueRange& range) {
  const double baseline = static_cast<double>(layout.CellY(i) - 5);
  const auto left = static_cast<double>(layout.CellX(i));
  const std::string number = StrCat(i);
  canvas.Text(left, baseline, number, kTextSize, kInk);
  double right = left + static_cast<double>(layout.cell_width);
  const double free = left + TextWidth(number, kTextSize) + 8;
  const std::string bad = BadValues(range);
  if (!bad.empty()) {
    const double size = FittingSize(bad, right - free, kTextSize, kSmallestText);
    if (size > 0) canvas.Text(right, baseline, bad, size, kWarning, Align::kRight);
    right -= TextWidth(bad, size > 0 ? size : kTextSize) + 8;
  }
  const std::string text = range.finite == 0  ? "no finite value"
                           : range.constant() ? StrCat("all ", FormatShort(range.minimum))
                                              : StrCat(FormatShort(range.minimum), " to ", FormatShort(range.maximum));
  const double size = FittingSize(text, right - free, kTextSize, kSmallestText);
  if (size > 0) canvas.Text(right, baseline, text, size, kFaintInk, Align::kRight);
}

void DrawTicks(Canvas& canvas, const Layout& layout, int64_t i) {
  const int64_t x = layout.CellX(i);
  const int64_t y = layout.CellY(i);
  const auto place = [](double value, int64_t pixels, int64_t elements) {
    return static_cast<int64_t>((value + 0.5) * static_cast<double>(pixels) / static_cast<double>(elements));
  };
  // About one label in 30 pixels.
  const Ticks across = NiceTicks(0, static_cast<double>(layout.map_width - 1),
                                 static_cast<int>(std::max<int64_t>(1, layout.cell_width / 30)), true);
  const Ticks down = NiceTicks(0, static_cast<double>(layout.map_height - 1),
                               static_cast<int>(std::max<int64_t>(1, layout.cell_height / 30)), true);
  for (const double value : across.values) {
    const int64_t at = x + place(value, layout.cell_width, layout.map_width);
    canvas.FillRect(at, y + layout.cell_height, 1, kTickLength, kFaintInk);
    if (!layout.IsLowest(i)) continue;
    canvas.Text(static_cast<double>(at), static_cast<double>(y + layout.cell_height + kTickLength + 13),
                FormatTick(value, across.step), kTextSize, kFaintInk, Align::kCentre);
  }
  for (const double value : down.values) {
    const int64_t at = y + place(value, layout.cell_height, layout.map_height);
    canvas.FillRect(x - kTickLength, at, kTickLength, 1, kFaintInk);
    if (i % layout.columns != 0) continue;
    canvas.Text(static_cast<double>(x - kTickLength - 3), static_cast<double>(at) + kTextSize / 2,
                FormatTick(value, down.step), kTextSize, kFaintInk, Align::kRight);
  }
}

// What the colour bar's lower and upper end stand for, where one scale holds for all maps.
std::pair<double, double> BarEnds(const FeatureMapOptions& options, const ValueRange& all) {
  if (options.colormap == Colormap::kDiverging) return {-all.magnitude(), all.magnitude()};
  return {all.minimum, all.maximum};
}

// The colour map from bottom to top, with numbers if one scale holds for all maps.
void DrawBar(Canvas& canvas, const Layout& layout, const FeatureMapOptions& options, const ValueRange& all) {
  const int64_t x = layout.width - kMargin - kBarSpace + 24;
  const int64_t height = std::min<int64_t>(256, layout.height - layout.top - kMargin - kTickBelow);
  for (int64_t i = 0; i < height; ++i) {
    const auto index = static_cast<uint8_t>((height - 1 - i) * 256 / height);
    canvas.FillRect(x, layout.top + i, kBarWidth, 1, MapColor(options.colormap, index));
  }
  const double label_x = static_cast<double>(x + kBarWidth + 6);
  const auto label = [&](double part, const std::string& text) {
    const double y = static_cast<double>(layout.top) + (1 - part) * static_cast<double>(height - 1);
    canvas.FillRect(x + kBarWidth, static_cast<int64_t>(y), kTickLength, 1, kFaintInk);
    canvas.Text(label_x, std::floor(y) + kTextSize / 2, text, kTextSize, kFaintInk);
  };
  const auto [low, high] = BarEnds(options, all);
  if (options.scale == FeatureMapOptions::Scale::kPerMap) {
    const bool diverging = options.colormap == Colormap::kDiverging;
    label(1, diverging ? "+largest" : "max");
    if (diverging) label(0.5, "0");
    label(0, diverging ? "-largest" : "min");
    return;
  }
  if (low == high) {
    label(0.5, FormatShort(low));
    return;
  }
  const auto most = static_cast<int>(std::max<int64_t>(4, height / (2 * kBarLabelDistance)));
  const Ticks ticks = NiceTicks(low, high, most);
  double last = -1;
  for (const double value : ticks.values) {
    const double part = (value - low) / (high - low);
    if (last >= 0 && (part - last) * static_cast<double>(height) < kBarLabelDistance) continue;
    label(part, FormatTick(value, ticks.step));
    last = part;
  }
}

std::string Caption(const Layout& layout, const FeatureMapOptions& options, const ValueRange& all) {
  std::string text = StrCat(layout.maps, layout.maps == 1 ? " map of " : " maps of ", layout.map_height, " x ",
                            layout.map_width, ", ");
  if (options.scale == FeatureMapOptions::Scale::kPerMap) {
    text += "each scaled by itself";
    if (options.colormap == Colormap::kDiverging) text += " around 0";
  } else {
    const auto [low, high] = BarEnds(options, all);
    text += StrCat("one scale: ", FormatShort(low), " to ", FormatShort(high));
  }
  return text;
}

void DrawCaption(Canvas& canvas, const Layout& layout, const FeatureMapOptions& options, const ValueRange& all) {
  const auto x = static_cast<double>(kMargin + (options.legend && !options.input.defined() ? kTickSpace : 0));
  const double room = static_cast<double>(layout.width - kMargin) - x;
  if (!options.title.empty()) {
    const double size = std::max(kSmallestText, FittingSize(options.title, room, kTitleSize, kSmallestText));
    canvas.Text(x, kMargin + kTitleSize, options.title, size, kInk);
  }
  if (!options.legend) return;
  const double baseline = static_cast<double>(layout.top - kHeader - 14);
  const std::string text = Caption(layout, options, all);
  const std::string bad = BadValues(all);
  const double size = std::max(kSmallestText, FittingSize(text + "   " + bad, room, kTextSize + 1, kSmallestText));
  canvas.Text(x, baseline, text, size, kFaintInk);
  if (!bad.empty()) canvas.Text(x + TextWidth(text + "   ", size), baseline, bad, size, kWarning);
}

void DrawMap(Canvas& canvas, const Layout& layout, const FeatureMapOptions& options, int64_t i,
             const std::vector<float>& values, const ValueRange& all) {
  const bool common = options.scale == FeatureMapOptions::Scale::kCommon;
  const ScaledBytes scaled = ScaleToBytes(values, RuleFor(options.colormap), common ? std::optional(all) : std::nullopt);
  Tensor tile = Tensor::Uninitialized({DType::kUint8, {layout.map_height, layout.map_width, 3}});
  uint8_t* dst = tile.data<uint8_t>().data();
  for (size_t p = 0; p < values.size(); ++p) {
    const Rgb colour = scaled.is_nan[p] ? kWarning : MapColor(options.colormap, scaled.bytes[p]);
    dst = std::copy(colour.begin(), colour.end(), dst);
  }
  canvas.Blit(tile, layout.CellX(i), layout.CellY(i), layout.cell_width, layout.cell_height);
  if (!options.legend) return;
  DrawHeader(canvas, layout, i, scaled.range);
  DrawTicks(canvas, layout, i);
}

}  // namespace

absl::Status SaveFeatureMaps(const Tensor& maps, const std::string& path, const FeatureMapOptions& options) {
  const Tensor plain = WithoutBatch(maps);
  const Layout layout = MakeLayout(plain, options);
  const ValueRange all = RangeOf(plain.data<float>());
  Canvas canvas(layout.width, layout.height);
  if (options.input.defined()) {
    const int64_t x = kMargin;
    canvas.Blit(ToRgb(options.input), x, layout.top, layout.input_width, layout.input_height);
    if (options.legend) {
      canvas.Text(static_cast<double>(x), static_cast<double>(layout.top - 5), "input", kTextSize, kInk);
    }
  }
  for (int64_t i = 0; i < layout.maps; ++i) DrawMap(canvas, layout, options, i, Channel(plain, i), all);
  DrawCaption(canvas, layout, options, all);
  if (options.legend) DrawBar(canvas, layout, options, all);
  if (options.save_values) {
    const std::string stem = path.ends_with(".png") ? path.substr(0, path.size() - 4) : path;
    WEIR_RETURN_IF_ERROR(SaveNpy(plain, stem + ".npy"));
  }
  return canvas.Save(path);
}

}  // namespace weir::plot
