#include "weir/backends/llvm/filter_plan.h"

#include <algorithm>

#include "weir/ops/canonical_order.h"

namespace weir::jit {
namespace {

constexpr int64_t kBandFloats = 8 * 1024;  // of x and dy that all rows pass over while the first-level cache holds them
constexpr int64_t kBandTerms = 128;        // at least, for the sums that are loaded and stored
constexpr int64_t kPackedPanels = 3;       // from so many panels on, dy is packed for tasks by rows
constexpr int64_t kUnitRows = 28;          // rows with offsets of their own: two tiles
constexpr int64_t kNearBytes = 1 << 20;    // of operands that the second-level cache holds
constexpr int64_t kPartialBytes = 8 << 20;  // of partial results: they should stay in the last-level cache
constexpr double kTaskFlops = 4e6;          // 20 us at 200 GFLOP/s
constexpr int64_t kFewChunks = 16;
constexpr int64_t kFewTiles = 16;    // of rows: enough for eight threads
constexpr int64_t kLeastChunks = 4;  // of what needs no copy of x
// Of dy: tasks by rows pass over it tile by tile, for which it should stay in the last-level cache.
constexpr int64_t kFarBytes = 8 << 20;
// Positions whose rows of x or dy are a multiple of this apart share few sets of the first-level cache.
constexpr int64_t kCrowdedPitch = 128;                          // floats
constexpr int64_t kPackedSegments = 16, kPackedRowsPanels = 8;  // so many tiles pass over what is packed for a band
constexpr int64_t kImageGap = 16;                               // a copied row may be written as whole vectors

void DescribeSource(FilterPlan& p) {
  const ConvGeometry& g = p.g;
  p.pixel = p.depthwise ? g.out_channels : g.in_channels;
  p.copy_x = p.pixel != g.in_channels;
  int64_t size[3];
  for (int a = 0; a < 3; ++a) {
    const SpatialAxis& axis = g.axis[a];
    p.low[a] = -axis.pad_before;
    p.box[a] = (axis.output - 1) * axis.stride + (axis.window - 1) * axis.dilation + 1;
    p.copy_x |= p.low[a] != 0 || p.low[a] + p.box[a] > axis.input;
    size[a] = axis.input;
  }
  if (p.copy_x) std::copy_n(p.box, 3, size);
  p.strides[2] = p.pixel;
  p.strides[1] = size[2] * p.strides[2];
  p.strides[0] = size[1] * p.strides[1];
  p.x_image = size[0] * p.strides[0] + (p.copy_x ? kImageGap : 0);
}

void DescribePositions(FilterPlan& p) {
  const ConvGeometry& g = p.g;
  PositionLoop all[4] = {{p.chunk_images, p.x_image, p.dy_floats()}};
  int64_t dy = g.out_channels;
  for (int a = 2; a >= 0; --a) {
    all[a + 1] = {g.axis[a].output, g.axis[a].stride * p.strides[a], dy};
    dy *= g.axis[a].output;
  }
  for (const PositionLoop& loop : all) {
    if (loop.count == 1) continue;
    if (!p.positions.empty()) {
      PositionLoop& last = p.positions.back();
      if (last.x == loop.count * loop.x && last.dy == loop.count * loop.dy) {
        last = {last.count * loop.count, loop.x, loop.dy};
        continue;
      }
    }
    p.positions.push_back(loop);
  }
  if (p.positions.empty()) p.positions.push_back({});
}

void DescribeRows(FilterPlan& p) {
  const ConvGeometry& g = p.g;
  std::vector<RowLoop> loops;
  const auto add = [&](int64_t count, int64_t x) {
    if (count == 1) return;
    if (!loops.empty() && loops.back().x == count * x) {
      loops.back() = {loops.back().count * count, x};
    } else {
      loops.push_back({count, x});
    }
  };
  for (int a = 0; a < 3; ++a) add(g.axis[a].window, g.axis[a].dilation * p.strides[a]);
  if (!p.depthwise) add(g.group_in(), 1);
  if (!loops.empty() && loops.back().count > kUnitRows) {
    p.unit_rows = loops.back().count;
    p.row_pitch = loops.back().x;
    loops.pop_back();
  } else {
    p.unit_offsets = {0};
    while (!loops.empty() && p.unit_rows * loops.back().count <= kUnitRows) {
      const RowLoop loop = loops.back();
      std::vector<int64_t> offsets;
      for (int64_t i = 0; i < loop.count; ++i) {
        for (int64_t inner : p.unit_offsets) offsets.push_back(i * loop.x + inner);
      }
      p.unit_offsets = std::move(offsets);
      p.unit_rows *= loop.count;
      loops.pop_back();
    }
  }
  p.outer = std::move(loops);
  for (const RowLoop& loop : p.outer) p.units *= loop.count;
}

void ChooseBand(FilterPlan& p) {
  const bool small = p.chunks * p.rows * p.columns * 4 <= kPartialBytes;
  // With few chunks, each would have to be shared by several tasks that copy the same operands, or keep few threads
  // busy.
  const bool far = p.g.batch * p.dy_floats() * BytesOf(Elem::kF32) > kFarBytes;
  const bool few = p.chunks < (far ? kLeastChunks : kFewChunks) && (p.copy_x || p.chunks < kLeastChunks) &&
                   p.flops() > kTaskFlops * static_cast<double>(p.chunks) && p.segments() > p.chunks;
  p.by_rows = p.chunks == 0 || !((small && !few) || p.depthwise);
  // Few tiles of rows: an even number of them, which two threads, or four, share better.
  const int64_t tiles = p.tiles_per_unit();
  if (p.by_rows && p.units == 1 && p.unit_offsets.empty() && tiles > 1 && tiles < kFewTiles && tiles % 2 == 1)
    p.tile.rows = CeilDiv(p.unit_rows, tiles + 1);
  p.band_level = 0;
  p.band = p.positions[0].count;
  p.fetch = !p.depthwise && p.g.batch * (p.x_floats() + p.dy_floats()) * BytesOf(Elem::kF32) > kNearBytes;
  // Where each float is read for one tile only, nothing has to stay close.
  if (p.segments() * p.panels() == 1 || p.depthwise) return;
  const bool near = p.g.batch * p.dy_floats() * BytesOf(Elem::kF32) <= kNearBytes;
  p.pack_dy = p.by_rows && p.groups == 1 && p.panels() >= kPackedPanels && p.segments() > (near ? kPackedSegments : 1);
  p.pack_rows = p.pack_dy && p.unit_offsets.empty() && p.row_pitch == 1;
  if (p.pack_dy) {
    p.fetch = false;  // what is packed is fetched by the term
    // A gap of one term keeps the panels apart in the sets of a cache.
    p.panel_terms = p.band_terms() + 1;
    return;
  }
  const int64_t terms = std::max(kBandTerms, kBandFloats / (p.g.in_channels + p.g.out_channels));
  while (p.band_level + 1 < p.positions.size() && p.Inside(p.band_level) > terms) ++p.band_level;
  p.band = std::clamp<int64_t>(terms / p.Inside(p.band_level), 1, p.positions[p.band_level].count);
  if (p.by_rows || p.groups > 1) return;
  p.pack_dy = p.panels() >= kPackedPanels && p.segments() >= kPackedSegments && p.columns % kCrowdedPitch == 0;
  p.pack_rows = p.pack_dy && p.panels() >= kPackedRowsPanels && p.unit_offsets.empty() && p.row_pitch == 1 &&
                p.pixel % kCrowdedPitch == 0;
  p.panel_terms = p.band_terms() + 1;
}

}  // namespace

int64_t FilterPlan::Inside(size_t level) const {
  int64_t inside = 1;
  for (size_t i = level + 1; i < positions.size(); ++i) inside *= positions[i].count;
  return inside;
}

double FilterPlan::flops() const {
  return 2.0 * static_cast<double>(g.batch) * static_cast<double>(g.out_positions()) * static_cast<double>(rows) *
         static_cast<double>(columns);
}

FilterPlan PlanFilterGradient(const Cluster& cluster, const TileLimits& limits) {
  const Node& anchor = cluster.node(*cluster.anchor);
  FilterPlan p;
  p.g = ConvGeometryOf(anchor.attrs, cluster.type(anchor.inputs[0]).shape, anchor.outputs[0].shape);
  const ConvGeometry& g = p.g;
  p.x_input = cluster.input_index(anchor.inputs[0]);
  p.dy_input = cluster.input_index(anchor.inputs[1]);
  p.chunk_images = std::min(FilterGradientImages(g.out_positions()), std::max<int64_t>(1, g.batch));
  p.chunks = CeilDiv(g.batch, p.chunk_images);
  p.rows = g.taps() * g.group_in();
  p.columns = g.out_channels;
  p.depthwise = IsDepthwise(g);
  p.multiplier = p.depthwise ? g.group_out() : 1;
  p.groups = p.depthwise ? 1 : g.groups;
  p.group_rows = g.group_in();
  p.group_columns = p.columns / p.groups;
  DescribeSource(p);
  DescribePositions(p);
  DescribeRows(p);
  // Tiles with offsets of their own differ in code anyway.
  p.tile = ChooseTile(p.unit_rows, p.group_columns, p.chunk_images * g.out_positions(), limits, p.unit_offsets.empty());
  ChooseBand(p);
  return p;
}

}  // namespace weir::jit
