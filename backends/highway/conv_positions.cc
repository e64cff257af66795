#include "weir/backends/highway/conv_positions.h"

#include <memory>
#include <optional>
#include <utility>

#include "weir/backends/highway/conv_filter.h"

namespace weir::highway {
namespace {

constexpr double kTaskFlops = 2e6;            // 20 us at 100 GFLOP/s
constexpr int64_t kTasks = 16;                // enough for eight threads
constexpr int64_t kChunkFloats = 128 * 1024;  // outputs that wait for the epilogue: 512 KiB of the second-level cache

struct PositionsState {
  ConvProblem problem;
  FilterLayout layout;
  const KernelTable* kernels = nullptr;
  std::optional<Epilogue> epilogue;
  int src_input = 0, filter_input = 0;
  int64_t strides[3] = {};                    // floats of the source
  int64_t images_per_task = 1, chunk = 1;     // images; a chunk waits for the epilogue
  int64_t part_panels = 1, parts = 1;         // output channels of a task, in panels
  int64_t list_offset = 0, terms_offset = 0;  // in scratch

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
    const int64_t pixels = problem.dst_pixels(), channels = problem.dst_channels;
    const int64_t flat = image * pixels * channels + column;
    const bool in_place = parts == 1 || epilogue->direct();
    float* dst = epilogue->Buffer(call, in_place ? flat : 0);
    const int64_t pitch = in_place ? channels : columns;
    const float* src = FloatInput(call, src_input) + image * problem.src_pixels() * problem.src_channels;
    const float* filter = layout.packed ? FloatsAt(call.workspace, 0) : FloatInput(call, filter_input);
    int64_t* u_offset = reinterpret_cast<int64_t*>(call.scratch + list_offset);
    int64_t* dst_offset = u_offset + chunk;
    for (int64_t i = 0; i < images; ++i) {
      u_offset[i] = i * problem.src_pixels() * problem.src_channels;
      dst_offset[i] = i * pixels * pitch;
    }
    TermRun* runs = reinterpret_cast<TermRun*>(call.scratch + terms_offset);
    const int64_t panel = parts == 1 ? 0 : column / layout.panel_width;
    for (int64_t position = 0; position < pixels; ++position) {
      const int64_t run_count = ListTerms(position, runs);
      for (int64_t group = 0; group < problem.groups; ++group) {
        kernels->product.row_product({.u = src + group * problem.group_src,
                                      .v = filter + group * layout.group_floats + panel * layout.panel_floats,
                                      .v_step = layout.row_floats,
                                      .panel_stride = layout.panel_floats,
                                      .columns = columns,
                                      .rows = images,
                                      .runs = runs,
                                      .run_count = run_count,
                                      .dst = dst + position * pitch + group * problem.group_dst,
                                      .far = layout.panel_floats * 4 > kFarPanelBytes,
                                      .u_offset = u_offset,
                                      .dst_offset = dst_offset});
      }
    }
    if (parts == 1) {
      epilogue->Finish(call, flat, images * pixels * channels, dst);
    } else {
      for (int64_t i = 0; i < images * pixels; ++i)
        epilogue->Finish(call, flat + i * channels, columns, dst + i * pitch);
    }
  }

  // The terms of a position, neighbours joined where source and filter both go on. Returns how many there are.
  int64_t ListTerms(int64_t position, TermRun* runs) const {
    const ConvAxis* axis = problem.axis;
    const int64_t at[3] = {position / (axis[1].dst * axis[2].dst), position / axis[2].dst % axis[1].dst,
                           position % axis[2].dst};
    int64_t count = 0;
    problem.ForTaps(at, [&](int64_t tap, const int64_t* cell) {
      const int64_t place = problem.transposed ? problem.taps() - 1 - tap : tap;
      const TermRun run{.u = cell[0] * strides[0] + cell[1] * strides[1] + cell[2] * strides[2],
                        .v = place * layout.tap_floats,
                        .length = problem.group_src};
      if (count > 0 && runs[count - 1].u + runs[count - 1].length == run.u &&
          runs[count - 1].v + runs[count - 1].length * layout.row_floats == run.v) {
        runs[count - 1].length += run.length;
      } else {
        runs[count++] = run;
      }
    });
    return count;
  }
};

}  // namespace

Lowering LowerConvByPositions(const LowerContext& context, ConvProblem problem) {
  auto state = std::make_shared<PositionsState>();
  state->problem = std::move(problem);
  const ConvProblem& p = state->problem;
  state->kernels = &context.kernels;
  state->src_input = context.anchor_input(0);
  state->filter_input = context.anchor_input(1);
  state->layout = LayoutFilter(p, context.kernels);
  state->strides[2] = p.src_channels;
  state->strides[1] = p.axis[2].src * state->strides[2];
  state->strides[0] = p.axis[1].src * state->strides[1];
  // Tasks by output channels read the filter once; if that makes too few, images are cut too.
  int64_t pairs = 0;
  for (int64_t position = 0; position < p.dst_pixels(); ++position) {
    const int64_t at[3] = {position / (p.axis[1].dst * p.axis[2].dst), position / p.axis[2].dst % p.axis[1].dst,
                           position % p.axis[2].dst};
    p.ForTaps(at, [&](int64_t, const int64_t*) { ++pairs; });
  }
  const double flops = 2.0 * static_cast<double>(p.batch * p.dst_channels) * static_cast<double>(pairs * p.group_src);
  const int64_t wanted = std::clamp<int64_t>(static_cast<int64_t>(flops / kTaskFlops), 1, kTasks);
  const int64_t panels = p.groups == 1 ? state->layout.panels : 1;
  state->part_panels = CeilDiv(panels, std::min(wanted, panels));
  state->parts = CeilDiv(panels, state->part_panels);
  state->images_per_task = RoundUp(CeilDiv(p.batch, CeilDiv(wanted, state->parts)), context.kernels.product.row_tile);
  state->images_per_task = std::min(state->images_per_task, p.batch);
  const int64_t image = p.dst_pixels() * p.dst_channels / state->parts;
  state->chunk =
      RoundUp(std::max<int64_t>(1, kChunkFloats / std::max<int64_t>(1, image)), context.kernels.product.row_tile);
  state->chunk = std::min(state->chunk, state->images_per_task);
  Arena scratch;
  state->epilogue.emplace(context.program, state->chunk * p.dst_pixels() * p.dst_channels, scratch);
  state->list_offset = scratch.Take(2 * state->chunk * static_cast<int64_t>(sizeof(int64_t)));
  state->terms_offset = scratch.Take(p.taps() * static_cast<int64_t>(sizeof(TermRun)));

  Lowering lowering;
  if (state->layout.packed) {
    lowering.workspace_bytes = state->layout.floats * 4;
    lowering.stages.push_back(PackFilterStage(p, state->layout, context.kernels, state->filter_input));
  }
  const int64_t tasks = CeilDiv(p.batch, state->images_per_task) * state->parts;
  lowering.kernel =
      StrCat("direct by positions, ", context.kernels.product.row_tile, "x", context.kernels.product.panel_vectors,
             state->layout.packed ? ", packed filter" : "", ", ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<PositionsState>(std::move(state), tasks, scratch.bytes()));
  return lowering;
}

}  // namespace weir::highway
