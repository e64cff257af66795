// The inner loop that products and convolutions share in the reference: a tile of R rows by kTileColumns columns of
// sums held in registers, each element summed over k in ascending order by fused multiply-adds. Internal to ops/.
#ifndef WEIR_OPS_OUTER_PRODUCT_H_
#define WEIR_OPS_OUTER_PRODUCT_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "weir/ops/fma.h"

namespace weir {

// Four rows by two vectors of eight floats leave registers for the operands.
inline constexpr int64_t kTileColumns = 16;
inline constexpr int64_t kTileRows = 4;

template <class T>
struct Tile {
  T sums[kTileRows][kTileColumns];

  [[gnu::always_inline]] void Clear() {
    for (auto& row : sums) std::fill_n(row, kTileColumns, T(0));
  }

  // sums[r][j] = fma(a[r][k * a_step], b[k][j], sums[r][j]) for k = 0 .. count - 1. b is packed: kTileColumns a row.
  // Rows beyond those in use may point to any of the others.
  [[gnu::always_inline]] void Accumulate(const T* const (&a)[kTileRows], int64_t a_step, const T* b, int64_t count) {
    T acc[kTileRows][kTileColumns];
    for (int64_t r = 0; r < kTileRows; ++r) {
      for (int64_t j = 0; j < kTileColumns; ++j) acc[r][j] = sums[r][j];
    }
    const T *a0 = a[0], *a1 = a[1], *a2 = a[2], *a3 = a[3];
    for (int64_t k = 0; k < count; ++k) {
      const T x0 = a0[k * a_step], x1 = a1[k * a_step], x2 = a2[k * a_step], x3 = a3[k * a_step];
      for (int64_t j = 0; j < kTileColumns; ++j) acc[0][j] = Fma(x0, b[j], acc[0][j]);
      for (int64_t j = 0; j < kTileColumns; ++j) acc[1][j] = Fma(x1, b[j], acc[1][j]);
      for (int64_t j = 0; j < kTileColumns; ++j) acc[2][j] = Fma(x2, b[j], acc[2][j]);
      for (int64_t j = 0; j < kTileColumns; ++j) acc[3][j] = Fma(x3, b[j], acc[3][j]);
      b += kTileColumns;
    }
    for (int64_t r = 0; r < kTileRows; ++r) {
      for (int64_t j = 0; j < kTileColumns; ++j) sums[r][j] = acc[r][j];
    }
  }
};

// Copies `columns` (at most kTileColumns) numbers at distance `step` into a packed row, zeros behind.
template <class T>
[[gnu::always_inline]] inline void PackRow(const T* src, int64_t step, int64_t columns, T* dst) {
  for (int64_t j = 0; j < columns; ++j) dst[j] = src[j * step];
  for (int64_t j = columns; j < kTileColumns; ++j) dst[j] = T(0);
}

// Float loops run compiled for the machine's FMA, others as they are.
template <class Loop>
void RunTypedLoop(const Loop& loop) {
  if constexpr (std::is_same_v<typename Loop::Element, float>) {
    RunLoop(loop);
  } else {
    Loop::Run(loop);
  }
}

}  // namespace weir

#endif  // WEIR_OPS_OUTER_PRODUCT_H_
