#include "weir/backends/llvm/reduce_ir.h"

#include <limits>

#include "weir/backends/llvm/cluster_ir.h"
#include "weir/ops/canonical_order.h"

namespace weir::jit {
namespace {

static_assert(kLanes == kReduceLanes);
constexpr int64_t kStraight = 4 * kLanes;  // rows this short need no loop

}  // namespace

// A fold starts from this even where the canonical order takes its first part as it is: no part is -0, so that the
// bits are the same.
Val ReduceIr::Init(int lanes) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return b_.F32(kind_ == ReduceKind::kMax ? -kInfinity : kind_ == ReduceKind::kMin ? kInfinity : 0.0f, lanes);
}
Val ReduceIr::Op(Val acc, Val x) const {
  return kind_ == ReduceKind::kSumSquares ? b_.Fma(x, x, acc) : Combine(acc, x);
}
Val ReduceIr::Combine(Val a, Val b) const {
  const IrMath math{&b_, Elem::kF32, b_.type(a).lanes};
  switch (kind_) {
    case ReduceKind::kMax: return ScalarMath<IrMath>::Max(math, a, b);
    case ReduceKind::kMin: return ScalarMath<IrMath>::Min(math, a, b);
    default: return math.Add(a, b);
  }
}
Val ReduceIr::Lanes(Val lanes) const {
  while (b_.type(lanes).lanes > 1) lanes = Combine(b_.Half(lanes, false), b_.Half(lanes, true));
  return lanes;
}

std::vector<Val> ReduceIr::RowBlock(size_t rows, Val begin, int64_t size, const RowLoader& load) const {
  std::vector<Val> acc(rows, Init(kLanes));
  const int64_t whole = size / kLanes * kLanes;
  const auto step = [&](std::vector<Val>& lanes, Val j, int vector) {
    for (size_t r = 0; r < rows; ++r) lanes[r] = Op(lanes[r], load(r, j, kNoVal, vector));
  };
  if (size <= kStraight) {
    for (int64_t j = 0; j < whole; j += kLanes) step(acc, b_.Add(begin, b_.I64(j)), static_cast<int>(j / kLanes));
  } else {
    acc = b_.For(begin, b_.Add(begin, b_.I64(whole)), kLanes, acc, [&](Val j, std::vector<Val> lanes) {
      step(lanes, j, -1);
      return lanes;
    });
  }
  if (whole < size) {
    const IrType type{Elem::kI32, kLanes};
    const Val there = b_.Binary(IrOp::kLt, b_.Iota(type), b_.Const(type, size - whole));
    const int vector = size <= kStraight ? static_cast<int>(whole / kLanes) : -1;
    for (size_t r = 0; r < rows; ++r) {
      const Val x = load(r, b_.Add(begin, b_.I64(whole)), b_.I64(size - whole), vector);
      acc[r] = b_.Select(there, Op(acc[r], x), acc[r]);
    }
  }
  for (Val& lanes : acc) lanes = Lanes(lanes);
  return acc;
}

std::vector<Val> ReduceIr::Run(std::vector<Val> totals, int64_t size, const RowLoader& load) const {
  const size_t rows = totals.size();
  const int64_t whole = size / kReduceRowBlock * kReduceRowBlock;
  const auto fold = [&](std::vector<Val> sums, Val begin, int64_t count) {
    const std::vector<Val> block = RowBlock(rows, begin, count, load);
    for (size_t r = 0; r < rows; ++r) sums[r] = Combine(sums[r], block[r]);
    return sums;
  };
  if (whole > 0) {
    totals = b_.For(b_.I64(0), b_.I64(whole), kReduceRowBlock, totals,
                    [&](Val begin, const std::vector<Val>& sums) { return fold(sums, begin, kReduceRowBlock); });
  }
  if (whole < size) totals = fold(totals, b_.I64(whole), size - whole);
  return totals;
}

}  // namespace weir::jit
