// Convolutions and input gradients brought to the engine's one form.
#include <algorithm>

#include "weir/backends/highway/conv_engine.h"

namespace weir::highway {
namespace {

ConvAxis ForwardAxis(const SpatialAxis& axis) {
  ConvAxis result{.src = axis.input, .dst = axis.output, .phase = {}, .base = {}, .taps = {}, .window = axis.window};
  result.taps.emplace_back();
  for (int64_t k = 0; k < axis.window; ++k) result.taps[0].push_back({k, k * axis.dilation});
  for (int64_t q = 0; q < axis.output; ++q) {
    result.phase.push_back(0);
    result.base.push_back(q * axis.stride - axis.pad_before);
  }
  return result;
}

// dx[i] meets dy[(i + pad - k * dilation) / stride] where the division is exact, taps descending.
ConvAxis InputGradientAxis(const SpatialAxis& axis) {
  ConvAxis result{.src = axis.output, .dst = axis.input, .phase = {}, .base = {}, .taps = {}, .window = axis.window};
  for (int64_t phase = 0; phase < axis.stride; ++phase) {
    auto& taps = result.taps.emplace_back();
    for (int64_t k = axis.window - 1; k >= 0; --k) {
      const int64_t scaled = phase - k * axis.dilation;
      if (scaled % axis.stride == 0) taps.push_back({k, scaled / axis.stride});
    }
  }
  for (int64_t i = 0; i < axis.input; ++i) {
    const int64_t phase = (i + axis.pad_before) % axis.stride;
    result.phase.push_back(static_cast<int>(phase));
    result.base.push_back((i + axis.pad_before - phase) / axis.stride);
  }
  return result;
}

}  // namespace

ConvAxis::Range ConvAxis::Reads(int64_t begin, int64_t end) const {
  Range range{0, 0};
  bool any = false;
  for (int64_t q = begin; q < end; ++q) {
    const int64_t at = base[static_cast<size_t>(q)];
    for (const AxisTap& tap : taps[static_cast<size_t>(phase[static_cast<size_t>(q)])]) {
      range.low = any ? std::min(range.low, at + tap.delta) : at + tap.delta;
      range.high = any ? std::max(range.high, at + tap.delta + 1) : at + tap.delta + 1;
      any = true;
    }
  }
  return range;
}

ConvProblem ForwardProblem(const ConvGeometry& geometry) {
  ConvProblem problem{
      .axis = {ForwardAxis(geometry.axis[0]), ForwardAxis(geometry.axis[1]), ForwardAxis(geometry.axis[2])},
      .batch = geometry.batch,
      .groups = geometry.groups,
      .src_channels = geometry.in_channels,
      .dst_channels = geometry.out_channels,
      .group_src = geometry.group_in(),
      .group_dst = geometry.group_out(),
      .reads_padding = ConvReadsPadding(geometry)};
  if (IsDepthwise(geometry)) {
    problem.depthwise = true;
    problem.multiplier = geometry.group_out();
    if (problem.multiplier > 1) problem.layout = ChannelLayout::kReplicate;
  }
  return problem;
}

ConvProblem InputGradientProblem(const ConvGeometry& geometry) {
  ConvProblem problem{.axis = {InputGradientAxis(geometry.axis[0]), InputGradientAxis(geometry.axis[1]),
                               InputGradientAxis(geometry.axis[2])},
                      .batch = geometry.batch,
                      .groups = geometry.groups,
                      .src_channels = geometry.out_channels,
                      .dst_channels = geometry.in_channels,
                      .group_src = geometry.group_out(),
                      .group_dst = geometry.group_in(),
                      .transposed = true,
                      .reads_padding = InputGradientReadsPadding(geometry)};
  if (IsDepthwise(geometry)) {
    problem.depthwise = true;
    problem.multiplier = geometry.group_out();
    if (problem.multiplier > 1) problem.layout = ChannelLayout::kDeinterleave;
  }
  return problem;
}

}  // namespace weir::highway
