#include "weir/backends/llvm/conv_plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace weir::jit {
namespace {

constexpr double kTaskFlops = 4e6;          // 20 us
constexpr double kLeastOfImage = 4e5;       // flops of parts of an image,
constexpr double kLeastFlops = 6e5;         // and of parts of the output channels
constexpr double kCopyFlops = 200;          // of a part of the output channels, for each element of a copied source
constexpr int64_t kTasks = 16;              // enough for eight threads
constexpr int64_t kMostPixels = 12;         // of a tile
constexpr int64_t kSameSet = 4096;          // bytes; pixels so far apart share a set of the first-level cache,
constexpr int64_t kSetPixels = 8;           // which has few lines more
constexpr int64_t kLongSum = 256;           // terms; of shorter ones, the largest tiles cost more than they save,
constexpr int64_t kShortSum = 100;          // and of these, tiles of two sizes more than small tiles of one
constexpr int64_t kPairRegisters = 16;      // with fewer vectors, each is two registers,
constexpr int64_t kLeastPixelsOfPairs = 5;  // and ten sums cover an addition's latency
constexpr size_t kFewClasses = 8;           // of phases; each has code of its own, so that more get small tiles
constexpr int64_t kSmallTile = 4;
constexpr int64_t kUnitPixels = 64;           // rows copied, and sums kept, at a time: within the first-level cache
constexpr int64_t kLargeFilter = 192 * 1024;  // bytes; larger ones come from beyond the first-level cache each time,
constexpr int64_t kUnitOfLarge = 192;         // so that more pixels have to share them,
constexpr int64_t kHugeFilter = 768 * 1024;   // bytes; and of larger ones, from beyond the second in each task
constexpr int64_t kFewPixels = 96;            // images smaller than this make units together
constexpr int64_t kOwnSource = 1024 * 1024;   // bytes of a source that each task with a filter of its own reads

}  // namespace

ConvPlan::ConvPlan(const ConvProblem& p, const FilterLayout& layout, const TileLimits& limits) : problem(p) {
  MakeClasses(layout, limits);
  Split(layout);
}

void ConvPlan::MakeClasses(const FilterLayout& layout, const TileLimits& limits) {
  for (const AxisPhase& a : problem.axis[0].phases) {
    for (const AxisPhase& b : problem.axis[1].phases) {
      for (const AxisPhase& c : problem.axis[2].phases) {
        classes.push_back({.phase = {&a, &b, &c}, .count = {problem.batch, a.count, b.count, c.count}, .tiling = {}});
      }
    }
  }
  const int64_t terms = problem.depthwise ? problem.taps() : problem.taps() * problem.group_src;
  const int64_t registers = limits.vector_registers;
  int64_t most = MostPixels(layout, registers, terms);
  const int64_t* count = classes[0].count;
  while (one_class() && tile_level > 0 && 2 * inner * count[tile_level] <= most) inner *= count[tile_level--];
  const bool together = one_class() && problem.batch > 1 && problem.dst_pixels() < kFewPixels;
  unit_level = 0;
  if (tile_level > 0 && !together) {
    unit_level = 1;
    while (unit_level < 3 && problem.axis[unit_level - 1].dst == 1) ++unit_level;
  }
  most /= inner;
  const int64_t alike = terms >= kShortSum ? most * 3 / 4 + 1 : most / 2 + 1;
  const int64_t least = std::max(alike, registers < kPairRegisters ? kLeastPixelsOfPairs : 1);
  const int64_t quantum = tile_level == unit_level && problem.Pool(tile_level) <= most ? problem.Pool(tile_level) : 1;
  for (ConvClass& c : classes) {
    c.tiling = one_class() || tile_level != unit_level ? TilingOf(c.count[tile_level], least, most, quantum)
                                                       : Tiling{.size = most};
  }
}

// Pixels of a tile, at most.
int64_t ConvPlan::MostPixels(const FilterLayout& layout, int64_t registers, int64_t terms) const {
  if (problem.depthwise) {
    // Sums and the pixels that a row of taps reads are in registers.
    return std::min({(registers - 3) / 2, kMostPixels, classes.size() > kFewClasses ? kSmallTile : kMostPixels});
  }
  // Sums, a term's row of the filter and a broadcast are.
  int64_t most = (registers - layout.vectors - 1) / layout.vectors;
  // Rows that are whole tiles of the most pixels, or tiles that are whole rows.
  const int64_t columns = std::max<int64_t>(1, classes[0].count[3]);
  const bool even = columns % most == 0 || (one_class() && most % columns == 0);
  if (!even || terms < kLongSum) most = std::min(most, kMostPixels);
  const int64_t pixel_bytes = problem.axis[2].advance * problem.src_channels * BytesOf(Elem::kF32);
  if (pixel_bytes % kSameSet == 0) most = std::min(most, kSetPixels);
  return classes.size() > kFewClasses ? std::min(most, kSmallTile) : most;
}

int64_t ConvPlan::UnitFloats() const {
  const int64_t floats = Outputs(unit) * problem.DstStep(unit_level);
  return unit_level == 0 ? floats : std::min(floats, problem.DstStep(0));
}
int64_t ConvPlan::Granularity() const {
  const int64_t outputs = tile_steps() && tiling().small > 0 ? tiling().quantum : Outputs(1);
  const int64_t all = unit_level == 0 ? problem.batch * problem.DstStep(0) : problem.DstStep(0);
  return std::gcd(std::gcd(block, unit) * outputs * problem.DstStep(unit_level), all);
}

void ConvPlan::Split(const FilterLayout& layout) {
  const ConvProblem& p = problem;
  if (tile_steps()) {
    steps = tiling().tiles();
  } else {
    steps = unit_level == 0 ? p.batch : CeilDiv(p.axis[unit_level - 1].dst, p.axis[unit_level - 1].step);
  }
  const int64_t filter_bytes = p.taps() * p.group_src * p.dst_channels * BytesOf(Elem::kF32);
  // Steps that begin and end with windows of the tail: all of them, if tiles are smaller than a window.
  const int64_t window = problem.Pool(unit_level);
  const int64_t whole = !tile_steps() ? window : tiling().quantum % window == 0 ? 1 : steps;
  const int64_t pixels = filter_bytes > kLargeFilter ? kUnitOfLarge : kUnitPixels;
  unit = RoundUp(std::clamp<int64_t>(pixels * p.dst_channels / (Outputs(1) * problem.DstStep(unit_level)), 1, steps),
                 whole);
  const double flops = std::max(p.flops(), 1.0);
  const auto per_task = [&](double each) { return std::max<int64_t>(1, static_cast<int64_t>(kTaskFlops / each)); };
  block = steps;
  if (unit_level == 0) {
    block = TaskSize(steps, per_task(flops / static_cast<double>(steps)), 1);
    if (filter_bytes > kHugeFilter) block = std::max(block, CeilDiv(steps, std::max<int64_t>(1, steps / unit)));
  } else {
    const double image = flops / static_cast<double>(p.batch);
    images = TaskSize(p.batch, per_task(image), 1);
    int64_t cuts = std::min(CeilDiv(kTasks, p.batch), static_cast<int64_t>(image / kLeastOfImage));
    // Tasks by output channels read the source again, which is small beside such a filter.
    if (filter_bytes > kHugeFilter) cuts = std::min(cuts, std::max<int64_t>(1, p.dst_pixels() / kUnitOfLarge));
    if (images == 1 && cuts > 1) block = CeilDiv(steps, cuts);
  }
  // Tiles of several classes must not cross the end of a task.
  if (!one_class() && tile_level == unit_level) block = RoundUp(block, tiling().size);
  block = RoundUp(block, whole);
  SplitPanels(layout);
  if (MayOwnFilter(layout)) {
    const int64_t shared_block = std::exchange(block, steps), shared_images = std::exchange(images, p.batch);
    SplitPanels(layout);
    own_filter = parts >= kOwnFilterParts;
    if (!own_filter) {
      block = shared_block;
      images = shared_images;
      SplitPanels(layout);
    }
  }
  unit = RoundUp(CeilDiv(block, std::max<int64_t>(1, block / unit)), whole);
  if (!one_class() && tile_level == unit_level) unit = block;
  by_parts = filter_bytes > kHugeFilter;
}

// The panels of tasks, whose pixels are known.
void ConvPlan::SplitPanels(const FilterLayout& layout) {
  const ConvProblem& p = problem;
  const double flops = std::max(p.flops(), 1.0);
  blocks = CeilDiv(steps, block);
  const int64_t regions = blocks * (unit_level == 0 ? 1 : CeilDiv(p.batch, images));
  part_panels = layout.all_panels();
  if (p.groups == 1 || p.depthwise) {
    int64_t worth = static_cast<int64_t>(flops / static_cast<double>(regions) / kLeastFlops);
    // Each part copies its source anew.
    const double copied = static_cast<double>(p.batch * p.src_pixels() * p.src_channels);
    if (!p.all_inside()) worth = std::min(worth, static_cast<int64_t>(flops / (kCopyFlops * std::max(copied, 1.0))));
    part_panels = CeilDiv(part_panels, std::max<int64_t>(1, std::min({CeilDiv(kTasks, regions), worth, part_panels})));
  }
  parts = CeilDiv(layout.all_panels(), part_panels);
  tasks = regions * parts;
}

// Whether tasks may be parts of the output channels only, which pack their panels of the filter themselves. A prologue
// that is computed as it is copied needs tasks that share no source.
bool ConvPlan::MayOwnFilter(const FilterLayout& layout) const {
  if (!layout.packed || problem.groups > 1 || layout.rest > 0) return false;
  if (!problem.all_inside() && parts == 1) return false;
  const int64_t read = std::min(problem.src_pixels(), problem.dst_pixels() * problem.taps()) * problem.src_channels;
  return problem.batch * problem.dst_pixels() <= kOwnFilterPixels &&
         problem.batch * read * BytesOf(Elem::kF32) <= kOwnSource;
}

}  // namespace weir::jit
