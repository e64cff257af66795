// Winograd's convolution and its input gradient. A task walks through units of tiles: what they read is copied with its
// padding, transformed, multiplied panel by panel with the transformed filter, and transformed back into a unit of
// outputs in scratch, over which the epilogue and the tail run. All of it stays in the second-level cache.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "weir/backends/llvm/conv_accept.h"
#include "weir/backends/llvm/winograd_filter.h"
#include "weir/backends/llvm/winograd_ir.h"
#include "weir/backends/llvm/winograd_output.h"
#include "weir/backends/llvm/winograd_plan.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kUnroll = 4;  // terms of a product
// Terms that the filter is fetched ahead, to the first-level cache; of halves of vectors only if it comes from beyond the
// second.
constexpr int64_t kAhead = 16, kAheadOfHalves = 64;
constexpr int kCells = kWinogradCells, kTile = kWinogradTile;

class WinogradLowering {
 public:
  WinogradLowering(const Cluster& cluster, const WinogradPlan& plan)
      : cluster_(cluster),
        anchor_(cluster.node(*cluster.anchor)),
        plan_(plan),
        p_(plan_.problem),
        copies_(plan_.Source()),
        unit_(plan_.UnitLayout()),
        copied_(cluster.prologue > 0),
        b_(Describe(cluster)) {}

  Lowering Lower() {
    const int filter = cluster_.input_index(anchor_.inputs[1]);
    Lowering lowering;
    lowering.prepared_input = filter;
    lowering.stages.push_back(TransformFilterStage(plan_, filter, StrCat(Describe(cluster_), ", filter")));
    EmitKernel();
    lowering.kernel = StrCat("jit, winograd ", plan_.product.rows, "x", plan_.product.vectors, ", units of ",
                             unit_.tiles(), " tiles", cluster_.prologue > 0 ? ", computed as copied" : "",
                             cluster_.tail ? ", pooled" : "", ", ", plan_.tasks, " tasks");
    lowering.in_place = PointwisePairs(cluster_);
    lowering.workspace_bytes = plan_.panels * plan_.filter_panel() * 4;
    lowering.stages.push_back(MakeStage(b_.Take(), plan_.tasks, scratch_.bytes()));
    return lowering;
  }

 private:
  using Range = ConvTail::Range;

  Val Minus(Val a, Val c) { return b_.Add(a, b_.Mul(c, -1)); }

  void EmitKernel() {
    const Val task = b_.Task();
    AnchorOperand operand(b_, cluster_);
    operand_ = &operand;
    if (copied_) {
      place_ = {
          scratch_.Take(copies_.scratch_floats()), true, {copies_.stride(0), copies_.stride(1), copies_.stride(2)}};
    } else {
      const int input = cluster_.input_index(anchor_.inputs[0]);
      place_ = WinogradSource::InPlace(p_, b_.Buffer({IrBuffer::Kind::kInput, input, Elem::kF32, 0}));
    }
    filter_ = b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
    const int cells = scratch_.Take(kCells * unit_.cells_row());
    elements_ = scratch_.Take(kCells * unit_.element());
    source_.emplace(b_, p_, unit_, place_, cells, elements_);
    output_.emplace(b_, cluster_, plan_, scratch_);
    ClearRest();
    const Val first_panel = b_.Mul(b_.Rem(task, plan_.parts), plan_.part_panels);
    panels_ = {first_panel, b_.Min(b_.Add(first_panel, b_.I64(plan_.part_panels)), b_.I64(plan_.panels))};
    output_->SetPanels(panels_);
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
    b_.Loop(images.begin, images.end, 1, [&](Val image) {
      const Val slot = Minus(image, images.begin);
      Val src = b_.Add(b_.I64(FirstCell()), b_.Mul(image, copied_ ? 0 : Stride(0) * p_.axis[0].src));
      if (copied_) {
        const Val all = b_.I64(copies_.slabs());
        copies_.Copy(b_, *operand_, place_.buffer, {image, b_.I64(0), slot, all}, b_.I64(0), all);
        src = b_.Add(src, b_.Mul(slot, copies_.image_floats()));
      }
      b_.Loop(b_.I64(0), b_.I64(plan_.tile_rows), 1, [&](Val row) {
        const Val unit_row = b_.Add(b_.Mul(slot, plan_.tile_rows), row);
        source_->Cells(b_.Add(src, b_.Mul(row, kTile * Stride(1))), row, unit_row, b_.I64(0));
      });
    });
    FindStreams(b_.Mul(images.begin, p_.DstStep(0)), b_.Mul(images.end, Stride(0)));
    Multiply(rows);
    output_->Images(images);
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
    output_->Rows(image, rows);
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
          output_->Transform(i, b_.Mul(begin, kTile * plan_.product.width()), Minus(end, begin));
        });
        return;
      }
      source_->Elements(i, b_.I64(0), tiles, b_.I64(0));
      b_.Loop(panels_.begin, panels_.end, 1, [&](Val panel) {
        MultiplyRow(i, panel, b_.I64(0), b_.I64(0), tiles);
        output_->Transform(i, b_.Mul(Minus(panel, panels_.begin), plan_.output_panel()), tiles);
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
        operands.ahead = tile.parts == 1 ? kAhead : plan_.far_filter() ? kAheadOfHalves : 0;
        AddFetches(operands, round, panel);
        const Sums sums = AddTerms(b_, tile, operands, b_.I64(p_.src_channels), ZeroSums(b_, tile), kUnroll);
        const Val to = b_.Add(b_.Mul(j, plan_.product_element()), b_.Mul(place, width));
        StoreSums(b_, tile, sums, output_->products(), to, width, {});
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

  const Cluster& cluster_;
  const Node& anchor_;
  const WinogradPlan& plan_;
  const ConvProblem& p_;
  const ConvSource copies_;  // of the source,
  const WinogradUnit unit_;
  const bool copied_;  // if a prologue is computed so
  KernelBuilder b_;
  ScratchSpace scratch_{b_};
  std::optional<WinogradSource> source_;
  std::optional<WinogradOutput> output_;
  AnchorOperand* operand_ = nullptr;
  WinogradSource::Place place_;
  int filter_ = -1, elements_ = -1;
  struct Stream {
    int buffer;
    Elem elem;
    Val at;
    int64_t size;
  };
  std::vector<Stream> streams_;
  Range panels_;
};

}  // namespace

LowerResult LowerWinograd(const Cluster& cluster, const TileLimits& limits) {
  const Node& anchor = cluster.node(*cluster.anchor);
  const Node* tail = cluster.tail ? &cluster.node(*cluster.tail) : nullptr;
  const WinogradPlan plan(ConvProblemOf(*cluster.graph, anchor, tail), limits);
  if (plan.by_panels) return LowerWinogradByPanels(cluster, plan);
  return WinogradLowering(cluster, plan).Lower();
}

}  // namespace weir::jit
