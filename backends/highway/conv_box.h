// Copies of a box of images with zeros where the box leaves the image: what lets convolution kernels read padding like
// anything else.
#ifndef WEIR_BACKENDS_HIGHWAY_CONV_BOX_H_
#define WEIR_BACKENDS_HIGHWAY_CONV_BOX_H_

#include <cstdint>

namespace weir::highway {

// How channels are laid out in the copy.
enum class ChannelLayout : uint8_t {
  kPlain,         // as in the source
  kReplicate,     // each channel `multiplier` times
  kDeinterleave,  // channel c * multiplier + j at j * (pitch / multiplier) + c
};

struct BoxCopy {
  int64_t image[3] = {1, 1, 1};  // sizes of the source image
  int64_t channels = 0;          // of the source
  int64_t low[3] = {};           // coordinates of the box's first cell in the image
  int64_t size[3] = {1, 1, 1};   // cells of the box that are wanted
  int64_t strides[3] = {};       // floats of dst between neighbours along each axis; strides[2] is the channel pitch
  ChannelLayout layout = ChannelLayout::kPlain;
  int64_t multiplier = 1;
};

// One image's box. Channels of the pitch beyond those of the source are zero.
void CopyBox(const BoxCopy& copy, const float* src, float* dst);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_CONV_BOX_H_
