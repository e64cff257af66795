// Filter gradients: the split into tasks.
//
// The canonical order sums chunks of images apart and adds their totals in order, so there are two ways to split the
// work: by chunks, whose partial results then lie in the workspace until a second stage adds them up, while they are
// small; and by rows of dw, each task passing over all images, when dw is large.
#include <cstring>
#include <optional>

#include "weir/backends/highway/combine.h"
#include "weir/backends/highway/filter_gradient.h"
#include "weir/backends/highway/lowering.h"
#include "weir/backends/highway/winograd.h"

namespace weir::highway {
namespace {

constexpr int64_t kPartialBytes = 8 << 20;  // of partial results: they should stay in the last-level cache
constexpr double kTaskFlops = 4e6;          // 20 us at 200 GFLOP/s
constexpr int64_t kTasks = 16;

// ---- By chunks ----------------------------------------------------------------------------------
// Task: one chunk, some of the rows. Its result goes to the chunk's place in the workspace.
struct ChunkState {
  FilterGradient problem;
  size_t segments_per_task = 0;
  int64_t row_tasks = 1;
  int64_t x_offset = 0, dy_offset = 0, pack_offset = 0;

  void Run(const KernelCall& call) const {
    const FilterGradient& p = problem;
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
      for (int64_t i = 0; i < images; ++i) p.CopyDy(call, image + i, copy);
      dy = copy;
    }
    float* dst = FloatsAt(call.workspace, 0) + chunk * p.rows * p.columns + p.segments[begin].row * p.columns;
    p.Multiply(x, dy, images, begin, end, p.band, Accumulate::kStore, dst, FloatsAt(call.scratch, pack_offset));
  }
};

// ---- By rows ------------------------------------------------------------------------------------
// Copies all images to the workspace.
struct CopyState {
  FilterGradient problem;
  int64_t x_offset = 0, dy_offset = 0;
  int64_t images_per_task = 1;

  void Run(const KernelCall& call) const {
    const FilterGradient& p = problem;
    const int64_t end = std::min(p.geometry.batch, (call.task + 1) * images_per_task);
    for (int64_t image = call.task * images_per_task; image < end; ++image) {
      if (p.copy_x) p.CopyX(call, image, FloatsAt(call.workspace, x_offset) + image * p.x_image);
      if (p.copy_dy) {
        const int64_t chunk = image / p.chunk_images;
        p.CopyDy(call, image, FloatsAt(call.workspace, dy_offset) + chunk * p.chunk_images * p.dy_image);
      }
    }
  }
};

// Task: some rows of dw, over all chunks.
struct RowState {
  FilterGradient problem;
  std::optional<Epilogue> epilogue;
  size_t segments_per_task = 1;
  int64_t x_offset = 0, dy_offset = 0, pack_offset = 0, block_offset = 0;

  void Run(const KernelCall& call) const {
    const FilterGradient& p = problem;
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
      float* pack = FloatsAt(call.scratch, pack_offset);
      if (p.packed) {
        p.Multiply(x, dy, images, begin, end, p.band, chunk == 0 ? Accumulate::kStore : Accumulate::kAddBlock, dst,
                   pack);
        continue;
      }
      // Bands go on where the last one stopped, so a chunk has to be summed apart from the total.
      float* block = chunk == 0 ? dst : FloatsAt(call.scratch, block_offset);
      p.Multiply(x, dy, images, begin, end, p.band, Accumulate::kStore, block, pack);
      if (chunk > 0) p.kernels->reduce.combine[static_cast<int>(ReduceKind::kSum)](block, count, dst);
    }
    epilogue->Finish(call, first, count, dst);
  }
};

Lowering LowerByChunks(const LowerContext& context, FilterGradient problem, double flops) {
  auto chunk = std::make_shared<ChunkState>();
  chunk->problem = std::move(problem);
  const FilterGradient& p = chunk->problem;
  const double chunk_flops = flops / static_cast<double>(p.chunks);
  const int64_t wanted =
      std::clamp<int64_t>(std::min(CeilDiv(kTasks, p.chunks), static_cast<int64_t>(chunk_flops / kTaskFlops)), 1,
                          static_cast<int64_t>(p.segments.size()));
  chunk->segments_per_task = static_cast<size_t>(CeilDiv(static_cast<int64_t>(p.segments.size()), wanted));
  chunk->row_tasks = CeilDiv(static_cast<int64_t>(p.segments.size()), static_cast<int64_t>(chunk->segments_per_task));
  Arena scratch;
  if (p.copy_x) chunk->x_offset = scratch.TakeFloats(p.chunk_images * p.x_image + p.kernels->lanes);
  if (p.copy_dy) chunk->dy_offset = scratch.TakeFloats(p.chunk_images * p.dy_image + p.kernels->lanes);
  chunk->pack_offset = scratch.TakeFloats(p.pack_floats());

  Lowering lowering;
  const int64_t tasks = p.chunks * chunk->row_tasks;
  lowering.kernel =
      StrCat(p.depthwise ? "depthwise " : "", "filter gradient by ", p.chunks, " chunks, ", tasks, " tasks");
  lowering.workspace_bytes = p.chunks * p.rows * p.columns * 4;
  lowering.stages.push_back(MakeStage<ChunkState>(chunk, tasks, scratch.bytes()));
  lowering.stages.push_back(CombineStage(context, ReduceKind::kSum, p.chunks, p.rows * p.columns, 0));
  return lowering;
}

Lowering LowerByRows(const LowerContext& context, FilterGradient problem, double flops) {
  auto rows = std::make_shared<RowState>();
  rows->problem = std::move(problem);
  const FilterGradient& p = rows->problem;
  const int64_t segments = static_cast<int64_t>(p.segments.size());
  const int64_t tasks_wanted =
      std::clamp<int64_t>(static_cast<int64_t>(flops / kTaskFlops), 1, std::min(segments, 4 * kTasks));
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
    const Segment& last =
        p.segments[static_cast<size_t>(std::min(segments, begin + static_cast<int64_t>(rows->segments_per_task)) - 1)];
    range = std::max(range, last.row + last.rows - p.segments[static_cast<size_t>(begin)].row);
  }
  rows->epilogue.emplace(context.program, range * p.columns, scratch);
  rows->pack_offset = scratch.TakeFloats(p.pack_floats());
  if (!p.packed && p.chunks > 1) rows->block_offset = scratch.TakeFloats(range * p.columns);
  lowering.workspace_bytes = workspace.bytes();
  lowering.kernel = StrCat("filter gradient by rows, ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<RowState>(rows, tasks, scratch.bytes()));
  return lowering;
}

}  // namespace

LowerResult LowerConvFilterGradient(const LowerContext& context) {
  if (UsesWinograd(context.anchor().attrs)) return LowerWinogradFilterGradient(context);
  FilterGradient problem = DescribeFilterGradient(context);
  const double flops = 2.0 * static_cast<double>(problem.geometry.batch) *
                       static_cast<double>(problem.geometry.out_positions()) * static_cast<double>(problem.rows) *
                       static_cast<double>(problem.columns);
  const bool small = problem.chunks * problem.rows * problem.columns * 4 <= kPartialBytes;
  // With few chunks, each would have to be shared by several tasks that copy the same operands.
  const bool few = problem.chunks < kTasks && flops > kTaskFlops * static_cast<double>(problem.chunks);
  if (problem.chunks > 0 && ((small && !few) || problem.depthwise))
    return LowerByChunks(context, std::move(problem), flops);
  return LowerByRows(context, std::move(problem), flops);
}

}  // namespace weir::highway
