// JPEG by libjpeg. libjpeg reports errors by a callback that may not return; it jumps, so each function that calls
// setjmp holds plain data only, and owners live in its callers.
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs the C library's FILE before it.
#include <jerror.h>
#include <jpeglib.h>

#include <cstring>

#include "weir/frontend/pictures/decode.h"

namespace weir::internal {
namespace {

// Where EXIF data lies.
constexpr int kExifMarker = JPEG_APP0 + 1;
constexpr unsigned kMaxSegmentBytes = 0xffff;

// A progressive file can ask for any number of passes over all of its coefficients; real ones have about ten.
constexpr int kMaxScans = 200;

struct ErrorManager {
  jpeg_error_mgr base;  // first, so that the library's pointer is one to this
  jmp_buf jump;
  bool truncated;
  bool damaged;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void OnError(j_common_ptr common) {
  auto* manager = reinterpret_cast<ErrorManager*>(common->err);
  manager->base.format_message(common, manager->message);
  longjmp(manager->jump, 1);
}

// The library fills a cut or damaged file up with grey and only warns; extra bytes between markers are harmless.
void OnMessage(j_common_ptr common, int level) {
  if (level >= 0) return;
  auto* manager = reinterpret_cast<ErrorManager*>(common->err);
  const int code = manager->base.msg_code;
  if (code == JWRN_JPEG_EOF) manager->truncated = true;
  if (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_MUST_RESYNC ||
      code == JWRN_BOGUS_PROGRESSION) {
    manager->base.format_message(common, manager->message);
    manager->damaged = true;
  }
}

void OnProgress(j_common_ptr common) {
  if (!common->is_decompressor) return;
  if (reinterpret_cast<j_decompress_ptr>(common)->input_scan_number > kMaxScans) {
    auto* manager = reinterpret_cast<ErrorManager*>(common->err);
    std::snprintf(manager->message, sizeof(manager->message), "more than %d scans", kMaxScans);
    longjmp(manager->jump, 1);
  }
}

class Reader {
 public:
  explicit Reader(std::string_view contents) : contents_(contents) {
    std::memset(&jpeg_, 0, sizeof(jpeg_));
    std::memset(&errors_, 0, sizeof(errors_));
    std::memset(&progress_, 0, sizeof(progress_));
    jpeg_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = &OnError;
    errors_.base.emit_message = &OnMessage;
    progress_.progress_monitor = &OnProgress;
  }
  ~Reader() { jpeg_destroy_decompress(&jpeg_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  bool ReadHeader() {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_create_decompress(&jpeg_);
    jpeg_.progress = &progress_;
    jpeg_save_markers(&jpeg_, kExifMarker, kMaxSegmentBytes);
    jpeg_mem_src(&jpeg_, reinterpret_cast<const unsigned char*>(contents_.data()), contents_.size());
    jpeg_read_header(&jpeg_, TRUE);
    return true;
  }

  // `pixels` has height * width * output_components bytes.
  bool ReadRows(uint8_t* pixels) {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_start_decompress(&jpeg_);
    const size_t row_bytes = static_cast<size_t>(jpeg_.output_width) * static_cast<size_t>(jpeg_.output_components);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      JSAMPROW row = pixels + jpeg_.output_scanline * row_bytes;
      jpeg_read_scanlines(&jpeg_, &row, 1);
    }
    if (errors_.truncated && !HasEveryCoefficient()) errors_.damaged = true;
    jpeg_finish_decompress(&jpeg_);
    return !errors_.damaged;
  }

  jpeg_decompress_struct& jpeg() { return jpeg_; }
  bool truncated() const { return errors_.truncated; }

  // Empty if there is none. Gone when the rows have been read.
  std::string_view Exif() const {
    for (jpeg_saved_marker_ptr marker = jpeg_.marker_list; marker != nullptr; marker = marker->next) {
      const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (marker->marker == kExifMarker && data.starts_with(kExifStart)) return data;
    }
    return {};
  }
  absl::Status Fault() const {
    // A marker whose length is beyond the end shows itself as one of these.
    const bool cut =
        errors_.truncated || errors_.base.msg_code == JERR_INPUT_EOF || errors_.base.msg_code == JERR_INPUT_EMPTY;
    if (cut) return absl::DataLossError(StrCat("JPEG is cut short after ", contents_.size(), " bytes"));
    return absl::DataLossError(StrCat("JPEG is damaged: ", errors_.message));
  }

 private:
  // Whether a file whose end came too early, without the decoder lacking a bit, had all of its scans: with one scan of all
  // components it had; a progressive one if every coefficient came to its last bit. Arithmetic decoding and several
  // scans of single components do not show it.
  bool HasEveryCoefficient() const {
    if (jpeg_.arith_code) return false;
    if (!jpeg_.progressive_mode) return jpeg_.comps_in_scan == jpeg_.num_components;
    for (int component = 0; component < jpeg_.num_components; ++component) {
      for (int coefficient = 0; coefficient < DCTSIZE2; ++coefficient) {
        if (jpeg_.coef_bits[component][coefficient] != 0) return false;
      }
    }
    return true;
  }

  std::string_view contents_;
  jpeg_decompress_struct jpeg_;
  ErrorManager errors_;
  jpeg_progress_mgr progress_;
};

// Whether so many pixels can be in the file: Huffman codes take a bit a block of 8 x 8 at least.
absl::Status CheckClaim(const jpeg_decompress_struct& jpeg, size_t file_bytes) {
  const int64_t blocks = ((int64_t{jpeg.image_width} + DCTSIZE - 1) / DCTSIZE) *
                         ((int64_t{jpeg.image_height} + DCTSIZE - 1) / DCTSIZE);
  if (jpeg.arith_code || blocks / 8 <= static_cast<int64_t>(file_bytes)) return absl::OkStatus();
  return absl::DataLossError(StrCat("JPEG claims ", jpeg.image_width, " x ", jpeg.image_height,
                                    " pixels in a file of ", file_bytes, " bytes"));
}

// Red is what cyan and black leave of the light, and so on. Adobe's programs store the light that is left, others the ink.
void CmykToRgb(bool inverted, RawImage& image) {
  const auto light = [inverted](uint8_t stored) { return inverted ? stored : 255 - stored; };
  uint8_t* dst = image.bytes.data();
  for (int64_t i = 0; i < image.height * image.width; ++i) {
    const uint8_t* src = image.bytes.data() + 4 * i;
    const int black = light(src[3]);
    for (int c = 0; c < 3; ++c) *dst++ = static_cast<uint8_t>((light(src[c]) * black + 127) / 255);
  }
  image.channels = 3;
  image.is_cmyk = true;
  image.bytes.resize(static_cast<size_t>(image.height * image.width * 3));
}

}  // namespace

bool IsJpeg(std::string_view contents) { return contents.starts_with("\xff\xd8\xff"); }

absl::StatusOr<RawImage> DecodeJpeg(std::string_view contents, int64_t max_pixels) {
  Reader reader(contents);
  if (!reader.ReadHeader()) return reader.Fault();
  jpeg_decompress_struct& jpeg = reader.jpeg();
  WEIR_RETURN_IF_ERROR(CheckPixels(jpeg.image_height, jpeg.image_width, max_pixels));
  const int stored = jpeg.num_components;
  if (stored != 1 && stored != 3 && stored != 4) {
    return absl::InvalidArgumentError(
        StrCat("JPEG has ", stored, " channels, expected 1 (grey), 3 (colour) or 4 (CMYK)"));
  }
  WEIR_RETURN_IF_ERROR(CheckClaim(jpeg, contents.size()));
  jpeg.out_color_space = stored == 1 ? JCS_GRAYSCALE : stored == 3 ? JCS_RGB : JCS_CMYK;
  RawImage image{.height = jpeg.image_height, .width = jpeg.image_width, .channels = stored};
  image.bytes.resize(static_cast<size_t>(image.height * image.width * stored));
  image.exif = reader.Exif();
  if (!reader.ReadRows(image.bytes.data())) return reader.Fault();
  if (stored == 4) CmykToRgb(jpeg.saw_Adobe_marker, image);
  if (reader.truncated()) image.warning = "JPEG lacks its end marker; all of its pixels are there";
  return image;
}

}  // namespace weir::internal
