// The three partials of a convolution by Winograd's algorithm, literally as winograd.h says.
#include <algorithm>
#include <vector>

#include "weir/ops/op_rows.h"
#include "weir/ops/outer_product.h"
#include "weir/ops/winograd.h"

namespace weir {
namespace {

template <class T>
struct PlainMath {
  using V = T;
  [[gnu::always_inline]] static T Const(double number) { return T(number); }
  [[gnu::always_inline]] static T Add(T a, T b) { return a + b; }
  [[gnu::always_inline]] static T Sub(T a, T b) { return a - b; }
  [[gnu::always_inline]] static T Mul(T a, T b) { return a * b; }
  [[gnu::always_inline]] static T Fma(T a, T b, T c) { return weir::Fma(a, b, c); }
};
template <class T>
using Transform = WinogradTransform<PlainMath<T>>;

template <class T>
using Transform1D = void (*)(const PlainMath<T>&, const T*, T*);

// A square of `From` x `From` numbers to one of `To` x `To`: columns, then rows.
template <int From, int To, class T, Transform1D<T> F>
[[gnu::always_inline]] inline void Square(const T (&in)[From][From], T (&out)[To][To]) {
  T half[To][From];
  for (int j = 0; j < From; ++j) {
    T column[From], result[To];
    for (int i = 0; i < From; ++i) column[i] = in[i][j];
    F({}, column, result);
    for (int i = 0; i < To; ++i) half[i][j] = result[i];
  }
  for (int i = 0; i < To; ++i) F({}, half[i], out[i]);
}

constexpr int kTile = kWinogradTile, kCells = kWinogradCells, kElements = kWinogradElements;

// Cells [row, row + Size) x [column, column + Size) of channel `channel` of an image, 0 outside of it.
template <int Size, class T>
[[gnu::always_inline]] inline void Cut(const T* image, int64_t rows, int64_t columns, int64_t channels, int64_t row,
                                       int64_t column, int64_t channel, T (&cells)[Size][Size]) {
  for (int64_t i = 0; i < Size; ++i) {
    for (int64_t j = 0; j < Size; ++j) {
      const int64_t r = row + i, c = column + j;
      const bool inside = r >= 0 && r < rows && c >= 0 && c < columns;
      cells[i][j] = inside ? image[(r * columns + c) * channels + channel] : T(0);
    }
  }
}

// Of forward and input gradient.
template <class T>
struct OutputLoop {
  using Element = T;
  const WinogradShape& shape;
  const T *x, *w;
  T* y;
  T* filter;   // [36][src channels][dst channels, in columns of kTileColumns]
  T* source;   // [36][kTileRows][src channels]
  T* product;  // [36][kTileRows][dst channels, in columns of kTileColumns]

  [[gnu::always_inline]] static int64_t Width(const WinogradShape& s) {
    return (s.dst_channels + kTileColumns - 1) / kTileColumns * kTileColumns;
  }

  [[gnu::always_inline]] static void TransformFilter(const OutputLoop& loop) {
    const WinogradShape& s = loop.shape;
    const int64_t width = Width(s);
    for (int64_t c = 0; c < s.src_channels; ++c) {
      for (int64_t o = 0; o < s.dst_channels; ++o) {
        T taps[3][3], rows[kCells][3], u[kCells];
        for (int64_t t = 0; t < 9; ++t) {
          taps[t / 3][t % 3] = s.gradient ? loop.w[((8 - t) * s.dst_channels + o) * s.src_channels + c]
                                          : loop.w[(t * s.src_channels + c) * s.dst_channels + o];
        }
        for (int64_t j = 0; j < 3; ++j) {
          const T column[3] = {taps[0][j], taps[1][j], taps[2][j]};
          Transform<T>::Filter({}, column, u);
          for (int64_t i = 0; i < kCells; ++i) rows[i][j] = u[i];
        }
        for (int64_t i = 0; i < kCells; ++i) {
          Transform<T>::Filter({}, rows[i], u);
          for (int64_t j = 0; j < kCells; ++j) {
            // In panels of kTileColumns, as Tile reads them.
            const int64_t panel = o / kTileColumns * s.src_channels * kTileColumns;
            loop.filter[(i * kCells + j) * s.src_channels * width + panel + c * kTileColumns + o % kTileColumns] = u[j];
          }
        }
      }
    }
  }

  [[gnu::always_inline]] static void Run(const OutputLoop& loop) {
    const WinogradShape& s = loop.shape;
    TransformFilter(loop);
    for (int64_t n = 0; n < s.batch; ++n) {
      for (int64_t t = 0; t < s.tiles(); t += kTileRows) RunTiles(loop, n, t, std::min(kTileRows, s.tiles() - t));
    }
  }

  [[gnu::always_inline]] static void RunTiles(const OutputLoop& loop, int64_t n, int64_t first, int64_t count) {
    const WinogradShape& s = loop.shape;
    const int64_t width = Width(s), channels = s.src_channels;
    const T* image = loop.x + n * s.src_rows * s.src_columns * channels;
    for (int64_t k = 0; k < count; ++k) {
      const int64_t row = (first + k) / s.tile_columns() * kTile - s.pad_rows;
      const int64_t column = (first + k) % s.tile_columns() * kTile - s.pad_columns;
      for (int64_t c = 0; c < channels; ++c) {
        T cells[kCells][kCells], v[kCells][kCells];
        Cut(image, s.src_rows, s.src_columns, channels, row, column, c, cells);
        Square<kCells, kCells, T, Transform<T>::Source>(cells, v);
        for (int64_t e = 0; e < kElements; ++e) {
          loop.source[(e * kTileRows + k) * channels + c] = v[e / kCells][e % kCells];
        }
      }
    }
    for (int64_t e = 0; e < kElements; ++e) {
      for (int64_t o = 0; o < width; o += kTileColumns) {
        Tile<T> tile;
        tile.Clear();
        const T* rows[kTileRows];
        for (int64_t k = 0; k < kTileRows; ++k) {
          rows[k] = loop.source + (e * kTileRows + std::min(k, count - 1)) * channels;
        }
        tile.Accumulate(rows, 1, loop.filter + e * channels * width + o * channels, channels);
        for (int64_t k = 0; k < kTileRows; ++k) {
          std::copy_n(tile.sums[k], kTileColumns, loop.product + (e * kTileRows + k) * width + o);
        }
      }
    }
    for (int64_t k = 0; k < count; ++k) {
      const int64_t row = (first + k) / s.tile_columns() * kTile, column = (first + k) % s.tile_columns() * kTile;
      for (int64_t o = 0; o < s.dst_channels; ++o) StoreTile(loop, n, row, column, k, o);
    }
  }

  [[gnu::always_inline]] static void StoreTile(const OutputLoop& loop, int64_t n, int64_t row, int64_t column,
                                               int64_t k, int64_t o) {
    const WinogradShape& s = loop.shape;
    T half[kCells][kTile], tile[kTile][kTile];
    for (int64_t i = 0; i < kCells; ++i) {
      T p[kCells];
      for (int64_t j = 0; j < kCells; ++j) p[j] = loop.product[((i * kCells + j) * kTileRows + k) * Width(s) + o];
      Transform<T>::Output({}, p, half[i]);
    }
    for (int64_t j = 0; j < kTile; ++j) {
      T halves[kCells], y[kTile];
      for (int64_t i = 0; i < kCells; ++i) halves[i] = half[i][j];
      Transform<T>::Output({}, halves, y);
      for (int64_t i = 0; i < kTile; ++i) tile[i][j] = y[i];
    }
    T* out = loop.y + ((n * s.dst_rows + row) * s.dst_columns + column) * s.dst_channels + o;
    for (int64_t i = 0; i < std::min<int64_t>(kTile, s.dst_rows - row); ++i) {
      for (int64_t j = 0; j < std::min<int64_t>(kTile, s.dst_columns - column); ++j) {
        out[(i * s.dst_columns + j) * s.dst_channels] = tile[i][j];
      }
    }
  }
};

template <class T>
struct FilterGradientLoop {
  using Element = T;
  const ConvGeometry& geometry;
  const T *x, *dy;
  T* dw;
  T* source;         // [36][src channels] of a tile
  T* cotangent;      // [36][dst channels]
  T *chunk, *total;  // [36][src channels][dst channels]

  [[gnu::always_inline]] static void Run(const FilterGradientLoop& loop) {
    const ConvGeometry& g = loop.geometry;
    const WinogradShape s = WinogradForward(g);
    const int64_t images = WinogradGradientImages(s.tiles()), sums = kElements * s.src_channels * s.dst_channels;
    std::fill_n(loop.total, sums, T(0));
    for (int64_t begin = 0; begin < s.batch; begin += images) {
      std::fill_n(loop.chunk, sums, T(0));
      for (int64_t n = begin; n < std::min(begin + images, s.batch); ++n) {
        for (int64_t t = 0; t < s.tiles(); ++t) AddTile(loop, s, n, t);
      }
      for (int64_t i = 0; i < sums; ++i) loop.total[i] = begin == 0 ? loop.chunk[i] : loop.total[i] + loop.chunk[i];
    }
    for (int64_t c = 0; c < s.src_channels; ++c) {
      for (int64_t o = 0; o < s.dst_channels; ++o) StoreTaps(loop, s, c, o);
    }
  }

  [[gnu::always_inline]] static void AddTile(const FilterGradientLoop& loop, const WinogradShape& s, int64_t n,
                                             int64_t t) {
    const int64_t row = t / s.tile_columns() * kTile, column = t % s.tile_columns() * kTile;
    const T* image = loop.x + n * s.src_rows * s.src_columns * s.src_channels;
    const T* cotangents = loop.dy + n * s.dst_rows * s.dst_columns * s.dst_channels;
    for (int64_t c = 0; c < s.src_channels; ++c) {
      T cells[kCells][kCells], v[kCells][kCells];
      Cut(image, s.src_rows, s.src_columns, s.src_channels, row - s.pad_rows, column - s.pad_columns, c, cells);
      Square<kCells, kCells, T, Transform<T>::Source>(cells, v);
      for (int64_t e = 0; e < kElements; ++e) loop.source[e * s.src_channels + c] = v[e / kCells][e % kCells];
    }
    for (int64_t o = 0; o < s.dst_channels; ++o) {
      T cells[kTile][kTile], v[kCells][kCells];
      Cut(cotangents, s.dst_rows, s.dst_columns, s.dst_channels, row, column, o, cells);
      Square<kTile, kCells, T, Transform<T>::Cotangent>(cells, v);
      for (int64_t e = 0; e < kElements; ++e) loop.cotangent[e * s.dst_channels + o] = v[e / kCells][e % kCells];
    }
    for (int64_t e = 0; e < kElements; ++e) {
      for (int64_t c = 0; c < s.src_channels; ++c) {
        T* sums = loop.chunk + (e * s.src_channels + c) * s.dst_channels;
        const T v = loop.source[e * s.src_channels + c];
        const T* cotangent = loop.cotangent + e * s.dst_channels;
        for (int64_t o = 0; o < s.dst_channels; ++o) sums[o] = Fma(v, cotangent[o], sums[o]);
      }
    }
  }

  [[gnu::always_inline]] static void StoreTaps(const FilterGradientLoop& loop, const WinogradShape& s, int64_t c,
                                               int64_t o) {
    T half[3][kCells], g[3];
    for (int64_t j = 0; j < kCells; ++j) {
      T p[kCells];
      for (int64_t i = 0; i < kCells; ++i) {
        p[i] = loop.total[((i * kCells + j) * s.src_channels + c) * s.dst_channels + o];
      }
      Transform<T>::FilterGradient({}, p, g);
      for (int64_t i = 0; i < 3; ++i) half[i][j] = g[i];
    }
    for (int64_t i = 0; i < 3; ++i) {
      Transform<T>::FilterGradient({}, half[i], g);
      for (int64_t j = 0; j < 3; ++j) loop.dw[((i * 3 + j) * s.src_channels + c) * s.dst_channels + o] = g[j];
    }
  }
};

void Run(const ReferenceCall& call, const WinogradShape& shape) {
  const int64_t columns = (shape.dst_channels + kTileColumns - 1) / kTileColumns * kTileColumns;
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    std::vector<T> filter(static_cast<size_t>(kElements * shape.src_channels * columns));
    std::vector<T> source(static_cast<size_t>(kElements * kTileRows * shape.src_channels));
    std::vector<T> product(static_cast<size_t>(kElements * kTileRows * columns));
    RunTypedLoop(OutputLoop<T>{shape, call.in<T>(0), call.in<T>(1), call.out<T>(), filter.data(), source.data(),
                               product.data()});
  });
}

}  // namespace

void WinogradReference(const ReferenceCall& call) {
  Run(call, WinogradForward(ConvGeometryOf(call.attrs, call.in_shape(0), call.in_shape(1))));
}

void WinogradInputGradientReference(const ReferenceCall& call) {
  Run(call, WinogradInputGradient(ConvGeometryOf(call.attrs, call.out_shape(), call.in_shape(1))));
}

void WinogradFilterGradientReference(const ReferenceCall& call) {
  const ConvGeometry geometry = ConvGeometryOf(call.attrs, call.in_shape(0), call.out_shape());
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    const auto elements = [](int64_t each) { return std::vector<T>(static_cast<size_t>(kElements * each)); };
    std::vector<T> source = elements(geometry.in_channels), cotangent = elements(geometry.out_channels);
    std::vector<T> chunk = elements(geometry.in_channels * geometry.out_channels), total = chunk;
    RunTypedLoop(FilterGradientLoop<T>{geometry, call.in<T>(0), call.in<T>(1), call.out<T>(), source.data(),
                                       cotangent.data(), chunk.data(), total.data()});
  });
}

}  // namespace weir
