// Rows of the tile of outer_product.h are images, which all meet the same taps.
#include "weir/ops/conv_positions_reference.h"

#include <algorithm>
#include <vector>

#include "weir/ops/op_rows.h"
#include "weir/ops/outer_product.h"

namespace weir {
namespace {

// A tap that takes part at a position, and the cell of the source that it meets there.
struct Term {
  int64_t tap, cell;
};

template <class T>
struct PositionsLoop {
  using Element = T;
  const ConvGeometry& geometry;
  bool gradient;  // dx of dy, else y of x
  const T *src, *w;
  T* dst;
  T* packed;    // taps * channels of a group of the source * kTileColumns
  Term* terms;  // taps

  // The source's coordinate along an axis for position `at` and tap `k`, or -1.
  [[gnu::always_inline]] static int64_t Meets(const SpatialAxis& axis, bool gradient, int64_t at, int64_t k) {
    const int64_t input = at * axis.stride + k * axis.dilation - axis.pad_before;
    if (!gradient) return input >= 0 && input < axis.input ? input : -1;
    const int64_t scaled = at + axis.pad_before - k * axis.dilation;
    if (scaled < 0 || scaled % axis.stride != 0) return -1;
    return scaled / axis.stride < axis.output ? scaled / axis.stride : -1;
  }

  // In the order of the sum; returns how many there are.
  [[gnu::always_inline]] static int64_t FindTerms(const PositionsLoop& loop, const int64_t (&at)[3]) {
    const SpatialAxis* axis = loop.geometry.axis;
    const int64_t taps = loop.geometry.taps();
    int64_t count = 0;
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t tap = loop.gradient ? taps - 1 - t : t;
      const int64_t k[3] = {tap / (axis[1].window * axis[2].window), tap / axis[2].window % axis[1].window,
                            tap % axis[2].window};
      int64_t cell = 0;
      bool inside = true;
      for (int a = 0; a < 3; ++a) {
        const int64_t meets = Meets(axis[a], loop.gradient, at[a], k[a]);
        inside = inside && meets >= 0;
        cell = cell * (loop.gradient ? axis[a].output : axis[a].input) + meets;
      }
      if (inside) loop.terms[count++] = {tap, cell};
    }
    return count;
  }

  [[gnu::always_inline]] static void Run(const PositionsLoop& loop) {
    const ConvGeometry& g = loop.geometry;
    const bool gradient = loop.gradient;
    const int64_t group_src = gradient ? g.group_out() : g.group_in();
    const int64_t group_dst = gradient ? g.group_in() : g.group_out();
    int64_t size[3];
    for (int a = 0; a < 3; ++a) size[a] = gradient ? g.axis[a].input : g.axis[a].output;
    for (int64_t group = 0; group < g.groups; ++group) {
      for (int64_t column = 0; column < group_dst; column += kTileColumns) {
        const int64_t width = std::min(kTileColumns, group_dst - column);
        Pack(loop, group, column, width);
        int64_t at[3];
        for (at[0] = 0; at[0] < size[0]; ++at[0]) {
          for (at[1] = 0; at[1] < size[1]; ++at[1]) {
            for (at[2] = 0; at[2] < size[2]; ++at[2]) {
              const int64_t position = (at[0] * size[1] + at[1]) * size[2] + at[2];
              Position(loop, position, FindTerms(loop, at), group * group_src, group * group_dst + column, width);
            }
          }
        }
      }
    }
  }

  [[gnu::always_inline]] static void Pack(const PositionsLoop& loop, int64_t group, int64_t column, int64_t width) {
    const ConvGeometry& g = loop.geometry;
    const int64_t group_in = g.group_in(), group_out = g.group_out();
    T* packed = loop.packed;
    for (int64_t t = 0; t < g.taps(); ++t) {
      for (int64_t c = 0; c < (loop.gradient ? group_out : group_in); ++c) {
        const int64_t input = loop.gradient ? column : c, output = loop.gradient ? c : column;
        PackRow(loop.w + (t * group_in + input) * g.out_channels + group * group_out + output,
                loop.gradient ? g.out_channels : 1, width, packed);
        packed += kTileColumns;
      }
    }
  }

  // One position of all images, `width` channels from `dst_channel` on.
  [[gnu::always_inline]] static void Position(const PositionsLoop& loop, int64_t position, int64_t terms,
                                              int64_t src_channel, int64_t dst_channel, int64_t width) {
    const ConvGeometry& g = loop.geometry;
    const bool gradient = loop.gradient;
    const int64_t src_channels = gradient ? g.out_channels : g.in_channels;
    const int64_t dst_channels = gradient ? g.in_channels : g.out_channels;
    const int64_t src_image = (gradient ? g.out_positions() : g.in_positions()) * src_channels;
    const int64_t dst_image = (gradient ? g.in_positions() : g.out_positions()) * dst_channels;
    const int64_t count = gradient ? g.group_out() : g.group_in();
    for (int64_t n = 0; n < g.batch; n += kTileRows) {
      const int64_t rows = std::min(kTileRows, g.batch - n);
      Tile<T> tile;
      tile.Clear();
      for (int64_t i = 0; i < terms; ++i) {
        const T* cells[kTileRows];
        for (int64_t r = 0; r < kTileRows; ++r) {
          cells[r] =
              loop.src + (n + std::min(r, rows - 1)) * src_image + loop.terms[i].cell * src_channels + src_channel;
        }
        tile.Accumulate(cells, 1, loop.packed + loop.terms[i].tap * count * kTileColumns, count);
      }
      for (int64_t r = 0; r < rows; ++r) {
        std::copy_n(tile.sums[r], width, loop.dst + (n + r) * dst_image + position * dst_channels + dst_channel);
      }
    }
  }
};

void ByPositions(const ReferenceCall& call, const ConvGeometry& geometry, bool gradient) {
  const int64_t channels = gradient ? geometry.group_out() : geometry.group_in();
  std::vector<Term> terms(static_cast<size_t>(geometry.taps()));
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    std::vector<T> packed(static_cast<size_t>(geometry.taps() * channels * kTileColumns));
    RunTypedLoop(
        PositionsLoop<T>{geometry, gradient, call.in<T>(0), call.in<T>(1), call.out<T>(), packed.data(), terms.data()});
  });
}

}  // namespace

void ConvByPositions(const ReferenceCall& call, const ConvGeometry& geometry) { ByPositions(call, geometry, false); }

void ConvInputGradientByPositions(const ReferenceCall& call, const ConvGeometry& geometry) {
  ByPositions(call, geometry, true);
}

}  // namespace weir
