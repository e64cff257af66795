#include "weir/backends/highway/winograd.h"

#include <algorithm>

namespace weir::highway {

TileBlocks::Block TileBlocks::At(int64_t index) const {
  Block block;
  const auto range = [](int64_t i, int64_t size, int64_t all, int64_t& begin, int64_t& count) {
    begin = i * size;
    count = std::min(size, all - begin);
  };
  range(index % column_blocks(), columns, tile_columns, block.column, block.columns);
  range(index / column_blocks() % row_blocks(), rows, tile_rows, block.row, block.rows);
  range(index / column_blocks() / row_blocks(), images, batch, block.image, block.images);
  return block;
}

TileBlocks CutTiles(int64_t batch, int64_t tile_rows, int64_t tile_columns, int64_t tiles) {
  const auto part = [](int64_t all, int64_t most) {
    most = std::clamp<int64_t>(most, 1, std::max<int64_t>(all, 1));
    return CeilDiv(all, CeilDiv(all, most));
  };
  TileBlocks blocks{.batch = batch, .tile_rows = tile_rows, .tile_columns = tile_columns};
  blocks.columns = part(tile_columns, tiles);
  if (blocks.columns < tile_columns) return blocks;
  blocks.rows = part(tile_rows, tiles / tile_columns);
  if (blocks.rows < tile_rows) return blocks;
  blocks.images = part(batch, tiles / (tile_rows * tile_columns));
  return blocks;
}

void TransformCells(void (*kernel)(const WinogradCellsArgs& args) noexcept, const TileBlocks::Block& block,
                    WinogradCellsArgs args, int64_t pad_rows, int64_t pad_columns) {
  const float* image = args.image + block.image * args.rows * args.columns * args.pixel_stride;
  args.column = block.column * kWinogradTile - pad_columns;
  args.tiles = block.columns;
  for (int64_t n = 0; n < block.images; ++n) {
    args.image = image + n * args.rows * args.columns * args.pixel_stride;
    for (int64_t r = 0; r < block.rows; ++r) {
      args.row = (block.row + r) * kWinogradTile - pad_rows;
      kernel(args);
      args.dst += block.columns * args.tile_stride;
    }
  }
}

Stream NextRows(const TileBlocks& blocks, int64_t index, const float* images, int64_t rows, int64_t row_floats,
                int64_t behind) {
  if (blocks.columns < blocks.tile_columns || index + 1 >= blocks.count()) return {};
  const auto end = [&](const TileBlocks::Block& block) {
    const int64_t row = (block.row + block.rows) * kWinogradTile + behind;
    return (block.image + block.images - 1) * rows + std::clamp<int64_t>(row, 0, rows);
  };
  const int64_t first = end(blocks.At(index));
  return {images + first * row_floats, (end(blocks.At(index + 1)) - first) * row_floats};
}

}  // namespace weir::highway
