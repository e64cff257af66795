// Pictures: every kind of PNG and JPEG that turns up, damaged ones, resizing and colour maps.
#include <gtest/gtest.h>
#include <png.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdio>
// jpeglib.h needs the C library's FILE before it.
#include <jpeglib.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "fault.h"
#include "png_chunks.h"
#include "temp_folder.h"
#include "weir/frontend/pictures/colormap.h"
#include "weir/frontend/pictures/image.h"

namespace weir {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;

struct PngSpec {
  int width = 1, height = 1;
  int color = PNG_COLOR_TYPE_RGB;
  int depth = 8;
  bool interlaced = false;
  std::vector<uint8_t> bytes;                    // rows as the format packs them
  std::vector<std::array<int, 4>> palette = {};  // red, green, blue, alpha
};

// Written with libpng's own calls, not with the code under test. Faults abort the test program.
std::string MakePng(const PngSpec& spec) {
  std::string contents;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &contents,
      [](png_structp p, png_bytep data, size_t size) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<char*>(data), size);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(spec.width), static_cast<png_uint_32>(spec.height), spec.depth,
               spec.color, spec.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  std::vector<png_color> colors;
  std::vector<png_byte> alphas;
  for (const auto& c : spec.palette) {
    colors.push_back({static_cast<png_byte>(c[0]), static_cast<png_byte>(c[1]), static_cast<png_byte>(c[2])});
    alphas.push_back(static_cast<png_byte>(c[3]));
  }
  if (!colors.empty()) {
    png_set_PLTE(png, info, colors.data(), static_cast<int>(colors.size()));
    if (*std::min_element(alphas.begin(), alphas.end()) < 255) {
      png_set_tRNS(png, info, alphas.data(), static_cast<int>(alphas.size()), nullptr);
    }
  }
  png_write_info(png, info);
  const size_t row_bytes = spec.bytes.size() / static_cast<size_t>(spec.height);
  std::vector<png_bytep> rows;
  for (int y = 0; y < spec.height; ++y)
    rows.push_back(const_cast<png_bytep>(spec.bytes.data()) + static_cast<size_t>(y) * row_bytes);
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return contents;
}

constexpr size_t kAfterHeader = 8 + 25;  // signature and IHDR

std::string MakeJpeg(int width, int height, int components, const std::vector<uint8_t>& bytes,
                     bool progressive = false, J_COLOR_SPACE stored = JCS_UNKNOWN) {
  jpeg_compress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &memory, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = components;
  jpeg.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  if (stored != JCS_UNKNOWN) jpeg_set_colorspace(&jpeg, stored);
  jpeg_set_quality(&jpeg, 100, TRUE);
  if (progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = const_cast<JSAMPROW>(bytes.data()) + jpeg.next_scanline * static_cast<size_t>(width * components);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::string contents(reinterpret_cast<char*>(memory), size);
  std::free(memory);
  jpeg_destroy_compress(&jpeg);
  return contents;
}

class PicturesTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  absl::StatusOr<Tensor> Load(const std::string& contents, const ImageOptions& options = {}) const {
    std::ofstream(Path("x"), std::ios::binary) << contents;
    return LoadImage(Path("x"), options);
  }
  void ExpectValues(const std::string& contents, const ImageOptions& options, const Tensor& expected) const {
    const absl::StatusOr<Tensor> image = Load(contents, options);
    ASSERT_TRUE(image.ok()) << image.status();
    ASSERT_EQ(image->type(), expected.type());
    for (int64_t i = 0; i < expected.size(); ++i) {
      EXPECT_FLOAT_EQ(image->data<float>()[i], expected.data<float>()[i]) << "element " << i;
    }
  }

  const TempFolder temp_;
  const fs::path folder_ = temp_.path();
};

constexpr ImageOptions kGrey{.channels = Channels::kGrey};
constexpr ImageOptions kRgb{.channels = Channels::kRgb};
constexpr ImageOptions kRgba{.channels = Channels::kRgba};

TEST_F(PicturesTest, PngOfOneToFourChannels) {
  const std::string grey = MakePng({.width = 2, .color = PNG_COLOR_TYPE_GRAY, .bytes = {7, 200}});
  ExpectValues(grey, kGrey, Tensor::Of<float>({1, 2, 1}, {7, 200}));
  ExpectValues(grey, kRgb, Tensor::Of<float>({1, 2, 3}, {7, 7, 7, 200, 200, 200}));
  ExpectValues(grey, kRgba, Tensor::Of<float>({1, 2, 4}, {7, 7, 7, 255, 200, 200, 200, 255}));

  const std::string grey_alpha =
      MakePng({.width = 2, .color = PNG_COLOR_TYPE_GRAY_ALPHA, .bytes = {100, 255, 100, 51}});
  ExpectValues(grey_alpha, kGrey, Tensor::Of<float>({1, 2, 1}, {100, 100}));
  ExpectValues(grey_alpha, kRgba, Tensor::Of<float>({1, 2, 4}, {100, 100, 100, 255, 100, 100, 100, 51}));
  ExpectValues(grey_alpha, {.channels = Channels::kGrey, .background = {{200, 200, 200}}},
               Tensor::Of<float>({1, 2, 1}, {100, 100 * 0.2f + 200 * 0.8f}));

  const std::string rgb = MakePng({.width = 1, .height = 2, .bytes = {10, 20, 30, 255, 0, 0}});
  ExpectValues(rgb, kRgb, Tensor::Of<float>({2, 1, 3}, {10, 20, 30, 255, 0, 0}));
  ExpectValues(rgb, kGrey, Tensor::Of<float>({2, 1, 1}, {0.299f * 10 + 0.587f * 20 + 0.114f * 30, 0.299f * 255}));

  const std::string rgba = MakePng({.width = 1, .color = PNG_COLOR_TYPE_RGB_ALPHA, .bytes = {200, 100, 0, 51}});
  ExpectValues(rgba, kRgba, Tensor::Of<float>({1, 1, 4}, {200, 100, 0, 51}));
  ExpectValues(rgba, kRgb, Tensor::Of<float>({1, 1, 3}, {200, 100, 0}));
  ExpectValues(rgba, {.background = {{0, 100, 255}}}, Tensor::Of<float>({1, 1, 3}, {40, 100, 204}));
}

TEST_F(PicturesTest, WrongChannelsAreAnErrorWhereConversionIsOff) {
  const std::string rgba = MakePng({.color = PNG_COLOR_TYPE_RGB_ALPHA, .bytes = {1, 2, 3, 4}});
  const absl::Status status = Load(rgba, {.convert = false}).status();
  EXPECT_FAULT(status, StatusCode::kInvalidArgument, Path("x"));
  EXPECT_FAULT(status, StatusCode::kInvalidArgument, "has 4 channels (RGBA), expected 3 (RGB)");
  EXPECT_TRUE(Load(rgba, {.channels = Channels::kRgba, .convert = false}).ok());
  EXPECT_FAULT(Load(MakePng({.color = PNG_COLOR_TYPE_GRAY, .bytes = {1}}), {.convert = false}).status(),
               StatusCode::kInvalidArgument, "has 1 channels (grey), expected 3 (RGB)");
}

TEST_F(PicturesTest, PaletteSmallDepthsAndSixteenBits) {
  const std::string palette = MakePng({.width = 3,
                                       .color = PNG_COLOR_TYPE_PALETTE,
                                       .depth = 2,
                                       .bytes = {0b00'01'10'00},
                                       .palette = {{255, 0, 0, 255}, {0, 9, 0, 255}, {0, 0, 77, 255}}});
  ExpectValues(palette, kRgb, Tensor::Of<float>({1, 3, 3}, {255, 0, 0, 0, 9, 0, 0, 0, 77}));
  const std::string clear = MakePng({.width = 2,
                                     .color = PNG_COLOR_TYPE_PALETTE,
                                     .depth = 8,
                                     .bytes = {0, 1},
                                     .palette = {{255, 0, 0, 0}, {0, 9, 0, 255}}});
  ExpectValues(clear, kRgba, Tensor::Of<float>({1, 2, 4}, {255, 0, 0, 0, 0, 9, 0, 255}));
  const std::string one_bit =
      MakePng({.width = 9, .color = PNG_COLOR_TYPE_GRAY, .depth = 1, .bytes = {0b10110000, 0b10000000}});
  ExpectValues(one_bit, kGrey, Tensor::Of<float>({1, 9, 1}, {255, 0, 255, 255, 0, 0, 0, 0, 255}));
  const std::string four_bit = MakePng({.width = 2, .color = PNG_COLOR_TYPE_GRAY, .depth = 4, .bytes = {0x1f}});
  ExpectValues(four_bit, kGrey, Tensor::Of<float>({1, 2, 1}, {17, 255}));
  const std::string sixteen =
      MakePng({.width = 3, .color = PNG_COLOR_TYPE_GRAY, .depth = 16, .bytes = {0xff, 0xff, 0x00, 0x01, 0x80, 0x01}});
  ExpectValues(sixteen, kGrey, Tensor::Of<float>({1, 3, 1}, {255, 1 / 257.0f, 32769 / 257.0f}));
}

TEST_F(PicturesTest, InterlacedIsTheSamePicture) {
  PngSpec spec{.width = 13, .height = 11, .bytes = {}};
  for (int i = 0; i < 13 * 11 * 3; ++i) spec.bytes.push_back(static_cast<uint8_t>(i * 7));
  const absl::StatusOr<Tensor> plain = Load(MakePng(spec));
  spec.interlaced = true;
  const absl::StatusOr<Tensor> interlaced = Load(MakePng(spec));
  ASSERT_TRUE(plain.ok() && interlaced.ok()) << plain.status() << interlaced.status();
  EXPECT_TRUE(BitEqual(*plain, *interlaced));
  EXPECT_EQ(plain->at<float>({1, 2, 1}), static_cast<float>((13 + 2) * 3 + 1) * 7 - 256);
}

TEST_F(PicturesTest, OddChunksAreHarmless) {
  std::string contents = MakePng({.bytes = {1, 2, 3}});
  std::string damaged = Chunk("teSt", "anything");
  damaged.back() ^= 1;
  contents.insert(kAfterHeader, Chunk("eXIf", "MM\0*abcdefgh") + Chunk("gAMA", BigEndian(45455)) +
                                    Chunk("prVt", std::string(5000, 'x')) + damaged);
  ExpectValues(contents, kRgb, Tensor::Of<float>({1, 1, 3}, {1, 2, 3}));
}

TEST_F(PicturesTest, EmptyCutAndForeignFiles) {
  EXPECT_FAULT(Load("").status(), StatusCode::kDataLoss, "is empty (0 bytes)");
  EXPECT_FAULT(Load("GIF89a...").status(), StatusCode::kInvalidArgument, "neither PNG nor JPEG");
  EXPECT_FAULT(LoadImage(Path("absent.png")).status(), StatusCode::kNotFound, Path("absent.png"));

  PngSpec spec{.width = 20, .height = 20, .bytes = {}};
  for (int i = 0; i < 1200; ++i) spec.bytes.push_back(static_cast<uint8_t>(i * i));
  const std::string png = MakePng(spec);
  const std::string jpeg = MakeJpeg(20, 20, 3, spec.bytes);
  const std::string progressive = MakeJpeg(20, 20, 3, spec.bytes, true);
  ASSERT_TRUE(Load(png).ok() && Load(jpeg).ok() && Load(progressive).ok());
  for (size_t size = 8; size < png.size(); size += 11) {
    const absl::Status status = Load(png.substr(0, size)).status();
    EXPECT_FAULT(status, StatusCode::kDataLoss, StrCat("cut short after ", size, " bytes"));
    EXPECT_TRUE(Contains(status, Path("x"))) << status;
  }
  EXPECT_EQ(Load(png.substr(0, png.size() - 1)).status().code(), StatusCode::kDataLoss);
  for (const std::string& whole : {jpeg, progressive}) {
    for (size_t size = 3; size < whole.size(); size += 13) {
      EXPECT_EQ(Load(whole.substr(0, size)).status().code(), StatusCode::kDataLoss) << size << " of " << whole.size();
    }
  }
  EXPECT_FAULT(Load(jpeg.substr(0, jpeg.size() / 2)).status(), StatusCode::kDataLoss, "cut short");
}

TEST_F(PicturesTest, DamagedFilesNeverCrash) {
  PngSpec spec{.width = 20, .height = 20, .bytes = {}};
  for (int i = 0; i < 1200; ++i) spec.bytes.push_back(static_cast<uint8_t>(i * i));
  for (const std::string& whole :
       {MakePng(spec), MakeJpeg(20, 20, 3, spec.bytes), MakeJpeg(20, 20, 3, spec.bytes, true)}) {
    int faults = 0;
    for (size_t at = 3; at < whole.size(); at += 7) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
      const absl::StatusOr<Tensor> image = Load(damaged, {.max_pixels = 1 << 20});
      faults += image.ok() ? 0 : 1;
    }
    EXPECT_GT(faults, 0);
  }
  std::string idat = MakePng(spec);
  idat[idat.size() / 2] ^= 1;
  EXPECT_FAULT(Load(idat).status(), StatusCode::kDataLoss, "PNG is damaged");
}

TEST_F(PicturesTest, ClaimedSizesAreCheckedBeforeAllocation) {
  std::string contents = MakePng({.bytes = {1, 2, 3}});
  const auto claim = [&](uint32_t width, uint32_t height) {
    const std::string header = BigEndian(width) + BigEndian(height) + contents.substr(24, 5);
    return contents.substr(0, 8) + Chunk("IHDR", header) + contents.substr(kAfterHeader);
  };
  EXPECT_FAULT(Load(claim(60000, 60000)).status(), StatusCode::kResourceExhausted,
               "picture of 60000 x 60000 pixels, at most 67108864");
  EXPECT_FAULT(Load(claim(0x7fffffff, 0x7fffffff)).status(), StatusCode::kResourceExhausted, "2147483647");
  EXPECT_FAULT(Load(claim(0xffffffff, 1)).status(), StatusCode::kDataLoss, "PNG");
  EXPECT_FAULT(Load(claim(0, 1)).status(), StatusCode::kDataLoss, "PNG");
  EXPECT_FAULT(Load(claim(8000, 8000)).status(), StatusCode::kDataLoss, "claims 8000 x 8000 pixels in a file of");
  EXPECT_FAULT(Load(MakePng({.width = 2, .bytes = {1, 2, 3, 4, 5, 6}}), {.max_pixels = 1}).status(),
               StatusCode::kResourceExhausted, "at most 1 pixels");

  std::string jpeg = MakeJpeg(8, 8, 1, std::vector<uint8_t>(64, 9));
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xea\x60\xea\x60");
  EXPECT_FAULT(Load(jpeg).status(), StatusCode::kResourceExhausted, "picture of 60000 x 60000");
}

TEST_F(PicturesTest, Jpeg) {
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 16 * 16; ++i) bytes.insert(bytes.end(), {200, 100, 50});
  for (const bool progressive : {false, true}) {
    const absl::StatusOr<Tensor> image = Load(MakeJpeg(16, 16, 3, bytes, progressive));
    ASSERT_TRUE(image.ok()) << image.status();
    ASSERT_EQ(image->shape(), (Shape{16, 16, 3}));
    EXPECT_NEAR(image->at<float>({8, 8, 0}), 200, 2);
    EXPECT_NEAR(image->at<float>({8, 8, 1}), 100, 2);
    EXPECT_NEAR(image->at<float>({8, 8, 2}), 50, 2);
  }
  const absl::StatusOr<Tensor> grey = Load(MakeJpeg(9, 5, 1, std::vector<uint8_t>(45, 77)), kGrey);
  ASSERT_TRUE(grey.ok()) << grey.status();
  EXPECT_EQ(grey->shape(), (Shape{5, 9, 1}));
  EXPECT_NEAR(grey->at<float>({4, 8, 0}), 77, 1);
}

// Without its segment of Adobe's, which also says that inks are stored inverted.
std::string WithoutAdobe(std::string jpeg) {
  const size_t at = jpeg.find("\xff\xee");
  EXPECT_NE(at, std::string::npos);
  return jpeg.erase(at, 16);
}

TEST_F(PicturesTest, CmykAndYcckJpegBecomeRgb) {
  // Cyan, magenta, yellow, black as Adobe stores them: how much light is left.
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 64; ++i) bytes.insert(bytes.end(), {200, 100, 51, 204});
  const std::vector<double> light{200 * 0.8, 100 * 0.8, 51 * 0.8};      // of 204 / 255
  const std::vector<double> ink{55 * 0.2, 155 * 0.2, 204 * 0.2};        // (255 - stored) * 51 / 255
  const auto expect = [&](const std::string& contents, const std::vector<double>& colour) {
    const absl::StatusOr<Tensor> image = Load(contents);
    ASSERT_TRUE(image.ok()) << image.status();
    ASSERT_EQ(image->shape(), (Shape{8, 8, 3}));
    for (int c = 0; c < 3; ++c) EXPECT_NEAR(image->at<float>({3, 5, c}), colour[static_cast<size_t>(c)], 2) << c;
  };
  for (const J_COLOR_SPACE space : {JCS_CMYK, JCS_YCCK}) {
    for (const bool progressive : {false, true}) {
      expect(MakeJpeg(8, 8, 4, bytes, progressive, space), light);
    }
  }
  expect(WithoutAdobe(MakeJpeg(8, 8, 4, bytes)), ink);
  const std::string cmyk = MakeJpeg(8, 8, 4, bytes);
  EXPECT_NEAR(Load(cmyk, kGrey)->at<float>({0, 0, 0}), 0.299 * light[0] + 0.587 * light[1] + 0.114 * light[2], 2);
  EXPECT_EQ(Load(cmyk, kRgba)->at<float>({0, 0, 3}), 255);
  EXPECT_FAULT(Load(cmyk, {.convert = false}).status(), StatusCode::kInvalidArgument,
               "has 4 channels (CMYK), expected 3 (RGB)");
  EXPECT_FAULT(Load(cmyk, {.channels = Channels::kRgba, .convert = false}).status(), StatusCode::kInvalidArgument,
               "has 4 channels (CMYK), expected 4 (RGBA)");
}

// A TIFF structure with the orientation as its one entry, or two.
std::string MakeExif(int orientation, bool big_endian, int format = 3) {
  const auto number = [big_endian](uint32_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * (big_endian ? bytes - 1 - i : i));
    return text;
  };
  return (big_endian ? "MM" : "II") + number(42, 2) + number(8, 4) + number(1, 2) + number(0x0112, 2) +
         number(static_cast<uint32_t>(format), 2) + number(1, 4) + number(static_cast<uint32_t>(orientation), 2) +
         number(0, 2) + number(0, 4);
}
std::string WithExif(const std::string& jpeg, const std::string& tiff) {
  const std::string data = std::string("Exif\0\0", 6) + tiff;
  const auto size = static_cast<uint32_t>(data.size() + 2);
  return jpeg.substr(0, 2) + "\xff\xe1" + BigEndian(size).substr(2) + data + jpeg.substr(2);
}

TEST_F(PicturesTest, OrientationIsApplied) {
  // As stored:  10 20 30   Upright, by the corner that EXIF says the first row and column are:
  //             40 50 60
  const std::vector<uint8_t> stored{10, 20, 30, 40, 50, 60};
  const std::vector<std::vector<float>> upright = {{10, 20, 30, 40, 50, 60},   // 1: top left
                                                   {30, 20, 10, 60, 50, 40},   // 2: top right
                                                   {60, 50, 40, 30, 20, 10},   // 3: bottom right
                                                   {40, 50, 60, 10, 20, 30},   // 4: bottom left
                                                   {10, 40, 20, 50, 30, 60},   // 5: left top
                                                   {40, 10, 50, 20, 60, 30},   // 6: right top
                                                   {60, 30, 50, 20, 40, 10},   // 7: right bottom
                                                   {30, 60, 20, 50, 10, 40}};  // 8: left bottom
  const std::string png = MakePng({.width = 3, .height = 2, .color = PNG_COLOR_TYPE_GRAY, .bytes = stored});
  const size_t end = png.size() - 12;  // of IEND
  const std::string jpeg = MakeJpeg(3, 2, 1, stored);
  const absl::StatusOr<Tensor> plain = Load(jpeg, kGrey);
  ASSERT_TRUE(plain.ok());
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Shape shape = orientation < 5 ? Shape{2, 3, 1} : Shape{3, 2, 1};
    Tensor expected(DType::kFloat32, shape), expected_jpeg(DType::kFloat32, shape);
    for (size_t i = 0; i < 6; ++i) {
      expected.data<float>()[i] = upright[static_cast<size_t>(orientation - 1)][i];
      expected_jpeg.data<float>()[i] = plain->data<float>()[static_cast<size_t>(expected.data<float>()[i] / 10) - 1];
    }
    for (const bool big_endian : {false, true}) {
      const std::string exif = MakeExif(orientation, big_endian);
      for (const size_t at : {kAfterHeader, end}) {
        SCOPED_TRACE(StrCat("orientation ", orientation, big_endian ? ", big-endian" : "", ", chunk at byte ", at));
        std::string contents = png;
        ExpectValues(contents.insert(at, Chunk("eXIf", exif)), kGrey, expected);
      }
      ExpectValues(WithExif(jpeg, exif), kGrey, expected_jpeg);
      ExpectValues(WithExif(jpeg, exif), {.channels = Channels::kGrey, .apply_orientation = false}, *plain);
    }
  }
}

TEST_F(PicturesTest, ExifThatTellsNoOrientationIsIgnored) {
  const std::string jpeg = MakeJpeg(3, 2, 1, {10, 20, 30, 40, 50, 60});
  const Tensor plain = *Load(jpeg, kGrey);
  const std::string good = MakeExif(6, true);
  for (const std::string& exif : {MakeExif(0, true), MakeExif(9, false), MakeExif(65535, true), MakeExif(6, true, 2),
                                  std::string(), std::string("MM"), std::string(40, '\xff'), good.substr(0, 14)}) {
    ExpectValues(WithExif(jpeg, exif), kGrey, plain);
  }
  // Any byte of it may be wrong.
  for (size_t at = 0; at < good.size(); ++at) {
    for (const int flip : {1, 0x80, 0xff}) {
      std::string damaged = good;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      EXPECT_TRUE(Load(WithExif(jpeg, damaged), kGrey).ok()) << at;
    }
  }
}

TEST_F(PicturesTest, JpegThatLacksItsEndMarkerAloneIsReadWithAWarning) {
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 37 * 21 * 3; ++i) bytes.push_back(static_cast<uint8_t>(i * i >> 3));
  for (const bool progressive : {false, true}) {
    const std::string whole = MakeJpeg(37, 21, 3, bytes, progressive);
    const absl::StatusOr<Tensor> expected = Load(whole);
    ASSERT_TRUE(expected.ok());
    for (const size_t lost : {1, 2}) {
      testing::internal::CaptureStderr();
      const absl::StatusOr<Tensor> image = Load(whole.substr(0, whole.size() - lost));
      const std::string said = testing::internal::GetCapturedStderr();
      ASSERT_TRUE(image.ok()) << image.status();
      EXPECT_TRUE(BitEqual(*image, *expected));
      EXPECT_EQ(said, StrCat("weir: warning: ", Path("x"), ": JPEG lacks its end marker; all of its pixels are there\n"));
    }
    // With any more it is cut: pixels are missing, or a progressive file's last scan.
    for (size_t size = 20; size + 3 < whole.size(); size += size + 40 < whole.size() ? 23 : 1) {
      EXPECT_EQ(Load(whole.substr(0, size)).status().code(), StatusCode::kDataLoss) << size << " of " << whole.size();
    }
    if (progressive) {
      const size_t last_scan = whole.rfind("\xff\xda");
      const size_t tables = whole.rfind("\xff\xc4", last_scan);
      EXPECT_EQ(Load(whole.substr(0, tables)).status().code(), StatusCode::kDataLoss);
    }
  }
}

TEST_F(PicturesTest, PaletteIndexBeyondThePaletteIsRefused) {
  for (const bool interlaced : {false, true}) {
    PngSpec spec{.width = 4,
                 .height = 3,
                 .color = PNG_COLOR_TYPE_PALETTE,
                 .depth = 2,
                 .interlaced = interlaced,
                 .bytes = {0b00'01'10'00, 0b00'01'01'01, 0b00'00'11'00},
                 .palette = {{255, 0, 0, 255}, {0, 9, 0, 255}, {0, 0, 77, 255}}};
    EXPECT_FAULT(Load(MakePng(spec)).status(), StatusCode::kDataLoss,
                 "pixel (row 2, column 2) has palette index 3, the palette has 3 colours");
    spec.palette[1][3] = 0;
    EXPECT_FAULT(Load(MakePng(spec)).status(), StatusCode::kDataLoss, "palette index 3");
    spec.bytes[2] = 0b00'00'10'00;
    EXPECT_EQ(Load(MakePng(spec), kRgba)->at<float>({0, 1, 3}), 0);
    EXPECT_EQ(Load(MakePng(spec), kRgba)->at<float>({2, 2, 2}), 77);
    EXPECT_EQ(Load(MakePng(spec), kRgba)->at<float>({2, 2, 3}), 255);
  }
}

// Peak of this process's resident memory, in bytes.
int64_t PeakMemory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

TEST_F(PicturesTest, ChunksThatClaimMuchTakeLittle) {
  const std::string contents = MakePng({.bytes = {1, 2, 3}});
  const int64_t before = PeakMemory();
  for (const std::string type : {"zTXt", "iTXt", "tEXt", "iCCP", "sPLT", "eXIf", "hIST", "pCAL", "sCAL", "prVt"}) {
    std::string claim = contents.substr(0, kAfterHeader) + std::string("\x20\0\0\0", 4) + type + "abcdefg";
    EXPECT_FAULT(Load(claim).status(), StatusCode::kDataLoss, StrCat("cut short after ", claim.size()));
    EXPECT_FAULT(Load(claim + contents.substr(kAfterHeader)).status(), StatusCode::kDataLoss, "PNG");
  }
  EXPECT_LT(PeakMemory() - before, int64_t{100} << 20) << "claims of 512 MB were believed";
  // Text that unpacks to much: 64 MB of zeros.
  std::string packed(compressBound(64 << 20), '\0');
  uLongf size = packed.size();
  {
    const std::string zeros(64 << 20, '\0');
    ASSERT_EQ(compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(zeros.data()), zeros.size()), Z_OK);
  }
  packed.resize(size);
  std::string bomb = contents;
  for (int i = 0; i < 8; ++i) {
    bomb.insert(kAfterHeader, Chunk("zTXt", std::string("key\0\0", 5) + packed) + Chunk("iCCP", std::string("key\0\0", 5) + packed));
  }
  ExpectValues(bomb, kRgb, Tensor::Of<float>({1, 1, 3}, {1, 2, 3}));
  EXPECT_LT(PeakMemory() - before, int64_t{200} << 20);
  // A JPEG of a few hundred bytes can't have 60 million pixels.
  std::string jpeg = MakeJpeg(8, 8, 1, std::vector<uint8_t>(64, 9));
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\x1f\x40\x1f\x40");
  EXPECT_FAULT(Load(jpeg).status(), StatusCode::kDataLoss, "JPEG claims 8000 x 8000 pixels in a file of");
}

TEST_F(PicturesTest, SavePngRoundTrips) {
  for (const int64_t channels : {1, 3, 4}) {
    Tensor image(DType::kUint8, {5, 7, channels});
    for (int64_t i = 0; i < image.size(); ++i) image.data<uint8_t>()[i] = static_cast<uint8_t>(i * 31);
    ASSERT_TRUE(SavePng(image, Path("y.png")).ok());
    const absl::StatusOr<Tensor> loaded =
        LoadImage(Path("y.png"), {.channels = static_cast<Channels>(channels), .convert = false});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(BitEqual(*loaded, image.Cast(DType::kFloat32)));
  }
  EXPECT_TRUE(SavePng(Tensor(DType::kUint8, {2, 2}), Path("y.png")).ok());
  EXPECT_FAULT(SavePng(Tensor(DType::kUint8, {2, 2}), Path("no/y.png")), StatusCode::kNotFound, Path("no/y.png"));
  EXPECT_THROW((void)SavePng(Tensor(DType::kUint8, {2, 2, 2}), Path("y.png")), Error);
  EXPECT_THROW((void)SavePng(Tensor(DType::kFloat32, {2, 2, 3}), Path("y.png")), Error);
  EXPECT_THROW((void)SavePng(Tensor(DType::kUint8, {0, 2, 3}), Path("y.png")), Error);
  EXPECT_THROW((void)SavePng(Tensor(), Path("y.png")), Error);
}

TEST(ResizeTest, KnownValues) {
  // Enlarging by 2 with half-pixel centres: weights 1/4 and 3/4, edges repeated.
  const Tensor two = Tensor::Of<float>({1, 2, 1}, {0, 100});
  EXPECT_TRUE(BitEqual(Resize(two, 1, 4), Tensor::Of<float>({1, 4, 1}, {0, 25, 75, 100})));
  // Halving: the triangle over 1, 3, 3, 1 eighths, cut and rescaled at the edges (3, 3, 1 sevenths).
  const Tensor four = Tensor::Of<float>({4, 1, 1}, {7, 14, 21, 28});
  const Tensor half = Resize(four, 2, 1);
  EXPECT_NEAR(half.data<float>()[0], (3 * 7 + 3 * 14 + 21) / 7.0, 1e-5);
  EXPECT_NEAR(half.data<float>()[1], (14 + 3 * 21 + 3 * 28) / 7.0, 1e-5);
  EXPECT_TRUE(BitEqual(Resize(four, 4, 1), four));
  EXPECT_EQ(Resize(Tensor::Of<uint8_t>({1, 1, 3}, {1, 2, 3}), 2, 3).at<float>({1, 2, 2}), 3);
}

TEST(ResizeTest, ShrinkingSeesEveryPixelAndKeepsConstants) {
  Tensor checks(DType::kFloat32, {64, 64, 2});
  for (int64_t i = 0; i < 64 * 64; ++i) {
    checks.data<float>()[2 * i] = (i / 64 + i % 64) % 2 == 0 ? 255.0f : 0.0f;
    checks.data<float>()[2 * i + 1] = 9;
  }
  const Tensor small = Resize(checks, 5, 7);
  ASSERT_EQ(small.shape(), (Shape{5, 7, 2}));
  for (int64_t i = 0; i < 35; ++i) {
    EXPECT_NEAR(small.data<float>()[2 * i], 127.5, 6) << "aliasing";
    EXPECT_NEAR(small.data<float>()[2 * i + 1], 9, 1e-4);
  }
  EXPECT_THROW(Resize(checks, 0, 5), Error);
  EXPECT_THROW(Resize(Tensor(DType::kFloat32, {3, 3}), 2, 2), Error);
  EXPECT_THROW(Resize(Tensor(DType::kInt32, {3, 3, 1}), 2, 2), Error);
}

TEST(ColormapTest, EndsAndMiddle) {
  EXPECT_EQ(MapColor(Colormap::kViridis, 0), (Rgb{68, 1, 84}));
  EXPECT_EQ(MapColor(Colormap::kViridis, 255), (Rgb{253, 231, 37}));
  EXPECT_EQ(MapColor(Colormap::kViridis, 128), (Rgb{33, 145, 140}));
  EXPECT_EQ(MapColor(Colormap::kGrey, 77), (Rgb{77, 77, 77}));
  EXPECT_EQ(MapColor(Colormap::kDiverging, 0), (Rgb{45, 0, 75}));
  EXPECT_EQ(MapColor(Colormap::kDiverging, 128), (Rgb{247, 247, 247}));
  EXPECT_EQ(MapColor(Colormap::kDiverging, 255), (Rgb{127, 59, 8}));
  // It grows lighter from end to end.
  const auto lightness = [](const Rgb& c) { return 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]; };
  for (int i = 1; i < 256; ++i) {
    EXPECT_GT(lightness(MapColor(Colormap::kViridis, static_cast<uint8_t>(i))) + 0.7,
              lightness(MapColor(Colormap::kViridis, static_cast<uint8_t>(i - 1))));
  }
}

}  // namespace
}  // namespace weir
