// Winograd's filter gradient. A task sums one chunk of images for a block of channels on both sides: units of tiles are
// transformed, and their products added to the block's 36 matrices of sums, which stay in the second-level cache
// meanwhile. Of a single chunk the task transforms them back and runs the epilogue; the sums of several lie in the
// workspace, until a second kernel adds the chunks and does so.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "weir/backends/llvm/product_ir.h"
#include "weir/backends/llvm/winograd_source.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kBlock = 64;       // channels: 36 matrices of so many squared are half a second-level cache
constexpr double kLeastFlops = 4e6;  // of a task, of the direct sum
constexpr int64_t kTasks = 8;
constexpr int64_t kUnitBytes = 1024 * 1024;  // of transforms, beside the sums
constexpr int64_t kMostTiles = 32;           // of a unit: terms of a product
constexpr int64_t kUnroll = 4;
constexpr int64_t kCombineTask = int64_t{1} << 17;  // floats added by a task
constexpr int kCells = kWinogradCells, kTile = kWinogradTile;

// Channels of one side in equal blocks of whole vectors.
int64_t BlockOf(int64_t channels, int64_t most) { return RoundUp(CeilDiv(channels, CeilDiv(channels, most)), kLanes); }

struct Plan {
  ConvProblem problem;  // of the forward convolution
  ConvGeometry geometry;
  int64_t batch = 0, tile_rows = 1, tile_columns = 1;
  int64_t chunk = 1, chunks = 0;        // images of a chunk
  int64_t in = 0, out = 0;              // channels
  int64_t in_block = 1, out_block = 1;  // of a task
  bool by_images = false;
  int64_t unit = 1;  // images, or rows of tiles of one
  TileShape tile;

  int64_t image_tiles() const { return tile_rows * tile_columns; }
  int64_t in_blocks() const { return CeilDiv(in, in_block); }
  int64_t out_blocks() const { return CeilDiv(out, out_block); }
  int64_t block_floats() const { return kWinogradElements * in_block * out_block; }
  int64_t chunk_floats() const { return in_blocks() * out_blocks() * block_floats(); }
  WinogradUnit UnitLayout() const {
    const int64_t rows = unit * (by_images ? tile_rows : 1);
    return {rows, tile_columns, rows * tile_columns, in_block};
  }
  // Floats in scratch of a row of elements of the cotangents along the first axis, [tile][4][channel], and of one of its
  // elements, [tile][channel].
  int64_t cotangents_row() const { return UnitLayout().tiles() * kWinogradTile * out_block + kLanes; }
  int64_t cotangent_element() const { return UnitLayout().tiles() * out_block + kLanes; }
};

Plan MakePlan(const ConvGeometry& geometry, const TileLimits& limits) {
  Plan p;
  p.problem = ForwardProblem(geometry);
  p.geometry = geometry;
  p.batch = geometry.batch;
  p.tile_rows = WinogradTiles(geometry.axis[1].output);
  p.tile_columns = WinogradTiles(geometry.axis[2].output);
  p.chunk = std::min(WinogradGradientImages(p.image_tiles()), std::max<int64_t>(1, p.batch));
  p.chunks = CeilDiv(p.batch, p.chunk);
  p.in = geometry.in_channels;
  p.out = geometry.out_channels;
  p.in_block = BlockOf(p.in, kBlock);
  p.out_block = BlockOf(p.out, kBlock);
  const double flops = std::max(p.problem.flops(), 1.0);
  const auto tasks = [&] { return std::max<int64_t>(1, p.chunks) * p.in_blocks() * p.out_blocks(); };
  while (tasks() < kTasks && flops / static_cast<double>(2 * tasks()) > kLeastFlops) {
    int64_t& larger = p.in_block > p.out_block ? p.in_block : p.out_block;
    if (larger == kLanes) break;
    larger = RoundUp(larger / 2, kLanes);
  }
  p.tile.vectors = limits.vector_registers >= 16 && p.out_block % (2 * kLanes) == 0 ? 2 : 1;
  p.tile.rows = limits.vector_registers >= 16 ? (p.tile.vectors == 2 ? 8 : 16) : 4;
  const int64_t tile_bytes = kWinogradElements * (p.in_block + p.out_block) * 4;
  const int64_t most = std::clamp<int64_t>(kUnitBytes / tile_bytes, 1, kMostTiles);
  p.by_images = 2 * p.image_tiles() <= most && p.chunk > 1;
  p.unit = p.by_images ? std::clamp<int64_t>(most / p.image_tiles(), 1, p.chunk)
                       : std::clamp<int64_t>(most / p.tile_columns, 1, p.tile_rows);
  if (!p.by_images) p.unit = CeilDiv(p.tile_rows, CeilDiv(p.tile_rows, p.unit));
  return p;
}

class SumKernel {
 public:
  SumKernel(const Cluster& cluster, const Plan& plan)
      : cluster_(cluster), p_(plan), unit_(plan.UnitLayout()), b_(StrCat(Describe(cluster), ", chunks")) {}

  Stage Make() {
    const Node& anchor = cluster_.node(*cluster_.anchor);
    const Val task = b_.Task();
    std::optional<ClusterIr> epilogue;
    if (p_.chunks == 1) epilogue.emplace(b_, cluster_);
    const auto input = [&](size_t i) {
      return b_.Buffer({IrBuffer::Kind::kInput, cluster_.input_index(anchor.inputs[i]), Elem::kF32, 0});
    };
    place_ = WinogradSource::InPlace(p_.problem, input(0));
    dy_ = input(1);
    sums_ = epilogue ? scratch_.Take(p_.block_floats()) : b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
    const int cells = scratch_.Take(kCells * unit_.cells_row());
    elements_ = scratch_.Take(2 * kCells * unit_.element());
    source_.emplace(b_, p_.problem, unit_, place_, cells, elements_);
    cotangents_ = scratch_.Take(kCells * p_.cotangents_row());
    cotangent_elements_ = scratch_.Take(2 * kCells * p_.cotangent_element());
    const int64_t blocks = p_.in_blocks() * p_.out_blocks();
    const Val block = b_.Rem(task, blocks);
    in_ = b_.Mul(b_.Div(block, p_.out_blocks()), p_.in_block);
    out_ = b_.Mul(b_.Rem(block, p_.out_blocks()), p_.out_block);
    to_ = epilogue ? b_.I64(0) : b_.Mul(task, p_.block_floats());
    b_.Loop(b_.I64(0), b_.I64(p_.block_floats()), kLanes,
            [&](Val i) { b_.Store(sums_, b_.F32(0, kLanes), b_.Add(to_, i)); });
    const Val image = b_.Mul(b_.Div(task, blocks), p_.chunk);
    const Val end = b_.Min(b_.Add(image, b_.I64(p_.chunk)), b_.I64(p_.batch));
    if (p_.by_images) {
      b_.Loop(image, end, p_.unit, [&](Val i) { ImagesUnit(i, b_.Min(b_.Add(i, b_.I64(p_.unit)), end)); });
    } else {
      b_.Loop(image, end, 1, [&](Val i) { ImageRows(i); });
    }
    if (epilogue) Finish(*epilogue);
    return MakeStage(b_.Take(), p_.chunks * blocks, scratch_.bytes());
  }

 private:
  Val Minus(Val a, Val c) { return b_.Add(a, b_.Mul(c, -1)); }
  // Elements of x and dy that the first cells of an image's tile row `row` read.
  Val FirstCell(Val image, Val row) {
    int64_t first = 0;
    for (int a = 0; a < 3; ++a) first += p_.problem.axis[a].phases[0].base * place_.stride[a];
    return b_.Add(b_.I64(first), b_.Add(b_.Mul(image, place_.stride[0]), b_.Mul(row, kTile * place_.stride[1])));
  }
  Val FirstCotangent(Val image, Val row) {
    return b_.Add(b_.Mul(image, p_.problem.DstStep(0)), b_.Mul(row, kTile * p_.problem.DstStep(2)));
  }

  // ---- Units --------------------------------------------------------------------------------------------------------
  void ImagesUnit(Val begin, Val end) {
    b_.Loop(begin, end, 1, [&](Val image) {
      const Val slot = b_.Mul(Minus(image, begin), p_.tile_rows);
      b_.Loop(b_.I64(0), b_.I64(p_.tile_rows), 1, [&](Val row) { Transform(image, row, b_.Add(slot, row)); });
    });
    Multiply(b_.Mul(Minus(end, begin), p_.tile_rows), end, b_.I64(0));
  }

  void ImageRows(Val image) {
    b_.Loop(b_.I64(0), b_.I64(p_.tile_rows), p_.unit, [&](Val begin) {
      const bool even = p_.tile_rows % p_.unit == 0;
      const Val rows = even ? b_.I64(p_.unit) : b_.Min(b_.I64(p_.unit), Minus(b_.I64(p_.tile_rows), begin));
      b_.Loop(b_.I64(0), rows, 1, [&](Val i) { Transform(image, b_.Add(begin, i), i); });
      Multiply(rows, image, b_.Add(begin, rows));
    });
  }

  // ---- Transforms ---------------------------------------------------------------------------------------------------
  // A row of tiles along the first axis, row `row` of the image and row `unit_row` of the unit.
  void Transform(Val image, Val row, Val unit_row) {
    source_->Cells(FirstCell(image, row), row, unit_row, in_);
    const int64_t rows = p_.geometry.axis[1].output;
    const Val dy = FirstCotangent(image, row), to = b_.Mul(unit_row, p_.tile_columns * kTile * p_.out_block);
    if (rows % kTile == 0) return Cotangents(dy, to, kTile);
    const Val last = b_.Binary(IrOp::kEq, row, b_.I64(p_.tile_rows - 1));
    b_.If(last, [&] { Cotangents(dy, to, rows % kTile); });
    if (p_.tile_rows > 1) b_.If(b_.Unary(IrOp::kNot, last), [&] { Cotangents(dy, to, kTile); });
  }

  // Of four rows of cotangents the first `height` exist; the others, and columns behind the last, are 0.
  void Cotangents(Val from, Val to, int64_t height) {
    const int64_t columns = p_.geometry.axis[2].output, pitch = p_.out_block;
    const auto transform = [&](int64_t begin, int64_t end, int64_t exist) {
      b_.Loop(b_.I64(begin), b_.I64(end), 1, [&](Val x) {
        b_.Loop(b_.I64(0), b_.I64(pitch), kLanes, [&](Val c) {
          Val count = kNoVal;
          if (p_.out % p_.out_block != 0) count = Minus(b_.I64(p_.out), b_.Add(out_, c));
          const Val at = b_.Add(b_.Add(from, b_.Mul(x, p_.out)), b_.Add(out_, c));
          const Val dst = b_.Add(b_.Add(to, b_.Mul(x, pitch)), c);
          EmitTransform<IrWinograd::Cotangent, kTile, kCells>(
              b_,
              [&](int i) {
                return i < exist ? b_.Load(dy_, b_.Add(at, b_.I64(i * p_.problem.DstStep(2))), kLanes, count)
                                 : b_.F32(0, kLanes);
              },
              [&](int i, Val e) { b_.Store(cotangents_, e, b_.Add(dst, b_.I64(i * p_.cotangents_row()))); });
        });
      });
    };
    transform(0, columns, height);
    if (columns % kTile != 0) transform(columns, p_.tile_columns * kTile, 0);
  }

  // Elements (i, 0) to (i, 5) of the cotangents of the unit's tiles [begin, end).
  void CotangentElements(Val i, Val begin, Val end) {
    const int64_t pitch = p_.out_block;
    const Val place = b_.Mul(b_.Rem(i, 2), kCells * p_.cotangent_element());
    b_.Loop(begin, end, 1, [&](Val t) {
      const Val from = b_.Add(b_.Mul(i, p_.cotangents_row()), b_.Mul(t, kTile * pitch));
      const Val to = b_.Add(place, b_.Mul(t, pitch));
      b_.Loop(b_.I64(0), b_.I64(pitch), kLanes, [&](Val c) {
        EmitTransform<IrWinograd::Cotangent, kTile, kCells>(
            b_, [&](int j) { return b_.Load(cotangents_, b_.Add(b_.Add(from, c), b_.I64(j * pitch)), kLanes); },
            [&](int j, Val e) {
              b_.Store(cotangent_elements_, e, b_.Add(b_.Add(to, c), b_.I64(j * p_.cotangent_element())));
            });
      });
    });
  }

  // Row `i` of elements of both sides, of tiles [begin, end). Two rows have room.
  void Elements(Val i, Val begin, Val end) {
    const Val place = b_.Mul(b_.Rem(i, 2), kCells * unit_.element());
    source_->Elements(i, begin, end, b_.Add(place, b_.Mul(begin, p_.in_block)));
    CotangentElements(i, begin, end);
  }

  // ---- Products -----------------------------------------------------------------------------------------------------
  // Adds those of the unit's `rows` rows of tiles. The next unit begins with tile row `next_row` of image `image`.
  void Multiply(Val rows, Val image, Val next_row) {
    const Val tiles = b_.Mul(rows, p_.tile_columns);
    Elements(b_.I64(0), b_.I64(0), tiles);
    b_.Loop(b_.I64(0), b_.I64(kCells), 1, [&](Val i) {
      b_.Loop(b_.I64(0), b_.I64(kCells), 1, [&](Val j) {
        MultiplyElement(i, j, tiles, image, next_row);
        // A part of the next row's transforms, so short that the processor computes it beside products.
        const int64_t part = CeilDiv(unit_.tiles(), kCells);
        b_.If(b_.Binary(IrOp::kLt, i, b_.I64(kCells - 1)), [&] {
          const Val begin = b_.Min(b_.Mul(j, part), tiles);
          Elements(b_.Add(i, b_.I64(1)), begin, b_.Min(b_.Add(begin, b_.I64(part)), tiles));
        });
      });
    });
  }

  void MultiplyElement(Val row, Val j, Val tiles, Val image, Val next_row) {
    const TileShape& tile = p_.tile;
    const int64_t panels = p_.in_block / tile.rows * (p_.out_block / tile.width());
    const Val place = b_.Add(b_.Mul(b_.Rem(row, 2), kCells), j), element = b_.Add(b_.Mul(row, kCells), j);
    const Val sums = b_.Add(to_, b_.Mul(element, p_.in_block * p_.out_block));
    b_.Loop(b_.I64(0), b_.I64(p_.in_block), tile.rows, [&](Val i) {
      b_.Loop(b_.I64(0), b_.I64(p_.out_block), tile.width(), [&](Val o) {
        TileOperands operands{.row_buffer = elements_,
                              .column_buffer = cotangent_elements_,
                              .row = b_.Add(b_.Mul(place, unit_.element()), i),
                              .column = b_.Add(b_.Mul(place, p_.cotangent_element()), o),
                              .row_pitch = 1,
                              .row_step = p_.in_block,
                              .column_step = p_.out_block};
        const Val panel = b_.Add(b_.Mul(b_.Div(i, tile.rows), p_.out_block / tile.width()), b_.Div(o, tile.width()));
        AddFetches(operands, b_.Add(b_.Mul(element, panels), panel), kWinogradElements * panels, image, next_row);
        // The sums of the next rows come from the second-level cache or beyond: each tile fetches its share.
        const int64_t ahead = tile.rows * p_.out_block, share = ahead / (p_.out_block / tile.width());
        operands.fetches.push_back({.buffer = sums_,
                                    .at = b_.Add(b_.Add(sums, b_.Mul(i, p_.out_block)),
                                                 b_.Add(b_.I64(ahead), b_.Mul(b_.Div(o, tile.width()), share))),
                                    .step = kLanes});
        const Val at = b_.Add(b_.Add(sums, b_.Mul(i, p_.out_block)), o);
        const Sums begin = LoadSums(b_, tile, sums_, at, p_.out_block, {});
        StoreSums(b_, tile, AddTerms(b_, tile, operands, tiles, begin, kUnroll), sums_, at, p_.out_block, {});
      });
    });
  }

  // Memory brings the next unit's operands meanwhile.
  void AddFetches(TileOperands& operands, Val round, int64_t rounds, Val image, Val next_row) {
    const int64_t terms = rounds * unit_.tiles();
    const auto add = [&](int buffer, Val from, int64_t row) {
      const int64_t step = CeilDiv(unit_.rows * kTile * row, terms);
      operands.fetches.push_back(
          {.buffer = buffer, .at = b_.Add(from, b_.Mul(round, unit_.tiles() * step)), .step = step, .to_first = false});
    };
    add(place_.buffer, FirstCell(image, next_row), place_.stride[1]);
    add(dy_, FirstCotangent(image, next_row), p_.problem.DstStep(2));
  }

  // The block's taps and the epilogue, input channel by input channel.
  void Finish(ClusterIr& epilogue) {
    const int taps = scratch_.Take(9 * p_.out_block);
    const bool whole_in = p_.in % p_.in_block == 0, whole_out = p_.out % p_.out_block == 0;
    const Val channels = whole_in ? b_.I64(p_.in_block) : b_.Min(b_.I64(p_.in_block), Minus(b_.I64(p_.in), in_));
    const Val count = whole_out ? b_.I64(p_.out_block) : b_.Min(b_.I64(p_.out_block), Minus(b_.I64(p_.out), out_));
    b_.Loop(b_.I64(0), channels, 1, [&](Val c) {
      b_.Loop(b_.I64(0), count, kLanes, [&](Val o) {
        const Val from = b_.Add(b_.Mul(c, p_.out_block), o);
        EmitSquare<IrWinograd::FilterGradient, kCells, 3>(
            b_,
            [&](int i, int j) {
              return b_.Load(sums_, b_.Add(from, b_.I64((i * kCells + j) * p_.in_block * p_.out_block)), kLanes);
            },
            [&](int i, int j, Val g) { b_.Store(taps, g, b_.Add(o, b_.I64((i * 3 + j) * p_.out_block))); });
      });
      b_.Loop(b_.I64(0), b_.I64(9), 1, [&](Val t) {
        const Val row = b_.Add(b_.Mul(t, p_.in), b_.Add(in_, c));
        EmitRange(b_, epilogue,
                  {.buffer = taps,
                   .base = b_.Mul(t, p_.out_block),
                   .flat = b_.Add(b_.Mul(row, p_.out), out_),
                   .count = count,
                   .whole = p_.out % kLanes == 0,
                   .aligned = p_.out % kLanes == 0,
                   .column = out_});
      });
    });
  }

  const Cluster& cluster_;
  const Plan& p_;
  const WinogradUnit unit_;
  KernelBuilder b_;
  ScratchSpace scratch_{b_};
  WinogradSource::Place place_;
  std::optional<WinogradSource> source_;
  int dy_ = -1, sums_ = -1, elements_ = -1, cotangents_ = -1, cotangent_elements_ = -1;
  Val in_ = kNoVal, out_ = kNoVal;  // first channels of the task
  Val to_ = kNoVal;                 // its first sum
};

// Adds chunks in order, transforms the totals of some input channels to their taps, and runs the epilogue on those.
Stage CombineStage(const Cluster& cluster, const Plan& p) {
  KernelBuilder b(StrCat(Describe(cluster), ", chunks together"));
  const Val task = b.Task();
  ClusterIr epilogue(b, cluster);
  const int sums = b.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
  const int taps = b.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, 0});
  const int64_t floats = kWinogradElements * std::max<int64_t>(1, p.chunks) * p.out;
  const int64_t per_task = TaskSize(p.in, std::max<int64_t>(1, kCombineTask / floats), 1);
  const int64_t pitch = per_task * p.out;  // of a tap's gradients in scratch
  const Val begin = b.Mul(task, per_task), end = b.Min(b.Add(begin, b.I64(per_task)), b.I64(p.in));
  const auto minus = [&](Val a, Val c) { return b.Add(a, b.Mul(c, -1)); };
  b.Loop(begin, end, 1, [&](Val c) {
    const Val row =
        b.Add(b.Mul(b.Div(c, p.in_block), p.out_blocks() * p.block_floats()), b.Mul(b.Rem(c, p.in_block), p.out_block));
    b.Loop(b.I64(0), b.I64(p.out), kLanes, [&](Val o) {
      const Val from = b.Add(row, b.Add(b.Mul(b.Div(o, p.out_block), p.block_floats()), b.Rem(o, p.out_block)));
      const Val to = b.Add(b.Mul(minus(c, begin), p.out), o);
      const Val count = p.out % kLanes == 0 ? kNoVal : minus(b.I64(p.out), o);
      std::vector<Val> totals;  // of a column of elements
      const auto total = [&](int i, int j) {
        if (p.chunks == 0) return b.F32(0, kLanes);
        if (i > 0) return totals[static_cast<size_t>(i)];
        const auto load = [&](Val chunk) {
          std::vector<Val> column;
          for (int64_t k = 0; k < kCells; ++k) {
            const int64_t element = (k * kCells + j) * p.in_block * p.out_block;
            column.push_back(b.Load(sums, b.Add(b.Add(from, chunk), b.I64(element)), kLanes));
          }
          return column;
        };
        totals = b.For(b.I64(1), b.I64(p.chunks), 1, load(b.I64(0)), [&](Val chunk, std::vector<Val> acc) {
          const std::vector<Val> more = load(b.Mul(chunk, p.chunk_floats()));
          for (size_t k = 0; k < acc.size(); ++k) acc[k] = b.Binary(IrOp::kAdd, acc[k], more[k]);
          return acc;
        });
        return totals[0];
      };
      EmitSquare<IrWinograd::FilterGradient, kCells, 3>(
          b, total, [&](int i, int j, Val g) { b.Store(taps, g, b.Add(to, b.I64((i * 3 + j) * pitch)), count); });
    });
  });
  b.Loop(b.I64(0), b.I64(9), 1, [&](Val t) {
    EmitRange(b, epilogue,
              {.buffer = taps,
               .base = b.Mul(t, pitch),
               .flat = b.Add(b.Mul(t, p.in * p.out), b.Mul(begin, p.out)),
               .count = b.Mul(minus(end, begin), p.out),
               .whole = p.out % kLanes == 0,
               .aligned = p.out % kLanes == 0,
               .blocks = p.out % kRandomBlock == 0 || (p.in * p.out % kRandomBlock == 0 && pitch % kRandomBlock == 0)});
  });
  return MakeStage(b.Take(), CeilDiv(p.in, per_task), 9 * pitch * 4 + kLanes * 4);
}

}  // namespace

LowerResult LowerWinogradFilterGradient(const Cluster& cluster, const TileLimits& limits) {
  const Node& anchor = cluster.node(*cluster.anchor);
  const Plan plan =
      MakePlan(ConvGeometryOf(anchor.attrs, cluster.type(anchor.inputs[0]).shape, anchor.outputs[0].shape), limits);
  Lowering lowering;
  lowering.kernel = StrCat("jit, winograd filter gradient ", plan.tile.rows, "x", plan.tile.vectors, ", units of ",
                           plan.UnitLayout().tiles(), " tiles, by ", plan.chunks, " chunks, ",
                           plan.chunks * plan.in_blocks() * plan.out_blocks(), " tasks");
  lowering.in_place = PointwisePairs(cluster);
  if (plan.chunks > 0) lowering.stages.push_back(SumKernel(cluster, plan).Make());
  if (plan.chunks == 1) return lowering;
  lowering.workspace_bytes = plan.chunks * plan.chunk_floats() * 4;
  lowering.stages.push_back(CombineStage(cluster, plan));
  return lowering;
}

}  // namespace weir::jit
