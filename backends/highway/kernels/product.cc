// Outer-product kernels: a tile of sums in registers, rows by vectors of columns, one multiplication of a broadcast
// element of u by a vector of v a term. Convolutions, their gradients and matrix products are all made of these two;
// they differ in where the terms of u lie.
#include <cstddef>
#include <cstdint>

#include "weir/backends/highway/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "weir/backends/highway/kernels/product.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/cache_control.h"
#include "weir/backends/highway/kernels/common-inl.h"
#include "weir/backends/highway/kernels/dispatch.h"
#include "weir/backends/highway/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {
namespace {

// Terms of v fetched ahead: those of a full tile take some 12 cycles each, the second-level cache some 15 to 20.
constexpr int64_t kAhead = 16;

// A row of the tile in dst; its last vector has `last` valid columns.
template <int kVectors>
HWY_INLINE void LoadRow(const float* p, size_t last, VF (&row)[kVectors]) {
  const DF d;
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    row[j] = j + 1 < kVectors || last == kLanes ? hn::LoadU(d, p + j * kLanes) : LoadFirst(d, p + j * kLanes, last);
  }
}
template <int kVectors>
HWY_INLINE void FinishRow(Accumulate accumulate, float* p, size_t last, VF (&sum)[kVectors]) {
  const DF d;
  if (accumulate == Accumulate::kAddBlock) {
    VF old[kVectors];
    LoadRow<kVectors>(p, last, old);
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[j] = hn::Add(old[j], sum[j]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    if (j + 1 < kVectors || last == kLanes) {
      hn::StoreU(sum[j], d, p + j * kLanes);
    } else {
      StoreFirst(sum[j], d, p + j * kLanes, last);
    }
  }
}

// What a tile fetches into caches beside its own loads. kPanel: v, some terms ahead, if panels are in the second-level
// cache, whose latency the hardware does not hide well enough. kStream: memory that the caller will want next, a line a
// term, so that it arrives while the multiplications run.
enum class Fetch { kNothing, kPanel, kStream };

template <int kVectors, Fetch kFetch>
HWY_INLINE void FetchAhead(const float* v, int64_t v_step, const float*& stream) {
  if constexpr (kFetch == Fetch::kPanel) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) hwy::Prefetch(v + kAhead * v_step + j * kLanes);
  } else if constexpr (kFetch == Fetch::kStream) {
    hwy::Prefetch(stream);
    stream += kLineFloats;
  }
}

template <int kRows, int kVectors, Fetch kFetch>
void RowTile(const ProductArgs& args, const float* v_panel, int64_t column, int64_t row, size_t last,
             const float* stream) {
  const DF d;
  const int64_t* u_offset = args.u_offset + row;
  const int64_t* dst_offset = args.dst_offset + row;
  float* dst = args.dst + column;
  VF sum[kRows][kVectors];
  if (args.accumulate == Accumulate::kContinue) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) LoadRow<kVectors>(dst + dst_offset[i], last, sum[i]);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d);
    }
  }
  const int64_t v_step = args.v_step;
  for (const TermRun* run = args.runs; run != args.runs + args.run_count; ++run) {
    const float* u[kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) u[i] = args.u + u_offset[i] + run->u + run->length;
    const float* v = v_panel + run->v;
    for (int64_t k = -run->length; k < 0; ++k) {
      VF b[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) b[j] = hn::LoadU(d, v + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const VF a = hn::Set(d, u[i][k]);
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sum[i][j] = Fma(d, a, b[j], sum[i][j]);
      }
      FetchAhead<kVectors, kFetch>(v, v_step, stream);
      v += v_step;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) FinishRow<kVectors>(args.accumulate, dst + dst_offset[i], last, sum[i]);
}

template <int kRows, int kVectors, Fetch kFetch>
void ColumnTile(const ProductArgs& args, const float* v_panel, int64_t column, int64_t row, size_t last,
                const float* stream) {
  const DF d;
  float* dst = args.dst + row * args.dst_stride + column;
  VF sum[kRows][kVectors];
  if (args.accumulate == Accumulate::kContinue) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) LoadRow<kVectors>(dst + i * args.dst_stride, last, sum[i]);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d);
    }
  }
  const int64_t u_step = args.u_step, v_step = args.v_step;
  for (const TermRun* run = args.runs; run != args.runs + args.run_count; ++run) {
    const float* u = args.u + row + run->u;
    const float* v = v_panel + run->v;
    for (int64_t k = 0; k < run->length; ++k) {
      VF b[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) b[j] = hn::LoadU(d, v + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const VF a = hn::Set(d, u[i]);
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sum[i][j] = Fma(d, a, b[j], sum[i][j]);
      }
      FetchAhead<kVectors, kFetch>(v, v_step, stream);
      u += u_step;
      v += v_step;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) FinishRow<kVectors>(args.accumulate, dst + i * args.dst_stride, last, sum[i]);
}

using TileFn = void (*)(const ProductArgs& args, const float* v_panel, int64_t column, int64_t row, size_t last,
                        const float* stream);
using TileFns = TileFn[kPanelVectors][kRowTile];

template <size_t kCount, size_t... kIndex>
struct Tiles : Tiles<kCount - 1, kCount, kIndex...> {};
template <size_t... kIndex>
struct Tiles<0, kIndex...> {
  template <Fetch kFetch>
  static constexpr TileFns kRow = {{&RowTile<kIndex, 1, kFetch>...}, {&RowTile<kIndex, 2, kFetch>...}};
  template <Fetch kFetch>
  static constexpr TileFns kColumn = {{&ColumnTile<kIndex, 1, kFetch>...}, {&ColumnTile<kIndex, 2, kFetch>...}};
};
using AllTiles = Tiles<kRowTile>;

// Panels outside, rows inside: a panel of v stays in the first cache while all rows pass.
HWY_INLINE void ForTiles(const ProductArgs& args, const TileFns& plain, const TileFns& streaming) {
  constexpr int64_t kPanel = kPanelVectors * static_cast<int64_t>(kLanes);
  const float* v = args.v;
  const float* stream = args.stream;
  int64_t lines = args.stream_floats / kLineFloats, terms = 0;
  if (lines > 0) {
    for (int64_t i = 0; i < args.run_count; ++i) terms += args.runs[i].length;
  }
  for (int64_t column = 0; column < args.columns; column += kPanel, v += args.panel_stride) {
    const int64_t columns = HWY_MIN(kPanel, args.columns - column);
    const int64_t vectors = (columns + kLanes - 1) / kLanes;
    const size_t last = static_cast<size_t>(columns - (vectors - 1) * kLanes);
    for (int64_t row = 0; row < args.rows;) {
      const int64_t rows = NextTileRows(args.rows - row);
      const TileFns& tiles = lines > 0 ? streaming : plain;
      tiles[vectors - 1][rows - 1](args, v, column, row, last, stream);
      stream += terms * kLineFloats;
      lines -= terms;
      row += rows;
    }
  }
}

void RowProduct(const ProductArgs& args) noexcept {
  ForTiles(args, args.far ? AllTiles::kRow<Fetch::kPanel> : AllTiles::kRow<Fetch::kNothing>,
           AllTiles::kRow<Fetch::kStream>);
}
void ColumnProduct(const ProductArgs& args) noexcept {
  ForTiles(args, args.far ? AllTiles::kColumn<Fetch::kPanel> : AllTiles::kColumn<Fetch::kNothing>,
           AllTiles::kColumn<Fetch::kStream>);
}

}  // namespace

ProductKernels GetProductKernels() {
  return {.row_product = &RowProduct,
          .column_product = &ColumnProduct,
          .row_tile = kRowTile,
          .panel_vectors = kPanelVectors};
}
int64_t GetLanes() { return kLanes; }

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::highway {

HWY_EXPORT(GetProductKernels);
HWY_EXPORT(GetLanes);

ProductKernels ProductKernelsFor(int64_t target) { return ForTarget(HWY_DISPATCH_TABLE(GetProductKernels), target)(); }
int64_t LanesFor(int64_t target) { return ForTarget(HWY_DISPATCH_TABLE(GetLanes), target)(); }

}  // namespace weir::highway
#endif  // HWY_ONCE
