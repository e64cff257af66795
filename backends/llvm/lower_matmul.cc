// Matrix products: a tile of sums in registers passes over panels of columns; matmul_plan.h decides what lies where.
//
// Products of at most one canonical block of terms hand their sums to the epilogue straight from registers where it is
// short; otherwise sums wait in scratch, where those of further blocks are added. With few outputs and many terms,
// tasks are the blocks, and a second kernel adds their sums.
#include <bit>
#include <functional>

#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/matmul_source.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kPackTaskFloats = 32 * 1024;
constexpr int64_t kLineFloats = 16;
constexpr int64_t kUnroll = 4;  // terms of a round, whose fetches share a line
// While columns are passed over: elements of rows in registers, and vectors of columns a round. With more elements, or
// one vector, one row takes a sixth longer where a core reads slowly.
constexpr int64_t kSweptElements = 4, kSweptVectors = 2;
constexpr int64_t kSweptElementsOfPairs = 8;  // where a vector is two registers

using Span = MatMulSpan;

class MatMulKernel {
 public:
  MatMulKernel(const Cluster& cluster, const MatMulPlan& plan, const char* part)
      : p_(plan), b_(StrCat(Describe(cluster), part)), task_(b_.Task()), source_(b_, p_) {}

  // All columns of all matrices into the workspace; a task takes some terms of a matrix.
  Stage Pack() {
    const int64_t terms = std::min(p_.k, RoundUp(CeilDiv(kPackTaskFloats, p_.columns.size), kLanes));
    const int64_t parts = CeilDiv(p_.k, std::max<int64_t>(1, terms));
    const Val matrix = b_.Div(task_, parts), k = b_.Mul(b_.Rem(task_, parts), terms);
    const Val dst = b_.Add(b_.Mul(matrix, p_.packed_matrix()), b_.Mul(k, p_.tile.width()));
    const Span all{b_.I64(0), b_.I64(p_.columns.size)};
    source_.PackColumns(b_.Mul(matrix, p_.columns.size * p_.k), all, k, Terms(k, terms), Workspace(), dst);
    return MakeStage(b_.Take(), p_.columns.matrices * parts);
  }

  Stage Product(const Cluster& cluster) {
    ClusterIr epilogue(b_, cluster);
    epilogue_ = &epilogue;
    const Val blocks = b_.Div(task_, p_.column_blocks), first = b_.Div(blocks, p_.row_blocks);
    const Span columns =
        SpanOf(b_.Mul(b_.Rem(task_, p_.column_blocks), p_.column_block), p_.column_block, p_.columns.size);
    const Span rows = SpanOf(b_.Mul(b_.Rem(blocks, p_.row_blocks), p_.row_block), p_.row_block, p_.rows.size);
    const Val begin = p_.products == 1 ? b_.I64(0) : b_.Mul(first, p_.products_per_task);
    const Val end = b_.Min(b_.I64(p_.products), b_.Add(begin, b_.I64(p_.products_per_task)));
    Steps(begin, end, p_.products_per_task, 1, [&](Val product) {
      Begin(product);
      if (p_.one_block()) source_.PrepareRows(rows, b_.I64(0), b_.I64(p_.k));
      Steps(columns.begin, columns.end, p_.column_block, p_.column_chunk, [&](Val c) {
        const Span chunk{c, p_.column_block <= p_.column_chunk
                                ? columns.end
                                : b_.Min(columns.end, b_.Add(c, b_.I64(p_.column_chunk)))};
        if (p_.one_block()) source_.PrepareColumns(chunk, b_.I64(0), b_.I64(p_.k));
        Steps(rows.begin, rows.end, p_.row_block, p_.row_chunk, [&](Val r) {
          RowsOfChunk({r, p_.row_block <= p_.row_chunk ? rows.end : b_.Min(rows.end, b_.Add(r, b_.I64(p_.row_chunk)))},
                      chunk);
        });
      });
    });
    return MakeStage(b_.Take(), p_.tasks(), p_.scratch_bytes);
  }

  // One block of k of a product, for a block of rows.
  Stage Terms() {
    const Val blocks = b_.Div(task_, p_.row_blocks);
    const Val block = b_.Rem(blocks, p_.k_blocks()), product = b_.Div(blocks, p_.k_blocks());
    Begin(product);
    const Val dst = b_.Mul(b_.Add(b_.Mul(block, p_.products), product), p_.m * p_.n);
    const Span rows = SpanOf(b_.Mul(b_.Rem(task_, p_.row_blocks), p_.row_block), p_.row_block, p_.rows.size);
    const Span columns{b_.I64(0), b_.I64(p_.columns.size)};
    const Val k = b_.Mul(block, kMatMulBlock), terms = Terms(k, kMatMulBlock);
    source_.PrepareRows(rows, k, terms);
    if (p_.swept()) {
      SweepColumns(k, terms, dst);
    } else if (p_.in_order) {
      TermsInOrder(rows, columns, k, terms, dst);
    } else {
      PanelByPanel(rows, columns, k, terms, dst);
    }
    return MakeStage(b_.Take(), p_.tasks(), p_.scratch_bytes);
  }

 private:
  using TileBody = std::function<void(const TileShape& tile, const TileOperands& operands, Val row, Val column,
                                      const std::vector<Val>& counts)>;

  int Workspace() { return b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0}); }
  int Scratch(int64_t at) { return b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, at}); }

  Span SpanOf(Val begin, int64_t block, int64_t size) {
    return {begin, b_.Min(b_.I64(size), b_.Add(begin, b_.I64(block)))};
  }
  // body(i) from begin on in steps; without a loop if `most` needs one only.
  void Steps(Val begin, Val end, int64_t most, int64_t step, const std::function<void(Val)>& body) {
    if (most <= step) return body(begin);
    b_.Loop(begin, end, step, body);
  }
  // Of [k, k + most), those that exist.
  Val Terms(Val k, int64_t most) {
    return most == 0 || p_.k % most == 0 ? b_.I64(most) : b_.Min(b_.I64(most), b_.Binary(IrOp::kSub, b_.I64(p_.k), k));
  }
  void Begin(Val product) {
    product_ = product;
    source_.Begin(product);
  }

  // ---- Sums that wait in memory ------------------------------------------------------------------------------------
  // body(c, lanes that exist, or kNoVal for all) for each vector of neighbours from `begin` to `end`.
  void OverVectors(int64_t begin, int64_t end, const std::function<void(Val, Val)>& body) {
    b_.Loop(b_.I64(begin), b_.I64(end), kLanes,
            [&](Val c) { body(c, (end - begin) % kLanes == 0 ? kNoVal : b_.Binary(IrOp::kSub, b_.I64(end), c)); });
  }
  // Sums of a block of terms, at `dst` in the workspace.
  void ClearSums(Val dst) {
    OverVectors(0, p_.m * p_.n,
                [&](Val at, Val left) { b_.Store(Workspace(), b_.F32(0, kLanes), b_.Add(dst, at), left); });
  }

  // Very few rows are no faster than the memory that their columns come from, which is fastest in order: all columns of
  // some terms are passed over before the next terms, while sums wait in the first-level cache, at `dst` in the
  // workspace.
  void SweepColumns(Val k, Val terms, Val dst) {
    const int64_t rows = p_.rows.size, columns = p_.columns.size, whole = columns - columns % (kSweptVectors * kLanes);
    const int64_t together = (p_.tile.parts == 1 ? kSweptElements : kSweptElementsOfPairs) / rows;
    const Val from = b_.Add(source_.column_base(), b_.Mul(k, p_.columns.inner));
    const auto add = [&](Val t, int64_t count) {
      std::vector<Val> elements;  // of the rows, row by row
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < count; ++j) {
          const Val at = b_.Add(source_.row_at(b_.I64(i)), b_.Mul(b_.Add(t, b_.I64(j)), source_.row_step()));
          elements.push_back(b_.Splat(b_.Load(source_.row_buffer(), at, 1), kLanes));
        }
      }
      const Val first = b_.Add(from, b_.Mul(t, p_.columns.inner));
      const auto pass = [&](Val c, Val left) {
        std::vector<Val> v;
        for (int64_t j = 0; j < count; ++j)
          v.push_back(b_.Load(source_.columns(), b_.Add(b_.Add(first, c), b_.I64(j * p_.columns.inner)), kLanes, left));
        for (int64_t i = 0; i < rows; ++i) {
          const Val at = b_.Add(b_.Add(dst, b_.I64(i * p_.n)), c);
          Val sum = b_.Load(Workspace(), at, kLanes, left);
          for (int64_t j = 0; j < count; ++j)
            sum = b_.Fma(elements[static_cast<size_t>(i * count + j)], v[static_cast<size_t>(j)], sum);
          b_.Store(Workspace(), sum, at, left);
        }
      };
      const auto round = [&](Val c) {
        for (int64_t j = 0; j < kSweptVectors; ++j) pass(b_.Add(c, b_.I64(j * kLanes)), kNoVal);
      };
      if (whole > 0) b_.Loop(b_.I64(0), b_.I64(whole), kSweptVectors * kLanes, round);
      if (whole < columns) OverVectors(whole, columns, pass);
    };
    ClearSums(dst);
    const Val rounds = b_.Mul(b_.Div(terms, together), together);
    b_.Loop(b_.I64(0), rounds, together, [&](Val t) { add(t, together); });
    if (b_.IsConst(terms) && b_.ConstBits(terms) % together == 0) return;
    b_.Loop(rounds, terms, 1, [&](Val t) { add(t, 1); });
  }

  // ---- Tiles -------------------------------------------------------------------------------------------------------
  // All tiles of rows x columns, whose operands are prepared. Columns are passed over inside, so that a tile's rows
  // stay close; or outside, if a panel stays closer.
  void Tiles(Span rows, Span columns, bool panels_outside, const TileBody& body) {
    const int64_t height = p_.tile.rows, whole = p_.rows.size / height * height;
    const auto tile_at = [&](const TileShape& tile, Val i, Val c) {
      const std::vector<Val> counts = ColumnCounts(b_, tile, c, p_.columns.size);
      TileOperands operands = source_.Tile(i, c);
      if (p_.column_source == ColumnSource::kInPlace) operands.counts = counts;
      body(tile, operands, i, c, counts);
    };
    const auto over_columns = [&](const std::function<void(Val)>& inner) {
      b_.Loop(columns.begin, columns.end, p_.tile.width(), inner);
    };
    const auto over_rows = [&](const std::function<void(const TileShape&, Val)>& inner) {
      if (whole > 0) b_.Loop(rows.begin, b_.Min(rows.end, b_.I64(whole)), height, [&](Val i) { inner(p_.tile, i); });
      if (whole == p_.rows.size) return;
      b_.Loop(b_.I64(whole), rows.end, height, [&](Val i) { inner({p_.rows.size - whole, p_.tile.vectors}, i); });
    };
    if (panels_outside) {
      over_columns([&](Val c) { over_rows([&](const TileShape& tile, Val i) { tile_at(tile, i, c); }); });
    } else {
      over_rows([&](const TileShape& tile, Val i) { over_columns([&](Val c) { tile_at(tile, i, c); }); });
    }
  }

  // Rows that are used for a few panels only come from memory: those of the next tile lie behind, and arrive meanwhile.
  void StreamRows(TileOperands& operands, Val i, Val c) {
    const int64_t step = CeilDiv(p_.tile.rows, p_.panels());
    const Val next = b_.Add(source_.row_base(), b_.Mul(b_.Add(i, b_.I64(p_.tile.rows)), p_.rows.outer));
    operands.fetches = {{source_.rows(), b_.Add(next, b_.Mul(b_.Div(c, p_.tile.width()), p_.k * step)), step}};
  }

  // Memory is fastest in order: all tiles take some terms, which the second-level cache holds, before the next ones,
  // while sums wait at `dst` in the workspace. The terms behind these arrive meanwhile: each tile fetches its share.
  void TermsInOrder(Span rows, Span columns, Val k, Val terms, Val dst) {
    const int64_t row_tiles = CeilDiv(p_.rows.size, p_.tile.rows), together = p_.terms_together;
    const int64_t share = CeilDiv(CeilDiv(p_.columns.size, kLanes), row_tiles * p_.panels());  // vectors a term
    source_.PrepareColumns(columns, k, terms);
    ClearSums(dst);
    b_.Loop(b_.I64(0), terms, together, [&](Val t) {
      const Val count =
          p_.k % together == 0 ? b_.I64(together) : b_.Min(b_.I64(together), b_.Binary(IrOp::kSub, terms, t));
      const Val behind =
          b_.Add(source_.column_base(), b_.Mul(b_.Add(k, b_.Add(t, b_.I64(together))), p_.columns.inner));
      Tiles(rows, columns, /*panels_outside=*/true,
            [&](const TileShape& tile, TileOperands operands, Val i, Val c, const std::vector<Val>& counts) {
              const Val pass = b_.Add(b_.Mul(b_.Div(c, p_.tile.width()), row_tiles), b_.Div(i, p_.tile.rows));
              for (int64_t j = 0; j < share; ++j) {
                const Val vectors = b_.Mul(b_.Add(b_.Mul(pass, share), b_.I64(j)), together);
                operands.fetches.push_back({.buffer = source_.columns(),
                                            .at = b_.Add(behind, b_.Mul(vectors, kLanes)),
                                            .step = kLanes,
                                            .to_first = false});
              }
              operands.row = b_.Add(operands.row, b_.Mul(t, operands.row_step));
              operands.column = b_.Add(operands.column, b_.Mul(t, operands.column_step));
              const Val at = b_.Add(dst, b_.Add(b_.Mul(i, p_.n), c));
              const Sums sums = LoadSums(b_, tile, Workspace(), at, p_.n, counts);
              StoreSums(b_, tile, AddTerms(b_, tile, operands, count, sums, kUnroll), Workspace(), at, p_.n, counts);
            });
    });
  }

  // Panel by panel of a chunk of columns: sums stay in registers for all terms.
  void PanelByPanel(Span rows, Span columns, Val k, Val terms, Val dst) {
    Steps(columns.begin, columns.end, p_.columns.size, p_.column_chunk, [&](Val c) {
      const Span chunk = SpanOf(c, p_.column_chunk, p_.columns.size);
      source_.PrepareColumns(chunk, k, terms);
      Tiles(rows, chunk, /*panels_outside=*/true,
            [&](const TileShape& tile, const TileOperands& operands, Val i, Val c, const std::vector<Val>& counts) {
              const Sums sums = AddTermsFetching(tile, operands, k, terms, rows, chunk, i, c);
              StoreSums(b_, tile, sums, Workspace(), b_.Add(dst, b_.Add(b_.Mul(i, p_.n), c)), p_.n, counts);
            });
    });
  }

  // The chunk behind `chunk`, or the first of the next block of terms, arrives while tiles pass over this one: each
  // fetches its share of the terms' rows.
  Sums AddTermsFetching(const TileShape& tile, const TileOperands& operands, Val k, Val terms, Span rows, Span chunk,
                        Val i, Val c) {
    const int64_t row_tiles = CeilDiv(p_.row_block, p_.tile.rows), panels = CeilDiv(p_.column_chunk, p_.tile.width());
    const int64_t every = RoundUp(row_tiles * panels, kUnroll), share = CeilDiv(kMatMulBlock, every);
    const Val pass = b_.Add(b_.Mul(b_.Div(b_.Binary(IrOp::kSub, c, chunk.begin), p_.tile.width()), row_tiles),
                            b_.Div(b_.Binary(IrOp::kSub, i, rows.begin), p_.tile.rows));
    const Val next = b_.Select(b_.Binary(IrOp::kLt, chunk.end, b_.I64(p_.columns.size)), chunk.end,
                               b_.I64(kMatMulBlock * p_.columns.inner));
    const Val from =
        b_.Add(b_.Add(source_.column_base(), next), b_.Mul(b_.Add(k, b_.Mul(pass, share)), p_.columns.inner));
    return b_.For(b_.I64(0), terms, every, ZeroSums(b_, tile), [&](Val t, const Sums& acc) {
      const Val row = b_.Add(from, b_.Mul(b_.Div(t, every), p_.columns.inner));
      for (int64_t j = 0; j < p_.column_chunk; j += kLanes)
        b_.Prefetch(source_.columns(), b_.Add(row, b_.I64(j)), /*to_first=*/false);
      TileOperands some = operands;
      some.row = b_.Add(operands.row, b_.Mul(t, operands.row_step));
      some.column = b_.Add(operands.column, b_.Mul(t, operands.column_step));
      return AddTerms(b_, tile, some, b_.Min(b_.I64(every), b_.Binary(IrOp::kSub, terms, t)), acc, kUnroll);
    });
  }

  // The epilogue reads memory without a pause where the product before it read none. Each tile of a chunk fetches its
  // share of what the chunk's epilogue will read.
  void FetchEpilogue(TileOperands& operands, Span rows, Span columns, Val c) {
    const int64_t floats = p_.tile.rows * p_.tile.width(), lines = CeilDiv(floats, kLineFloats);
    const int64_t together = CeilDiv(lines, p_.k), terms = std::bit_floor(static_cast<uint64_t>(p_.k / lines));
    const int64_t step =
        together > 1 ? together * kLineFloats : kLineFloats / std::clamp<int64_t>(terms, 1, kLineFloats);
    const Val tile = b_.Div(b_.Binary(IrOp::kSub, c, columns.begin), p_.tile.width());
    const Val at = b_.Add(Flat(rows.begin, b_.I64(0)), b_.Mul(tile, floats));
    for (int buffer : epilogue_->FullOperands()) {
      for (int64_t line = 0; line < together; ++line) {
        operands.fetches.push_back(
            {.buffer = buffer, .at = b_.Add(at, b_.I64(line * kLineFloats)), .step = step, .to_first = false});
      }
    }
  }

  // Lines have to be in a cache to be written: those of the next tile of these rows arrive during this one's terms.
  void FetchResults(TileOperands& operands, Val i, Val c) {
    const Val next = b_.Add(Flat(i, c), b_.I64(p_.tile.width()));
    for (int buffer : epilogue_->FullOutputs()) {
      for (int64_t j = 0; j < p_.tile.vectors; ++j)
        operands.fetches.push_back({.buffer = buffer, .at = b_.Add(next, b_.I64(j * kLanes)), .step = p_.n});
    }
  }

  // A chunk of rows and columns over all terms, and its epilogue.
  void RowsOfChunk(Span rows, Span columns) {
    if (p_.one_block()) {
      const Val terms = b_.I64(p_.k);
      Tiles(rows, columns, /*panels_outside=*/false,
            [&](const TileShape& tile, TileOperands operands, Val i, Val c, const std::vector<Val>& counts) {
              if (p_.stream_rows) StreamRows(operands, i, c);
              if (p_.fetch_epilogue) FetchEpilogue(operands, rows, columns, c);
              if (p_.fetch_results) FetchResults(operands, i, c);
              const Sums sums = AddTerms(b_, tile, operands, terms, ZeroSums(b_, tile), kUnroll);
              if (p_.staged) {
                StoreSums(b_, tile, sums, Scratch(p_.staged_at), StagedAt(rows, columns, i, c), p_.staged_pitch,
                          StagedCounts(counts));
              } else {
                EmitTile(tile, sums, i, c, counts);
              }
            });
    } else {
      b_.Loop(b_.I64(0), b_.I64(p_.k), kMatMulBlock, [&](Val k) {
        const Val terms = Terms(k, kMatMulBlock);
        source_.PrepareRows(rows, k, terms);
        source_.PrepareColumns(columns, k, terms);
        Tiles(rows, columns, /*panels_outside=*/false,
              [&](const TileShape& tile, const TileOperands& operands, Val i, Val c, const std::vector<Val>& counts) {
                AddBlock(tile, AddTerms(b_, tile, operands, terms, ZeroSums(b_, tile)), k,
                         StagedAt(rows, columns, i, c), StagedCounts(counts));
              });
      });
    }
    if (p_.staged) Finish(rows, columns);
  }
  // Of the result (unless that is transposed).
  Val Flat(Val i, Val c) { return b_.Add(b_.Mul(product_, p_.m * p_.n), b_.Add(b_.Mul(i, p_.n), c)); }
  Val StagedAt(Span rows, Span columns, Val i, Val c) {
    return b_.Add(b_.Mul(b_.Binary(IrOp::kSub, i, rows.begin), p_.staged_pitch),
                  b_.Binary(IrOp::kSub, c, columns.begin));
  }
  // Where rows follow each other without a gap, a vector must end with its row.
  std::vector<Val> StagedCounts(const std::vector<Val>& counts) const { return p_.flat ? counts : std::vector<Val>(); }

  // The first block is the total, others are added to it.
  void AddBlock(const TileShape& tile, const Sums& block, Val k, Val at, const std::vector<Val>& counts) {
    const int staged = Scratch(p_.staged_at);
    const Val first = b_.Binary(IrOp::kEq, k, b_.I64(0));
    b_.If(first, [&] { StoreSums(b_, tile, block, staged, at, p_.staged_pitch, counts); });
    b_.If(b_.Unary(IrOp::kNot, first), [&] {
      Sums totals = LoadSums(b_, tile, staged, at, p_.staged_pitch, counts);
      for (size_t i = 0; i < totals.size(); ++i) totals[i] = b_.Binary(IrOp::kAdd, totals[i], block[i]);
      StoreSums(b_, tile, totals, staged, at, p_.staged_pitch, counts);
    });
  }

  // ---- Results -----------------------------------------------------------------------------------------------------
  void EmitTile(const TileShape& tile, const Sums& sums, Val i, Val c, const std::vector<Val>& counts) {
    const Val flat = Flat(i, c);
    std::vector<Point> points;
    for (int64_t row = 0; row < tile.rows; ++row) {
      for (int64_t j = 0; j < tile.vectors; ++j) {
        points.push_back({.flat = b_.Add(flat, b_.I64(row * p_.n + j * kLanes)),
                          .count = counts[static_cast<size_t>(j)],
                          .aligned = p_.n % kLanes == 0,
                          .in_row = true,
                          .column = b_.Add(c, b_.I64(j * kLanes))});
      }
    }
    epilogue_->Emit(points, sums);
  }

  // Whether the outputs of every chunk begin at a multiple of `unit`.
  bool Multiple(int64_t unit) const {
    const auto multiple = [&](int64_t rows, int64_t parts) { return parts == 1 || rows * p_.n % unit == 0; };
    return multiple(p_.m, p_.products) && multiple(p_.row_block, p_.row_blocks) &&
           multiple(p_.row_chunk, CeilDiv(p_.row_block, p_.row_chunk));
  }

  void Finish(Span rows, Span columns) {
    if (p_.swapped) return FinishTurned(rows, columns);
    const int staged = Scratch(p_.staged_at);
    const bool vectors = p_.n % kLanes == 0;
    if (p_.flat) {
      const Val flat = b_.Add(b_.Mul(product_, p_.m * p_.n), b_.Mul(rows.begin, p_.n));
      const Val count = p_.row_block <= p_.row_chunk && p_.row_blocks == 1
                            ? b_.I64(p_.m * p_.n)
                            : b_.Mul(b_.Binary(IrOp::kSub, rows.end, rows.begin), p_.n);
      EmitRange(b_, *epilogue_,
                {.buffer = staged,
                 .base = b_.I64(0),
                 .flat = flat,
                 .count = count,
                 .whole = vectors,
                 .aligned = Multiple(kLanes),
                 .blocks = Multiple(kRandomBlock)});
      return;
    }
    b_.Loop(rows.begin, rows.end, 1, [&](Val i) {
      const Val row = b_.Add(b_.Mul(product_, p_.m), i);
      EmitRange(b_, *epilogue_,
                {.buffer = staged,
                 .base = b_.Mul(b_.Binary(IrOp::kSub, i, rows.begin), p_.staged_pitch),
                 .flat = b_.Add(b_.Mul(row, p_.n), columns.begin),
                 .count = b_.Binary(IrOp::kSub, columns.end, columns.begin),
                 .whole = vectors,
                 .aligned = vectors,
                 .blocks = p_.n % kRandomBlock == 0 && p_.column_chunk % kRandomBlock == 0 &&
                           p_.column_block % kRandomBlock == 0,
                 .column = columns.begin});
    });
  }
  // Rows are b's columns: blocks of sums are transposed before they are handed on.
  void FinishTurned(Span rows, Span columns) {
    const int staged = Scratch(p_.staged_at), turned = Scratch(p_.turned_at);
    const int64_t pitch = p_.turned_pitch();
    const bool vectors =
        p_.n % kLanes == 0 && p_.row_chunk % kLanes == 0 && (p_.row_blocks == 1 || p_.row_block % kLanes == 0);
    b_.Loop(columns.begin, columns.end, kLanes, [&](Val c) {
      b_.Loop(rows.begin, rows.end, kLanes, [&](Val r) {
        const Val from = StagedAt(rows, columns, r, c), to = b_.Binary(IrOp::kSub, r, rows.begin);
        std::vector<Val> block;
        for (int64_t i = 0; i < kLanes; ++i)
          block.push_back(b_.Load(staged, b_.Add(from, b_.I64(i * p_.staged_pitch)), kLanes));
        block = Transposed(b_, std::move(block));
        for (int64_t i = 0; i < kLanes; ++i)
          b_.Store(turned, block[static_cast<size_t>(i)], b_.Add(to, b_.I64(i * pitch)));
      });
      b_.Loop(c, b_.Min(columns.end, b_.Add(c, b_.I64(kLanes))), 1, [&](Val i) {
        const Val row = b_.Add(b_.Mul(product_, p_.m), i);
        EmitRange(b_, *epilogue_,
                  {.buffer = turned,
                   .base = b_.Mul(b_.Binary(IrOp::kSub, i, c), pitch),
                   .flat = b_.Add(b_.Mul(row, p_.n), rows.begin),
                   .count = b_.Binary(IrOp::kSub, rows.end, rows.begin),
                   .whole = vectors,
                   .aligned = vectors,
                   .blocks = p_.n % kRandomBlock == 0 && p_.row_chunk % kRandomBlock == 0 &&
                             (p_.row_blocks == 1 || p_.row_block % kRandomBlock == 0),
                   .column = rows.begin});
      });
    });
  }

  const MatMulPlan& p_;
  KernelBuilder b_;
  const Val task_;
  ClusterIr* epilogue_ = nullptr;
  Val product_ = kNoVal;
  MatMulSource source_;
};

}  // namespace

LowerResult LowerMatMul(const Cluster& cluster, const TileLimits& limits) {
  const MatMulPlan plan = PlanMatMul(cluster, limits);
  const std::string tile = StrCat(plan.tile.rows, "x", plan.tile.vectors);
  Lowering lowering;
  lowering.in_place = PointwisePairs(cluster);
  if (plan.by_terms) {
    lowering.kernel =
        StrCat("jit, matmul by ", plan.k_blocks(), " blocks of terms, ", tile, ", ", plan.tasks(), " tasks");
    lowering.workspace_bytes = plan.k_blocks() * plan.products * plan.m * plan.n * 4;
    lowering.stages.push_back(MatMulKernel(cluster, plan, ", terms").Terms());
    lowering.stages.push_back(CombineParts(cluster, plan.k_blocks(), plan.products * plan.m * plan.n));
    return lowering;
  }
  const bool packed = plan.column_source == ColumnSource::kPackedOnce;
  if (packed && plan.k > 0) {
    lowering.workspace_bytes = plan.columns.matrices * plan.packed_matrix() * 4;
    lowering.stages.push_back(MatMulKernel(cluster, plan, ", panels").Pack());
  }
  lowering.kernel = StrCat("jit, matmul by ", plan.swapped ? "columns as rows" : "rows",
                           packed ? ", packed panels, " : ", ", tile, ", ", plan.tasks(), " tasks");
  lowering.stages.push_back(MatMulKernel(cluster, plan, ", product").Product(cluster));
  return lowering;
}

}  // namespace weir::jit
