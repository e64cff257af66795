#include <algorithm>
#include <cstdint>

#include "weir/frontend/pictures/image.h"
#include "weir/tests/fuzz/scratch.h"
#include "weir/tests/fuzz/targets.h"

namespace weir::fuzz {
namespace {

// A picture of so many pixels takes no time worth mentioning.
constexpr int64_t kMaxPixels = 1 << 14;

bool ReadImage(std::string_view bytes) {
  static const Scratch scratch;
  const std::string path = scratch.Write("x", bytes);
  bool accepted = false;
  for (const Channels channels : {Channels::kGrey, Channels::kRgba}) {
    const absl::StatusOr<Tensor> image = LoadImage(path, {.channels = channels, .max_pixels = kMaxPixels});
    if (!image.ok()) continue;
    accepted = true;
    Require(image->shape().rank() == 3 && image->shape()[2] == static_cast<int64_t>(channels), "channels are as asked");
    Require(image->shape()[0] * image->shape()[1] <= kMaxPixels, "a picture keeps to max_pixels");
    for (const float value : image->data<float>()) Require(value >= 0 && value <= 255, "samples are in 0..255");
  }
  return accepted;
}

uint32_t Crc(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

}  // namespace

bool Png(std::string_view bytes) {
  constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);
  std::string contents(bytes);
  if (contents.size() >= kSignature.size()) std::copy(kSignature.begin(), kSignature.end(), contents.begin());
  // A chunk is its length, its type, its data and a checksum of both.
  for (size_t at = kSignature.size(); at + 12 <= contents.size();) {
    size_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(contents[at + i]);
    if (length > contents.size() - at - 12) break;
    const uint32_t crc = Crc(std::string_view(contents).substr(at + 4, length + 4));
    for (size_t i = 0; i < 4; ++i) contents[at + 8 + length + i] = static_cast<char>(crc >> (24 - 8 * i));
    at += length + 12;
  }
  return ReadImage(contents);
}

bool Jpeg(std::string_view bytes) {
  constexpr std::string_view kStart("\xff\xd8\xff", 3);
  std::string contents(bytes);
  if (contents.size() >= kStart.size()) std::copy(kStart.begin(), kStart.end(), contents.begin());
  return ReadImage(contents);
}

}  // namespace weir::fuzz
