// Pooling and its gradients: channels across lanes, rows of windows with the same cells at once.
#include <cstring>
#include <optional>

#include "weir/backends/highway/lowering.h"
#include "weir/ops/attrs.h"
#include "weir/ops/conv_geometry.h"

namespace weir::highway {
namespace {

constexpr int64_t kTaskFloats = 128 * 1024;  // of the larger tensor: about 40 us
constexpr int64_t kChunkFloats = 4096;       // outputs that wait for the epilogue

using PoolFn = void (*)(const PoolArgs& args) noexcept;

// Windows [begin, end) of one row of outputs that have the same cells, relative to their first.
struct Span {
  int64_t begin = 0, end = 0;
  int64_t first = 0;  // input coordinate of window `begin`'s first cell along the innermost axis
  int64_t cells = 0;  // along that axis
};

std::vector<Span> SpansOf(const SpatialAxis& axis) {
  std::vector<Span> spans;
  for (int64_t q = 0; q < axis.output; ++q) {
    const int64_t start = q * axis.stride - axis.pad_before;
    const int64_t low = std::max<int64_t>(start, 0), cells = std::min(start + axis.window, axis.input) - low;
    const bool joins = !spans.empty() && spans.back().cells == cells &&
                       spans.back().first + (q - spans.back().begin) * axis.stride == low;
    if (joins) {
      spans.back().end = q + 1;
    } else {
      spans.push_back({q, q + 1, low, cells});
    }
  }
  return spans;
}

struct PoolProblem {
  ConvGeometry geometry;
  std::vector<Span> spans;  // of the innermost axis
  int64_t max_cells = 0;
  PoolFn run = nullptr;

  int64_t in_floats() const { return geometry.in_positions() * geometry.in_channels; }
  int64_t out_floats() const { return geometry.out_positions() * geometry.in_channels; }
  int64_t rows() const { return geometry.axis[0].output * geometry.axis[1].output; }
  int64_t row_floats() const { return geometry.axis[2].output * geometry.in_channels; }

  // Calls `run` for all windows of one row of outputs. x, dx: of the image; y, dy, indices: of the row.
  void Row(int64_t row, PoolArgs args, PoolCell* cells) const {
    const ConvGeometry& g = geometry;
    const int64_t channels = g.in_channels, out[2] = {row / g.axis[1].output, row % g.axis[1].output};
    int64_t low[2], count[2], padding[3];  // cells of the window in front of the input
    for (int a = 0; a < 2; ++a) {
      const int64_t start = out[a] * g.axis[a].stride - g.axis[a].pad_before;
      low[a] = std::max<int64_t>(start, 0);
      padding[a] = low[a] - start;
      count[a] = std::min(start + g.axis[a].window, g.axis[a].input) - low[a];
    }
    const PoolArgs whole = args;
    for (const Span& span : spans) {
      padding[2] = span.first - (span.begin * g.axis[2].stride - g.axis[2].pad_before);
      int64_t n = 0;
      for (int64_t a = 0; a < count[0]; ++a) {
        for (int64_t b = 0; b < count[1]; ++b) {
          for (int64_t c = 0; c < span.cells; ++c) {
            const int64_t index_row = (padding[0] + a) * g.axis[1].window + padding[1] + b;
            cells[n++] = {((a * g.axis[1].input + b) * g.axis[2].input + c) * channels,
                          static_cast<int32_t>(index_row * g.axis[2].window + padding[2] + c)};
          }
        }
      }
      const int64_t at = ((low[0] * g.axis[1].input + low[1]) * g.axis[2].input + span.first) * channels;
      const int64_t to = span.begin * channels;
      if (whole.x != nullptr) args.x = whole.x + at;
      if (whole.dx != nullptr) args.dx = whole.dx + at;
      if (whole.y != nullptr) args.y = whole.y + to;
      if (whole.dy != nullptr) args.dy = whole.dy + to;
      if (whole.index != nullptr) args.index = whole.index + to * whole.index_bytes;
      if (whole.index_out != nullptr) args.index_out = whole.index_out + to * whole.index_bytes;
      args.x_step = g.axis[2].stride * channels;
      args.cells = cells;
      args.cell_count = n;
      args.positions = span.end - span.begin;
      args.channels = channels;
      args.y_step = channels;
      args.divisor = static_cast<float>(n);
      run(args);
    }
  }
};

PoolProblem Describe(const LowerContext& context, const Shape& input) {
  PoolProblem problem;
  problem.geometry = PoolGeometryOf(context.anchor().attrs, input);
  problem.spans = SpansOf(problem.geometry.axis[2]);
  problem.max_cells = problem.geometry.most_cells();
  return problem;
}

// ---- Forward ------------------------------------------------------------------------------------
// Task: rows of outputs, counted over all images.
struct PoolState {
  PoolProblem problem;
  std::optional<Epilogue> epilogue;
  int x_input = 0;
  int index_input = -1, index_output = -1;
  int64_t index_bytes = 1;
  int64_t rows_per_task = 1, rows_per_chunk = 1;
  int64_t cells_offset = 0;

  void Run(const KernelCall& call) const {
    const PoolProblem& p = problem;
    const int64_t end = std::min(p.geometry.batch * p.rows(), (call.task + 1) * rows_per_task);
    PoolCell* cells = reinterpret_cast<PoolCell*>(call.scratch + cells_offset);
    for (int64_t begin = call.task * rows_per_task; begin < end; begin += rows_per_chunk) {
      const int64_t rows = std::min(rows_per_chunk, end - begin);
      float* dst = epilogue->Buffer(call, begin * p.row_floats());
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t image = (begin + i) / p.rows();
        PoolArgs args;
        args.x = FloatInput(call, x_input) + image * p.in_floats();
        args.index_bytes = index_bytes;
        const int64_t index_at = (begin + i) * p.row_floats() * index_bytes;
        if (index_output >= 0) args.index_out = call.outputs[index_output] + index_at;
        if (index_input >= 0) args.index = call.inputs[index_input] + index_at;
        args.y = dst + i * p.row_floats();
        p.Row((begin + i) % p.rows(), args, cells);
      }
      epilogue->Finish(call, begin * p.row_floats(), rows * p.row_floats(), dst);
    }
  }
};

// ---- Gradients ----------------------------------------------------------------------------------
// If windows don't share cells, an image is cut into blocks along the second axis: each row of windows fills its own
// rows of the input, and what no window covers is zero. A block is small enough for the epilogue to find it in the
// first-level cache. Otherwise the block is a whole image, into which windows add in order.
struct GradientState {
  PoolProblem problem;
  std::optional<Epilogue> epilogue;
  int dy_input = 0, index_input = -1;
  int64_t index_bytes = 1;
  bool disjoint = false;
  int64_t blocks = 1, block = 1;  // of an image; rows of windows along axis 1
  int64_t blocks_per_task = 1;
  int64_t cells_offset = 0;

  void Run(const KernelCall& call) const {
    const int64_t end = std::min(problem.geometry.batch * blocks, (call.task + 1) * blocks_per_task);
    for (int64_t i = call.task * blocks_per_task; i < end; ++i) RunBlock(call, i / blocks, i % blocks);
  }

  // Input rows [low, high) of axis 1 that belong to the block.
  int64_t BlockLow(int64_t index) const {
    const SpatialAxis& axis = problem.geometry.axis[1];
    if (index <= 0) return 0;
    if (index >= blocks) return axis.input;
    return std::clamp<int64_t>(index * block * axis.stride - axis.pad_before, 0, axis.input);
  }

  void RunBlock(const KernelCall& call, int64_t image, int64_t index) const {
    const PoolProblem& p = problem;
    const ConvGeometry& g = p.geometry;
    const int64_t row_floats = g.axis[2].input * g.in_channels;
    const int64_t low = BlockLow(index), high = BlockLow(index + 1);
    const int64_t windows = blocks == 1 ? g.axis[1].output : block;
    // With several blocks axis 0 has size 1, so that the block is contiguous.
    const int64_t first = image * p.in_floats() + low * row_floats;
    const int64_t count = blocks == 1 ? p.in_floats() : (high - low) * row_floats;
    float* dx = epilogue->Buffer(call, first);
    const bool covered = disjoint && Covers(high, index);
    if (!covered) std::memset(dx, 0, static_cast<size_t>(count) * sizeof(float));
    PoolArgs args;
    args.disjoint = disjoint;
    args.index_bytes = index_bytes;
    args.dx = dx - low * row_floats;
    PoolCell* cells = reinterpret_cast<PoolCell*>(call.scratch + cells_offset);
    for (int64_t a = 0; a < g.axis[0].output; ++a) {
      const int64_t end = std::min(g.axis[1].output, (index + 1) * windows);
      for (int64_t b = index * windows; b < end; ++b) {
        const int64_t row = a * g.axis[1].output + b;
        const int64_t at = image * p.out_floats() + row * p.row_floats();
        args.dy = FloatInput(call, dy_input) + at;
        if (index_input >= 0) args.index = call.inputs[index_input] + at * index_bytes;
        p.Row(row, args, cells);
      }
    }
    epilogue->Finish(call, first, count, dx);
  }

  // Whether the block's windows leave no cell of its rows out.
  bool Covers(int64_t high, int64_t index) const {
    const ConvGeometry& g = problem.geometry;
    for (int a = 0; a < 3; ++a) {
      const SpatialAxis& axis = g.axis[a];
      if (axis.stride != axis.window) return false;
      if (a != 1 && axis.output * axis.stride - axis.pad_before < axis.input) return false;
    }
    const SpatialAxis& axis = g.axis[1];
    const int64_t end = blocks == 1 ? axis.output : std::min(axis.output, (index + 1) * block);
    return end * axis.stride - axis.pad_before >= high;
  }
};

}  // namespace

LowerResult LowerPool(const LowerContext& context) {
  auto state = std::make_shared<PoolState>();
  state->problem = Describe(context, context.anchor_input_type(0).shape);
  PoolProblem& p = state->problem;
  const std::string_view op = context.anchor().op->name;
  const PoolKernels& kernels = context.kernels.pool;
  state->x_input = context.anchor_input(0);
  if (op == "average_pool") {
    p.run = kernels.average;
  } else if (op == "max_pool_gather") {
    p.run = kernels.gather;
    state->index_input = context.anchor_input(1);
    state->index_bytes = SizeOf(context.anchor_input_type(1).dtype);
  } else {
    const Ref index{*context.cluster.anchor, 1};
    state->index_output = context.cluster.output_index(index);
    state->index_bytes = SizeOf(context.cluster.type(index).dtype);
    p.run = state->index_output >= 0 ? kernels.max_with_index : kernels.max;
  }
  const int64_t rows = p.geometry.batch * p.rows();
  const int64_t cost = p.row_floats() * std::max<int64_t>(1, p.max_cells);
  state->rows_per_task = TaskSize(rows, std::max<int64_t>(1, kTaskFloats / cost), 1);
  state->rows_per_chunk = std::min(state->rows_per_task, std::max<int64_t>(1, kChunkFloats / p.row_floats()));
  Arena scratch;
  state->cells_offset = scratch.Take(p.max_cells * static_cast<int64_t>(sizeof(PoolCell)));
  state->epilogue.emplace(context.program, state->rows_per_chunk * p.row_floats(), scratch);
  const int64_t tasks = CeilDiv(rows, state->rows_per_task);
  Lowering lowering;
  lowering.kernel = StrCat(op, " by rows, ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<PoolState>(std::move(state), tasks, scratch.bytes()));
  return lowering;
}

LowerResult LowerPoolGradient(const LowerContext& context) {
  auto state = std::make_shared<GradientState>();
  state->problem = Describe(context, context.anchor().outputs[0].shape);
  PoolProblem& p = state->problem;
  const ConvGeometry& g = p.geometry;
  const bool max = context.anchor().op->name == "max_pool_gradient";
  p.run = max ? context.kernels.pool.max_gradient : context.kernels.pool.average_gradient;
  state->dy_input = context.anchor_input(0);
  if (max) {
    state->index_input = context.anchor_input(1);
    state->index_bytes = SizeOf(context.anchor_input_type(1).dtype);
  }
  state->disjoint = true;
  for (const SpatialAxis& axis : g.axis) state->disjoint &= axis.stride >= axis.window;
  state->block = g.axis[1].output;
  if (state->disjoint && g.axis[0].input == 1 && g.axis[0].output == 1) {
    const int64_t row = std::max<int64_t>(1, g.axis[1].stride * g.axis[2].input * g.in_channels);
    state->block = std::clamp<int64_t>(kChunkFloats / row, 1, g.axis[1].output);
    state->blocks = CeilDiv(g.axis[1].output, state->block);
  }
  int64_t range = p.in_floats();
  if (state->blocks > 1) {
    range = 0;
    for (int64_t i = 0; i < state->blocks; ++i) {
      range = std::max(range, (state->BlockLow(i + 1) - state->BlockLow(i)) * g.axis[2].input * g.in_channels);
    }
  }
  Arena scratch;
  state->cells_offset = scratch.Take(p.max_cells * static_cast<int64_t>(sizeof(PoolCell)));
  state->epilogue.emplace(context.program, range, scratch);
  const int64_t units = g.batch * state->blocks;
  state->blocks_per_task = TaskSize(units, std::max<int64_t>(1, kTaskFloats * state->blocks / p.in_floats()), 1);
  const int64_t tasks = CeilDiv(units, state->blocks_per_task);
  Lowering lowering;
  lowering.kernel = StrCat(context.anchor().op->name, state->disjoint ? ", disjoint windows, " : ", ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<GradientState>(std::move(state), tasks, scratch.bytes()));
  return lowering;
}

}  // namespace weir::highway
