// A filter gradient as a product: dw[tap, c, o] = sum over positions of x dy is a matrix of rows (tap, c) and columns o
// whose terms are positions. Decided from shapes alone: what x is read from, how terms and rows run, the tile, the
// bands of positions that all rows pass over while they are close. lower_conv_filter.cc makes kernels of it.
#ifndef WEIR_BACKENDS_LLVM_FILTER_PLAN_H_
#define WEIR_BACKENDS_LLVM_FILTER_PLAN_H_

#include <cstdint>
#include <vector>

#include "weir/backends/llvm/product_ir.h"
#include "weir/ops/conv_geometry.h"

namespace weir::jit {

// Positions of dy in row-major order: rounds are `x` and `dy` floats apart.
struct PositionLoop {
  int64_t count = 1, x = 0, dy = 0;
};
// Rows of dw in row-major order: rounds are `x` floats apart.
struct RowLoop {
  int64_t count = 1, x = 0;
};

struct FilterPlan {
  ConvGeometry g;
  int x_input = 0, dy_input = 0;
  int64_t chunk_images = 1, chunks = 0;  // of the canonical order
  int64_t rows = 0, columns = 0;         // of dw as a matrix
  // Lanes of x and dy meet one another: rows are taps only. x is read with each channel `multiplier` times.
  bool depthwise = false;
  int64_t multiplier = 1;
  int64_t groups = 1, group_rows = 0, group_columns = 0;  // floats of x and of dy from group to group; one if depthwise

  // x as it is read: itself, or a copy of the box that windows cover, zeros where it leaves the image.
  bool copy_x = false;
  int64_t low[3] = {}, box[3] = {}, strides[3] = {};
  int64_t pixel = 0;    // floats of a pixel of the copy
  int64_t x_image = 0;  // floats from image to image

  TileShape tile;
  std::vector<PositionLoop> positions;  // outermost first; the first counts all images of a whole chunk
  // `units` of unit_rows rows each, along the outer loops. A unit is one loop of rows, cut into tiles, or some rows
  // with offsets of their own.
  std::vector<RowLoop> outer;
  int64_t units = 1, unit_rows = 1, row_pitch = 1;
  std::vector<int64_t> unit_offsets;  // empty if row_pitch holds
  // Loop `band_level` is taken `band` rounds at a time; loops outside of it are outside of all tiles.
  size_t band_level = 0;
  int64_t band = 1;
  // Tasks are rows of dw over all chunks, rather than chunks.
  bool by_rows = false;
  // dy is laid out panel after panel: band by band, or by rows before all tasks.
  bool pack_dy = false;
  int64_t panel_terms = 0;  // room for terms in a panel
  bool pack_rows = false;   // then also a tile's rows of a band of x are brought together, and passed over as one loop
  bool fetch = false;       // tiles fetch the next band while they pass over one

  int64_t tiles_per_unit() const { return CeilDiv(unit_rows, tile.rows); }
  int64_t segments() const { return units * tiles_per_unit(); }
  int64_t panels() const { return CeilDiv(group_columns, tile.width()); }
  int64_t x_floats() const { return g.in_positions() * g.in_channels; }
  int64_t dy_floats() const { return g.out_positions() * g.out_channels; }
  // Positions in one round of a loop of `positions`.
  int64_t Inside(size_t level) const;
  bool one_band() const { return band_level == 0 && band >= positions[0].count; }
  int64_t packed_floats() const { return panels() * panel_terms * tile.width(); }  // of a chunk
  int64_t packed_pitch() const { return RoundUp(tile.rows, 4); }  // of rows brought together, from term to term
  int64_t band_terms() const { return band * Inside(band_level); }
  double flops() const;
};

FilterPlan PlanFilterGradient(const Cluster& cluster, const TileLimits& limits);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_FILTER_PLAN_H_
