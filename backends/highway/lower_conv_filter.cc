// Filter gradients: dw[tap, c, o] = sum over positions of x dy. Rows of the outer product are (tap, c), which lie
// contiguously in x along the innermost axis; columns are output channels; terms are positions.
//
// The canonical order sums chunks of images apart and adds their totals in order, so there are two ways to split the
// work: by chunks, whose partial results then lie in the workspace until a second stage adds them up, while they are
// small; and by rows of dw, each task passing over all images, when dw is large.
#include <cstring>
#include <optional>

#include "weir/backends/highway/combine.h"
#include "weir/backends/highway/conv_box.h"
#include "weir/backends/highway/lowering.h"
#include "weir/ops/canonical_order.h"
#include "weir/ops/conv_geometry.h"

namespace weir::highway {
namespace {

constexpr int64_t kPartialBytes = 8 << 20;    // of partial results: they should stay in the last-level cache
constexpr double kTaskFlops = 8e6;            // 40 us at 200 GFLOP/s
constexpr int64_t kTasks = 16;
constexpr int64_t kBandFloats = 8 * 1024;     // of x and dy that all rows pass over while they are in the first cache

// Rows [row, row + rows) of dw, of which row i reads x at `u` + i.
struct Segment {
  int64_t row = 0, rows = 0, u = 0;
};

struct FilterProblem {
  ConvGeometry geometry;
  bool depthwise = false;
  int64_t multiplier = 1;
  int64_t chunk_images = 1, chunks = 0;
  int64_t rows = 0, columns = 0;  // dw as a matrix
  std::vector<Segment> segments;  // at most a register tile of rows each
  // Operands as kernels see them: copies or themselves.
  bool copy_x = false, copy_dy = false;
  int64_t low[3] = {}, size[3] = {}, strides[3] = {};  // of x's box
  int64_t x_image = 0, dy_image = 0, dy_pitch = 0;     // floats
  std::vector<TermRun> runs;       // of a chunk's images, rows of positions
  int64_t image_runs = 0;
  int64_t band = 0;                // runs
  std::vector<int64_t> row_u, row_v, tap_u;  // depthwise
  const KernelTable* kernels = nullptr;
  int x_input = 0, dy_input = 0;

  int64_t ImagesOf(int64_t chunk) const { return std::min(chunk_images, geometry.batch - chunk * chunk_images); }
  int64_t x_floats() const { return geometry.in_positions() * geometry.in_channels; }

  const float* X(const KernelCall& call, int64_t image) const { return FloatInput(call, x_input) + image * x_floats(); }
  const float* Dy(const KernelCall& call, int64_t image) const {
    return FloatInput(call, dy_input) + image * geometry.out_positions() * geometry.out_channels;
  }
  void CopyX(const KernelCall& call, int64_t image, float* dst) const {
    BoxCopy box{.channels = geometry.in_channels,
                .layout = multiplier > 1 ? ChannelLayout::kReplicate : ChannelLayout::kPlain,
                .multiplier = multiplier};
    for (int a = 0; a < 3; ++a) {
      box.image[a] = geometry.axis[a].input;
      box.low[a] = low[a];
      box.size[a] = size[a];
      box.strides[a] = strides[a];
    }
    CopyBox(box, X(call, image), dst);
  }
  void CopyDy(const KernelCall& call, int64_t image, float* dst) const {
    const BoxCopy box{.image = {1, 1, geometry.out_positions()},
                      .channels = geometry.out_channels,
                      .size = {1, 1, geometry.out_positions()},
                      .strides = {dy_image, dy_image, dy_pitch}};
    CopyBox(box, Dy(call, image), dst);
  }

  // Rows of segments [begin, end) for one chunk, from the chunk's operands; dst is row segments[begin].row.
  void Multiply(const float* x, const float* dy, int64_t images, size_t begin, size_t end, int64_t band_runs,
                Accumulate accumulate, float* dst) const {
    if (depthwise) {
      MultiplyDepthwise(x, dy, images, dst);
      return;
    }
    const ConvGeometry& g = geometry;
    const int64_t count = images * image_runs;
    for (int64_t first = 0; first < count; first += band_runs) {
      for (int64_t group = 0; group < g.groups; ++group) {
        for (size_t s = begin; s < end; ++s) {
          kernels->product.column_product(
              {.u = x + segments[s].u + group * g.group_in(),
               .v = dy + group * g.group_out(),
               .v_step = dy_pitch,
               .panel_stride = kernels->product.panel_vectors * kernels->lanes,
               .columns = g.group_out(),
               .rows = segments[s].rows,
               .runs = runs.data() + first,
               .run_count = std::min(band_runs, count - first),
               .dst = dst + (segments[s].row - segments[begin].row) * columns + group * g.group_out(),
               .accumulate = first == 0 ? accumulate : Accumulate::kContinue,
               .u_step = g.axis[2].stride * strides[2],
               .dst_stride = columns});
        }
      }
    }
  }
  void MultiplyDepthwise(const float* x, const float* dy, int64_t images, float* dst) const {
    kernels->depthwise.filter_gradient({.u = x,
                                        .v = dy,
                                        .columns = columns,
                                        .images = images,
                                        .u_image = x_image,
                                        .v_image = dy_image,
                                        .rows = static_cast<int64_t>(row_u.size()),
                                        .row_u = row_u.data(),
                                        .row_v = row_v.data(),
                                        .positions = geometry.axis[2].output,
                                        .u_step = geometry.axis[2].stride * strides[2],
                                        .v_step = dy_pitch,
                                        .tap_offset = tap_u.data(),
                                        .taps = rows,
                                        .dst = dst,
                                        .dst_stride = columns});
  }
};

// ---- By chunks ---------------------------------------------------------------------------------------------------------
// Task: one chunk, some of the rows. Its result goes to the chunk's place in the workspace.
struct ChunkState {
  FilterProblem problem;
  size_t segments_per_task = 0;
  int64_t row_tasks = 1;
  int64_t x_offset = 0, dy_offset = 0;

  void Run(const KernelCall& call) const {
    const FilterProblem& p = problem;
    const int64_t chunk = call.task / row_tasks, image = chunk * p.chunk_images, images = p.ImagesOf(chunk);
    const size_t begin = static_cast<size_t>(call.task % row_tasks) * segments_per_task;
    const size_t end = std::min(p.segments.size(), begin + segments_per_task);
    const float *x = p.X(call, image), *dy = p.Dy(call, image);
    if (p.copy_x) {
      float* copy = FloatsAt(call.scratch, x_offset);
      for (int64_t i = 0; i < images; ++i) p.CopyX(call, image + i, copy + i * p.x_image);
      x = copy;
    }
    if (p.copy_dy) {
      float* copy = FloatsAt(call.scratch, dy_offset);
      for (int64_t i = 0; i < images; ++i) p.CopyDy(call, image + i, copy + i * p.dy_image);
      dy = copy;
    }
    float* dst = FloatsAt(call.workspace, 0) + chunk * p.rows * p.columns + p.segments[begin].row * p.columns;
    p.Multiply(x, dy, images, begin, end, p.band, Accumulate::kStore, dst);
  }
};

// ---- By rows -----------------------------------------------------------------------------------------------------------
// Copies all images to the workspace.
struct CopyState {
  FilterProblem problem;
  int64_t x_offset = 0, dy_offset = 0;
  int64_t images_per_task = 1;

  void Run(const KernelCall& call) const {
    const FilterProblem& p = problem;
    const int64_t end = std::min(p.geometry.batch, (call.task + 1) * images_per_task);
    for (int64_t image = call.task * images_per_task; image < end; ++image) {
      if (p.copy_x) p.CopyX(call, image, FloatsAt(call.workspace, x_offset) + image * p.x_image);
      if (p.copy_dy) p.CopyDy(call, image, FloatsAt(call.workspace, dy_offset) + image * p.dy_image);
    }
  }
};

// Task: some rows of dw, over all chunks.
struct RowState {
  FilterProblem problem;
  std::optional<Epilogue> epilogue;
  size_t segments_per_task = 1;
  int64_t x_offset = 0, dy_offset = 0;

  void Run(const KernelCall& call) const {
    const FilterProblem& p = problem;
    const size_t begin = static_cast<size_t>(call.task) * segments_per_task;
    const size_t end = std::min(p.segments.size(), begin + segments_per_task);
    const int64_t first = p.segments[begin].row * p.columns;
    const int64_t count = (p.segments[end - 1].row + p.segments[end - 1].rows) * p.columns - first;
    float* dst = epilogue->Buffer(call, first);
    if (p.chunks == 0) std::memset(dst, 0, static_cast<size_t>(count) * sizeof(float));
    for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
      const int64_t image = chunk * p.chunk_images, images = p.ImagesOf(chunk);
      const float* x = p.copy_x ? FloatsAt(call.workspace, x_offset) + image * p.x_image : p.X(call, image);
      const float* dy = p.copy_dy ? FloatsAt(call.workspace, dy_offset) + image * p.dy_image : p.Dy(call, image);
      p.Multiply(x, dy, images, begin, end, images * p.image_runs, chunk == 0 ? Accumulate::kStore : Accumulate::kAddBlock,
                 dst);
    }
    epilogue->Finish(call, first, count, dst);
  }
};

// ---- Description ---------------------------------------------------------------------------------------------------------
void DescribeOperands(FilterProblem& p) {
  const ConvGeometry& g = p.geometry;
  const int64_t lanes = p.kernels->lanes;
  int64_t pitch = g.in_channels, size[3];
  p.dy_pitch = g.out_channels;
  if (p.depthwise) {
    pitch = p.dy_pitch = RoundUp(g.out_channels, lanes);
    p.copy_dy = p.dy_pitch != g.out_channels;
  } else {
    // Whole vectors are read: beyond the last row of dy there must be something to read.
    p.copy_dy = g.group_out() % lanes != 0;
  }
  p.copy_x = pitch != g.in_channels;
  for (int a = 0; a < 3; ++a) {
    const SpatialAxis& axis = g.axis[a];
    p.low[a] = -axis.pad_before;
    p.size[a] = (axis.output - 1) * axis.stride + (axis.window - 1) * axis.dilation + 1;
    p.copy_x |= p.low[a] != 0 || p.low[a] + p.size[a] > axis.input;
    size[a] = axis.input;
  }
  if (p.copy_x) {
    std::copy_n(p.size, 3, size);
  } else {
    std::fill_n(p.low, 3, 0);
  }
  p.strides[2] = pitch;
  p.strides[1] = size[2] * p.strides[2];
  p.strides[0] = size[1] * p.strides[1];
  p.x_image = size[0] * p.strides[0];
  p.dy_image = g.out_positions() * p.dy_pitch;
}

void DescribeTerms(FilterProblem& p) {
  const ConvGeometry& g = p.geometry;
  const int64_t u_step = g.axis[2].stride * p.strides[2];
  for (int64_t image = 0; image < p.chunk_images; ++image) {
    for (int64_t a = 0; a < g.axis[0].output; ++a) {
      for (int64_t b = 0; b < g.axis[1].output; ++b) {
        const int64_t u = a * g.axis[0].stride * p.strides[0] + b * g.axis[1].stride * p.strides[1];
        const int64_t v = (a * g.axis[1].output + b) * g.axis[2].output * p.dy_pitch;
        const TermRun run{image * p.x_image + u, image * p.dy_image + v, g.axis[2].output};
        if (image == 0) {
          p.row_u.push_back(u);
          p.row_v.push_back(v);
        }
        // Rows without padding between them go on where the last one ended.
        const bool joins = a + b > 0 && p.runs.back().u + p.runs.back().length * u_step == run.u;
        if (joins) {
          p.runs.back().length += run.length;
        } else {
          p.runs.push_back(run);
        }
      }
    }
    if (image == 0) p.image_runs = static_cast<int64_t>(p.runs.size());
  }
}

void DescribeRows(FilterProblem& p) {
  const ConvGeometry& g = p.geometry;
  const int64_t tile = p.kernels->product.row_tile;
  const bool whole_rows = g.groups == 1 && (g.axis[2].dilation == 1 || g.axis[2].window == 1);
  const int64_t inner_taps = whole_rows ? 1 : g.axis[2].window;
  const int64_t inner_rows = (whole_rows ? g.axis[2].window : 1) * g.group_in();
  int64_t row = 0;
  for (int64_t a = 0; a < g.axis[0].window; ++a) {
    for (int64_t b = 0; b < g.axis[1].window; ++b) {
      for (int64_t c = 0; c < inner_taps; ++c) {
        const int64_t u = a * g.axis[0].dilation * p.strides[0] + b * g.axis[1].dilation * p.strides[1] +
                          c * g.axis[2].dilation * p.strides[2];
        // Tiles of about equal height.
        const int64_t height = CeilDiv(inner_rows, CeilDiv(inner_rows, tile));
        for (int64_t i = 0; i < inner_rows; i += height) {
          const int64_t rows = std::min(height, inner_rows - i);
          p.segments.push_back({row, rows, u + i});
          row += rows;
        }
      }
    }
  }
  if (!p.depthwise) return;
  p.segments = {{0, p.rows, 0}};
  for (int64_t a = 0; a < g.axis[0].window; ++a) {
    for (int64_t b = 0; b < g.axis[1].window; ++b) {
      for (int64_t c = 0; c < g.axis[2].window; ++c) {
        p.tap_u.push_back(a * g.axis[0].dilation * p.strides[0] + b * g.axis[1].dilation * p.strides[1] +
                          c * g.axis[2].dilation * p.strides[2]);
      }
    }
  }
}

FilterProblem Describe(const LowerContext& context) {
  FilterProblem p;
  p.geometry = ConvGeometryOf(context.anchor().attrs, context.anchor_input_type(0).shape, context.anchor().outputs[0].shape);
  const ConvGeometry& g = p.geometry;
  p.kernels = &context.kernels;
  p.x_input = context.anchor_input(0);
  p.dy_input = context.anchor_input(1);
  p.depthwise = g.groups > 1 && g.group_in() == 1;
  p.multiplier = p.depthwise ? g.group_out() : 1;
  p.chunk_images = std::min(FilterGradientImages(g.out_positions()), std::max<int64_t>(1, g.batch));
  p.chunks = CeilDiv(g.batch, p.chunk_images);
  p.rows = g.taps() * g.group_in();
  p.columns = g.out_channels;
  DescribeOperands(p);
  DescribeTerms(p);
  DescribeRows(p);
  const int64_t run_floats = p.runs[0].length * (p.dy_pitch + g.axis[2].stride * p.strides[2]);
  p.band = std::max<int64_t>(1, kBandFloats / std::max<int64_t>(1, run_floats));
  return p;
}

Lowering LowerByChunks(const LowerContext& context, FilterProblem problem, double flops) {
  auto chunk = std::make_shared<ChunkState>();
  chunk->problem = std::move(problem);
  const FilterProblem& p = chunk->problem;
  const double chunk_flops = flops / static_cast<double>(p.chunks);
  const int64_t wanted = std::clamp<int64_t>(std::min(CeilDiv(kTasks, p.chunks), static_cast<int64_t>(chunk_flops / kTaskFlops)),
                                             1, static_cast<int64_t>(p.segments.size()));
  chunk->segments_per_task = static_cast<size_t>(CeilDiv(static_cast<int64_t>(p.segments.size()), wanted));
  chunk->row_tasks = CeilDiv(static_cast<int64_t>(p.segments.size()), static_cast<int64_t>(chunk->segments_per_task));
  Arena scratch;
  if (p.copy_x) chunk->x_offset = scratch.TakeFloats(p.chunk_images * p.x_image + p.kernels->lanes);
  if (p.copy_dy) chunk->dy_offset = scratch.TakeFloats(p.chunk_images * p.dy_image + p.kernels->lanes);

  Lowering lowering;
  const int64_t tasks = p.chunks * chunk->row_tasks;
  lowering.kernel = StrCat(p.depthwise ? "depthwise " : "", "filter gradient by ", p.chunks, " chunks, ", tasks, " tasks");
  lowering.workspace_bytes = p.chunks * p.rows * p.columns * 4;
  lowering.stages.push_back(MakeStage<ChunkState>(chunk, tasks, scratch.bytes()));
  lowering.stages.push_back(CombineStage(context, ReduceKind::kSum, p.chunks, p.rows * p.columns, 0));
  return lowering;
}

Lowering LowerByRows(const LowerContext& context, FilterProblem problem, double flops) {
  auto rows = std::make_shared<RowState>();
  rows->problem = std::move(problem);
  const FilterProblem& p = rows->problem;
  const int64_t segments = static_cast<int64_t>(p.segments.size());
  const int64_t tasks_wanted = std::clamp<int64_t>(static_cast<int64_t>(flops / kTaskFlops), 1, std::min(segments, 4 * kTasks));
  rows->segments_per_task = static_cast<size_t>(CeilDiv(segments, tasks_wanted));
  const int64_t tasks = CeilDiv(segments, static_cast<int64_t>(rows->segments_per_task));
  Lowering lowering;
  Arena workspace;
  if (p.copy_x || p.copy_dy) {
    auto copy = std::make_shared<CopyState>();
    if (p.copy_x) copy->x_offset = workspace.TakeFloats(p.geometry.batch * p.x_image + p.kernels->lanes);
    if (p.copy_dy) copy->dy_offset = workspace.TakeFloats(p.geometry.batch * p.dy_image + p.kernels->lanes);
    copy->problem = p;
    copy->images_per_task = TaskSize(p.geometry.batch, std::max<int64_t>(1, (int64_t{1} << 16) / (p.x_image + 1)), 1);
    rows->x_offset = copy->x_offset;
    rows->dy_offset = copy->dy_offset;
    if (p.geometry.batch > 0) {
      lowering.stages.push_back(MakeStage<CopyState>(copy, CeilDiv(p.geometry.batch, copy->images_per_task), 0));
    }
  }
  Arena scratch;
  int64_t range = 0;
  for (int64_t begin = 0; begin < segments; begin += static_cast<int64_t>(rows->segments_per_task)) {
    const Segment& last = p.segments[static_cast<size_t>(std::min(segments, begin + static_cast<int64_t>(rows->segments_per_task)) - 1)];
    range = std::max(range, last.row + last.rows - p.segments[static_cast<size_t>(begin)].row);
  }
  rows->epilogue.emplace(context.program, range * p.columns, scratch);
  lowering.workspace_bytes = workspace.bytes();
  lowering.kernel = StrCat("filter gradient by rows, ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<RowState>(rows, tasks, scratch.bytes()));
  return lowering;
}

}  // namespace

LowerResult LowerConvFilterGradient(const LowerContext& context) {
  FilterProblem problem = Describe(context);
  const double flops = 2.0 * static_cast<double>(problem.geometry.batch) *
                       static_cast<double>(problem.geometry.out_positions()) * static_cast<double>(problem.rows) *
                       static_cast<double>(problem.columns);
  const bool small = problem.chunks * problem.rows * problem.columns * 4 <= kPartialBytes;
  if (problem.chunks > 0 && (small || problem.depthwise)) return LowerByChunks(context, std::move(problem), flops);
  return LowerByRows(context, std::move(problem), flops);
}

}  // namespace weir::highway
