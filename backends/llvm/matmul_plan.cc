#include "weir/backends/llvm/matmul_plan.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "weir/ops/attrs.h"

namespace weir::jit {
namespace {

constexpr double kTaskFlops = 4e6;  // 20 us at 200 GFLOP/s
// And work that a pair of threads takes less for: to start and join them costs some 0.3 us. Lanes without a column
// count.
constexpr double kPairFlops = 0.3e6;
constexpr double kTaskBytes = 512e3;  // or 25 us at 20 GB/s, where each element is used a few times only
constexpr int64_t kTasks = 16;
constexpr int64_t kFewTasks = 4;  // will do if they read memory in order
constexpr int64_t kPartialBytes = 40 << 20;
constexpr int64_t kInPlaceFloats = 8 * 1024;    // columns that the first-level cache holds need no packing
constexpr int64_t kCloseFloats = 256 * 1024;    // columns that the second-level cache holds
constexpr int64_t kPackColumns = 128;           // packed at a time by a task that passes over them once
constexpr int64_t kPackedAhead = 8;             // terms that columns which it doesn't hold are fetched to it ahead:
constexpr int64_t kInPlaceAhead = 4;            // neighbours in a panel, or rows of the matrix
constexpr int64_t kStagedFloats = 16 * 1024;    // sums that wait for the epilogue
constexpr int64_t kTurnedFloats = 15 * 1024;    // of rows whose terms are apart, copied by a task
constexpr int64_t kLargeResult = 64 * 1024;     // floats
constexpr int64_t kNearResult = 256 * 1024;     // floats that a second-level cache may hold, as others of its size
constexpr int64_t kFewTermsARow = 4;            // of a tile: more fetch little that is written soon
constexpr int64_t kChunkRows = 240;             // rows that share larger columns
constexpr int64_t kTermRows = 130;              // of a task where tasks are blocks of terms
constexpr int64_t kRowsInOrder = 8;             // so few take as long as memory does, which is fastest in order;
constexpr int64_t kRowsInLongOrder = 32;        // so few not much longer, if between two passes over their sums
constexpr int64_t kLongOrder = 64;              // are so many terms, on processors that gain nothing by fetching far
constexpr int64_t kTurnedRows = 64;             // neighbours written at a time of a result that is transposed
constexpr int64_t kFewPasses = 4;               // over a task's own terms, which more passes pay packing for
constexpr int64_t kTogetherFloats = 32 * 1024;  // columns' terms that are passed over together, in order of memory
constexpr int64_t kPanelsTogether = 64;         // columns at a time of blocks of terms
constexpr int64_t kFewPanels = 4;               // so few, and large rows cost the time it takes to read them
// Rows a multiple of this apart share few sets of a cache: they are copied to a pitch that does not, or, where each
// task would copy them for a few columns, tiles have so few of them that they share a set with some columns.
constexpr int64_t kBadPitch = 1024;
constexpr int64_t kRowGap = 16;
constexpr int64_t kSetRows = 6;
constexpr int64_t kFewRows = 32, kFewColumns = 128;  // so few rows are soon copied, so few columns few tasks

int64_t RoundDown(int64_t a, int64_t b) { return a / b * b; }

// Whether to take b's columns as rows: a rough count of cycles both ways. To pack a float costs about 0.25 cycles, to
// transpose it 0.4; a term of a tile at least 4 cycles.
bool PreferSwapped(int64_t m, int64_t n, int64_t k, bool ta, bool tb) {
  const auto cycles = [&](int64_t rows, int64_t columns, double rows_cost, double columns_cost, double out_cost) {
    const double r = static_cast<double>(rows), c = static_cast<double>(columns), terms = static_cast<double>(k);
    const double lanes = static_cast<double>(RoundUp(columns, kLanes));
    return std::max(r, 4.0) * lanes * terms / (2 * kLanes) + terms * (rows_cost * r + columns_cost * c) +
           out_cost * r * c;
  };
  return cycles(n, m, tb ? 0 : 0.25, ta ? 0.25 : 0.4, 0.4) < cycles(m, n, ta ? 0.25 : 0, tb ? 0.4 : 0.25, 0);
}

void DescribeBatch(MatMulOperand& operand, const Shape& shape, const Shape& output) {
  const auto batch_of = [](const Shape& s) { return Shape(s.dims().first(static_cast<size_t>(s.rank() - 2))); };
  const Shape from = batch_of(shape), batch = batch_of(output);
  operand.matrices = from.size();
  const Dims steps = BroadcastStrides(from, batch);
  for (int axis = 0; axis < batch.rank(); ++axis) {
    const int64_t dim = batch.dim(axis), step = steps[static_cast<size_t>(axis)];
    if (dim == 1) continue;
    if (!operand.batch_dims.empty() && operand.batch_steps.back() == step * dim) {
      operand.batch_dims.back() *= dim;
      operand.batch_steps.back() = step;
    } else {
      operand.batch_dims.push_back(dim);
      operand.batch_steps.push_back(step);
    }
  }
}

void DescribeOperands(MatMulPlan& p, const Cluster& cluster) {
  const Node& anchor = cluster.node(*cluster.anchor);
  const Shape &a = cluster.type(anchor.inputs[0]).shape, &b = cluster.type(anchor.inputs[1]).shape;
  const Shape& y = anchor.outputs[0].shape;
  const bool ta = anchor.attrs.Bool(kTransposeA), tb = anchor.attrs.Bool(kTransposeB);
  p.m = y.dim(-2);
  p.n = y.dim(-1);
  p.k = a.dim(ta ? -2 : -1);
  p.products = y.size() / (p.m * p.n);
  MatMulOperand left{
      .input = cluster.input_index(anchor.inputs[0]), .size = p.m, .outer = ta ? 1 : p.k, .inner = ta ? p.m : 1};
  MatMulOperand right{
      .input = cluster.input_index(anchor.inputs[1]), .size = p.n, .outer = tb ? p.k : 1, .inner = tb ? 1 : p.n};
  DescribeBatch(left, a, y);
  DescribeBatch(right, b, y);
  p.swapped = PreferSwapped(p.m, p.n, p.k, ta, tb);
  p.rows = p.swapped ? right : left;
  p.columns = p.swapped ? left : right;
}

// Tasks are blocks of terms, for some rows and all columns.
void SplitTerms(MatMulPlan& p, const TileLimits& limits) {
  const int64_t rows = p.rows.size;
  p.by_terms = true;
  p.row_block = RoundUp(CeilDiv(rows, CeilDiv(rows, kTermRows)), p.tile.rows);
  p.row_blocks = CeilDiv(rows, p.row_block);
  const auto together = static_cast<uint64_t>(kTogetherFloats / p.columns.size);
  p.terms_together = std::clamp(static_cast<int64_t>(std::bit_floor(together)), int64_t{kLanes}, kMatMulBlock);
  const bool long_order = p.terms_together >= kLongOrder && !limits.fetches_far;
  p.in_order = rows <= (long_order ? kRowsInLongOrder : kRowsInOrder);
}

// Rows, columns and terms of a task.
void SplitTasks(MatMulPlan& p, const TileLimits& limits) {
  const int64_t rows = p.rows.size, columns = p.columns.size;
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(p.k);
  const double bytes = 4.0 * static_cast<double>(rows + columns) * static_cast<double>(p.k);
  p.row_block = RoundUp(rows, p.tile.rows);
  p.column_block = RoundUp(columns, p.tile.width());
  int64_t parts =
      std::min(CeilDiv(2 * kTasks, p.products), static_cast<int64_t>(std::max(flops / kTaskFlops, bytes / kTaskBytes)));
  const double lanes =
      static_cast<double>(RoundUp(columns, kLanes)) / static_cast<double>(std::max<int64_t>(1, columns));
  // A pair shares out what is more: columns, which each then packs its own of, or rows. Where packing is little, whole
  // rows of a large result are written faster than two halves of each.
  const bool near = p.k * columns <= kInPlaceFloats, large = near && rows * columns >= kLargeResult;
  const bool by_columns = p.panels() > 1 && columns > rows && !large && (p.columns.outer != 1 || !near);
  const bool pair = parts <= 1 && p.products == 1 && (by_columns || near) && flops * lanes >= kPairFlops;
  if (pair) parts = 2;
  if (parts <= 1) {
    const double products = std::min(kTaskFlops / std::max(flops, 1.0), 1e6);
    p.products_per_task = TaskSize(p.products, std::max<int64_t>(1, static_cast<int64_t>(products)), 1);
    return;
  }
  // A block of rows passes over all columns: the larger they are, the more rows should share them.
  const int64_t close = pair ? p.tile.rows : 2 * p.tile.rows;
  const int64_t least = p.k * columns <= kCloseFloats ? close : kChunkRows;
  const int64_t row_parts = pair && by_columns ? 1 : std::min(parts, CeilDiv(rows, least));
  const int64_t column_parts =
      row_parts >= std::min(parts, kTasks / 2) ? 1 : std::min(CeilDiv(parts, row_parts), p.panels());
  const bool small = p.k_blocks() * p.products * rows * columns * 4 <= kPartialBytes;
  if (!pair && column_parts > 1 && !p.swapped && p.k_blocks() >= kFewTasks && small && p.columns.outer == 1) {
    SplitTerms(p, limits);
    return;
  }
  p.row_block = RoundUp(CeilDiv(rows, row_parts), p.tile.rows);
  // Rows copied term by term leave the nearer caches to the columns. Results that are transposed want long blocks.
  if (p.rows.inner != 1 && p.one_block() && !p.swapped) {
    const int64_t most = RoundDown(kTurnedFloats / std::max<int64_t>(1, p.k), p.tile.rows);
    p.row_block = std::min(p.row_block, std::max(p.tile.rows, most));
  }
  p.column_block = RoundUp(CeilDiv(columns, column_parts), p.tile.width());
  p.row_blocks = CeilDiv(rows, p.row_block);
  p.column_blocks = CeilDiv(columns, p.column_block);
}

bool HasBadPitch(const MatMulPlan& p) { return p.rows.inner == 1 && p.rows.outer % kBadPitch == 0; }

void ChooseSources(MatMulPlan& p) {
  p.terms = std::min(p.k, kMatMulBlock);
  const int64_t passes = CeilDiv(p.row_block, p.tile.rows);  // over a panel
  const bool few = p.by_terms ? p.in_order || passes <= kFewPasses || p.tile.parts == 1 : passes <= 2;
  const bool once = few || p.k * p.columns.size <= kInPlaceFloats;
  // A pair of tasks packs a few columns sooner than it waits for another stage.
  const bool pair = p.row_blocks == 2 && p.k * p.columns.size <= kInPlaceFloats;
  p.column_source = p.columns.outer == 1 && once               ? ColumnSource::kInPlace
                    : !p.by_terms && p.row_blocks > 1 && !pair ? ColumnSource::kPackedOnce
                                                               : ColumnSource::kPackedByTask;
  // A gap of one term keeps the panels apart in the sets of a cache.
  const int64_t room = p.column_source == ColumnSource::kPackedOnce ? p.k : p.terms;
  p.panel_terms = RoundUp(room, kLanes) + 1;
  if (p.rows.inner != 1) {
    p.row_source = RowSource::kByTerms;
  } else if (HasBadPitch(p) && p.rows.size > p.tile.rows && p.columns.size > 2 * p.tile.width() &&
             (p.column_blocks == 1 || p.tile.rows > kSetRows || p.tile.parts > 1)) {
    p.row_source = RowSource::kCopied;
  }
  // Tiles of halves of vectors load so often already that one more costs what it brings.
  if (p.tile.parts == 1 && p.terms * p.columns.size > kInPlaceFloats)
    p.columns_ahead = p.column_source == ColumnSource::kInPlace ? kInPlaceAhead : kPackedAhead;
  p.stream_rows = p.row_source == RowSource::kInPlace && p.one_block() && p.k * p.rows.size > kCloseFloats &&
                  p.panels() <= kFewPanels;
}

void ChooseChunks(MatMulPlan& p, bool light) {
  const int64_t tile = p.tile.rows, width = p.tile.width();
  if (p.by_terms) {
    p.column_chunk = p.in_order ? p.column_block : std::min(p.column_block, RoundUp(kPanelsTogether, width));
    p.row_chunk = p.row_block;
    return;
  }
  p.staged = p.swapped || !p.one_block() || !light;
  const int64_t close =
      p.column_source == ColumnSource::kPackedByTask ? kPackColumns : kCloseFloats / std::max<int64_t>(1, p.terms);
  p.column_chunk = std::min(p.column_block, std::max(width, RoundDown(close, width)));
  p.row_chunk = tile;
  if (!p.one_block()) {
    p.row_chunk = std::min(p.row_block, RoundUp(kChunkRows, tile));
  } else if (p.swapped) {
    // Whole vectors of neighbours, where rows begin at a multiple of the tile.
    const int64_t both = std::lcm(tile, int64_t{kLanes});
    p.row_chunk = std::min(p.row_block, RoundUp(kTurnedRows, both));
  }
  if (p.staged && p.one_block()) {
    p.column_chunk = std::min(p.column_chunk, std::max(width, RoundDown(kStagedFloats / p.row_chunk, width)));
  }
  p.flat = !p.swapped && p.column_chunk >= p.columns.size;
  const bool far = p.m * p.n > kNearResult && p.k > 0 && p.one_block() && !p.swapped;
  p.fetch_epilogue = far && p.staged && p.flat && p.row_chunk == tile;
  p.fetch_results = far && !p.staged && p.k <= kFewTermsARow * tile;
  p.staged_pitch = p.flat ? p.n : p.column_chunk;
}

void BookScratch(MatMulPlan& p) {
  const auto take = [&](int64_t floats) {
    const int64_t at = p.scratch_bytes;
    p.scratch_bytes += RoundUp(floats * 4, 64);
    return at;
  };
  if (p.column_source == ColumnSource::kPackedByTask) p.columns_at = take(p.column_chunk * p.panel_terms);
  // All rows of a block at once if that is all their terms.
  const int64_t rows = RoundUp(p.by_terms || p.one_block() ? p.row_block : p.row_chunk, kLanes);
  if (p.row_source != RowSource::kInPlace) {
    p.row_pitch = p.row_source == RowSource::kCopied ? RoundUp(p.terms, kLanes) + kRowGap : rows;
    p.rows_at = take(p.row_source == RowSource::kCopied ? rows * p.row_pitch : p.terms * p.row_pitch);
  }
  if (p.by_terms) return;
  if (p.staged) p.staged_at = take(p.turned_pitch() * p.staged_pitch);
  if (p.swapped) p.turned_at = take(kLanes * p.turned_pitch());
}

}  // namespace

Val MatMulOperand::Matrix(KernelBuilder& b, Val product) const {
  Val matrix = b.I64(0);
  for (size_t axis = batch_dims.size(); axis-- > 0;) {
    const Val index = axis == 0 ? product : b.Rem(product, batch_dims[axis]);
    matrix = b.Add(matrix, b.Mul(index, batch_steps[axis]));
    if (axis > 0) product = b.Div(product, batch_dims[axis]);
  }
  return matrix;
}

MatMulPlan PlanMatMul(const Cluster& cluster, const TileLimits& limits) {
  const auto split = [&](int64_t most_rows) {
    MatMulPlan p;
    DescribeOperands(p, cluster);
    p.tile = ChooseTile(p.rows.size, p.columns.size, p.k, limits, /*alike=*/true, most_rows);
    SplitTasks(p, limits);
    return p;
  };
  MatMulPlan p = split(kMostTileRows);
  const bool many = p.rows.size > kFewRows && p.columns.size > kFewColumns;
  if (HasBadPitch(p) && p.column_blocks > 1 && many) p = split(kSetRows);
  ChooseSources(p);
  ChooseChunks(p, IsLight(cluster, p.tile));
  BookScratch(p);
  return p;
}

}  // namespace weir::jit
