// Convolutions and input gradients by positions (positions_plan.h): a tile of images by vectors of output channels at
// one output position, whose sums are carried by loops over the taps inside of the source and their channels, then the
// epilogue. A long epilogue runs over a tile's sums, stored in scratch, so that its code is there once.
#include <algorithm>
#include <vector>

#include "weir/backends/llvm/conv_accept.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/positions_plan.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kUnroll = 4;             // terms of a round
constexpr int64_t kNearPanel = 24 * 1024;  // bytes; of larger panels of the filter,
constexpr int64_t kAhead = 24;             // terms ahead are fetched from the next cache
constexpr int64_t kPackAhead = 16;         // terms that are fetched from memory ahead of packing them

class PositionsKernel {
 public:
  PositionsKernel(const Cluster& cluster, const ConvProblem& problem, const TileLimits& limits)
      : cluster_(cluster),
        p_(problem),
        short_epilogue_(HasShortEpilogue(cluster)),
        b_(Describe(cluster)),
        epilogue_(b_, cluster),
        plan_(problem, limits, epilogue_.has_counter()),
        task_(b_.Task()) {
    row_ = plan_.packed ? plan_.width() : p_.dst_channels;
    for (int a = 0; a < 3; ++a) {
      stride_[a] = p_.src_channels;
      for (int after = a + 1; after < 3; ++after) stride_[a] *= p_.axis[after].src;
    }
  }

  Lowering Lower() {
    EmitKernel();
    Lowering lowering;
    lowering.kernel = StrCat("jit, direct by positions, ", plan_.images.size, "x", plan_.vectors,
                             plan_.packed ? ", filter packed by panels" : "", ", ", plan_.tasks(), " tasks");
    lowering.in_place = PointwisePairs(cluster_);
    const int64_t scratch = packed_floats() + (short_epilogue_ ? 0 : plan_.images.size * plan_.width());
    lowering.stages.push_back(MakeStage(b_.Take(), plan_.tasks(), scratch * BytesOf(Elem::kF32)));
    return lowering;
  }

 private:
  // A panel of output channels of a group; `column` is its first, of the group's.
  struct Panel {
    Val group = kNoVal, column = kNoVal;
    Val filter = kNoVal;  // its element at the first used tap
  };
  // The taps of a position along an axis that lie inside: how many, the source coordinate of the first and its place
  // among the used ones.
  struct Taps {
    Val count = kNoVal, src = kNoVal, place = kNoVal;
  };

  int64_t packed_floats() const { return plan_.packed ? plan_.panel_floats() : 0; }
  int64_t tap_floats() const { return p_.group_src * row_; }
  int64_t src_image() const { return p_.src_pixels() * p_.src_channels; }
  int64_t dst_image() const { return p_.dst_pixels() * p_.dst_channels; }
  Val Minus(Val a, Val c) { return b_.Add(a, b_.Mul(c, -1)); }
  Val NotNegative(Val a) {
    if (b_.IsConst(a)) return b_.I64(std::max<int64_t>(0, b_.ConstBits(a)));
    return b_.Select(b_.Binary(IrOp::kLt, a, b_.I64(0)), b_.I64(0), a);
  }
  int Input(size_t operand) {
    const int index = cluster_.input_index(cluster_.node(*cluster_.anchor).inputs[operand]);
    return b_.Buffer({IrBuffer::Kind::kInput, index, Elem::kF32, 0});
  }

  void EmitKernel() {
    src_ = Input(0);
    filter_in_ = Input(1);
    filter_ = plan_.packed ? b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, 0}) : filter_in_;
    if (!short_epilogue_)
      sums_ = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, packed_floats() * BytesOf(Elem::kF32)});
    const Val first = b_.Mul(b_.Div(task_, plan_.blocks), plan_.part);
    const Val begin = b_.Mul(b_.Rem(task_, plan_.blocks), plan_.block);
    const Val end = b_.Min(b_.Add(begin, b_.I64(plan_.block)), b_.I64(plan_.items));
    b_.Loop(first, b_.Min(b_.Add(first, b_.I64(plan_.part)), b_.I64(plan_.units)), 1, [&](Val unit) {
      Panel panel{.group = b_.Div(unit, plan_.panels), .column = b_.Mul(b_.Rem(unit, plan_.panels), plan_.width())};
      panel.filter = b_.I64(0);
      if (plan_.packed) {
        Pack(panel);
      } else {
        panel.filter = b_.Add(b_.Add(b_.Mul(panel.group, p_.group_dst), panel.column), b_.I64(FirstUsed()));
      }
      // Items of large tiles of images come before those of small ones.
      const int64_t positions = p_.dst_pixels(), large = plan_.images.large * positions;
      Items(panel, begin, b_.Min(end, b_.I64(large)), plan_.images.size);
      if (plan_.images.small == 0) return;
      const Val from = b_.Select(b_.Binary(IrOp::kLt, begin, b_.I64(large)), b_.I64(large), begin);
      Items(panel, from, end, plan_.images.size - 1);
    });
  }

  // Element of the first used tap of a filter in place, which is in the order of the sum.
  int64_t FirstUsed() const {
    int64_t tap = 0;
    for (int a = 0; a < 3; ++a) tap = tap * p_.axis[a].window + plan_.used[a].begin;
    return tap * p_.group_src * p_.dst_channels;
  }

  // ---- The filter ---------------------------------------------------------------------------------------------------
  void Pack(const Panel& panel) {
    const auto over = [&](int a, const auto& body) {
      b_.Loop(b_.I64(plan_.used[a].begin), b_.I64(plan_.used[a].end), 1, body);
    };
    over(0, [&](Val k0) {
      over(1, [&](Val k1) {
        over(2, [&](Val k2) {
          const Val k[3] = {k0, k1, k2};
          Val position = b_.I64(0), place = b_.I64(0);
          for (int a = 0; a < 3; ++a) {
            position = b_.Add(b_.Mul(position, p_.axis[a].window), k[a]);
            place = b_.Add(b_.Mul(place, plan_.used[a].size()), b_.Add(k[a], b_.I64(-plan_.used[a].begin)));
          }
          PackTap(panel, position, b_.Mul(place, tap_floats()));
        });
      });
    });
  }

  void PackTap(const Panel& panel, Val position, Val to) {
    const TileShape tile{.rows = 1, .vectors = plan_.vectors, .parts = plan_.parts_of_vector};
    PanelPack pack{.src = filter_in_,
                   .dst = filter_,
                   .to = to,
                   .begin = panel.column,
                   .end = b_.Add(panel.column, b_.I64(plan_.width())),
                   .columns = p_.group_dst,
                   .terms = b_.I64(p_.group_src)};
    if (p_.transposed) {
      const Val tap = Minus(b_.I64(p_.taps() - 1), position);
      pack.from = b_.Add(b_.Mul(tap, p_.group_dst * p_.src_channels), b_.Mul(panel.group, p_.group_src));
      pack.pitch = p_.src_channels;
      PackTransposed(b_, tile, pack, /*whole=*/p_.group_src % kLanes == 0);
    } else {
      pack.from = b_.Add(b_.Mul(position, p_.group_src * p_.dst_channels), b_.Mul(panel.group, p_.group_dst));
      pack.pitch = p_.dst_channels;
      pack.ahead = kPackAhead;
      PackPanels(b_, tile, pack);
    }
  }

  // ---- Tiles --------------------------------------------------------------------------------------------------------
  // Items [begin, end), of tiles of `size` images.
  void Items(const Panel& panel, Val begin, Val end, int64_t size) {
    const int64_t positions = p_.dst_pixels();
    b_.Loop(begin, end, 1, [&](Val item) {
      const Val position = b_.Rem(item, positions), image = plan_.images.Begin(b_, b_.Div(item, positions));
      const TileShape tile{.rows = size, .vectors = plan_.vectors};
      const Val dst = b_.Add(b_.Mul(image, dst_image()), b_.Mul(position, p_.dst_channels));
      Hand(panel, tile, b_.Add(dst, b_.Add(b_.Mul(panel.group, p_.group_dst), panel.column)),
           TileSums(panel, tile, image, position));
    });
  }

  Sums TileSums(const Panel& panel, const TileShape& tile, Val image, Val position) {
    const Val at[3] = {b_.Div(position, p_.axis[1].dst * p_.axis[2].dst),
                       b_.Rem(b_.Div(position, p_.axis[2].dst), p_.axis[1].dst), b_.Rem(position, p_.axis[2].dst)};
    Val src = b_.Add(b_.Mul(image, src_image()), b_.Mul(panel.group, p_.group_src)), place = b_.I64(0);
    Val count[3];
    for (int a = 0; a < 3; ++a) {
      const Taps taps = TapsAt(a, p_.axis[a].dst == 1 ? b_.I64(0) : at[a]);
      count[a] = taps.count;
      src = b_.Add(src, b_.Mul(taps.src, stride_[a]));
      place = b_.Add(b_.Mul(place, places(a)), taps.place);
    }
    TileOperands operands{.row_buffer = src_, .column_buffer = filter_};
    operands.row_pitch = src_image();
    operands.row_step = 1;
    operands.column_step = row_;
    if (!plan_.packed) operands.counts = ColumnCounts(b_, tile, panel.column, p_.group_dst);
    if (!plan_.packed || plan_.panel_floats() * BytesOf(Elem::kF32) > kNearPanel) operands.ahead = kAhead;
    return Terms(tile, operands, count, 0, src, b_.Add(panel.filter, b_.Mul(place, tap_floats())), ZeroSums(b_, tile));
  }
  // Taps along an axis of the filter as it is read.
  int64_t places(int a) const { return plan_.packed ? plan_.used[a].size() : p_.axis[a].window; }

  Taps TapsAt(int a, Val at) {
    const ConvAxis& axis = p_.axis[a];
    const Val j = b_.Div(at, axis.step), which = b_.Rem(at, axis.step);
    const auto of_phase = [&](int64_t AxisPhase::*member) {
      Val value = b_.I64(axis.phases[0].*member);
      for (size_t i = 1; i < axis.phases.size(); ++i) {
        const Val other = b_.I64(axis.phases[i].*member);
        if (other == value) continue;
        value = b_.Select(b_.Binary(IrOp::kEq, which, b_.I64(static_cast<int64_t>(i))), other, value);
      }
      return value;
    };
    // The same of all phases.
    const int64_t delta = axis.phases[0].delta, period = axis.phases[0].period;
    const Val first = b_.Add(of_phase(&AxisPhase::base), b_.Mul(j, axis.advance)), all = of_phase(&AxisPhase::taps);
    Taps taps{
        .count = all, .src = first, .place = b_.Add(of_phase(&AxisPhase::position), b_.I64(-plan_.used[a].begin))};
    if (axis.all_inside()) return taps;
    const auto reach = [&](Val distance) { return b_.Div(b_.Add(NotNegative(distance), b_.I64(delta - 1)), delta); };
    const Val low = reach(b_.Mul(first, -1)), high = b_.Min(all, reach(Minus(b_.I64(axis.src), first)));
    taps.count = NotNegative(Minus(high, low));
    taps.src = b_.Add(first, b_.Mul(low, delta));
    taps.place = b_.Add(taps.place, b_.Mul(low, period));
    return taps;
  }

  // Adds the terms of taps along the axes from `a` on.
  Sums Terms(const TileShape& tile, TileOperands& operands, const Val* count, int a, Val src, Val filter, Sums sums) {
    const AxisPhase& phase = p_.axis[std::min(a, 2)].phases[0];
    const int64_t src_step = a < 3 ? phase.delta * stride_[a] : 0, filter_step = a < 3 ? FilterStep(a) : 0;
    // The channels of one tap go on from those of the last.
    const bool joined = a == 2 && src_step == p_.group_src && filter_step == tap_floats();
    if (a == 3 || joined) {
      operands.row = src;
      operands.column = filter;
      const Val terms = joined ? b_.Mul(count[2], p_.group_src) : b_.I64(p_.group_src);
      return AddTerms(b_, tile, operands, terms, sums, std::min(kUnroll, p_.group_src));
    }
    if (b_.IsConst(count[a]) && b_.ConstBits(count[a]) == 1)
      return Terms(tile, operands, count, a + 1, src, filter, std::move(sums));
    return b_.For(b_.I64(0), count[a], 1, sums, [&](Val t, const Sums& acc) {
      return Terms(tile, operands, count, a + 1, b_.Add(src, b_.Mul(t, src_step)),
                   b_.Add(filter, b_.Mul(t, filter_step)), acc);
    });
  }
  // Floats of the filter from one tap of a sum along an axis to the next.
  int64_t FilterStep(int a) const {
    int64_t step = p_.axis[a].phases[0].period * tap_floats();
    for (int after = a + 1; after < 3; ++after) step *= places(after);
    return step;
  }

  // ---- The epilogue -------------------------------------------------------------------------------------------------
  void Hand(const Panel& panel, const TileShape& tile, Val flat, const Sums& sums) {
    const bool vectors = p_.group_dst % kLanes == 0 && p_.dst_channels % kLanes == 0;
    const std::vector<Val> counts = ColumnCounts(b_, tile, panel.column, p_.group_dst);
    const Val column = b_.Add(b_.Mul(panel.group, p_.group_dst), panel.column);
    if (!short_epilogue_) {
      StoreSums(b_, tile, sums, sums_, b_.I64(0), plan_.width(), {});
      const bool whole = p_.group_dst % plan_.width() == 0;
      b_.Loop(b_.I64(0), b_.I64(tile.rows), 1, [&](Val i) {
        EmitRange(b_, epilogue_,
                  {.buffer = sums_,
                   .base = b_.Mul(i, plan_.width()),
                   .flat = b_.Add(flat, b_.Mul(i, dst_image())),
                   .count = whole ? b_.I64(plan_.width())
                                  : b_.Min(b_.I64(plan_.width()), Minus(b_.I64(p_.group_dst), panel.column)),
                   .whole = vectors,
                   .aligned = vectors,
                   .blocks = p_.group_dst % kRandomBlock == 0 && plan_.width() % kRandomBlock == 0,
                   .column = column});
      });
      return;
    }
    std::vector<Point> points;
    for (int64_t i = 0; i < tile.rows; ++i) {
      for (int64_t v = 0; v < tile.vectors; ++v) {
        points.push_back({.flat = b_.Add(flat, b_.I64(i * dst_image() + v * kLanes)),
                          .count = counts[static_cast<size_t>(v)],
                          .aligned = vectors,
                          .in_row = true,
                          .column = b_.Add(column, b_.I64(v * kLanes))});
      }
    }
    epilogue_.Emit(points, sums);
  }

  const Cluster& cluster_;
  const ConvProblem& p_;
  const bool short_epilogue_;
  KernelBuilder b_;
  ClusterIr epilogue_;
  const PositionsPlan plan_;
  const Val task_;
  int64_t row_ = 0;    // floats of the filter from term to term
  int64_t stride_[3];  // of the source
  int src_ = -1, filter_in_ = -1, filter_ = -1, sums_ = -1;
};

}  // namespace

Lowering LowerConvByPositions(const Cluster& cluster, const ConvProblem& problem, const TileLimits& limits) {
  return PositionsKernel(cluster, problem, limits).Lower();
}

}  // namespace weir::jit
