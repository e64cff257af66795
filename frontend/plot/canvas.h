// A picture to draw on: rectangles, smooth lines, text and other pictures, saved as PNG. Coordinates are pixels from
// the upper left corner, y down; pixel (x, y) covers [x, x+1) x [y, y+1). What lies outside is cut off.
#ifndef WEIR_FRONTEND_PLOT_CANVAS_H_
#define WEIR_FRONTEND_PLOT_CANVAS_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/tensor.h"
#include "weir/frontend/pictures/colormap.h"
#include "weir/frontend/plot/font.h"

namespace weir::plot {

inline constexpr Rgb kWhite = {255, 255, 255};
inline constexpr Rgb kInk = {38, 38, 38};          // text that is read first
inline constexpr Rgb kFaintInk = {110, 110, 110};  // ticks and notes
inline constexpr Rgb kWarning = {226, 31, 38};     // NaN, in pictures and in text
inline constexpr Rgb kGridLine = {230, 230, 230};

// Blue, orange, green, pink, sky, vermilion, black, and again: told apart by every eye (Okabe and Ito, 2008).
Rgb SeriesColour(size_t series);

// Longest side of a picture that is drawn.
inline constexpr int64_t kMaxSide = 32768;

enum class Align { kLeft, kCentre, kRight };

class Canvas {
 public:
  // All of one colour. Throws Error unless both sides are in 1..kMaxSide.
  Canvas(int64_t width, int64_t height, Rgb background = kWhite);

  int64_t width() const { return width_; }
  int64_t height() const { return height_; }
  const Tensor& pixels() const { return pixels_; }  // uint8 (height, width, 3)
  Rgb at(int64_t x, int64_t y) const;

  void FillRect(int64_t x, int64_t y, int64_t width, int64_t height, Rgb colour);
  // A frame one pixel wide just inside the rectangle.
  void FrameRect(int64_t x, int64_t y, int64_t width, int64_t height, Rgb colour);
  // Lines from point to point with round ends, smoothed at the edges; one point is a disc.
  void Polyline(std::span<const Point> points, double thickness, Rgb colour);
  void Disc(Point centre, double radius, Rgb colour) { Polyline({&centre, 1}, 2 * radius, colour); }
  // Copies uint8 (h, w, 3) into the rectangle: enlarged with sharp pixels, shrunk by averaging.
  void Blit(const Tensor& image, int64_t x, int64_t y, int64_t width, int64_t height);
  // Text with capitals `size` pixels high on the baseline `y`; `x` is its left end, centre or right end.
  void Text(double x, double y, std::string_view text, double size, Rgb colour, Align align = Align::kLeft);

  absl::Status Save(const std::string& path) const;

 private:
  struct Segment {
    Point a, b;
  };
  void Stroke(std::span<const Segment> segments, double thickness, Rgb colour);

  int64_t width_;
  int64_t height_;
  Tensor pixels_;
};

// Width in pixels of a text drawn with Canvas::Text.
double TextWidth(std::string_view text, double size);

// The largest of the sizes `size`, size - 1, ... `smallest` at which the text is no wider than `width`; 0 if none.
double FittingSize(std::string_view text, double width, double size, double smallest);

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_CANVAS_H_
