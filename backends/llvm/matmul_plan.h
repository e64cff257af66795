// How a matrix product is computed, decided from shapes alone: which operand gives rows, whose elements are broadcast,
// and which columns, which fill lanes; what is copied and how; the split into tasks. lower_matmul.cc makes kernels of
// it.
#ifndef WEIR_BACKENDS_LLVM_MATMUL_PLAN_H_
#define WEIR_BACKENDS_LLVM_MATMUL_PLAN_H_

#include <cstdint>
#include <vector>

#include "weir/backends/llvm/product_ir.h"
#include "weir/ops/canonical_order.h"

namespace weir::jit {

// Element (i, k) of a product's matrix lies at i * outer + k * inner, one of which is 1.
struct MatMulOperand {
  int input = 0;
  int64_t size = 0;  // rows or columns
  int64_t outer = 1, inner = 1;
  // Products are counted over `batch_dims` in row-major order; steps are in matrices.
  std::vector<int64_t> batch_dims = {}, batch_steps = {};
  int64_t matrices = 0;

  // Number of a product's matrix.
  Val Matrix(KernelBuilder& b, Val product) const;
};

enum class ColumnSource : uint8_t { kInPlace, kPackedByTask, kPackedOnce };  // in scratch, in the workspace
enum class RowSource : uint8_t { kInPlace, kCopied, kByTerms };              // copied row by row, or term by term

struct MatMulPlan {
  MatMulOperand rows, columns;
  bool swapped = false;  // rows are b's columns: results are transposed on their way out
  int64_t m = 0, n = 0, k = 0, products = 0;
  TileShape tile;
  // A task: one block of rows, of columns, some products; or one block of rows, all columns and one canonical block of
  // k of one product, whose sums go to the workspace.
  bool by_terms = false;
  bool in_order = false;  // then all columns of some terms before the next terms,
  bool swept() const { return in_order && rows.size <= 2; }  // or of a few
  int64_t row_block = 0, row_blocks = 1, column_block = 0, column_blocks = 1, products_per_task = 1;
  // Rows and columns at a time, multiples of the tile.
  int64_t row_chunk = 0, column_chunk = 0;
  ColumnSource column_source = ColumnSource::kInPlace;
  RowSource row_source = RowSource::kInPlace;
  bool stream_rows = false;    // rows of the next tile are fetched ahead
  int64_t columns_ahead = 0;   // terms that a tile's columns are fetched ahead, to the first-level cache
  int64_t terms = 0;           // packed at a time
  int64_t terms_together = 0;  // passed over before the next ones, if in order
  int64_t panel_terms = 0;     // room for terms in a packed panel
  int64_t row_pitch = 0;       // of copied rows
  // Sums wait in scratch for the epilogue, `staged_pitch` apart from row to row; `flat` if nothing lies between rows.
  bool staged = false, flat = false;
  int64_t staged_pitch = 0;
  bool fetch_epilogue = false;  // what a chunk's epilogue reads arrives while its sums are computed
  bool fetch_results = false;   // so do the lines that a tile's results are written to
  // Offsets in scratch and its size, bytes.
  int64_t columns_at = 0, rows_at = 0, staged_at = 0, turned_at = 0, scratch_bytes = 0;

  bool one_block() const { return k <= kMatMulBlock; }
  int64_t k_blocks() const { return CeilDiv(k, kMatMulBlock); }
  int64_t panels() const { return CeilDiv(columns.size, tile.width()); }
  int64_t packed_matrix() const { return panels() * panel_terms * tile.width(); }  // floats
  int64_t turned_pitch() const { return RoundUp(row_chunk, kLanes); }
  int64_t tasks() const {
    const int64_t others = by_terms ? products * k_blocks() : CeilDiv(products, products_per_task) * column_blocks;
    return others * row_blocks;
  }
};

MatMulPlan PlanMatMul(const Cluster& cluster, const TileLimits& limits);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_MATMUL_PLAN_H_
