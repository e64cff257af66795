// Winograd's convolution and its input gradient with a large filter and few tiles: the tiles of all images are transformed
// once, by a stage of its own, and a task does a panel of output channels for all of them. It packs the panel's taps,
// transforms them a row of elements at a time and multiplies, so that the transformed filter, four times as large as the
// taps, never leaves the second-level cache.
#include <optional>
#include <utility>

#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/backends/llvm/winograd_ir.h"
#include "weir/backends/llvm/winograd_output.h"
#include "weir/backends/llvm/winograd_plan.h"
#include "weir/backends/llvm/winograd_source.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kUnroll = 4;      // terms of a product
constexpr int64_t kAhead = 24;      // terms that the transformed filter is fetched ahead, from the second-level cache
constexpr int64_t kPackAhead = 16;  // terms that taps are fetched ahead, from memory
constexpr int64_t kTaps = 9;
constexpr int kCells = kWinogradCells, kTile = kWinogradTile;

// The tiles' transformed source in the workspace: row of elements after row, six elements each.
Stage TransformSourceStage(const WinogradPlan& plan, int input, std::string name) {
  const ConvProblem& p = plan.problem;
  KernelBuilder b(std::move(name));
  const Val task = b.Task();
  ScratchSpace scratch(b);
  // A task is a row of tiles; the elements have room for those of all images.
  const WinogradUnit all = plan.UnitLayout(), row_unit{1, plan.tile_columns, all.room, all.pitch};
  const int elements = b.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
  const auto place = WinogradSource::InPlace(p, b.Buffer({IrBuffer::Kind::kInput, input, Elem::kF32, 0}));
  const WinogradSource source(b, p, row_unit, place, scratch.Take(kCells * row_unit.cells_row()), elements);
  int64_t first_cell = 0;
  for (int a = 0; a < 3; ++a) first_cell += p.axis[a].phases[0].base * place.stride[a];
  const Val image = b.Div(task, plan.tile_rows), row = b.Rem(task, plan.tile_rows);
  const Val src = b.Add(b.Mul(image, place.stride[0]), b.Mul(row, kTile * place.stride[1]));
  source.Cells(b.Add(src, b.I64(first_cell)), row, b.I64(0), b.I64(0));
  b.Loop(b.I64(0), b.I64(kCells), 1, [&](Val i) {
    const Val to = b.Add(b.Mul(i, kCells * all.element()), b.Mul(task, plan.tile_columns * all.pitch));
    source.Elements(i, b.I64(0), b.I64(plan.tile_columns), to);
  });
  // Tiles that fill the last group up are multiplied too.
  if (all.room > all.tiles()) {
    b.If(b.Binary(IrOp::kEq, task, b.I64(0)), [&] {
      b.Loop(b.I64(0), b.I64(kWinogradElements), 1, [&](Val e) {
        b.Loop(b.I64(all.tiles() * all.pitch), b.I64(all.room * all.pitch), kLanes,
               [&](Val k) { b.Store(elements, b.F32(0, kLanes), b.Add(b.Mul(e, all.element()), k)); });
      });
    });
  }
  return MakeStage(b.Take(), p.batch * plan.tile_rows, scratch.bytes());
}

class PanelKernel {
 public:
  PanelKernel(const Cluster& cluster, const WinogradPlan& plan)
      : plan_(plan),
        p_(plan.problem),
        unit_(plan.UnitLayout()),
        b_(Describe(cluster)),
        task_(b_.Task()),
        output_(b_, cluster, plan, scratch_) {
    const int filter = cluster.input_index(cluster.node(*cluster.anchor).inputs[1]);
    filter_ = b_.Buffer({IrBuffer::Kind::kInput, filter, Elem::kF32, 0});
    elements_ = b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
    // Blocks of a transposition are written whole.
    taps_ = scratch_.Take(kTaps * tap_floats() + (kLanes - 1) * width());
    transformed_ = scratch_.Take(kCells * element_floats());
  }

  Stage Take() {
    output_.SetPanels({task_, b_.Add(task_, b_.I64(1))});
    b_.Loop(b_.I64(0), b_.I64(kTaps), 1, [&](Val tap) { PackTap(tap); });
    b_.Loop(b_.I64(0), b_.I64(kCells), 1, [&](Val i) {
      for (int row = 0; row < kCells; ++row) {
        b_.If(b_.Binary(IrOp::kEq, i, b_.I64(row)), [&] { TransformTaps(row); });
      }
      Multiply(i);
      output_.Transform(i, b_.I64(0), b_.I64(unit_.tiles()));
    });
    output_.Images({b_.I64(0), b_.I64(p_.batch)});
    return MakeStage(b_.Take(), plan_.tasks, scratch_.bytes());
  }

 private:
  int64_t width() const { return plan_.product.width(); }
  int64_t tap_floats() const { return p_.src_channels * width(); }
  // A transformed element, and a vector that keeps the six of a row off the same cache sets.
  int64_t element_floats() const { return tap_floats() + kLanes; }

  // The panel's taps in the order of the sum: [tap][source channel][panel's output channels].
  void PackTap(Val tap) {
    const Val column = b_.Mul(task_, width());
    const TileShape tile{.rows = 1, .vectors = plan_.product.vectors, .parts = plan_.product.parts};
    PanelPack pack{.src = filter_,
                   .dst = taps_,
                   .from = b_.Mul(tap, p_.src_channels * p_.dst_channels),
                   .to = b_.Mul(tap, tap_floats()),
                   .pitch = p_.dst_channels,
                   .begin = column,
                   .end = b_.Add(column, b_.I64(width())),
                   .columns = p_.dst_channels,
                   .terms = b_.I64(p_.src_channels)};
    if (!p_.transposed) {
      pack.ahead = kPackAhead;
      PackPanels(b_, tile, pack);
      return;
    }
    pack.from = b_.Mul(b_.Add(b_.I64(kTaps - 1), b_.Mul(tap, -1)), p_.dst_channels * p_.src_channels);
    pack.pitch = p_.src_channels;
    PackTransposed(b_, tile, pack, /*whole=*/p_.src_channels % kLanes == 0);
  }

  // Row `row` of the elements of all taps.
  void TransformTaps(int row) {
    b_.Loop(b_.I64(0), b_.I64(tap_floats()), kLanes, [&](Val at) {
      Val half[3];
      for (int j = 0; j < 3; ++j) {
        EmitTransform<IrWinograd::Filter, 3, kCells>(
            b_, [&](int i) { return b_.Load(taps_, b_.Add(at, b_.I64((i * 3 + j) * tap_floats())), kLanes); },
            [&](int i, Val v) {
              if (i == row) half[j] = v;
            });
      }
      EmitTransform<IrWinograd::Filter, 3, kCells>(
          b_, [&](int j) { return half[j]; },
          [&](int j, Val v) { b_.Store(transformed_, v, b_.Add(at, b_.I64(j * element_floats()))); });
    });
  }

  // Products of row `i` of elements.
  void Multiply(Val i) {
    const TileShape& tile = plan_.product;
    b_.Loop(b_.I64(0), b_.I64(kCells), 1, [&](Val j) {
      const Val element = b_.Mul(b_.Add(b_.Mul(i, kCells), j), unit_.element());
      b_.Loop(b_.I64(0), b_.I64(unit_.tiles()), tile.rows, [&](Val t) {
        const TileOperands operands{.row_buffer = elements_,
                                    .column_buffer = transformed_,
                                    .row = b_.Add(element, b_.Mul(t, unit_.pitch)),
                                    .column = b_.Mul(j, element_floats()),
                                    .row_pitch = unit_.pitch,
                                    .row_step = 1,
                                    .column_step = width(),
                                    .ahead = kAhead};
        const Sums sums = AddTerms(b_, tile, operands, b_.I64(p_.src_channels), ZeroSums(b_, tile), kUnroll);
        const Val to = b_.Add(b_.Mul(j, plan_.product_element()), b_.Mul(t, width()));
        StoreSums(b_, tile, sums, output_.products(), to, width(), {});
      });
    });
  }

  const WinogradPlan& plan_;
  const ConvProblem& p_;
  const WinogradUnit unit_;  // all tiles
  KernelBuilder b_;
  const Val task_;  // the panel
  ScratchSpace scratch_{b_};
  WinogradOutput output_;
  int filter_ = -1, elements_ = -1, taps_ = -1, transformed_ = -1;
};

}  // namespace

Lowering LowerWinogradByPanels(const Cluster& cluster, const WinogradPlan& plan) {
  const int source = cluster.input_index(cluster.node(*cluster.anchor).inputs[0]);
  Lowering lowering;
  lowering.kernel =
      StrCat("jit, winograd by panels ", plan.product.rows, "x", plan.product.vectors, ", ", plan.UnitLayout().tiles(),
             " tiles", cluster.tail ? ", pooled" : "", ", ", plan.tasks, " tasks");
  lowering.in_place = PointwisePairs(cluster);
  lowering.workspace_bytes = kWinogradElements * plan.UnitLayout().element() * BytesOf(Elem::kF32);
  lowering.stages.push_back(TransformSourceStage(plan, source, StrCat(Describe(cluster), ", source")));
  lowering.stages.push_back(PanelKernel(cluster, plan).Take());
  return lowering;
}

}  // namespace weir::jit
