// Winograd's convolution and its input gradient. A task walks through units of tiles: what they read is copied with its
// padding, transformed, multiplied panel by panel with the transformed filter, and transformed back into a unit of
// outputs in scratch, over which the epilogue and the tail run. All of it stays in the second-level cache.
#include <optional>
#include <utility>
#include <vector>

#include "weir/backends/llvm/conv_accept.h"
#include "weir/backends/llvm/conv_tail.h"
#include "weir/backends/llvm/winograd_ir.h"
#include "weir/backends/llvm/winograd_plan.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kUnroll = 4;  // terms of a product
constexpr int kCells = kWinogradCells, kTile = kWinogradTile;

class WinogradLowering {
 public:
  WinogradLowering(const Cluster& cluster, const ConvProblem& problem, const TileLimits& limits)
      : cluster_(cluster),
        anchor_(cluster.node(*cluster.anchor)),
        plan_(problem, limits),
        p_(plan_.problem),
        source_(plan_.Source()),
        b_(Describe(cluster)) {
    if (cluster.tail) tail_.emplace(b_, cluster, p_, plan_.unit_level());
  }

  Lowering Lower() {
    const int filter = cluster_.input_index(anchor_.inputs[1]);
    Lowering lowering;
    lowering.stages.push_back(TransformFilterStage(plan_, filter, StrCat(Describe(cluster_), ", filter")));
    EmitKernel();
    lowering.kernel = StrCat("jit, winograd ", plan_.product.rows, "x", plan_.product.vectors, ", units of ",
                             plan_.unit_tiles(), " tiles", cluster_.prologue > 0 ? ", computed as copied" : "",
                             tail_ ? ", pooled" : "", ", ", plan_.tasks, " tasks");
    lowering.in_place = PointwisePairs(cluster_);
    lowering.workspace_bytes = plan_.panels * plan_.filter_panel() * 4;
    lowering.stages.push_back(MakeStage(b_.Take(), plan_.tasks, scratch_bytes_));
    return lowering;
  }

 private:
  using Range = ConvTail::Range;

  Val Minus(Val a, Val c) { return b_.Add(a, b_.Mul(c, -1)); }
  // Scratch for some floats.
  int Take(int64_t floats) {
    const int buffer = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, scratch_bytes_});
    scratch_bytes_ += RoundUp(floats * 4, 64);
    return buffer;
  }

  void EmitKernel() {
    const Val task = b_.Task();
    ClusterIr epilogue(b_, cluster_);
    epilogue_ = &epilogue;
    AnchorOperand operand(b_, cluster_);
    operand_ = &operand;
    src_ = source_.copied()
               ? Take(source_.scratch_floats())
               : b_.Buffer({IrBuffer::Kind::kInput, cluster_.input_index(anchor_.inputs[0]), Elem::kF32, 0});
    filter_ = b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
    transformed_ = Take(kWinogradElements * plan_.source_element());
    products_ = Take(kWinogradElements * plan_.product_element());
    sums_ = Take(plan_.unit_floats());
    ClearRest();
    const Val first_panel = b_.Mul(b_.Rem(task, plan_.parts), plan_.part_panels);
    panels_ = {first_panel, b_.Min(b_.Add(first_panel, b_.I64(plan_.part_panels)), b_.I64(plan_.panels))};
    const Val region = b_.Div(task, plan_.parts);
    const Val image = b_.Mul(b_.Div(region, plan_.blocks), plan_.images);
    const Val last = b_.Min(b_.Add(image, b_.I64(plan_.images)), b_.I64(p_.batch));
    if (plan_.by_images) {
      b_.Loop(image, last, plan_.unit, [&](Val i) { ImagesUnit({i, b_.Min(b_.Add(i, b_.I64(plan_.unit)), last)}); });
      return;
    }
    const Val begin = b_.Mul(b_.Rem(region, plan_.blocks), plan_.block);
    const Range rows{begin, b_.Min(b_.Add(begin, b_.I64(plan_.block)), b_.I64(plan_.tile_rows))};
    b_.Loop(image, last, 1, [&](Val i) { ImageRows(i, rows); });
  }

  // Tiles that fill the last group up are multiplied too: with zeros, until they have been tiles of some unit.
  void ClearRest() {
    const int64_t pitch = plan_.source_pitch(), all = plan_.groups() * plan_.product.rows * pitch;
    const int64_t least = plan_.by_images ? plan_.image_tiles() : plan_.tile_columns;
    const bool even = plan_.by_images ? p_.batch % plan_.unit == 0 && plan_.images % plan_.unit == 0
                                      : plan_.tile_rows % plan_.block == 0 && plan_.block % plan_.unit == 0;
    const int64_t begin = (even ? plan_.unit_tiles() : least) * pitch;
    if (begin == all) return;
    b_.Loop(b_.I64(0), b_.I64(kWinogradElements), 1, [&](Val e) {
      b_.Loop(b_.I64(begin), b_.I64(all), kLanes,
              [&](Val i) { b_.Store(transformed_, b_.F32(0, kLanes), b_.Add(b_.Mul(e, plan_.source_element()), i)); });
    });
  }

  // Output channels of the task.
  Range Channels() {
    if (plan_.parts == 1) return {b_.I64(0), b_.I64(p_.dst_channels)};
    const int64_t width = plan_.product.width();
    return {b_.Mul(panels_.begin, width), b_.Min(b_.Mul(panels_.end, width), b_.I64(p_.dst_channels))};
  }

  // Element of the source that the first cell of an image's first tile reads, the image's copy or itself being at 0.
  int64_t FirstCell() const {
    int64_t at = 0;
    for (int a = 0; a < 3; ++a) at += p_.axis[a].phases[0].base * source_.stride(a) + source_.origin(a);
    return at;
  }

  // ---- Units --------------------------------------------------------------------------------------------------------
  void ImagesUnit(Range images) {
    b_.Loop(images.begin, images.end, 1, [&](Val image) {
      const Val slot = Minus(image, images.begin);
      Val src = b_.I64(FirstCell());
      if (source_.copied()) {
        source_.Copy(b_, *operand_, src_, {image, b_.I64(0), slot, b_.I64(source_.slabs())}, b_.I64(0),
                     b_.I64(source_.slabs()));
        src = b_.Add(src, b_.Mul(slot, source_.image_floats()));
      } else {
        src = b_.Add(src, b_.Mul(image, source_.image_floats()));
      }
      const Val tiles = b_.Mul(slot, plan_.image_tiles());
      b_.Loop(b_.I64(0), b_.I64(plan_.tile_rows), 1, [&](Val row) {
        TransformRow(b_.Add(src, b_.Mul(row, kTile * source_.stride(1))),
                     b_.Add(tiles, b_.Mul(row, plan_.tile_columns)));
      });
    });
    const Val count = Minus(images.end, images.begin);
    Multiply(b_.Mul(count, plan_.image_tiles()), [&](Val panel) {
      b_.Loop(b_.I64(0), count, 1, [&](Val slot) {
        b_.Loop(b_.I64(0), b_.I64(plan_.tile_rows), 1, [&](Val row) {
          const Val tile = b_.Add(b_.Mul(slot, plan_.image_tiles()), b_.Mul(row, plan_.tile_columns));
          StoreRow(panel, tile, row, b_.Add(b_.Mul(slot, p_.DstStep(0)), b_.Mul(row, kTile * p_.DstStep(2))));
        });
      });
    });
    const Val begin = b_.Mul(images.begin, p_.DstStep(0));
    Finish({begin, b_.Mul(images.end, p_.DstStep(0))}, [&] { tail_->Pool(kNoVal, images, Channels(), sums_, begin); });
  }

  void ImageRows(Val image, Range rows) {
    const Val first = b_.Mul(rows.begin, kTile);
    // Slabs of the task's copy that belong to it: up to the first of the next task of the image.
    const Val all = b_.I64(source_.slabs());
    const Val own = plan_.blocks == 1 ? all
                                      : b_.Select(b_.Binary(IrOp::kLt, rows.end, b_.I64(plan_.tile_rows)),
                                                  Minus(b_.Mul(rows.end, kTile), first), all);
    const ConvSource::Box box{image, first, b_.I64(0), own};
    b_.For(rows.begin, rows.end, plan_.unit, {b_.I64(0)}, [&](Val begin, const std::vector<Val>& copied) {
      const Range unit{begin, b_.Min(b_.Add(begin, b_.I64(plan_.unit)), rows.end)};
      std::vector<Val> slabs = copied;
      Val src = b_.I64(FirstCell());
      if (source_.copied()) {
        slabs[0] = source_.SlabsFor(b_, Minus(b_.Mul(unit.end, kTile), first));
        source_.Copy(b_, *operand_, src_, box, copied[0], slabs[0]);
        src = b_.Add(src, b_.Mul(first, -source_.stride(1)));
      } else {
        src = b_.Add(src, b_.Mul(image, source_.image_floats()));
      }
      RowsUnit(image, unit, src);
      return slabs;
    });
  }

  void RowsUnit(Val image, Range rows, Val src) {
    b_.Loop(rows.begin, rows.end, 1, [&](Val row) {
      TransformRow(b_.Add(src, b_.Mul(row, kTile * source_.stride(1))),
                   b_.Mul(Minus(row, rows.begin), plan_.tile_columns));
    });
    Multiply(b_.Mul(Minus(rows.end, rows.begin), plan_.tile_columns), [&](Val panel) {
      b_.Loop(rows.begin, rows.end, 1, [&](Val row) {
        const Val within = Minus(row, rows.begin);
        StoreRow(panel, b_.Mul(within, plan_.tile_columns), row, b_.Mul(within, kTile * p_.DstStep(2)));
      });
    });
    const Range outputs{b_.Mul(rows.begin, kTile), b_.Min(b_.Mul(rows.end, kTile), b_.I64(p_.axis[1].dst))};
    const Val start = b_.Mul(image, p_.DstStep(0));
    const Val begin = b_.Add(start, b_.Mul(outputs.begin, p_.DstStep(2)));
    Finish({begin, b_.Add(start, b_.Mul(outputs.end, p_.DstStep(2)))},
           [&] { tail_->Pool(image, outputs, Channels(), sums_, begin); });
  }

  // ---- Transforms and products --------------------------------------------------------------------------------------
  // A row of tiles, whose first cell is element `src` of the source, to tile `tile` of the unit and those behind.
  void TransformRow(Val src, Val tile) {
    const int64_t channels = p_.src_channels;
    b_.Loop(b_.I64(0), b_.I64(plan_.tile_columns), 1, [&](Val t) {
      b_.Loop(b_.I64(0), b_.I64(plan_.source_pitch()), kLanes, [&](Val c) {
        const Val from = b_.Add(b_.Add(src, b_.Mul(t, kTile * source_.stride(2))), c);
        // In a copy there is room behind the last channel.
        const Val count = channels % kLanes == 0 || source_.copied() ? kNoVal : Minus(b_.I64(channels), c);
        const auto cell = [&](int i, int j) {
          return b_.Load(src_, b_.Add(from, b_.I64(i * source_.stride(1) + j * source_.stride(2))), kLanes, count);
        };
        const Val to = b_.Add(b_.Mul(b_.Add(tile, t), plan_.source_pitch()), c);
        const auto store = [&](int i, int j, Val v) {
          b_.Store(transformed_, v, b_.Add(to, b_.I64((i * kCells + j) * plan_.source_element())));
        };
        EmitSquare<kCells, kCells>(b_, IrWinograd::Source, cell, store);
      });
    });
  }

  // Products of the unit's `tiles` tiles, panel by panel, handed on by store_panel(panel).
  template <class StorePanel>
  void Multiply(Val tiles, const StorePanel& store_panel) {
    const TileShape& tile = plan_.product;
    const int64_t pitch = plan_.source_pitch(), width = tile.width();
    const bool even = b_.IsConst(tiles);
    const Val groups = even ? b_.I64(CeilDiv(b_.ConstBits(tiles), tile.rows))
                            : b_.Div(b_.Add(tiles, b_.I64(tile.rows - 1)), tile.rows);
    b_.Loop(panels_.begin, panels_.end, 1, [&](Val panel) {
      b_.Loop(b_.I64(0), b_.I64(kWinogradElements), 1, [&](Val e) {
        const Val filter = b_.Add(b_.Mul(panel, plan_.filter_panel()), b_.Mul(e, p_.src_channels * width));
        b_.Loop(b_.I64(0), groups, 1, [&](Val g) {
          const Val row = b_.Add(b_.Mul(e, plan_.source_element()), b_.Mul(g, tile.rows * pitch));
          const TileOperands operands{.row_buffer = transformed_,
                                      .column_buffer = filter_,
                                      .row = row,
                                      .column = filter,
                                      .row_pitch = pitch,
                                      .row_step = 1,
                                      .column_step = width};
          const Sums sums = AddTerms(b_, tile, operands, b_.I64(p_.src_channels), ZeroSums(b_, tile), kUnroll);
          const Val to = b_.Add(b_.Mul(e, plan_.product_element()), b_.Mul(g, tile.rows * width));
          StoreSums(b_, tile, sums, products_, to, width, {});
        });
      });
      store_panel(panel);
    });
  }

  // A row of tiles from `tile` on, row `tile_row` of its image, to element `to` of the unit's outputs.
  void StoreRow(Val panel, Val tile, Val tile_row, Val to) {
    const int64_t rows = p_.axis[1].dst, columns = p_.axis[2].dst;
    const auto tiles = [&](int64_t height) {
      const int64_t whole = columns / kTile;
      b_.Loop(b_.I64(0), b_.I64(whole), 1, [&](Val t) { StoreTile(panel, b_.Add(tile, t), t, height, kTile, to); });
      if (columns % kTile == 0) return;
      StoreTile(panel, b_.Add(tile, b_.I64(whole)), b_.I64(whole), height, columns % kTile, to);
    };
    // Of a unit of images, there is no room behind an image's last row.
    if (!plan_.by_images || rows % kTile == 0) return tiles(kTile);
    const Val last = b_.Binary(IrOp::kEq, tile_row, b_.I64(plan_.tile_rows - 1));
    b_.If(last, [&] { tiles(rows % kTile); });
    if (plan_.tile_rows > 1) b_.If(b_.Unary(IrOp::kNot, last), [&] { tiles(kTile); });
  }

  void StoreTile(Val panel, Val tile, Val tile_column, int64_t height, int64_t width, Val to) {
    const int64_t channels = p_.dst_channels, panel_width = plan_.product.width();
    const Val first = b_.Mul(panel, panel_width);
    const auto vector = [&](Val v) {
      const Val column = b_.Add(first, v), from = b_.Add(b_.Mul(tile, panel_width), v);
      const Val count = channels % kLanes == 0 ? kNoVal : Minus(b_.I64(channels), column);
      const Val at = b_.Add(b_.Add(to, b_.Mul(tile_column, kTile * channels)), column);
      const auto load = [&](int i, int j) {
        return b_.Load(products_, b_.Add(from, b_.I64((i * kCells + j) * plan_.product_element())), kLanes);
      };
      const auto store = [&](int i, int j, Val y) {
        if (i < height && j < width) b_.Store(sums_, y, b_.Add(at, b_.I64(i * p_.DstStep(2) + j * channels)), count);
      };
      EmitSquare<kCells, kTile>(b_, IrWinograd::Output, load, store);
    };
    // The last panel may have vectors beyond the last channel.
    const int64_t vectors = CeilDiv(channels, kLanes);
    if (vectors % plan_.product.vectors == 0) {
      b_.Loop(b_.I64(0), b_.I64(panel_width), kLanes, vector);
    } else {
      b_.Loop(b_.I64(0), b_.Min(b_.I64(panel_width), Minus(b_.I64(vectors * kLanes), first)), kLanes, vector);
    }
  }

  // ---- The epilogue -------------------------------------------------------------------------------------------------
  // Over the unit's outputs, elements [begin, end) of the whole, and then the tail.
  template <class PoolUnit>
  void Finish(Range flat, const PoolUnit& pool) {
    // Over the sums, which have been read by then.
    if (tail_ && tail_->kept()) epilogue_->Keep(tail_->operand(), sums_, flat.begin);
    const int64_t channels = p_.dst_channels;
    EpilogueRange range{.buffer = sums_, .aligned = channels % kLanes == 0};
    if (plan_.parts == 1) {
      range.base = b_.I64(0);
      range.flat = flat.begin;
      range.count = Minus(flat.end, flat.begin);
      range.whole = channels % kLanes == 0;
      // Units begin with rows of tiles of an image, or with images.
      const int64_t image = p_.DstStep(0);
      const int64_t granularity = plan_.by_images ? image : std::gcd(image, kTile * p_.DstStep(2));
      range.blocks = granularity % kRandomBlock == 0;
      EmitRange(b_, *epilogue_, range);
    } else {
      const Range task = Channels();
      b_.Loop(flat.begin, flat.end, channels, [&](Val pixel) {
        range.base = b_.Add(Minus(pixel, flat.begin), task.begin);
        range.flat = b_.Add(pixel, task.begin);
        range.count = Minus(task.end, task.begin);
        range.whole = channels % kLanes == 0;
        range.column = task.begin;
        EmitRange(b_, *epilogue_, range);
      });
    }
    if (tail_) pool();
  }

  const Cluster& cluster_;
  const Node& anchor_;
  const WinogradPlan plan_;
  const ConvProblem& p_;
  const ConvSource source_;
  KernelBuilder b_;
  std::optional<ConvTail> tail_;
  ClusterIr* epilogue_ = nullptr;
  AnchorOperand* operand_ = nullptr;
  int src_ = -1, filter_ = -1, transformed_ = -1, products_ = -1, sums_ = -1;
  int64_t scratch_bytes_ = 0;
  Range panels_;
};

}  // namespace

LowerResult LowerWinograd(const Cluster& cluster, const TileLimits& limits) {
  const Node& anchor = cluster.node(*cluster.anchor);
  const Node* tail = cluster.tail ? &cluster.node(*cluster.tail) : nullptr;
  return WinogradLowering(cluster, ConvProblemOf(*cluster.graph, anchor, tail), limits).Lower();
}

}  // namespace weir::jit
