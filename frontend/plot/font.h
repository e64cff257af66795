// A small font of strokes for labels in pictures: printable ASCII, drawn at any size. Private to the plot library.
#ifndef WEIR_FRONTEND_PLOT_FONT_H_
#define WEIR_FRONTEND_PLOT_FONT_H_

#include <string_view>
#include <vector>

namespace weir::plot {

struct Point {
  double x = 0;
  double y = 0;
};

// Units of the glyphs: y is up from the baseline.
inline constexpr double kCapHeight = 6;
inline constexpr double kLowerHeight = 4.2;
inline constexpr double kSideBearing = 0.8;  // blank on each side of a glyph

struct Glyph {
  double width = 0;                         // units, without side bearings
  std::vector<std::vector<Point>> strokes;  // a stroke of one point is a dot
};

// The glyph of a character; a box for one that the font has not.
const Glyph& GlyphFor(char character);

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_FONT_H_
