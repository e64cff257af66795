// Reductions and argmax. Outputs are split among tasks; where outputs are few and sums long, the canonical blocks of a
// sum are, and a second stage adds them in order.
#include <algorithm>
#include <optional>

#include "weir/backends/highway/combine.h"
#include "weir/backends/highway/lowering.h"
#include "weir/ops/attrs.h"
#include "weir/ops/canonical_order.h"
#include "weir/ops/reduce_geometry.h"

namespace weir::highway {
namespace {

constexpr int64_t kTaskFloats = 128 * 1024;  // read: about 40 us
constexpr int64_t kChunkFloats = 2048;       // outputs that wait for the epilogue
constexpr int64_t kFewTasks = 8;
constexpr int64_t kColumns = 64;  // columns are cut at multiples of this

// Offset of the flat index tuple over axes, row-major.
int64_t OffsetOf(const std::vector<ReduceAxis>& axes, int64_t flat) {
  int64_t offset = 0;
  for (size_t i = axes.size(); i-- > 0;) {
    offset += flat % axes[i].size * axes[i].stride;
    flat /= axes[i].size;
  }
  return offset;
}

struct ReduceProblem : ReduceGeometry {
  ReduceKind kind = ReduceKind::kSum;
  const KernelTable* kernels = nullptr;
  int input = 0;
  bool empty = false;  // nothing to reduce over

  // Reduced tuples [begin, end) of columns [column, column + count) of one kept tuple, folded into acc.
  void FoldColumns(const float* x, int64_t begin, int64_t end, int64_t column, int64_t count, float* acc) const {
    const auto fold = kernels->reduce.columns[static_cast<int>(kind)];
    const ReduceAxis last = reduced.empty() ? ReduceAxis{1, 0} : reduced.back();
    for (int64_t t = begin; t < end;) {
      const int64_t rows = std::min(end - t, last.size - t % last.size);
      fold(x + OffsetOf(reduced, t) + column, rows, last.stride, count, t == begin, acc);
      t += rows;
    }
  }
};

// ---- One stage: tasks are outputs ---------------------------------------------------------------
struct OutputState {
  ReduceProblem problem;
  std::optional<Epilogue> epilogue;
  // A unit is a kept tuple (row mode), or `piece` of its columns.
  int64_t units = 0, units_per_task = 1, units_per_chunk = 1, pieces = 1, piece = 1;
  int64_t block_offset = 0;  // scratch of one piece

  void Run(const KernelCall& call) const {
    const ReduceProblem& p = problem;
    const int64_t end = std::min(units, (call.task + 1) * units_per_task);
    for (int64_t begin = call.task * units_per_task; begin < end; begin += units_per_chunk) {
      const int64_t last = std::min(end, begin + units_per_chunk);
      const int64_t first = p.row_mode ? begin : begin / pieces * p.inner + begin % pieces * piece;
      float* dst = epilogue->Buffer(call, first);
      int64_t done = 0;
      for (int64_t unit = begin; unit < last; ++unit) done += RunUnit(call, unit, dst + done);
      epilogue->Finish(call, first, done, dst);
    }
  }

  int64_t RunUnit(const KernelCall& call, int64_t unit, float* dst) const {
    const ReduceProblem& p = problem;
    const int64_t column = p.row_mode ? 0 : unit % pieces * piece;
    const int64_t count = p.row_mode ? 1 : std::min(piece, p.inner - column);
    if (p.empty) {
      std::fill_n(dst, count, ReduceInit(p.kind));
      return count;
    }
    const float* x = FloatInput(call, p.input) + OffsetOf(p.kept, unit / pieces);
    if (p.row_mode) {
      for (int64_t t = 0; t < p.reduced_count; ++t) {
        p.kernels->reduce.row[static_cast<int>(p.kind)](x + OffsetOf(p.reduced, t), p.inner, t == 0, dst);
      }
      return 1;
    }
    float* block = FloatsAt(call.scratch, block_offset);
    for (int64_t t = 0; t < p.reduced_count; t += kReduceColumnBlock) {
      p.FoldColumns(x, t, std::min(p.reduced_count, t + kReduceColumnBlock), column, count, t == 0 ? dst : block);
      if (t > 0) p.kernels->reduce.combine[static_cast<int>(p.kind)](block, count, dst);
    }
    return count;
  }
};

// ---- Two stages: tasks are canonical blocks -----------------------------------------------------
// Block b of output i goes to workspace[b * outputs + i].
struct BlockState {
  ReduceProblem problem;
  int64_t outputs = 0, blocks = 0, run_blocks = 1;  // run_blocks: row mode, of one run
  int64_t units = 0, units_per_task = 1;            // a unit is a block of a kept tuple

  void Run(const KernelCall& call) const {
    const ReduceProblem& p = problem;
    const int64_t end = std::min(units, (call.task + 1) * units_per_task);
    for (int64_t unit = call.task * units_per_task; unit < end; ++unit) {
      const int64_t tuple = unit / blocks, block = unit % blocks;
      const float* x = FloatInput(call, p.input) + OffsetOf(p.kept, tuple);
      float* dst = FloatsAt(call.workspace, 0) + block * outputs;
      if (p.row_mode) {
        const int64_t begin = block % run_blocks * kReduceRowBlock;
        p.kernels->reduce.row[static_cast<int>(p.kind)](x + OffsetOf(p.reduced, block / run_blocks) + begin,
                                                        std::min(kReduceRowBlock, p.inner - begin), true, dst + tuple);
      } else {
        const int64_t begin = block * kReduceColumnBlock;
        p.FoldColumns(x, begin, std::min(p.reduced_count, begin + kReduceColumnBlock), 0, p.inner,
                      dst + tuple * p.inner);
      }
    }
  }
};

ReduceProblem Describe(const LowerContext& context) {
  ReduceProblem p;
  const std::string_view op = context.anchor().op->name;
  p.kernels = &context.kernels;
  p.input = context.anchor_input(0);
  p.kind = op == "reduce_sum"           ? ReduceKind::kSum
           : op == "reduce_sum_squares" ? ReduceKind::kSumSquares
           : op == "reduce_max"         ? ReduceKind::kMax
                                        : ReduceKind::kMin;
  const Shape& shape = context.anchor_input_type(0).shape;
  static_cast<ReduceGeometry&>(p) = ReduceGeometryOf(shape, context.anchor().attrs.Ints(kAxes));
  p.empty = shape.size() == 0;
  return p;
}

Lowering LowerByOutputs(const LowerContext& context, ReduceProblem problem) {
  auto state = std::make_shared<OutputState>();
  state->problem = std::move(problem);
  const ReduceProblem& p = state->problem;
  int64_t cost = p.reduced_count * p.inner;  // of a unit
  if (!p.row_mode) {
    // A kept tuple has too many elements for one task: its columns are cut.
    state->piece = p.inner;
    if (cost > kTaskFloats) {
      state->piece = std::min(
          p.inner, RoundUp(std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(1, p.reduced_count)), kColumns));
    }
    if (p.inner > kChunkFloats) state->piece = std::min(state->piece, kChunkFloats);
    state->pieces = CeilDiv(p.inner, state->piece);
    cost = p.reduced_count * state->piece;
  }
  state->units = p.kept_count * state->pieces;
  state->units_per_task = TaskSize(state->units, std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(64, cost)), 1);
  const int64_t outputs = p.row_mode ? 1 : state->piece;
  // Units of one chunk are contiguous: only whole tuples may share one.
  state->units_per_chunk =
      state->pieces > 1 ? 1 : std::clamp<int64_t>(kChunkFloats / outputs, 1, state->units_per_task);
  Arena scratch;
  state->block_offset = scratch.TakeFloats(outputs);
  state->epilogue.emplace(context.program, state->units_per_chunk * outputs, scratch);
  const int64_t tasks = CeilDiv(state->units, state->units_per_task);
  Lowering lowering;
  lowering.kernel = StrCat(context.anchor().op->name, p.row_mode ? " of rows, " : " of columns, ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<OutputState>(std::move(state), tasks, scratch.bytes()));
  return lowering;
}

Lowering LowerByBlocks(const LowerContext& context, ReduceProblem problem, int64_t blocks) {
  auto state = std::make_shared<BlockState>();
  state->problem = std::move(problem);
  const ReduceProblem& p = state->problem;
  state->outputs = p.row_mode ? p.kept_count : p.kept_count * p.inner;
  state->blocks = blocks;
  if (p.row_mode) state->run_blocks = CeilDiv(p.inner, kReduceRowBlock);
  state->units = p.kept_count * blocks;
  const int64_t cost = p.row_mode ? std::min(p.inner, kReduceRowBlock) : kReduceColumnBlock * p.inner;
  state->units_per_task = TaskSize(state->units, std::max<int64_t>(1, kTaskFloats / cost), 1);
  const int64_t tasks = CeilDiv(state->units, state->units_per_task), outputs = state->outputs;
  const ReduceKind kind = p.kind;
  Lowering lowering;
  lowering.kernel = StrCat(context.anchor().op->name, p.row_mode ? " of rows by " : " of columns by ", blocks,
                           " blocks, ", tasks, " tasks");
  lowering.workspace_bytes = blocks * outputs * 4;
  lowering.stages.push_back(MakeStage<BlockState>(std::move(state), tasks, 0));
  lowering.stages.push_back(CombineStage(context, kind, blocks, outputs, 0));
  return lowering;
}

// ---- argmax -------------------------------------------------------------------------------------
struct ArgMaxState {
  std::optional<Epilogue> epilogue;
  const KernelTable* kernels = nullptr;
  int input = 0;
  int64_t rows = 0, count = 0, rows_per_task = 1, rows_per_chunk = 1;

  void Run(const KernelCall& call) const {
    const int64_t end = std::min(rows, (call.task + 1) * rows_per_task);
    for (int64_t begin = call.task * rows_per_task; begin < end; begin += rows_per_chunk) {
      const int64_t size = std::min(rows_per_chunk, end - begin);
      float* buffer = epilogue->Buffer(call, begin);  // 4 bytes an element, as int32
      int32_t* dst = reinterpret_cast<int32_t*>(buffer);
      const float* x = FloatInput(call, input) + begin * count;
      for (int64_t i = 0; i < size; ++i) dst[i] = kernels->reduce.argmax(x + i * count, count);
      epilogue->Finish(call, begin, size, buffer);
    }
  }
};

}  // namespace

LowerResult LowerReduce(const LowerContext& context) {
  ReduceProblem p = Describe(context);
  const int64_t blocks =
      p.row_mode ? p.reduced_count * CeilDiv(p.inner, kReduceRowBlock) : CeilDiv(p.reduced_count, kReduceColumnBlock);
  const int64_t elements = p.kept_count * p.reduced_count * p.inner;
  const int64_t outputs = p.row_mode ? p.kept_count : p.kept_count * CeilDiv(p.inner, kColumns);
  if (blocks > 1 && outputs < kFewTasks && elements >= 2 * kTaskFloats)
    return LowerByBlocks(context, std::move(p), blocks);
  return LowerByOutputs(context, std::move(p));
}

LowerResult LowerArgMax(const LowerContext& context) {
  const Shape& shape = context.anchor_input_type(0).shape;
  const int axis = static_cast<int>(context.anchor().attrs.Ints(kAxes)[0]);
  if (shape.Strides()[static_cast<size_t>(axis)] != 1) return Decline{"argmax of an outer axis is the reference's"};
  auto state = std::make_shared<ArgMaxState>();
  state->kernels = &context.kernels;
  state->input = context.anchor_input(0);
  state->count = shape.dim(axis);
  state->rows = shape.size() / state->count;
  state->rows_per_task =
      TaskSize(state->rows, std::max<int64_t>(1, kTaskFloats / 4 / std::max<int64_t>(8, state->count)), 1);
  state->rows_per_chunk = std::min(state->rows_per_task, kChunkFloats);
  Arena scratch;
  state->epilogue.emplace(context.program, state->rows_per_chunk, scratch);
  const int64_t tasks = CeilDiv(state->rows, state->rows_per_task);
  Lowering lowering;
  lowering.kernel = StrCat("argmax, ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<ArgMaxState>(std::move(state), tasks, scratch.bytes()));
  return lowering;
}

}  // namespace weir::highway
