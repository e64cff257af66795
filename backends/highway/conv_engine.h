// The convolution engine: convolutions and their input gradients as one thing. Each output position is a row of an
// outer product; the terms of its sum are taps times channels, read from a source image through a list of offsets.
//
// Along an axis, output coordinate q reads source coordinates base[q] + delta of the taps of its phase. A forward
// convolution has one phase; an input gradient has one a remainder modulo the stride, each with its own taps. Where a
// coordinate may lie outside of the source, a copy of the needed box with zeros around it is read instead.
#ifndef WEIR_BACKENDS_HIGHWAY_CONV_ENGINE_H_
#define WEIR_BACKENDS_HIGHWAY_CONV_ENGINE_H_

#include <cstdint>
#include <vector>

#include "weir/backends/highway/conv_box.h"
#include "weir/backends/highway/lowering.h"
#include "weir/ops/conv_geometry.h"

namespace weir::highway {

struct AxisTap {
  int64_t tap = 0;    // index along the filter's axis
  int64_t delta = 0;  // source coordinates from base
};
struct ConvAxis {
  int64_t src = 1, dst = 1;
  std::vector<int> phase;                  // of each output coordinate
  std::vector<int64_t> base;               // of each output coordinate
  std::vector<std::vector<AxisTap>> taps;  // of each phase, in canonical order
  int64_t window = 1;

  int phases() const { return static_cast<int>(taps.size()); }
  // Source coordinates [low, high) that outputs [begin, end) read; empty if they read none.
  struct Range {
    int64_t low = 0, high = 0;
  };
  Range Reads(int64_t begin, int64_t end) const;
};

// What Lower needs to know: one of the three forms below.
struct ConvProblem {
  ConvAxis axis[3];
  int64_t batch = 0;
  int64_t groups = 1;
  int64_t src_channels = 0, dst_channels = 0;
  int64_t group_src = 0, group_dst = 0;  // channels of a group
  bool transposed = false;               // the filter is read as [tap][dst][src], taps backwards
  bool depthwise = false;                // lane c of the source meets lane c of the filter
  ChannelLayout layout = ChannelLayout::kPlain;
  int64_t multiplier = 1;  // depthwise: output channels of a source channel
  bool reads_padding = true;  // whether sums have terms for taps in padding (canonical_order.h)

  int64_t taps() const { return axis[0].window * axis[1].window * axis[2].window; }
  int64_t dst_pixels() const { return axis[0].dst * axis[1].dst * axis[2].dst; }
  int64_t src_pixels() const { return axis[0].src * axis[1].src * axis[2].src; }
};
ConvProblem ForwardProblem(const ConvGeometry& geometry);
ConvProblem InputGradientProblem(const ConvGeometry& geometry);

// Operand 0 of the anchor is the source, operand 1 the filter.
Lowering LowerConvProblem(const LowerContext& context, ConvProblem problem);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_CONV_ENGINE_H_
