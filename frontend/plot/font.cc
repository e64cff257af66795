#include "weir/frontend/plot/font.h"

#include <array>
#include <charconv>
#include <cmath>
#include <numbers>
#include <string>

#include "weir/core/error.h"

namespace weir::plot {
namespace {

struct GlyphSource {
  char character;
  double width;
  // "M x y" begins a stroke, "L x y" continues it with a line, "A cx cy rx ry start sweep" begins one on an ellipse
  // and follows it (degrees, counterclockwise from the x axis), "a ..." continues with such an arc, "D x y" is a dot.
  const char* path;
};

constexpr GlyphSource kSources[] = {
    {' ', 1.4, ""},
    {'!', 0, "M 0 6 L 0 1.8 D 0 0"},
    {'"', 1.4, "M 0 6 L 0 4.4 M 1.4 6 L 1.4 4.4"},
    {'#', 4, "M 1 0 L 1.7 6 M 2.5 0 L 3.2 6 M 0 2 L 3.8 2 M 0.3 4 L 4.1 4"},
    {'$', 3.6, "A 1.8 4.2 1.6 1.2 35 235 a 1.8 1.7 1.7 1.3 90 -235 M 1.8 6.3 L 1.8 -0.4"},
    {'%', 5.4, "A 1.2 4.6 1.2 1.4 0 360 A 4.2 1.4 1.2 1.4 0 360 M 4.6 6 L 0.8 0"},
    {'&', 4.6, "M 4.6 0 L 1 4 A 1.9 4.8 1.3 1.2 220 -260 L 0.8 3 A 1.7 1.6 1.7 1.6 120 200 L 4.2 3"},
    {'\'', 0, "M 0 6 L 0 4.4"},
    {'(', 1.4, "A 2.6 2.5 2.6 4.4 125 110"},
    {')', 1.4, "A -1.2 2.5 2.6 4.4 55 -110"},
    {'*', 2.8, "M 1.4 6 L 1.4 3 M 0.1 5.3 L 2.7 3.7 M 0.1 3.7 L 2.7 5.3"},
    {'+', 3.6, "M 1.8 4.6 L 1.8 1 M 0 2.8 L 3.6 2.8"},
    {',', 0.4, "M 0.4 0.3 L 0 -1.2"},
    {'-', 2, "M 0 2.4 L 2 2.4"},
    {'.', 0, "D 0 0"},
    {'/', 2.4, "M 0 -0.8 L 2.4 6.4"},
    {'0', 3.8, "A 1.9 3 1.9 3 0 360"},
    {'1', 3.8, "M 0.5 4.8 L 2 6 L 2 0"},
    {'2', 3.8, "A 1.9 4.2 1.8 1.8 165 -200 L 0.1 0 L 3.8 0"},
    {'3', 3.8, "A 1.9 4.55 1.6 1.45 150 -240 A 1.9 1.55 1.9 1.55 90 -245"},
    {'4', 3.8, "M 2.9 0 L 2.9 6 L 0 1.8 L 3.8 1.8"},
    {'5', 3.8, "M 3.5 6 L 0.7 6 L 0.4 3.3 a 1.85 2 1.95 2 138 -278"},
    {'6', 3.8, "A 1.9 1.95 1.9 1.95 0 360 M 0 1.95 a 3.3 1.95 3.3 4.1 180 -80"},
    {'7', 3.8, "M 0 6 L 3.8 6 L 1.4 0"},
    {'8', 3.8, "A 1.9 4.5 1.6 1.5 0 360 A 1.9 1.5 1.9 1.5 0 360"},
    {'9', 3.8, "A 1.9 4.05 1.9 1.95 0 360 M 3.8 4.05 a 0.5 4.05 3.3 4.1 0 -80"},
    {':', 0, "D 0 0 D 0 3.8"},
    {';', 0.4, "M 0.4 0.3 L 0 -1.2 D 0.4 3.8"},
    {'<', 3.4, "M 3.4 5 L 0 2.8 L 3.4 0.6"},
    {'=', 3.6, "M 0 3.8 L 3.6 3.8 M 0 1.8 L 3.6 1.8"},
    {'>', 3.4, "M 0 5 L 3.4 2.8 L 0 0.6"},
    {'?', 3, "A 1.5 4.5 1.5 1.5 170 -235 L 1.5 2.7 L 1.5 1.8 D 1.5 0"},
    {'@', 6, "A 3 2.4 1.4 1.6 0 360 M 4.4 4 L 4.4 1.8 a 5.2 1.8 0.8 1 180 180 L 6 2.6 a 3 2.6 3 3.4 0 300"},
    {'A', 4.6, "M 0 0 L 2.3 6 L 4.6 0 M 0.8 2 L 3.8 2"},
    {'B', 3.9, "M 0 0 L 0 6 L 2.2 6 a 2.2 4.55 1.45 1.45 90 -180 L 0 3.1 M 2.2 3.1 a 2.3 1.55 1.6 1.55 90 -180 L 0 0"},
    {'C', 4.3, "A 2.5 3 2.5 3 45 270"},
    {'D', 4.4, "M 0 0 L 0 6 L 1.6 6 a 1.6 3 2.8 3 90 -180 L 0 0"},
    {'E', 3.6, "M 3.6 6 L 0 6 L 0 0 L 3.6 0 M 0 3.1 L 3.2 3.1"},
    {'F', 3.5, "M 3.5 6 L 0 6 L 0 0 M 0 3 L 3 3"},
    {'G', 4.5, "A 2.5 3 2.5 3 45 270 L 4.5 1.2 L 4.5 2.8 L 2.8 2.8"},
    {'H', 4, "M 0 0 L 0 6 M 4 0 L 4 6 M 0 3.1 L 4 3.1"},
    {'I', 0, "M 0 0 L 0 6"},
    {'J', 2.4, "M 2.4 6 L 2.4 1.6 a 1.2 1.6 1.2 1.6 0 -160"},
    {'K', 3.9, "M 0 0 L 0 6 M 3.8 6 L 0 2.2 M 1.4 3.6 L 3.9 0"},
    {'L', 3.4, "M 0 6 L 0 0 L 3.4 0"},
    {'M', 5, "M 0 0 L 0 6 L 2.5 1.5 L 5 6 L 5 0"},
    {'N', 4, "M 0 0 L 0 6 L 4 0 L 4 6"},
    {'O', 5, "A 2.5 3 2.5 3 0 360"},
    {'P', 3.8, "M 0 0 L 0 6 L 2.2 6 a 2.2 4.4 1.6 1.6 90 -180 L 0 2.8"},
    {'Q', 5, "A 2.5 3 2.5 3 0 360 M 3 1.6 L 4.8 -0.5"},
    {'R', 3.9, "M 0 0 L 0 6 L 2.2 6 a 2.2 4.4 1.6 1.6 90 -180 L 0 2.8 M 2 2.8 L 3.9 0"},
    {'S', 3.8, "A 1.9 4.5 1.75 1.5 35 235 a 1.9 1.5 1.9 1.5 90 -240"},
    {'T', 4.4, "M 0 6 L 4.4 6 M 2.2 6 L 2.2 0"},
    {'U', 4, "M 0 6 L 0 2 a 2 2 2 2 180 180 L 4 6"},
    {'V', 4.4, "M 0 6 L 2.2 0 L 4.4 6"},
    {'W', 6, "M 0 6 L 1.5 0 L 3 5.6 L 4.5 0 L 6 6"},
    {'X', 4, "M 0 0 L 4 6 M 0 6 L 4 0"},
    {'Y', 4.2, "M 0 6 L 2.1 2.8 L 4.2 6 M 2.1 2.8 L 2.1 0"},
    {'Z', 4, "M 0.1 6 L 3.9 6 L 0 0 L 4 0"},
    {'[', 1.2, "M 1.2 6.4 L 0 6.4 L 0 -1.4 L 1.2 -1.4"},
    {'\\', 2.4, "M 0 6.4 L 2.4 -0.8"},
    {']', 1.2, "M 0 6.4 L 1.2 6.4 L 1.2 -1.4 L 0 -1.4"},
    {'^', 3, "M 0 4 L 1.5 6 L 3 4"},
    {'_', 3.6, "M 0 -1 L 3.6 -1"},
    {'`', 1, "M 0 6.2 L 1 5"},
    {'a', 3.5, "A 1.75 2.1 1.75 2.1 0 360 M 3.5 4.2 L 3.5 0"},
    {'b', 3.5, "M 0 6.2 L 0 0 A 1.75 2.1 1.75 2.1 0 360"},
    {'c', 3.1, "A 1.8 2.1 1.8 2.1 45 270"},
    {'d', 3.5, "A 1.75 2.1 1.75 2.1 0 360 M 3.5 6.2 L 3.5 0"},
    {'e', 3.6, "M 0 2.2 L 3.6 2.2 a 1.8 2.1 1.8 2.1 3 305"},
    {'f', 2.3, "A 2.2 4.9 1.3 1.3 80 100 L 0.9 0 M 0 4.2 L 2.2 4.2"},
    {'g', 3.5, "A 1.75 2.1 1.75 2.1 0 360 M 3.5 4.2 L 3.5 -0.2 a 1.75 -0.2 1.75 1.7 0 -145"},
    {'h', 3.4, "M 0 6.2 L 0 0 M 0 2.4 a 1.7 2.4 1.7 1.8 180 -180 L 3.4 0"},
    {'i', 0, "M 0 4.2 L 0 0 D 0 5.9"},
    {'j', 1, "M 1 4.2 L 1 -0.8 a 0 -0.8 1 1.1 0 -90 D 1 5.9"},
    {'k', 3.2, "M 0 6.2 L 0 0 M 3 4.2 L 0 1.5 M 1.2 2.5 L 3.2 0"},
    {'l', 0, "M 0 6.2 L 0 0"},
    {'m', 5.4,
     "M 0 4.2 L 0 0 M 0 2.6 a 1.35 2.6 1.35 1.6 180 -180 L 2.7 0 M 2.7 2.6 a 4.05 2.6 1.35 1.6 180 -180 L 5.4 0"},
    {'n', 3.4, "M 0 4.2 L 0 0 M 0 2.4 a 1.7 2.4 1.7 1.8 180 -180 L 3.4 0"},
    {'o', 3.7, "A 1.85 2.1 1.85 2.1 0 360"},
    {'p', 3.5, "M 0 4.2 L 0 -2 A 1.75 2.1 1.75 2.1 0 360"},
    {'q', 3.5, "A 1.75 2.1 1.75 2.1 0 360 M 3.5 4.2 L 3.5 -2"},
    {'r', 2.1, "M 0 4.2 L 0 0 M 0 2.4 a 1.6 2.4 1.6 1.8 180 -110"},
    {'s', 3, "A 1.5 3.15 1.35 1.05 30 240 a 1.5 1.05 1.5 1.05 90 -240"},
    {'t', 2.3, "M 0.9 5.6 L 0.9 1.2 a 2.1 1.2 1.2 1.2 180 95 M 0 4.2 L 2.2 4.2"},
    {'u', 3.4, "M 0 4.2 L 0 1.8 a 1.7 1.8 1.7 1.8 180 180 L 3.4 4.2 M 3.4 1.8 L 3.4 0"},
    {'v', 3.5, "M 0 4.2 L 1.75 0 L 3.5 4.2"},
    {'w', 5.2, "M 0 4.2 L 1.3 0 L 2.6 4 L 3.9 0 L 5.2 4.2"},
    {'x', 3.3, "M 0 0 L 3.3 4.2 M 0 4.2 L 3.3 0"},
    {'y', 3.5, "M 0 4.2 L 1.75 0 M 3.5 4.2 L 1.3 -1.3 L 0.6 -2 L 0 -2"},
    {'z', 3.1, "M 0.1 4.2 L 3 4.2 L 0 0 L 3.1 0"},
    {'{', 1.6, "M 1.6 6.4 L 0.8 6 L 0.8 3.2 L 0 2.5 L 0.8 1.8 L 0.8 -1 L 1.6 -1.4"},
    {'|', 0, "M 0 6.6 L 0 -1.6"},
    {'}', 1.6, "M 0 6.4 L 0.8 6 L 0.8 3.2 L 1.6 2.5 L 0.8 1.8 L 0.8 -1 L 0 -1.4"},
    {'~', 3.6, "A 0.9 2.4 0.9 0.7 180 -160 L 1.9 2.6 a 2.7 2.9 0.9 0.7 200 160"},
};
constexpr GlyphSource kBox = {'\0', 3.4, "M 0 0 L 0 6 L 3.4 6 L 3.4 0 L 0 0"};

class PathReader {
 public:
  explicit PathReader(std::string_view text) : text_(text) {}

  bool TakeCommand(char& command) {
    SkipBlanks();
    if (text_.empty()) return false;
    command = text_.front();
    text_.remove_prefix(1);
    return true;
  }
  double TakeNumber() {
    SkipBlanks();
    double number = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), number);
    WEIR_CHECK(error == std::errc(), "number expected before '", text_, "'");
    text_.remove_prefix(static_cast<size_t>(end - text_.data()));
    return number;
  }

 private:
  void SkipBlanks() {
    while (text_.starts_with(' ')) text_.remove_prefix(1);
  }
  std::string_view text_;
};

void AppendArc(PathReader& reader, std::vector<Point>& stroke) {
  // A step that keeps a circle of the largest letters round.
  constexpr double kStepDegrees = 12;
  const double cx = reader.TakeNumber();
  const double cy = reader.TakeNumber();
  const double rx = reader.TakeNumber();
  const double ry = reader.TakeNumber();
  const double start = reader.TakeNumber();
  const double sweep = reader.TakeNumber();
  const int steps = static_cast<int>(std::ceil(std::abs(sweep) / kStepDegrees));
  for (int i = 0; i <= steps; ++i) {
    const double angle = (start + sweep * i / steps) * std::numbers::pi / 180;
    stroke.push_back({cx + rx * std::cos(angle), cy + ry * std::sin(angle)});
  }
}

Glyph ReadGlyph(const GlyphSource& source) {
  Glyph glyph{source.width, {}};
  PathReader reader(source.path);
  for (char command; reader.TakeCommand(command);) {
    if (command == 'M' || command == 'D' || command == 'A') glyph.strokes.emplace_back();
    if (command == 'A' || command == 'a') {
      AppendArc(reader, glyph.strokes.back());
    } else {
      const double x = reader.TakeNumber();
      glyph.strokes.back().push_back({x, reader.TakeNumber()});
    }
  }
  return glyph;
}

}  // namespace

const Glyph& GlyphFor(char character) {
  static const auto& glyphs = *[] {
    auto* table = new std::array<Glyph, 128>;
    table->fill(ReadGlyph(kBox));
    for (const GlyphSource& source : kSources) (*table)[static_cast<size_t>(source.character)] = ReadGlyph(source);
    return table;
  }();
  const auto index = static_cast<unsigned char>(character);
  return glyphs[index < 128 ? index : 0];
}

}  // namespace weir::plot
