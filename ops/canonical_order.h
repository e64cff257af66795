// The canonical order of floating-point operations: what makes results the same bits on every backend, for any number
// of threads, fused or not. The reference implementations in this folder follow it literally; every other backend
// must give the same bits in float32, however it tiles.
//
// fma(a, b, c) is the correctly rounded fused multiply-add. Work may be cut by outputs in any way; the sum that makes
// one output element may only be cut as said here, which depends on shapes and attributes alone.
//
// The three partials of a convolution are direct sums; those of algorithm kWinograd are said in winograd.h.
// conv                  y[n,p,o]: acc = 0; over filter taps in row-major order, then input channels c of the group
//                       ascending: acc = fma(x, w, acc). A tap that falls into padding takes part with x = 0, unless
//                       padding is left out.
// conv_input_gradient   dx[n,i,c]: acc = 0; over filter taps in *descending* row-major order (ascending positions of
//                       dy), then output channels o of the group ascending: acc = fma(dy, w, acc). Along an axis a tap
//                       k takes part iff (i + pad - k * dilation) is a multiple of the stride; if it then falls outside
//                       of dy, it takes part with dy = 0, unless padding is left out.
// padding left out      Of small images much of the work would be zeros. Take all pairs of a position p and a tap of a
//                       conv, or all of a position i and a tap k of an input gradient that take part by the rule of
//                       strides: if less than kInsidePercent of a hundred of them meet a cell inside of x, or of dy,
//                       the others take no part at all, whatever the weights are (a NaN, say). A sum of nothing is 0.
//                       Neither batch nor channels matter. conv and conv_input_gradient go by their own pairs each;
//                       conv_filter_gradient always reads its padding, and so do depthwise convolutions (several
//                       groups, of one input channel each). See ConvReadsPadding in conv_geometry.h.
// conv_filter_gradient  dw[k,c,o]: images are cut into chunks of FilterGradientImages(positions of dy in an image).
//                       For a chunk: acc = 0; over its images, then positions p of dy in row-major order:
//                       acc = fma(x, dy, acc), padding taking part with x = 0. total = chunk 0; total = total + chunk i
//                       for i = 1, 2, ... (0 if there are no images).
// matmul                y[m,n]: k is cut into blocks of kMatMulBlock. For a block: acc = 0, over k ascending:
//                       acc = fma(a, b, acc). total = block 0; total = total + block i for i = 1, 2, ... (0 if K = 0).
// reduce_*              Axes of size 1 dropped, neighbouring axes of one kind (kept, reduced) merged.
//                       *Column mode* if the innermost axis is kept: the reduced index tuples in row-major order are
//                       cut into blocks of kReduceColumnBlock; a block is acc = init, acc = op(acc, x) in order.
//                       *Row mode* if the innermost axis is reduced: for each tuple of the other reduced axes in
//                       row-major order, the innermost run is cut into blocks of kReduceRowBlock; in a block element j
//                       goes to accumulator j mod kReduceLanes (lane = op(lane, x), from init), then
//                       lane[i] = combine(lane[i], lane[i + w]) for i < w, w = 8, 4, 2, 1; the block's value is lane[0].
//                       Both: total = block 0; total = combine(total, block i) for i = 1, 2, ...
//                       (init if nothing is reduced over).
//                       sum: init 0, op and combine +. sum_squares: op fma(x, x, acc), combine +. max, min: init
//                       -inf, +inf, op and combine Max, Min of scalar_math.h (a NaN wins).
// softmax, log_softmax, sparse_cross_entropy   on the last axis: m = reduce_max, s = reduce_sum of exp(x - m), both in
//                       row mode; softmax exp(x - m) / s; log_softmax (x - m) - log(s); loss log(s) - (x[label] - m).
// max_pool, argmax      the first largest in row-major order; a NaN is larger than any number, the first NaN wins.
//                       max_pool's index counts a window's cells in that order, those in the padding too.
// average_pool          acc = 0, acc = acc + x over the cells inside the input in row-major order, then acc / count.
// *_pool gradients      dx[i]: acc = 0; over windows that contain i, output positions in row-major order: acc = acc + dy
//                       (if the window's index names i), or acc = acc + dy / count.
// scatter_add           over index positions ascending: y[index] = y[index] + x.
// cast                  floating to integer: towards 0, numbers outside of the type to its nearest, NaN to 0; integer to
//                       integer wraps; to bool: not equal 0 (a NaN is true).
// random bits           Philox4x32-10. Element i: group g = i / 64, j = i mod 64; word j / 16 of the block with counter
//                       (lo32(g * 16 + j mod 16), hi32(...), lo32(step), hi32(step)); see PhiloxKey in core/rng.h.
#ifndef WEIR_OPS_CANONICAL_ORDER_H_
#define WEIR_OPS_CANONICAL_ORDER_H_

#include <algorithm>
#include <cstdint>

namespace weir {

inline constexpr int64_t kMatMulBlock = 512;
inline constexpr int64_t kReduceColumnBlock = 1024;
inline constexpr int64_t kReduceRowBlock = 4096;
inline constexpr int64_t kReduceLanes = 16;
inline constexpr int64_t kFilterGradientPositions = 512;
// A window of 3x3 on 4x4 with "same" padding has 100 of 144 pairs inside, 69%; on 8x8 it has 484 of 576, 84%.
inline constexpr int64_t kInsidePercent = 70;

// Images summed in one chunk of a filter gradient: enough positions to make a chunk worth its addition.
constexpr int64_t FilterGradientImages(int64_t positions) {
  return std::max<int64_t>(1, kFilterGradientPositions / std::max<int64_t>(1, positions));
}

}  // namespace weir

#endif  // WEIR_OPS_CANONICAL_ORDER_H_
