#include "weir/ops/conv_geometry.h"

#include <algorithm>

#include "weir/core/error.h"
#include "weir/ops/canonical_order.h"

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

// Multiples of `step` in [low, high].
int64_t Multiples(int64_t step, int64_t low, int64_t high) {
  const auto floor = [&](int64_t x) { return x >= 0 ? x / step : -((step - 1 - x) / step); };
  return std::max<int64_t>(0, floor(high) - floor(low - 1));
}

// A product of counts, at most 2^56: a hundred times it still fits.
int64_t CountProduct(int64_t a, int64_t b) {
  constexpr int64_t kMost = int64_t{1} << 56;
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kMost : std::min(product, kMost);
}

bool MostAreInside(int64_t inside, int64_t pairs) { return inside * 100 >= pairs * kInsidePercent; }

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

ConvPairs PairsOf(const ConvGeometry& geometry) {
  ConvPairs pairs{1, 1, 1};
  for (const SpatialAxis& axis : geometry.axis) {
    ConvPairs of_axis{.forward = CountProduct(axis.window, axis.output)};
    for (int64_t k = 0; k < axis.window; ++k) {
      // Output p and input i meet where i + shift = p * stride.
      const int64_t shift = axis.pad_before - k * axis.dilation;
      const int64_t last = axis.input - 1 + shift;
      of_axis.input_gradient += Multiples(axis.stride, shift, last);
      of_axis.inside +=
          Multiples(axis.stride, std::max<int64_t>(shift, 0), std::min(last, (axis.output - 1) * axis.stride));
    }
    pairs.forward = CountProduct(pairs.forward, of_axis.forward);
    pairs.input_gradient = CountProduct(pairs.input_gradient, of_axis.input_gradient);
    pairs.inside = CountProduct(pairs.inside, of_axis.inside);
  }
  return pairs;
}

bool ConvReadsPadding(const ConvGeometry& geometry) {
  const ConvPairs pairs = PairsOf(geometry);
  return IsDepthwise(geometry) || MostAreInside(pairs.inside, pairs.forward);
}

bool InputGradientReadsPadding(const ConvGeometry& geometry) {
  const ConvPairs pairs = PairsOf(geometry);
  return IsDepthwise(geometry) || MostAreInside(pairs.inside, pairs.input_gradient);
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
