// What the tiles of a product read: rows and columns where they lie, or copied and packed to where tiles come back to
// them. The plan says which.
#ifndef WEIR_BACKENDS_LLVM_MATMUL_SOURCE_H_
#define WEIR_BACKENDS_LLVM_MATMUL_SOURCE_H_

#include <cstdint>
#include <functional>

#include "weir/backends/llvm/matmul_plan.h"
#include "weir/backends/llvm/product_ir.h"

namespace weir::jit {

// Rows or columns [begin, end) of a matrix.
struct MatMulSpan {
  Val begin = kNoVal, end = kNoVal;
};

class MatMulSource {
 public:
  MatMulSource(KernelBuilder& builder, const MatMulPlan& plan);

  // From here on, matrices are those of `product`.
  void Begin(Val product);
  // Terms [k, k + terms) of the columns from element `matrix` on, to panels at `dst_base` of `dst`:
  // [panel][panel_terms][width of a tile], zeros where there are no columns.
  void PackColumns(Val matrix, MatMulSpan columns, Val k, Val terms, int dst, Val dst_base);

  // Make the rows or columns of tiles ready, which are some of these.
  void PrepareRows(MatMulSpan rows, Val k, Val terms);
  void PrepareColumns(MatMulSpan columns, Val k, Val terms);
  // The tile from this row and column on, which are ready.
  TileOperands Tile(Val row, Val column) const;
  int row_buffer() const { return row_buffer_; }
  Val row_at(Val row) const { return row_at_(row); }
  int64_t row_step() const {  // from term to term
    return p_.row_source == RowSource::kByTerms ? p_.row_pitch : 1;
  }

  // The operands in memory, and where the product's matrices begin there.
  int rows() const { return rows_; }
  int columns() const { return columns_; }
  Val row_base() const { return row_base_; }
  Val column_base() const { return column_base_; }

 private:
  KernelBuilder& b_;
  const MatMulPlan& p_;
  int rows_ = -1, columns_ = -1;
  Val row_base_ = kNoVal, column_matrix_ = kNoVal, column_base_ = kNoVal;
  // Where a tile's operands lie, once they are ready.
  int row_buffer_ = -1, column_buffer_ = -1;
  int64_t column_step_ = 0;
  std::function<Val(Val)> row_at_, column_at_;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_MATMUL_SOURCE_H_
