#include "weir/backends/highway/conv_filter.h"

#include <cstring>
#include <utility>
#include <vector>

namespace weir::highway {
namespace {

constexpr int64_t kPackTaskFloats = 32 * 1024;

// Brings the filter to panels of whole vectors, taps in the order of the sum.
struct PackState {
  ConvProblem problem;
  FilterLayout layout;
  const KernelTable* kernels = nullptr;
  int filter_input = 0;
  std::vector<int64_t> taps;              // that some output meets
  int64_t units = 0, units_per_task = 0;  // a unit: one tap of one panel of one group

  void Run(const KernelCall& call) const {
    const int64_t end = std::min(units, (call.task + 1) * units_per_task);
    for (int64_t unit = call.task * units_per_task; unit < end; ++unit) {
      const int64_t tap = taps[static_cast<size_t>(unit % Taps())], panel = unit / Taps() % layout.panels;
      const int64_t group = unit / Taps() / layout.panels;
      const int64_t position = problem.transposed ? problem.taps() - 1 - tap : tap;
      float* dst = FloatsAt(call.workspace, 0) + group * layout.group_floats + panel * layout.panel_floats +
                   position * layout.tap_floats;
      const float* filter = FloatInput(call, filter_input);
      if (problem.depthwise) {
        PackDepthwise(filter, tap, dst);
      } else {
        PackPanel(filter, tap, panel, group, dst);
      }
    }
  }

  int64_t Taps() const { return static_cast<int64_t>(taps.size()); }

  void PackPanel(const float* filter, int64_t tap, int64_t panel, int64_t group, float* dst) const {
    const int64_t column = panel * layout.panel_width;
    const int64_t width = std::min(layout.panel_width, problem.group_dst - column);
    const int64_t row = layout.row_floats;
    if (width < row) std::memset(dst, 0, static_cast<size_t>(problem.group_src * row) * sizeof(float));
    if (problem.transposed) {
      // Filter [tap][c of group_dst][o of all source channels]: term o is row o, lanes are c.
      const float* src = filter + (tap * problem.group_dst + column) * problem.src_channels + group * problem.group_src;
      kernels->move.transpose(src, problem.src_channels, width, problem.group_src, dst, row);
    } else {
      const float* src = filter + tap * problem.group_src * problem.dst_channels + group * problem.group_dst + column;
      for (int64_t c = 0; c < problem.group_src; ++c) {
        std::memcpy(dst + c * row, src + c * problem.dst_channels, static_cast<size_t>(width) * sizeof(float));
      }
    }
  }

  // Forward: the tap's row of output channels. Input gradient: `multiplier` rows, one number a group each.
  void PackDepthwise(const float* filter, int64_t tap, float* dst) const {
    std::memset(dst, 0, static_cast<size_t>(layout.tap_floats) * sizeof(float));
    const int64_t m = problem.multiplier;
    const float* src = filter + tap * problem.groups * m;
    if (!problem.transposed) {
      std::memcpy(dst, src, static_cast<size_t>(problem.groups * m) * sizeof(float));
      return;
    }
    for (int64_t c = 0; c < problem.groups; ++c) {
      for (int64_t j = 0; j < m; ++j) dst[j * layout.row_floats + c] = src[c * m + j];
    }
  }
};

// Taps that some output meets: inside of the source, if padding is left out.
std::vector<int64_t> UsedTaps(const ConvProblem& problem) {
  std::vector<bool> used[3];
  for (int a = 0; a < 3; ++a) {
    const ConvAxis& axis = problem.axis[a];
    used[a].assign(static_cast<size_t>(axis.window), false);
    for (size_t q = 0; q < axis.base.size(); ++q) {
      for (const AxisTap& tap : axis.taps[static_cast<size_t>(axis.phase[q])]) {
        const int64_t cell = axis.base[q] + tap.delta;
        if (problem.reads_padding || (cell >= 0 && cell < axis.src)) used[a][static_cast<size_t>(tap.tap)] = true;
      }
    }
  }
  std::vector<int64_t> taps;
  for (int64_t tap = 0; tap < problem.taps(); ++tap) {
    const int64_t inner = problem.axis[2].window, outer = problem.axis[1].window * inner;
    if (used[0][static_cast<size_t>(tap / outer)] && used[1][static_cast<size_t>(tap % outer / inner)] &&
        used[2][static_cast<size_t>(tap % inner)]) {
      taps.push_back(tap);
    }
  }
  return taps;
}

}  // namespace

FilterLayout LayoutFilter(const ConvProblem& problem, const KernelTable& kernels) {
  FilterLayout layout;
  const int64_t lanes = kernels.lanes, panel = kernels.product.panel_vectors * lanes, taps = problem.taps();
  if (problem.depthwise) {
    const int64_t rows = problem.transposed ? problem.multiplier : 1;
    layout.row_floats = RoundUp(problem.dst_channels, lanes);
    layout.tap_floats = rows * layout.row_floats;
    layout.packed = problem.transposed || layout.row_floats != problem.dst_channels;
    layout.floats = layout.packed ? taps * layout.tap_floats : 0;
    return layout;
  }
  layout.panel_width = panel;
  layout.panels = CeilDiv(problem.group_dst, panel);
  const bool as_is =
      !problem.transposed && problem.groups == 1 && layout.panels == 1 && problem.dst_channels % lanes == 0;
  layout.packed = !as_is;
  layout.row_floats = as_is ? problem.dst_channels : std::min(panel, RoundUp(problem.group_dst, lanes));
  layout.tap_floats = problem.group_src * layout.row_floats;
  layout.panel_floats = taps * layout.tap_floats;
  layout.group_floats = layout.panels * layout.panel_floats;
  layout.floats = layout.packed ? problem.groups * layout.group_floats : 0;
  return layout;
}

Stage PackFilterStage(const ConvProblem& problem, const FilterLayout& layout, const KernelTable& kernels,
                      int filter_input) {
  auto state = std::make_shared<PackState>();
  state->problem = problem;
  state->layout = layout;
  state->kernels = &kernels;
  state->filter_input = filter_input;
  state->taps = UsedTaps(problem);
  state->units = (problem.depthwise ? 1 : problem.groups * layout.panels) * state->Taps();
  state->units_per_task = std::max<int64_t>(1, kPackTaskFloats / std::max<int64_t>(1, layout.tap_floats));
  const int64_t tasks = CeilDiv(state->units, state->units_per_task);
  return MakeStage<PackState>(std::move(state), tasks, 0);
}

}  // namespace weir::highway
