#include "weir/backends/highway/conv_by_taps.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "weir/backends/highway/conv_filter.h"

namespace weir::highway {
namespace {

constexpr double kTaskFlops = 2e6;           // 20 us at 100 GFLOP/s
constexpr int64_t kTasks = 16;               // enough for eight threads
constexpr int64_t kChunkFloats = 64 * 1024;  // sums at a time: 256 KiB of the second-level cache

// An output coordinate along an axis and the source coordinate that it meets through some tap.
struct Meeting {
  int64_t dst = 0, src = 0;
};
using Meetings = std::vector<Meeting>;

struct TapsState {
  ConvProblem problem;
  FilterLayout layout;
  const KernelTable* kernels = nullptr;
  std::optional<Epilogue> epilogue;
  int src_input = 0, filter_input = 0;
  std::vector<Meetings> meetings[3];       // of each tap along each axis
  int64_t images_per_task = 1, chunk = 1;  // images; a chunk's sums wait for the epilogue
  int64_t part_panels = 1, parts = 1;      // output channels of a task, in panels
  int64_t list_offset = 0;                 // in scratch

  void Run(const KernelCall& call) const {
    const int64_t part = call.task % parts, begin = call.task / parts * images_per_task;
    const int64_t end = std::min(problem.batch, begin + images_per_task);
    const int64_t column = part * part_panels * layout.panel_width;
    const int64_t columns =
        parts == 1 ? problem.group_dst : std::min(part_panels * layout.panel_width, problem.group_dst - column);
    for (int64_t image = begin; image < end; image += chunk) {
      RunImages(call, image, std::min(chunk, end - image), column, columns);
    }
  }

  // Output channels [column, column + columns) of some images; of each group, if all are.
  void RunImages(const KernelCall& call, int64_t image, int64_t images, int64_t column, int64_t columns) const {
    const int64_t rows = images * problem.dst_pixels(), channels = problem.dst_channels;
    const int64_t flat = image * problem.dst_pixels() * channels + column;
    const int64_t width = parts == 1 ? channels : columns;  // of a pixel
    const bool in_place = parts == 1 || epilogue->direct();
    float* dst = epilogue->Buffer(call, in_place ? flat : 0);
    const int64_t pitch = in_place ? channels : columns;
    for (int64_t i = 0; i < rows; ++i) std::fill_n(dst + i * pitch, width, 0.0f);
    const float* src = FloatInput(call, src_input) + image * problem.src_pixels() * problem.src_channels;
    for (int64_t place = 0; place < problem.taps(); ++place) {
      const int64_t tap = problem.transposed ? problem.taps() - 1 - place : place;
      AddTap(call, tap, place, images, src, dst, pitch, column, columns);
    }
    if (parts == 1) {
      epilogue->Finish(call, flat, rows * channels, dst);
    } else {
      for (int64_t i = 0; i < rows; ++i) epilogue->Finish(call, flat + i * channels, columns, dst + i * pitch);
    }
  }

  // Adds a tap's terms to the sums that have some; it is number `place` in their order.
  void AddTap(const KernelCall& call, int64_t tap, int64_t place, int64_t images, const float* src, float* dst,
              int64_t pitch, int64_t column, int64_t columns) const {
    const ConvAxis* axis = problem.axis;
    const Meetings& met0 = meetings[0][static_cast<size_t>(tap / (axis[1].window * axis[2].window))];
    const Meetings& met1 = meetings[1][static_cast<size_t>(tap / axis[2].window % axis[1].window)];
    const Meetings& met2 = meetings[2][static_cast<size_t>(tap % axis[2].window)];
    int64_t* u_offset = reinterpret_cast<int64_t*>(call.scratch + list_offset);
    int64_t* dst_offset = u_offset + chunk * problem.dst_pixels();
    int64_t rows = 0;
    for (int64_t i = 0; i < images; ++i) {
      for (const Meeting& a : met0) {
        for (const Meeting& b : met1) {
          const int64_t src_row = ((i * axis[0].src + a.src) * axis[1].src + b.src) * axis[2].src;
          const int64_t dst_row = ((i * axis[0].dst + a.dst) * axis[1].dst + b.dst) * axis[2].dst;
          for (const Meeting& c : met2) {
            u_offset[rows] = (src_row + c.src) * problem.src_channels;
            dst_offset[rows++] = (dst_row + c.dst) * pitch;
          }
        }
      }
    }
    if (rows == 0) return;
    const TermRun run{.u = 0, .v = place * layout.tap_floats, .length = problem.group_src};
    const float* filter = layout.packed ? FloatsAt(call.workspace, 0) : FloatInput(call, filter_input);
    const int64_t panel = parts == 1 ? 0 : column / layout.panel_width;
    for (int64_t group = 0; group < problem.groups; ++group) {
      kernels->product.row_product({.u = src + group * problem.group_src,
                                    .v = filter + group * layout.group_floats + panel * layout.panel_floats,
                                    .v_step = layout.row_floats,
                                    .panel_stride = layout.panel_floats,
                                    .columns = columns,
                                    .rows = rows,
                                    .runs = &run,
                                    .run_count = 1,
                                    .dst = dst + group * problem.group_dst,
                                    .accumulate = Accumulate::kContinue,
                                    .far = layout.tap_floats * 4 > kFarPanelBytes,
                                    .u_offset = u_offset,
                                    .dst_offset = dst_offset});
    }
  }
};

std::vector<Meetings> MeetingsOf(const ConvAxis& axis) {
  std::vector<Meetings> meetings(static_cast<size_t>(axis.window));
  for (int64_t q = 0; q < axis.dst; ++q) {
    const size_t at = static_cast<size_t>(q);
    for (const AxisTap& tap : axis.taps[static_cast<size_t>(axis.phase[at])]) {
      const int64_t src = axis.base[at] + tap.delta;
      if (src >= 0 && src < axis.src) meetings[static_cast<size_t>(tap.tap)].push_back({q, src});
    }
  }
  return meetings;
}

}  // namespace

Lowering LowerConvByTaps(const LowerContext& context, ConvProblem problem) {
  auto state = std::make_shared<TapsState>();
  state->problem = std::move(problem);
  const ConvProblem& p = state->problem;
  state->kernels = &context.kernels;
  state->src_input = context.anchor_input(0);
  state->filter_input = context.anchor_input(1);
  state->layout = LayoutFilter(p, context.kernels);
  double flops = 2.0 * static_cast<double>(p.batch * p.dst_channels) * static_cast<double>(p.group_src);
  for (int a = 0; a < 3; ++a) {
    state->meetings[a] = MeetingsOf(p.axis[a]);
    size_t pairs = 0;
    for (const Meetings& met : state->meetings[a]) pairs += met.size();
    flops *= static_cast<double>(pairs);
  }
  // Tasks by output channels read the filter once; if that makes too few, images are cut too.
  const int64_t wanted = std::clamp<int64_t>(static_cast<int64_t>(flops / kTaskFlops), 1, kTasks);
  const int64_t panels = p.groups == 1 ? state->layout.panels : 1;
  state->part_panels = CeilDiv(panels, std::min(wanted, panels));
  state->parts = CeilDiv(panels, state->part_panels);
  state->images_per_task = CeilDiv(p.batch, CeilDiv(wanted, state->parts));
  const int64_t image = std::max<int64_t>(1, p.dst_pixels() * p.dst_channels / state->parts);
  state->chunk = std::clamp<int64_t>(kChunkFloats / image, 1, state->images_per_task);
  Arena scratch;
  state->epilogue.emplace(context.program, state->chunk * p.dst_pixels() * p.dst_channels, scratch);
  state->list_offset = scratch.Take(2 * state->chunk * p.dst_pixels() * static_cast<int64_t>(sizeof(int64_t)));

  Lowering lowering;
  if (state->layout.packed) {
    lowering.workspace_bytes = state->layout.floats * 4;
    lowering.prepared_input = state->filter_input;
    lowering.stages.push_back(PackFilterStage(p, state->layout, context.kernels, state->filter_input));
  }
  const int64_t tasks = CeilDiv(p.batch, state->images_per_task) * state->parts;
  lowering.kernel =
      StrCat("direct by taps, ", context.kernels.product.row_tile, "x", context.kernels.product.panel_vectors,
             state->layout.packed ? ", packed filter" : "", ", ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<TapsState>(std::move(state), tasks, scratch.bytes()));
  return lowering;
}

}  // namespace weir::highway
