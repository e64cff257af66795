// The geometry that convolution and pooling share: sizes, padding, strides. One place for the formulas of output
// sizes and of "same" padding. Read by the ops' shape rules and by the backends' lowerings; no op, no kernel.
#ifndef WEIR_OPS_CONV_GEOMETRY_H_
#define WEIR_OPS_CONV_GEOMETRY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/core/attrs.h"
#include "weir/core/shape.h"

namespace weir {

// Attribute keys of conv and pool nodes. All are lists with one number a spatial axis, except groups and algorithm
// (conv only) and window (pool only).
inline constexpr std::string_view kStrides = "strides";
inline constexpr std::string_view kDilations = "dilations";
inline constexpr std::string_view kPadBefore = "pad_before";
inline constexpr std::string_view kPadAfter = "pad_after";
inline constexpr std::string_view kGroups = "groups";
inline constexpr std::string_view kAlgorithm = "algorithm";
inline constexpr std::string_view kWindow = "window";

struct SpatialAxis {
  int64_t input = 1, window = 1, stride = 1, dilation = 1, pad_before = 0, pad_after = 0, output = 1;
};

// A convolution or pooling with its spatial axes brought to three (leading axes of size 1 in front):
// x [batch, in0, in1, in2, channels] with a window over [0..2].
struct ConvGeometry {
  int64_t batch = 0;
  int64_t in_channels = 0;
  int64_t out_channels = 0;  // = in_channels for pooling
  int64_t groups = 1;
  SpatialAxis axis[3];

  int64_t in_positions() const { return axis[0].input * axis[1].input * axis[2].input; }
  int64_t out_positions() const { return axis[0].output * axis[1].output * axis[2].output; }
  // Cells of the input that a window covers at most: fewer than taps() if windows are larger than the input.
  int64_t most_cells() const {
    int64_t cells = 1;
    for (const SpatialAxis& a : axis) cells *= a.window < a.input ? a.window : a.input;
    return cells;
  }
  int64_t taps() const { return axis[0].window * axis[1].window * axis[2].window; }
  int64_t group_in() const { return in_channels / groups; }
  int64_t group_out() const { return out_channels / groups; }
};

// From the types of a node that has already been checked.
ConvGeometry ConvGeometryOf(const AttrMap& attrs, const Shape& input, const Shape& filter);
ConvGeometry PoolGeometryOf(const AttrMap& attrs, const Shape& input);

// Several groups, of one input channel each. Their kernels read rows, for which padding is no more work.
inline bool IsDepthwise(const ConvGeometry& geometry) { return geometry.groups > 1 && geometry.group_in() == 1; }

// Pairs of a position and a tap, of all axes together: all those of a conv; those of its input gradient that are a
// multiple of the stride apart; and those that meet a cell inside, which are equally many of either. Beyond 2^56 no
// more are counted.
struct ConvPairs {
  int64_t forward = 0, input_gradient = 0, inside = 0;
};
ConvPairs PairsOf(const ConvGeometry& geometry);
// Whether the direct sums of conv, of conv_input_gradient, have terms for taps in padding; not if few pairs are inside,
// see "padding left out" in canonical_order.h.
bool ConvReadsPadding(const ConvGeometry& geometry);
bool InputGradientReadsPadding(const ConvGeometry& geometry);

// Output size and padding of one axis. `op` names the op in the error thrown when the output would be empty.
struct AxisPadding {
  int64_t before = 0, after = 0, output = 0;
};
AxisPadding ResolvePadding(std::string_view op, std::string_view padding, int64_t input, int64_t window, int64_t stride,
                           int64_t dilation);

}  // namespace weir

#endif  // WEIR_OPS_CONV_GEOMETRY_H_
