// Plots: scaling rules, ticks, the canvas, and whole pictures checked at chosen pixels.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "temp_folder.h"
#include "weir/frontend/io/npy.h"
#include "weir/frontend/pictures/image.h"
#include "weir/frontend/plot/axes.h"
#include "weir/frontend/plot/canvas.h"
#include "weir/frontend/plot/bars.h"
#include "weir/frontend/plot/curves.h"
#include "weir/frontend/plot/feature_maps.h"
#include "weir/frontend/plot/grid.h"
#include "weir/frontend/plot/heat_map.h"
#include "weir/frontend/plot/images.h"
#include "weir/frontend/plot/scale.h"

namespace weir::plot {
namespace {

namespace fs = std::filesystem;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

using Bytes = std::vector<uint8_t>;

TEST(ScaleTest, GreyRoundsHalvesUp) {
  const ScaledBytes scaled = ScaleToBytes(std::vector<float>{-1, 0, 1, 3}, ScaleRule::kGrey);
  EXPECT_EQ(scaled.bytes, (Bytes{0, 64, 128, 255}));
  EXPECT_EQ(scaled.range.minimum, -1);
  EXPECT_EQ(scaled.range.maximum, 3);
}

TEST(ScaleTest, ColormapIndexIsMatplotlibs) {
  // floor(v * 256), and 255 for the maximum.
  EXPECT_EQ(ScaleToBytes(std::vector<float>{0, 0.5f, 0.25f, 1, 0.999f, 0.0039f}, ScaleRule::kColormap).bytes,
            (Bytes{0, 128, 64, 255, 255, 0}));
}

TEST(ScaleTest, ConstantsAreFlat) {
  for (const float value : {2.0f, 0.0f, -7.5f}) {
    EXPECT_EQ(ScaleToBytes(std::vector<float>(3, value), ScaleRule::kGrey).bytes, (Bytes{128, 128, 128}));
    EXPECT_EQ(ScaleToBytes(std::vector<float>(3, value), ScaleRule::kColormap).bytes, (Bytes{0, 0, 0}));
  }
  EXPECT_TRUE(RangeOf(std::vector<float>{2, 2}).constant());
}

TEST(ScaleTest, NanAndInfinitiesAreCountedAndLeftOutOfTheRange) {
  const ScaledBytes scaled = ScaleToBytes(std::vector<float>{kNan, 0, kInf, 4, -kInf, 1, kNan}, ScaleRule::kColormap);
  EXPECT_EQ(scaled.bytes, (Bytes{0, 0, 255, 255, 0, 64, 0}));
  EXPECT_EQ(scaled.is_nan, (std::vector<bool>{true, false, false, false, false, false, true}));
  EXPECT_EQ(scaled.range.nans, 2);
  EXPECT_EQ(scaled.range.infinities, 2);
  EXPECT_EQ(scaled.range.finite, 3);
  EXPECT_EQ(scaled.range.maximum, 4);
  const ScaledBytes none = ScaleToBytes(std::vector<float>{kNan, kNan}, ScaleRule::kGrey);
  EXPECT_EQ(none.range.finite, 0);
  EXPECT_EQ(ScaleToBytes(std::vector<float>{}, ScaleRule::kGrey).bytes.size(), 0u);
}

TEST(ScaleTest, ExtremeValuesDoNotOverflow) {
  const float most = std::numeric_limits<float>::max();
  EXPECT_EQ(ScaleToBytes(std::vector<float>{-most, 0, most}, ScaleRule::kColormap).bytes, (Bytes{0, 128, 255}));
  EXPECT_EQ(ScaleToBytes(std::vector<float>{0, 1e-45f}, ScaleRule::kColormap).bytes, (Bytes{0, 255}));
}

TEST(ScaleTest, ACommonScaleClips) {
  const ValueRange common = Union(RangeOf(std::vector<float>{0, 1}), RangeOf(std::vector<float>{2, 4, kNan}));
  EXPECT_EQ(common.minimum, 0);
  EXPECT_EQ(common.maximum, 4);
  EXPECT_EQ(common.nans, 1);
  EXPECT_EQ(ScaleToBytes(std::vector<float>{-1, 1, 9}, ScaleRule::kColormap, common).bytes, (Bytes{0, 64, 255}));
  EXPECT_EQ(ScaleToBytes(std::vector<float>{1, 1}, ScaleRule::kColormap, common).bytes, (Bytes{64, 64}))
      << "flat, but on the scale";
}

TEST(ScaleTest, DivergingIsAroundZero) {
  EXPECT_EQ(ScaleToBytes(std::vector<float>{-1, 0, 1, 2}, ScaleRule::kDiverging).bytes, (Bytes{64, 128, 192, 255}));
  EXPECT_EQ(ScaleToBytes(std::vector<float>{-4, -0.0f, 1}, ScaleRule::kDiverging).bytes, (Bytes{0, 128, 160}));
  EXPECT_EQ(ScaleToBytes(std::vector<float>{0, 0}, ScaleRule::kDiverging).bytes, (Bytes{128, 128}));
  EXPECT_EQ(ScaleToBytes(std::vector<float>{3, 3}, ScaleRule::kDiverging).bytes, (Bytes{255, 255}));
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(ScaleToBytes(std::vector<float>{infinity, -infinity, 0}, ScaleRule::kDiverging).bytes, (Bytes{255, 0, 128}));
  EXPECT_EQ(ScaleToBytes(std::vector<float>{-3e38f, 3e38f, 1e-45f}, ScaleRule::kDiverging).bytes, (Bytes{0, 255, 128}));
  EXPECT_EQ(RuleFor(Colormap::kDiverging), ScaleRule::kDiverging);
  EXPECT_EQ(RuleFor(Colormap::kGrey), ScaleRule::kGrey);
  EXPECT_EQ(RuleFor(Colormap::kViridis), ScaleRule::kColormap);
}

TEST(GridTest, FewPlacesStayEmpty) {
  for (const auto& [count, columns] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {2, 2}, {3, 3}, {4, 2}, {6, 3}, {7, 4}, {8, 4}, {10, 5}, {16, 4}, {32, 8}, {64, 8}, {512, 32}}) {
    EXPECT_EQ(GridColumns(count), columns) << count;
  }
}

TEST(AxesTest, TicksAreRoundNumbers) {
  EXPECT_EQ(NiceTicks(0, 31, 4).values, (std::vector<double>{0, 10, 20, 30}));
  EXPECT_EQ(NiceTicks(0, 1, 5).values.size(), 6u);
  EXPECT_DOUBLE_EQ(NiceTicks(0, 1, 10).values.back(), 1.0);
  EXPECT_EQ(NiceTicks(0, 2, 10, true).values, (std::vector<double>{0, 1, 2}));
  EXPECT_EQ(NiceTicks(5, 5, 4).values, (std::vector<double>{5}));
  EXPECT_LE(NiceTicks(-1e300, 1e300, 6).values.size(), 8u);
  for (const double value : NiceTicks(-0.07, 0.13, 5).values) EXPECT_TRUE(value >= -0.07 && value <= 0.13);
}

TEST(AxesTest, Numbers) {
  EXPECT_EQ(FormatTick(0.25, 0.05), "0.25");
  EXPECT_EQ(FormatTick(0.5, 0.1), "0.5");
  EXPECT_EQ(FormatTick(10, 5), "10");
  EXPECT_EQ(FormatTick(0, 0.1), "0");
  EXPECT_EQ(FormatTick(2e6, 1e6), "2e+06");
  EXPECT_EQ(FormatTick(1.5e-5, 5e-6), "1.5e-05");
  EXPECT_EQ(FormatShort(0), "0");
  EXPECT_EQ(FormatShort(1.23456), "1.23");
  EXPECT_EQ(FormatShort(-0.5), "-0.5");
  EXPECT_EQ(FormatShort(12345), "12345");
  EXPECT_EQ(FormatShort(0.00123), "0.00123");
  EXPECT_EQ(FormatShort(1.2e-7), "1.2e-07");
  EXPECT_EQ(FormatShort(kNan), "nan");
  EXPECT_EQ(FormatShort(-kInf), "-inf");
}

TEST(CanvasTest, RectanglesAreCutAtTheEdge) {
  Canvas canvas(4, 3);
  canvas.FillRect(-5, -5, 6, 6, {1, 2, 3});
  canvas.FillRect(3, 2, 100, 100, {9, 9, 9});
  EXPECT_EQ(canvas.at(0, 0), (Rgb{1, 2, 3}));
  EXPECT_EQ(canvas.at(1, 0), kWhite);
  EXPECT_EQ(canvas.at(3, 2), (Rgb{9, 9, 9}));
  EXPECT_EQ(canvas.at(2, 2), kWhite);
  EXPECT_THROW(canvas.at(4, 0), Error);
  EXPECT_THROW(Canvas(0, 5), Error);
  EXPECT_THROW(Canvas(5, kMaxSide + 1), Error);
}

TEST(CanvasTest, LinesAreSmoothAndTheirJointsEven) {
  Canvas canvas(20, 20);
  const Point line[] = {{2, 5.5}, {10, 5.5}, {18, 5.5}};
  canvas.Polyline(line, 1, {0, 0, 0});
  for (int x = 3; x < 17; ++x) {
    EXPECT_EQ(canvas.at(x, 5), (Rgb{0, 0, 0})) << x;
    EXPECT_EQ(canvas.at(x, 4), kWhite) << x;
    EXPECT_EQ(canvas.at(x, 6), kWhite) << x;
  }
  const Point slanted[] = {{2, 10}, {18, 17}};
  canvas.Polyline(slanted, 2, {0, 0, 0});
  int between = 0;
  for (int y = 8; y < 20; ++y) {
    for (int x = 0; x < 20; ++x) between += canvas.at(x, y)[0] > 0 && canvas.at(x, y)[0] < 255 ? 1 : 0;
  }
  EXPECT_GT(between, 10);
  const Point outside[] = {{-1e9, -1e9}, {-5, -5}};
  canvas.Polyline(outside, 2, {0, 0, 0});
  canvas.Polyline({}, 2, {0, 0, 0});
}

TEST(CanvasTest, BlitEnlargesSharplyAndShrinksByAveraging) {
  const Tensor two = Tensor::Of<uint8_t>({1, 2, 3}, {10, 10, 10, 200, 200, 200});
  Canvas canvas(8, 4);
  canvas.Blit(two, 0, 0, 8, 4);
  for (int y = 0; y < 4; ++y) {
    for (int x = 0; x < 8; ++x) EXPECT_EQ(canvas.at(x, y)[0], x < 4 ? 10 : 200);
  }
  canvas.Blit(two, 7, 3, 1, 1);
  EXPECT_EQ(canvas.at(7, 3)[0], 105);
  canvas.Blit(two, -1, -1, 2, 2);
  EXPECT_EQ(canvas.at(0, 0)[0], 200);
  EXPECT_THROW(canvas.Blit(Tensor(DType::kFloat32, {1, 1, 3}), 0, 0, 1, 1), Error);
}

int64_t InkCount(const Canvas& canvas) {
  int64_t count = 0;
  for (int64_t y = 0; y < canvas.height(); ++y) {
    for (int64_t x = 0; x < canvas.width(); ++x) count += canvas.at(x, y) != kWhite ? 1 : 0;
  }
  return count;
}

TEST(CanvasTest, TextHasItsWidthAndEveryCharacterItsGlyph) {
  for (char c = '!'; c <= '~'; ++c) {
    Canvas canvas(60, 60);
    canvas.Text(20, 40, std::string(1, c), 12, kInk);
    EXPECT_GT(InkCount(canvas), 2) << c;
    EXPECT_FALSE(GlyphFor(c).strokes.empty()) << c;
  }
  // All different, and a box for what is not there.
  for (char a = '!'; a < '~'; ++a) {
    for (char b = static_cast<char>(a + 1); b <= '~'; ++b) {
      Canvas one(40, 40), other(40, 40);
      one.Text(10, 25, std::string(1, a), 12, kInk);
      other.Text(10, 25, std::string(1, b), 12, kInk);
      EXPECT_FALSE(BitEqual(one.pixels(), other.pixels())) << a << " looks like " << b;
    }
  }
  EXPECT_EQ(TextWidth("\xc3\xa9", 9), TextWidth("\x01", 9)) << "one box for a character, not for a byte";
  EXPECT_EQ(TextWidth("", 9), 0);
  EXPECT_GT(TextWidth("ab", 9), TextWidth("a", 9));
  EXPECT_EQ(FittingSize("a long text", 5, 9, 6), 0);
  EXPECT_EQ(FittingSize("ab", 500, 9, 6), 9);
  Canvas left(200, 30), right(200, 30);
  left.Text(10, 20, "abc", 9, kInk);
  right.Text(10 + TextWidth("abc", 9), 20, "abc", 9, kInk, Align::kRight);
  EXPECT_TRUE(BitEqual(left.pixels(), right.pixels()));
}

class PlotTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  Tensor Read(const std::string& name) const {
    const absl::StatusOr<Tensor> image = LoadImage(Path(name), {.convert = false});
    EXPECT_TRUE(image.ok()) << image.status();
    return image.ok() ? *image : Tensor(DType::kFloat32, {1, 1, 3});
  }
  static Rgb Pixel(const Tensor& image, int64_t x, int64_t y) {
    Rgb colour;
    for (int c = 0; c < 3; ++c) colour[c] = static_cast<uint8_t>(image.at<float>({y, x, c}));
    return colour;
  }
  static int64_t Count(const Tensor& image, Rgb colour) {
    int64_t count = 0;
    for (int64_t y = 0; y < image.shape()[0]; ++y) {
      for (int64_t x = 0; x < image.shape()[1]; ++x) count += Pixel(image, x, y) == colour ? 1 : 0;
    }
    return count;
  }

  const TempFolder temp_;
  const fs::path folder_ = temp_.path();
};

Rgb Viridis(int index) { return MapColor(Colormap::kViridis, static_cast<uint8_t>(index)); }

TEST_F(PlotTest, FeatureMapsWithoutLegendAreExact) {
  // Two maps of 1 x 2, at 10 pixels an element, 22 pixels of margin and 14 between.
  const Tensor maps = Tensor::Of<float>({1, 2, 2}, {0, 5, 1, 5});
  ASSERT_TRUE(SaveFeatureMaps(maps, Path("m.png"), {.rows = 1, .columns = 2, .cell_pixels = 20, .legend = false}).ok());
  const Tensor image = Read("m.png");
  ASSERT_EQ(image.shape(), (Shape{22 + 10 + 22, 22 + 20 + 14 + 20 + 22, 3}));
  EXPECT_EQ(Pixel(image, 22, 22), Viridis(0));
  EXPECT_EQ(Pixel(image, 31, 31), Viridis(0));
  EXPECT_EQ(Pixel(image, 32, 22), Viridis(255));
  EXPECT_EQ(Pixel(image, 21, 22), kWhite);
  EXPECT_EQ(Pixel(image, 45, 25), kWhite);
  EXPECT_EQ(Pixel(image, 56, 22), Viridis(0)) << "a constant map is one colour";
  EXPECT_EQ(Pixel(image, 75, 31), Viridis(0));
}

TEST_F(PlotTest, FeatureMapsOnOneScaleAndInGrey) {
  const Tensor maps = Tensor::Of<float>({1, 2, 2}, {0, 2, 1, 4});
  const FeatureMapOptions options{
      .columns = 2, .scale = FeatureMapOptions::Scale::kCommon, .cell_pixels = 20, .legend = false};
  ASSERT_TRUE(SaveFeatureMaps(maps.Reshaped({1, 1, 2, 2}), Path("m.png"), options).ok());
  const Tensor image = Read("m.png");
  EXPECT_EQ(Pixel(image, 22, 22), Viridis(0));
  EXPECT_EQ(Pixel(image, 32, 22), Viridis(64));
  EXPECT_EQ(Pixel(image, 56, 22), Viridis(128));
  EXPECT_EQ(Pixel(image, 66, 22), Viridis(255));
  const Tensor example = Tensor::Of<float>({2, 2, 1}, {-1, 0, 1, 3});
  ASSERT_TRUE(
      SaveFeatureMaps(example, Path("g.png"), {.colormap = Colormap::kGrey, .cell_pixels = 20, .legend = false}).ok());
  const Tensor grey = Read("g.png");
  EXPECT_EQ(Pixel(grey, 22, 22)[0], 0);
  EXPECT_EQ(Pixel(grey, 32, 22)[0], 64);
  EXPECT_EQ(Pixel(grey, 22, 32)[0], 128);
  EXPECT_EQ(Pixel(grey, 32, 32)[0], 255);
}

TEST_F(PlotTest, FeatureMapsMarkNanInPictureAndText) {
  Tensor maps(DType::kFloat32, {4, 4, 3});
  for (int64_t i = 0; i < maps.size(); ++i) maps.data<float>()[i] = static_cast<float>(i);
  ASSERT_TRUE(SaveFeatureMaps(maps, Path("whole.png")).ok());
  EXPECT_EQ(Count(Read("whole.png"), kWarning), 0);
  maps.data<float>()[4] = kNan;
  ASSERT_TRUE(SaveFeatureMaps(maps, Path("square.png"), {.cell_pixels = 40, .legend = false}).ok());
  EXPECT_EQ(Count(Read("square.png"), kWarning), 100) << "one element of 10 x 10 pixels";
  ASSERT_TRUE(SaveFeatureMaps(maps, Path("text.png"), {.cell_pixels = 120}).ok());
  EXPECT_GT(Count(Read("text.png"), kWarning), 900) << "one element of 30 x 30 pixels, and the text";
  for (float& value : maps.data<float>()) value = kNan;
  EXPECT_TRUE(SaveFeatureMaps(maps, Path("all.png")).ok());
}

TEST_F(PlotTest, FeatureMapsGridInputAndValues) {
  Tensor maps(DType::kFloat32, {32, 32, 32});
  for (int64_t i = 0; i < maps.size(); ++i) maps.data<float>()[i] = static_cast<float>(i % 977);
  FeatureMapOptions options{.rows = 4, .columns = 8, .title = "conv2d", .save_values = true};
  ASSERT_TRUE(SaveFeatureMaps(maps, Path("m.png"), options).ok());
  const Tensor image = Read("m.png");
  EXPECT_GT(image.shape()[1], 1300);
  EXPECT_LT(image.shape()[1], 1700);
  EXPECT_TRUE(BitEqual(*LoadNpy(Path("m.npy")), maps)) << "the values unscaled";
  options.input = Tensor::Full(DType::kUint8, {1, 32, 32, 3}, 77);
  ASSERT_TRUE(SaveFeatureMaps(maps, Path("i.png"), options).ok());
  EXPECT_GT(Count(Read("i.png"), {77, 77, 77}), 10'000);
  EXPECT_LT(Count(image, {77, 77, 77}), 100) << "smoothed text alone";
  // Other forms that layers have.
  EXPECT_TRUE(SaveFeatureMaps(Tensor(DType::kFloat32, {1, 1, 1, 512}), Path("many.png")).ok());
  EXPECT_TRUE(SaveFeatureMaps(Tensor(DType::kFloat32, {300, 200, 2}), Path("large.png")).ok());
  EXPECT_TRUE(SaveFeatureMaps(Tensor(DType::kFloat32, {1, 40, 3}), Path("flat.png")).ok());
}

TEST_F(PlotTest, FeatureMapGridsFit) {
  const auto size = [&](int64_t count, const FeatureMapOptions& options) {
    EXPECT_TRUE(SaveFeatureMaps(Tensor(DType::kFloat32, {8, 8, count}), Path("m.png"), options).ok());
    return Read("m.png").shape();
  };
  // Cells of 8 pixels, 14 between them, 22 around.
  const auto side = [](int64_t cells) { return cells * 8 + (cells - 1) * 14 + 44; };
  EXPECT_EQ(size(32, {.cell_pixels = 8, .legend = false}), (Shape{side(4), side(8), 3}));
  EXPECT_EQ(size(3, {.cell_pixels = 8, .legend = false}), (Shape{side(1), side(3), 3}));
  EXPECT_EQ(size(3, {.columns = 8, .cell_pixels = 8, .legend = false}), (Shape{side(1), side(3), 3}));
  EXPECT_EQ(size(3, {.rows = 1, .columns = 8, .cell_pixels = 8, .legend = false}), (Shape{side(1), side(3), 3}));
}

TEST_F(PlotTest, FeatureMapsOfBothSignsAreColouredAroundZero) {
  const auto diverging = [](int index) { return MapColor(Colormap::kDiverging, static_cast<uint8_t>(index)); };
  // Map 0: -1, 2; map 1: 0, 0.
  const Tensor maps = Tensor::Of<float>({1, 2, 2}, {-1, 0, 2, 0});
  FeatureMapOptions options{.colormap = Colormap::kDiverging, .cell_pixels = 20, .legend = false};
  ASSERT_TRUE(SaveFeatureMaps(maps, Path("m.png"), options).ok());
  const Tensor image = Read("m.png");
  EXPECT_EQ(Pixel(image, 22, 22), diverging(64));
  EXPECT_EQ(Pixel(image, 32, 22), diverging(255));
  EXPECT_EQ(Pixel(image, 56, 22), diverging(128));
  EXPECT_EQ(diverging(128), (Rgb{247, 247, 247}));
  // On one scale a small map is pale.
  options.scale = FeatureMapOptions::Scale::kCommon;
  const Tensor two = Tensor::Of<float>({1, 2, 2}, {-1, 0.25f, 2, -0.25f});
  ASSERT_TRUE(SaveFeatureMaps(two, Path("c.png"), options).ok());
  EXPECT_EQ(Pixel(Read("c.png"), 56, 22), diverging(144));
  EXPECT_EQ(Pixel(Read("c.png"), 66, 22), diverging(112));
}

// Rows in which something is drawn right of the colour bar: a label, and white between it and the next.
int64_t LabelsOf(const Tensor& image, int64_t from_x) {
  int64_t labels = 0;
  bool inside = false;
  for (int64_t y = 0; y < image.shape()[0]; ++y) {
    bool ink = false;
    for (int64_t x = from_x; x < image.shape()[1]; ++x) {
      ink = ink || image.at<float>({y, x, 0}) < 200;
    }
    labels += ink && !inside ? 1 : 0;
    inside = ink;
  }
  return labels;
}

TEST_F(PlotTest, ColourBarLabelsOfLowMapsDoNotOverlap) {
  Tensor maps(DType::kFloat32, {1, 40, 3});
  for (int64_t i = 0; i < maps.size(); ++i) maps.data<float>()[i] = static_cast<float>(i - 60);
  for (const Colormap colormap : {Colormap::kViridis, Colormap::kDiverging}) {
    for (const auto scale : {FeatureMapOptions::Scale::kPerMap, FeatureMapOptions::Scale::kCommon}) {
      ASSERT_TRUE(SaveFeatureMaps(maps, Path("low.png"), {.scale = scale, .colormap = colormap, .cell_pixels = 120}).ok());
      const Tensor image = Read("low.png");
      // Below the caption, right of the bar's ticks.
      const int64_t labels = LabelsOf(image, image.shape()[1] - 22 - 86 + 24 + 16 + 6);
      EXPECT_GE(labels, 2);
      EXPECT_LE(labels, 4);
    }
  }
}

TEST_F(PlotTest, HeatMapsLieOverThePicture) {
  const Tensor image = Tensor::Full(DType::kUint8, {4, 8, 3}, 100);
  const Tensor map = Tensor::Of<float>({1, 2, 1}, {0, 10});
  ASSERT_EQ(Overlay(image, map, 40, 80).type(), (TensorType{DType::kUint8, {40, 80, 3}}));
  const auto floats = [](const Tensor& picture) { return picture.Cast(DType::kFloat32); };  // as Pixel wants them
  const Tensor over = floats(Overlay(image, map, 40, 80));
  const auto mixed = [](int index) {
    Rgb colour = Viridis(index);
    for (uint8_t& c : colour) c = static_cast<uint8_t>(c * 0.5 + 50.5);
    return colour;
  };
  EXPECT_EQ(Pixel(over, 0, 0), mixed(0));
  EXPECT_EQ(Pixel(over, 79, 39), mixed(255));
  EXPECT_NE(Pixel(over, 40, 20), mixed(0)) << "between them it is smooth";
  EXPECT_NE(Pixel(over, 40, 20), mixed(255));
  EXPECT_TRUE(BitEqual(Overlay(image, map, 4, 8, {.opacity = 0}), image));
  EXPECT_EQ(Pixel(floats(Overlay(image, map, 4, 8, {.opacity = 1})), 7, 0), Viridis(255));
  const Tensor signs = Tensor::Of<float>({2, 1}, {-2, 1});
  EXPECT_EQ(Pixel(floats(Overlay(image, signs, 4, 8, {.colormap = Colormap::kDiverging, .opacity = 1})), 0, 0),
            MapColor(Colormap::kDiverging, 0));
  EXPECT_EQ(Pixel(floats(Overlay(image, Tensor::Of<float>({1, 1}, {kNan}), 4, 8, {.opacity = 1})), 3, 3), kWarning);
  // A constant map, one with infinities, a batch axis, other pictures.
  EXPECT_EQ(Overlay(image, Tensor(DType::kFloat32, {1, 2, 2, 1}), 4, 8).shape(), (Shape{4, 8, 3}));
  EXPECT_EQ(Overlay(Tensor(DType::kFloat32, {1, 4, 8, 1}), map, 3, 5).shape(), (Shape{3, 5, 3}));
  ASSERT_TRUE(SaveHeatMap(image, map, Path("h.png"), {.title = "where"}).ok());
  EXPECT_GT(Read("h.png").shape()[1], 384);
  ASSERT_TRUE(SaveHeatMap(image, map, Path("p.png"), {.picture_pixels = 16, .legend = false}).ok());
  EXPECT_EQ(Read("p.png").shape(), (Shape{8, 16, 3}));
  EXPECT_THROW(Overlay(image, Tensor(DType::kFloat32, {2, 2, 2}), 4, 8), Error);
  EXPECT_THROW(Overlay(image, Tensor(), 4, 8), Error);
  EXPECT_THROW(Overlay(image, map, 0, 8), Error);
  EXPECT_THROW(Overlay(image, map, 4, 8, {.opacity = 1.5}), Error);
  EXPECT_THROW(Overlay(image, map, 4, 8, {.opacity = kNan}), Error);
  EXPECT_THROW(Overlay(Tensor(DType::kFloat32, {2, 2, 2}), map, 4, 8), Error);
  EXPECT_THROW((void)SaveHeatMap(image, map, Path("h.png"), {.picture_pixels = -1}), Error);
}

TEST_F(PlotTest, FeatureMapMisuseThrows) {
  const auto save = [&](const Tensor& maps, const FeatureMapOptions& options = {}) {
    (void)SaveFeatureMaps(maps, Path("m.png"), options);
  };
  EXPECT_THROW(save(Tensor()), Error);
  EXPECT_THROW(save(Tensor(DType::kUint8, {2, 2, 2})), Error);
  EXPECT_THROW(save(Tensor(DType::kFloat32, {2, 2})), Error);
  EXPECT_THROW(save(Tensor(DType::kFloat32, {2, 2, 2, 2})), Error);
  EXPECT_THROW(save(Tensor(DType::kFloat32, {2, 2, 0})), Error);
  EXPECT_THROW(save(Tensor(DType::kFloat32, {2, 2, 9}), {.rows = 2, .columns = 4}), Error);
  EXPECT_THROW(save(Tensor(DType::kFloat32, {2, 2, 2}), {.rows = -1}), Error);
  EXPECT_EQ(SaveFeatureMaps(Tensor(DType::kFloat32, {2, 2, 2}), Path("no/m.png")).code(), absl::StatusCode::kNotFound);
}

TEST_F(PlotTest, ImagesOfAllRanges) {
  const Tensor unit = Tensor::Of<float>({1, 2, 1}, {0.5f, 1});
  EXPECT_TRUE(BitEqual(ToRgb(unit), Tensor::Of<uint8_t>({1, 2, 3}, {128, 128, 128, 255, 255, 255})));
  const Tensor byte = Tensor::Of<float>({1, 1, 3}, {-5, 100.5f, 300});
  EXPECT_TRUE(BitEqual(ToRgb(byte), Tensor::Of<uint8_t>({1, 1, 3}, {0, 101, 255})));
  const Tensor bytes = ToRgb(unit, PixelRange::kByte);
  EXPECT_EQ(bytes.data<uint8_t>()[3], 1);
  // What lies a little above 1 makes no picture of bytes.
  for (const float most : {1.0f, 1.0000001f, 1.1f, 2.0f}) {
    EXPECT_TRUE(BitEqual(ToRgb(Tensor::Of<float>({1, 3, 1}, {0, 0.5f, most})), Tensor::Of<uint8_t>({1, 3, 3}, {0, 0, 0, 128, 128, 128, 255, 255, 255})))
        << most;
  }
  EXPECT_TRUE(BitEqual(ToRgb(Tensor::Of<float>({1, 3, 1}, {-1, 0, 1})), Tensor::Of<uint8_t>({1, 3, 3}, {0, 0, 0, 0, 0, 0, 255, 255, 255})));
  EXPECT_TRUE(BitEqual(ToRgb(Tensor::Of<float>({1, 2, 1}, {3, 0})), Tensor::Of<uint8_t>({1, 2, 3}, {3, 3, 3, 0, 0, 0})));
  EXPECT_TRUE(BitEqual(ToRgb(Tensor::Of<uint8_t>({1, 1, 4}, {1, 2, 3, 4})), Tensor::Of<uint8_t>({1, 1, 3}, {1, 2, 3})));
  const Tensor bad = ToRgb(Tensor::Of<float>({1, 1, 1}, {kNan}));
  EXPECT_EQ((Rgb{bad.data<uint8_t>()[0], bad.data<uint8_t>()[1], bad.data<uint8_t>()[2]}), kWarning);
  EXPECT_THROW(ToRgb(Tensor(DType::kFloat32, {1, 1, 2})), Error);
  EXPECT_THROW(ToRgb(Tensor(DType::kInt32, {1, 1, 3})), Error);

  ASSERT_TRUE(SaveImage(Tensor::Of<uint8_t>({1, 2, 3}, {1, 2, 3, 4, 5, 6}), Path("x.png"), 3).ok());
  const Tensor image = Read("x.png");
  ASSERT_EQ(image.shape(), (Shape{3, 6, 3}));
  EXPECT_EQ(Pixel(image, 2, 2), (Rgb{1, 2, 3}));
  EXPECT_EQ(Pixel(image, 3, 0), (Rgb{4, 5, 6}));
  EXPECT_THROW((void)SaveImage(unit, Path("x.png"), 0), Error);
}

TEST_F(PlotTest, GridsOfImages) {
  Tensor images(DType::kUint8, {5, 8, 8, 3});
  for (int64_t i = 0; i < images.size(); ++i) images.data<uint8_t>()[i] = static_cast<uint8_t>(i / 192 + 1);
  ASSERT_TRUE(SaveImageGrid(images, {"a", "b", "c", "d", "e"}, Path("x.png"), {.columns = 3, .cell_pixels = 16}).ok());
  const Tensor image = Read("x.png");
  for (uint8_t i = 1; i <= 5; ++i) EXPECT_EQ(Count(image, {i, i, i}), 256) << "picture " << int{i};
  EXPECT_THROW((void)SaveImageGrid(images, {"a"}, Path("x.png")), Error);
  EXPECT_THROW((void)SaveImageGrid(Tensor(DType::kUint8, {8, 8, 3}), {}, Path("x.png")), Error);
  EXPECT_TRUE(SaveImageGrid(images.Rows(0, 1), {}, Path("x.png"), {.title = "a very long title for one picture"}).ok());
}

TEST_F(PlotTest, Filters) {
  // Filter 0 runs over both channels together: 0 to 3; filter 1 is constant.
  const Tensor kernel = Tensor::Of<float>({1, 2, 2, 2}, {0, 5, 3, 5, 1, 5, 2, 5});
  ASSERT_TRUE(SaveFilters(kernel, Path("k.png"), {.colormap = Colormap::kGrey, .cell_pixels = 20}).ok());
  const Tensor image = Read("k.png");
  const int64_t left = 42, top = 62;
  EXPECT_EQ(Pixel(image, left, top), (Rgb{0, 0, 0}));
  EXPECT_EQ(Pixel(image, left + 10, top), (Rgb{85, 85, 85}));
  EXPECT_EQ(Pixel(image, left, top + 14), (Rgb{255, 255, 255}));
  EXPECT_EQ(Pixel(image, left + 10, top + 14), (Rgb{170, 170, 170}));
  EXPECT_EQ(Pixel(image, left + 24, top), (Rgb{128, 128, 128}));
  // By themselves weights are coloured around 0.
  ASSERT_TRUE(SaveFilters(kernel, Path("d.png"), {.cell_pixels = 20}).ok());
  EXPECT_EQ(Pixel(Read("d.png"), left, top), MapColor(Colormap::kDiverging, 128));
  EXPECT_EQ(Pixel(Read("d.png"), left, top + 14), MapColor(Colormap::kDiverging, 255));
  EXPECT_EQ(Pixel(Read("d.png"), left + 24, top), MapColor(Colormap::kDiverging, 255));
  const Tensor colour = Tensor::Of<float>({1, 1, 3, 1}, {0, 1, 2});
  ASSERT_TRUE(SaveFilters(colour, Path("c.png"), {.rgb = true, .cell_pixels = 20}).ok());
  EXPECT_EQ(Pixel(Read("c.png"), left, top), (Rgb{0, 128, 255}));
  EXPECT_THROW((void)SaveFilters(kernel, Path("k.png"), {.rgb = true}), Error);
  EXPECT_THROW((void)SaveFilters(Tensor(DType::kFloat32, {3, 3, 2}), Path("k.png")), Error);
  EXPECT_TRUE(SaveFilters(Tensor(DType::kFloat32, {3, 3, 100, 100}), Path("large.png")).ok());
}

TEST_F(PlotTest, CurvesShowEachSeriesAndLeaveGaps) {
  const Rgb blue = {0, 114, 178};
  const Rgb orange = {230, 120, 0};
  const std::vector<double> falling = {3, 2, 1.5, 1.2, 1.1};
  ASSERT_TRUE(SaveCurves({{"loss", falling}}, Path("one.png")).ok());
  const Tensor one = Read("one.png");
  ASSERT_EQ(one.shape(), (Shape{540, 900, 3}));
  EXPECT_GT(Count(one, blue), 800);
  EXPECT_EQ(Count(one, orange), 0);
  ASSERT_TRUE(SaveCurves({{"loss", falling}, {"val_loss", {3, 2.5, 2.4, 2.3, 2.6}}}, Path("two.png")).ok());
  EXPECT_GT(Count(Read("two.png"), orange), 800);
  std::vector<double> gap = falling;
  gap[2] = kNan;
  ASSERT_TRUE(SaveCurves({{"loss", gap}}, Path("gap.png")).ok());
  EXPECT_LT(Count(Read("gap.png"), blue), Count(one, blue) * 3 / 4);
}

TEST_F(PlotTest, CurvesLieAtTheirPlaces) {
  const Rgb orange = {230, 120, 0};
  const std::vector<double> falling = {4, 3, 2, 1.5};
  const auto drawn = [&](const std::vector<double>& xs) {
    EXPECT_TRUE(SaveCurves({{"loss", falling}, {"val_loss", {3, 2}, xs}}, Path("x.png")).ok());
    const Tensor image = Read("x.png");
    int64_t left = image.shape()[1], right = 0;
    // Below the legend.
    for (int64_t row = 60; row < image.shape()[0]; ++row) {
      for (int64_t column = 0; column < image.shape()[1]; ++column) {
        if (Pixel(image, column, row) != orange) continue;
        left = std::min(left, column);
        right = std::max(right, column);
      }
    }
    return std::pair(left, right);
  };
  const auto counted = drawn({}), same = drawn({1, 2}), apart = drawn({2, 4});
  EXPECT_EQ(counted, same);
  // A third of the width to the right, and to the right end.
  EXPECT_NEAR(static_cast<double>(apart.first - counted.first), 280, 30);
  EXPECT_NEAR(static_cast<double>(apart.second - counted.second), 560, 60);
  EXPECT_THROW((void)drawn({1}), Error);
}

TEST_F(PlotTest, BarsAreAsLongAsTheirNumbers) {
  const Rgb blue = {0, 114, 178}, red = {226, 31, 38};
  const auto draw = [&](std::vector<double> values) {
    std::vector<BarGroup> groups;
    for (double value : values) groups.push_back({"case", {value}});
    EXPECT_TRUE(SaveBars({"speed"}, groups, Path("bars.png"), {.title = "t", .reference = 1, .limit = 4}).ok());
    return Read("bars.png");
  };
  const int64_t two = Count(draw({2}), blue), four = Count(draw({4}), blue);
  EXPECT_NEAR(static_cast<double>(four) / static_cast<double>(two), 2, 0.1);
  EXPECT_EQ(Count(draw({9}), blue), four);  // cut at the limit
  EXPECT_EQ(Count(draw({2, kNan}), blue), two);
  const Tensor slow = draw({0.5});
  EXPECT_EQ(Count(slow, blue), 0);
  EXPECT_GT(Count(slow, red), 500);
  ASSERT_TRUE(SaveBars({"a", "b"}, {{"x", {1, 2}}, {"y", {3, kInf}}}, Path("two.png")).ok());
  EXPECT_GT(Count(Read("two.png"), {230, 120, 0}), 500);
  EXPECT_THROW((void)SaveBars({}, {}, Path("none.png")), Error);
  EXPECT_THROW((void)SaveBars({"a"}, {{"x", {1, 2}}}, Path("none.png")), Error);
}

TEST_F(PlotTest, CurvesOfUnusualNumbers) {
  for (const std::vector<double>& values : std::vector<std::vector<double>>{{},
                                                                            {1},
                                                                            {kNan, kNan},
                                                                            {kInf, 1, -kInf},
                                                                            {5, 5, 5},
                                                                            {0, 0},
                                                                            {1e300, -1e300},
                                                                            {1e-300, 2e-300},
                                                                            std::vector<double>(5000, 0.5)}) {
    EXPECT_TRUE(SaveCurves({{"x", values}}, Path("x.png"), {.title = "t"}).ok()) << values.size();
  }
  EXPECT_THROW((void)SaveCurves({}, Path("x.png")), Error);
  EXPECT_THROW((void)SaveCurves({{"x", {1}}}, Path("x.png"), {.width = 10}), Error);
  EXPECT_THROW((void)SaveHistory({}, Path("x.png")), Error);
}

TEST_F(PlotTest, HistoryPutsValidationBesideTraining) {
  ASSERT_TRUE(
      SaveHistory({{"loss", {2, 1}}, {"accuracy", {0.3, 0.6}}, {"val_loss", {2, 1.5}}, {"val_accuracy", {0.2, 0.5}}},
                  Path("h.png"), {.width = 400, .height = 300})
          .ok());
  const Tensor image = Read("h.png");
  EXPECT_EQ(image.shape(), (Shape{300, 800, 3})) << "two panels";
}

}  // namespace
}  // namespace weir::plot
