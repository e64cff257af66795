#include "weir/ops/winograd.h"

#include "weir/ops/ops.h"

namespace weir {
namespace {

// Multiply-adds that a channel's transform of a tile is worth, of the source and of the output, and a weight's: more
// where the transformed filter is so large that it leaves a core's caches and comes back, and still more where it
// leaves them all. For few tiles a large filter can be transformed and used up panel by panel of output channels.
constexpr double kSourceWork = 200, kOutputWork = 150, kFilterWork = 200;
constexpr double kPanelFilterWork = 500, kLargeFilterWork = 1500, kHugeFilterWork = 3000;
constexpr double kLargeFilter = 1 << 18, kHugeFilter = 1 << 22;  // transformed numbers
constexpr double kFewTiles = 128;
// Below a vector of channels, transforms and products leave lanes empty.
constexpr int64_t kLeastChannels = 16;

}  // namespace

bool UsesWinograd(const AttrMap& conv_attrs) {
  return conv_attrs.Int(kAlgorithm) == static_cast<int64_t>(ConvAlgorithm::kWinograd);
}

bool IsWinograd(const ConvGeometry& geometry) {
  if (geometry.groups != 1 || geometry.axis[0].window != 1 || geometry.axis[0].input != 1 ||
      geometry.axis[0].output != 1) {
    return false;
  }
  for (int a : {1, 2}) {
    const SpatialAxis& axis = geometry.axis[a];
    if (axis.window != 3 || axis.stride != 1 || axis.dilation != 1) return false;
  }
  return true;
}

bool WinogradPays(const ConvGeometry& geometry) {
  if (!IsWinograd(geometry) || std::min(geometry.in_channels, geometry.out_channels) < kLeastChannels) return false;
  const auto in = static_cast<double>(geometry.in_channels), out = static_cast<double>(geometry.out_channels);
  const auto batch = static_cast<double>(geometry.batch), elements = static_cast<double>(kWinogradElements);
  const double tiles = batch * static_cast<double>(WinogradForward(geometry).tiles());
  const double transformed = elements * in * out;
  const double filter_work = transformed <= kLargeFilter  ? kFilterWork
                             : tiles <= kFewTiles         ? kPanelFilterWork
                             : transformed <= kHugeFilter ? kLargeFilterWork
                                                          : kHugeFilterWork;
  const ConvPairs pairs = PairsOf(geometry);
  const double direct =
      batch * static_cast<double>(ConvReadsPadding(geometry) ? pairs.forward : pairs.inside) * in * out;
  const double winograd = tiles * (elements * in * out + kSourceWork * in + kOutputWork * out) + filter_work * in * out;
  return winograd < direct;
}

WinogradShape WinogradForward(const ConvGeometry& geometry) {
  const SpatialAxis &rows = geometry.axis[1], &columns = geometry.axis[2];
  return {.batch = geometry.batch,
          .src_rows = rows.input,
          .src_columns = columns.input,
          .src_channels = geometry.in_channels,
          .dst_rows = rows.output,
          .dst_columns = columns.output,
          .dst_channels = geometry.out_channels,
          .pad_rows = rows.pad_before,
          .pad_columns = columns.pad_before};
}

WinogradShape WinogradInputGradient(const ConvGeometry& geometry) {
  const SpatialAxis &rows = geometry.axis[1], &columns = geometry.axis[2];
  return {.batch = geometry.batch,
          .src_rows = rows.output,
          .src_columns = columns.output,
          .src_channels = geometry.out_channels,
          .dst_rows = rows.input,
          .dst_columns = columns.input,
          .dst_channels = geometry.in_channels,
          .pad_rows = 2 - rows.pad_before,
          .pad_columns = 2 - columns.pad_before,
          .gradient = true};
}

}  // namespace weir
