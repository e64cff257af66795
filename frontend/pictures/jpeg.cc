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
  if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_MUST_RESYNC ||
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
    jpeg_finish_decompress(&jpeg_);
    return !errors_.damaged;
  }

  jpeg_decompress_struct& jpeg() { return jpeg_; }
  absl::Status Fault() const {
    // A marker whose length is beyond the end shows itself as one of these.
    const bool cut =
        errors_.truncated || errors_.base.msg_code == JERR_INPUT_EOF || errors_.base.msg_code == JERR_INPUT_EMPTY;
    if (cut) return absl::DataLossError(StrCat("JPEG is cut short after ", contents_.size(), " bytes"));
    return absl::DataLossError(StrCat("JPEG is damaged: ", errors_.message));
  }

 private:
  std::string_view contents_;
  jpeg_decompress_struct jpeg_;
  ErrorManager errors_;
  jpeg_progress_mgr progress_;
};

}  // namespace

bool IsJpeg(std::string_view contents) { return contents.starts_with("\xff\xd8\xff"); }

absl::StatusOr<RawImage> DecodeJpeg(std::string_view contents, int64_t max_pixels) {
  Reader reader(contents);
  if (!reader.ReadHeader()) return reader.Fault();
  jpeg_decompress_struct& jpeg = reader.jpeg();
  WEIR_RETURN_IF_ERROR(CheckPixels(jpeg.image_height, jpeg.image_width, max_pixels));
  if (jpeg.num_components != 1 && jpeg.num_components != 3) {
    return absl::InvalidArgumentError(StrCat("JPEG has ", jpeg.num_components, " channels",
                                             jpeg.num_components == 4 ? " (CMYK)" : "",
                                             ", expected 1 (grey) or 3 (colour)"));
  }
  jpeg.out_color_space = jpeg.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  RawImage image{jpeg.image_height, jpeg.image_width, jpeg.num_components, 1, {}};
  image.bytes.resize(static_cast<size_t>(image.height * image.width * image.channels));
  if (!reader.ReadRows(image.bytes.data())) return reader.Fault();
  return image;
}

}  // namespace weir::internal
