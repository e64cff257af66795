// Winograd's convolution F(4x4, 3x3), the algorithm ConvAlgorithm::kWinograd: tiles of 4x4 outputs from 6x6 cells of the
// source, 36 products where the direct sum takes 144. (S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin
// and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2016.) The points 0, +-3/4, +-3/2, infinity were
// chosen for small errors among those whose powers float32 holds exactly.
//
// What it computes, bit for bit (the 1-D transforms are those of winograd-inl.h; a transform of a square of cells is
// taken along the first spatial axis, then along the second, but Output along the second, then along the first, so that
// the six products of a row of elements are done with as soon as they are known):
//
//   forward         V = Source(x's 6x6 cells of the tile, 0 outside of the image), U = Filter(w[:, :, c, o]),
//                   P[e, o] = sum over c ascending: acc = fma(V[e, c], U[e, c, o], acc) from 0, for each of 36 elements e;
//                   y's tile = Output(P). Tiles begin at multiples of 4; what of a tile is outside of y is left out.
//   input gradient  the same of dy, with the filter turned by half a turn, channels exchanged, and 2 - padding in front.
//   filter gradient V as forward, E = Cotangent(dy's 4x4 cells of the tile, 0 outside). Images are cut into chunks of
//                   WinogradGradientImages. For a chunk: acc = 0; over its images, then tiles in row-major order:
//                   acc = fma(V[e, c], E[e, o], acc). total = chunk 0; total = total + chunk i for i = 1, 2, ...
//                   dw[:, :, c, o] = FilterGradient(total).
//
// Errors. With A, B, G the transforms' matrices and |.| by element, an output computed in float32 differs from the exact
// one by at most (C + 18) 2^-24 |A^T| (sum over c of (|G| |g| |G^T|) o (|B^T| |d| |B|)) |A| to first order: each product
// passes at most 4 roundings (a source transform along two axes, two deep), 8 (a filter transform: three deep, and one of
// its constants), C of the sum and 6 of the output. tests/winograd_test.cc holds every element to that bound, and
// the root mean square to four times the direct sum's (two to three times were seen, and half of it where all terms have
// one sign). A NaN or infinity reaches the whole tile.
#ifndef WEIR_OPS_WINOGRAD_H_
#define WEIR_OPS_WINOGRAD_H_

#include <algorithm>
#include <cstdint>

#include "weir/core/op_def.h"
#include "weir/ops/conv_geometry.h"

namespace weir {

#include "weir/ops/winograd-inl.h"

inline constexpr int64_t kWinogradTile = 4;   // outputs of a tile along an axis
inline constexpr int64_t kWinogradCells = 6;  // cells of the source that they read
inline constexpr int64_t kWinogradElements = 36;
inline constexpr int64_t kWinogradGradientTiles = 256;

// Tiles that cover `outputs` along an axis.
constexpr int64_t WinogradTiles(int64_t outputs) { return (outputs + kWinogradTile - 1) / kWinogradTile; }

// Images summed in one chunk of a filter gradient, of `tiles` tiles each.
constexpr int64_t WinogradGradientImages(int64_t tiles) {
  return std::max<int64_t>(1, kWinogradGradientTiles / std::max<int64_t>(1, tiles));
}

// Whether a conv node, or one of a partial of it, is to be computed this way.
bool UsesWinograd(const AttrMap& conv_attrs);
// Whether kWinograd can compute it: two spatial axes, a window of 3x3, strides, dilations and groups of 1.
bool IsWinograd(const ConvGeometry& geometry);
// Whether kAuto is kWinograd: it can be, and takes less work than the direct sum, which may leave padding out. With
// very many channels the filter's transform is worth it from some number of images on, so that an image's bits may then
// depend on how many there are.
bool WinogradPays(const ConvGeometry& geometry);

// What the forward and the input-gradient algorithm share: the source's cell (4 i + cell - pad) along each axis.
struct WinogradShape {
  int64_t batch = 0;
  int64_t src_rows = 0, src_columns = 0, src_channels = 0;
  int64_t dst_rows = 0, dst_columns = 0, dst_channels = 0;
  int64_t pad_rows = 0, pad_columns = 0;
  bool gradient = false;  // the filter is read from its last tap, [tap][dst channel][src channel]

  int64_t tile_rows() const { return WinogradTiles(dst_rows); }
  int64_t tile_columns() const { return WinogradTiles(dst_columns); }
  int64_t tiles() const { return tile_rows() * tile_columns(); }  // of an image
};
WinogradShape WinogradForward(const ConvGeometry& geometry);
WinogradShape WinogradInputGradient(const ConvGeometry& geometry);

// References in canonical order, as those of conv_reference.h.
void WinogradReference(const ReferenceCall& call);
void WinogradInputGradientReference(const ReferenceCall& call);
void WinogradFilterGradientReference(const ReferenceCall& call);

}  // namespace weir

#endif  // WEIR_OPS_WINOGRAD_H_
