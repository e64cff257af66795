// Convolutions and their input gradients as one affine problem. Along an axis, the outputs that meet the same taps (a
// phase: all of them forward, those of one remainder modulo the stride in an input gradient) are an arithmetic
// progression, and so are the source coordinates and the filter positions that they read: kernels need no lists, only
// loops. lower_conv.cc makes kernels of it.
#ifndef WEIR_BACKENDS_LLVM_CONV_IR_H_
#define WEIR_BACKENDS_LLVM_CONV_IR_H_

#include <cstdint>
#include <vector>

#include "weir/backends/llvm/kernel_ir.h"
#include "weir/ops/conv_geometry.h"

namespace weir::jit {

// Output j of the phase, at coordinate first + j * ConvAxis::step, reads for its tap t the source coordinate
// base + j * ConvAxis::advance + t * delta and the filter position + t * period.
struct AxisPhase {
  int64_t first = 0, count = 0;
  int64_t base = 0, delta = 0;
  int64_t taps = 0;  // 0: the sum is empty
  int64_t position = 0, period = 1;
};
struct ConvAxis {
  int64_t src = 1, dst = 1, window = 1;
  int64_t step = 1, advance = 1;
  int64_t pool = 1;  // outputs of a window of the cluster's tail
  std::vector<AxisPhase> phases;

  // Source coordinates [low, high) that outputs j < count of all phases read; empty if they read none.
  struct Range {
    int64_t low = 0, high = 0;
  };
  Range Reads(int64_t count) const;
  // Taps [low, high) of output j of a phase that lie inside of the source.
  Range Inside(const AxisPhase& phase, int64_t j) const;
  // Whether all taps of all outputs do.
  bool all_inside() const {
    const Range all = Reads(dst);
    return all.low >= 0 && all.high <= src;
  }
  bool pointwise() const { return window == 1 && src == dst && step == 1 && advance == 1 && phases[0].base == 0; }
  int64_t pooled() const { return dst / pool; }
};

struct ConvProblem {
  ConvAxis axis[3];
  int64_t batch = 0, groups = 1;
  int64_t src_channels = 0, dst_channels = 0;
  int64_t group_src = 0, group_dst = 0;  // channels of a group
  // The filter in memory is [tap][dst][src] with taps against the order of the sum: position p is tap taps() - 1 - p.
  bool transposed = false;
  // Lanes of source and filter meet one another: one group of all channels. The source's channel c stands for output
  // channels c * multiplier ... (forward), or its channels c * multiplier ... are summed to output channel c.
  bool depthwise = false;
  int64_t multiplier = 1;
  // Whether sums have terms for taps in padding (canonical_order.h).
  bool reads_padding = true;

  // Floats of a depthwise filter from lane to lane.
  int64_t filter_step() const { return transposed ? multiplier : 1; }
  int64_t taps() const { return axis[0].window * axis[1].window * axis[2].window; }
  int64_t src_pixels() const { return axis[0].src * axis[1].src * axis[2].src; }
  int64_t dst_pixels() const { return axis[0].dst * axis[1].dst * axis[2].dst; }
  size_t classes() const { return axis[0].phases.size() * axis[1].phases.size() * axis[2].phases.size(); }
  double flops() const;
  double inside_flops() const;  // without taps in padding
  // Whether all taps of all outputs lie inside of the source.
  bool all_inside() const { return axis[0].all_inside() && axis[1].all_inside() && axis[2].all_inside(); }
  // Floats of the output from one output of a phase to the next, on a level of the loops over outputs: images, then the
  // three axes.
  int64_t DstStep(int level) const;
  // Outputs of a window of the tail along a level.
  int64_t Pool(int level) const { return level == 0 ? 1 : axis[level - 1].pool; }
};
// Axes of size 1 come first; where all axes are pointwise, images and axes are one long axis. `pool` is of a tail, whose
// windows tile the output.
ConvProblem ForwardProblem(const ConvGeometry& geometry, const ConvGeometry* pool = nullptr);
ConvProblem InputGradientProblem(const ConvGeometry& geometry);

// A loop whose rounds are `src` and `filter` elements apart in the two operands.
struct TermLoop {
  int64_t count = 1, src = 0, filter = 0;
};
// Loops of count 1 dropped, and neighbours that go on from one another in both operands joined.
std::vector<TermLoop> Joined(const std::vector<TermLoop>& loops);

// How steps along an axis are cut into tiles: `large` tiles of `size`, then `small` of `quantum` less.
struct Tiling {
  int64_t size = 1, large = 1, small = 0;
  int64_t quantum = 1;  // all tiles are multiples of it

  int64_t tiles() const { return large + small; }
  // First step of a tile.
  Val Begin(KernelBuilder& b, Val tile) const;
};
// Tiles of at most `most` steps: all of a size that is at least `least` if there is one, else of about equal sizes.
// Multiples of `quantum`, which divides `count` and is at most `most`.
Tiling TilingOf(int64_t count, int64_t least, int64_t most, int64_t quantum = 1);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CONV_IR_H_
