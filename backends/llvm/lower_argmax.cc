// Argmax: the position of the first largest number along an axis, a NaN being larger than any. Lanes are neighbours of
// the innermost axis, or, if that is the one searched, 16 interleaved parts of it that are compared at the end.
#include "weir/backends/llvm/lowering.h"
#include "weir/core/strings.h"
#include "weir/ops/attrs.h"

namespace weir::jit {
namespace {

constexpr int64_t kTaskFloats = 64 * 1024;  // read: about 30 us

// The best number so far and its position.
struct Best {
  Val value, position;
};

class ArgMaxLowering {
 public:
  explicit ArgMaxLowering(const Cluster& cluster)
      : cluster_(cluster), b_(Describe(cluster)), task_(b_.Task()), x_(b_, cluster), epilogue_(b_, cluster) {
    const Node& anchor = cluster.node(*cluster.anchor);
    const Shape& shape = cluster.type(anchor.inputs[0]).shape;
    const int axis = static_cast<int>(anchor.attrs.Ints(kAxes)[0]);
    count_ = shape.dim(axis);
    inner_ = shape.Strides()[static_cast<size_t>(axis)];
    outer_ = shape.size() / (count_ * inner_);
    last_ = shape.dim(-1);
  }

  Lowering Lower() {
    const int64_t pieces = CeilDiv(inner_, kLanes), units = outer_ * pieces;
    const int64_t per_task =
        TaskSize(units, std::max<int64_t>(1, kTaskFloats / (count_ * (inner_ == 1 ? 1 : kLanes))), 1);
    const int64_t tasks = CeilDiv(units, per_task);
    const Val begin = b_.Mul(task_, per_task);
    b_.Loop(begin, b_.Min(b_.Add(begin, b_.I64(per_task)), b_.I64(units)), 1, [&](Val unit) {
      if (inner_ == 1) {
        Row(unit);
      } else {
        Columns(b_.Div(unit, pieces), b_.Mul(b_.Rem(unit, pieces), kLanes));
      }
    });
    Lowering lowering;
    lowering.kernel = StrCat("jit, argmax over ", count_, ", ", tasks, " tasks");
    lowering.in_place = PointwisePairs(cluster_);
    lowering.stages.push_back(MakeStage(b_.Take(), tasks));
    return lowering;
  }

 private:
  // Whether `value` takes the place of `best`, which comes before it.
  Val Beats(Val value, Val best) {
    const IrMath math{&b_, Elem::kF32, b_.type(value).lanes};
    return math.And(math.Not(math.Le(value, best)), math.Eq(best, best));
  }
  Best Better(const Best& best, const Best& next) {
    const Val wins = Beats(next.value, best.value);
    return {b_.Select(wins, next.value, best.value), b_.Select(wins, next.position, best.position)};
  }

  void Columns(Val outer, Val column) {
    const Val base = b_.Add(b_.Mul(outer, count_ * inner_), column);
    const Val count = inner_ % kLanes == 0 ? kNoVal : b_.Binary(IrOp::kSub, b_.I64(inner_), column);
    const auto at = [&](Val j) {
      return Best{x_.At({.flat = b_.Add(base, b_.Mul(j, inner_)),
                         .count = count,
                         .aligned = inner_ % kLanes == 0,
                         .in_row = inner_ == last_}),
                  b_.Splat(b_.Convert(j, Elem::kI32), kLanes)};
    };
    const Best first = at(b_.I64(0));
    const Val where =
        b_.For(b_.I64(1), b_.I64(count_), 1, {first.value, first.position}, [&](Val j, const std::vector<Val>& best) {
          const Best next = Better({best[0], best[1]}, at(j));
          return std::vector<Val>{next.value, next.position};
        })[1];
    const Point point{.flat = b_.Add(b_.Mul(outer, inner_), column), .count = count, .aligned = inner_ % kLanes == 0};
    epilogue_.Emit({&point, 1}, {&where, 1});
  }

  // Lanes take turns: the first of equals may be in any of them, so equal lanes are told apart by position.
  void Row(Val row) {
    const Val base = b_.Mul(row, count_);
    const IrType index{Elem::kI32, kLanes};
    const int64_t whole = count_ / kLanes * kLanes;
    const auto at = [&](Val j, Val count) {
      return Best{x_.At({.flat = b_.Add(base, j), .count = count, .aligned = count_ % kLanes == 0, .in_row = true}),
                  b_.Binary(IrOp::kAdd, b_.Splat(b_.Convert(j, Elem::kI32), kLanes), b_.Iota(index))};
    };
    std::vector<Val> best;
    if (whole > 0) {
      const Best first = at(b_.I64(0), kNoVal);
      best = b_.For(b_.I64(kLanes), b_.I64(whole), kLanes, {first.value, first.position},
                    [&](Val j, const std::vector<Val>& so_far) {
                      const Best next = Better({so_far[0], so_far[1]}, at(j, kNoVal));
                      return std::vector<Val>{next.value, next.position};
                    });
    }
    int64_t lanes = kLanes;
    if (whole < count_) {
      const Best tail = at(b_.I64(whole), b_.I64(count_ - whole));
      if (whole == 0) {
        best = {tail.value, tail.position};
        lanes = count_;
      } else {
        const IrMath math{&b_, Elem::kF32, kLanes};
        const Val there = b_.Binary(IrOp::kLt, b_.Iota(index), b_.Const(index, count_ - whole));
        const Val wins = math.And(there, Beats(tail.value, best[0]));
        best = {b_.Select(wins, tail.value, best[0]), b_.Select(wins, tail.position, best[1])};
      }
    }
    Best winner{b_.Lane(best[0], 0), b_.Lane(best[1], 0)};
    for (int lane = 1; lane < lanes; ++lane) winner = Earlier(winner, {b_.Lane(best[0], lane), b_.Lane(best[1], lane)});
    const Point point{.flat = row, .lanes = 1};
    epilogue_.Emit({&point, 1}, {&winner.position, 1});
  }
  // Of two in no order: the larger, and of equals (or two NaNs) the one that comes first.
  Best Earlier(const Best& a, const Best& b) {
    const IrMath math{&b_, Elem::kF32, 1}, integers{&b_, Elem::kI32, 1};
    const Val larger = Beats(b.value, a.value), smaller = Beats(a.value, b.value);
    const Val wins = math.Or(larger, math.And(math.Not(smaller), integers.Lt(b.position, a.position)));
    return {b_.Select(wins, b.value, a.value), b_.Select(wins, b.position, a.position)};
  }

  const Cluster& cluster_;
  KernelBuilder b_;
  const Val task_;
  AnchorOperand x_;
  ClusterIr epilogue_;
  int64_t count_ = 1, inner_ = 1, outer_ = 1, last_ = 1;
};

}  // namespace

LowerResult LowerArgMax(const Cluster& cluster, const TileLimits&) { return ArgMaxLowering(cluster).Lower(); }

}  // namespace weir::jit
