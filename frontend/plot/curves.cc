#include "weir/frontend/plot/curves.h"

#include <algorithm>
#include <cmath>

#include "weir/frontend/plot/axes.h"
#include "weir/frontend/plot/canvas.h"

namespace weir::plot {
namespace {

constexpr double kTitleSize = 13;
constexpr double kTextSize = 9;
constexpr double kLineWidth = 2.2;
constexpr double kMarker = 3.2;  // radius
// More points than this are drawn without markers.
constexpr size_t kMaxMarkers = 40;
constexpr int kMinSide = 120;

struct Panel {
  std::string title;
  std::vector<Series> series;
};

// Where the data is drawn, and its ranges.
struct Frame {
  double left, top, width, height;  // pixels
  double x_low, x_high, y_low, y_high;

  Point Place(double x, double y) const {
    return {left + (x - x_low) / (x_high - x_low) * width, top + (y_high - y) / (y_high - y_low) * height};
  }
};

double XOf(const Series& series, size_t i, double first_x) {
  return series.xs.empty() ? first_x + static_cast<double>(i) : series.xs[i];
}

// The finite values' range with a little air; [0, 1] if there are none.
void ChooseRanges(const Panel& panel, double first_x, Frame& frame) {
  bool any = false, placed = false;
  frame.x_low = frame.x_high = first_x;
  for (const Series& series : panel.series) {
    for (size_t i = 0; i < series.values.size(); ++i) {
      const double x = XOf(series, i, first_x);
      frame.x_low = placed ? std::min(frame.x_low, x) : x;
      frame.x_high = placed ? std::max(frame.x_high, x) : x;
      placed = true;
    }
    for (const double value : series.values) {
      if (!std::isfinite(value)) continue;
      frame.y_low = any ? std::min(frame.y_low, value) : value;
      frame.y_high = any ? std::max(frame.y_high, value) : value;
      any = true;
    }
  }
  if (!any) frame.y_low = 0, frame.y_high = 1;
  double air = (frame.y_high - frame.y_low) * 0.06;
  if (!(air > 0)) air = std::max(std::abs(frame.y_high) * 0.1, 1e-3);
  frame.y_low -= air;
  frame.y_high += air;
  if (!(frame.x_high > frame.x_low)) frame.x_low -= 0.5, frame.x_high += 0.5;
}

void DrawAxes(Canvas& canvas, const Frame& frame, const Ticks& down, const std::string& x_label) {
  const double bottom = frame.top + frame.height;
  const double right = frame.left + frame.width;
  for (const double value : down.values) {
    const double y = std::floor(frame.Place(frame.x_low, value).y) + 0.5;
    const Point line[] = {{frame.left, y}, {right, y}};
    canvas.Polyline(line, 1, kGridLine);
    canvas.Text(frame.left - 9, y + kTextSize / 2, FormatTick(value, down.step), kTextSize, kFaintInk, Align::kRight);
  }
  const Ticks across = NiceTicks(frame.x_low, frame.x_high, std::max(2, static_cast<int>(frame.width / 60)), true);
  for (const double value : across.values) {
    const double x = std::floor(frame.Place(value, frame.y_low).x) + 0.5;
    const Point tick[] = {{x, bottom}, {x, bottom + 4}};
    canvas.Polyline(tick, 1, kFaintInk);
    canvas.Text(x, bottom + 10 + kTextSize, FormatTick(value, across.step), kTextSize, kFaintInk, Align::kCentre);
  }
  const Point axes[] = {{frame.left, frame.top}, {frame.left, bottom}, {right, bottom}};
  canvas.Polyline(axes, 1, kFaintInk);
  canvas.Text(frame.left + frame.width / 2, bottom + 32 + kTextSize, x_label, kTextSize, kInk, Align::kCentre);
}

void DrawSeries(Canvas& canvas, const Frame& frame, const Series& series, double first_x, Rgb colour) {
  std::vector<Point> run;
  const auto flush = [&] {
    canvas.Polyline(run, run.size() == 1 ? 2 * kMarker : kLineWidth, colour);
    run.clear();
  };
  for (size_t i = 0; i < series.values.size(); ++i) {
    if (!std::isfinite(series.values[i])) {
      flush();
      continue;
    }
    run.push_back(frame.Place(XOf(series, i, first_x), series.values[i]));
    if (series.values.size() <= kMaxMarkers) canvas.Disc(run.back(), kMarker, colour);
  }
  flush();
}

// Names with their last value, in a row above the data.
void DrawLegend(Canvas& canvas, const Panel& panel, double left, double right, double baseline) {
  double x = left;
  for (size_t i = 0; i < panel.series.size(); ++i) {
    const Series& series = panel.series[i];
    const std::string text =
        series.values.empty() ? series.name : StrCat(series.name, " ", FormatShort(series.values.back()));
    const double width = 26 + TextWidth(text, kTextSize) + 22;
    if (x > left && x + width > right) {
      x = left;
      baseline += kTextSize + 8;
    }
    const Rgb colour = SeriesColour(i);
    const Point line[] = {{x, baseline - kTextSize / 2}, {x + 18, baseline - kTextSize / 2}};
    canvas.Polyline(line, kLineWidth, colour);
    canvas.Disc({x + 9, baseline - kTextSize / 2}, kMarker, colour);
    canvas.Text(x + 26, baseline, text, kTextSize, kInk);
    x += width;
  }
}

// Lines that DrawLegend takes.
int LegendLines(const Panel& panel, double room) {
  int lines = 1;
  double x = 0;
  for (const Series& series : panel.series) {
    const std::string text =
        series.values.empty() ? series.name : StrCat(series.name, " ", FormatShort(series.values.back()));
    const double width = 26 + TextWidth(text, kTextSize) + 22;
    if (x > 0 && x + width > room) {
      x = 0;
      ++lines;
    }
    x += width;
  }
  return lines;
}

void DrawPanel(Canvas& canvas, const Panel& panel, int64_t x, const CurveOptions& options) {
  Frame frame{};
  ChooseRanges(panel, options.first_x, frame);
  double top = 20;
  const auto left = static_cast<double>(x) + 24;
  const double right = static_cast<double>(x + options.width) - 24;
  if (!panel.title.empty()) {
    canvas.Text(left, top + kTitleSize, panel.title, kTitleSize, kInk);
    top += kTitleSize + 14;
  }
  DrawLegend(canvas, panel, left, right, top + kTextSize);
  top += LegendLines(panel, right - left) * (kTextSize + 8);
  frame.top = std::floor(top + 8) + 0.5;
  frame.height = std::max(20.0, std::floor(options.height - frame.top - 58));
  const Ticks down = NiceTicks(frame.y_low, frame.y_high, std::max(2, static_cast<int>(frame.height / 48)));
  double label_width = 0;
  for (const double value : down.values)
    label_width = std::max(label_width, TextWidth(FormatTick(value, down.step), kTextSize));
  frame.left = std::floor(left + label_width + 9) + 0.5;
  frame.width = std::max(20.0, std::floor(right - frame.left));
  DrawAxes(canvas, frame, down, options.x_label);
  for (size_t i = 0; i < panel.series.size(); ++i) {
    DrawSeries(canvas, frame, panel.series[i], options.first_x, SeriesColour(i));
  }
}

absl::Status SavePanels(const std::vector<Panel>& panels, const std::string& path, const CurveOptions& options) {
  if (options.width < kMinSide || options.height < kMinSide) {
    ThrowInvalidArgument("curves: ", options.width, " x ", options.height, " pixels, expected ", kMinSide, " at least");
  }
  for (const Panel& panel : panels) {
    for (const Series& series : panel.series) {
      if (series.xs.empty() || series.xs.size() == series.values.size()) continue;
      ThrowInvalidArgument("curves: series \"", series.name, "\" has ", series.values.size(), " values at ",
                           series.xs.size(), " places (", path, ")");
    }
  }
  Canvas canvas(static_cast<int64_t>(options.width) * static_cast<int64_t>(panels.size()), options.height);
  for (size_t i = 0; i < panels.size(); ++i)
    DrawPanel(canvas, panels[i], static_cast<int64_t>(i) * options.width, options);
  return canvas.Save(path);
}

}  // namespace

absl::Status SaveCurves(const std::vector<Series>& series, const std::string& path, const CurveOptions& options) {
  if (series.empty()) ThrowInvalidArgument("SaveCurves: no series (", path, ")");
  return SavePanels({{options.title, series}}, path, options);
}

absl::Status SaveHistory(const std::vector<Series>& history, const std::string& path, const CurveOptions& options) {
  if (history.empty()) ThrowInvalidArgument("SaveHistory: no series (", path, ")");
  constexpr std::string_view kValidation = "val_";
  std::vector<Panel> panels;
  for (const Series& series : history) {
    const std::string metric =
        series.name.starts_with(kValidation) ? series.name.substr(kValidation.size()) : series.name;
    auto panel = std::find_if(panels.begin(), panels.end(), [&](const Panel& p) { return p.title == metric; });
    if (panel == panels.end()) panel = panels.insert(panels.end(), {metric, {}});
    panel->series.push_back(series);
  }
  return SavePanels(panels, path, options);
}

}  // namespace weir::plot
