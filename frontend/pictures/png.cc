// PNG by libpng. libpng reports errors with longjmp, which must not jump over destructors: each function that calls
// setjmp holds plain data only, and owners live in its callers.
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <span>

#include "weir/frontend/io/file.h"
#include "weir/frontend/pictures/decode.h"
#include "weir/frontend/pictures/image.h"

namespace weir {
namespace internal {
namespace {

constexpr size_t kMessageBytes = 128;
// Deflate packs at most about 1032 bytes into one.
constexpr int64_t kMaxDeflateRatio = 1040;
constexpr png_byte kExifChunk[] = "eXIf";
constexpr png_uint_32 kMaxKeptChunks = 8;

struct Failure {
  bool truncated = false;
  char message[kMessageBytes] = "";
};

struct Source {
  const char* data;
  size_t left;
  Failure failure;
};

[[noreturn]] void OnError(png_structp png, png_const_charp message) {
  auto* failure = static_cast<Failure*>(png_get_error_ptr(png));
  std::snprintf(failure->message, kMessageBytes, "%s", message);
  png_longjmp(png, 1);
}
// Odd chunks and harmless faults of other writers.
void OnWarning(png_structp, png_const_charp) {}

void OnRead(png_structp png, png_bytep destination, size_t count) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (count > source->left) {
    source->failure.truncated = true;
    png_error(png, "the file ends too early");
  }
  std::memcpy(destination, source->data, count);
  source->data += count;
  source->left -= count;
}

struct Header {
  png_uint_32 width, height;
  int color_type, channels, bit_depth;
  size_t row_bytes;
  int passes;
};

class Reader {
 public:
  explicit Reader(std::string_view contents) : source_{contents.data(), contents.size(), {}} {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source_.failure, &OnError, &OnWarning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
  }
  ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  bool ok() const { return info_ != nullptr; }
  const Failure& failure() const { return source_.failure; }

  // Everything before the pixels: sizes as stored in the file. Takes no memory that depends on them.
  bool ReadHeader(Header* header) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, &source_, &OnRead);
    // Larger claims are left to the caller's limit, whose message says more.
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    // Texts, profiles and the like are skipped: read, they take as much memory as they claim to have, or unpack to.
    // Of what is not pixels only what the camera noted is kept, which can be no longer than the file.
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_ALWAYS, kExifChunk, 1);
    png_set_chunk_malloc_max(png_, source_.left);
    png_set_chunk_cache_max(png_, kMaxKeptChunks);
    png_read_info(png_, info_);
    header->color_type = png_get_color_type(png_, info_);
    header->width = png_get_image_width(png_, info_);
    header->height = png_get_image_height(png_, info_);
    header->row_bytes = png_get_rowbytes(png_, info_);
    return true;
  }

  // Has transparency chunks and small depths expanded, indices into a palette to a byte each: sizes as ReadRows gives
  // them. Takes memory for rows.
  bool Expand(Header* header) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    if (header->color_type == PNG_COLOR_TYPE_PALETTE) {
      png_set_packing(png_);
    } else {
      png_set_expand(png_);
    }
    header->passes = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    header->channels = png_get_channels(png_, info_);
    header->bit_depth = png_get_bit_depth(png_, info_);
    header->row_bytes = png_get_rowbytes(png_, info_);
    return true;
  }

  // All rows, and what follows up to the end chunk. `pixels` has height * row_bytes bytes, zero.
  bool ReadRows(const Header* header, uint8_t* pixels) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    for (int pass = 0; pass < header->passes; ++pass) {
      for (png_uint_32 y = 0; y < header->height; ++y) png_read_row(png_, pixels + y * header->row_bytes, nullptr);
    }
    png_read_end(png_, info_);
    return true;
  }

  // Of a picture with a palette: its colours, and the alpha of the first of them (the others are opaque).
  std::span<const png_color> Palette() {
    png_colorp colors = nullptr;
    int count = 0;
    if (png_get_PLTE(png_, info_, &colors, &count) == 0) return {};
    return {colors, static_cast<size_t>(count)};
  }
  std::span<const png_byte> PaletteAlpha() {
    png_bytep alphas = nullptr;
    int count = 0;
    if (png_get_tRNS(png_, info_, &alphas, &count, nullptr) == 0 || alphas == nullptr) return {};
    return {alphas, static_cast<size_t>(count)};
  }

  // After ReadRows, since the chunk may follow the pixels.
  std::string_view Exif() {
    png_unknown_chunkp chunks = nullptr;
    const int count = png_get_unknown_chunks(png_, info_, &chunks);
    for (int i = 0; i < count; ++i) {
      if (std::memcmp(chunks[i].name, kExifChunk, sizeof(kExifChunk)) == 0) {
        return {reinterpret_cast<const char*>(chunks[i].data), chunks[i].size};
      }
    }
    return {};
  }

 private:
  Source source_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

absl::Status ReadFault(const Failure& failure, size_t size) {
  if (failure.truncated) return absl::DataLossError(StrCat("PNG is cut short after ", size, " bytes"));
  return absl::DataLossError(StrCat("PNG is damaged: ", failure.message));
}

// Replaces indices by the palette's colours. libpng would give black for an index that has none.
absl::Status ApplyPalette(std::span<const png_color> palette, std::span<const png_byte> alphas, RawImage& image) {
  const bool has_alpha = !alphas.empty();
  const int channels = has_alpha ? 4 : 3;
  std::vector<uint8_t> pixels;
  pixels.reserve(image.bytes.size() * static_cast<size_t>(channels));
  for (size_t i = 0; i < image.bytes.size(); ++i) {
    const size_t index = image.bytes[i];
    if (index >= palette.size()) {
      const auto at = static_cast<int64_t>(i);
      return absl::DataLossError(StrCat("PNG is damaged: pixel (row ", at / image.width, ", column ", at % image.width,
                                        ") has palette index ", index, ", the palette has ", palette.size(),
                                        " colours"));
    }
    const png_color& colour = palette[index];
    pixels.insert(pixels.end(), {colour.red, colour.green, colour.blue});
    if (has_alpha) pixels.push_back(index < alphas.size() ? alphas[index] : 255);
  }
  image.bytes = std::move(pixels);
  image.channels = channels;
  return absl::OkStatus();
}

struct Sink {
  Failure failure;
  std::string* contents;
};

void OnWrite(png_structp png, png_bytep data, size_t count) {
  auto* sink = static_cast<Sink*>(png_get_io_ptr(png));
  bool failed = false;
  try {
    sink->contents->append(reinterpret_cast<const char*>(data), count);
  } catch (const std::exception&) {
    failed = true;
  }
  if (failed) png_error(png, "no memory");
}
void OnFlush(png_structp) {}

class Writer {
 public:
  explicit Writer(std::string* contents) : sink_{{}, contents} {
    png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, &sink_.failure, &OnError, &OnWarning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
  }
  ~Writer() { png_destroy_write_struct(&png_, &info_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  bool ok() const { return info_ != nullptr; }
  const Failure& failure() const { return sink_.failure; }

  bool Write(const uint8_t* pixels, png_uint_32 height, png_uint_32 width, int channels) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_write_fn(png_, &sink_, &OnWrite, &OnFlush);
    const int color = channels == 1   ? PNG_COLOR_TYPE_GRAY
                      : channels == 3 ? PNG_COLOR_TYPE_RGB
                                      : PNG_COLOR_TYPE_RGB_ALPHA;
    png_set_IHDR(png_, info_, width, height, 8, color, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png_, info_);
    for (png_uint_32 y = 0; y < height; ++y) {
      png_write_row(png_, pixels + static_cast<size_t>(y) * width * static_cast<size_t>(channels));
    }
    png_write_end(png_, nullptr);
    return true;
  }

 private:
  Sink sink_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

}  // namespace

bool IsPng(std::string_view contents) { return contents.starts_with(std::string_view("\x89PNG\r\n\x1a\n", 8)); }

absl::StatusOr<RawImage> DecodePng(std::string_view contents, int64_t max_pixels) {
  Reader reader(contents);
  if (!reader.ok()) return absl::ResourceExhaustedError("no memory to read a PNG");
  Header header{};
  if (!reader.ReadHeader(&header)) return ReadFault(reader.failure(), contents.size());
  WEIR_RETURN_IF_ERROR(CheckPixels(header.height, header.width, max_pixels));
  if (static_cast<int64_t>(header.row_bytes) * header.height / kMaxDeflateRatio >
      static_cast<int64_t>(contents.size())) {
    return absl::DataLossError(
        StrCat("PNG claims ", header.width, " x ", header.height, " pixels in a file of ", contents.size(), " bytes"));
  }
  if (!reader.Expand(&header)) return ReadFault(reader.failure(), contents.size());
  RawImage image{.height = header.height,
                 .width = header.width,
                 .channels = header.channels,
                 .bytes_per_sample = header.bit_depth == 16 ? 2 : 1,
                 .bytes = std::vector<uint8_t>(header.row_bytes * header.height)};
  if (!reader.ReadRows(&header, image.bytes.data())) return ReadFault(reader.failure(), contents.size());
  if (header.color_type == PNG_COLOR_TYPE_PALETTE) {
    WEIR_RETURN_IF_ERROR(ApplyPalette(reader.Palette(), reader.PaletteAlpha(), image));
  }
  if (const std::string_view exif = reader.Exif(); !exif.empty()) image.exif = StrCat(kExifStart, exif);
  return image;
}

}  // namespace internal

absl::Status SavePng(const Tensor& image, const std::string& path) {
  const int rank = image.shape().rank();
  const int64_t channels = rank == 3 ? image.shape()[2] : 1;
  if (!image.defined() || image.dtype() != DType::kUint8 || (rank != 2 && rank != 3) ||
      (channels != 1 && channels != 3 && channels != 4) || image.size() == 0 || image.shape()[0] > PNG_UINT_31_MAX ||
      image.shape()[1] > PNG_UINT_31_MAX) {
    ThrowInvalidArgument("SavePng: picture is ", image.type(), ", expected u8[height,width,1|3|4] (", path, ")");
  }
  std::string contents;
  {
    internal::Writer writer(&contents);
    if (!writer.ok()) return absl::ResourceExhaustedError(StrCat(path, ": no memory to write a PNG"));
    if (!writer.Write(image.data<uint8_t>().data(), static_cast<png_uint_32>(image.shape()[0]),
                      static_cast<png_uint_32>(image.shape()[1]), static_cast<int>(channels))) {
      return absl::InternalError(StrCat(path, ": PNG not written: ", writer.failure().message));
    }
  }
  return WriteFileAtomically(path, contents);
}

}  // namespace weir
