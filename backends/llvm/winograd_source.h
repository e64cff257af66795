// The source's side of units of tiles of Winograd's convolution: cells transformed along the first axis, a row of tiles
// after the other, and from those the six elements of a row of elements, along the second.
#ifndef WEIR_BACKENDS_LLVM_WINOGRAD_SOURCE_H_
#define WEIR_BACKENDS_LLVM_WINOGRAD_SOURCE_H_

#include <cstdint>

#include "weir/backends/llvm/conv_ir.h"
#include "weir/backends/llvm/winograd_ir.h"

namespace weir::jit {

// How a unit lies in scratch. Rows of elements have a vector behind them that keeps them off the same cache sets.
struct WinogradUnit {
  int64_t rows = 1, tile_columns = 1;  // of tiles
  int64_t room = 1;                    // for tiles of an element
  int64_t pitch = kLanes;              // floats of a cell: channels of the source, whole vectors

  int64_t tiles() const { return rows * tile_columns; }
  int64_t row_cells() const { return kWinogradTile * tile_columns + kWinogradCells - kWinogradTile; }
  // Floats of a row of elements along the first axis, [unit row][cell][channel]; of one of its elements, [tile][channel].
  int64_t cells_row() const { return rows * row_cells() * pitch + kLanes; }
  int64_t element() const { return room * pitch + kLanes; }
};

class WinogradSource {
 public:
  // Where the source lies: floats from one coordinate of an axis to the next. A copy holds zeros where it leaves the
  // image, and has room behind the last channel.
  struct Place {
    int buffer = -1;
    bool copied = false;
    int64_t stride[3] = {};
  };
  static Place InPlace(const ConvProblem& problem, int buffer);

  // `cells` has room for 6 cells_row(), `elements` for 6 element().
  WinogradSource(KernelBuilder& builder, const ConvProblem& problem, const WinogradUnit& unit, const Place& place,
                 int cells, int elements)
      : b_(builder), p_(problem), unit_(unit), place_(place), cells_(cells), elements_(elements) {}

  // A row of an image's tiles, row `row`, which is row `unit_row` of the unit; its first cell is element `src` of the
  // source. Of channels from `channel` on.
  void Cells(Val src, Val row, Val unit_row, Val channel) const;
  // Elements (i, 0) to (i, 5) of the unit's tiles [begin, end); tile `begin` goes to `to` behind each element's begin.
  void Elements(Val i, Val begin, Val end, Val to) const;

 private:
  KernelBuilder& b_;
  const ConvProblem& p_;
  const WinogradUnit& unit_;
  const Place place_;
  const int cells_, elements_;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_WINOGRAD_SOURCE_H_
