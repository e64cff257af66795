// Winograd's convolution and its input gradient. A task walks through units of tiles: what they read is copied with its
// padding, transformed, multiplied panel by panel with the transformed filter, and transformed back into a unit of
// outputs in scratch, over which the epilogue and the tail run. All of it stays in the second-level cache.
#include <algorithm>
#include <numeric>
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
// Terms that a filter too large for the second-level cache is fetched ahead.
constexpr int64_t kFarAhead = 64;
constexpr int kCells = kWinogradCells, kTile = kWinogradTile;

class WinogradLowering {
 public:
  WinogradLowering(const Cluster& cluster, const ConvProblem& problem, const TileLimits& limits)
      : cluster_(cluster),
        anchor_(cluster.node(*cluster.anchor)),
        plan_(problem, limits),
        p_(plan_.problem),
        copies_(plan_.Source()),
        unit_(plan_.UnitLayout()),
        copied_(cluster.prologue > 0),
        b_(Describe(cluster)) {
    short_epilogue_ = HasShortEpilogue(cluster);
    if (cluster.tail) tail_.emplace(b_, cluster, p_, plan_.unit_level());
  }

  Lowering Lower() {
    const int filter = cluster_.input_index(anchor_.inputs[1]);
    Lowering lowering;
    lowering.stages.push_back(TransformFilterStage(plan_, filter, StrCat(Describe(cluster_), ", filter")));
    EmitKernel();
    lowering.kernel = StrCat("jit, winograd ", plan_.product.rows, "x", plan_.product.vectors, ", units of ",
                             unit_.tiles(), " tiles", cluster_.prologue > 0 ? ", computed as copied" : "",
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
    if (copied_) {
      place_ = {Take(copies_.scratch_floats()), true, {copies_.stride(0), copies_.stride(1), copies_.stride(2)}};
    } else {
      const int input = cluster_.input_index(anchor_.inputs[0]);
      place_ = WinogradSource::InPlace(p_, b_.Buffer({IrBuffer::Kind::kInput, input, Elem::kF32, 0}));
    }
    filter_ = b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
    const int cells = Take(kCells * unit_.cells_row());
    elements_ = Take(kCells * unit_.element());
    source_.emplace(b_, p_, unit_, place_, cells, elements_);
    products_ = Take(kCells * plan_.product_element());
    outputs_ = Take(kCells * plan_.outputs_row());
    if (!short_epilogue_ || (tail_ && tail_->kept())) sums_ = Take(plan_.unit_floats());
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
    const int64_t pitch = unit_.pitch, all = plan_.groups() * plan_.product.rows * pitch;
    const int64_t least = plan_.by_images ? plan_.image_tiles() : plan_.tile_columns;
    const bool even = plan_.by_images ? p_.batch % plan_.unit == 0 && plan_.images % plan_.unit == 0
                                      : plan_.tile_rows % plan_.block == 0 && plan_.block % plan_.unit == 0;
    const int64_t begin = (even ? unit_.tiles() : least) * pitch;
    if (begin == all) return;
    b_.Loop(b_.I64(0), b_.I64(kCells), 1, [&](Val e) {
      b_.Loop(b_.I64(begin), b_.I64(all), kLanes,
              [&](Val i) { b_.Store(elements_, b_.F32(0, kLanes), b_.Add(b_.Mul(e, unit_.element()), i)); });
    });
  }

  // Output channels of the task.
  Range Channels() {
    if (plan_.parts == 1) return {b_.I64(0), b_.I64(p_.dst_channels)};
    const int64_t width = plan_.product.width();
    return {b_.Mul(panels_.begin, width), b_.Min(b_.Mul(panels_.end, width), b_.I64(p_.dst_channels))};
  }

  int64_t Stride(int axis) const { return place_.stride[axis]; }
  // Element of the source that the first cell of an image's first tile reads, the image's copy or itself being at 0.
  int64_t FirstCell() const {
    int64_t at = 0;
    for (int a = 0; a < 3; ++a) {
      at += p_.axis[a].phases[0].base * Stride(a) + (copied_ ? copies_.origin(a) : 0);
    }
    return at;
  }

  // ---- Units --------------------------------------------------------------------------------------------------------
  void ImagesUnit(Range images) {
    const Val rows = b_.Mul(Minus(images.end, images.begin), plan_.tile_rows);
    const auto each_row = [&](Val image, const auto& body) {
      const Val slot = Minus(image, images.begin);
      b_.Loop(b_.I64(0), b_.I64(plan_.tile_rows), 1,
              [&](Val row) { body(row, b_.Add(b_.Mul(slot, plan_.tile_rows), row)); });
    };
    b_.Loop(images.begin, images.end, 1, [&](Val image) {
      Val src = b_.Add(b_.I64(FirstCell()), b_.Mul(image, copied_ ? 0 : Stride(0) * p_.axis[0].src));
      if (copied_) {
        const Val slot = Minus(image, images.begin), all = b_.I64(copies_.slabs());
        copies_.Copy(b_, *operand_, place_.buffer, {image, b_.I64(0), slot, all}, b_.I64(0), all);
        src = b_.Add(src, b_.Mul(slot, copies_.image_floats()));
      }
      each_row(image, [&](Val row, Val unit_row) {
        source_->Cells(b_.Add(src, b_.Mul(row, kTile * Stride(1))), row, unit_row, b_.I64(0));
      });
    });
    FindStreams(b_.Mul(images.begin, p_.DstStep(0)), b_.Mul(images.end, Stride(0)));
    Multiply(rows);
    Begin(b_.Mul(images.begin, p_.DstStep(0)));
    b_.Loop(images.begin, images.end, 1, [&](Val image) {
      each_row(image, [&](Val row, Val unit_row) {
        const Val flat = b_.Add(b_.Mul(image, p_.DstStep(0)), b_.Mul(row, kTile * p_.DstStep(2)));
        StoreRow(b_.Mul(unit_row, plan_.tile_columns), row, flat);
      });
    });
    Finish(b_.Mul(images.end, p_.DstStep(0)));
    if (tail_) tail_->Pool(kNoVal, images, Channels(), sums_, unit_begin_);
  }

  void ImageRows(Val image, Range rows) {
    const Val first = b_.Mul(rows.begin, kTile);
    if (!copied_) {
      const Val src = b_.Add(b_.I64(FirstCell()), b_.Mul(image, Stride(0)));
      b_.Loop(rows.begin, rows.end, plan_.unit, [&](Val begin) {
        RowsUnit(image, {begin, b_.Min(b_.Add(begin, b_.I64(plan_.unit)), rows.end)}, src);
      });
      return;
    }
    // Slabs of the task's copy that belong to it: up to the first of the next task of the image.
    const Val all = b_.I64(copies_.slabs());
    const Val own = plan_.blocks == 1 ? all
                                      : b_.Select(b_.Binary(IrOp::kLt, rows.end, b_.I64(plan_.tile_rows)),
                                                  Minus(b_.Mul(rows.end, kTile), first), all);
    const Val src = b_.Add(b_.I64(FirstCell()), b_.Mul(first, -Stride(1)));
    b_.For(rows.begin, rows.end, plan_.unit, {b_.I64(0)}, [&](Val begin, const std::vector<Val>& copied) {
      const Range unit{begin, b_.Min(b_.Add(begin, b_.I64(plan_.unit)), rows.end)};
      const Val slabs = copies_.SlabsFor(b_, Minus(b_.Mul(unit.end, kTile), first));
      copies_.Copy(b_, *operand_, place_.buffer, {image, first, b_.I64(0), own}, copied[0], slabs);
      RowsUnit(image, unit, src);
      return std::vector<Val>{slabs};
    });
  }

  void RowsUnit(Val image, Range rows, Val src) {
    b_.Loop(rows.begin, rows.end, 1, [&](Val row) {
      source_->Cells(b_.Add(src, b_.Mul(row, kTile * Stride(1))), row, Minus(row, rows.begin), b_.I64(0));
    });
    const Val start = b_.Mul(image, p_.DstStep(0));
    const Val read = b_.Min(b_.Add(b_.Mul(rows.end, kTile), b_.I64(p_.axis[1].phases[0].base + kCells - kTile)),
                            b_.I64(p_.axis[1].src));
    FindStreams(b_.Add(start, b_.Mul(rows.begin, kTile * p_.DstStep(2))),
                b_.Add(b_.Mul(image, Stride(0)), b_.Mul(read, Stride(1))));
    Multiply(Minus(rows.end, rows.begin));
    const Range outputs{b_.Mul(rows.begin, kTile), b_.Min(b_.Mul(rows.end, kTile), b_.I64(p_.axis[1].dst))};
    Begin(b_.Add(start, b_.Mul(outputs.begin, p_.DstStep(2))));
    b_.Loop(rows.begin, rows.end, 1, [&](Val row) {
      StoreRow(b_.Mul(Minus(row, rows.begin), plan_.tile_columns), row,
               b_.Add(start, b_.Mul(row, kTile * p_.DstStep(2))));
    });
    Finish(b_.Add(start, b_.Mul(outputs.end, p_.DstStep(2))));
    if (tail_) tail_->Pool(image, outputs, Channels(), sums_, unit_begin_);
  }

  // ---- Transforms and products --------------------------------------------------------------------------------------
  // From the cells of the unit's `rows` rows of tiles to its outputs along the second axis.
  void Multiply(Val rows) {
    const Val tiles = b_.Mul(rows, plan_.tile_columns), height = b_.I64(plan_.product.rows);
    b_.Loop(b_.I64(0), b_.I64(kCells), 1, [&](Val i) {
      if (plan_.by_groups()) {
        // The filter's row of elements stays close, and a group's transforms are so short that the processor computes
        // them beside the products before and behind.
        b_.Loop(b_.I64(0), tiles, plan_.product.rows, [&](Val begin) {
          const Val end = b_.Min(b_.Add(begin, height), tiles);
          source_->Elements(i, begin, end, b_.I64(0));
          MultiplyRow(i, panels_.begin, begin, begin, end);
          OutputRow(b_.Add(b_.Mul(i, plan_.outputs_row()), b_.Mul(begin, kTile * plan_.product.width())),
                    Minus(end, begin));
        });
        return;
      }
      source_->Elements(i, b_.I64(0), tiles, b_.I64(0));
      b_.Loop(panels_.begin, panels_.end, 1, [&](Val panel) {
        MultiplyRow(i, panel, b_.I64(0), b_.I64(0), tiles);
        const Val to = b_.Mul(Minus(panel, panels_.begin), plan_.output_panel());
        OutputRow(b_.Add(b_.Mul(i, plan_.outputs_row()), to), tiles);
      });
    });
  }

  // Products of row `i` of elements of tiles [begin, end) and a panel of the filter. `first` is the tile in the elements'
  // first place, the products' too.
  void MultiplyRow(Val i, Val panel, Val first, Val begin, Val end) {
    const TileShape& tile = plan_.product;
    const int64_t pitch = unit_.pitch, width = tile.width(), element = p_.src_channels * width;
    const Val filter = b_.Add(b_.Mul(panel, plan_.filter_panel()), b_.Mul(i, kCells * element));
    b_.Loop(b_.I64(0), b_.I64(kCells), 1, [&](Val j) {
      b_.Loop(begin, end, tile.rows, [&](Val t) {
        const Val place = Minus(t, first);
        TileOperands operands{.row_buffer = elements_,
                              .column_buffer = filter_,
                              .row = b_.Add(b_.Mul(j, unit_.element()), b_.Mul(place, pitch)),
                              .column = b_.Add(filter, b_.Mul(j, element)),
                              .row_pitch = pitch,
                              .row_step = 1,
                              .column_step = width};
        const Val round = b_.Add(b_.Mul(b_.Add(b_.Mul(i, kCells), j), plan_.groups()), b_.Div(t, tile.rows));
        if (plan_.far_filter()) operands.ahead = kFarAhead;
        AddFetches(operands, round, panel);
        const Sums sums = AddTerms(b_, tile, operands, b_.I64(p_.src_channels), ZeroSums(b_, tile), kUnroll);
        const Val to = b_.Add(b_.Mul(j, plan_.product_element()), b_.Mul(place, width));
        StoreSums(b_, tile, sums, products_, to, width, {});
      });
    });
  }

  // While products are computed, memory brings what the unit's epilogue reads and writes and the source of the next
  // unit. `round` counts the groups' products of a panel.
  void AddFetches(TileOperands& operands, Val round, Val panel) {
    const int64_t rounds = kWinogradElements * plan_.groups() * plan_.part_panels;
    const Val terms = b_.Mul(b_.Add(b_.Mul(round, plan_.part_panels), Minus(panel, panels_.begin)), p_.src_channels);
    for (const Stream& stream : streams_) {
      const int64_t step = CeilDiv(stream.size, rounds * p_.src_channels);
      operands.fetches.push_back({.buffer = stream.buffer,
                                  .at = b_.Add(stream.at, b_.Mul(terms, step)),
                                  .step = step,
                                  .to_first = false,
                                  .line = 64 / BytesOf(stream.elem)});
    }
  }
  // The unit's outputs begin with element `flat`, the next unit's source with element `next`.
  void FindStreams(Val flat, Val next) {
    streams_.clear();
    const int64_t size = plan_.unit_floats();
    const auto add = [&](IrBuffer::Kind kind, size_t index, Ref ref) {
      const TensorType& type = cluster_.type(ref);
      if (type.shape != cluster_.shape) return;
      const Elem elem = SizeOf(type.dtype) == 1 ? Elem::kU8 : Elem::kF32;
      streams_.push_back({b_.Buffer({kind, static_cast<int>(index), elem, 0}), elem, flat, size});
    };
    for (size_t i = 0; i < cluster_.inputs.size(); ++i) {
      const Ref ref = cluster_.inputs[i];
      if (ref != anchor_.inputs[0] && ref != anchor_.inputs[1]) add(IrBuffer::Kind::kInput, i, ref);
    }
    for (size_t i = 0; i < cluster_.outputs.size(); ++i) add(IrBuffer::Kind::kOutput, i, cluster_.outputs[i]);
    if (!copied_)
      streams_.push_back({place_.buffer, Elem::kF32, next, plan_.unit_outputs() * Stride(plan_.by_images ? 0 : 1)});
  }

  // Those products along the second axis, to `to` on.
  void OutputRow(Val to, Val tiles) {
    const int64_t width = plan_.product.width();
    b_.Loop(b_.I64(0), tiles, 1, [&](Val t) {
      b_.Loop(b_.I64(0), b_.I64(width), kLanes, [&](Val v) {
        const Val from = b_.Add(b_.Mul(t, width), v), at = b_.Add(b_.Add(to, b_.Mul(t, kTile * width)), v);
        EmitTransform<IrWinograd::Output, kCells, kTile>(
            b_, [&](int j) { return b_.Load(products_, b_.Add(from, b_.I64(j * plan_.product_element())), kLanes); },
            [&](int j, Val y) { b_.Store(outputs_, y, b_.Add(at, b_.I64(j * width))); });
      });
    });
  }

  // Outputs along the first axis of a row of tiles, the unit's from `tile` on, whose first is element `flat` of the
  // output. `tile_row` is its row of the image.
  void StoreRow(Val tile, Val tile_row, Val flat) {
    const int64_t rows = p_.axis[1].dst;
    if (rows % kTile == 0) return StoreRows(tile, kTile, flat);
    const Val last = b_.Binary(IrOp::kEq, tile_row, b_.I64(plan_.tile_rows - 1));
    b_.If(last, [&] { StoreRows(tile, rows % kTile, flat); });
    if (plan_.tile_rows > 1) b_.If(b_.Unary(IrOp::kNot, last), [&] { StoreRows(tile, kTile, flat); });
  }

  // The first `height` of the tiles' rows, all columns.
  void StoreRows(Val tile, int64_t height, Val flat) {
    const int64_t channels = p_.dst_channels, width = plan_.product.width();
    b_.Loop(b_.I64(0), b_.I64(p_.axis[2].dst), 1, [&](Val x) {
      const Val within = b_.Add(b_.Mul(tile, kTile * width), b_.Mul(x, width));
      const Val pixel = b_.Add(flat, b_.Mul(x, channels));
      const auto vectors = [&](Val panel) {
        const Val first = b_.Mul(panel, width);
        const Val from = b_.Add(b_.Mul(Minus(panel, panels_.begin), plan_.output_panel()), within);
        // The last panel may have vectors beyond the last channel.
        const int64_t all = CeilDiv(channels, kLanes) * kLanes;
        const Val end = all % width == 0 ? b_.I64(width) : b_.Min(b_.I64(width), Minus(b_.I64(all), first));
        b_.Loop(b_.I64(0), end, kLanes, [&](Val v) { Store(b_.Add(from, v), pixel, b_.Add(first, v), height); });
      };
      if (plan_.panels == 1) {
        vectors(b_.I64(0));
      } else {
        b_.Loop(panels_.begin, panels_.end, 1, vectors);
      }
    });
  }

  // A column of outputs: to the epilogue, or to the sums that a long one runs over later.
  void Store(Val from, Val pixel, Val column, int64_t height) {
    const int64_t channels = p_.dst_channels;
    const bool whole = channels % kLanes == 0;
    const Val count = whole ? kNoVal : Minus(b_.I64(channels), column);
    std::vector<Point> points;
    std::vector<Val> values;
    EmitTransform<IrWinograd::Output, kCells, kTile>(
        b_, [&](int i) { return b_.Load(outputs_, b_.Add(from, b_.I64(i * plan_.outputs_row())), kLanes); },
        [&](int i, Val y) {
          if (i >= height) return;
          const Val at = b_.Add(b_.Add(pixel, column), b_.I64(i * p_.DstStep(2)));
          points.push_back({.flat = at, .count = count, .aligned = whole, .in_row = true, .column = column});
          values.push_back(y);
        });
    if (short_epilogue_) {
      epilogue_->Emit(points, values);
      return;
    }
    for (size_t k = 0; k < points.size(); ++k)
      b_.Store(sums_, values[k], Minus(points[k].flat, unit_begin_), points[k].count);
  }

  // ---- The epilogue -------------------------------------------------------------------------------------------------
  // Of a unit whose outputs begin with element `flat`.
  void Begin(Val flat) {
    unit_begin_ = flat;
    // Over the sums of a long epilogue, which has read them by then.
    if (tail_ && tail_->kept()) epilogue_->Keep(tail_->operand(), sums_, flat);
  }

  // The long epilogue over the sums of a unit, up to element `end`.
  void Finish(Val end) {
    if (short_epilogue_) return;
    const int64_t channels = p_.dst_channels;
    EpilogueRange range{.buffer = sums_, .whole = channels % kLanes == 0, .aligned = channels % kLanes == 0};
    if (plan_.parts == 1) {
      range.base = b_.I64(0);
      range.flat = unit_begin_;
      range.count = Minus(end, unit_begin_);
      // Units begin with images, or with rows of tiles of one.
      const int64_t image = p_.DstStep(0);
      range.blocks = (plan_.by_images ? image : std::gcd(image, kTile * p_.DstStep(2))) % kRandomBlock == 0;
      EmitRange(b_, *epilogue_, range);
      return;
    }
    const Range task = Channels();
    b_.Loop(unit_begin_, end, channels, [&](Val pixel) {
      range.base = b_.Add(Minus(pixel, unit_begin_), task.begin);
      range.flat = b_.Add(pixel, task.begin);
      range.count = Minus(task.end, task.begin);
      range.column = task.begin;
      EmitRange(b_, *epilogue_, range);
    });
  }

  const Cluster& cluster_;
  const Node& anchor_;
  const WinogradPlan plan_;
  const ConvProblem& p_;
  const ConvSource copies_;  // of the source,
  const WinogradUnit unit_;
  const bool copied_;  // if a prologue is computed so
  std::optional<WinogradSource> source_;
  KernelBuilder b_;
  std::optional<ConvTail> tail_;
  bool short_epilogue_ = true;
  ClusterIr* epilogue_ = nullptr;
  AnchorOperand* operand_ = nullptr;
  WinogradSource::Place place_;
  int filter_ = -1, elements_ = -1, products_ = -1, outputs_ = -1, sums_ = -1;
  int64_t scratch_bytes_ = 0;
  struct Stream {
    int buffer;
    Elem elem;
    Val at;
    int64_t size;
  };
  std::vector<Stream> streams_;
  Range panels_;
  Val unit_begin_ = kNoVal;  // in the output
};

}  // namespace

LowerResult LowerWinograd(const Cluster& cluster, const TileLimits& limits) {
  const Node& anchor = cluster.node(*cluster.anchor);
  const Node* tail = cluster.tail ? &cluster.node(*cluster.tail) : nullptr;
  return WinogradLowering(cluster, ConvProblemOf(*cluster.graph, anchor, tail), limits).Lower();
}

}  // namespace weir::jit
