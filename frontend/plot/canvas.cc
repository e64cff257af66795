#include "weir/frontend/plot/canvas.h"

#include <algorithm>
#include <cmath>

#include "weir/frontend/pictures/image.h"

namespace weir::plot {
namespace {

double DistanceToSegment(double x, double y, const Point& a, const Point& b) {
  const double dx = b.x - a.x;
  const double dy = b.y - a.y;
  const double length2 = dx * dx + dy * dy;
  const double t = length2 > 0 ? std::clamp(((x - a.x) * dx + (y - a.y) * dy) / length2, 0.0, 1.0) : 0.0;
  return std::hypot(x - a.x - t * dx, y - a.y - t * dy);
}

// Sizes of a text in pixels. Heights and widths of letters are rounded, so that their straight strokes fall on whole
// pixels.
struct TextScale {
  explicit TextScale(double size)
      : unit(size / kCapHeight), cap(std::round(size)), lower(std::round(kLowerHeight * unit)) {}

  double GlyphWidth(const Glyph& glyph) const { return std::round(glyph.width * unit); }
  double Advance(const Glyph& glyph) const {
    return GlyphWidth(glyph) + std::max(2.0, std::round(2 * kSideBearing * unit));
  }
  double Y(double y) const {
    if (y <= 0) return y * unit;
    if (y <= kLowerHeight) return y * lower / kLowerHeight;
    return lower + (y - kLowerHeight) * (cap - lower) / (kCapHeight - kLowerHeight);
  }
  double Thickness() const { return std::max(1.05, unit * 0.84); }

  double unit, cap, lower;
};

// Further bytes of a UTF-8 character; its first stands for all.
bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

uint8_t Mix(uint8_t under, uint8_t over, double weight) {
  return static_cast<uint8_t>(std::lround(under + (over - under) * weight));
}

}  // namespace

Rgb SeriesColour(size_t series) {
  static constexpr Rgb kColours[] = {{0, 114, 178},  {230, 120, 0}, {0, 158, 115}, {204, 121, 167},
                                     {86, 180, 233}, {213, 94, 0},  {70, 70, 70}};
  return kColours[series % std::size(kColours)];
}

Canvas::Canvas(int64_t width, int64_t height, Rgb background) : width_(width), height_(height) {
  if (width < 1 || height < 1 || width > kMaxSide || height > kMaxSide) {
    ThrowInvalidArgument("picture of ", width, " x ", height, " pixels, expected 1 to ", kMaxSide, " a side");
  }
  pixels_ = Tensor::Uninitialized({DType::kUint8, {height, width, 3}});
  FillRect(0, 0, width, height, background);
}

Rgb Canvas::at(int64_t x, int64_t y) const {
  if (x < 0 || y < 0 || x >= width_ || y >= height_)
    ThrowOutOfRange("pixel (", x, ", ", y, ") of ", width_, " x ", height_);
  const uint8_t* pixel = pixels_.data<uint8_t>().data() + (y * width_ + x) * 3;
  return {pixel[0], pixel[1], pixel[2]};
}

void Canvas::FillRect(int64_t x, int64_t y, int64_t width, int64_t height, Rgb colour) {
  const int64_t x1 = std::min(x + width, width_);
  const int64_t y1 = std::min(y + height, height_);
  uint8_t* pixels = pixels_.data<uint8_t>().data();
  for (int64_t row = std::max<int64_t>(0, y); row < y1; ++row) {
    for (int64_t column = std::max<int64_t>(0, x); column < x1; ++column) {
      std::copy(colour.begin(), colour.end(), pixels + (row * width_ + column) * 3);
    }
  }
}

void Canvas::FrameRect(int64_t x, int64_t y, int64_t width, int64_t height, Rgb colour) {
  FillRect(x, y, width, 1, colour);
  FillRect(x, y + height - 1, width, 1, colour);
  FillRect(x, y, 1, height, colour);
  FillRect(x + width - 1, y, 1, height, colour);
}

void Canvas::Polyline(std::span<const Point> points, double thickness, Rgb colour) {
  std::vector<Segment> segments;
  if (points.size() == 1) segments.push_back({points[0], points[0]});
  for (size_t i = 1; i < points.size(); ++i) segments.push_back({points[i - 1], points[i]});
  Stroke(segments, thickness, colour);
}

// Coverage is collected for all segments before anything is blended, so that joints are not drawn twice.
void Canvas::Stroke(std::span<const Segment> segments, double thickness, Rgb colour) {
  if (segments.empty()) return;
  const double reach = thickness / 2 + 1;
  const auto clip_x = [&](double x) { return static_cast<int64_t>(std::clamp(x, 0.0, static_cast<double>(width_))); };
  const auto clip_y = [&](double y) { return static_cast<int64_t>(std::clamp(y, 0.0, static_cast<double>(height_))); };
  double low_x = segments[0].a.x, high_x = low_x, low_y = segments[0].a.y, high_y = low_y;
  for (const Segment& s : segments) {
    low_x = std::min({low_x, s.a.x, s.b.x});
    high_x = std::max({high_x, s.a.x, s.b.x});
    low_y = std::min({low_y, s.a.y, s.b.y});
    high_y = std::max({high_y, s.a.y, s.b.y});
  }
  const int64_t x0 = clip_x(low_x - reach), x1 = clip_x(high_x + reach + 1);
  const int64_t y0 = clip_y(low_y - reach), y1 = clip_y(high_y + reach + 1);
  const int64_t stride = x1 - x0;
  if (stride <= 0 || y1 <= y0) return;
  std::vector<float> coverage(static_cast<size_t>(stride * (y1 - y0)));
  for (const Segment& s : segments) {
    const int64_t sx0 = clip_x(std::min(s.a.x, s.b.x) - reach), sx1 = clip_x(std::max(s.a.x, s.b.x) + reach + 1);
    const int64_t sy0 = clip_y(std::min(s.a.y, s.b.y) - reach), sy1 = clip_y(std::max(s.a.y, s.b.y) + reach + 1);
    for (int64_t y = sy0; y < sy1; ++y) {
      for (int64_t x = sx0; x < sx1; ++x) {
        const double distance = DistanceToSegment(static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5, s.a, s.b);
        const auto weight = static_cast<float>(std::clamp(thickness / 2 + 0.5 - distance, 0.0, 1.0));
        float& pixel = coverage[(y - y0) * stride + x - x0];
        pixel = std::max(pixel, weight);
      }
    }
  }
  uint8_t* pixels = pixels_.data<uint8_t>().data();
  for (int64_t y = y0; y < y1; ++y) {
    for (int64_t x = x0; x < x1; ++x) {
      const float weight = coverage[(y - y0) * stride + x - x0];
      if (weight <= 0) continue;
      uint8_t* pixel = pixels + (y * width_ + x) * 3;
      for (int c = 0; c < 3; ++c) pixel[c] = Mix(pixel[c], colour[c], weight);
    }
  }
}

void Canvas::Blit(const Tensor& image, int64_t x, int64_t y, int64_t width, int64_t height) {
  if (!image.defined() || image.dtype() != DType::kUint8 || image.shape().rank() != 3 || image.shape()[2] != 3) {
    ThrowInvalidArgument("Canvas: picture is ", image.type(), ", expected u8[height,width,3]");
  }
  if (width < 1 || height < 1 || image.size() == 0) return;
  Tensor source = image;
  if (width < image.shape()[1] || height < image.shape()[0]) {
    const Tensor small = Resize(image, std::min(height, image.shape()[0]), std::min(width, image.shape()[1]));
    source = Tensor::Uninitialized({DType::kUint8, small.shape()});
    std::transform(small.data<float>().begin(), small.data<float>().end(), source.data<uint8_t>().begin(),
                   [](float value) { return static_cast<uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f)); });
  }
  const int64_t rows = source.shape()[0];
  const int64_t columns = source.shape()[1];
  const uint8_t* src = source.data<uint8_t>().data();
  uint8_t* dst = pixels_.data<uint8_t>().data();
  for (int64_t dy = std::max<int64_t>(0, -y); dy < height && y + dy < height_; ++dy) {
    const uint8_t* row = src + dy * rows / height * columns * 3;
    for (int64_t dx = std::max<int64_t>(0, -x); dx < width && x + dx < width_; ++dx) {
      std::copy_n(row + dx * columns / width * 3, 3, dst + ((y + dy) * width_ + x + dx) * 3);
    }
  }
}

void Canvas::Text(double x, double y, std::string_view text, double size, Rgb colour, Align align) {
  const TextScale scale(size);
  if (align == Align::kCentre) x -= TextWidth(text, size) / 2;
  if (align == Align::kRight) x -= TextWidth(text, size);
  // Centres of strokes lie in the middle of pixels.
  double pen = std::round(x) + 0.5;
  const double baseline = std::round(y) - 0.5;
  std::vector<Segment> segments;
  for (const char character : text) {
    if (IsContinuation(character)) continue;
    const Glyph& glyph = GlyphFor(character);
    const double stretch = glyph.width > 0 ? scale.GlyphWidth(glyph) / glyph.width : scale.unit;
    const auto place = [&](const Point& p) { return Point{pen + p.x * stretch, baseline - scale.Y(p.y)}; };
    for (const std::vector<Point>& stroke : glyph.strokes) {
      if (stroke.size() == 1) segments.push_back({place(stroke[0]), place(stroke[0])});
      for (size_t i = 1; i < stroke.size(); ++i) segments.push_back({place(stroke[i - 1]), place(stroke[i])});
    }
    pen += scale.Advance(glyph);
  }
  Stroke(segments, scale.Thickness(), colour);
}

absl::Status Canvas::Save(const std::string& path) const { return SavePng(pixels_, path); }

double TextWidth(std::string_view text, double size) {
  const TextScale scale(size);
  double width = 0;
  for (const char character : text) width += IsContinuation(character) ? 0 : scale.Advance(GlyphFor(character));
  return std::max(0.0, width - std::max(2.0, std::round(2 * kSideBearing * scale.unit)) + 1);
}

double FittingSize(std::string_view text, double width, double size, double smallest) {
  for (; size >= smallest; size -= 1) {
    if (TextWidth(text, size) <= width) return size;
  }
  return 0;
}

}  // namespace weir::plot
