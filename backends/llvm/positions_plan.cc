#include "weir/backends/llvm/positions_plan.h"

#include <algorithm>

namespace weir::jit {
namespace {

constexpr int64_t kFewPositions = 96;  // of images that may as well be computed by positions, with a window of one tap,
constexpr int64_t kLeastImages = 8;    // if there are enough of them for a tile
constexpr int64_t kMostRows = 12;      // of a tile; images are often a power of two apart, and share sets of a cache
constexpr int64_t kVectors = 2;        // of a tile: enough sums, and few loads
constexpr int64_t kLeastSums = 8;      // of a tile, to cover an addition's latency
constexpr int64_t kManyRegisters = 16;  // vectors; with fewer, tiles are of one vector
constexpr double kLeastUses = 8;        // of a weight, for which packing it pays
constexpr double kUsesOfTask = 32;      // of a weight, that tasks which pack the same ones have at least
constexpr double kLeastFlops = 1e6;     // of a task
constexpr int64_t kTasks = 16;          // enough for eight threads

PositionsPlan::Used UsedOf(const ConvAxis& axis) {
  PositionsPlan::Used used{axis.window, 0};
  for (const AxisPhase& phase : axis.phases) {
    for (int64_t j = 0; j < phase.count; ++j) {
      const ConvAxis::Range taps = axis.Inside(phase, j);
      if (taps.low == taps.high) continue;
      used.begin = std::min(used.begin, phase.position + taps.low * phase.period);
      used.end = std::max(used.end, phase.position + (taps.high - 1) * phase.period + 1);
    }
  }
  return {std::min(used.begin, used.end), used.end};
}

}  // namespace

bool GoesByPositions(const ConvProblem& p) {
  if (!p.reads_padding) return true;
  const bool inside = p.all_inside();
  const bool small = std::max(p.src_pixels(), p.dst_pixels()) < kFewPositions;
  return inside && small && p.taps() == 1 && !p.depthwise && p.batch >= kLeastImages;
}

PositionsPlan::PositionsPlan(const ConvProblem& p, const TileLimits& limits, bool wide)
    : group_src(p.group_src), parts_of_vector(limits.vector_parts) {
  for (int a = 0; a < 3; ++a) used[a] = UsedOf(p.axis[a]);
  const int64_t all = CeilDiv(p.group_dst, int64_t{kLanes}), registers = limits.vector_registers;
  vectors = registers < kManyRegisters ? 1 : std::min(all, all % 3 == 0 && all % 2 != 0 ? 3 : kVectors);
  // Few images make wide tiles; transposing a wide panel costs more than it gives.
  while (registers >= kManyRegisters && !p.transposed && vectors * p.batch < kLeastSums && 2 * vectors <= all)
    vectors *= 2;
  const int64_t block_vectors = kRandomBlock / kLanes;
  if (wide && registers >= kManyRegisters && p.group_dst % kRandomBlock == 0) vectors = block_vectors;
  panels = CeilDiv(all, vectors);
  // Sums, a term's row of the filter and a broadcast are in registers.
  const int64_t most = std::min(kMostRows, (registers - vectors - 1) / vectors);
  images = TilingOf(p.batch, most / 2 + 1, most);
  items = images.tiles() * p.dst_pixels();
  units = p.groups * panels;
  const double flops = std::max(p.inside_flops(), 1.0);
  const double weights = static_cast<double>(used_taps() * p.group_src * p.groups * p.group_dst);
  const double uses = flops / 2 / std::max(weights, 1.0);
  packed = p.transposed || uses >= kLeastUses;
  const auto worth = [](double tasks, int64_t most_tasks) {
    return std::clamp<int64_t>(static_cast<int64_t>(tasks), 1, std::max<int64_t>(1, most_tasks));
  };
  part = CeilDiv(units, worth(flops / kLeastFlops, units));
  parts = CeilDiv(units, part);
  double cuts = std::min(flops / kLeastFlops / static_cast<double>(parts), static_cast<double>(CeilDiv(kTasks, parts)));
  if (packed) cuts = std::min(cuts, uses / kUsesOfTask);
  block = CeilDiv(items, worth(cuts, items));
  blocks = CeilDiv(items, block);
}

}  // namespace weir::jit
