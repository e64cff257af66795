// How the filter gradient of a depthwise convolution, one output channel a channel, is cut up. Decided from shapes, and
// tiles from registers. lower_depthwise_filter.cc makes kernels of it.
#ifndef WEIR_BACKENDS_LLVM_DEPTHWISE_FILTER_PLAN_H_
#define WEIR_BACKENDS_LLVM_DEPTHWISE_FILTER_PLAN_H_

#include <cstdint>
#include <optional>

#include "weir/backends/llvm/depthwise_row.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/ops/conv_geometry.h"

namespace weir::jit {

struct DepthwiseFilterPlan {
  ConvGeometry g;
  int64_t window_rows = 1, columns = 1;  // taps are rows of the window, on the two outer axes, by columns
  int64_t chunk_images = 1, chunks = 0;  // of the canonical order

  // Tasks are channels, of all chunks, or of one; and groups of rows of the window.
  int64_t task_vectors = 1;
  bool by_chunks = false, by_groups = false;
  // Tile by tile of dy; each row of x once, depthwise_filter_walk.cc; row by row of dy, depthwise_filter_rows.cc.
  enum class Order { kTiles, kWalk, kRows };
  Order order = Order::kTiles;

  // Of tiles, and of rows of dy: outputs of a tile, and rows of the window whose sums are in registers.
  int64_t tile_rows = 1, tile_width = 1;
  int64_t group_rows = 1;
  // Of tiles or rows of dy: whether what the next ones meet is fetched ahead.
  bool ahead = false;
  RowFetch fetch;  // of tiles
  // Of the walk: outputs of a tile, whose cells of x are in registers or, with all taps' sums in them, those of one.
  int64_t walk_width = 1;
  bool held_sums = false;
  bool fetch_next = false;  // the next vector's pixels, which all share a set of the first-level cache

  int64_t taps() const { return window_rows * columns; }
  int64_t vectors() const { return CeilDiv(g.out_channels, kLanes); }
  int64_t dw_floats() const { return taps() * g.out_channels; }
  int64_t x_floats() const { return g.in_positions() * g.in_channels; }
  int64_t dy_floats() const { return g.out_positions() * g.out_channels; }
  int64_t image_rows() const { return g.axis[0].output * g.axis[1].output; }
  int64_t groups() const { return CeilDiv(window_rows, group_rows); }
  int64_t channel_tasks() const { return CeilDiv(vectors(), task_vectors); }
  int64_t group_tasks() const { return by_groups ? groups() : 1; }
  int64_t tasks() const { return (by_chunks ? chunks : 1) * channel_tasks() * group_tasks(); }
  double flops() const;

  // Rows of dy that the walk keeps: those that the window of a row of x reaches back to.
  int64_t ring_rows() const { return (g.axis[1].window - 1) * g.axis[1].dilation / g.axis[1].stride + 1; }
  int64_t ring_floats() const { return ring_rows() * task_vectors * kLanes * g.axis[2].output; }

  // Rows of x that are kept for rows of dy to come: as many as the window reaches over.
  int64_t kept_rows() const { return (g.axis[1].window - 1) * g.axis[1].dilation + 1; }
  int64_t kept_floats() const { return kept_rows() * task_vectors * kLanes * g.axis[2].input; }

  // The columns of a row, in tiles of at most `width` outputs.
  DepthwiseRow Row(int64_t width) const;
};

// nullopt if sums of a row of the window, or the pieces of code for a row, are too many.
std::optional<DepthwiseFilterPlan> PlanDepthwiseFilter(const ConvGeometry& geometry, const TileLimits& limits);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_DEPTHWISE_FILTER_PLAN_H_
