// The parts that products of matrices and filter gradients are made of, as kernel_ir: a tile of sums in registers, rows
// by vectors of columns, that takes a multiplication of a broadcast element and a vector a term; transposition of
// blocks; the epilogue over sums that wait in scratch; the addition of sums computed in parts.
#ifndef WEIR_BACKENDS_LLVM_PRODUCT_IR_H_
#define WEIR_BACKENDS_LLVM_PRODUCT_IR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "weir/backends/llvm/lowering.h"

namespace weir::jit {

struct TileShape {
  int64_t rows = 1, vectors = 1;
  int64_t parts = 1;  // registers of a vector, see TileLimits
  int64_t width() const { return vectors * kLanes; }
};
// The tile that covers rows x columns of sums, of `terms` terms each, in the fewest cycles. If tiles are alike, one
// loop runs them all, and one of another height for the last rows costs code. Of `most_rows` at most.
inline constexpr int64_t kMostTileRows = 16;
TileShape ChooseTile(int64_t rows, int64_t columns, int64_t terms, const TileLimits& limits, bool alike = true,
                     int64_t most_rows = kMostTileRows);

// Element (i, t) of the rows lies at row + i * row_pitch + t * row_step, vector j of term t of the columns at
// column + t * column_step + j * kLanes.
struct TileOperands {
  std::vector<int64_t> row_offsets = {};  // in place of i * row_pitch
  bool row_vectors = false;               // rows are vectors as columns are: lane meets lane
  int row_buffer = -1, column_buffer = -1;
  Val row = kNoVal, column = kNoVal;
  int64_t row_pitch = 0, row_step = 0, column_step = 0;
  int64_t ahead = 0;  // terms that columns are fetched ahead
  // Memory that will be wanted next: term t fetches the line of at + t * step, to the first-level cache or the second.
  struct Fetch {
    int buffer = -1;
    Val at = kNoVal;
    int64_t step = 0;
    bool to_first = true;
    int64_t line = 16;  // elements
  };
  std::vector<Fetch> fetches = {};
  std::vector<Val> counts = {};  // lanes to load of each vector of columns, or kNoVal for all
};

// Sums of a tile, row by row.
using Sums = std::vector<Val>;
Sums ZeroSums(KernelBuilder& b, const TileShape& tile);
// sums = fma(row element, columns, sums) for the term at `row` and `column`.
Sums AddTerm(KernelBuilder& b, const TileShape& tile, const TileOperands& operands, Val row, Val column, Sums sums);
// The same for `terms` terms in order, `unroll` of them a round.
Sums AddTerms(KernelBuilder& b, const TileShape& tile, const TileOperands& operands, Val terms, const Sums& sums,
              int64_t unroll = 1);
// The tile in memory, rows `pitch` apart.
Sums LoadSums(KernelBuilder& b, const TileShape& tile, int buffer, Val at, int64_t pitch,
              const std::vector<Val>& counts);
void StoreSums(KernelBuilder& b, const TileShape& tile, const Sums& sums, int buffer, Val at, int64_t pitch,
               const std::vector<Val>& counts);

// Lanes that exist of the vectors of columns from `column` on, kNoVal each if the tile divides `columns`.
std::vector<Val> ColumnCounts(KernelBuilder& b, const TileShape& tile, Val column, int64_t columns);

// Packs columns into panels of a tile's width: [panel][panel_terms][width], zeros where there are no columns.
struct PanelPack {
  int src = -1, dst = -1;
  Val from = kNoVal, to = kNoVal;    // term 0 of column 0, and of the panel of column `begin`
  int64_t pitch = 0;                 // of src, from term to term
  Val begin = kNoVal, end = kNoVal;  // columns to pack, of `columns`
  int64_t columns = 0;
  Val terms = kNoVal;
  int64_t panel_terms = 0;  // room for terms in a panel
  int64_t ahead = 0;        // terms that PackPanels fetches ahead, to the second-level cache
};
void PackPanels(KernelBuilder& b, const TileShape& tile, const PanelPack& pack);
// The same where a column's terms are neighbours and columns `pitch` apart, in square blocks of as many elements as a
// register has. There must be room for terms up to a multiple of kLanes; `whole` says that `terms` is one.
void PackTransposed(KernelBuilder& b, const TileShape& tile, const PanelPack& pack, bool whole);

// As many vectors as one has lanes, lane i of vector j becoming lane j of vector i.
std::vector<Val> Transposed(KernelBuilder& b, std::vector<Val> rows);

// The epilogue over `count` neighbours: sums at `base` in `buffer`, point `flat` on.
struct EpilogueRange {
  int buffer = -1;
  Val base = kNoVal, flat = kNoVal, count = kNoVal;
  bool whole = false;    // count is a multiple of kLanes
  bool aligned = false;  // flat is a multiple of kLanes,
  bool blocks = false;   // even of kRandomBlock
  Val column = kNoVal;   // position of `flat` in the last axis, if all lie in one run of it
};
void EmitRange(KernelBuilder& b, ClusterIr& epilogue, const EpilogueRange& range);

// Whether a convolution's epilogue is so short that its instructions may be there for every vector of a tile. Random
// numbers, which come in blocks, are not.
bool HasShortEpilogue(const Cluster& cluster);
// Whether an epilogue is so short that it may be repeated for every vector of a tile.
bool IsLight(const Cluster& cluster, const TileShape& tile);

// A stage that adds `parts` images of the anchor's `count` values, one after the other in the workspace, in order, and
// runs the epilogue.
Stage CombineParts(const Cluster& cluster, int64_t parts, int64_t count);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_PRODUCT_IR_H_
