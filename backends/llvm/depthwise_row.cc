#include "weir/backends/llvm/depthwise_row.h"

#include <algorithm>
#include <map>

#include "weir/backends/llvm/conv_ir.h"

namespace weir::jit {

DepthwiseRow::DepthwiseRow(const RowGeometry& geometry, int64_t most) : geometry_(geometry) {
  const Tiling tiling = TilingOf(geometry.dst, most / 2 + 1, most);
  int64_t begin = 0;
  bool last_inside = false;
  for (int64_t t = 0; t < tiling.tiles(); ++t) {
    const int64_t size = t < tiling.large ? tiling.size : tiling.size - 1;
    Tile tile = TileAt(begin, size);
    const bool inside = std::all_of(tile.inside.begin(), tile.inside.end(), [](bool in) { return in; });
    if (inside && last_inside && runs_.back().tile.size == size) {
      ++runs_.back().count;
    } else {
      runs_.push_back({.begin = begin, .count = 1, .tile = std::move(tile)});
    }
    last_inside = inside;
    begin += size;
  }
}

int64_t DepthwiseRow::most_outputs() const {
  int64_t most = 0;
  for (const Run& run : runs_) most = std::max(most, run.tile.size);
  return most;
}

DepthwiseRow::Tile DepthwiseRow::TileAt(int64_t begin, int64_t size) const {
  std::map<int64_t, Cell> cells;
  for (int64_t j = 0; j < size; ++j) {
    for (int64_t k = 0; k < geometry_.taps; ++k) {
      const int64_t column = j * geometry_.advance + k * geometry_.delta;
      Cell& cell = cells[column];
      cell.column = column;
      cell.uses.emplace_back(j, k);
    }
  }
  Tile tile{.size = size, .cells = {}, .inside = {}};
  for (auto& [column, cell] : cells) {
    const int64_t at = geometry_.base + begin * geometry_.advance + column;
    tile.inside.push_back(0 <= at && at < geometry_.src);
    tile.cells.push_back(std::move(cell));
  }
  return tile;
}

}  // namespace weir::jit
