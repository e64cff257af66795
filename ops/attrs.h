// Attribute keys of the ops' nodes, shared by shape rules, references and the backends' lowerings. Those of convolution
// and pooling are in conv_geometry.h, those of elementwise ops in scalar_math.h.
#ifndef WEIR_OPS_ATTRS_H_
#define WEIR_OPS_ATTRS_H_

#include <string_view>

namespace weir {

inline constexpr std::string_view kShape =
    "shape";  // list: constant, random_uniform, reshape, broadcast_to, scatter_add
inline constexpr std::string_view kDType = "dtype";  // constant, cast, one_hot
inline constexpr std::string_view kValue = "value";  // real: constant, pad
inline constexpr std::string_view kSeed = "seed";    // integer holding the bits of a uint64: random_uniform
inline constexpr std::string_view kStream = "stream";
inline constexpr std::string_view kAxes = "axes";  // list, ascending, non-negative: reductions, argmax, reverse
inline constexpr std::string_view kKeepDims = "keep_dims";      // reductions, argmax
inline constexpr std::string_view kTransposeA = "transpose_a";  // matmul
inline constexpr std::string_view kTransposeB = "transpose_b";
inline constexpr std::string_view kInputShape = "input_shape";    // conv_input_gradient, average_pool_gradient
inline constexpr std::string_view kFilterShape = "filter_shape";  // conv_filter_gradient
inline constexpr std::string_view kPermutation = "permutation";   // transpose: output axis i is input axis p[i]
inline constexpr std::string_view kBegin = "begin";               // slice: non-negative
inline constexpr std::string_view kEnd = "end";
inline constexpr std::string_view kSteps = "steps";        // slice: positive
inline constexpr std::string_view kBefore = "before";      // pad: elements of `value` in front of each axis
inline constexpr std::string_view kAfter = "after";        // and behind
inline constexpr std::string_view kInterior = "interior";  // and between two neighbours
inline constexpr std::string_view kAxis = "axis";          // concatenate, gather
inline constexpr std::string_view kDepth = "depth";        // one_hot

}  // namespace weir

#endif  // WEIR_OPS_ATTRS_H_
