// How a convolution is cut up: register tiles, units of tiles, tasks of units. All of it follows from shapes, and tiles
// from the processor's registers too; no choice changes a sum's order.
#ifndef WEIR_BACKENDS_LLVM_CONV_PLAN_H_
#define WEIR_BACKENDS_LLVM_CONV_PLAN_H_

#include <cstdint>
#include <vector>

#include "weir/backends/llvm/conv_filter.h"
#include "weir/backends/llvm/conv_ir.h"

namespace weir::jit {

// The outputs of one phase of each axis. Levels of the loops over them: images, then the three axes.
struct ConvClass {
  const AxisPhase* phase[3];  // of the problem
  int64_t count[4];
  Tiling tiling;  // of the tile level; of several classes, a tile's size only

  bool empty() const { return phase[0]->taps == 0 || phase[1]->taps == 0 || phase[2]->taps == 0; }
};

// A task is a range of steps of the unit level, of some images if that is an axis; it is done unit by unit. A step is a
// tile if the unit level is the tile level and there is one class, else an output of each phase.
struct ConvPlan {
  ConvPlan(const ConvProblem& problem, const FilterLayout& layout, const TileLimits& limits);

  const ConvProblem& problem;
  std::vector<ConvClass> classes;
  int tile_level = 3;  // whose outputs are cut into tiles; a tile has all of the levels below,
  int64_t inner = 1;   // which are so many pixels
  int unit_level = 3;
  int64_t steps = 1;                   // of the unit level
  int64_t unit = 1;                    // of a unit
  int64_t block = 1, blocks = 1;       // of a task, and how many tasks that makes
  int64_t images = 1;                  // of a task
  int64_t part_panels = 1, parts = 1;  // panels of the filter of a task, and how many tasks that makes
  int64_t tasks = 1;
  bool by_parts = false;  // all of one part before the next: it is large
  // Whether each task packs the panels of the filter that it needs, which no other task does, for all pixels.
  bool own_filter = false;

  bool one_class() const { return classes.size() == 1; }
  bool tile_steps() const { return tile_level == unit_level && one_class(); }
  const Tiling& tiling() const { return classes[0].tiling; }
  // Outputs in `count` steps, at most.
  int64_t Outputs(int64_t count) const { return count * (tile_steps() ? tiling().size : 1); }
  // Floats of the output in a unit, at most.
  int64_t UnitFloats() const;
  // What the first output of every unit, and the one behind its last, are multiples of.
  int64_t Granularity() const;

 private:
  void MakeClasses(const FilterLayout& layout, const TileLimits& limits);
  int64_t MostPixels(const FilterLayout& layout, int64_t registers, int64_t terms) const;
  void Split(const FilterLayout& layout);
  void SplitPanels(const FilterLayout& layout);
  bool MayOwnFilter(const FilterLayout& layout) const;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CONV_PLAN_H_
