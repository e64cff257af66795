#include "weir/frontend/plot/bars.h"

#include <algorithm>
#include <cmath>

#include "weir/frontend/plot/axes.h"
#include "weir/frontend/plot/canvas.h"

namespace weir::plot {
namespace {

constexpr double kTitleSize = 13;
constexpr double kTextSize = 9;
constexpr int64_t kBar = 15;       // pixels, with the space to the next bar of a group
constexpr int64_t kGroupGap = 7;
constexpr int64_t kMargin = 18;
constexpr int64_t kNumberRoom = 48;  // right of the longest bar

double LargestOf(const std::vector<BarGroup>& groups) {
  double largest = 0;
  for (const BarGroup& group : groups) {
    for (double value : group.values) {
      if (std::isfinite(value)) largest = std::max(largest, value);
    }
  }
  return largest > 0 ? largest : 1;
}

double LabelWidth(const std::vector<BarGroup>& groups) {
  double width = 0;
  for (const BarGroup& group : groups) width = std::max(width, TextWidth(group.label, kTextSize));
  return width;
}

struct Layout {
  double left = 0, right = 0;  // of the bars
  double top = 0, bottom = 0;
  double limit = 1;

  double X(double value) const { return left + (right - left) * std::clamp(value / limit, 0.0, 1.0); }
};

void DrawGrid(Canvas& canvas, const Layout& layout, const BarOptions& options) {
  const Ticks ticks = NiceTicks(0, layout.limit, 8);
  for (double value : ticks.values) {
    const double x = std::floor(layout.X(value)) + 0.5;
    const Point line[] = {{x, layout.top}, {x, layout.bottom}};
    canvas.Polyline(line, 1, kGridLine);
    canvas.Text(x, layout.bottom + 8 + kTextSize, FormatTick(value, ticks.step), kTextSize, kFaintInk, Align::kCentre);
  }
  canvas.Text((layout.left + layout.right) / 2, layout.bottom + 28 + kTextSize, options.x_label, kTextSize, kInk,
              Align::kCentre);
}

void DrawGroup(Canvas& canvas, const Layout& layout, const BarGroup& group, double top, const BarOptions& options) {
  const double height = static_cast<double>(kBar) * static_cast<double>(group.values.size());
  canvas.Text(layout.left - 8, top + height / 2 + kTextSize / 2, group.label, kTextSize, kInk, Align::kRight);
  for (size_t s = 0; s < group.values.size(); ++s) {
    const double value = group.values[s], y = top + static_cast<double>(kBar) * static_cast<double>(s);
    if (!std::isfinite(value)) continue;
    const bool below = options.reference > 0 && value < options.reference && group.values.size() == 1;
    const int64_t x = static_cast<int64_t>(layout.left), end = static_cast<int64_t>(layout.X(value));
    canvas.FillRect(x, static_cast<int64_t>(y) + 1, std::max<int64_t>(1, end - x), kBar - 3,
                    below ? kWarning : SeriesColour(s));
    canvas.Text(static_cast<double>(end) + 5, y + (static_cast<double>(kBar) + kTextSize) / 2 - 1, FormatShort(value),
                kTextSize, kFaintInk);
  }
}

void DrawLegend(Canvas& canvas, const std::vector<std::string>& series, double left, double baseline) {
  for (size_t s = 0; s < series.size(); ++s) {
    canvas.FillRect(static_cast<int64_t>(left), static_cast<int64_t>(baseline - kTextSize), 14, 10, SeriesColour(s));
    canvas.Text(left + 20, baseline, series[s], kTextSize, kInk);
    left += 20 + TextWidth(series[s], kTextSize) + 24;
  }
}

}  // namespace

absl::Status SaveBars(const std::vector<std::string>& series, const std::vector<BarGroup>& groups,
                      const std::string& path, const BarOptions& options) {
  if (series.empty() || groups.empty()) ThrowInvalidArgument("SaveBars: there is nothing to draw");
  for (const BarGroup& group : groups) {
    if (group.values.size() != series.size()) {
      ThrowInvalidArgument("SaveBars: '", group.label, "' has ", group.values.size(), " values for ", series.size(),
                           " series");
    }
  }
  const int64_t group_height = kBar * static_cast<int64_t>(series.size()) + kGroupGap;
  const double head = kMargin + (options.title.empty() ? 0 : 26) + (series.size() > 1 ? 22 : 0);
  const int64_t bars = group_height * static_cast<int64_t>(groups.size());
  Layout layout;
  layout.left = kMargin + LabelWidth(groups) + 8;
  layout.right = std::max(layout.left + 100.0, static_cast<double>(options.width - kMargin - kNumberRoom));
  layout.top = head;
  layout.bottom = head + static_cast<double>(bars);
  layout.limit = options.limit > 0 ? options.limit : LargestOf(groups);
  Canvas canvas(static_cast<int64_t>(layout.right) + kNumberRoom + kMargin, static_cast<int64_t>(layout.bottom) + 56);
  double baseline = kMargin + kTitleSize;
  if (!options.title.empty()) {
    canvas.Text(kMargin, baseline, options.title, kTitleSize, kInk);
    baseline += 24;
  }
  if (series.size() > 1) DrawLegend(canvas, series, kMargin, baseline);
  DrawGrid(canvas, layout, options);
  for (size_t g = 0; g < groups.size(); ++g) {
    DrawGroup(canvas, layout, groups[g], layout.top + static_cast<double>(group_height) * static_cast<double>(g), options);
  }
  if (options.reference > 0) {
    const double x = std::floor(layout.X(options.reference)) + 0.5;
    const Point line[] = {{x, layout.top - 4}, {x, layout.bottom + 4}};
    canvas.Polyline(line, 1.4, kInk);
  }
  return canvas.Save(path);
}

}  // namespace weir::plot
