#include "weir/backends/llvm/conv_source.h"

#include <algorithm>

#include "weir/backends/llvm/lowering.h"

namespace weir::jit {
namespace {

Val Clamp(KernelBuilder& b, Val value, int64_t low, int64_t high) {
  if (b.IsConst(value)) return b.I64(std::clamp(b.ConstBits(value), low, high));
  const Val below = b.Binary(IrOp::kLt, value, b.I64(low));
  return b.Min(b.Select(below, b.I64(low), value), b.I64(high));
}

}  // namespace

ConvSource::ConvSource(const ConvProblem& problem, int slab_axis, int64_t slab, int64_t images)
    : problem_(problem), slab_axis_(slab_axis), images_(images), cut_(slab < problem.axis[slab_axis].dst) {
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
}

Val ConvSource::SlabsFor(KernelBuilder& b, Val count) const {
  const ConvAxis& axis = problem_.axis[slab_axis_];
  const AxisPhase& phase = axis.phases[0];
  const int64_t extent = (phase.taps - 1) * phase.delta + 1;
  return b.Min(b.Add(b.Mul(count, axis.advance), b.I64(extent - axis.advance)), b.I64(box_[slab_axis_]));
}

void ConvSource::Copy(KernelBuilder& b, int src, int dst, Val image, Val first, Val slot, Val begin, Val end) const {
  Val low[3] = {b.I64(low_[0]), b.I64(low_[1]), b.I64(low_[2])};
  low[slab_axis_] = b.Add(low[slab_axis_], b.Mul(first, problem_.axis[slab_axis_].advance));
  const Val whole[2] = {b.I64(box_[0]), b.I64(box_[1])};
  b.Loop(slab_axis_ == 0 ? begin : b.I64(0), slab_axis_ == 0 ? end : whole[0], 1, [&](Val x0) {
    b.Loop(slab_axis_ == 1 ? begin : b.I64(0), slab_axis_ == 1 ? end : whole[1], 1, [&](Val x1) {
      const Val coordinate[3] = {b.Add(low[0], x0), b.Add(low[1], x1), low[2]};
      const Val row = b.Add(b.Add(b.Mul(slot, image_floats_), b.Mul(x0, strides_[0])), b.Mul(x1, strides_[1]));
      CopyRow(b, src, dst, coordinate, image, row);
    });
  });
}

// One row of the box, whose first cell has the coordinates given in the image. Zeros in front, cells, zeros behind:
// what a vector writes too much is written over by what follows.
void ConvSource::CopyRow(KernelBuilder& b, int src, int dst, const Val* coordinate, Val image, Val row) const {
  const int64_t width = box_[2], pitch = strides_[2];
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
    from = b.Add(b.Add(from, front), b.Mul(image, problem_.src_pixels()));
    CopyCells(b, src, dst, b.Mul(from, problem_.src_channels), b.Add(row, empty_front), minus(behind, front));
    zeros(b.Mul(behind, pitch), floats);
  };
  if (inside == kNoVal) {
    cells();
  } else {
    b.If(inside, cells);
  }
}

void ConvSource::CopyCells(KernelBuilder& b, int src, int dst, Val from, Val to, Val cells) const {
  const int64_t channels = problem_.src_channels, pitch = strides_[2], m = problem_.multiplier;
  if (m > 1) {
    const int64_t single = channels / (problem_.transposed ? m : 1);
    b.Loop(b.I64(0), cells, 1, [&](Val cell) {
      const Val x = b.Add(from, b.Mul(cell, channels)), y = b.Add(to, b.Mul(cell, pitch));
      b.Loop(b.I64(0), b.I64(single), 1, [&](Val c) {
        b.Loop(b.I64(0), b.I64(m), 1, [&](Val j) {
          const Val mixed = b.Add(b.Mul(c, m), j);
          const Val read = problem_.transposed ? mixed : c;
          const Val written = problem_.transposed ? b.Add(b.Mul(j, part_floats()), c) : mixed;
          b.Store(dst, b.Load(src, b.Add(x, read), 1), b.Add(y, written));
        });
      });
    });
    return;
  }
  // Runs of floats: a row, or a pixel where pixels lie further apart in the copy.
  const auto run = [&](Val x, Val y, Val count) {
    constexpr int64_t kUnroll = 4;
    const Val blocks = b.Mul(b.Div(count, kUnroll * kLanes), kUnroll * kLanes);
    const Val whole = b.Mul(b.Div(count, kLanes), kLanes);
    b.Loop(b.I64(0), blocks, kUnroll * kLanes, [&](Val i) {
      Val loaded[kUnroll];
      for (int64_t k = 0; k < kUnroll; ++k) loaded[k] = b.Load(src, b.Add(b.Add(x, i), b.I64(k * kLanes)), kLanes);
      for (int64_t k = 0; k < kUnroll; ++k) b.Store(dst, loaded[k], b.Add(b.Add(y, i), b.I64(k * kLanes)));
    });
    b.Loop(blocks, whole, kLanes, [&](Val i) { b.Store(dst, b.Load(src, b.Add(x, i), kLanes), b.Add(y, i)); });
    if (b.IsConst(count) && b.ConstBits(count) % kLanes == 0) return;
    const Val rest = b.Add(count, b.Mul(whole, -1));
    b.Store(dst, b.Load(src, b.Add(x, whole), kLanes, rest), b.Add(y, whole));
  };
  if (pitch == channels) {
    run(from, to, b.Mul(cells, channels));
  } else {
    b.Loop(b.I64(0), cells, 1,
           [&](Val cell) { run(b.Add(from, b.Mul(cell, channels)), b.Add(to, b.Mul(cell, pitch)), b.I64(channels)); });
  }
}

}  // namespace weir::jit
