// How a convolution's filter lies for the kernels: panels of whole vectors of output channels, taps in the order of the
// sum. Packed once a run by a stage of its own, unless it lies like that already.
#ifndef WEIR_BACKENDS_HIGHWAY_CONV_FILTER_H_
#define WEIR_BACKENDS_HIGHWAY_CONV_FILTER_H_

#include <cstdint>

#include "weir/backends/highway/conv_engine.h"
#include "weir/backends/highway/lowering.h"

namespace weir::highway {

struct FilterLayout {
  bool packed = false;
  int64_t row_floats = 0;    // floats from one term to the next: v_step
  int64_t tap_floats = 0;    // from one tap to the next
  int64_t panel_floats = 0;  // from one panel of output channels to the next
  int64_t group_floats = 0;
  int64_t panels = 1, panel_width = 0;
  int64_t floats = 0;  // in the workspace
};

FilterLayout LayoutFilter(const ConvProblem& problem, const KernelTable& kernels);

// The stage that packs cluster input `filter_input` to the beginning of the workspace. For a layout that is `packed`.
Stage PackFilterStage(const ConvProblem& problem, const FilterLayout& layout, const KernelTable& kernels,
                      int filter_input);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_CONV_FILTER_H_
