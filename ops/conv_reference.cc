// Direct convolution and its two partials in canonical order (canonical_order.h). Each is the tile of outer_product.h
// over a list of taps; what differs is which pointer a tap gives to a row of the tile. Cells of padding are rows of
// zeros, so that they take part in the sum as the order demands; where it leaves padding out,
// conv_positions_reference.h's sums are the ones.
#include "weir/ops/conv_reference.h"

#include <algorithm>
#include <vector>

#include "weir/ops/canonical_order.h"
#include "weir/ops/conv_geometry.h"
#include "weir/ops/conv_positions_reference.h"
#include "weir/ops/op_rows.h"
#include "weir/ops/outer_product.h"

namespace weir {
namespace {

// A position or tap along the three spatial axes.
struct Index3 {
  int64_t at[3];
};
[[gnu::always_inline]] inline Index3 Unflatten(int64_t flat, int64_t size1, int64_t size2) {
  return {{flat / (size1 * size2), flat / size2 % size1, flat % size2}};
}

// ---- y = conv(x, w)
// --------------------------------------------------------------------------------------------------
template <class T>
struct ForwardLoop {
  using Element = T;
  const ConvGeometry& geometry;
  const T *x, *w;
  T* y;
  T* packed;       // taps * group_in * kTileColumns
  const T* zeros;  // in_channels

  // The channels that position `out` sees through tap `tap`, of an image.
  [[gnu::always_inline]] static const T* Cell(const ForwardLoop& loop, const T* image, Index3 out, Index3 tap) {
    int64_t offset = 0;
    bool inside = true;
    for (int i = 0; i < 3; ++i) {
      const SpatialAxis& axis = loop.geometry.axis[i];
      const int64_t at = out.at[i] * axis.stride + tap.at[i] * axis.dilation - axis.pad_before;
      inside = inside && at >= 0 && at < axis.input;
      offset = offset * axis.input + at;
    }
    return inside ? image + offset * loop.geometry.in_channels : loop.zeros;
  }

  [[gnu::always_inline]] static void Run(const ForwardLoop& loop) {
    const ConvGeometry& g = loop.geometry;
    const SpatialAxis* axis = g.axis;
    const int64_t taps = g.taps(), group_in = g.group_in(), group_out = g.group_out(), positions = g.out_positions();
    for (int64_t group = 0; group < g.groups; ++group) {
      for (int64_t column = 0; column < group_out; column += kTileColumns) {
        const int64_t width = std::min(kTileColumns, group_out - column);
        const int64_t out_channel = group * group_out + column;
        for (int64_t i = 0; i < taps * group_in; ++i) {
          PackRow(loop.w + i * g.out_channels + out_channel, 1, width, loop.packed + i * kTileColumns);
        }
        for (int64_t n = 0; n < g.batch; ++n) {
          const T* image = loop.x + n * g.in_positions() * g.in_channels;
          T* out = loop.y + n * positions * g.out_channels + out_channel;
          for (int64_t p = 0; p < positions; p += kTileRows) {
            const int64_t rows = std::min(kTileRows, positions - p);
            Tile<T> tile;
            tile.Clear();
            for (int64_t t = 0; t < taps; ++t) {
              const Index3 tap = Unflatten(t, axis[1].window, axis[2].window);
              const T* cells[kTileRows];
              for (int64_t r = 0; r < kTileRows; ++r) {
                const Index3 at = Unflatten(p + std::min(r, rows - 1), axis[1].output, axis[2].output);
                cells[r] = Cell(loop, image, at, tap);
                if (cells[r] != loop.zeros) cells[r] += group * group_in;
              }
              tile.Accumulate(cells, 1, loop.packed + t * group_in * kTileColumns, group_in);
            }
            for (int64_t r = 0; r < rows; ++r) std::copy_n(tile.sums[r], width, out + (p + r) * g.out_channels);
          }
        }
      }
    }
  }
};

// ---- dx = conv_input_gradient(dy, w)
// ---------------------------------------------------------------------------------
template <class T>
struct InputGradientLoop {
  using Element = T;
  // A tap that takes part at a row of input positions of one phase (remainder modulo the stride along the last axis).
  struct Part {
    const T* row;      // dy's row that it meets, null if that is outside
    int64_t at;        // position in the row that the phase's first input position meets
    const T* weights;  // packed
  };

  const ConvGeometry& geometry;
  const T *dy, *w;
  T* dx;
  T* packed;       // taps * group_out * kTileColumns, taps in ascending order
  const T* zeros;  // group_out
  Part* parts;     // taps

  [[gnu::always_inline]] static void Run(const InputGradientLoop& loop) {
    const ConvGeometry& g = loop.geometry;
    const SpatialAxis* axis = g.axis;
    const int64_t group_in = g.group_in(), group_out = g.group_out(), taps = g.taps();
    for (int64_t group = 0; group < g.groups; ++group) {
      for (int64_t column = 0; column < group_in; column += kTileColumns) {
        const int64_t width = std::min(kTileColumns, group_in - column);
        for (int64_t t = 0; t < taps; ++t) {
          for (int64_t o = 0; o < group_out; ++o) {
            PackRow(loop.w + (t * group_in + column) * g.out_channels + group * group_out + o, g.out_channels, width,
                    loop.packed + (t * group_out + o) * kTileColumns);
          }
        }
        for (int64_t n = 0; n < g.batch; ++n) {
          const T* image = loop.dy + n * g.out_positions() * g.out_channels + group * group_out;
          T* out = loop.dx + n * g.in_positions() * g.in_channels + group * group_in + column;
          for (int64_t i0 = 0; i0 < axis[0].input; ++i0) {
            for (int64_t i1 = 0; i1 < axis[1].input; ++i1) {
              T* row = out + (i0 * axis[1].input + i1) * axis[2].input * g.in_channels;
              for (int64_t phase = 0; phase < std::min(axis[2].stride, axis[2].input); ++phase) {
                RunPhase(loop, FindParts(loop, image, {{i0, i1, phase}}), phase, width, row);
              }
            }
          }
        }
      }
    }
  }

  // The taps that take part at positions `in`, `in` + stride, ... along the last axis, in descending order.
  [[gnu::always_inline]] static int64_t FindParts(const InputGradientLoop& loop, const T* image, Index3 in) {
    const ConvGeometry& g = loop.geometry;
    const SpatialAxis* axis = g.axis;
    int64_t count = 0;
    for (int64_t t = g.taps() - 1; t >= 0; --t) {
      const Index3 tap = Unflatten(t, axis[1].window, axis[2].window);
      int64_t at[3];
      bool takes_part = true;
      for (int i = 0; i < 3; ++i) {
        const int64_t scaled = in.at[i] + axis[i].pad_before - tap.at[i] * axis[i].dilation;
        takes_part = takes_part && scaled % axis[i].stride == 0;
        at[i] = scaled / axis[i].stride;
      }
      if (!takes_part) continue;
      const bool inside = at[0] >= 0 && at[0] < axis[0].output && at[1] >= 0 && at[1] < axis[1].output;
      const int64_t row = (at[0] * axis[1].output + at[1]) * axis[2].output * g.out_channels;
      loop.parts[count++] = {inside ? image + row : nullptr, at[2], loop.packed + t * g.group_out() * kTileColumns};
    }
    return count;
  }

  [[gnu::always_inline]] static void RunPhase(const InputGradientLoop& loop, int64_t count, int64_t phase,
                                              int64_t width, T* row) {
    const ConvGeometry& g = loop.geometry;
    const int64_t stride = g.axis[2].stride, outputs = g.axis[2].output, group_out = g.group_out();
    const int64_t positions = (g.axis[2].input - 1 - phase) / stride + 1;
    for (int64_t p = 0; p < positions; p += kTileRows) {
      const int64_t rows = std::min(kTileRows, positions - p);
      Tile<T> tile;
      tile.Clear();
      for (int64_t i = 0; i < count; ++i) {
        const Part& part = loop.parts[i];
        const T* cells[kTileRows];
        for (int64_t r = 0; r < kTileRows; ++r) {
          const int64_t at = part.at + p + std::min(r, rows - 1);
          cells[r] = part.row != nullptr && at >= 0 && at < outputs ? part.row + at * g.out_channels : loop.zeros;
        }
        tile.Accumulate(cells, 1, part.weights, group_out);
      }
      for (int64_t r = 0; r < rows; ++r) {
        std::copy_n(tile.sums[r], width, row + (phase + (p + r) * stride) * g.in_channels);
      }
    }
  }
};

// ---- dw = conv_filter_gradient(x, dy)
// --------------------------------------------------------------------------------
template <class T>
struct FilterGradientLoop {
  using Element = T;
  const ConvGeometry& geometry;
  const T *x, *dy;
  T* dw;
  T* packed_dy;  // chunk images * out positions * kTileColumns
  T* packed_x;   // chunk images * out positions * kTileRows, for one tap and up to kTileRows channels

  [[gnu::always_inline]] static void Run(const FilterGradientLoop& loop) {
    const ConvGeometry& g = loop.geometry;
    const int64_t positions = g.out_positions(), group_in = g.group_in(), group_out = g.group_out();
    const int64_t chunk = FilterGradientImages(positions);
    std::fill_n(loop.dw, g.taps() * group_in * g.out_channels, T(0));
    for (int64_t begin = 0; begin < g.batch; begin += chunk) {
      const int64_t images = std::min(chunk, g.batch - begin);
      for (int64_t group = 0; group < g.groups; ++group) {
        for (int64_t column = 0; column < group_out; column += kTileColumns) {
          const int64_t width = std::min(kTileColumns, group_out - column);
          const int64_t out_channel = group * group_out + column;
          for (int64_t p = 0; p < images * positions; ++p) {
            PackRow(loop.dy + (begin * positions + p) * g.out_channels + out_channel, 1, width,
                    loop.packed_dy + p * kTileColumns);
          }
          for (int64_t t = 0; t < g.taps(); ++t) {
            for (int64_t c = 0; c < group_in; c += kTileRows) {
              RunTile(loop, begin, images, t, group, c, out_channel, width);
            }
          }
        }
      }
    }
  }

  // Adds a chunk's part of dw[tap, c .. c + 3, out_channel ..].
  [[gnu::always_inline]] static void RunTile(const FilterGradientLoop& loop, int64_t begin, int64_t images, int64_t t,
                                             int64_t group, int64_t c, int64_t out_channel, int64_t width) {
    const ConvGeometry& g = loop.geometry;
    const int64_t positions = g.out_positions(), group_in = g.group_in();
    const int64_t rows = std::min(kTileRows, group_in - c);
    const Index3 tap = Unflatten(t, g.axis[1].window, g.axis[2].window);
    T* packed = loop.packed_x;
    for (int64_t n = begin; n < begin + images; ++n) {
      const T* image = loop.x + n * g.in_positions() * g.in_channels + group * group_in + c;
      for (int64_t o0 = 0; o0 < g.axis[0].output; ++o0) {
        for (int64_t o1 = 0; o1 < g.axis[1].output; ++o1) {
          const int64_t out[2] = {o0, o1};
          int64_t row = 0;
          bool inside_row = true;
          for (int i = 0; i < 2; ++i) {
            const SpatialAxis& axis = g.axis[i];
            const int64_t at = out[i] * axis.stride + tap.at[i] * axis.dilation - axis.pad_before;
            inside_row = inside_row && at >= 0 && at < axis.input;
            row = row * axis.input + at;
          }
          const SpatialAxis& axis = g.axis[2];
          for (int64_t o2 = 0; o2 < axis.output; ++o2, packed += kTileRows) {
            const int64_t at = o2 * axis.stride + tap.at[2] * axis.dilation - axis.pad_before;
            if (inside_row && at >= 0 && at < axis.input) {
              const T* cell = image + (row * axis.input + at) * g.in_channels;
              for (int64_t r = 0; r < kTileRows; ++r) packed[r] = cell[std::min(r, rows - 1)];
            } else {
              std::fill_n(packed, kTileRows, T(0));
            }
          }
        }
      }
    }
    Tile<T> tile;
    tile.Clear();
    const T* columns[kTileRows];
    for (int64_t r = 0; r < kTileRows; ++r) columns[r] = loop.packed_x + r;
    tile.Accumulate(columns, kTileRows, loop.packed_dy, images * positions);
    for (int64_t r = 0; r < rows; ++r) {
      T* dw = loop.dw + (t * group_in + c + r) * g.out_channels + out_channel;
      for (int64_t j = 0; j < width; ++j) dw[j] = begin == 0 ? tile.sums[r][j] : dw[j] + tile.sums[r][j];
    }
  }
};

}  // namespace

void ConvReference(const ReferenceCall& call) {
  const ConvGeometry geometry = ConvGeometryOf(call.attrs, call.in_shape(0), call.in_shape(1));
  if (!ConvReadsPadding(geometry)) return ConvByPositions(call, geometry);
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    std::vector<T> packed(static_cast<size_t>(geometry.taps() * geometry.group_in() * kTileColumns));
    const std::vector<T> zeros(static_cast<size_t>(geometry.in_channels));
    RunTypedLoop(ForwardLoop<T>{geometry, call.in<T>(0), call.in<T>(1), call.out<T>(), packed.data(), zeros.data()});
  });
}

void ConvInputGradientReference(const ReferenceCall& call) {
  const ConvGeometry geometry = ConvGeometryOf(call.attrs, call.out_shape(), call.in_shape(1));
  if (!InputGradientReadsPadding(geometry)) return ConvInputGradientByPositions(call, geometry);
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    std::vector<T> packed(static_cast<size_t>(geometry.taps() * geometry.group_out() * kTileColumns));
    const std::vector<T> zeros(static_cast<size_t>(geometry.group_out()));
    std::vector<typename InputGradientLoop<T>::Part> parts(static_cast<size_t>(geometry.taps()));
    RunTypedLoop(InputGradientLoop<T>{geometry, call.in<T>(0), call.in<T>(1), call.out<T>(), packed.data(),
                                      zeros.data(), parts.data()});
  });
}

void ConvFilterGradientReference(const ReferenceCall& call) {
  const ConvGeometry geometry = ConvGeometryOf(call.attrs, call.in_shape(0), call.out_shape());
  const int64_t positions = geometry.out_positions();
  const int64_t chunk = std::min(FilterGradientImages(positions), geometry.batch) * positions;
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    std::vector<T> packed_dy(static_cast<size_t>(chunk * kTileColumns));
    std::vector<T> packed_x(static_cast<size_t>(chunk * kTileRows));
    RunTypedLoop(FilterGradientLoop<T>{geometry, call.in<T>(0), call.in<T>(1), call.out<T>(), packed_dy.data(),
                                       packed_x.data()});
  });
}

}  // namespace weir
