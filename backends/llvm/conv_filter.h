// How the filter of a convolution lies for its kernels: in place, or packed into panels of whole vectors of output
// channels, taps in the order of the sum, by a stage of its own.
#ifndef WEIR_BACKENDS_LLVM_CONV_FILTER_H_
#define WEIR_BACKENDS_LLVM_CONV_FILTER_H_

#include <cstdint>
#include <string>

#include "weir/backends/llvm/conv_ir.h"
#include "weir/backends/llvm/lowering.h"

namespace weir::jit {

// Where pixels are few, a packed filter is much to share: what one core has just written and another reads, or writes
// again after that, may take longer than the products. Then tasks pack what they need themselves, if that makes at least
// so many, for at most so many pixels.
inline constexpr int64_t kOwnFilterParts = 8, kOwnFilterPixels = 1024;

struct FilterLayout {
  bool packed = false;
  int64_t parts = 1;                // registers of a vector, see TileLimits
  int64_t vectors = 1, panels = 0;  // whole panels of a group's output channels, and their vectors
  int64_t rest = 0;                 // vectors of one more panel
  int64_t group_src = 0, taps = 0, in_place_row = 0;

  int64_t all_panels() const { return panels + (rest > 0 ? 1 : 0); }
  // Floats from one term to the next, from one panel or group to the next.
  int64_t row(int64_t panel_vectors) const { return packed ? panel_vectors * kLanes : in_place_row; }
  int64_t panel_floats() const { return (packed ? taps * group_src : 1) * vectors * kLanes; }
  int64_t group_floats() const { return (packed ? taps * group_src : 1) * (panels * vectors + rest) * kLanes; }
  // Of the whole filter in the workspace, of a panel in whatever memory.
  int64_t workspace_bytes(int64_t groups) const { return packed ? groups * group_floats() * BytesOf(Elem::kF32) : 0; }
  int64_t panel_bytes() const { return taps * group_src * vectors * kLanes * BytesOf(Elem::kF32); }
};
FilterLayout LayoutFilter(const ConvProblem& problem, const TileLimits& limits);

// Packs cluster input `filter` to the begin of the workspace. For a layout that is `packed`.
Stage PackFilterStage(const ConvProblem& problem, const FilterLayout& layout, int filter, std::string name);
// Packs panels [begin, end) of buffer `filter` to the begin of buffer `packed`. The layout has one group and no rest.
void PackFilterPanels(KernelBuilder& b, const ConvProblem& problem, const FilterLayout& layout, int filter, int packed,
                      Val begin, Val end);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CONV_FILTER_H_
