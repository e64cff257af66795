// Winograd's filter gradient. A task sums one chunk of images for a block of channels on both sides: units of tiles are
// transformed, and their products added to the block's 36 matrices of sums, which lie in the workspace and stay in the
// second-level cache meanwhile. A second kernel adds the chunks, transforms back, and runs the epilogue.
#include <algorithm>
#include <utility>

#include "weir/backends/llvm/conv_source.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/backends/llvm/winograd_ir.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kBlock = 64;       // channels: 36 matrices of so many squared are half a second-level cache
constexpr double kLeastFlops = 4e6;  // of a task, of the direct sum
constexpr int64_t kTasks = 8;
constexpr int64_t kUnitBytes = 1024 * 1024;  // of transforms, beside the sums
constexpr int64_t kMostTiles = 64;           // of a unit: terms of a product
constexpr int64_t kUnroll = 4;
constexpr int64_t kCombineTask = int64_t{1} << 17;  // floats added by a task
constexpr int kCells = kWinogradCells, kTile = kWinogradTile;

// Channels of one side in equal blocks of whole vectors.
int64_t BlockOf(int64_t channels, int64_t most) { return RoundUp(CeilDiv(channels, CeilDiv(channels, most)), kLanes); }

struct Plan {
  ConvProblem covered;  // the forward problem, outputs up to the end of the last tiles
  ConvGeometry geometry;
  int64_t batch = 0, tile_rows = 1, tile_columns = 1;
  int64_t chunk = 1, chunks = 0;        // images of a chunk
  int64_t in = 0, out = 0;              // channels
  int64_t in_block = 1, out_block = 1;  // of a task
  bool by_images = false;
  int64_t unit = 1;  // images, or rows of tiles of one
  TileShape tile;

  int64_t image_tiles() const { return tile_rows * tile_columns; }
  int64_t unit_tiles() const { return unit * (by_images ? image_tiles() : tile_columns); }
  int64_t in_blocks() const { return CeilDiv(in, in_block); }
  int64_t out_blocks() const { return CeilDiv(out, out_block); }
  int64_t block_floats() const { return kWinogradElements * in_block * out_block; }
  int64_t chunk_floats() const { return in_blocks() * out_blocks() * block_floats(); }
  int64_t source_element() const { return unit_tiles() * in_block + kLanes; }
  int64_t cotangent_element() const { return unit_tiles() * out_block + kLanes; }
};

Plan MakePlan(const ConvGeometry& geometry, const TileLimits& limits) {
  Plan p;
  p.covered = ForwardProblem(geometry);
  p.geometry = geometry;
  for (int a : {1, 2}) {
    ConvAxis& axis = p.covered.axis[a];
    axis.dst = axis.phases[0].count = RoundUp(axis.dst, kWinogradTile);
  }
  p.batch = geometry.batch;
  p.tile_rows = WinogradTiles(geometry.axis[1].output);
  p.tile_columns = WinogradTiles(geometry.axis[2].output);
  p.chunk = std::min(WinogradGradientImages(p.image_tiles()), std::max<int64_t>(1, p.batch));
  p.chunks = CeilDiv(p.batch, p.chunk);
  p.in = geometry.in_channels;
  p.out = geometry.out_channels;
  p.in_block = BlockOf(p.in, kBlock);
  p.out_block = BlockOf(p.out, kBlock);
  const double flops = std::max(p.covered.flops(), 1.0);
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
      : cluster_(cluster),
        p_(plan),
        source_(plan.covered, plan.by_images ? 0 : 1, plan.by_images ? 1 : plan.covered.axis[1].dst,
                plan.by_images ? plan.unit : 1),
        b_(StrCat(Describe(cluster), ", chunks")) {}

  Stage Make() {
    const Node& anchor = cluster_.node(*cluster_.anchor);
    const Val task = b_.Task();
    AnchorOperand operand(b_, cluster_);
    operand_ = &operand;
    const auto input = [&](size_t i) {
      return b_.Buffer({IrBuffer::Kind::kInput, cluster_.input_index(anchor.inputs[i]), Elem::kF32, 0});
    };
    src_ = source_.copied() ? Take(source_.scratch_floats()) : input(0);
    dy_ = input(1);
    sums_ = b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
    transformed_ = Take(kWinogradElements * p_.source_element());
    cotangents_ = Take(kWinogradElements * p_.cotangent_element());
    const int64_t blocks = p_.in_blocks() * p_.out_blocks();
    const Val block = b_.Rem(task, blocks);
    in_ = b_.Mul(b_.Div(block, p_.out_blocks()), p_.in_block);
    out_ = b_.Mul(b_.Rem(block, p_.out_blocks()), p_.out_block);
    to_ = b_.Mul(task, p_.block_floats());
    b_.Loop(b_.I64(0), b_.I64(p_.block_floats()), kLanes,
            [&](Val i) { b_.Store(sums_, b_.F32(0, kLanes), b_.Add(to_, i)); });
    const Val image = b_.Mul(b_.Div(task, blocks), p_.chunk);
    const Val end = b_.Min(b_.Add(image, b_.I64(p_.chunk)), b_.I64(p_.batch));
    if (p_.by_images) {
      b_.Loop(image, end, p_.unit, [&](Val i) { ImagesUnit(i, b_.Min(b_.Add(i, b_.I64(p_.unit)), end)); });
    } else {
      b_.Loop(image, end, 1, [&](Val i) { ImageRows(i); });
    }
    return MakeStage(b_.Take(), p_.chunks * blocks, scratch_bytes_);
  }

 private:
  Val Minus(Val a, Val c) { return b_.Add(a, b_.Mul(c, -1)); }
  int Take(int64_t floats) {
    const int buffer = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, scratch_bytes_});
    scratch_bytes_ += RoundUp(floats * 4, 64);
    return buffer;
  }
  // Element of the source that the first cell of an image's first tile reads, the image's copy or itself being at 0.
  int64_t FirstCell() const {
    int64_t at = 0;
    for (int a = 0; a < 3; ++a) at += p_.covered.axis[a].phases[0].base * source_.stride(a) + source_.origin(a);
    return at;
  }
  Val CotangentRow(Val image, Val row) {
    const int64_t columns = p_.geometry.axis[2].output * p_.out;
    return b_.Add(b_.Mul(image, p_.geometry.axis[1].output * columns), b_.Mul(row, kTile * columns));
  }

  // ---- Units --------------------------------------------------------------------------------------------------------
  void ImagesUnit(Val begin, Val end) {
    b_.Loop(begin, end, 1, [&](Val image) {
      const Val slot = Minus(image, begin), slabs = b_.I64(source_.slabs());
      Val src = b_.I64(FirstCell());
      if (source_.copied()) source_.Copy(b_, *operand_, src_, {image, b_.I64(0), slot, slabs}, b_.I64(0), slabs);
      src = b_.Add(src, b_.Mul(source_.copied() ? slot : image, source_.image_floats()));
      const Val tiles = b_.Mul(slot, p_.image_tiles());
      b_.Loop(b_.I64(0), b_.I64(p_.tile_rows), 1, [&](Val row) {
        TransformRow(b_.Add(src, b_.Mul(row, kTile * source_.stride(1))), image, row,
                     b_.Add(tiles, b_.Mul(row, p_.tile_columns)));
      });
    });
    Multiply(b_.Mul(Minus(end, begin), p_.image_tiles()));
  }

  void ImageRows(Val image) {
    const ConvSource::Box box{image, b_.I64(0), b_.I64(0), b_.I64(source_.slabs())};
    b_.For(b_.I64(0), b_.I64(p_.tile_rows), p_.unit, {b_.I64(0)}, [&](Val begin, const std::vector<Val>& copied) {
      const bool even = p_.tile_rows % p_.unit == 0;
      const Val rows = even ? b_.I64(p_.unit) : b_.Min(b_.I64(p_.unit), Minus(b_.I64(p_.tile_rows), begin));
      std::vector<Val> slabs = copied;
      Val src = b_.I64(FirstCell());
      if (source_.copied()) {
        slabs[0] = source_.SlabsFor(b_, b_.Mul(b_.Add(begin, rows), kTile));
        source_.Copy(b_, *operand_, src_, box, copied[0], slabs[0]);
      } else {
        src = b_.Add(src, b_.Mul(image, source_.image_floats()));
      }
      b_.Loop(b_.I64(0), rows, 1, [&](Val i) {
        const Val row = b_.Add(begin, i);
        TransformRow(b_.Add(src, b_.Mul(row, kTile * source_.stride(1))), image, row, b_.Mul(i, p_.tile_columns));
      });
      Multiply(b_.Mul(rows, p_.tile_columns));
      return slabs;
    });
  }

  // ---- Transforms ---------------------------------------------------------------------------------------------------
  // A row of tiles, row `row` of the image, to tile `tile` of the unit and those behind.
  void TransformRow(Val src, Val image, Val row, Val tile) {
    b_.Loop(b_.I64(0), b_.I64(p_.tile_columns), 1, [&](Val t) {
      Channels(p_.in, p_.in_block, in_, source_.copied(), [&](Val c, Val count) {
        const Val from = b_.Add(b_.Add(src, b_.Mul(t, kTile * source_.stride(2))), b_.Add(in_, c));
        const Val to = b_.Add(b_.Mul(b_.Add(tile, t), p_.in_block), c);
        EmitSquare<kCells, kCells>(
            b_, IrWinograd::Source,
            [&](int i, int j) {
              return b_.Load(src_, b_.Add(from, b_.I64(i * source_.stride(1) + j * source_.stride(2))), kLanes, count);
            },
            [&](int i, int j, Val v) {
              b_.Store(transformed_, v, b_.Add(to, b_.I64((i * kCells + j) * p_.source_element())));
            });
      });
    });
    const int64_t rows = p_.geometry.axis[1].output, columns = p_.geometry.axis[2].output;
    const Val dy = CotangentRow(image, row);
    const auto tiles = [&](int64_t height) {
      b_.Loop(b_.I64(0), b_.I64(columns / kTile), 1,
              [&](Val t) { CotangentTile(b_.Add(dy, b_.Mul(t, kTile * p_.out)), b_.Add(tile, t), height, kTile); });
      if (columns % kTile == 0) return;
      const int64_t whole = columns / kTile;
      CotangentTile(b_.Add(dy, b_.I64(whole * kTile * p_.out)), b_.Add(tile, b_.I64(whole)), height, columns % kTile);
    };
    if (rows % kTile == 0) return tiles(kTile);
    const Val last = b_.Binary(IrOp::kEq, row, b_.I64(p_.tile_rows - 1));
    b_.If(last, [&] { tiles(rows % kTile); });
    if (p_.tile_rows > 1) b_.If(b_.Unary(IrOp::kNot, last), [&] { tiles(kTile); });
  }

  // The first `height` x `width` cotangents of a tile exist; the others are 0.
  void CotangentTile(Val from, Val tile, int64_t height, int64_t width) {
    const int64_t row = p_.geometry.axis[2].output * p_.out;
    Channels(p_.out, p_.out_block, out_, false, [&](Val c, Val count) {
      const Val at = b_.Add(from, b_.Add(out_, c)), to = b_.Add(b_.Mul(tile, p_.out_block), c);
      EmitSquare<kTile, kCells>(
          b_, IrWinograd::Cotangent,
          [&](int i, int j) {
            if (i >= height || j >= width) return b_.F32(0, kLanes);
            return b_.Load(dy_, b_.Add(at, b_.I64(i * row + j * p_.out)), kLanes, count);
          },
          [&](int i, int j, Val e) {
            b_.Store(cotangents_, e, b_.Add(to, b_.I64((i * kCells + j) * p_.cotangent_element())));
          });
    });
  }

  // body(channel of the block, lanes that exist) for a block's vectors of `channels` from `first` on. Lanes and vectors
  // beyond the last channel are computed too, of whatever lies there if there is `room`, else of zeros.
  template <class Body>
  void Channels(int64_t channels, int64_t block, Val first, bool room, const Body& body) {
    const bool whole = channels % block == 0;
    b_.Loop(b_.I64(0), b_.I64(block), kLanes, [&](Val c) {
      Val count = kNoVal;
      if (!whole && !(room && RoundUp(channels, kLanes) % block == 0)) {
        const Val left = Minus(b_.I64(channels), b_.Add(first, c));
        count = b_.Select(b_.Binary(IrOp::kLt, left, b_.I64(0)), b_.I64(0), left);
      }
      body(c, count);
    });
  }

  // ---- Products -----------------------------------------------------------------------------------------------------
  // Adds those of the unit's `tiles` tiles.
  void Multiply(Val tiles) {
    const TileShape& tile = p_.tile;
    b_.Loop(b_.I64(0), b_.I64(kWinogradElements), 1, [&](Val e) {
      const Val rows = b_.Mul(e, p_.source_element()), columns = b_.Mul(e, p_.cotangent_element());
      const Val sums = b_.Add(to_, b_.Mul(e, p_.in_block * p_.out_block));
      b_.Loop(b_.I64(0), b_.I64(p_.in_block), tile.rows, [&](Val i) {
        b_.Loop(b_.I64(0), b_.I64(p_.out_block), tile.width(), [&](Val o) {
          const TileOperands operands{.row_buffer = transformed_,
                                      .column_buffer = cotangents_,
                                      .row = b_.Add(rows, i),
                                      .column = b_.Add(columns, o),
                                      .row_pitch = 1,
                                      .row_step = p_.in_block,
                                      .column_step = p_.out_block};
          const Val at = b_.Add(b_.Add(sums, b_.Mul(i, p_.out_block)), o);
          const Sums begin = LoadSums(b_, tile, sums_, at, p_.out_block, {});
          StoreSums(b_, tile, AddTerms(b_, tile, operands, tiles, begin, kUnroll), sums_, at, p_.out_block, {});
        });
      });
    });
  }

  const Cluster& cluster_;
  const Plan& p_;
  const ConvSource source_;
  KernelBuilder b_;
  AnchorOperand* operand_ = nullptr;
  int src_ = -1, dy_ = -1, sums_ = -1, transformed_ = -1, cotangents_ = -1;
  int64_t scratch_bytes_ = 0;
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
      EmitSquare<kCells, 3>(b, IrWinograd::FilterGradient, total, [&](int i, int j, Val g) {
        b.Store(taps, g, b.Add(to, b.I64((i * 3 + j) * pitch)), count);
      });
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
  lowering.kernel =
      StrCat("jit, winograd filter gradient ", plan.tile.rows, "x", plan.tile.vectors, ", units of ", plan.unit_tiles(),
             " tiles, by ", plan.chunks, " chunks, ", plan.chunks * plan.in_blocks() * plan.out_blocks(), " tasks");
  lowering.in_place = PointwisePairs(cluster);
  lowering.workspace_bytes = plan.chunks * plan.chunk_floats() * 4;
  if (plan.chunks > 0) lowering.stages.push_back(SumKernel(cluster, plan).Make());
  lowering.stages.push_back(CombineStage(cluster, plan));
  return lowering;
}

}  // namespace weir::jit
