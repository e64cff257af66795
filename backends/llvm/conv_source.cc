#include "weir/backends/llvm/conv_source.h"

#include <algorithm>
#include <vector>

#include "weir/backends/llvm/lowering.h"

namespace weir::jit {
namespace {

constexpr int64_t kLeastOwned = 4;    // slabs of an image for every one that is computed again
constexpr int64_t kLongPrologue = 6;  // nodes; a longer one is there once, not for each of the vectors
constexpr int64_t kUnroll = 4;        // that are copied at a time: a block of random numbers

Val Clamp(KernelBuilder& b, Val value, int64_t low, int64_t high) {
  if (b.IsConst(value)) return b.I64(std::clamp(b.ConstBits(value), low, high));
  const Val below = b.Binary(IrOp::kLt, value, b.I64(low));
  return b.Min(b.Select(below, b.I64(low), value), b.I64(high));
}

}  // namespace

ConvSource::ConvSource(const ConvProblem& problem, int slab_axis, int64_t slab, int64_t images)
    : problem_(problem), slab_axis_(slab_axis), slab_(slab), images_(images), cut_(slab < problem.axis[slab_axis].dst) {
  int64_t size[3];
  copied_ = problem.multiplier > 1;
  for (int a = 0; a < 3; ++a) {
    const ConvAxis& axis = problem.axis[a];
    const ConvAxis::Range all = axis.Reads(axis.dst), part = axis.Reads(a == slab_axis ? slab : axis.dst);
    copied_ |= all.low < 0 || all.high > axis.src;
    low_[a] = part.low;
    box_[a] = std::max<int64_t>(1, part.high - part.low);
  }
  int64_t pitch = problem.src_channels;
  if (copied_ && problem.depthwise) {
    parts_ = problem.transposed ? problem.multiplier : 1;
    pitch = parts_ * RoundUp(problem.dst_channels, kLanes);
  }
  for (int a = 0; a < 3; ++a) size[a] = copied_ ? box_[a] : problem.axis[a].src;
  strides_[2] = pitch;
  strides_[1] = size[2] * pitch;
  strides_[0] = size[1] * strides_[1];
  image_floats_ = size[0] * strides_[0];
  const bool whole_rows = low_[2] <= 0 && low_[2] + box_[2] >= problem.axis[2].src && !(cut_ && slab_axis == 2);
  granularity_ = problem.src_channels * (whole_rows ? problem.axis[2].src : 1);
}

bool ConvSource::TakesPrologue(int64_t blocks) const {
  if (!copied_ || problem_.multiplier > 1) return false;
  for (const ConvAxis& axis : problem_.axis) {
    const ConvAxis::Range all = axis.Reads(axis.dst);
    if (all.low > 0 || all.high < axis.src) return false;
  }
  const ConvAxis& axis = problem_.axis[slab_axis_];
  const int64_t halo = box_[slab_axis_] - slab_ * axis.advance;
  return blocks == 1 || (halo >= 0 && (blocks - 1) * halo * kLeastOwned <= axis.src);
}

ConvSource SourceOf(const ConvProblem& problem, const ConvPlan& plan) {
  if (plan.unit_level == 0) return {problem, 0, problem.axis[0].dst, plan.Outputs(plan.unit)};
  const int axis = plan.unit_level - 1;
  return {problem, axis, plan.blocks == 1 ? problem.axis[axis].dst : plan.Outputs(plan.block), 1};
}

Val ConvSource::SlabsFor(KernelBuilder& b, Val count) const {
  const ConvAxis& axis = problem_.axis[slab_axis_];
  const AxisPhase& phase = axis.phases[0];
  const int64_t extent = (phase.taps - 1) * phase.delta + 1;
  return b.Min(b.Add(b.Mul(count, axis.advance), b.I64(extent - axis.advance)), b.I64(box_[slab_axis_]));
}

void ConvSource::Copy(KernelBuilder& b, AnchorOperand& src, int dst, const Box& box, Val begin, Val end) const {
  Val low[3] = {b.I64(low_[0]), b.I64(low_[1]), b.I64(low_[2])};
  low[slab_axis_] = b.Add(low[slab_axis_], b.Mul(box.first, problem_.axis[slab_axis_].advance));
  const auto slabs = [&](int axis, const auto& body) {
    if (axis == slab_axis_) {
      b.Loop(begin, end, 1, body);
    } else if (box_[axis] == 1) {
      body(b.I64(0));
    } else {
      b.Loop(b.I64(0), b.I64(box_[axis]), 1, body);
    }
  };
  slabs(0, [&](Val x0) {
    slabs(1, [&](Val x1) {
      const Val x[2] = {x0, x1}, coordinate[3] = {b.Add(low[0], x0), b.Add(low[1], x1), low[2]};
      CopyRow(b, src, dst, box, x, coordinate);
    });
  });
}

// Row `x` of the box, whose first cell has the coordinates given in the image. Zeros in front, cells, zeros behind:
// what a vector writes too much is written over by what follows.
void ConvSource::CopyRow(KernelBuilder& b, AnchorOperand& src, int dst, const Box& box, const Val* x,
                         const Val* coordinate) const {
  const int64_t width = box_[2], pitch = strides_[2];
  const Val row = b.Add(b.Add(b.Mul(box.slot, image_floats_), b.Mul(x[0], strides_[0])), b.Mul(x[1], strides_[1]));
  const Val zero = b.F32(0, kLanes);
  const auto zeros = [&](Val begin, Val end) {
    b.Loop(begin, end, kLanes, [&](Val i) { b.Store(dst, zero, b.Add(row, i)); });
  };
  const auto minus = [&](Val a, Val c) { return b.Add(a, b.Mul(c, -1)); };
  const Val front = Clamp(b, b.Mul(coordinate[2], -1), 0, width);
  const Val behind = Clamp(b, minus(b.I64(problem_.axis[2].src), coordinate[2]), 0, width);
  Val inside = kNoVal;
  for (int a = 0; a < 2; ++a) {
    const ConvAxis& axis = problem_.axis[a];
    const ConvAxis::Range all = axis.Reads(axis.dst);
    const auto check = [&](Val condition) {
      inside = inside == kNoVal ? condition : b.Binary(IrOp::kAnd, inside, condition);
    };
    if (all.low < 0) check(b.Binary(IrOp::kLe, b.I64(0), coordinate[a]));
    // The last task's part of an axis may be smaller than the box.
    if (all.high > axis.src || (a == slab_axis_ && cut_)) check(b.Binary(IrOp::kLt, coordinate[a], b.I64(axis.src)));
  }
  const Val floats = b.I64(width * pitch), empty_front = b.Mul(front, pitch);
  zeros(b.I64(0), inside == kNoVal ? empty_front : b.Select(inside, empty_front, floats));
  const auto cells = [&] {
    Val from = b.I64(0);
    for (int a = 0; a < 3; ++a) from = b.Add(b.Mul(from, problem_.axis[a].src), coordinate[a]);
    from = b.Add(b.Add(from, front), b.Mul(box.image, problem_.src_pixels()));
    const Run all{b.Mul(from, problem_.src_channels), b.Add(row, empty_front), minus(behind, front), false};
    if (!cut_ || !src.has_outputs()) {
      CopyCells(b, src, dst, all);
    } else if (slab_axis_ == 2) {
      const Val own = Clamp(b, minus(box.own, front), 0, width), owned = b.Min(own, all.count);
      CopyCells(b, src, dst, {all.from, all.to, owned, false});
      CopyCells(b, src, dst,
                {b.Add(all.from, b.Mul(owned, problem_.src_channels)), b.Add(all.to, b.Mul(owned, pitch)),
                 minus(all.count, owned), true});
    } else {
      const Val owned = b.Binary(IrOp::kLt, x[slab_axis_], box.own);
      b.If(owned, [&] { CopyCells(b, src, dst, all); });
      b.If(b.Unary(IrOp::kNot, owned), [&] { CopyCells(b, src, dst, {all.from, all.to, all.count, true}); });
    }
    zeros(b.Mul(behind, pitch), floats);
  };
  if (inside == kNoVal) {
    cells();
  } else {
    b.If(inside, cells);
  }
}

void ConvSource::CopyCells(KernelBuilder& b, AnchorOperand& src, int dst, const Run& cells) const {
  const int64_t channels = problem_.src_channels, pitch = strides_[2], m = problem_.multiplier;
  const auto each = [&](const auto& body) {
    b.Loop(b.I64(0), cells.count, 1,
           [&](Val cell) { body(b.Add(cells.from, b.Mul(cell, channels)), b.Add(cells.to, b.Mul(cell, pitch))); });
  };
  if (m > 1) {
    const int64_t single = channels / (problem_.transposed ? m : 1);
    each([&](Val from, Val to) {
      b.Loop(b.I64(0), b.I64(single), 1, [&](Val c) {
        b.Loop(b.I64(0), b.I64(m), 1, [&](Val j) {
          const Val mixed = b.Add(b.Mul(c, m), j);
          const Val read = problem_.transposed ? mixed : c;
          const Val written = problem_.transposed ? b.Add(b.Mul(j, part_floats()), c) : mixed;
          b.Store(dst, src.At({.flat = b.Add(from, read), .lanes = 1}), b.Add(to, written));
        });
      });
    });
  } else if (pitch == channels) {
    CopyFloats(b, src, dst, {cells.from, cells.to, b.Mul(cells.count, channels), cells.again}, false);
  } else {
    each([&](Val from, Val to) { CopyFloats(b, src, dst, {from, to, b.I64(channels), cells.again}, true); });
  }
}

// Of a row, or of a pixel where pixels lie further apart in the copy.
void ConvSource::CopyFloats(KernelBuilder& b, AnchorOperand& src, int dst, const Run& run, bool in_row) const {
  const int64_t multiple = in_row ? problem_.src_channels : granularity_;
  const int64_t size = b.IsConst(run.count) ? b.ConstBits(run.count) : multiple;
  const auto vectors = [&](Val i, int64_t n, Val count) {
    std::vector<Point> points;
    for (int64_t k = 0; k < n; ++k) {
      points.push_back({.flat = b.Add(b.Add(run.from, i), b.I64(k * kLanes)),
                        .count = count,
                        .aligned = multiple % kLanes == 0,
                        .in_row = in_row});
    }
    const std::vector<Val> values = src.At(points, /*block=*/n == kUnroll && multiple % kRandomBlock == 0, run.again);
    for (int64_t k = 0; k < n; ++k)
      b.Store(dst, values[static_cast<size_t>(k)], b.Add(b.Add(run.to, i), b.I64(k * kLanes)));
  };
  const auto whole = [&](int64_t n) { return b.Mul(b.Div(run.count, n * kLanes), n * kLanes); };
  Val done = b.I64(0);
  if (src.has_counter() || src.cost() <= kLongPrologue) {
    const Val end = whole(kUnroll);
    b.Loop(done, end, kUnroll * kLanes, [&](Val i) { vectors(i, kUnroll, kNoVal); });
    done = end;
    if (size % (kUnroll * kLanes) == 0) return;
  }
  const Val end = whole(1);
  b.Loop(done, end, kLanes, [&](Val i) { vectors(i, 1, kNoVal); });
  if (size % kLanes != 0) vectors(end, 1, b.Add(run.count, b.Mul(end, -1)));
}

}  // namespace weir::jit
