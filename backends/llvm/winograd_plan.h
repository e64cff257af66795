// How Winograd's convolution (ops/winograd.h) and its input gradient are cut up: units of tiles, whose transforms and
// products stay in the second-level cache; groups of tiles and panels of output channels, whose products are register
// tiles; tasks of units. All of it follows from shapes, and groups from the processor's registers too.
#ifndef WEIR_BACKENDS_LLVM_WINOGRAD_PLAN_H_
#define WEIR_BACKENDS_LLVM_WINOGRAD_PLAN_H_

#include <cstdint>

#include "weir/backends/llvm/conv_ir.h"
#include "weir/backends/llvm/conv_source.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/backends/llvm/winograd_source.h"
#include "weir/ops/winograd.h"

namespace weir::jit {

struct WinogradPlan {
  WinogradPlan(const ConvProblem& problem, const TileLimits& limits);

  const ConvProblem problem;
  const ConvProblem covered;                // the same with outputs up to the end of the last tiles, all zeros there
  int64_t tile_rows = 1, tile_columns = 1;  // of an image
  // A unit is so many images, or so many rows of tiles of one.
  bool by_images = false;
  int64_t unit = 1;
  int64_t images = 1;                  // of a task,
  int64_t block = 1, blocks = 1;       // or rows of tiles, and how many tasks an image makes
  TileShape product;                   // tiles of a group by vectors of output channels
  int64_t panels = 1;                  // of output channels, the last filled up with zeros
  int64_t part_panels = 1, parts = 1;  // of a task, and how many tasks that makes
  int64_t tasks = 1;
  // Whether tasks are panels of output channels for all images, whose tiles are then one unit.
  bool by_panels = false;

  int64_t image_tiles() const { return tile_rows * tile_columns; }
  WinogradUnit UnitLayout() const {
    const int64_t rows = unit * (by_images ? tile_rows : 1), tiles = rows * tile_columns;
    return {rows, tile_columns, RoundUp(tiles, product.rows), RoundUp(problem.src_channels, kLanes)};
  }
  int64_t groups() const { return CeilDiv(UnitLayout().tiles(), product.rows); }  // of a unit, at most
  // Floats in scratch of a row of elements: of one of its six products, [tile][panel's channel], and of its outputs along
  // the second axis, [panel][tile][4][panel's channel].
  int64_t product_element() const { return UnitLayout().room * product.width() + kLanes; }
  int64_t output_panel() const { return UnitLayout().tiles() * kWinogradTile * product.width(); }
  int64_t outputs_row() const { return part_panels * output_panel() + kLanes; }
  int64_t filter_panel() const;
  // Whether the transformed filter is too large to stay in the second-level cache.
  bool far_filter() const;
  // Whether rows of elements are transformed and multiplied group by group.
  bool by_groups() const;
  // The level of the loops over outputs (images, then three axes) that units are steps of, and its outputs a step.
  int unit_level() const { return by_images ? 0 : 2; }
  int64_t unit_outputs() const { return by_images ? unit : unit * 4; }
  // Floats of the output in a unit, rows behind an image's last among them.
  int64_t unit_floats() const;
  // The copies of a task's images.
  ConvSource Source() const;

 private:
  // The cut into tasks; groups have at most `most_rows` tiles.
  void SplitPanels(const TileLimits& limits, int64_t most_rows);
  void SplitUnits(const TileLimits& limits, int64_t most_rows);
};

// By panels, see lower_winograd_panels.cc.
Lowering LowerWinogradByPanels(const Cluster& cluster, const WinogradPlan& plan);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_WINOGRAD_PLAN_H_
