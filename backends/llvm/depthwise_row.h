// Depthwise convolutions read their source in place, row by row: the tiles that a row of outputs is cut into, and the
// cells that each reads. Columns outside of the image are known when code is made, rows outside of it load no lanes;
// both are zeros. Shared by lower_depthwise.cc and the kernels of filter gradients, depthwise_filter_*.cc.
#ifndef WEIR_BACKENDS_LLVM_DEPTHWISE_ROW_H_
#define WEIR_BACKENDS_LLVM_DEPTHWISE_ROW_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "weir/backends/llvm/kernel_ir.h"

namespace weir::jit {

// Operands of more bytes together than TileLimits::far_bytes are fetched ahead: memory is read in order but for the
// vectors of a tile, which no processor sees through. Tiles follow each other along a row: floats ahead, to the
// first-level cache or the second.
struct RowFetch {
  int64_t ahead = 256;
  bool to_first = true;
};
inline constexpr RowFetch kFetchFar{1024, false};  // see TileLimits::fetches_far

// Output j of a row reads for its tap k the column base + j * advance + k * delta.
struct RowGeometry {
  int64_t src = 1, dst = 1;
  int64_t advance = 1, base = 0;
  int64_t delta = 1, taps = 1;
};

class DepthwiseRow {
 public:
  // A column that a tile reads, relative to that of its first output's base, and the (output, tap) pairs that read it.
  struct Cell {
    int64_t column = 0;
    std::vector<std::pair<int64_t, int64_t>> uses;
  };
  struct Tile {
    int64_t size = 1;
    std::vector<Cell> cells;  // columns ascend, and so do each output's taps and each tap's outputs
    // Whether the cell is in the image. All are of tiles in a loop.
    std::vector<bool> inside;
  };

  // Tiles of at most `most` outputs.
  DepthwiseRow(const RowGeometry& geometry, int64_t most);

  // Pieces of code that the row is made of.
  size_t pieces() const { return runs_.size(); }
  int64_t most_outputs() const;  // of a tile
  bool one_tile() const { return runs_.size() == 1 && runs_[0].count == 1; }

  // body(tile, first output, carried) returns what is carried to the next tile.
  template <class Body>
  std::vector<Val> ForTiles(KernelBuilder& b, std::vector<Val> carried, const Body& body) const {
    for (const Run& run : runs_) {
      if (run.count == 1) {
        carried = body(run.tile, b.I64(run.begin), carried);
      } else {
        const int64_t size = run.tile.size;
        carried = b.For(b.I64(run.begin), b.I64(run.begin + run.count * size), size, carried,
                        [&](Val first, const std::vector<Val>& acc) { return body(run.tile, first, acc); });
      }
    }
    return carried;
  }

  // Column of the image of a tile's cell.
  Val Column(KernelBuilder& b, Val first, const Cell& cell) const {
    return b.Add(b.Mul(first, geometry_.advance), b.I64(geometry_.base + cell.column));
  }

 private:
  struct Run {
    int64_t begin = 0, count = 1;  // outputs, tiles
    Tile tile;
  };

  Tile TileAt(int64_t begin, int64_t size) const;

  RowGeometry geometry_;
  std::vector<Run> runs_;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_DEPTHWISE_ROW_H_
