#include "weir/ops/conv_geometry.h"

#include <algorithm>

#include "weir/core/error.h"

namespace weir {
namespace {

// Reads the attributes of the spatial axes into the last axes of a geometry. `windows` has one size an axis.
void FillAxes(const AttrMap& attrs, const Shape& input, std::span<const int64_t> windows, ConvGeometry& geometry) {
  const int spatial = input.rank() - 2;
  const bool dilated = attrs.Find(kDilations) != nullptr;
  for (int i = 0; i < spatial; ++i) {
    SpatialAxis& axis = geometry.axis[3 - spatial + i];
    axis.input = input.dim(i + 1);
    axis.window = windows[static_cast<size_t>(i)];
    axis.stride = attrs.Ints(kStrides)[i];
    axis.dilation = dilated ? attrs.Ints(kDilations)[i] : 1;
    axis.pad_before = attrs.Ints(kPadBefore)[i];
    axis.pad_after = attrs.Ints(kPadAfter)[i];
    const int64_t extent = (axis.window - 1) * axis.dilation + 1;
    axis.output = (axis.input + axis.pad_before + axis.pad_after - extent) / axis.stride + 1;
  }
}

}  // namespace

ConvGeometry ConvGeometryOf(const AttrMap& attrs, const Shape& input, const Shape& filter) {
  ConvGeometry geometry;
  geometry.batch = input.dim(0);
  geometry.in_channels = input.dim(-1);
  geometry.out_channels = filter.dim(-1);
  geometry.groups = attrs.Int(kGroups);
  FillAxes(attrs, input, filter.dims(), geometry);
  return geometry;
}

ConvGeometry PoolGeometryOf(const AttrMap& attrs, const Shape& input) {
  ConvGeometry geometry;
  geometry.batch = input.dim(0);
  geometry.in_channels = geometry.out_channels = input.dim(-1);
  const Dims& window = attrs.Ints(kWindow);
  FillAxes(attrs, input, {window.data(), window.size()}, geometry);
  return geometry;
}

AxisPadding ResolvePadding(std::string_view op, std::string_view padding, int64_t input, int64_t window, int64_t stride,
                           int64_t dilation) {
  const int64_t extent = (window - 1) * dilation + 1;
  if (padding == "valid") {
    if (input < extent) {
      ThrowInvalidArgument(op, ": the output would be empty: window ", extent, " is larger than input ", input);
    }
    return {0, 0, (input - extent) / stride + 1};
  }
  if (input < 1) ThrowInvalidArgument(op, ": the output would be empty: input ", input);
  const int64_t output = (input - 1) / stride + 1;
  if (padding == "causal") return {extent - 1, 0, output};
  if (padding != "same") {
    static const std::string kKnown[] = {"causal", "same", "valid"};
    ThrowInvalidArgument(op, ": ", UnknownNameMessage("padding", padding, kKnown));
  }
  const int64_t total = std::max<int64_t>((output - 1) * stride + extent - input, 0);
  return {total / 2, total - total / 2, output};
}

}  // namespace weir
