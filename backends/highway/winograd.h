// Winograd's convolution (ops/winograd.h) on this backend: how tiles are cut into blocks, and the lowerings. A task
// does all for a block, from transforms to the epilogue, while its elements are in the second-level cache.
#ifndef WEIR_BACKENDS_HIGHWAY_WINOGRAD_H_
#define WEIR_BACKENDS_HIGHWAY_WINOGRAD_H_

#include <cstdint>

#include "weir/backends/highway/lowering.h"
#include "weir/ops/winograd.h"

namespace weir::highway {

// Tiles of images cut into blocks: of several whole images, of rows of tiles of one, or of a part of one row.
struct TileBlocks {
  struct Block {
    int64_t image = 0, images = 0, row = 0, rows = 0, column = 0, columns = 0;
    int64_t tiles() const { return images * rows * columns; }
  };

  int64_t batch = 0, tile_rows = 0, tile_columns = 0;
  int64_t images = 1, rows = 1, columns = 1;  // of the largest block

  int64_t tiles() const { return images * rows * columns; }
  int64_t row_blocks() const { return CeilDiv(tile_rows, rows); }
  int64_t column_blocks() const { return CeilDiv(tile_columns, columns); }
  int64_t count() const { return CeilDiv(batch, images) * row_blocks() * column_blocks(); }
  Block At(int64_t index) const;
};
// Blocks of about `tiles` tiles, of about equal size.
TileBlocks CutTiles(int64_t batch, int64_t tile_rows, int64_t tile_columns, int64_t tiles);

// Floats between planes of elements in scratch: a plane of `floats` and a line more, so that the 36 places of a tile do
// not all fall into the same sets of the first-level cache.
constexpr int64_t PlaneStride(int64_t floats) { return RoundUp(floats, 16) + 16; }

// Transforms a block's cells, of channels [channel, channel + args.channels): tile i of the block, in row-major order,
// to args.dst + i * args.tile_stride. `args` says all but the tiles' places; `pad_rows` and `pad_columns` are the cells
// before pixel (0, 0).
void TransformCells(void (*kernel)(const WinogradCellsArgs& args) noexcept, const TileBlocks::Block& block,
                    WinogradCellsArgs args, int64_t pad_rows, int64_t pad_columns);

// Memory that will be wanted soon.
struct Stream {
  const float* begin = nullptr;
  int64_t floats = 0;
};
// The rows of images that block index + 1 is the first to read, if blocks are of whole rows. Tiles read `behind` rows
// (or fewer than none) past those they lie on; the images have `rows` rows of `row_floats`.
Stream NextRows(const TileBlocks& blocks, int64_t index, const float* images, int64_t rows, int64_t row_floats,
                int64_t behind);

// conv and conv_input_gradient; operand 0 of the anchor is the source, operand 1 the filter.
Lowering LowerWinograd(const LowerContext& context, const WinogradShape& shape);
Lowering LowerWinogradFilterGradient(const LowerContext& context);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_WINOGRAD_H_
