// The orientation of a picture by libexif.
#include <libexif/exif-data.h>

#include <memory>

#include "weir/frontend/pictures/decode.h"

namespace weir::internal {
namespace {

constexpr int kUpright = 1;
constexpr int kLastOrientation = 8;
// A JPEG's segment holds no more, and the library's sizes are 32-bit.
constexpr size_t kMaxExifBytes = 65535;

}  // namespace

int ExifOrientation(std::string_view exif) {
  if (!exif.starts_with(kExifStart) || exif.size() > kMaxExifBytes) return kUpright;
  const std::unique_ptr<ExifData, decltype(&exif_data_unref)> data(exif_data_new(), &exif_data_unref);
  if (data == nullptr) return kUpright;
  // Entries that the specification asks for are not to be made up.
  exif_data_unset_option(data.get(), EXIF_DATA_OPTION_FOLLOW_SPECIFICATION);
  exif_data_load_data(data.get(), reinterpret_cast<const unsigned char*>(exif.data()),
                      static_cast<unsigned int>(exif.size()));
  const ExifEntry* entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
  if (entry == nullptr || entry->format != EXIF_FORMAT_SHORT || entry->components != 1 || entry->size < 2) {
    return kUpright;
  }
  const int orientation = exif_get_short(entry->data, exif_data_get_byte_order(data.get()));
  return orientation >= kUpright && orientation <= kLastOrientation ? orientation : kUpright;
}

}  // namespace weir::internal
