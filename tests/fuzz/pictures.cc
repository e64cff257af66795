#include <algorithm>
#include <cstdint>
#include <string>

#include "weir/frontend/pictures/image.h"
#include "weir/tests/fuzz/scratch.h"
#include "weir/tests/fuzz/targets.h"
#include "weir/tests/png_chunks.h"

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

}  // namespace

bool Png(std::string_view bytes) {
  std::string contents(bytes);
  if (contents.size() >= kPngSignature.size()) std::copy(kPngSignature.begin(), kPngSignature.end(), contents.begin());
  SetPngChecksums(contents);
  return ReadImage(contents);
}

bool Jpeg(std::string_view bytes) {
  constexpr std::string_view kStart("\xff\xd8\xff", 3);
  std::string contents(bytes);
  if (contents.size() >= kStart.size()) std::copy(kStart.begin(), kStart.end(), contents.begin());
  return ReadImage(contents);
}

}  // namespace weir::fuzz
