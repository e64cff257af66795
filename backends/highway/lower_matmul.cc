// Matrix products. One operand gives rows, whose elements are broadcast, the other columns, which fill lanes; either
// may be a or b: what is large and already has its terms contiguous is best read row by row without a copy. Columns are
// packed into panels, once for all tasks in the workspace, or, when each part of them is used by one task only, by that
// task in its scratch.
//
// Tasks are blocks of rows, of columns, or, for few outputs with long sums, of the canonical blocks of k, whose totals
// are then added in order by a second stage.
#include <cstring>
#include <optional>

#include "weir/backends/highway/combine.h"
#include "weir/backends/highway/lowering.h"
#include "weir/ops/attrs.h"
#include "weir/ops/canonical_order.h"

namespace weir::highway {
namespace {

constexpr double kTaskFlops = 4e6;    // 20 us at 200 GFLOP/s
constexpr double kTaskBytes = 512e3;  // or 25 us at 20 GB/s, where each element is used a few times only
constexpr int64_t kTasks = 16;
constexpr int64_t kPartialBytes = 8 << 20;
constexpr int64_t kPackColumns = 128;         // columns packed at a time: 512 terms of them are 256 KiB
constexpr int64_t kPackTerms = 64;            // terms packed at a time when all columns are: rows are read whole,
constexpr int64_t kPackMoreTerms = 128;       // and with more rows, sums are loaded and stored less often
constexpr int64_t kChunkFloats = 6144;        // outputs that wait for the epilogue, while the columns come from a cache
constexpr int64_t kSmallColumns = 64 * 1024;  // floats: smaller packed columns stay in the second-level cache
constexpr int64_t kFewRows = 256;             // up to this many, sums over terms may be split among tasks
constexpr int64_t kChunkRows = 240;           // rows that share larger columns
constexpr int64_t kPackTaskFloats = 32 * 1024;
// Rows a power of two apart share few sets of a cache: they are copied to a pitch that does not.
constexpr int64_t kRowGap = 16, kBadPitch = 128;

// Element (i, k) of an operand at i * outer + k * inner.
struct Operand2D {
  int input = 0;
  int64_t size = 0;  // rows or columns
  int64_t outer = 1, inner = 1;
  std::vector<int64_t> batch;  // offset of each product's matrix
};

struct Problem {
  Operand2D rows, columns;
  bool swapped = false;  // rows are b's columns: results are transposed on their way out
  int64_t k = 0, products = 0;
  int64_t m = 0, n = 0;
  const KernelTable* kernels = nullptr;
  int64_t panel = 0, row_width = 0, panels = 0;  // of packed columns; row_width: floats of a term in a panel

  // Packs terms [k0, k0 + terms) of columns [c0, c0 + count) into panels of `terms` rows.
  void Pack(const float* src, int64_t c0, int64_t count, int64_t k0, int64_t terms, float* dst) const {
    const float* from = src + c0 * columns.outer + k0 * columns.inner;
    if (columns.outer == 1) {
      kernels->move.pack(from, columns.inner, terms, count, row_width, dst);
      return;
    }
    for (int64_t c = 0; c < count; c += panel, dst += terms * row_width) {
      const int64_t width = std::min(panel, count - c);
      if (width < row_width) std::memset(dst, 0, static_cast<size_t>(terms * row_width) * sizeof(float));
      kernels->move.transpose(from + c * columns.outer, columns.outer, width, terms, dst, row_width);
    }
  }
};

// All columns of all distinct matrices into the workspace: [matrix][panel][k][row_width].
struct PackState {
  std::shared_ptr<const Problem> problem;
  int64_t units = 0, units_per_task = 1;  // a unit: a panel of a matrix

  void Run(const KernelCall& call) const {
    const Problem& p = *problem;
    const int64_t end = std::min(units, (call.task + 1) * units_per_task);
    for (int64_t unit = call.task * units_per_task; unit < end; ++unit) {
      const int64_t matrix = unit / p.panels, c = unit % p.panels * p.panel;
      p.Pack(FloatInput(call, p.columns.input) + matrix * p.columns.size * p.k, c,
             std::min(p.panel, p.columns.size - c), 0, p.k, FloatsAt(call.workspace, 0) + unit * p.k * p.row_width);
    }
  }
};

struct ProductState {
  std::shared_ptr<const Problem> problem;
  std::optional<Epilogue> epilogue;
  bool prepacked = false;
  bool by_terms = false;  // a task is one block of k; results go to the workspace
  bool copy_rows = false;
  int64_t products_per_task = 1;
  int64_t row_block = 0, row_blocks = 1, column_block = 0, column_blocks = 1, k_blocks = 1;
  int64_t chunk_rows = 0, chunk_columns = 0, pack_terms = 0;
  int64_t columns_offset = 0, rows_offset = 0, list_offset = 0, tile_offset = 0;  // in scratch

  void Run(const KernelCall& call) const {
    const Problem& p = *problem;
    int64_t rest = call.task;
    const int64_t term_block = by_terms ? rest % k_blocks : 0;
    if (by_terms) rest /= k_blocks;
    const int64_t c = rest % column_blocks * column_block;
    rest /= column_blocks;
    const int64_t r = rest % row_blocks * row_block;
    rest /= row_blocks;
    const int64_t r_end = std::min(p.rows.size, r + row_block), count = std::min(column_block, p.columns.size - c);
    const int64_t end = std::min(p.products, (rest + 1) * products_per_task);
    for (int64_t product = rest * products_per_task; product < end; ++product) {
      if (by_terms) {
        RunTerms(call, product, term_block);
        continue;
      }
      for (int64_t column = c; column < c + count; column += chunk_columns) {
        for (int64_t row = r; row < r_end; row += chunk_rows) {
          RunChunk(call, product, row, std::min(chunk_rows, r_end - row), column,
                   std::min(chunk_columns, c + count - column));
        }
      }
    }
  }

  // One block of k, all rows and columns, pack_terms terms of all columns at a time.
  void RunTerms(const KernelCall& call, int64_t product, int64_t block) const {
    const Problem& p = *problem;
    float* dst = FloatsAt(call.workspace, 0) + (block * p.products + product) * p.m * p.n;
    const int64_t k_end = std::min(p.k, (block + 1) * kMatMulBlock);
    const float* columns = FloatInput(call, p.columns.input) + p.columns.batch[static_cast<size_t>(product)];
    for (int64_t k = block * kMatMulBlock; k < k_end; k += pack_terms) {
      const int64_t terms = std::min(pack_terms, k_end - k);
      float* packed = FloatsAt(call.scratch, columns_offset);
      p.Pack(columns, 0, p.columns.size, k, terms, packed);
      // The rows of the next terms lie behind, and arrive meanwhile.
      const int64_t next = std::min(pack_terms, k_end - k - terms);
      Multiply(call, product, 0, p.rows.size, k, terms, packed, terms * p.row_width, p.columns.size, dst, p.n,
               k == block * kMatMulBlock ? Accumulate::kStore : Accumulate::kContinue,
               columns + (k + terms) * p.columns.inner, next * p.columns.inner);
    }
  }

  // Rows [row, row + rows) of columns [c, c + count), over all terms, and the epilogue.
  void RunChunk(const KernelCall& call, int64_t product, int64_t row, int64_t rows, int64_t c, int64_t count) const {
    const Problem& p = *problem;
    const int64_t first = product * p.m * p.n + (p.swapped ? row : row * p.n + c);
    // Where the outer product is computed: in place, or apart if it has to be transposed.
    const bool direct = epilogue->direct();
    float* out = direct ? epilogue->Buffer(call, first) : epilogue->Buffer(call, 0);
    const int64_t out_pitch = direct ? p.n : (p.swapped ? rows : count);
    float* dst = p.swapped ? FloatsAt(call.scratch, tile_offset) : out;
    const int64_t pitch = p.swapped ? RoundUp(count, p.kernels->lanes) : out_pitch;
    if (p.k == 0) {
      for (int64_t i = 0; i < rows; ++i) std::memset(dst + i * pitch, 0, static_cast<size_t>(count) * sizeof(float));
    }
    for (int64_t k = 0; k < p.k; k += kMatMulBlock) {
      const int64_t terms = std::min(kMatMulBlock, p.k - k);
      const float* packed;
      int64_t panel_stride;
      if (prepacked) {
        const int64_t matrix =
            p.columns.batch[static_cast<size_t>(product)] / std::max<int64_t>(1, p.columns.size * p.k);
        packed = FloatsAt(call.workspace, 0) + ((matrix * p.panels + c / p.panel) * p.k + k) * p.row_width;
        panel_stride = p.k * p.row_width;
      } else {
        float* scratch = FloatsAt(call.scratch, columns_offset);
        p.Pack(FloatInput(call, p.columns.input) + p.columns.batch[static_cast<size_t>(product)], c, count, k, terms,
               scratch);
        packed = scratch;
        panel_stride = terms * p.row_width;
      }
      Multiply(call, product, row, rows, k, terms, packed, panel_stride, count, dst, pitch,
               k == 0 ? Accumulate::kStore : Accumulate::kAddBlock);
    }
    if (p.swapped) {
      // dst is [rows of n][count of m]; the output has n innermost.
      p.kernels->move.transpose(dst, pitch, rows, count, out + (direct ? c * p.n : 0), out_pitch);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t flat = product * p.m * p.n + (c + i) * p.n + row;
        epilogue->Finish(call, flat, rows, out + (direct ? (c + i) * p.n : i * out_pitch));
      }
    } else if (count == p.n) {
      epilogue->Finish(call, first, rows * p.n, out);
    } else {
      for (int64_t i = 0; i < rows; ++i) epilogue->Finish(call, first + i * p.n, count, out + i * out_pitch);
    }
  }

  void Multiply(const KernelCall& call, int64_t product, int64_t row, int64_t rows, int64_t k, int64_t terms,
                const float* packed, int64_t panel_stride, int64_t columns, float* dst, int64_t pitch,
                Accumulate accumulate, const float* stream = nullptr, int64_t stream_floats = 0) const {
    const Problem& p = *problem;
    const float* u = FloatInput(call, p.rows.input) + p.rows.batch[static_cast<size_t>(product)] + row * p.rows.outer +
                     k * p.rows.inner;
    const TermRun run{0, 0, terms};
    ProductArgs args{.u = u,
                     .v = packed,
                     .v_step = p.row_width,
                     .panel_stride = panel_stride,
                     .columns = columns,
                     .rows = rows,
                     .runs = &run,
                     .run_count = 1,
                     .dst = dst,
                     .accumulate = accumulate,
                     .far = terms * p.row_width * 4 > kFarPanelBytes,
                     .stream = stream,
                     .stream_floats = stream_floats};
    if (p.rows.inner == 1) {
      int64_t* u_offset = reinterpret_cast<int64_t*>(call.scratch + list_offset);
      int64_t* dst_offset = u_offset + rows;
      int64_t u_pitch = p.rows.outer;
      if (copy_rows) {
        u_pitch = terms + kRowGap;
        float* block = FloatsAt(call.scratch, rows_offset);
        for (int64_t i = 0; i < rows; ++i) {
          std::memcpy(block + i * u_pitch, u + i * p.rows.outer, static_cast<size_t>(terms) * sizeof(float));
        }
        args.u = block;
      }
      for (int64_t i = 0; i < rows; ++i) {
        u_offset[i] = i * u_pitch;
        dst_offset[i] = i * pitch;
      }
      args.u_offset = u_offset;
      args.dst_offset = dst_offset;
      p.kernels->product.row_product(args);
    } else {
      // Rows lie side by side, terms far apart: brought together.
      float* block = FloatsAt(call.scratch, rows_offset);
      for (int64_t t = 0; t < terms; ++t) {
        std::memcpy(block + t * rows, u + t * p.rows.inner, static_cast<size_t>(rows) * sizeof(float));
      }
      args.u = block;
      args.u_step = rows;
      args.dst_stride = pitch;
      p.kernels->product.column_product(args);
    }
  }
};

std::vector<int64_t> BatchOffsets(const Shape& operand, const Shape& output) {
  const auto batch_of = [](const Shape& shape) {
    return Shape(shape.dims().first(static_cast<size_t>(shape.rank() - 2)));
  };
  const Shape from = batch_of(operand), batch = batch_of(output);
  const Dims strides = BroadcastStrides(from, batch);
  std::vector<int64_t> offsets;
  for (int64_t i = 0; i < batch.size(); ++i) {
    int64_t index = 0, rest = i;
    for (int axis = batch.rank() - 1; axis >= 0; --axis) {
      index += rest % batch.dim(axis) * strides[static_cast<size_t>(axis)];
      rest /= batch.dim(axis);
    }
    offsets.push_back(index * operand.dim(-1) * operand.dim(-2));
  }
  return offsets;
}

// Whether to take b's columns as rows: a rough count of cycles both ways. Packing a float costs about 0.5 cycles, with
// a transposition 2; a term of a register tile at least 4 cycles.
bool PreferSwapped(int64_t m, int64_t n, int64_t k, bool ta, bool tb, const KernelTable& kernels) {
  const auto cycles = [&](int64_t rows, int64_t columns, double rows_cost, double columns_cost, double out_cost) {
    const double lanes = static_cast<double>(RoundUp(columns, kernels.lanes));
    const double products = static_cast<double>(std::max<int64_t>(rows, 4)) * lanes * static_cast<double>(k) /
                            (2.0 * static_cast<double>(kernels.lanes));
    return products +
           static_cast<double>(k) *
               (rows_cost * static_cast<double>(rows) + columns_cost * static_cast<double>(columns)) +
           out_cost * static_cast<double>(rows) * static_cast<double>(columns);
  };
  return cycles(n, m, tb ? 0 : 0.5, ta ? 0.5 : 2, 2) < cycles(m, n, ta ? 0.5 : 0, tb ? 2 : 0.5, 0);
}

std::shared_ptr<Problem> Describe(const LowerContext& context) {
  auto p = std::make_shared<Problem>();
  const Shape &a = context.anchor_input_type(0).shape, &b = context.anchor_input_type(1).shape;
  const Shape& y = context.anchor().outputs[0].shape;
  const bool ta = context.anchor().attrs.Bool(kTransposeA), tb = context.anchor().attrs.Bool(kTransposeB);
  p->kernels = &context.kernels;
  p->m = y.dim(-2);
  p->n = y.dim(-1);
  p->k = a.dim(ta ? -2 : -1);
  p->products = p->m * p->n == 0 ? 0 : y.size() / (p->m * p->n);
  const Operand2D left{context.anchor_input(0), p->m, ta ? 1 : p->k, ta ? p->m : 1, BatchOffsets(a, y)};
  const Operand2D right{context.anchor_input(1), p->n, tb ? p->k : 1, tb ? 1 : p->n, BatchOffsets(b, y)};
  p->swapped = PreferSwapped(p->m, p->n, p->k, ta, tb, context.kernels);
  p->rows = p->swapped ? right : left;
  p->columns = p->swapped ? left : right;
  p->panel = context.kernels.product.panel_vectors * context.kernels.lanes;
  p->row_width = std::min(p->panel, RoundUp(p->columns.size, context.kernels.lanes));
  p->panels = CeilDiv(p->columns.size, p->panel);
  return p;
}

// Fills in the split into tasks; returns their number.
int64_t Split(ProductState& state, bool epilogue) {
  const Problem& p = *state.problem;
  const int64_t tile = p.kernels->product.row_tile, rows = p.rows.size, columns = p.columns.size;
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(p.k);
  state.row_block = rows;
  state.column_block = columns;
  state.k_blocks = CeilDiv(p.k, kMatMulBlock);
  const double bytes = 4.0 * static_cast<double>(rows + columns) * static_cast<double>(p.k);
  const int64_t parts =
      std::min(CeilDiv(2 * kTasks, p.products), static_cast<int64_t>(std::max(flops / kTaskFlops, bytes / kTaskBytes)));
  if (parts > 1) {
    // A block of rows passes over all columns: the larger they are, the more rows should share them.
    const int64_t least = p.k * columns <= kSmallColumns ? 4 * tile : kChunkRows;
    const int64_t row_parts = std::min(parts, CeilDiv(rows, least));
    if (row_parts >= std::min(parts, kTasks / 2)) {
      state.row_block = RoundUp(CeilDiv(rows, row_parts), tile);
    } else if (!p.swapped && rows <= kFewRows && state.k_blocks >= kTasks / 2 &&
               state.k_blocks * p.products * rows * columns * 4 <= kPartialBytes && p.columns.outer == 1) {
      state.by_terms = true;
    } else {
      const int64_t column_parts = std::min(CeilDiv(parts, row_parts), p.panels);
      state.row_block = RoundUp(CeilDiv(rows, row_parts), tile);
      state.column_block = RoundUp(CeilDiv(columns, column_parts), p.panel);
    }
  } else {
    state.products_per_task = TaskSize(
        p.products, std::max<int64_t>(1, static_cast<int64_t>(std::min(kTaskFlops / std::max(flops, 1.0), 1e6))), 1);
  }
  state.row_blocks = CeilDiv(rows, state.row_block);
  state.pack_terms = rows <= 4 * tile ? kPackTerms : kPackMoreTerms;
  state.prepacked = !state.by_terms && state.row_blocks > 1;
  state.column_blocks = CeilDiv(columns, state.column_block);
  state.chunk_columns = state.column_block;
  if (!state.prepacked) state.chunk_columns = std::min(state.column_block, RoundUp(kPackColumns, p.panel));
  // Rows at a time: few while an epilogue follows and the columns are close; all of a block if columns are packed anew
  // for each chunk.
  state.chunk_rows = state.row_block;
  if (state.prepacked) {
    const int64_t close = p.k * columns <= kSmallColumns && epilogue
                              ? RoundUp(std::max(kChunkFloats / state.column_block, tile), tile)
                              : kChunkRows;
    const int64_t wanted = p.swapped ? 2 * kChunkRows : close;
    state.chunk_rows = RoundUp(CeilDiv(state.row_block, CeilDiv(state.row_block, wanted)), tile);
  }
  state.copy_rows = p.rows.inner == 1 && p.rows.outer % kBadPitch == 0 && rows > 1 && columns > 2 * p.panel;
  const int64_t blocks = state.row_blocks * state.column_blocks * (state.by_terms ? state.k_blocks : 1);
  return CeilDiv(p.products, state.products_per_task) * blocks;
}

}  // namespace

LowerResult LowerMatMul(const LowerContext& context) {
  auto state = std::make_shared<ProductState>();
  state->problem = Describe(context);
  const Problem& p = *state->problem;
  const int64_t tasks = Split(*state, !context.program->empty());
  const int64_t columns = state->by_terms ? p.columns.size : state->chunk_columns;
  const int64_t rows = state->by_terms ? p.rows.size : state->chunk_rows;
  Arena scratch;
  state->list_offset = scratch.Take(2 * rows * static_cast<int64_t>(sizeof(int64_t)));
  const int64_t terms = std::min(p.k, kMatMulBlock);
  if (p.rows.inner != 1) state->rows_offset = scratch.TakeFloats(rows * terms);
  if (state->copy_rows) {
    state->rows_offset =
        scratch.TakeFloats(rows * ((state->by_terms ? std::min(terms, state->pack_terms) : terms) + kRowGap));
  }
  if (!state->prepacked) {
    state->columns_offset = scratch.TakeFloats((state->by_terms ? std::min(terms, state->pack_terms) : terms) *
                                               CeilDiv(columns, p.panel) * p.row_width);
  }
  if (p.swapped) state->tile_offset = scratch.TakeFloats(rows * RoundUp(columns, context.kernels.lanes));

  Lowering lowering;
  Arena workspace;
  if (state->prepacked) {
    auto pack = std::make_shared<PackState>();
    pack->problem = state->problem;
    const TensorType& type = context.anchor_input_type(p.swapped ? 0 : 1);
    const int64_t matrices = p.columns.size * p.k == 0 ? 0 : type.shape.size() / (p.columns.size * p.k);
    pack->units = matrices * p.panels;
    pack->units_per_task = std::max<int64_t>(1, kPackTaskFloats / std::max<int64_t>(1, p.k * p.row_width));
    workspace.TakeFloats(pack->units * p.k * p.row_width);
    if (pack->units > 0)
      lowering.stages.push_back(MakeStage<PackState>(pack, CeilDiv(pack->units, pack->units_per_task), 0));
  }
  const std::string shape = StrCat(p.swapped ? "columns as rows" : "rows", state->prepacked ? ", packed panels" : "");
  if (state->by_terms) {
    workspace.TakeFloats(state->k_blocks * p.products * p.m * p.n);
    lowering.kernel = StrCat("matmul by ", state->k_blocks, " blocks of terms, ", tasks, " tasks");
    const int64_t parts = state->k_blocks, count = p.products * p.m * p.n;
    lowering.stages.push_back(MakeStage<ProductState>(std::move(state), tasks, scratch.bytes()));
    lowering.stages.push_back(CombineStage(context, ReduceKind::kSum, parts, count, 0));
  } else {
    state->epilogue.emplace(context.program, rows * columns, scratch);
    lowering.kernel = StrCat("matmul by ", shape, ", ", tasks, " tasks");
    lowering.stages.push_back(MakeStage<ProductState>(std::move(state), tasks, scratch.bytes()));
  }
  lowering.workspace_bytes = workspace.bytes();
  return lowering;
}

}  // namespace weir::highway
