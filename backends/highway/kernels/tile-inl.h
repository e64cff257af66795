// The tile of sums that outer products keep in registers, once per target. Included after hwy/foreach_target.h by the
// kernel files that multiply.
#if defined(WEIR_BACKENDS_HIGHWAY_KERNELS_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEIR_BACKENDS_HIGHWAY_KERNELS_TILE_INL_H_
#undef WEIR_BACKENDS_HIGHWAY_KERNELS_TILE_INL_H_
#else
#define WEIR_BACKENDS_HIGHWAY_KERNELS_TILE_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {

// Rows x 2 vectors of sums, 2 vectors of v and 1 of u fill the registers: 32 of them with AVX-512, otherwise 16. Rows
// are also pointers in general-purpose registers, which is what limits AVX-512 to 12. At least 8 independent sums are
// needed to hide the latency of 4 cycles on two ports.
inline constexpr int kPanelVectors = 2;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
inline constexpr int kRowTile = 12;
#elif HWY_NATIVE_FMA
inline constexpr int kRowTile = 6;
#else
inline constexpr int kRowTile = 4;
#endif
inline constexpr int64_t kLineFloats = 16;  // of a cache line, fetched ahead

// Rows of the next tile when `left` are left: two tiles of about equal height at the end, rather than a full and a low
// one.
HWY_INLINE int64_t NextTileRows(int64_t left) {
  return left >= 2 * kRowTile ? kRowTile : left > kRowTile ? (left + 1) / 2 : left;
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#endif  // WEIR_BACKENDS_HIGHWAY_KERNELS_TILE_INL_H_
