// Convolutions of small images by positions: all images at one output position meet the same taps, so that they are the
// rows of a matrix product, whose terms are the channels of the taps inside of the source. Nothing is padded or copied,
// and a panel of the filter is packed by the task that goes through all positions and images with it. Decided from
// shapes, and tiles from the processor's registers too; lower_conv_positions.cc makes kernels of it.
#ifndef WEIR_BACKENDS_LLVM_POSITIONS_PLAN_H_
#define WEIR_BACKENDS_LLVM_POSITIONS_PLAN_H_

#include <cstdint>

#include "weir/backends/llvm/conv_ir.h"
#include "weir/backends/llvm/lowering.h"

namespace weir::jit {

struct PositionsPlan {
  // `wide`: the epilogue wants whole blocks of random numbers.
  PositionsPlan(const ConvProblem& problem, const TileLimits& limits, bool wide);

  int64_t width() const { return vectors * kLanes; }
  int64_t used_taps() const { return used[0].size() * used[1].size() * used[2].size(); }
  // Of a packed panel; blocks of a transposition are written whole.
  int64_t panel_floats() const { return used_taps() * group_src * width() + (kLanes - 1) * width(); }
  int64_t tasks() const { return parts * blocks; }

  // Filter positions along an axis that some output meets.
  struct Used {
    int64_t begin = 0, end = 0;
    int64_t size() const { return end - begin; }
  };
  Used used[3];
  int64_t group_src = 0;
  int64_t vectors = 1, panels = 1;  // of a group's output channels
  int64_t parts_of_vector = 1;      // registers, see TileLimits
  bool packed = true;               // else the filter is read in place
  Tiling images;                    // tiles of images
  int64_t items = 0;                // a tile of images at a position; positions of a tile follow one another
  // A task: some panels of some group, for some items.
  int64_t units = 0, part = 1, parts = 1;  // panels of all groups, of a task
  int64_t block = 1, blocks = 1;           // items of a task
};

// Whether the problem is to be computed this way: it has to be if padding is left out, and may be where no output reads
// any, which pays for steps over small images with one tap.
bool GoesByPositions(const ConvProblem& problem);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_POSITIONS_PLAN_H_
