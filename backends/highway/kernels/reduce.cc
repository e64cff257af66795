// Reductions: along rows (lanes across neighbouring elements of a sum) and along columns (lanes across outputs).
#include <cstddef>
#include <cstdint>
#include <limits>

#include "weir/backends/highway/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "weir/backends/highway/kernels/reduce.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "weir/backends/highway/kernels/dispatch.h"
#include "weir/backends/highway/kernels/reduce-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {
namespace {

template <class R>
void Row(const float* src, int64_t count, bool first, float* total) noexcept {
  for (int64_t begin = 0; begin < count; begin += kReduceRowBlock) {
    const size_t size = static_cast<size_t>(HWY_MIN(kReduceRowBlock, count - begin));
    const float value = RowBlock<R>(AsIs(), src + begin, size);
    *total = first ? value : CombineOne<R>(*total, value);
    first = false;
  }
}

template <class R, int kVectors>
HWY_INLINE void ColumnTile(const float* src, int64_t rows, int64_t stride, bool init, float* acc) {
  const DF d;
  VF sum[kVectors];
#pragma GCC unroll 8
  for (int j = 0; j < kVectors; ++j) sum[j] = init ? hn::Set(d, R::kInit) : hn::LoadU(d, acc + j * kLanes);
  for (int64_t r = 0; r < rows; ++r, src += stride) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) sum[j] = R::Op(sum[j], hn::LoadU(d, src + j * kLanes));
  }
#pragma GCC unroll 8
  for (int j = 0; j < kVectors; ++j) hn::StoreU(sum[j], d, acc + j * kLanes);
}

template <class R>
void Columns(const float* src, int64_t rows, int64_t stride, int64_t columns, bool init, float* acc) noexcept {
  const DF d;
  constexpr int64_t kVector = kLanes;
  int64_t c = 0;
  for (; c + 4 * kVector <= columns; c += 4 * kVector) ColumnTile<R, 4>(src + c, rows, stride, init, acc + c);
  for (; c + kVector <= columns; c += kVector) ColumnTile<R, 1>(src + c, rows, stride, init, acc + c);
  if (c == columns) return;
  const size_t rest = static_cast<size_t>(columns - c);
  VF sum = init ? hn::Set(d, R::kInit) : LoadFirst(d, acc + c, rest);
  for (int64_t r = 0; r < rows; ++r) sum = R::Op(sum, LoadFirst(d, src + r * stride + c, rest));
  StoreFirst(sum, d, acc + c, rest);
}

template <class R>
void Combine(const float* part, int64_t columns, float* total) noexcept {
  const DF d;
  int64_t c = 0;
  for (; c + static_cast<int64_t>(kLanes) <= columns; c += kLanes) {
    hn::StoreU(R::Combine(hn::LoadU(d, total + c), hn::LoadU(d, part + c)), d, total + c);
  }
  if (c == columns) return;
  const size_t rest = static_cast<size_t>(columns - c);
  StoreFirst(R::Combine(LoadFirst(d, total + c, rest), LoadFirst(d, part + c, rest)), d, total + c, rest);
}

template <class R>
void Fill(ReduceKernels& kernels, ReduceKind kind) {
  const size_t i = static_cast<size_t>(kind);
  kernels.row[i] = &Row<R>;
  kernels.columns[i] = &Columns<R>;
  kernels.combine[i] = &Combine<R>;
}

// Rows are short (classes): a plain loop.
int32_t ArgMax(const float* row, int64_t count) noexcept {
  int32_t index = 0;
  float best = row[0];
  for (int64_t i = 1; i < count; ++i) {
    if (row[i] > best || (row[i] != row[i] && best == best)) {
      best = row[i];
      index = static_cast<int32_t>(i);
    }
  }
  return index;
}

}  // namespace

ReduceKernels GetReduceKernels() {
  ReduceKernels kernels;
  Fill<SumOp>(kernels, ReduceKind::kSum);
  Fill<SumSquaresOp>(kernels, ReduceKind::kSumSquares);
  Fill<MaxOp>(kernels, ReduceKind::kMax);
  Fill<MinOp>(kernels, ReduceKind::kMin);
  kernels.argmax = &ArgMax;
  return kernels;
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::highway {

HWY_EXPORT(GetReduceKernels);

ReduceKernels ReduceKernelsFor(int64_t target) { return ForTarget(HWY_DISPATCH_TABLE(GetReduceKernels), target)(); }

float ReduceInit(ReduceKind kind) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return kind == ReduceKind::kMax ? -kInfinity : kind == ReduceKind::kMin ? kInfinity : 0;
}

}  // namespace weir::highway
#endif  // HWY_ONCE
