// Lowering and running a ConvProblem: split into tasks, copies with padding, packed filters, tiles, epilogue.
#include "weir/backends/highway/conv_engine.h"

#include <limits>
#include <optional>

#include "weir/backends/highway/conv_by_taps.h"
#include "weir/backends/highway/conv_filter.h"
#include "weir/backends/highway/winograd.h"

namespace weir::highway {
namespace {

// ---- Sizes that decide the blocking -------------------------------------------------------------
constexpr double kTaskFlops = 4e6;            // 20 us at 200 GFLOP/s
constexpr int64_t kImageTasks = 16;           // fewer images than this are cut
constexpr int64_t kChunkFloats = 4096;        // outputs that wait for the epilogue: 16 KiB, half a first-level cache
constexpr int64_t kLargeFilter = 192 * 1024;  // bytes; larger ones come from the second-level cache or beyond each
constexpr int64_t kChunkOfLarge = 192;        // time, so that more pixels have to share them
constexpr int64_t kHugeFilter = 768 * 1024;   // bytes; larger ones are shared out among tasks
constexpr int64_t kMaxChunk = 512;
constexpr int64_t kFewPixels = 96;  // images smaller than this are copied and tiled several at a time

// Outputs [begin, end) along each axis of `images` images from `image` on: contiguous in the output.
struct Region {
  int64_t image = 0, images = 0;
  int64_t begin[3] = {}, end[3] = {};

  int64_t pixels() const { return images * (end[0] - begin[0]) * (end[1] - begin[1]) * (end[2] - begin[2]); }
};

struct RunState {
  ConvProblem problem;
  FilterLayout layout;
  const KernelTable* kernels = nullptr;
  std::optional<Epilogue> epilogue;
  int src_input = 0, filter_input = 0;
  // Tasks: whole images, or blocks of one axis of one image.
  int64_t images_per_task = 1, images_per_copy = 1;
  int split_axis = -1;
  int64_t split = 0, blocks = 1;
  int64_t panel_parts = 1, part_panels = 1;  // output channels, in panels
  // The source as kernels see it: a copy in scratch, or the operand itself.
  bool copy = false;
  int64_t box[3] = {};  // the largest copy
  int64_t strides[3] = {};
  int64_t image_floats = 0;
  std::vector<std::vector<TermRun>> classes;  // terms of each combination of phases
  int64_t chunk = 0;
  bool by_rows = false;                     // the copy is made row by row of axis 1, just before it is needed
  std::vector<int64_t> read_high;           // of each coordinate of axis 1: source rows below this are read up to here
  int64_t box_offset = 0, list_offset = 0;  // in scratch

  Region RegionOf(int64_t task) const {
    Region region;
    for (int a = 0; a < 3; ++a) region.end[a] = problem.axis[a].dst;
    if (split_axis < 0) {
      region.image = task * images_per_task;
      region.images = std::min(images_per_task, problem.batch - region.image);
    } else {
      region.image = task / blocks;
      region.images = 1;
      region.begin[split_axis] = task % blocks * split;
      region.end[split_axis] = std::min(region.end[split_axis], region.begin[split_axis] + split);
    }
    return region;
  }

  void Run(const KernelCall& call) const {
    const Region task = RegionOf(call.task / panel_parts);
    for (int64_t done = 0; done < task.images; done += images_per_copy) {
      Region region = task;
      region.image += done;
      region.images = std::min(images_per_copy, task.images - done);
      RunImages(call, region);
    }
  }

  // What of the source is in the copy: for one image, rows of axis 1 up to `copied`.
  struct Source {
    BoxCopy box;
    const float* image = nullptr;  // the operand's first image of the region
    float* copy = nullptr;
    const float* floats = nullptr;  // what kernels read: of the coordinates `low`
    int64_t low[3] = {};
    int64_t copied = 0;
  };

  void RunImages(const KernelCall& call, const Region& region) const {
    Source source = OpenSource(call, region);
    const int64_t part = call.task % panel_parts, column = part * part_panels * layout.panel_width;
    const int64_t columns =
        panel_parts == 1 ? problem.group_dst : std::min(part_panels * layout.panel_width, problem.group_dst - column);
    // The region's first pixel in the output.
    int64_t first = region.image;
    for (int a = 0; a < 3; ++a) first = first * problem.axis[a].dst + region.begin[a];
    const int64_t pixels = region.pixels();
    for (int64_t begin = 0; begin < pixels; begin += chunk) {
      Chunk work{.begin = begin, .count = std::min(chunk, pixels - begin), .column = column, .columns = columns};
      if (by_rows) CopyRows(region, source, work, pixels);
      const int64_t flat = (first + begin) * problem.dst_channels + column;
      if (panel_parts == 1) work.written = epilogue->Written(call, flat);
      if (panel_parts == 1 || epilogue->direct()) {
        work.dst = epilogue->Buffer(call, flat);
        work.pitch = problem.dst_channels;
      } else {
        work.dst = epilogue->Buffer(call, 0);
        work.pitch = columns;
      }
      RunChunk(call, region, source, work);
      if (panel_parts == 1) {
        epilogue->Finish(call, flat, work.count * problem.dst_channels, work.dst);
      } else {
        for (int64_t i = 0; i < work.count; ++i) {
          epilogue->Finish(call, flat + i * problem.dst_channels, columns, work.dst + i * work.pitch);
        }
      }
    }
  }

  Source OpenSource(const KernelCall& call, const Region& region) const {
    Source source;
    source.image = FloatInput(call, src_input) + region.image * problem.src_pixels() * problem.src_channels;
    source.floats = source.image;
    if (!copy) return source;
    source.copy = FloatsAt(call.scratch, box_offset);
    source.floats = source.copy;
    source.box = {.channels = problem.src_channels, .layout = problem.layout, .multiplier = problem.multiplier};
    for (int a = 0; a < 3; ++a) {
      const ConvAxis::Range range = problem.axis[a].Reads(region.begin[a], region.end[a]);
      source.low[a] = range.low;
      source.box.image[a] = problem.axis[a].src;
      source.box.low[a] = range.low;
      source.box.size[a] = range.high - range.low;
      source.box.strides[a] = strides[a];
    }
    if (by_rows) return source;
    for (int64_t i = 0; i < region.images; ++i) {
      CopyBox(source.box, source.image + i * problem.src_pixels() * problem.src_channels,
              source.copy + i * image_floats);
    }
    return source;
  }

  // Pixels [begin, begin + count) of a region, output channels [column, column + columns).
  struct Chunk {
    int64_t begin = 0, count = 0, column = 0, columns = 0;
    float* dst = nullptr;
    int64_t pitch = 0;
    // Memory to fetch by the way: the source rows that the next chunk copies, and what the epilogue will write.
    const float* next_rows = nullptr;
    int64_t next_floats = 0;
    const float* written = nullptr;
  };

  // Copies the source rows that a chunk reads and no earlier one did.
  void CopyRows(const Region& region, Source& source, Chunk& work, int64_t pixels) const {
    const int64_t width = region.end[2] - region.begin[2];
    const auto needed = [&](int64_t pixel) {
      return read_high[static_cast<size_t>(region.begin[1] + pixel / width)] - source.low[1];
    };
    const int64_t high = needed(work.begin + work.count - 1);
    if (high > source.copied) {
      BoxCopy rows = source.box;
      rows.low[1] += source.copied;
      rows.size[1] = high - source.copied;
      CopyBox(rows, source.image, source.copy + source.copied * strides[1]);
      source.copied = high;
    }
    const int64_t end = work.begin + work.count;
    if (end == pixels) return;
    const int64_t next = needed(std::min(pixels, end + chunk) - 1),
                  src_row = problem.axis[2].src * problem.src_channels;
    const int64_t from = std::clamp<int64_t>(source.low[1] + high, 0, problem.axis[1].src);
    const int64_t to = std::clamp<int64_t>(source.low[1] + next, from, problem.axis[1].src);
    work.next_rows = source.image + from * src_row;
    work.next_floats = (to - from) * src_row;
  }

  void RunChunk(const KernelCall& call, const Region& region, const Source& source, const Chunk& work) const {
    int64_t* u_offset = reinterpret_cast<int64_t*>(call.scratch + list_offset);
    int64_t* dst_offset = u_offset + chunk;
    ListPixels(region, source.low, work.begin, work.count, u_offset);
    for (int64_t i = 0; i < work.count; ++i) dst_offset[i] = i * work.pitch;
    if (classes.size() == 1) {
      MultiplyFetching(call, source.floats, u_offset, dst_offset, work);
      return;
    }
    // Pixels of one combination of phases after the other.
    int64_t* of_class = dst_offset + chunk;
    int64_t* u_list = of_class + chunk;
    int64_t* dst_list = u_list + chunk;
    ListClasses(region, work.begin, work.count, of_class);
    for (size_t c = 0; c < classes.size(); ++c) {
      int64_t rows = 0;
      for (int64_t i = 0; i < work.count; ++i) {
        if (of_class[i] != static_cast<int64_t>(c)) continue;
        u_list[rows] = u_offset[i];
        dst_list[rows++] = dst_offset[i];
      }
      if (rows > 0)
        Multiply(call, classes[c], source.floats, u_list, dst_list, rows, work, work.next_rows, work.next_floats);
    }
  }

  // Calls row(image, q0, q1, begin, end, i): pixels i, i + 1, ... have innermost coordinates begin .. end - 1.
  template <class Row>
  static void ForRows(const Region& region, int64_t begin, int64_t count, const Row& row) {
    int64_t size[3];
    for (int a = 0; a < 3; ++a) size[a] = region.end[a] - region.begin[a];
    int64_t q2 = begin % size[2], rest = begin / size[2];
    for (int64_t i = 0; i < count;) {
      const int64_t run = std::min(count - i, size[2] - q2);
      const int64_t first = region.begin[2] + q2;
      row(rest / size[1] / size[0], region.begin[0] + rest / size[1] % size[0], region.begin[1] + rest % size[1], first,
          first + run, i);
      i += run;
      q2 = 0;
      ++rest;
    }
  }
  void ListPixels(const Region& region, const int64_t* low, int64_t begin, int64_t count, int64_t* u_offset) const {
    const ConvAxis* axis = problem.axis;
    const int64_t* base2 = axis[2].base.data();
    ForRows(region, begin, count, [&](int64_t image, int64_t q0, int64_t q1, int64_t first, int64_t last, int64_t i) {
      const int64_t row = image * image_floats + (axis[0].base[static_cast<size_t>(q0)] - low[0]) * strides[0] +
                          (axis[1].base[static_cast<size_t>(q1)] - low[1]) * strides[1] - low[2] * strides[2];
      for (int64_t q = first; q < last; ++q) u_offset[i++] = row + base2[q] * strides[2];
    });
  }
  void ListClasses(const Region& region, int64_t begin, int64_t count, int64_t* of_class) const {
    const ConvAxis* axis = problem.axis;
    const int* phase2 = axis[2].phase.data();
    ForRows(region, begin, count, [&](int64_t, int64_t q0, int64_t q1, int64_t first, int64_t last, int64_t i) {
      const int64_t row =
          (axis[0].phase[static_cast<size_t>(q0)] * axis[1].phases() + axis[1].phase[static_cast<size_t>(q1)]) *
          axis[2].phases();
      for (int64_t q = first; q < last; ++q) of_class[i++] = row + phase2[q];
    });
  }

  // All rows of a chunk; the first of them fetch what the epilogue will write, the others the next chunk's source.
  void MultiplyFetching(const KernelCall& call, const float* src, const int64_t* u_offset, const int64_t* dst_offset,
                        const Chunk& work) const {
    const int64_t tile = kernels->product.row_tile;
    const int64_t first = work.written == nullptr ? 0 : std::min(work.count, RoundUp(work.count * 2 / 3, tile));
    if (first > 0) {
      Multiply(call, classes[0], src, u_offset, dst_offset, first, work, work.written,
               work.count * problem.dst_channels);
    }
    if (first < work.count) {
      Multiply(call, classes[0], src, u_offset + first, dst_offset + first, work.count - first, work, work.next_rows,
               work.next_floats);
    }
  }

  void Multiply(const KernelCall& call, const std::vector<TermRun>& runs, const float* src, const int64_t* u_offset,
                const int64_t* dst_offset, int64_t rows, const Chunk& work, const float* stream,
                int64_t stream_floats) const {
    const float* filter = layout.packed ? FloatsAt(call.workspace, 0) : FloatInput(call, filter_input);
    if (problem.depthwise) {
      kernels->depthwise.forward({.u = src,
                                  .v = filter,
                                  .columns = problem.dst_channels,
                                  .rows = rows,
                                  .taps = runs.data(),
                                  .tap_count = static_cast<int64_t>(runs.size()),
                                  .dst = work.dst,
                                  .u_offset = u_offset,
                                  .dst_offset = dst_offset});
      return;
    }
    const int64_t panel = panel_parts == 1 ? 0 : work.column / layout.panel_width;
    for (int64_t group = 0; group < problem.groups; ++group) {
      kernels->product.row_product({.u = src + group * problem.group_src,
                                    .v = filter + group * layout.group_floats + panel * layout.panel_floats,
                                    .v_step = layout.row_floats,
                                    .panel_stride = layout.panel_floats,
                                    .columns = work.columns,
                                    .rows = rows,
                                    .runs = runs.data(),
                                    .run_count = static_cast<int64_t>(runs.size()),
                                    .dst = work.dst + group * problem.group_dst,
                                    .far = layout.panel_floats * 4 > kFarPanelBytes,
                                    .stream = group == 0 ? stream : nullptr,
                                    .stream_floats = group == 0 ? stream_floats : 0,
                                    .u_offset = u_offset,
                                    .dst_offset = dst_offset});
    }
  }
};

// The terms of a combination of phases, neighbours joined where source and filter both go on.
std::vector<TermRun> TermsOf(const ConvProblem& problem, const FilterLayout& layout, const int64_t* strides,
                             const std::vector<AxisTap>& taps0, const std::vector<AxisTap>& taps1,
                             const std::vector<AxisTap>& taps2) {
  std::vector<TermRun> runs;
  const int64_t parts = problem.depthwise && problem.transposed ? problem.multiplier : 1;
  for (const AxisTap& a : taps0) {
    for (const AxisTap& b : taps1) {
      for (const AxisTap& c : taps2) {
        const int64_t tap = (a.tap * problem.axis[1].window + b.tap) * problem.axis[2].window + c.tap;
        const int64_t position = problem.transposed ? problem.taps() - 1 - tap : tap;
        for (int64_t j = 0; j < parts; ++j) {
          const TermRun run{
              .u = a.delta * strides[0] + b.delta * strides[1] + c.delta * strides[2] + j * (strides[2] / parts),
              .v = position * layout.tap_floats + j * layout.row_floats,
              .length = problem.group_src};
          if (!problem.depthwise && !runs.empty() && runs.back().u + runs.back().length == run.u &&
              runs.back().v + runs.back().length * layout.row_floats == run.v) {
            runs.back().length += run.length;
          } else {
            runs.push_back(run);
          }
        }
      }
    }
  }
  return runs;
}

// Whole images, several of them if they are small; parts of images if they are few; parts of the output channels if
// that is not enough, or if the filter is so large that a task should pass over a part of it only.
void SplitTasks(RunState& state) {
  const ConvProblem& problem = state.problem;
  const double outputs = static_cast<double>(problem.dst_pixels()) * static_cast<double>(problem.dst_channels);
  double flops = 2.0 * static_cast<double>(problem.taps() * problem.group_src) * outputs;
  for (const ConvAxis& axis : problem.axis) flops /= axis.phases();
  flops = std::max(flops, 1.0);
  const int64_t filter_bytes = problem.taps() * problem.group_src * problem.dst_channels * 4;
  const bool huge = !problem.depthwise && filter_bytes > kHugeFilter;
  int64_t few_pixels = huge ? kChunkOfLarge : kFewPixels;
  const int64_t parts = std::min(CeilDiv(kImageTasks, problem.batch), static_cast<int64_t>(flops / kTaskFlops));
  if (problem.batch < kImageTasks && parts > 1 && problem.dst_pixels() >= 2 * few_pixels) {
    int axis = 0;
    while (axis < 2 && problem.axis[axis].dst == 1) ++axis;
    const int64_t pixels = problem.dst_pixels() / problem.axis[axis].dst;
    state.split_axis = axis;
    state.split = std::max(CeilDiv(problem.axis[axis].dst, parts),
                           std::min(problem.axis[axis].dst, CeilDiv(huge ? few_pixels : 1, pixels)));
    state.blocks = CeilDiv(problem.axis[axis].dst, state.split);
  } else {
    const int64_t wanted = static_cast<int64_t>(std::min(kTaskFlops / flops, 1e6));
    state.images_per_task = TaskSize(problem.batch, std::max<int64_t>(1, wanted), 1);
    if (huge) state.images_per_task = std::max(state.images_per_task, CeilDiv(few_pixels, problem.dst_pixels()));
    state.images_per_task = std::min(state.images_per_task, problem.batch);
  }
  state.images_per_copy = std::min(state.images_per_task, CeilDiv(few_pixels, problem.dst_pixels()));
  if (problem.depthwise || problem.groups > 1) return;
  const int64_t tasks =
      state.split_axis < 0 ? CeilDiv(problem.batch, state.images_per_task) : problem.batch * state.blocks;
  const double task_flops = flops * static_cast<double>(problem.batch) / static_cast<double>(tasks);
  const int64_t wanted =
      std::min({CeilDiv(kImageTasks, tasks), static_cast<int64_t>(task_flops / kTaskFlops), state.layout.panels});
  if (wanted <= 1) return;
  state.part_panels = CeilDiv(state.layout.panels, wanted);
  state.panel_parts = CeilDiv(state.layout.panels, state.part_panels);
}

// Decides whether the source has to be copied, and the strides in which kernels read it.
void LayoutSource(RunState& state) {
  const ConvProblem& problem = state.problem;
  int64_t pitch = problem.src_channels;
  if (problem.depthwise) {
    const int64_t parts = problem.transposed ? problem.multiplier : 1;
    pitch = parts * RoundUp(problem.dst_channels, state.kernels->lanes);
  }
  state.copy = pitch != problem.src_channels || problem.layout != ChannelLayout::kPlain;
  int64_t size[3];
  for (int a = 0; a < 3; ++a) {
    const ConvAxis& axis = problem.axis[a];
    const ConvAxis::Range all = axis.Reads(0, axis.dst);
    if (all.low < 0 || all.high > axis.src) state.copy = true;
    const int64_t step = state.split_axis == a ? state.split : axis.dst;
    for (int64_t begin = 0; begin < axis.dst; begin += step) {
      const ConvAxis::Range range = axis.Reads(begin, std::min(axis.dst, begin + step));
      state.box[a] = std::max(state.box[a], range.high - range.low);
    }
    size[a] = axis.src;
  }
  if (state.copy) std::copy_n(state.box, 3, size);
  state.strides[2] = pitch;
  state.strides[1] = size[2] * state.strides[2];
  state.strides[0] = size[1] * state.strides[1];
  state.image_floats = size[0] * state.strides[0];
  // Copying row by row keeps both copy and source in caches; it needs rows to be copied one image at a time.
  state.by_rows = state.copy && state.images_per_copy == 1 && problem.axis[0].dst == 1 && problem.axis[0].src == 1 &&
                  problem.axis[1].dst > 1;
  if (!state.by_rows) return;
  int64_t high = std::numeric_limits<int64_t>::min();
  for (int64_t q = 0; q < problem.axis[1].dst; ++q) {
    const ConvAxis::Range range = problem.axis[1].Reads(q, q + 1);
    if (range.high > range.low) high = std::max(high, range.high);
    state.read_high.push_back(high);
  }
}

}  // namespace

Lowering LowerConvProblem(const LowerContext& context, ConvProblem problem) {
  if (!problem.reads_padding) return LowerConvByTaps(context, std::move(problem));
  auto state = std::make_shared<RunState>();
  state->problem = std::move(problem);
  const ConvProblem& p = state->problem;
  state->kernels = &context.kernels;
  state->src_input = context.anchor_input(0);
  state->filter_input = context.anchor_input(1);
  state->layout = LayoutFilter(p, context.kernels);
  SplitTasks(*state);
  LayoutSource(*state);
  for (const auto& taps0 : p.axis[0].taps) {
    for (const auto& taps1 : p.axis[1].taps) {
      for (const auto& taps2 : p.axis[2].taps) {
        state->classes.push_back(TermsOf(p, state->layout, state->strides, taps0, taps1, taps2));
      }
    }
  }
  const int64_t tile = context.kernels.product.row_tile, lists = static_cast<int64_t>(state->classes.size());
  const int64_t filter_bytes = p.taps() * p.group_src * p.dst_channels * 4;
  int64_t chunk = std::max(kChunkFloats / p.dst_channels, filter_bytes > kLargeFilter ? kChunkOfLarge : 2 * tile);
  chunk = std::min(chunk * std::min<int64_t>(lists, 4), kMaxChunk);
  state->chunk = RoundUp(chunk, tile);
  Arena scratch;
  state->epilogue.emplace(context.program, state->chunk * p.dst_channels, scratch);
  // Depthwise kernels read whole vectors: the pitch is made of them.
  if (state->copy) state->box_offset = scratch.TakeFloats(state->images_per_copy * state->image_floats);
  state->list_offset = scratch.Take(5 * state->chunk * static_cast<int64_t>(sizeof(int64_t)));

  Lowering lowering;
  if (state->layout.packed) {
    lowering.workspace_bytes = state->layout.floats * 4;
    lowering.prepared_input = state->filter_input;
    lowering.stages.push_back(PackFilterStage(p, state->layout, context.kernels, state->filter_input));
  }
  const int64_t regions = state->split_axis < 0 ? CeilDiv(p.batch, state->images_per_task) : p.batch * state->blocks;
  const int64_t tasks = regions * state->panel_parts;
  lowering.kernel =
      StrCat(p.depthwise ? "depthwise" : "direct ",
             p.depthwise ? "" : StrCat(tile, "x", context.kernels.product.panel_vectors),
             state->copy ? ", padded copy" : "", state->layout.packed ? ", packed filter" : "", ", ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<RunState>(std::move(state), tasks, scratch.bytes()));
  return lowering;
}

LowerResult LowerConv(const LowerContext& context) {
  const AttrMap& attrs = context.anchor().attrs;
  const ConvGeometry geometry =
      ConvGeometryOf(attrs, context.anchor_input_type(0).shape, context.anchor_input_type(1).shape);
  if (UsesWinograd(attrs)) return LowerWinograd(context, WinogradForward(geometry));
  return LowerConvProblem(context, ForwardProblem(geometry));
}

LowerResult LowerConvInputGradient(const LowerContext& context) {
  const AttrMap& attrs = context.anchor().attrs;
  const ConvGeometry geometry =
      ConvGeometryOf(attrs, context.anchor().outputs[0].shape, context.anchor_input_type(1).shape);
  if (UsesWinograd(attrs)) return LowerWinograd(context, WinogradInputGradient(geometry));
  return LowerConvProblem(context, InputGradientProblem(geometry));
}

}  // namespace weir::highway
