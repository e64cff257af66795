// Convolutions and their input gradients: register tiles of pixels by vectors of output channels, whose sums are carried
// by loops over taps and channels, then the epilogue.
//
// A task computes some images, or a part of one along its outermost axis, unit by unit (some rows). Sums stay in
// registers for an epilogue that is short; a long one runs over a unit's sums, stored in scratch.
#include <limits>
#include <numeric>
#include <span>

#include "weir/backends/llvm/conv_ir.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr double kTaskFlops = 4e6;             // 20 us
constexpr double kLeastFlops = 1e6;            // of the parts of an image, and of parts of the output channels
constexpr int64_t kTasks = 16;                 // enough for eight threads
constexpr int64_t kPackTaskFloats = 32 * 1024;
constexpr int64_t kStraightTerms = 32;         // sums this short need no loop
constexpr int64_t kUnroll = 4;                 // terms of a round of longer ones
constexpr int64_t kMostPixels = 12;            // of a tile; fewer with many vectors a pixel
constexpr int64_t kUnitPixels = 64;            // rows copied, and sums kept, at a time: within the first-level cache
constexpr int64_t kLargeFilter = 192 * 1024;   // bytes; larger ones come from beyond the first-level cache each time,
constexpr int64_t kUnitOfLarge = 192;          // so that more pixels have to share them
constexpr int64_t kRowInPlace = 64;            // floats; a filter with longer rows maps to few sets of a cache: packed
constexpr int64_t kShortEpilogue = 24;         // instructions a vector that are repeated for every vector of a tile
constexpr size_t kFewClasses = 8;              // of phases; more get small tiles, since each has code of its own

// The filter as kernels read it: in place, or packed into panels of `vectors` vectors by a stage of its own.
struct FilterLayout {
  bool packed = false;
  int64_t vectors = 1, panels = 0;  // whole panels of a group's output channels
  int64_t rest = 0;                 // vectors of one more panel
  int64_t group_src = 0, taps = 0, in_place_row = 0;

  int64_t all_panels() const { return panels + (rest > 0 ? 1 : 0); }
  int64_t row(int64_t panel_vectors) const { return packed ? panel_vectors * kLanes : in_place_row; }
  int64_t panel_floats() const { return packed ? taps * group_src * vectors * kLanes : vectors * kLanes; }
  int64_t group_floats() const { return taps * group_src * (panels * vectors + rest) * kLanes; }
};

FilterLayout LayoutFilter(const ConvProblem& p, int64_t registers) {
  FilterLayout layout{.group_src = p.group_src, .taps = p.taps(), .in_place_row = p.dst_channels};
  const int64_t vectors = CeilDiv(p.depthwise ? p.dst_channels : p.group_dst, kLanes);
  // Two vectors share a pixel's broadcast. Three where that leaves no rest, if there are registers for enough pixels.
  layout.vectors = registers < 2 * kLanes || p.depthwise ? 1 : vectors == 3 || (vectors % 3 == 0 && vectors % 2 != 0) ? 3 : std::min<int64_t>(vectors, 2);
  layout.panels = vectors / layout.vectors;
  layout.rest = vectors % layout.vectors;
  layout.packed = !p.depthwise && (p.transposed || p.group_dst % kLanes != 0 || p.dst_channels > kRowInPlace);
  return layout;
}

class ConvLowering {
 public:
  ConvLowering(const Cluster& cluster, ConvProblem problem, int64_t registers)
      : cluster_(cluster), anchor_(cluster.node(*cluster.anchor)), p_(std::move(problem)),
        layout_(LayoutFilter(p_, registers)), b_(Describe(cluster)) {
    Classes(registers);
    Split();
    short_epilogue_ = EpilogueSize() <= kShortEpilogue;
  }

  Lowering Lower() {
    Lowering lowering;
    lowering.in_place = PointwisePairs(cluster_);
    if (layout_.packed) {
      lowering.workspace_bytes = p_.groups * layout_.group_floats() * BytesOf(Elem::kF32);
      lowering.stages.push_back(PackFilter());
    }
    const ConvSource source(p_, unit_level_ == 0 ? 0 : unit_level_ - 1, SlabOutputs(), unit_level_ == 0 ? unit_ * tiling().size : 1);
    source_ = &source;
    EmitKernel();
    const int64_t scratch = source.scratch_floats() + (short_epilogue_ ? 0 : UnitFloats());
    lowering.kernel = StrCat("jit, ", p_.depthwise ? "depthwise " : "direct ", tiling().size * inner_, "x", layout_.vectors,
                             source.copied() ? ", padded copy" : "", layout_.packed ? ", packed filter" : "", ", ", tasks_, " tasks");
    lowering.stages.push_back(MakeStage(b_.Take(), tasks_, scratch * BytesOf(Elem::kF32)));
    return lowering;
  }

 private:
  // One phase of each axis. Levels of the loops over its pixels: images, then the axes.
  struct Class {
    const AxisPhase* phase[3];
    int64_t count[4];
    Tiling tiling;  // of the tile level
  };
  // Where a panel of output channels lies.
  struct Panel {
    Val group = kNoVal, column = kNoVal;  // channels of the whole output
    Val filter = kNoVal, left = kNoVal;   // channels from its first to the group's end
    int64_t vectors = 0;
  };
  struct Range {
    Val begin = kNoVal, end = kNoVal;
  };

  // ---- Blocking ------------------------------------------------------------------------------------------------------
  void Classes(int64_t registers) {
    for (const AxisPhase& a : p_.axis[0].phases) {
      for (const AxisPhase& b : p_.axis[1].phases) {
        for (const AxisPhase& c : p_.axis[2].phases) {
          classes_.push_back({.phase = {&a, &b, &c}, .count = {p_.batch, a.count, b.count, c.count}, .tiling = {}});
        }
      }
    }
    // Sums, a panel's row of the filter, and a broadcast or two.
    int64_t most = std::min((registers - layout_.vectors - 1) / layout_.vectors, kMostPixels);
    // The pixels that a row of taps reads stay in registers.
    if (p_.depthwise) most = std::min((registers - 3) / 2, kMostPixels);
    if (classes_.size() > kFewClasses) most = std::min<int64_t>(most, 4);
    const int64_t* count = classes_[0].count;
    if (classes_.size() == 1) {
      while (tile_level_ > 0 && 2 * inner_ * count[tile_level_] <= most) inner_ *= count[tile_level_--];
    }
    for (Class& c : classes_) c.tiling = TilingOf(c.count[tile_level_], most / inner_);
    unit_level_ = tile_level_ == 0 ? 0 : 3;
    for (int level = 3; level > 0 && unit_level_ != 0; --level) {
      if (p_.axis[level - 1].dst > 1) unit_level_ = level;
    }
    if (unit_level_ == 0) {
      steps_ = tiling().tiles();
    } else {
      const ConvAxis& axis = p_.axis[unit_level_ - 1];
      steps_ = tile_level_ == unit_level_ ? tiling().tiles() : CeilDiv(axis.dst, axis.step);
    }
  }
  const Tiling& tiling() const { return classes_[0].tiling; }
  bool one_class() const { return classes_.size() == 1; }
  int64_t GroupChannels() const { return p_.depthwise ? p_.dst_channels : p_.group_dst; }
  int64_t SrcStep(int level) const {
    return level == 0 ? source_->image_floats() : p_.axis[level - 1].advance * source_->stride(level - 1);
  }
  int64_t DstStep(int level) const {
    int64_t step = p_.dst_channels * (level == 0 ? 1 : p_.axis[level - 1].step);
    for (int a = level; a < 3; ++a) step *= p_.axis[a].dst;
    return step;
  }
  // Floats of the output in a step of the unit level, at most.
  int64_t StepFloats() const { return DstStep(unit_level_) * (tile_level_ == unit_level_ ? tiling().size : 1); }
  int64_t UnitFloats() const { return one_class() ? unit_ * StepFloats() : std::min(block_ * StepFloats(), DstStep(0)); }

  void Split() {
    const int64_t filter_bytes = p_.taps() * layout_.group_src * p_.dst_channels * BytesOf(Elem::kF32);
    const int64_t wanted = filter_bytes > kLargeFilter ? kUnitOfLarge : kUnitPixels;
    unit_ = std::min(steps_, std::max<int64_t>(1, wanted * p_.dst_channels / StepFloats()));
    const double flops = std::max(p_.flops(), 1.0), image = flops / static_cast<double>(p_.batch);
    int64_t regions;
    block_ = steps_;
    if (unit_level_ == 0) {
      const double step = flops / static_cast<double>(steps_);
      block_ = TaskSize(steps_, std::max<int64_t>(1, static_cast<int64_t>(kTaskFlops / step)), 1);
      regions = blocks_ = CeilDiv(steps_, block_);
    } else {
      images_ = TaskSize(p_.batch, std::max<int64_t>(1, static_cast<int64_t>(kTaskFlops / image)), 1);
      const int64_t parts = std::min(CeilDiv(kTasks, p_.batch), static_cast<int64_t>(image / kLeastFlops));
      const bool cuttable = one_class() || tile_level_ != unit_level_;
      if (images_ == 1 && parts > 1 && cuttable) block_ = CeilDiv(steps_, parts);
      blocks_ = CeilDiv(steps_, block_);
      regions = CeilDiv(p_.batch, images_) * blocks_;
    }
    if (!one_class()) unit_ = block_;
    unit_ = std::min(unit_, block_);
    part_panels_ = layout_.all_panels();
    if (p_.groups == 1 || p_.depthwise) {
      const int64_t parts = std::min({CeilDiv(kTasks, regions), static_cast<int64_t>(flops / static_cast<double>(regions) / kLeastFlops), part_panels_});
      if (parts > 1) part_panels_ = CeilDiv(part_panels_, parts);
    }
    parts_ = CeilDiv(layout_.all_panels(), part_panels_);
    tasks_ = regions * parts_;
  }
  // Outputs of a phase along the axis that is cut.
  int64_t SlabOutputs() const {
    if (unit_level_ == 0 || blocks_ == 1) return p_.axis[std::max(unit_level_ - 1, 0)].dst;
    return block_ * (tile_level_ == unit_level_ ? tiling().size : 1);
  }

  int64_t EpilogueSize() const {
    KernelBuilder b("probe");
    ClusterIr epilogue(b, cluster_);
    if (epilogue.has_counter()) return kShortEpilogue + 1;
    const Val flat = b.Task(), sum = b.F32(0, kLanes);
    const int64_t before = b.size();
    const Point point{.flat = flat, .aligned = true, .in_row = true, .column = flat};
    epilogue.Emit({&point, 1}, {&sum, 1});
    return b.size() - before;
  }

  std::vector<TermLoop> TermsOf(const Class& c, int64_t panel_vectors) const {
    std::vector<TermLoop> loops;
    int64_t tap = TapFloats(panel_vectors);
    for (int a = 2; a >= 0; --a) {
      loops.insert(loops.begin(), {c.phase[a]->taps, c.phase[a]->delta * source_->stride(a), c.phase[a]->period * tap});
      tap *= p_.axis[a].window;
    }
    if (!p_.depthwise) loops.push_back({p_.group_src, 1, layout_.row(panel_vectors)});
    if (p_.depthwise && p_.transposed) loops.push_back({p_.multiplier, source_->part_floats(), 1});
    return Joined(loops);
  }
  // From one position of the filter to the next.
  int64_t TapFloats(int64_t panel_vectors) const {
    if (!p_.depthwise) return p_.group_src * layout_.row(panel_vectors);
    return p_.transposed ? -p_.src_channels : p_.dst_channels;
  }

  // ---- The packing stage ---------------------------------------------------------------------------------------------
  int Input(KernelBuilder& b, size_t operand) const {
    return b.Buffer({IrBuffer::Kind::kInput, cluster_.input_index(anchor_.inputs[operand]), Elem::kF32, 0});
  }
  Stage PackFilter() const {
    KernelBuilder b(StrCat(Describe(cluster_), ", filter"));
    const Val task = b.Task();
    const int filter = Input(b, 1), packed = b.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
    const int64_t vectors = layout_.panels * layout_.vectors + layout_.rest, taps = p_.taps();
    const int64_t units = p_.groups * vectors * taps;  // a tap of a vector of channels
    const int64_t per_task = TaskSize(units, std::max<int64_t>(1, kPackTaskFloats / (p_.group_src * kLanes)), 1);
    const Val begin = b.Mul(task, per_task);
    b.Loop(begin, b.Min(b.Add(begin, b.I64(per_task)), b.I64(units)), 1, [&](Val unit) {
      const Val position = b.Rem(unit, taps), rest = b.Div(unit, taps), group = b.Div(rest, vectors);
      const Val vector = b.Rem(rest, vectors), panel = b.Div(vector, layout_.vectors), column = b.Mul(vector, kLanes);
      const auto of_panel = [&](int64_t whole, int64_t last) {
        if (layout_.rest == 0) return b.I64(whole);
        return b.Select(b.Binary(IrOp::kEq, panel, b.I64(layout_.panels)), b.I64(last), b.I64(whole));
      };
      const Val row = of_panel(layout_.row(layout_.vectors), layout_.row(layout_.rest));
      const Val tap_floats = b.Mul(row, p_.group_src);
      Val to = b.Add(b.Mul(group, layout_.group_floats()), b.Mul(panel, layout_.panel_floats()));
      to = b.Add(b.Add(to, b.Binary(IrOp::kMul, position, tap_floats)), b.Mul(b.Rem(vector, layout_.vectors), kLanes));
      const Val count = p_.group_dst % kLanes == 0 ? kNoVal : b.Add(b.I64(p_.group_dst), b.Mul(column, -1));
      const Val tap = p_.transposed ? b.Add(b.I64(taps - 1), b.Mul(position, -1)) : position;
      // The filter's element of the first channel on either side.
      const Val from = p_.transposed ? b.Add(b.Mul(b.Add(b.Mul(tap, p_.group_dst), column), p_.src_channels), b.Mul(group, p_.group_src))
                                     : b.Add(b.Mul(tap, p_.group_src * p_.dst_channels), b.Add(b.Mul(group, p_.group_dst), column));
      const IrType index{Elem::kI32, kLanes};
      const Val lanes = b.Binary(IrOp::kMul, b.Iota(index), b.Const(index, p_.src_channels));
      b.Loop(b.I64(0), b.I64(p_.group_src), 1, [&](Val c) {
        Val values;
        if (p_.transposed) {
          const Val first = b.Splat(b.Convert(b.Add(from, c), Elem::kI32), kLanes);
          values = b.Gather(filter, b.Binary(IrOp::kAdd, first, lanes), count);
        } else {
          values = b.Load(filter, b.Add(from, b.Mul(c, p_.dst_channels)), kLanes, count);
        }
        b.Store(packed, values, b.Add(to, b.Binary(IrOp::kMul, c, row)));
      });
    });
    return MakeStage(b.Take(), CeilDiv(units, per_task));
  }

  // ---- The kernel ----------------------------------------------------------------------------------------------------
  void EmitKernel() {
    const Val task = b_.Task();
    ClusterIr epilogue(b_, cluster_);
    epilogue_ = &epilogue;
    src_input_ = src_ = Input(b_, 0);
    if (source_->copied()) src_ = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, 0});
    filter_ = layout_.packed ? b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0}) : Input(b_, 1);
    if (!short_epilogue_) sums_ = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, source_->scratch_floats() * BytesOf(Elem::kF32)});
    const Val first_panel = b_.Mul(b_.Rem(task, parts_), part_panels_);
    panels_ = {first_panel, b_.Min(b_.Add(first_panel, b_.I64(part_panels_)), b_.I64(layout_.all_panels()))};
    const Val region = b_.Div(task, parts_), begin = b_.Mul(b_.Rem(region, blocks_), block_);
    steps_of_task_ = {begin, b_.Min(b_.Add(begin, b_.I64(block_)), b_.I64(steps_))};
    if (unit_level_ == 0) {
      Units(kNoVal);
      return;
    }
    const Val image = b_.Mul(b_.Div(region, blocks_), images_);
    Loop(image, b_.Min(b_.Add(image, b_.I64(images_)), b_.I64(p_.batch)), 1, [&](Val i) { Units(i); });
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

  // First output, on the unit level, of a step.
  Val Output(Val step) { return tile_level_ == unit_level_ ? tiling().Begin(b_, step) : step; }
  Val Minus(Val a, Val c) { return b_.Add(a, b_.Mul(c, -1)); }

  void Units(Val image) {
    const bool by_slabs = source_->by_slabs() && unit_level_ > 0;
    first_ = blocks_ > 1 && unit_level_ > 0 && source_->copied() ? Output(steps_of_task_.begin) : b_.I64(0);
    if (source_->copied() && unit_level_ > 0 && !by_slabs) {
      source_->Copy(b_, src_input_, src_, image, first_, b_.I64(0), b_.I64(0), b_.I64(source_->slabs()));
    }
    const std::vector<Val> inits = by_slabs ? std::vector<Val>{b_.I64(0)} : std::vector<Val>();
    b_.For(steps_of_task_.begin, steps_of_task_.end, unit_, inits, [&](Val begin, const std::vector<Val>& copied) {
      const Range unit{begin, b_.Min(b_.Add(begin, b_.I64(unit_)), steps_of_task_.end)};
      std::vector<Val> slabs;
      if (by_slabs) {
        slabs.push_back(source_->SlabsFor(b_, Minus(Output(unit.end), first_)));
        source_->Copy(b_, src_input_, src_, image, first_, b_.I64(0), copied[0], slabs[0]);
      }
      if (unit_level_ == 0 && source_->copied()) {
        const Val base = Output(unit.begin);
        Loop(base, Output(unit.end), 1, [&](Val i) {
          source_->Copy(b_, src_input_, src_, i, b_.I64(0), Minus(i, base), b_.I64(0), b_.I64(source_->slabs()));
        });
      }
      Unit(image, unit);
      return slabs;
    });
  }

  void Unit(Val image, Range unit) {
    const Val start = image == kNoVal ? b_.I64(0) : b_.Mul(image, DstStep(0));
    Range flat{b_.Add(start, b_.Mul(Output(unit.begin), DstStep(unit_level_))),
               b_.Add(start, b_.Mul(Output(unit.end), DstStep(unit_level_)))};
    if (!one_class()) {
      // All phases of the task's part of an image.
      const bool whole = tile_level_ == unit_level_;
      if (whole) flat.begin = start;
      flat.end = b_.Add(start, whole ? b_.I64(DstStep(0)) : b_.Min(b_.Mul(unit.end, DstStep(unit_level_)), b_.I64(DstStep(0))));
    }
    unit_begin_ = flat.begin;
    Loop(b_.I64(0), b_.I64(p_.depthwise ? 1 : p_.groups), 1, [&](Val group) {
      if (layout_.panels > 0) {
        Loop(panels_.begin, b_.Min(panels_.end, b_.I64(layout_.panels)), 1, [&](Val panel) { OnePanel(image, unit, group, panel, layout_.vectors); });
      }
      if (layout_.rest > 0) {
        const auto rest = [&] { OnePanel(image, unit, group, b_.I64(layout_.panels), layout_.rest); };
        if (parts_ == 1) {
          rest();
        } else {
          b_.If(b_.Binary(IrOp::kLt, b_.I64(layout_.panels), panels_.end), rest);
        }
      }
    });
    if (!short_epilogue_) Finish(flat);
  }

  void OnePanel(Val image, Range unit, Val group, Val index, int64_t vectors) {
    Panel panel{.group = group, .vectors = vectors};
    const Val within = b_.Mul(index, layout_.vectors * kLanes);
    const int64_t channels = GroupChannels();
    panel.column = b_.Add(b_.Mul(group, channels), within);
    if (channels % kLanes != 0) panel.left = Minus(b_.I64(channels), within);
    panel.filter = p_.depthwise ? b_.Mul(within, FilterStep()) : b_.Add(b_.Mul(group, layout_.packed ? layout_.group_floats() : channels), b_.Mul(index, layout_.panel_floats()));
    for (const Class& c : classes_) {
      Val src = b_.Mul(group, p_.group_src);
      Val dst = image == kNoVal ? b_.I64(0) : b_.Mul(image, DstStep(0));
      int64_t src_first = 0, dst_first = 0;
      for (int a = 0; a < 3; ++a) {
        src_first += c.phase[a]->base * source_->stride(a) + source_->origin(a);
        dst_first += c.phase[a]->first * DstStep(a + 1) / p_.axis[a].step;
      }
      if (p_.depthwise) src = panel.column;
      if (image != kNoVal && !source_->copied()) src = b_.Add(src, b_.Mul(image, SrcStep(0)));
      src = b_.Add(src, b_.Mul(first_, unit_level_ == 0 ? 0 : -SrcStep(unit_level_)));
      if (unit_level_ == 0 && source_->copied()) src = Minus(src, b_.Mul(Output(unit.begin), SrcStep(0)));
      Pixels(c, panel, unit, unit_level_, b_.Add(src, b_.I64(src_first)), b_.Add(dst, b_.I64(dst_first)));
    }
  }

  // The loops over pixels from `level` on.
  void Pixels(const Class& c, const Panel& panel, Range unit, int level, Val src, Val dst) {
    Range range{b_.I64(0), b_.I64(level == tile_level_ ? c.tiling.tiles() : c.count[level])};
    if (level == unit_level_ && one_class()) range = unit;
    if (level == unit_level_ && !one_class() && level != tile_level_) range = {unit.begin, b_.Min(unit.end, range.end)};
    const auto at = [&](Val base, Val index, int64_t step) { return b_.Add(base, b_.Mul(index, step)); };
    if (level < tile_level_) {
      Loop(range.begin, range.end, 1, [&](Val i) {
        Pixels(c, panel, unit, level + 1, at(src, i, SrcStep(level)), at(dst, i, DstStep(level)));
      });
      return;
    }
    const Tiling& tiling = c.tiling;
    const auto tiles = [&](Val begin, Val end, int64_t size, int64_t behind) {
      Loop(begin, end, 1, [&](Val tile) {
        const Val i = b_.Add(b_.Mul(tile, size), b_.I64(behind));
        Tile(c, panel, size, at(src, i, SrcStep(level)), at(dst, i, DstStep(level)));
      });
    };
    tiles(range.begin, b_.Min(range.end, b_.I64(tiling.large)), tiling.size, 0);
    if (tiling.small == 0) return;
    const Val large = b_.I64(tiling.large);
    const Val begin = b_.IsConst(range.begin) ? b_.I64(std::max(b_.ConstBits(range.begin), tiling.large))
                                              : b_.Select(b_.Binary(IrOp::kLt, range.begin, large), large, range.begin);
    tiles(begin, range.end, tiling.size - 1, tiling.large);
  }

  // ---- Tiles ---------------------------------------------------------------------------------------------------------
  struct TileState {
    std::vector<int64_t> src_offset;  // of each pixel
    const Panel* panel = nullptr;
  };

  void Tile(const Class& c, const Panel& panel, int64_t size, Val src, Val dst) {
    TileState tile{.src_offset = {0}, .panel = &panel};
    std::vector<int64_t> dst_offset = {0};
    for (int level = 3; level >= tile_level_; --level) {
      std::vector<int64_t> more_src, more_dst;
      for (int64_t i = 0; i < (level == tile_level_ ? size : c.count[level]); ++i) {
        for (size_t k = 0; k < tile.src_offset.size(); ++k) {
          more_src.push_back(tile.src_offset[k] + i * SrcStep(level));
          more_dst.push_back(dst_offset[k] + i * DstStep(level));
        }
      }
      tile.src_offset = std::move(more_src);
      dst_offset = std::move(more_dst);
    }
    std::vector<Val> sums(dst_offset.size() * static_cast<size_t>(panel.vectors), b_.F32(0, kLanes));
    bool empty = false;
    for (const AxisPhase* phase : c.phase) empty |= phase->taps == 0;
    if (!empty) {
      int64_t position = 0;
      const std::vector<TermLoop> loops = TermsOf(c, panel.vectors);
      for (int a = 0; a < 3; ++a) position = position * p_.axis[a].window + c.phase[a]->position;
      if (p_.depthwise && p_.transposed) position -= p_.taps() - 1;
      const At filter{panel.filter, position * TapFloats(panel.vectors)};
      int64_t terms = 1;
      for (const TermLoop& loop : loops) terms *= loop.count;
      sums = Terms(tile, loops, terms, {src, 0}, filter, std::move(sums));
    }
    Hand(panel, dst, dst_offset, sums);
  }

  // An index and a constant to add to it: addresses of a tile differ by constants.
  struct At {
    Val base;
    int64_t plus;
    At operator+(int64_t more) const { return {base, plus + more}; }
  };
  Val Index(At at) { return b_.Add(at.base, b_.I64(at.plus)); }

  // Adds `terms` terms: those of the loops given, outermost first.
  std::vector<Val> Terms(const TileState& tile, std::span<const TermLoop> loops, int64_t terms, At src, At filter, std::vector<Val> sums) {
    if (loops.empty()) return Term(tile, src, filter, std::move(sums));
    const TermLoop& loop = loops.front();
    const int64_t inner = terms / loop.count;
    const int64_t unroll = terms <= kStraightTerms ? loop.count : inner > 1 ? 1 : std::min(kUnroll, loop.count);
    const auto straight = [&](At s, At f, int64_t count, std::vector<Val> acc) {
      for (int64_t i = 0; i < count; ++i) {
        acc = Terms(tile, loops.subspan(1), inner, s + i * loop.src, f + i * loop.filter, std::move(acc));
      }
      return acc;
    };
    const int64_t whole = unroll == loop.count ? 0 : loop.count / unroll * unroll;
    if (whole > 0) {
      sums = b_.For(b_.I64(0), b_.I64(whole), unroll, sums, [&](Val i, const std::vector<Val>& acc) {
        return straight({b_.Add(src.base, b_.Mul(i, loop.src)), src.plus}, {b_.Add(filter.base, b_.Mul(i, loop.filter)), filter.plus}, unroll, acc);
      });
    }
    return straight(src + whole * loop.src, filter + whole * loop.filter, loop.count - whole, std::move(sums));
  }

  std::vector<Val> Term(const TileState& tile, At src, At filter, std::vector<Val> sums) {
    const int64_t vectors = tile.panel->vectors;
    std::vector<Val> w, counts;
    for (int64_t v = 0; v < vectors; ++v) {
      counts.push_back(p_.depthwise ? CountOf(*tile.panel, v) : kNoVal);
      w.push_back(p_.depthwise ? DepthwiseFilter(filter, v, counts.back()) : b_.Load(filter_, Index(filter + v * kLanes), kLanes));
    }
    for (size_t p = 0; p < tile.src_offset.size(); ++p) {
      const At at = src + tile.src_offset[p];
      const Val x = p_.depthwise ? kNoVal : b_.Splat(b_.Load(src_, Index(at), 1), kLanes);
      for (int64_t v = 0; v < vectors; ++v) {
        const size_t k = static_cast<size_t>(v);
        // A copy has whole vectors.
        const Val lanes = p_.depthwise ? b_.Load(src_, Index(at + v * kLanes), kLanes, source_->copied() ? kNoVal : counts[k]) : x;
        Val& sum = sums[p * static_cast<size_t>(vectors) + k];
        sum = b_.Fma(lanes, w[k], sum);
      }
    }
    return sums;
  }
  Val DepthwiseFilter(At filter, int64_t v, Val count) {
    if (FilterStep() == 1) return b_.Load(filter_, Index(filter + v * kLanes), kLanes, count);
    const IrType type{Elem::kI32, kLanes};
    const Val first = b_.Splat(b_.Convert(Index(filter + v * kLanes * FilterStep()), Elem::kI32), kLanes);
    const Val lanes = b_.Binary(IrOp::kMul, b_.Iota(type), b_.Const(type, FilterStep()));
    return b_.Gather(filter_, b_.Binary(IrOp::kAdd, first, lanes), count);
  }
  // Floats of a depthwise filter from lane to lane.
  int64_t FilterStep() const { return p_.transposed ? p_.multiplier : 1; }
  Val CountOf(const Panel& panel, int64_t v) { return panel.left == kNoVal ? kNoVal : b_.Add(panel.left, b_.I64(-v * kLanes)); }

  // ---- The epilogue --------------------------------------------------------------------------------------------------
  void Hand(const Panel& panel, Val dst, const std::vector<int64_t>& dst_offset, const std::vector<Val>& sums) {
    std::vector<Point> points;
    const Val base = b_.Add(dst, panel.column);
    for (int64_t offset : dst_offset) {
      for (int64_t v = 0; v < panel.vectors; ++v) {
        points.push_back({.flat = b_.Add(base, b_.I64(offset + v * kLanes)), .count = CountOf(panel, v),
                          .aligned = GroupChannels() % kLanes == 0, .in_row = true,
                          .column = b_.Add(panel.column, b_.I64(v * kLanes))});
      }
    }
    if (short_epilogue_) {
      epilogue_->Emit(points, sums);
      return;
    }
    for (size_t k = 0; k < points.size(); ++k) b_.Store(sums_, sums[k], Minus(points[k].flat, unit_begin_), points[k].count);
  }

  // The long epilogue over the sums of a unit, whose outputs are neighbours.
  void Finish(Range flat) {
    const auto sum = [&](Val at, int64_t plus, Val count) {
      return b_.Load(sums_, b_.Add(Minus(at, flat.begin), b_.I64(plus)), kLanes, count);
    };
    const int64_t channels = p_.dst_channels;
    const bool whole = parts_ == 1;
    if (whole && Granularity() % kRandomBlock == 0) {
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
    const int64_t width = layout_.vectors * kLanes;
    const Val begin = b_.Mul(panels_.begin, width);
    const Val end = whole ? b_.I64(channels) : b_.Min(b_.Mul(panels_.end, width), b_.I64(channels));
    Loop(flat.begin, flat.end, channels, [&](Val pixel) {
      Loop(whole ? b_.I64(0) : begin, end, kLanes, [&](Val column) {
        const Val at = b_.Add(pixel, column), count = channels % kLanes == 0 ? kNoVal : Minus(end, column), value = sum(at, 0, count);
        const Point point{.flat = at, .count = count, .aligned = channels % kLanes == 0, .in_row = true, .column = column};
        epilogue_->Emit({&point, 1}, {&value, 1});
      });
    });
  }
  // What the first and the last output of every unit are multiples of.
  int64_t Granularity() const {
    const bool even = tile_level_ != unit_level_ || tiling().small == 0;
    const int64_t step = even ? StepFloats() : DstStep(unit_level_);
    return std::gcd(std::gcd(block_, unit_) * step, unit_level_ == 0 ? p_.batch * DstStep(0) : DstStep(0));
  }

  const Cluster& cluster_;
  const Node& anchor_;
  const ConvProblem p_;
  const FilterLayout layout_;
  KernelBuilder b_;
  std::vector<Class> classes_;
  int tile_level_ = 3;     // whose steps are cut into tiles; a tile has all of the levels below
  int64_t inner_ = 1;      // pixels of the levels below
  int unit_level_ = 3;     // whose steps (tiles, if it is the tile level) are cut into tasks and units
  int64_t steps_ = 1, unit_ = 1, block_ = 1, blocks_ = 1;
  int64_t images_ = 1;     // of a task, if it is not cut on level 0
  int64_t part_panels_ = 1, parts_ = 1, tasks_ = 1;
  bool short_epilogue_ = true;
  const ConvSource* source_ = nullptr;
  ClusterIr* epilogue_ = nullptr;
  int src_input_ = -1, src_ = -1, filter_ = -1, sums_ = -1;
  Range panels_, steps_of_task_;
  Val first_ = kNoVal, unit_begin_ = kNoVal;
};

}  // namespace

LowerResult LowerConv(const Cluster& cluster, int64_t registers) {
  const Node& node = cluster.node(*cluster.anchor);
  const bool forward = node.op->name == "conv";
  const Shape& filter = cluster.type(node.inputs[1]).shape;
  const Shape& input = forward ? cluster.type(node.inputs[0]).shape : node.outputs[0].shape;
  const ConvGeometry geometry = ConvGeometryOf(node.attrs, input, filter);
  if (filter.size() > std::numeric_limits<int32_t>::max()) return Decline{"a filter beyond 32 bits of index"};
  return ConvLowering(cluster, forward ? ForwardProblem(geometry) : InputGradientProblem(geometry), registers).Lower();
}

}  // namespace weir::jit
