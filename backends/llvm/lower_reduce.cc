// Reductions. Outputs are split among tasks; where outputs are few and sums long, the canonical blocks of a sum are,
// and a second kernel adds them in order.
#include <algorithm>
#include <functional>

#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/reduce_ir.h"
#include "weir/core/strings.h"
#include "weir/ops/attrs.h"
#include "weir/ops/canonical_order.h"
#include "weir/ops/reduce_geometry.h"

namespace weir::jit {
namespace {

constexpr int64_t kTaskFloats = 128 * 1024;  // read: about 40 us
constexpr int64_t kFewTasks = 8;
constexpr int64_t kMaxVectors = 4;  // of columns at a time: independent sums hide the latency of an addition
constexpr int64_t kRowsAtOnce = 4;
constexpr int64_t kTasksInOrder = 16;
constexpr int64_t kRowsInOrder = 4;
constexpr int64_t kFetchAhead = 4096;  // floats that rows in order are fetched ahead
constexpr int64_t kFewOperations = 2;
constexpr int64_t kFarFloats = 256 * 1024;  // of operands that no second-level cache holds: read in order of memory
constexpr int64_t kLeastPart = 256, kMostPart = 2048;  // columns of a task, whose sums the first-level cache holds

// Offset of the flat index tuple over axes, row-major.
Val OffsetOf(KernelBuilder& b, const std::vector<ReduceAxis>& axes, Val flat) {
  Val offset = b.I64(0);
  for (size_t i = axes.size(); i-- > 0;) {
    offset = b.Add(offset, b.Mul(i == 0 ? flat : b.Rem(flat, axes[i].size), axes[i].stride));
    if (i > 0) flat = b.Div(flat, axes[i].size);
  }
  return offset;
}

struct Problem : ReduceGeometry {
  int64_t last = 1;  // size of the operand's last axis
  ReduceKind kind = ReduceKind::kSum;
};

ReduceKind KindOf(std::string_view op) {
  if (op == "reduce_sum") return ReduceKind::kSum;
  if (op == "reduce_sum_squares") return ReduceKind::kSumSquares;
  return op == "reduce_max" ? ReduceKind::kMax : ReduceKind::kMin;
}

Problem DescribeProblem(const Cluster& cluster) {
  const Node& anchor = cluster.node(*cluster.anchor);
  const Shape& shape = cluster.type(anchor.inputs[0]).shape;
  return {ReduceGeometryOf(shape, anchor.attrs.Ints(kAxes)), shape.rank() > 0 ? shape.dim(-1) : 1,
          KindOf(anchor.op->name)};
}

class ReduceLowering {
 public:
  explicit ReduceLowering(const Cluster& cluster) : cluster_(cluster), p_(DescribeProblem(cluster)) {}

  Lowering Lower() {
    const int64_t blocks = p_.row_mode ? p_.reduced_count * CeilDiv(p_.inner, kReduceRowBlock)
                                       : CeilDiv(p_.reduced_count, kReduceColumnBlock);
    const int64_t elements = p_.kept_count * p_.reduced_count * p_.inner;
    vectors_ = std::min(kMaxVectors, CeilDiv(p_.inner, int64_t{kLanes}));
    pieces_ = p_.row_mode ? 1 : CeilDiv(p_.inner, vectors_ * kLanes);
    const int64_t outputs = p_.kept_count * pieces_;
    Lowering lowering;
    if (!p_.row_mode && p_.kept_count == 1 && pieces_ > 1 && elements > kFarFloats) {
      InOrder(lowering, blocks);
    } else if (blocks > 1 && outputs < kFewTasks && elements >= 2 * kTaskFloats) {
      ByBlocks(lowering, blocks);
    } else {
      p_.row_mode ? Rows(lowering) : Columns(lowering);
    }
    lowering.in_place = PointwisePairs(cluster_);
    return lowering;
  }

 private:
  std::string Name(const char* part) const { return StrCat(Describe(cluster_), part); }
  // Lanes of the operand from element `flat` on, along the innermost axis.
  Val Element(AnchorOperand& x, Val flat, Val count) const {
    return x.At({.flat = flat, .count = count, .aligned = p_.inner % kLanes == 0, .in_row = p_.inner == p_.last});
  }
  int Workspace(KernelBuilder& b) const { return b.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0}); }

  // body(unit) for the task's share of `units`.
  void ForUnits(KernelBuilder& b, Val task, int64_t units, int64_t per_task, int64_t step,
                const std::function<void(Val)>& body) const {
    const Val begin = b.Mul(task, per_task);
    b.Loop(begin, b.Min(b.Add(begin, b.I64(per_task)), b.I64(units)), step, body);
  }

  // ---- Rows --------------------------------------------------------------------------------------------------------
  std::vector<Val> FoldRows(KernelBuilder& b, AnchorOperand& x, const ReduceIr& fold,
                            const std::vector<Val>& bases) const {
    std::vector<Val> totals(bases.size(), fold.Init(1));
    const auto over = [&](const std::vector<Val>& sums, Val offset) {
      return fold.Run(sums, p_.inner, [&](size_t row, Val j, Val count, int) {
        return Element(x, b.Add(b.Add(bases[row], offset), j), count);
      });
    };
    if (p_.reduced_count == 1) return over(totals, b.I64(0));
    return b.For(b.I64(0), b.I64(p_.reduced_count), 1, totals,
                 [&](Val t, const std::vector<Val>& sums) { return over(sums, OffsetOf(b, p_.reduced, t)); });
  }
  void Rows(Lowering& lowering) {
    KernelBuilder b(Name(", rows"));
    const Val task = b.Task();
    AnchorOperand x(b, cluster_);
    ClusterIr epilogue(b, cluster_);
    const ReduceIr fold(b, p_.kind);
    // Rows at a time: with work before the sum there is no latency left to hide, and code to save.
    const int64_t group = x.cost() > kFewOperations ? 1 : kRowsAtOnce;
    const int64_t cost = std::max<int64_t>(64, p_.reduced_count * p_.inner * (1 + x.cost() / 4));
    const int64_t per_task = TaskSize(p_.kept_count, std::max<int64_t>(1, kTaskFloats / cost), group);
    const int64_t tasks = CeilDiv(p_.kept_count, per_task), whole = p_.kept_count / group * group;
    const auto rows = [&](Val first, size_t count) {
      std::vector<Val> bases;
      std::vector<Point> points;
      for (size_t r = 0; r < count; ++r) {
        const Val row = b.Add(first, b.I64(static_cast<int64_t>(r)));
        bases.push_back(OffsetOf(b, p_.kept, row));
        points.push_back({.flat = row, .lanes = 1});
      }
      epilogue.Emit(points, FoldRows(b, x, fold, bases));
    };
    const Val begin = b.Mul(task, per_task), end = b.Add(begin, b.I64(per_task));
    if (whole > 0)
      b.Loop(begin, b.Min(end, b.I64(whole)), group, [&](Val row) { rows(row, static_cast<size_t>(group)); });
    if (whole < p_.kept_count)
      b.Loop(b.I64(whole), b.Min(end, b.I64(p_.kept_count)), 1, [&](Val row) { rows(row, 1); });
    lowering.kernel = StrCat("jit, rows of ", p_.inner, ", ", tasks, " tasks");
    lowering.stages.push_back(MakeStage(b.Take(), tasks));
  }

  // ---- Columns -----------------------------------------------------------------------------------------------------
  std::vector<Val> Counts(KernelBuilder& b, Val column) const {
    std::vector<Val> counts;
    for (int64_t v = 0; v < vectors_; ++v) {
      const bool whole = p_.inner % (vectors_ * kLanes) == 0;
      counts.push_back(whole ? kNoVal : b.Binary(IrOp::kSub, b.I64(p_.inner), b.Add(column, b.I64(v * kLanes))));
    }
    return counts;
  }
  // Reduced tuples [begin, end) of the columns at `base`.
  std::vector<Val> FoldColumns(KernelBuilder& b, AnchorOperand& x, const ReduceIr& fold, Val base,
                               const std::vector<Val>& counts, Val begin, Val end) const {
    return b.For(begin, end, 1, std::vector<Val>(static_cast<size_t>(vectors_), fold.Init(kLanes)),
                 [&](Val t, std::vector<Val> acc) {
                   const Val at = b.Add(base, OffsetOf(b, p_.reduced, t));
                   for (size_t v = 0; v < acc.size(); ++v) {
                     const Val index = b.Add(at, b.I64(static_cast<int64_t>(v) * kLanes));
                     acc[v] = fold.Op(acc[v], Element(x, index, counts[v]));
                   }
                   return acc;
                 });
  }
  void Columns(Lowering& lowering) {
    KernelBuilder b(Name(", columns"));
    const Val task = b.Task();
    AnchorOperand x(b, cluster_);
    ClusterIr epilogue(b, cluster_);
    const ReduceIr fold(b, p_.kind);
    const int64_t units = p_.kept_count * pieces_, cost = p_.reduced_count * vectors_ * kLanes * (1 + x.cost() / 4);
    const int64_t per_task = TaskSize(units, std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(64, cost)), 1);
    const int64_t tasks = CeilDiv(units, per_task);
    ForUnits(b, task, units, per_task, 1, [&](Val unit) {
      const Val tuple = b.Div(unit, pieces_), column = b.Mul(b.Rem(unit, pieces_), vectors_ * kLanes);
      const Val base = b.Add(OffsetOf(b, p_.kept, tuple), column);
      const std::vector<Val> counts = Counts(b, column);
      const auto block = [&](std::vector<Val> totals, Val begin, Val end) {
        const std::vector<Val> sums = FoldColumns(b, x, fold, base, counts, begin, end);
        for (size_t v = 0; v < totals.size(); ++v) totals[v] = fold.Combine(totals[v], sums[v]);
        return totals;
      };
      std::vector<Val> totals(static_cast<size_t>(vectors_), fold.Init(kLanes));
      const Val count = b.I64(p_.reduced_count);
      if (p_.reduced_count <= kReduceColumnBlock) {
        totals = block(totals, b.I64(0), count);
      } else {
        totals = b.For(b.I64(0), count, kReduceColumnBlock, totals, [&](Val begin, const std::vector<Val>& sums) {
          return block(sums, begin, b.Min(count, b.Add(begin, b.I64(kReduceColumnBlock))));
        });
      }
      std::vector<Point> points;
      for (int64_t v = 0; v < vectors_; ++v) {
        const Val flat = b.Add(b.Add(b.Mul(tuple, p_.inner), column), b.I64(v * kLanes));
        points.push_back({.flat = flat, .count = counts[static_cast<size_t>(v)], .aligned = p_.inner % kLanes == 0});
      }
      epilogue.Emit(points, totals);
    });
    lowering.kernel = StrCat("jit, columns of ", p_.reduced_count, ", ", tasks, " tasks");
    lowering.stages.push_back(MakeStage(b.Take(), tasks));
  }

  // ---- Blocks of long sums -----------------------------------------------------------------------------------------
  // Block i of output o goes to workspace[i * outputs + o].
  void ByBlocks(Lowering& lowering, int64_t blocks) {
    const int64_t outputs = p_.row_mode ? p_.kept_count : p_.kept_count * p_.inner;
    KernelBuilder b(Name(", blocks"));
    const Val task = b.Task();
    AnchorOperand x(b, cluster_);
    const ReduceIr fold(b, p_.kind);
    const int workspace = Workspace(b);
    const int64_t units = p_.kept_count * pieces_ * blocks;
    const int64_t cost = p_.row_mode ? std::min(p_.inner, kReduceRowBlock) : kReduceColumnBlock * vectors_ * kLanes;
    const int64_t per_task = TaskSize(units, std::max<int64_t>(1, kTaskFloats / cost), 1),
                  tasks = CeilDiv(units, per_task);
    ForUnits(b, task, units, per_task, 1, [&](Val unit) {
      const Val block = b.Rem(unit, blocks), rest = b.Div(unit, blocks);
      const Val tuple = b.Div(rest, pieces_), base = OffsetOf(b, p_.kept, tuple);
      const Val row = b.Mul(block, outputs);
      if (p_.row_mode) {
        const int64_t runs = CeilDiv(p_.inner, kReduceRowBlock), tail = p_.inner - (runs - 1) * kReduceRowBlock;
        const Val part = b.Rem(block, runs);
        const Val at = b.Add(b.Add(base, OffsetOf(b, p_.reduced, b.Div(block, runs))), b.Mul(part, kReduceRowBlock));
        const auto store = [&](int64_t size) {
          const auto load = [&](size_t, Val j, Val count, int) { return Element(x, b.Add(at, j), count); };
          b.Store(workspace, fold.RowBlock(1, b.I64(0), size, load)[0], b.Add(row, tuple));
        };
        const Val last = b.Binary(IrOp::kEq, part, b.I64(runs - 1));
        if (runs > 1) b.If(b.Unary(IrOp::kNot, last), [&] { store(kReduceRowBlock); });
        b.If(last, [&] { store(tail); });
      } else {
        const Val column = b.Mul(b.Rem(rest, pieces_), vectors_ * kLanes), begin = b.Mul(block, kReduceColumnBlock);
        const Val end = b.Min(b.I64(p_.reduced_count), b.Add(begin, b.I64(kReduceColumnBlock)));
        const std::vector<Val> counts = Counts(b, column);
        const std::vector<Val> sums = FoldColumns(b, x, fold, b.Add(base, column), counts, begin, end);
        for (size_t v = 0; v < sums.size(); ++v) {
          const Val at =
              b.Add(b.Add(row, b.Add(b.Mul(tuple, p_.inner), column)), b.I64(static_cast<int64_t>(v) * kLanes));
          b.Store(workspace, sums[v], at, counts[v]);
        }
      }
    });
    lowering.kernel = StrCat("jit, ", blocks, " blocks, ", tasks, " tasks");
    lowering.workspace_bytes = blocks * outputs * 4;
    lowering.stages.push_back(MakeStage(b.Take(), tasks));
    lowering.stages.push_back(CombineBlocks(blocks, outputs));
  }

  // Blocks of long rows, from memory: some rows pass over all columns before the next ones do, while sums wait in the
  // first-level cache, at their place in the workspace. Down the columns a few vectors at a time, each row would be a
  // jump.
  void InOrder(Lowering& lowering, int64_t blocks) {
    const int64_t width = vectors_ * kLanes;
    KernelBuilder b(Name(", blocks in order"));
    const Val task = b.Task();
    AnchorOperand x(b, cluster_);
    const ReduceIr fold(b, p_.kind);
    const int workspace = Workspace(b);
    const int64_t wanted = std::max<int64_t>(1, kTasksInOrder / blocks);
    const int64_t part = RoundUp(std::clamp(CeilDiv(p_.inner, wanted), kLeastPart, kMostPart), width);
    const int64_t parts = CeilDiv(p_.inner, part), tasks = blocks * parts;
    const Val block = b.Div(task, parts), first = b.Mul(b.Rem(task, parts), part);
    const Val last = b.Min(b.I64(p_.inner), b.Add(first, b.I64(part)));
    const Val sums = b.Mul(block, p_.inner);
    const auto neighbour = [&](Val at, size_t v) { return b.Add(at, b.I64(static_cast<int64_t>(v) * kLanes)); };
    const auto add_rows = [&](Val t, int64_t rows) {
      std::vector<Val> bases;
      for (int64_t r = 0; r < rows; ++r) bases.push_back(OffsetOf(b, p_.reduced, b.Add(t, b.I64(r))));
      b.Loop(first, last, width, [&](Val column) {
        const std::vector<Val> counts = Counts(b, column);
        const Val at = b.Add(sums, column);
        for (size_t v = 0; v < counts.size(); ++v) {
          Val sum = b.Load(workspace, neighbour(at, v), kLanes, counts[v]);
          for (Val row : bases) {
            const Val index = neighbour(b.Add(row, column), v);
            x.Fetch(b.Add(index, b.I64(kFetchAhead)));
            sum = fold.Op(sum, Element(x, index, counts[v]));
          }
          b.Store(workspace, sum, neighbour(at, v), counts[v]);
        }
      });
    };
    b.Loop(first, last, width, [&](Val column) {
      const std::vector<Val> counts = Counts(b, column);
      for (size_t v = 0; v < counts.size(); ++v) {
        b.Store(workspace, fold.Init(kLanes), neighbour(b.Add(sums, column), v), counts[v]);
      }
    });
    const int64_t rows = x.cost() > kFewOperations ? 1 : kRowsInOrder;
    const Val begin = b.Mul(block, kReduceColumnBlock);
    const Val end = b.Min(b.I64(p_.reduced_count), b.Add(begin, b.I64(kReduceColumnBlock)));
    const Val whole = b.Add(begin, b.Mul(b.Div(b.Binary(IrOp::kSub, end, begin), rows), rows));
    b.Loop(begin, whole, rows, [&](Val t) { add_rows(t, rows); });
    if (p_.reduced_count % rows != 0) b.Loop(whole, end, 1, [&](Val t) { add_rows(t, 1); });
    lowering.kernel = StrCat("jit, ", blocks, " blocks in order, ", tasks, " tasks");
    lowering.workspace_bytes = blocks * p_.inner * 4;
    lowering.stages.push_back(MakeStage(b.Take(), tasks));
    lowering.stages.push_back(CombineBlocks(blocks, p_.inner));
  }

  Stage CombineBlocks(int64_t blocks, int64_t outputs) {
    KernelBuilder b(Name(", blocks together"));
    const Val task = b.Task();
    ClusterIr epilogue(b, cluster_);
    const ReduceIr fold(b, p_.kind);
    const int workspace = Workspace(b);
    const int64_t per_task = TaskSize(outputs, std::max<int64_t>(kLanes, kTaskFloats / blocks), kLanes);
    ForUnits(b, task, outputs, per_task, kLanes, [&](Val flat) {
      const Val count = outputs % kLanes == 0 ? kNoVal : b.Binary(IrOp::kSub, b.I64(outputs), flat);
      const Val total = b.For(b.I64(0), b.I64(blocks), 1, {fold.Init(kLanes)}, [&](Val i, const std::vector<Val>& sum) {
        return std::vector<Val>{fold.Combine(sum[0], b.Load(workspace, b.Add(b.Mul(i, outputs), flat), kLanes, count))};
      })[0];
      const Point point{.flat = flat, .count = count, .aligned = true};
      epilogue.Emit({&point, 1}, {&total, 1});
    });
    return MakeStage(b.Take(), CeilDiv(outputs, per_task));
  }

  const Cluster& cluster_;
  const Problem p_;
  int64_t vectors_ = 1, pieces_ = 1;
};

// Of no elements every result is what a fold starts from.
Lowering LowerNothing(const Cluster& cluster) {
  KernelBuilder b(Describe(cluster));
  const Val task = b.Task();
  ClusterIr epilogue(b, cluster);
  const Val nothing = ReduceIr(b, KindOf(cluster.node(*cluster.anchor).op->name)).Init(kLanes);
  const int64_t outputs = cluster.shape.size(), per_task = TaskSize(outputs, kTaskFloats, kLanes);
  const Val begin = b.Mul(task, per_task);
  b.Loop(begin, b.Min(b.Add(begin, b.I64(per_task)), b.I64(outputs)), kLanes, [&](Val flat) {
    const Point point{.flat = flat, .count = b.Binary(IrOp::kSub, b.I64(outputs), flat), .aligned = true};
    epilogue.Emit({&point, 1}, {&nothing, 1});
  });
  Lowering lowering;
  lowering.kernel = "jit, a reduction over nothing";
  lowering.in_place = PointwisePairs(cluster);
  lowering.stages.push_back(MakeStage(b.Take(), CeilDiv(outputs, per_task)));
  return lowering;
}

}  // namespace

LowerResult LowerReduce(const Cluster& cluster, const TileLimits&) {
  const bool nothing = cluster.type(cluster.node(*cluster.anchor).inputs[0]).shape.size() == 0;
  return nothing ? LowerNothing(cluster) : ReduceLowering(cluster).Lower();
}

}  // namespace weir::jit
