// Convolutions and their input gradients: register tiles of pixels by vectors of output channels, whose sums are
// carried by loops over taps and channels, then the epilogue.
//
// Sums stay in registers for an epilogue that is short; a long one runs over a unit's sums, stored in scratch, so that
// its code is there once.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "weir/backends/llvm/conv_accept.h"
#include "weir/backends/llvm/conv_filter.h"
#include "weir/backends/llvm/conv_plan.h"
#include "weir/backends/llvm/conv_source.h"
#include "weir/backends/llvm/conv_tail.h"
#include "weir/backends/llvm/conv_tile.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/positions_plan.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/core/strings.h"
#include "weir/ops/winograd.h"

namespace weir::jit {
namespace {

// Outputs beyond this are gone from most processors' caches before anybody reads them, and a line that is written past
// the caches need not be fetched first.
constexpr int64_t kStreamBytes = int64_t{32} << 20;

class ConvLowering {
 public:
  ConvLowering(const Cluster& cluster, const ConvProblem& problem, const TileLimits& limits)
      : cluster_(cluster),
        anchor_(cluster.node(*cluster.anchor)),
        p_(problem),
        layout_(LayoutFilter(problem, limits)),
        plan_(problem, layout_, limits),
        source_(SourceOf(problem, plan_)),
        b_(Describe(cluster)) {
    short_epilogue_ = HasShortEpilogue(cluster);
    if (cluster.tail) tail_.emplace(b_, cluster, problem, plan_.unit_level);
  }

  Lowering Lower() {
    EmitKernel();
    const char* copy = !source_.copied() ? "" : cluster_.prologue > 0 ? ", computed as copied" : ", padded copy";
    Lowering lowering;
    lowering.kernel =
        StrCat("jit, ", p_.depthwise ? "depthwise " : "direct ", plan_.tiling().size * plan_.inner, "x",
               layout_.vectors, copy, layout_.packed ? ", packed filter" : "",
               plan_.own_filter ? ", a part a task" : "", tail_ ? ", pooled" : "", ", ", plan_.tasks, " tasks");
    lowering.in_place = PointwisePairs(cluster_);
    const bool shared = layout_.packed && !plan_.own_filter;
    lowering.workspace_bytes = shared ? layout_.workspace_bytes(p_.groups) : 0;
    if (shared) {
      lowering.prepared_input = InputIndex(1);
      lowering.stages.push_back(PackFilterStage(p_, layout_, InputIndex(1), StrCat(Describe(cluster_), ", filter")));
    }
    lowering.stages.push_back(MakeStage(b_.Take(), plan_.tasks, scratch_.bytes()));
    return lowering;
  }

 private:
  using Range = ConvTail::Range;

  int InputIndex(size_t operand) const { return cluster_.input_index(anchor_.inputs[operand]); }
  int Input(size_t operand) { return b_.Buffer({IrBuffer::Kind::kInput, InputIndex(operand), Elem::kF32, 0}); }
  // Whether a unit's sums, or then what of them is pooled, lie in scratch.
  bool keeps_unit() const { return !short_epilogue_ || (tail_ && tail_->kept()); }
  int64_t GroupChannels() const { return p_.depthwise ? p_.dst_channels : p_.group_dst; }
  // Floats of the source from one output of a phase to the next.
  int64_t SrcStep(int level) const {
    return level == 0 ? source_.image_floats() : p_.axis[level - 1].advance * source_.stride(level - 1);
  }
  // ---- The kernel ---------------------------------------------------------------------------------------------------
  void EmitKernel() {
    const Val task = b_.Task();
    ClusterIr epilogue(b_, cluster_);
    epilogue_ = &epilogue;
    AnchorOperand operand(b_, cluster_);
    operand_ = &operand;
    src_ = source_.copied() ? scratch_.Take(source_.scratch_floats()) : Input(0);
    if (keeps_unit()) sums_ = scratch_.Take(plan_.UnitFloats());
    if (plan_.own_filter) {
      filter_ = scratch_.Take(plan_.part_panels * layout_.panel_floats());
    } else {
      filter_ = layout_.packed ? b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0}) : Input(1);
    }
    const int64_t regions = plan_.tasks / plan_.parts;
    const Val part = plan_.by_parts ? b_.Div(task, regions) : b_.Rem(task, plan_.parts);
    const Val first_panel = b_.Mul(part, plan_.part_panels);
    panels_ = {first_panel, b_.Min(b_.Add(first_panel, b_.I64(plan_.part_panels)), b_.I64(layout_.all_panels()))};
    if (plan_.own_filter) PackFilterPanels(b_, p_, layout_, Input(1), filter_, panels_.begin, panels_.end);
    const Val region = plan_.by_parts ? b_.Rem(task, regions) : b_.Div(task, plan_.parts),
              begin = b_.Mul(b_.Rem(region, plan_.blocks), plan_.block);
    steps_of_task_ = {begin, b_.Min(b_.Add(begin, b_.I64(plan_.block)), b_.I64(plan_.steps))};
    if (!Streams()) return Outputs(region);
    const Val may = epilogue.MayStream();
    b_.If(may, [&] {
      epilogue.SetStreaming(true);
      Outputs(region);
      b_.Fence();
      epilogue.SetStreaming(false);
    });
    b_.If(b_.Unary(IrOp::kNot, may), [&] { Outputs(region); });
  }
  // Whether all that the kernel stores may be stored past the caches: whole vectors of large outputs.
  bool Streams() const {
    if (tail_ || !short_epilogue_ || GroupChannels() % kLanes != 0) return false;
    return std::all_of(cluster_.outputs.begin(), cluster_.outputs.end(), [&](Ref ref) {
      const TensorType& type = cluster_.type(ref);
      return !cluster_.in_prologue(ref.node) && type.bytes() >= kStreamBytes &&
             SizeOf(type.dtype) == BytesOf(Elem::kF32);
    });
  }
  void Outputs(Val region) {
    if (plan_.unit_level == 0) {
      Units(kNoVal);
      return;
    }
    const Val image = b_.Mul(b_.Div(region, plan_.blocks), plan_.images);
    Loop(image, b_.Min(b_.Add(image, b_.I64(plan_.images)), b_.I64(p_.batch)), 1, [&](Val i) { Units(i); });
  }

  // A loop, or its body if it has one round.
  template <class Body>
  void Loop(Val begin, Val end, int64_t step, const Body& body) {
    if (b_.IsConst(begin) && b_.IsConst(end) && b_.ConstBits(end) - b_.ConstBits(begin) <= step) {
      if (b_.ConstBits(begin) < b_.ConstBits(end)) body(begin);
    } else {
      b_.Loop(begin, end, step, body);
    }
  }

  // Output channels of the task.
  Range Channels() {
    if (plan_.parts == 1) return {b_.I64(0), b_.I64(p_.dst_channels)};
    const int64_t width = layout_.vectors * kLanes;
    return {b_.Mul(panels_.begin, width), b_.Min(b_.Mul(panels_.end, width), b_.I64(p_.dst_channels))};
  }
  // First output, on the unit level, of a step.
  Val Output(Val step) { return plan_.tile_steps() ? plan_.tiling().Begin(b_, step) : step; }
  Val Minus(Val a, Val c) { return b_.Add(a, b_.Mul(c, -1)); }

  void Units(Val image) {
    const bool by_slabs = source_.by_slabs() && plan_.unit_level > 0;
    first_ = plan_.blocks > 1 && plan_.unit_level > 0 && source_.copied() ? Output(steps_of_task_.begin) : b_.I64(0);
    const ConvSource::Box box{image, first_, b_.I64(0), OwnSlabs()};
    if (source_.copied() && plan_.unit_level > 0 && !by_slabs) {
      source_.Copy(b_, *operand_, src_, box, b_.I64(0), b_.I64(source_.slabs()));
    }
    const std::vector<Val> inits = by_slabs ? std::vector<Val>{b_.I64(0)} : std::vector<Val>();
    b_.For(steps_of_task_.begin, steps_of_task_.end, plan_.unit, inits, [&](Val begin, const std::vector<Val>& copied) {
      const Range unit{begin, b_.Min(b_.Add(begin, b_.I64(plan_.unit)), steps_of_task_.end)};
      std::vector<Val> slabs;
      if (by_slabs) {
        slabs.push_back(source_.SlabsFor(b_, Minus(Output(unit.end), first_)));
        source_.Copy(b_, *operand_, src_, box, copied[0], slabs[0]);
      }
      if (plan_.unit_level == 0 && source_.copied()) {
        const Val base = Output(unit.begin);
        Loop(base, Output(unit.end), 1, [&](Val i) {
          source_.Copy(b_, *operand_, src_, {i, b_.I64(0), Minus(i, base), box.own}, b_.I64(0),
                       b_.I64(source_.slabs()));
        });
      }
      Unit(image, unit);
      return slabs;
    });
  }

  // Slabs of the task's copies that belong to it: up to the first of the next task of the image.
  Val OwnSlabs() {
    const Val all = b_.I64(source_.slabs());
    if (plan_.blocks == 1 || plan_.unit_level == 0) return all;
    const Val outputs = Minus(Output(steps_of_task_.end), first_);
    return b_.Select(b_.Binary(IrOp::kLt, steps_of_task_.end, b_.I64(plan_.steps)),
                     b_.Mul(outputs, p_.axis[plan_.unit_level - 1].advance), all);
  }

  void Unit(Val image, Range unit) {
    const Val start = image == kNoVal ? b_.I64(0) : b_.Mul(image, p_.DstStep(0));
    const int64_t step = p_.DstStep(plan_.unit_level);
    Range flat{b_.Mul(Output(unit.begin), step), b_.Mul(Output(unit.end), step)};
    // The last outputs may be of some phases only.
    if (!plan_.one_class()) flat.end = b_.Min(flat.end, b_.I64(p_.DstStep(0)));
    flat = {b_.Add(start, flat.begin), b_.Add(start, flat.end)};
    unit_begin_ = flat.begin;
    // Over the sums of a long epilogue, which has read them by then.
    if (tail_ && tail_->kept()) epilogue_->Keep(tail_->operand(), sums_, unit_begin_);
    Loop(b_.I64(0), b_.I64(p_.depthwise ? 1 : p_.groups), 1, [&](Val group) {
      if (layout_.panels > 0) {
        Loop(panels_.begin, b_.Min(panels_.end, b_.I64(layout_.panels)), 1,
             [&](Val panel) { OnePanel(image, unit, group, panel, layout_.vectors); });
      }
      if (layout_.rest > 0) {
        const auto rest = [&] { OnePanel(image, unit, group, b_.I64(layout_.panels), layout_.rest); };
        if (plan_.parts == 1) {
          rest();
        } else {
          b_.If(b_.Binary(IrOp::kLt, b_.I64(layout_.panels), panels_.end), rest);
        }
      }
    });
    if (!short_epilogue_) Finish(flat);
    if (tail_) tail_->Pool(image, {Output(unit.begin), Output(unit.end)}, Channels(), sums_, unit_begin_);
  }

  void OnePanel(Val image, Range unit, Val group, Val index, int64_t vectors) {
    ConvPanel panel{.vectors = vectors};
    const Val within = b_.Mul(index, layout_.vectors * kLanes);
    const int64_t channels = GroupChannels();
    const Val packed = plan_.own_filter ? Minus(index, panels_.begin) : index;
    panel.column = b_.Add(b_.Mul(group, channels), within);
    if (channels % kLanes != 0) panel.left = Minus(b_.I64(channels), within);
    panel.filter = p_.depthwise ? b_.Mul(within, p_.filter_step())
                                : b_.Add(b_.Mul(group, layout_.group_floats()), b_.Mul(packed, layout_.panel_floats()));
    for (const ConvClass& c : plan_.classes) {
      Val src = b_.Mul(group, p_.group_src);
      Val dst = image == kNoVal ? b_.I64(0) : b_.Mul(image, p_.DstStep(0));
      int64_t src_first = 0, dst_first = 0;
      for (int a = 0; a < 3; ++a) {
        src_first += c.phase[a]->base * source_.stride(a) + source_.origin(a);
        dst_first += c.phase[a]->first * p_.DstStep(a + 1) / p_.axis[a].step;
      }
      if (p_.depthwise) src = panel.column;
      if (image != kNoVal && !source_.copied()) src = b_.Add(src, b_.Mul(image, SrcStep(0)));
      src = b_.Add(src, b_.Mul(first_, plan_.unit_level == 0 ? 0 : -SrcStep(plan_.unit_level)));
      if (plan_.unit_level == 0 && source_.copied()) src = Minus(src, b_.Mul(Output(unit.begin), SrcStep(0)));
      Pixels(c, panel, unit, plan_.unit_level, b_.Add(src, b_.I64(src_first)), b_.Add(dst, b_.I64(dst_first)));
    }
  }

  // The loops over pixels from `level` on.
  void Pixels(const ConvClass& c, const ConvPanel& panel, Range unit, int level, Val src, Val dst) {
    Range range{b_.I64(0), b_.I64(c.count[level])};
    if (level == plan_.unit_level && !plan_.tile_steps())
      range = {unit.begin, plan_.one_class() ? unit.end : b_.Min(unit.end, range.end)};
    const auto at = [&](Val base, Val index, int64_t step) { return b_.Add(base, b_.Mul(index, step)); };
    if (level < plan_.tile_level) {
      Loop(range.begin, range.end, 1, [&](Val i) {
        Pixels(c, panel, unit, level + 1, at(src, i, SrcStep(level)), at(dst, i, p_.DstStep(level)));
      });
      return;
    }
    const auto tile = [&](Val i, int64_t size) {
      Tile(c, panel, size, at(src, i, SrcStep(level)), at(dst, i, p_.DstStep(level)));
    };
    const Tiling& tiling = c.tiling;
    if (level == plan_.unit_level && !plan_.one_class()) {
      // Classes differ in their last outputs: whole tiles from a begin that all have, then single pixels.
      const Val whole = b_.Add(range.begin, b_.Mul(b_.Div(Minus(range.end, range.begin), tiling.size), tiling.size));
      Loop(range.begin, whole, tiling.size, [&](Val i) { tile(i, tiling.size); });
      Loop(whole, range.end, 1, [&](Val i) { tile(i, 1); });
      return;
    }
    const Range tiles = level == plan_.unit_level ? unit : Range{b_.I64(0), b_.I64(tiling.tiles())};
    const Val large = b_.I64(tiling.large);
    Loop(tiles.begin, b_.Min(tiles.end, large), 1, [&](Val t) { tile(b_.Mul(t, tiling.size), tiling.size); });
    if (tiling.small == 0) return;
    const Val first = b_.IsConst(tiles.begin) ? b_.I64(std::max(b_.ConstBits(tiles.begin), tiling.large))
                                              : b_.Select(b_.Binary(IrOp::kLt, tiles.begin, large), large, tiles.begin);
    const int64_t small = tiling.size - tiling.quantum;
    Loop(first, tiles.end, 1, [&](Val t) { tile(b_.Add(b_.Mul(t, small), b_.Mul(large, tiling.quantum)), small); });
  }

  // ---- Tiles --------------------------------------------------------------------------------------------------------
  void Tile(const ConvClass& c, const ConvPanel& panel, int64_t size, Val src, Val dst) {
    std::vector<int64_t> src_offset = {0}, dst_offset = {0};
    for (int level = 3; level >= plan_.tile_level; --level) {
      std::vector<int64_t> more_src, more_dst;
      for (int64_t i = 0; i < (level == plan_.tile_level ? size : c.count[level]); ++i) {
        for (size_t k = 0; k < src_offset.size(); ++k) {
          more_src.push_back(src_offset[k] + i * SrcStep(level));
          more_dst.push_back(dst_offset[k] + i * p_.DstStep(level));
        }
      }
      src_offset = std::move(more_src);
      dst_offset = std::move(more_dst);
    }
    Hand(panel, dst, dst_offset,
         ConvTile(b_, p_, layout_, source_, src_, filter_).Sums(c, panel, src, std::move(src_offset)));
  }

  // ---- The epilogue -------------------------------------------------------------------------------------------------
  void Hand(const ConvPanel& panel, Val dst, const std::vector<int64_t>& dst_offset, const std::vector<Val>& sums) {
    std::vector<Point> points;
    const Val base = b_.Add(dst, panel.column);
    for (int64_t offset : dst_offset) {
      for (int64_t v = 0; v < panel.vectors; ++v) {
        points.push_back({.flat = b_.Add(base, b_.I64(offset + v * kLanes)),
                          .count = panel.Count(b_, v),
                          .aligned = GroupChannels() % kLanes == 0,
                          .in_row = true,
                          .column = b_.Add(panel.column, b_.I64(v * kLanes))});
      }
    }
    if (short_epilogue_) {
      epilogue_->Emit(points, sums);
      return;
    }
    for (size_t k = 0; k < points.size(); ++k)
      b_.Store(sums_, sums[k], Minus(points[k].flat, unit_begin_), points[k].count);
  }

  // The long epilogue over the sums of a unit, whose outputs are neighbours.
  void Finish(Range flat) {
    const auto sum = [&](Val at, int64_t plus, Val count) {
      return b_.Load(sums_, b_.Add(Minus(at, flat.begin), b_.I64(plus)), kLanes, count);
    };
    const int64_t channels = p_.dst_channels;
    const bool whole = plan_.parts == 1;
    if (whole && plan_.Granularity() % kRandomBlock == 0) {
      Loop(flat.begin, flat.end, kRandomBlock, [&](Val at) {
        std::vector<Point> points;
        std::vector<Val> sums;
        for (int64_t plus = 0; plus < kRandomBlock; plus += kLanes) {
          points.push_back({.flat = b_.Add(at, b_.I64(plus)), .aligned = true});
          sums.push_back(sum(at, plus, kNoVal));
        }
        epilogue_->Emit(points, sums, /*block=*/true);
      });
      return;
    }
    if (whole && (channels % kLanes == 0 || channels < kLanes / 2)) {
      Loop(flat.begin, flat.end, kLanes, [&](Val at) {
        const bool aligned = channels % kLanes == 0;
        const Val count = aligned ? kNoVal : Minus(flat.end, at), value = sum(at, 0, count);
        const Point point{.flat = at, .count = count, .aligned = aligned};
        epilogue_->Emit({&point, 1}, {&value, 1});
      });
      return;
    }
    const Range task = Channels();
    Loop(flat.begin, flat.end, channels, [&](Val pixel) {
      Loop(task.begin, task.end, kLanes, [&](Val column) {
        const Val at = b_.Add(pixel, column), count = channels % kLanes == 0 ? kNoVal : Minus(task.end, column),
                  value = sum(at, 0, count);
        const Point point{
            .flat = at, .count = count, .aligned = channels % kLanes == 0, .in_row = true, .column = column};
        epilogue_->Emit({&point, 1}, {&value, 1});
      });
    });
  }

  const Cluster& cluster_;
  const Node& anchor_;
  const ConvProblem& p_;
  const FilterLayout layout_;
  const ConvPlan plan_;
  const ConvSource source_;
  KernelBuilder b_;
  ScratchSpace scratch_{b_};
  bool short_epilogue_ = true;
  ClusterIr* epilogue_ = nullptr;
  std::optional<ConvTail> tail_;
  AnchorOperand* operand_ = nullptr;
  int src_ = -1, filter_ = -1, sums_ = -1;
  Range panels_, steps_of_task_;
  Val first_ = kNoVal;       // output of the task, on the axis that is cut
  Val unit_begin_ = kNoVal;  // in the output
};

}  // namespace

LowerResult LowerConv(const Cluster& cluster, const TileLimits& limits) {
  const Node& anchor = cluster.node(*cluster.anchor);
  if (auto decline = ConvDecline(*cluster.graph, anchor)) return *std::move(decline);
  if (UsesWinograd(anchor.attrs)) return LowerWinograd(cluster, limits);
  if (auto depthwise = LowerDepthwiseConv(cluster, limits)) return *std::move(depthwise);
  const ConvProblem problem =
      ConvProblemOf(*cluster.graph, anchor, cluster.tail ? &cluster.node(*cluster.tail) : nullptr);
  if (cluster.prologue == 0 && !cluster.tail && GoesByPositions(problem))
    return LowerConvByPositions(cluster, problem, limits);
  return ConvLowering(cluster, problem, limits).Lower();
}

}  // namespace weir::jit
