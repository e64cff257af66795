#include "weir/backends/llvm/conv_ir.h"

#include <algorithm>
#include <numeric>

#include "weir/backends/llvm/lowering.h"

namespace weir::jit {
namespace {

ConvAxis ForwardAxis(const SpatialAxis& axis) {
  ConvAxis result{
      .src = axis.input, .dst = axis.output, .window = axis.window, .step = 1, .advance = axis.stride, .phases = {}};
  result.phases.push_back(
      {.first = 0, .count = axis.output, .base = -axis.pad_before, .delta = axis.dilation, .taps = axis.window});
  return result;
}

// dx[i] meets dy[(i + pad - k * dilation) / stride] where the division is exact, taps k descending.
ConvAxis InputGradientAxis(const SpatialAxis& axis) {
  ConvAxis result{
      .src = axis.output, .dst = axis.input, .window = axis.window, .step = axis.stride, .advance = 1, .phases = {}};
  const int64_t common = std::gcd(axis.stride, axis.dilation), period = axis.stride / common;
  for (int64_t first = 0; first < std::min(axis.stride, axis.input); ++first) {
    const int64_t shifted = first + axis.pad_before;
    AxisPhase phase{.first = first,
                    .count = CeilDiv(axis.input - first, axis.stride),
                    .delta = axis.dilation / common,
                    .period = period};
    for (int64_t k = axis.window - 1; k >= 0; --k) {
      if ((shifted - k * axis.dilation) % axis.stride != 0) continue;
      if (phase.taps++ > 0) continue;
      phase.base = (shifted - k * axis.dilation) / axis.stride;
      phase.position = axis.window - 1 - k;
    }
    result.phases.push_back(phase);
  }
  return result;
}

ConvProblem Normalized(ConvProblem p) {
  const auto one = [](const ConvAxis& axis) { return axis.pointwise() && axis.src == 1; };
  for (int turn = 0; turn < 2 && one(p.axis[2]); ++turn) std::rotate(&p.axis[0], &p.axis[2], &p.axis[3]);
  const auto joins = [](const ConvAxis& axis) { return axis.pointwise() && axis.pool == 1; };
  if (!std::all_of(&p.axis[0], &p.axis[3], joins)) return p;
  const int64_t pixels = p.batch * p.src_pixels();
  p.axis[2].src = p.axis[2].dst = p.axis[2].phases[0].count = pixels;
  for (ConvAxis* axis = p.axis; axis != &p.axis[2]; ++axis) axis->src = axis->dst = axis->phases[0].count = 1;
  p.batch = 1;
  return p;
}

}  // namespace

ConvAxis::Range ConvAxis::Reads(int64_t count) const {
  Range range;
  bool any = false;
  for (const AxisPhase& phase : phases) {
    if (phase.taps == 0) continue;
    const int64_t high = phase.base + (std::min(count, phase.count) - 1) * advance + (phase.taps - 1) * phase.delta + 1;
    range = {any ? std::min(range.low, phase.base) : phase.base, any ? std::max(range.high, high) : high};
    any = true;
  }
  return range;
}

ConvAxis::Range ConvAxis::Inside(const AxisPhase& phase, int64_t j) const {
  const int64_t first = phase.base + j * advance;
  const auto reach = [&](int64_t distance) {  // taps before that distance from the first
    return std::min(phase.taps, CeilDiv(std::max<int64_t>(distance, 0), phase.delta));
  };
  const int64_t low = reach(-first);
  return {low, std::max(low, reach(src - first))};
}

double ConvProblem::flops() const {
  double count = 2.0 * static_cast<double>(batch) * static_cast<double>(dst_channels) *
                 static_cast<double>(depthwise && !transposed ? 1 : group_src);
  for (const ConvAxis& a : axis) {
    int64_t terms = 0;
    for (const AxisPhase& phase : a.phases) terms += phase.count * phase.taps;
    count *= static_cast<double>(terms);
  }
  return count;
}

double ConvProblem::inside_flops() const {
  double count = 2.0 * static_cast<double>(batch * dst_channels) * static_cast<double>(group_src);
  for (const ConvAxis& a : axis) {
    int64_t terms = 0;
    for (const AxisPhase& phase : a.phases) {
      for (int64_t j = 0; j < phase.count; ++j) {
        const ConvAxis::Range taps = a.Inside(phase, j);
        terms += taps.high - taps.low;
      }
    }
    count *= static_cast<double>(terms);
  }
  return count;
}

int64_t ConvProblem::DstStep(int level) const {
  int64_t step = dst_channels * (level == 0 ? 1 : axis[level - 1].step);
  for (int a = level; a < 3; ++a) step *= axis[a].dst;
  return step;
}

ConvProblem ForwardProblem(const ConvGeometry& geometry, const ConvGeometry* pool) {
  ConvProblem p{.axis = {ForwardAxis(geometry.axis[0]), ForwardAxis(geometry.axis[1]), ForwardAxis(geometry.axis[2])},
                .batch = geometry.batch,
                .groups = geometry.groups,
                .src_channels = geometry.in_channels,
                .dst_channels = geometry.out_channels,
                .group_src = geometry.group_in(),
                .group_dst = geometry.group_out(),
                .reads_padding = ConvReadsPadding(geometry)};
  if (IsDepthwise(geometry)) {
    p.depthwise = true;
    p.multiplier = geometry.group_out();
  }
  for (int a = 0; pool != nullptr && a < 3; ++a) p.axis[a].pool = pool->axis[a].window;
  return Normalized(std::move(p));
}

ConvProblem InputGradientProblem(const ConvGeometry& geometry) {
  ConvProblem p{.axis = {InputGradientAxis(geometry.axis[0]), InputGradientAxis(geometry.axis[1]),
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
    p.depthwise = true;
    p.multiplier = geometry.group_out();
  }
  return Normalized(std::move(p));
}

std::vector<TermLoop> Joined(const std::vector<TermLoop>& loops) {
  std::vector<TermLoop> joined;
  for (const TermLoop& loop : loops) {
    if (loop.count == 1) continue;
    if (!joined.empty() && joined.back().src == loop.count * loop.src &&
        joined.back().filter == loop.count * loop.filter) {
      joined.back() = {joined.back().count * loop.count, loop.src, loop.filter};
    } else {
      joined.push_back(loop);
    }
  }
  return joined;
}

Tiling TilingOf(int64_t count, int64_t least, int64_t most, int64_t quantum) {
  if (quantum > 1) {
    Tiling tiling = TilingOf(count / quantum, CeilDiv(least, quantum), most / quantum);
    tiling.size *= quantum;
    tiling.quantum = quantum;
    return tiling;
  }
  if (count <= most) return {.size = count, .large = 1, .small = 0};
  for (int64_t size = most; size >= least; --size) {
    if (count % size == 0) return {.size = size, .large = count / size, .small = 0};
  }
  const int64_t tiles = CeilDiv(count, most), size = CeilDiv(count, tiles), large = count - tiles * (size - 1);
  return {.size = size, .large = large, .small = tiles - large};
}

Val Tiling::Begin(KernelBuilder& b, Val tile) const {
  if (small == 0) return b.Mul(tile, size);
  return b.Add(b.Mul(tile, size - quantum), b.Mul(b.Min(tile, b.I64(large)), quantum));
}

}  // namespace weir::jit
