// Checks that convolution and pooling share: one number an axis, each in its range, and an output that is not empty.
// Internal to ops/.
#ifndef WEIR_OPS_WINDOW_RULES_H_
#define WEIR_OPS_WINDOW_RULES_H_

#include <span>
#include <string>
#include <string_view>

#include "weir/core/attrs.h"
#include "weir/core/shape.h"

namespace weir {

// Windows, strides, dilations and padding beyond this are taken for mistakes; sums of a few of them fit 64 bits.
inline constexpr int64_t kLargestWindowNumber = 0x7FFFFFFF;

// "5x5".
std::string Times(std::span<const int64_t> sizes);

// Elements of a padded input beyond this are taken for a mistake too: kernels may make a copy with its padding, and
// no machine has the memory.
inline constexpr int64_t kMostPaddedElements = int64_t{1} << 44;

// Checks the attributes of the spatial axes of `input` (batch, spatial axes, channels) against the given windows and
// returns the output's spatial sizes. `op` and `operands` begin and end a message: "Conv2D", "(input f32[1,3,3,1],
// filter f32[5,5,1,4])".
Dims CheckWindows(std::string_view op, const AttrMap& attrs, const Shape& input, std::span<const int64_t> windows,
                  std::string_view operands);

// The padding of a conv or pool call, resolved into pad_before and pad_after. Numbers that CheckWindows will reject
// give no padding. `op` names the op in the error thrown for an unknown word.
struct ResolvedPadding {
  Dims before, after;
};
ResolvedPadding ResolveWindows(std::string_view op, std::string_view padding, std::span<const int64_t> input,
                               std::span<const int64_t> windows, const Dims& strides, const Dims& dilations,
                               std::span<const int64_t> explicit_before, std::span<const int64_t> explicit_after);

}  // namespace weir

#endif  // WEIR_OPS_WINDOW_RULES_H_
