// The transforms of Winograd's convolution (ops/winograd.h), channels across lanes: filters, cells of the source and
// cotangents to 36 elements, 36 sums to outputs and to gradients of taps. The products between them are product.cc's.
#include <cstddef>
#include <cstdint>

#include "weir/backends/highway/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "weir/backends/highway/kernels/winograd.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/cache_control.h"
#include "weir/backends/highway/kernels/dispatch.h"
#include "weir/backends/highway/kernels/math-inl.h"
#include "weir/backends/highway/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {
namespace {

#include "weir/ops/winograd-inl.h"  // NOLINT(build/include): the formulas, as functions of this target

using Transform = WinogradTransform<FloatVector>;
using Transform1D = void (*)(const FloatVector&, const VF*, VF*);

constexpr int kCells = 6, kOutputs = 4, kTaps = 3;

// How many lanes of a vector are wanted: all, known when compiled, or the first few.
struct AllLanes {};
HWY_INLINE VF LoadLanes(const float* p, AllLanes) { return hn::LoadU(DF(), p); }
HWY_INLINE VF LoadLanes(const float* p, size_t count) { return LoadFirst(DF(), p, count); }
HWY_INLINE void StoreLanes(VF v, float* p, AllLanes) { hn::StoreU(v, DF(), p); }
HWY_INLINE void StoreLanes(VF v, float* p, size_t count) { StoreFirst(v, DF(), p, count); }

// Calls run(c, lanes) for all vectors of `count` channels.
template <class Run>
HWY_INLINE void ForVectors(int64_t count, const Run& run) {
  int64_t c = 0;
  for (; c + static_cast<int64_t>(kLanes) <= count; c += kLanes) run(c, AllLanes());
  if (c < count) run(c, static_cast<size_t>(count - c));
}

// Rows of a square whose columns are transformed already, to rows of elements.
template <int kFrom, int kTo, Transform1D kTransform, class Store>
HWY_INLINE void TransformRows(const VF (&half)[kTo][kFrom], const Store& store) {
#pragma GCC unroll 6
  for (int i = 0; i < kTo; ++i) {
    VF out[kTo];
    kTransform({}, half[i], out);
#pragma GCC unroll 6
    for (int j = 0; j < kTo; ++j) store(i, j, out[j]);
  }
}

// ---- Cells of an image ---------------------------------------------------------------------------
template <int kSize, Transform1D kTransform>
struct Cells {
  // Which cells of a tile lie inside of the image.
  struct Inside {
    bool row[kSize], column[kSize];
  };

  // Both transforms take zeros to zeros, all of them positive, so that columns outside need none.
  template <bool kEdge>
  HWY_INLINE static void Tile(const WinogradCellsArgs& args, const float* first, const Inside& inside, float* dst) {
    const int64_t row_stride = args.columns * args.pixel_stride, pixel_stride = args.pixel_stride;
    ForVectors(args.channels, [&](int64_t c, auto lanes) HWY_ATTR {
      VF half[kCells][kSize];
#pragma GCC unroll 6
      for (int j = 0; j < kSize; ++j) {
        VF column[kSize], out[kCells];
        if (kEdge && !inside.column[j]) {
#pragma GCC unroll 6
          for (int i = 0; i < kCells; ++i) half[i][j] = hn::Zero(DF());
          continue;
        }
#pragma GCC unroll 6
        for (int i = 0; i < kSize; ++i) {
          column[i] = kEdge && !inside.row[i] ? hn::Zero(DF())
                                              : LoadLanes(first + i * row_stride + j * pixel_stride + c, lanes);
        }
        kTransform({}, column, out);
#pragma GCC unroll 6
        for (int i = 0; i < kCells; ++i) half[i][j] = out[i];
      }
      TransformRows<kSize, kCells, kTransform>(half, [&](int i, int j, VF v) HWY_ATTR {
        hn::StoreU(v, DF(), dst + (i * kCells + j) * args.element_stride + c);
      });
    });
  }

  static void Run(const WinogradCellsArgs& args) noexcept {
    float* dst = args.dst;
    Inside inside;
    bool rows_inside = true;
    for (int i = 0; i < kSize; ++i) {
      inside.row[i] = args.row + i >= 0 && args.row + i < args.rows;
      rows_inside &= inside.row[i];
    }
    for (int64_t t = 0; t < args.tiles; ++t, dst += args.tile_stride) {
      const int64_t column = args.column + t * kOutputs;
      // May point outside of the image; only cells inside are read.
      const float* first = args.image + (args.row * args.columns + column) * args.pixel_stride;
      if (rows_inside && column >= 0 && column + kSize <= args.columns) {
        Tile<false>(args, first, inside, dst);
        continue;
      }
      for (int j = 0; j < kSize; ++j) inside.column[j] = column + j >= 0 && column + j < args.columns;
      Tile<true>(args, first, inside, dst);
    }
  }
};

// ---- Filters -------------------------------------------------------------------------------------
void Filter(const WinogradFilterArgs& args) noexcept {
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* w = args.w + r * args.row_stride;
    float* dst = args.dst + r * args.width;
    ForVectors(args.columns, [&](int64_t c, auto lanes) HWY_ATTR {
      VF half[kCells][kTaps];
#pragma GCC unroll 3
      for (int j = 0; j < kTaps; ++j) {
        VF taps[kTaps], out[kCells];
#pragma GCC unroll 3
        for (int i = 0; i < kTaps; ++i) taps[i] = LoadLanes(w + (i * kTaps + j) * args.tap_stride + c, lanes);
        Transform::Filter({}, taps, out);
#pragma GCC unroll 6
        for (int i = 0; i < kCells; ++i) half[i][j] = out[i];
      }
      TransformRows<kTaps, kCells, &Transform::Filter>(half, [&](int i, int j, VF v) HWY_ATTR {
        hn::StoreU(v, DF(), dst + (i * kCells + j) * args.element_stride + c);
      });
    });
  }
}

// ---- Products ------------------------------------------------------------------------------------
// Terms of a far filter fetched ahead: the best of 8 to 256.
constexpr int64_t kAhead = 64;
// What is fetched beside a tile's own loads: terms of the filter, or a line of memory wanted later for each term.
enum class Fetch { kNothing, kFilter, kStream };

// A tile of kRows tiles by kVectors vectors of output channels.
template <int kRows, int kVectors, Fetch kFetch>
void ProductTile(const WinogradProductArgs& args, const float* source, const float* filter, float* dst,
                 const float* stream) {
  const DF d;
  const int64_t terms = args.terms;
  VF sum[kRows][kVectors];
  const float* u[kRows];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    u[i] = source + i * args.source_tile + terms;
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d);
  }
  for (int64_t k = -terms; k < 0; ++k) {
    VF b[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) b[j] = hn::LoadU(d, filter + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const VF a = hn::Set(d, u[i][k]);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[i][j] = Fma(d, a, b[j], sum[i][j]);
    }
    if constexpr (kFetch == Fetch::kFilter) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) hwy::Prefetch(filter + (kAhead * kPanelVectors + j) * kLanes);
    } else if constexpr (kFetch == Fetch::kStream) {
      hwy::Prefetch(stream);
      stream += kLineFloats;
    }
    filter += kPanelVectors * kLanes;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) hn::StoreU(sum[i][j], d, dst + i * args.product_tile + j * kLanes);
  }
}

using ProductTileFn = void (*)(const WinogradProductArgs& args, const float* source, const float* filter, float* dst,
                               const float* stream);
template <size_t kCount, size_t... kIndex>
struct ProductTiles : ProductTiles<kCount - 1, kCount, kIndex...> {};
template <size_t... kIndex>
struct ProductTiles<0, kIndex...> {
  template <Fetch kFetch>
  static constexpr ProductTileFn kTiles[kPanelVectors][kRowTile] = {{&ProductTile<kIndex, 1, kFetch>...},
                                                                    {&ProductTile<kIndex, 2, kFetch>...}};
};

void Product(const WinogradProductArgs& args) noexcept {
  using Tiles = ProductTiles<kRowTile>;
  const size_t vectors = args.columns > static_cast<int64_t>(kLanes) ? 2 : 1;
  const ProductTileFn* plain =
      args.far ? Tiles::kTiles<Fetch::kFilter>[vectors - 1] : Tiles::kTiles<Fetch::kNothing>[vectors - 1];
  const ProductTileFn* streaming = Tiles::kTiles<Fetch::kStream>[vectors - 1];
  size_t next_stream = args.far ? kWinogradStreams : 0;
  const float* stream = nullptr;
  int64_t lines = 0;
  for (int64_t e = 0; e < kCells * kCells; ++e) {
    const float* source = args.source + e * args.source_element;
    const float* filter = args.filter + e * args.filter_element;
    float* dst = args.product + e * args.product_element;
    for (int64_t left = args.tiles; left > 0;) {
      const int64_t rows = NextTileRows(left);
      while (lines <= 0 && next_stream < kWinogradStreams) {
        stream = args.stream[next_stream];
        lines = args.stream_floats[next_stream++] / kLineFloats;
      }
      (lines > 0 ? streaming : plain)[rows - 1](args, source, filter, dst, stream);
      stream += args.terms * kLineFloats;
      lines -= args.terms;
      source += rows * args.source_tile;
      dst += rows * args.product_tile;
      left -= rows;
    }
  }
}

// ---- Outputs -------------------------------------------------------------------------------------
// Along the second axis first, as the canonical order has it.
template <bool kEdge>
HWY_INLINE void OutputTile(const WinogradOutputArgs& args, const float* product, float* dst, int64_t pixels) {
  ForVectors(args.channels, [&](int64_t c, auto lanes) HWY_ATTR {
    VF half[kCells][kOutputs];
#pragma GCC unroll 6
    for (int i = 0; i < kCells; ++i) {
      VF sums[kCells];
#pragma GCC unroll 6
      for (int j = 0; j < kCells; ++j) {
        sums[j] = hn::LoadU(DF(), product + (i * kCells + j) * args.element_stride + c);
      }
      Transform::Output({}, sums, half[i]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < kOutputs; ++j) {
      if (kEdge && j >= pixels) return;
      VF column[kCells], out[kOutputs];
#pragma GCC unroll 6
      for (int i = 0; i < kCells; ++i) column[i] = half[i][j];
      Transform::Output({}, column, out);
#pragma GCC unroll 4
      for (int i = 0; i < kOutputs; ++i) {
        if (!kEdge || i < args.rows) StoreLanes(out[i], dst + i * args.row_stride + j * args.pixel_stride + c, lanes);
      }
    }
  });
}

void Output(const WinogradOutputArgs& args) noexcept {
  for (int64_t t = 0; t < args.tiles; ++t) {
    const float* product = args.product + t * args.tile_stride;
    float* dst = args.dst + t * kOutputs * args.pixel_stride;
    const int64_t pixels = args.pixels - t * kOutputs;
    if (args.rows >= kOutputs && pixels >= kOutputs) {
      OutputTile<false>(args, product, dst, pixels);
    } else {
      OutputTile<true>(args, product, dst, pixels);
    }
  }
}

// ---- Gradients of filters ------------------------------------------------------------------------
void Taps(const WinogradTapsArgs& args) noexcept {
  ForVectors(args.count, [&](int64_t c, auto lanes) HWY_ATTR {
    VF half[kTaps][kCells];
#pragma GCC unroll 6
    for (int j = 0; j < kCells; ++j) {
      VF sums[kCells], out[kTaps];
#pragma GCC unroll 6
      for (int i = 0; i < kCells; ++i) {
        const float* part = args.sums + (i * kCells + j) * args.element_stride + c;
        VF total = LoadLanes(part, lanes);
        for (int64_t p = 1; p < args.parts; ++p) {
          part += args.part_stride;
          total = hn::Add(total, LoadLanes(part, lanes));
        }
        sums[i] = total;
      }
      Transform::FilterGradient({}, sums, out);
#pragma GCC unroll 3
      for (int i = 0; i < kTaps; ++i) half[i][j] = out[i];
    }
#pragma GCC unroll 3
    for (int i = 0; i < kTaps; ++i) {
      VF out[kTaps];
      Transform::FilterGradient({}, half[i], out);
#pragma GCC unroll 3
      for (int j = 0; j < kTaps; ++j) StoreLanes(out[j], args.dst + (i * kTaps + j) * args.tap_stride + c, lanes);
    }
  });
}

}  // namespace

WinogradKernels GetWinogradKernels() {
  return {.filter = &Filter,
          .source = &Cells<kCells, &Transform::Source>::Run,
          .cotangent = &Cells<kOutputs, &Transform::Cotangent>::Run,
          .product = &Product,
          .output = &Output,
          .taps = &Taps};
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::highway {

HWY_EXPORT(GetWinogradKernels);

WinogradKernels WinogradKernelsFor(int64_t target) {
  return ForTarget(HWY_DISPATCH_TABLE(GetWinogradKernels), target)();
}

}  // namespace weir::highway
#endif  // HWY_ONCE
