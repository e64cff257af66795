// Moving elements: packing rows into panels, and transposition of 4-byte elements, 4 x 4 at a time.
#include <cstddef>
#include <cstdint>

#include "weir/backends/highway/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "weir/backends/highway/kernels/move.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "weir/backends/highway/kernels/common-inl.h"
#include "weir/backends/highway/kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {
namespace {

// Blocks of one cache line's floats each way, within strips of columns whose lines of dst stay in the first-level
// cache.
constexpr int64_t kBlock = 16, kStrip = 128;
// Lines this far apart (in floats) tend to evict each other: then as few as possible are in use at once.
constexpr int64_t kFar = 256;

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void Transpose4(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 4; ++c) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
}
#else
HWY_INLINE void Transpose4(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
  const hn::FixedTag<float, 4> d;
  const hn::RepartitionToWide<decltype(d)> dw;
  const auto a = hn::LoadU(d, src), b = hn::LoadU(d, src + src_stride);
  const auto c = hn::LoadU(d, src + 2 * src_stride), e = hn::LoadU(d, src + 3 * src_stride);
  const auto ab_low = hn::BitCast(dw, hn::InterleaveLower(d, a, b));   // a0 b0 a1 b1
  const auto ab_high = hn::BitCast(dw, hn::InterleaveUpper(d, a, b));  // a2 b2 a3 b3
  const auto ce_low = hn::BitCast(dw, hn::InterleaveLower(d, c, e));
  const auto ce_high = hn::BitCast(dw, hn::InterleaveUpper(d, c, e));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, ab_low, ce_low)), d, dst);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, ab_low, ce_low)), d, dst + dst_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, ab_high, ce_high)), d, dst + 2 * dst_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, ab_high, ce_high)), d, dst + 3 * dst_stride);
}
#endif

// A block of at most kBlock rows and columns.
HWY_INLINE void TransposeBlock(const float* src, int64_t src_stride, int64_t rows, int64_t columns, float* dst,
                               int64_t dst_stride) {
  const int64_t whole_rows = rows & ~int64_t{3}, whole_columns = columns & ~int64_t{3};
  if (dst_stride >= kFar) {
    for (int64_t c = 0; c < whole_columns; c += 4) {
      for (int64_t r = 0; r < whole_rows; r += 4) {
        Transpose4(src + r * src_stride + c, src_stride, dst + c * dst_stride + r, dst_stride);
      }
    }
  } else {
    for (int64_t r = 0; r < whole_rows; r += 4) {
      for (int64_t c = 0; c < whole_columns; c += 4) {
        Transpose4(src + r * src_stride + c, src_stride, dst + c * dst_stride + r, dst_stride);
      }
    }
  }
  for (int64_t c = whole_columns; c < columns; ++c) {
    for (int64_t r = 0; r < whole_rows; ++r) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
  for (int64_t r = whole_rows; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
}

void Transpose(const float* src, int64_t src_stride, int64_t rows, int64_t columns, float* dst,
               int64_t dst_stride) noexcept {
  for (int64_t strip = 0; strip < columns; strip += kStrip) {
    const int64_t end = HWY_MIN(strip + kStrip, columns);
    for (int64_t r = 0; r < rows; r += kBlock) {
      for (int64_t c = strip; c < end; c += kBlock) {
        TransposeBlock(src + r * src_stride + c, src_stride, HWY_MIN(kBlock, rows - r), HWY_MIN(kBlock, end - c),
                       dst + c * dst_stride + r, dst_stride);
      }
    }
  }
}

// One panel after the other: writing to all of them in turn would meet the same few sets of the first-level cache.
void Pack(const float* src, int64_t src_stride, int64_t rows, int64_t columns, int64_t width, float* dst) noexcept {
  const DF d;
  constexpr int64_t kVector = kLanes;
  for (int64_t c = 0; c < columns; c += width) {
    const bool whole = c + width <= columns;
    for (int64_t r = 0; r < rows; ++r, dst += width) {
      const float* from = src + r * src_stride + c;
      for (int64_t j = 0; j < width; j += kVector) {
        const int64_t left = columns - c - j;
        const VF v = whole || left >= kVector ? hn::LoadU(d, from + j)
                     : left > 0               ? LoadFirst(d, from + j, static_cast<size_t>(left))
                                              : hn::Zero(d);
        hn::StoreU(v, d, dst + j);
      }
    }
  }
}

}  // namespace

MoveKernels GetMoveKernels() { return {.pack = &Pack, .transpose = &Transpose}; }

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::highway {

HWY_EXPORT(GetMoveKernels);

MoveKernels MoveKernelsFor(int64_t target) { return ForTarget(HWY_DISPATCH_TABLE(GetMoveKernels), target)(); }

}  // namespace weir::highway
#endif  // HWY_ONCE
