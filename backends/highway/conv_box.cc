#include "weir/backends/highway/conv_box.h"

#include <algorithm>
#include <cstring>

namespace weir::highway {
namespace {

void Zero(float* dst, int64_t count) {
  if (count > 0) std::memset(dst, 0, static_cast<size_t>(count) * sizeof(float));
}

// One cell whose channels don't lie as in the source.
void CopyCell(const BoxCopy& copy, const float* src, float* dst) {
  const int64_t pitch = copy.strides[2], m = copy.multiplier;
  switch (copy.layout) {
    case ChannelLayout::kPlain:
      std::memcpy(dst, src, static_cast<size_t>(copy.channels) * sizeof(float));
      Zero(dst + copy.channels, pitch - copy.channels);
      break;
    case ChannelLayout::kReplicate:
      for (int64_t c = 0; c < copy.channels; ++c) std::fill_n(dst + c * m, m, src[c]);
      Zero(dst + copy.channels * m, pitch - copy.channels * m);
      break;
    case ChannelLayout::kDeinterleave: {
      const int64_t lanes = copy.channels / m, part = pitch / m;
      for (int64_t j = 0; j < m; ++j) {
        for (int64_t c = 0; c < lanes; ++c) dst[j * part + c] = src[c * m + j];
        Zero(dst + j * part + lanes, part - lanes);
      }
      break;
    }
  }
}

}  // namespace

void CopyBox(const BoxCopy& copy, const float* src, float* dst) {
  const int64_t pitch = copy.strides[2], width = copy.size[2];
  // Cells [begin, end) of a row lie inside the image.
  const int64_t begin = std::clamp<int64_t>(-copy.low[2], 0, width);
  const int64_t end = std::clamp<int64_t>(copy.image[2] - copy.low[2], begin, width);
  const bool whole = copy.layout == ChannelLayout::kPlain && pitch == copy.channels;
  for (int64_t a = 0; a < copy.size[0]; ++a) {
    const int64_t x0 = copy.low[0] + a;
    for (int64_t b = 0; b < copy.size[1]; ++b) {
      const int64_t x1 = copy.low[1] + b;
      float* row = dst + a * copy.strides[0] + b * copy.strides[1];
      if (x0 < 0 || x0 >= copy.image[0] || x1 < 0 || x1 >= copy.image[1]) {
        Zero(row, width * pitch);
        continue;
      }
      const float* from = src + ((x0 * copy.image[1] + x1) * copy.image[2] + copy.low[2]) * copy.channels;
      Zero(row, begin * pitch);
      if (whole) {
        std::memcpy(row + begin * pitch, from + begin * pitch,
                    static_cast<size_t>((end - begin) * pitch) * sizeof(float));
      } else {
        for (int64_t c = begin; c < end; ++c) CopyCell(copy, from + c * copy.channels, row + c * pitch);
      }
      Zero(row + end * pitch, (width - end) * pitch);
    }
  }
}

}  // namespace weir::highway
