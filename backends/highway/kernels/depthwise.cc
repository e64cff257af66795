// Depthwise products: lane c of one operand meets lane c of the other. Memory-bound, so the tiles are small: a few
// positions share each load of the filter.
#include <cstddef>
#include <cstdint>

#include "weir/backends/highway/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "weir/backends/highway/kernels/depthwise.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "weir/backends/highway/kernels/common-inl.h"
#include "weir/backends/highway/kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {
namespace {

constexpr int kRowTile = 8;  // sums in registers: as many as hide the latency of an fma on two ports
constexpr int kTapTile = 9;  // a 3 x 3 filter in one pass

HWY_INLINE void StoreColumns(VF v, float* p, size_t count) {
  if (count >= kLanes) {
    hn::StoreU(v, DF(), p);
  } else {
    StoreFirst(v, DF(), p, count);
  }
}

template <int kRows>
HWY_INLINE void ForwardTile(const DepthwiseArgs& args, int64_t row, int64_t column) {
  const DF d;
  const int64_t* u_offset = args.u_offset + row;
  const float* u = args.u + column;
  const float* v = args.v + column;
  VF sum[kRows];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) sum[i] = hn::Zero(d);
  for (const TermRun* tap = args.taps; tap != args.taps + args.tap_count; ++tap) {
    const VF b = hn::LoadU(d, v + tap->v);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) sum[i] = Fma(d, hn::LoadU(d, u + u_offset[i] + tap->u), b, sum[i]);
  }
  const size_t left = static_cast<size_t>(args.columns - column);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) StoreColumns(sum[i], args.dst + args.dst_offset[row + i] + column, left);
}

void Forward(const DepthwiseArgs& args) noexcept {
  for (int64_t row = 0; row < args.rows;) {
    const bool full = args.rows - row >= kRowTile;
    for (int64_t column = 0; column < args.columns; column += kLanes) {
      if (full) {
        ForwardTile<kRowTile>(args, row, column);
      } else {
        ForwardTile<1>(args, row, column);
      }
    }
    row += full ? kRowTile : 1;
  }
}

template <int kTaps>
HWY_INLINE void FilterTile(const DepthwiseFilterArgs& args, int64_t tap, int64_t column) {
  const DF d;
  VF sum[kTaps];
  int64_t offset[kTaps];
#pragma GCC unroll 16
  for (int t = 0; t < kTaps; ++t) {
    sum[t] = hn::Zero(d);
    offset[t] = args.tap_offset[tap + t];
  }
  for (int64_t image = 0; image < args.images; ++image) {
    for (int64_t row = 0; row < args.rows; ++row) {
      const float* u = args.u + image * args.u_image + args.row_u[row] + column;
      const float* v = args.v + image * args.v_image + args.row_v[row] + column;
      for (int64_t p = 0; p < args.positions; ++p) {
        const VF b = hn::LoadU(d, v);
#pragma GCC unroll 16
        for (int t = 0; t < kTaps; ++t) sum[t] = Fma(d, hn::LoadU(d, u + offset[t]), b, sum[t]);
        u += args.u_step;
        v += args.v_step;
      }
    }
  }
  const size_t left = static_cast<size_t>(args.columns - column);
#pragma GCC unroll 16
  for (int t = 0; t < kTaps; ++t) StoreColumns(sum[t], args.dst + (tap + t) * args.dst_stride + column, left);
}

void FilterGradient(const DepthwiseFilterArgs& args) noexcept {
  for (int64_t column = 0; column < args.columns; column += kLanes) {
    int64_t tap = 0;
    for (; tap + kTapTile <= args.taps; tap += kTapTile) FilterTile<kTapTile>(args, tap, column);
    for (; tap + 3 <= args.taps; tap += 3) FilterTile<3>(args, tap, column);
    for (; tap < args.taps; ++tap) FilterTile<1>(args, tap, column);
  }
}

}  // namespace

DepthwiseKernels GetDepthwiseKernels() { return {.forward = &Forward, .filter_gradient = &FilterGradient}; }

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::highway {

HWY_EXPORT(GetDepthwiseKernels);

DepthwiseKernels DepthwiseKernelsFor(int64_t target) {
  return ForTarget(HWY_DISPATCH_TABLE(GetDepthwiseKernels), target)();
}

}  // namespace weir::highway
#endif  // HWY_ONCE
