#include "weir/backends/llvm/matmul_source.h"

namespace weir::jit {
namespace {

constexpr int64_t kPackAhead = 16;  // terms
constexpr int64_t kRowsAhead = 2;   // of rows that are copied

}  // namespace

MatMulSource::MatMulSource(KernelBuilder& builder, const MatMulPlan& plan) : b_(builder), p_(plan) {
  rows_ = b_.Buffer({IrBuffer::Kind::kInput, p_.rows.input, Elem::kF32, 0});
  columns_ = b_.Buffer({IrBuffer::Kind::kInput, p_.columns.input, Elem::kF32, 0});
}

void MatMulSource::Begin(Val product) {
  row_base_ = b_.Mul(p_.rows.Matrix(b_, product), p_.rows.size * p_.k);
  column_matrix_ = p_.columns.Matrix(b_, product);
  column_base_ = b_.Mul(column_matrix_, p_.columns.size * p_.k);
}

void MatMulSource::PackColumns(Val matrix, MatMulSpan columns, Val k, Val terms, int dst, Val dst_base) {
  const bool rows = p_.columns.outer == 1;  // of the matrix in memory are terms
  const PanelPack pack{.src = columns_,
                       .dst = dst,
                       .from = b_.Add(matrix, b_.Mul(k, p_.columns.inner)),
                       .to = dst_base,
                       .pitch = rows ? p_.columns.inner : p_.columns.outer,
                       .begin = columns.begin,
                       .end = columns.end,
                       .columns = p_.columns.size,
                       .terms = terms,
                       .panel_terms = p_.panel_terms,
                       .ahead = p_.by_terms ? kPackAhead : 0};
  if (rows) {
    PackPanels(b_, p_.tile, pack);
  } else {
    PackTransposed(b_, p_.tile, pack, p_.k % kLanes == 0);
  }
}

void MatMulSource::PrepareColumns(MatMulSpan columns, Val k, Val terms) {
  switch (p_.column_source) {
    case ColumnSource::kInPlace:
      column_buffer_ = columns_;
      column_step_ = p_.columns.inner;
      column_at_ = [=, this](Val c) { return b_.Add(b_.Add(column_base_, b_.Mul(k, p_.columns.inner)), c); };
      return;
    case ColumnSource::kPackedByTask:
      column_buffer_ = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, p_.columns_at});
      PackColumns(column_base_, columns, k, terms, column_buffer_, b_.I64(0));
      column_at_ = [=, this](Val c) { return b_.Mul(b_.Binary(IrOp::kSub, c, columns.begin), p_.panel_terms); };
      break;
    case ColumnSource::kPackedOnce:
      column_buffer_ = b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
      column_at_ = [=, this](Val c) {
        const Val matrix = b_.Add(b_.Mul(column_matrix_, p_.packed_matrix()), b_.Mul(k, p_.tile.width()));
        return b_.Add(matrix, b_.Mul(c, p_.panel_terms));
      };
      break;
  }
  column_step_ = p_.tile.width();
}

void MatMulSource::PrepareRows(MatMulSpan rows, Val k, Val terms) {
  const Val src = b_.Add(row_base_, b_.Mul(k, p_.rows.inner));
  if (p_.row_source == RowSource::kInPlace) {
    row_buffer_ = rows_;
    row_at_ = [=, this](Val r) { return b_.Add(src, b_.Mul(r, p_.rows.outer)); };
    return;
  }
  row_buffer_ = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, p_.rows_at});
  if (p_.row_source == RowSource::kCopied) {
    b_.Loop(rows.begin, rows.end, 1, [&](Val r) {
      const Val from = b_.Add(src, b_.Mul(r, p_.rows.outer)),
                to = b_.Mul(b_.Binary(IrOp::kSub, r, rows.begin), p_.row_pitch);
      b_.Loop(b_.I64(0), terms, kLanes, [&](Val t) {
        const Val count = p_.k % kLanes == 0 ? kNoVal : b_.Binary(IrOp::kSub, b_.I64(p_.k), b_.Add(k, t));
        b_.Prefetch(rows_, b_.Add(b_.Add(from, t), b_.I64(kRowsAhead * p_.rows.outer)));
        b_.Store(row_buffer_, b_.Load(rows_, b_.Add(from, t), kLanes, count), b_.Add(to, t));
      });
    });
    row_at_ = [=, this](Val r) { return b_.Mul(b_.Binary(IrOp::kSub, r, rows.begin), p_.row_pitch); };
    return;
  }
  const bool whole = p_.rows.size % kLanes == 0 && (p_.row_blocks == 1 || p_.row_block % kLanes == 0) &&
                     (p_.one_block() || p_.row_chunk % kLanes == 0 || p_.row_chunk >= p_.row_block);
  b_.Loop(b_.I64(0), terms, 1, [&](Val t) {
    const Val from = b_.Add(src, b_.Mul(t, p_.rows.inner)), to = b_.Mul(t, p_.row_pitch);
    b_.Loop(rows.begin, rows.end, kLanes, [&](Val r) {
      const Val count = whole ? kNoVal : b_.Binary(IrOp::kSub, b_.I64(p_.rows.size), r);
      b_.Store(row_buffer_, b_.Load(rows_, b_.Add(from, r), kLanes, count),
               b_.Add(to, b_.Binary(IrOp::kSub, r, rows.begin)));
    });
  });
  row_at_ = [=, this](Val r) { return b_.Binary(IrOp::kSub, r, rows.begin); };
}

TileOperands MatMulSource::Tile(Val row, Val column) const {
  return {.row_buffer = row_buffer_,
          .column_buffer = column_buffer_,
          .row = row_at_(row),
          .column = column_at_(column),
          .row_pitch = p_.row_source == RowSource::kInPlace  ? p_.rows.outer
                       : p_.row_source == RowSource::kCopied ? p_.row_pitch
                                                             : 1,
          .row_step = row_step(),
          .column_step = column_step_,
          .ahead = p_.columns_ahead};
}

}  // namespace weir::jit
