#include "weir/backends/llvm/winograd_plan.h"

#include <algorithm>
#include <numeric>

namespace weir::jit {
namespace {

constexpr double kTaskFlops = 20e6;           // of the direct sum: some 75 us at 265 GFLOP/s
constexpr double kLeastOfImage = 2e6;         // of parts of an image
constexpr double kLeastFlops = 4e6;           // of parts of the output channels
constexpr int64_t kTasks = 16;                // enough for eight threads
constexpr int64_t kMostRows = 14;             // tiles of a group: with two vectors each, all of 32 registers
constexpr int64_t kNearFilter = 1024 * 1024;  // bytes; a transformed filter that stays in the second-level cache
constexpr int64_t kMostTiles = 16;     // of a unit: a row of elements and its products stay in the first-level cache,
constexpr int64_t kMostTilesFar = 64;  // but a filter that comes from afar has to be worth its way
constexpr int64_t kFewTiles = 12, kFewTilesFar = 64;  // images of fewer make units together
// Tiles for which a filter from afar is not worth transforming but panel by panel: the tiles' transforms are read once for
// each panel, which is less than four times the taps.
constexpr int64_t kMostTilesByPanels = 128;
constexpr int64_t kLeastPanels = 4;             // tasks
constexpr int64_t kCloseFilterRow = 32 * 1024;  // bytes; a row of elements that leaves the first-level cache some room

ConvProblem Covered(ConvProblem problem) {
  for (int a : {1, 2}) {
    ConvAxis& axis = problem.axis[a];
    axis.dst = axis.phases[0].count = RoundUp(axis.dst, kWinogradTile);
    axis.pool = 1;
  }
  return problem;
}

// Cycles that a unit's products of a term and a panel take, with the filter's way from the second-level cache and what
// is computed for nothing.
double CyclesOf(int64_t tiles, int64_t rows, int64_t vectors, const TileLimits& limits) {
  const auto groups = static_cast<double>(CeilDiv(tiles, rows)), r = static_cast<double>(rows);
  const auto v = static_cast<double>(vectors * limits.vector_parts);
  const double term = std::max({r * v / 2, 0.6 * (r + v), 4.0});
  return groups * term + 1.5 * v;
}

}  // namespace

WinogradPlan::WinogradPlan(const ConvProblem& p, const TileLimits& limits) : problem(p), covered(Covered(p)) {
  tile_rows = WinogradTiles(p.axis[1].dst);
  tile_columns = WinogradTiles(p.axis[2].dst);
  const int64_t vectors = CeilDiv(p.dst_channels, kLanes);
  product.parts = limits.vector_parts;
  product.vectors = std::min<int64_t>(vectors, vectors % 3 == 0 && vectors % 2 != 0 ? 3 : 2);
  if (limits.vector_registers < kMostRows) product.vectors = 1;
  panels = CeilDiv(vectors, product.vectors);
  part_panels = panels;

  const int64_t most_rows = std::min(kMostRows, (limits.vector_registers - product.vectors - 1) / product.vectors);
  by_panels = far_filter() && p.batch > 0 && panels >= kLeastPanels && p.batch * image_tiles() <= kMostTilesByPanels;
  if (by_panels) {
    SplitPanels(limits, most_rows);
  } else {
    SplitUnits(limits, most_rows);
  }
}

void WinogradPlan::SplitPanels(const TileLimits& limits, int64_t most_rows) {
  by_images = true;
  unit = images = problem.batch;
  block = tile_rows;
  part_panels = 1;
  parts = tasks = panels;
  double least = 0;
  for (int64_t rows = most_rows; rows >= 1; --rows) {
    const double cycles = CyclesOf(unit * image_tiles(), rows, product.vectors, limits);
    if (least > 0 && cycles >= least) continue;
    least = cycles;
    product.rows = rows;
  }
}

void WinogradPlan::SplitUnits(const TileLimits& limits, int64_t most_rows) {
  const ConvProblem& p = problem;
  const double flops = std::max(p.flops(), 1.0), image = flops / static_cast<double>(std::max<int64_t>(1, p.batch));
  const bool near = !far_filter();
  by_images = image_tiles() < (near ? kFewTiles : kFewTilesFar) && p.batch > 1;
  // Units begin and end with windows of the tail.
  const int64_t quantum = by_images ? 1 : std::lcm(kWinogradTile, p.axis[1].pool) / kWinogradTile;
  const int64_t cuts = std::clamp<int64_t>(
      std::min(CeilDiv(kTasks, std::max<int64_t>(1, p.batch)), static_cast<int64_t>(image / kLeastOfImage)), 1,
      tile_rows);
  block = by_images ? tile_rows : std::min(tile_rows, RoundUp(CeilDiv(tile_rows, cuts), quantum));
  blocks = CeilDiv(tile_rows, block);

  // The unit and its groups that take the fewest cycles.
  const int64_t step = by_images ? image_tiles() : tile_columns;
  const int64_t most = near ? kMostTiles : kMostTilesFar, all = by_images ? p.batch : block;
  product.rows = 1;
  double least = 0;
  for (int64_t u = 1; u <= all; ++u) {
    const bool whole = u % quantum == 0 || u == block;
    if (!whole || (least > 0 && u * step > most)) continue;
    for (int64_t rows = std::min(most_rows, u * step); rows >= 1; --rows) {
      const auto of = [&](int64_t n) { return CyclesOf(n * step, rows, product.vectors, limits); };
      const double cycles = static_cast<double>(all / u) * of(u) + (all % u > 0 ? of(all % u) : 0);
      if (least > 0 && cycles >= least) continue;
      least = cycles;
      unit = u;
      product.rows = rows;
    }
  }

  const auto per_task = static_cast<int64_t>(kTaskFlops / image);
  if (by_images) {
    images = TaskSize(p.batch, std::max<int64_t>(1, per_task), 1);
    images = RoundUp(images, unit);
  } else if (blocks == 1) {
    images = TaskSize(p.batch, std::max<int64_t>(1, per_task), 1);
  }
  const int64_t regions = blocks * CeilDiv(p.batch, images);
  const auto worth = static_cast<int64_t>(flops / static_cast<double>(std::max<int64_t>(1, regions)) / kLeastFlops);
  part_panels =
      CeilDiv(panels, std::max<int64_t>(1, std::min({CeilDiv(kTasks, std::max<int64_t>(1, regions)), worth, panels})));
  parts = CeilDiv(panels, part_panels);
  tasks = regions * parts;
}

int64_t WinogradPlan::filter_panel() const { return kWinogradElements * problem.src_channels * product.width(); }

bool WinogradPlan::far_filter() const { return panels * filter_panel() * 4 > kNearFilter; }

bool WinogradPlan::by_groups() const {
  return part_panels == 1 && filter_panel() / kWinogradCells * 4 <= kCloseFilterRow;
}

int64_t WinogradPlan::unit_floats() const {
  if (by_images) return unit * problem.DstStep(0);
  return unit * kWinogradTile * problem.DstStep(2);
}

ConvSource WinogradPlan::Source() const {
  if (by_images) return {covered, 0, 1, unit};
  return {covered, 1, blocks == 1 ? covered.axis[1].dst : block * kWinogradTile, 1};
}

}  // namespace weir::jit
