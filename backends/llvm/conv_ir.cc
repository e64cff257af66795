#include "weir/backends/llvm/conv_ir.h"

#include <algorithm>
#include <numeric>

#include "weir/backends/llvm/lowering.h"

namespace weir::jit {
namespace {

ConvAxis ForwardAxis(const SpatialAxis& axis) {
  ConvAxis result{.src = axis.input, .dst = axis.output, .window = axis.window, .step = 1, .advance = axis.stride, .phases = {}};
  result.phases.push_back({.first = 0, .count = axis.output, .base = -axis.pad_before, .delta = axis.dilation, .taps = axis.window});
  return result;
}

// dx[i] meets dy[(i + pad - k * dilation) / stride] where the division is exact, taps k descending.
ConvAxis InputGradientAxis(const SpatialAxis& axis) {
  ConvAxis result{.src = axis.output, .dst = axis.input, .window = axis.window, .step = axis.stride, .advance = 1, .phases = {}};
  const int64_t common = std::gcd(axis.stride, axis.dilation), period = axis.stride / common;
  for (int64_t first = 0; first < std::min(axis.stride, axis.input); ++first) {
    const int64_t shifted = first + axis.pad_before;
    AxisPhase phase{.first = first, .count = CeilDiv(axis.input - first, axis.stride), .delta = axis.dilation / common, .period = period};
    for (int64_t k = axis.window - 1; k >= 0; --k) {
      if ((shifted - k * axis.dilation) % axis.stride != 0) continue;
      if (phase.taps++ > 0) continue;
      phase.base = (shifted - k * axis.dilation) / axis.stride;
      phase.position = axis.window - 1 - k;
    }
    result.phases.push_back(phase);
  }
  return result;
}

ConvProblem Normalized(ConvProblem p) {
  const auto one = [](const ConvAxis& axis) { return axis.pointwise() && axis.src == 1; };
  for (int turn = 0; turn < 2 && one(p.axis[2]); ++turn) std::rotate(&p.axis[0], &p.axis[2], &p.axis[3]);
  if (!std::all_of(&p.axis[0], &p.axis[3], [](const ConvAxis& axis) { return axis.pointwise(); })) return p;
  const int64_t pixels = p.batch * p.src_pixels();
  p.axis[2].src = p.axis[2].dst = p.axis[2].phases[0].count = pixels;
  for (ConvAxis* axis = p.axis; axis != &p.axis[2]; ++axis) axis->src = axis->dst = axis->phases[0].count = 1;
  p.batch = 1;
  return p;
}

Val Clamp(KernelBuilder& b, Val value, int64_t low, int64_t high) {
  if (b.IsConst(value)) return b.I64(std::clamp(b.ConstBits(value), low, high));
  const Val below = b.Binary(IrOp::kLt, value, b.I64(low));
  return b.Min(b.Select(below, b.I64(low), value), b.I64(high));
}

}  // namespace

ConvAxis::Range ConvAxis::Reads(int64_t count) const {
  Range range;
  bool any = false;
  for (const AxisPhase& phase : phases) {
    if (phase.taps == 0) continue;
    const int64_t high = phase.base + (std::min(count, phase.count) - 1) * advance + (phase.taps - 1) * phase.delta + 1;
    range = {any ? std::min(range.low, phase.base) : phase.base, any ? std::max(range.high, high) : high};
    any = true;
  }
  return range;
}

double ConvProblem::flops() const {
  double count = 2.0 * static_cast<double>(batch) * static_cast<double>(dst_channels) * static_cast<double>(depthwise && !transposed ? 1 : group_src);
  for (const ConvAxis& a : axis) {
    int64_t terms = 0;
    for (const AxisPhase& phase : a.phases) terms += phase.count * phase.taps;
    count *= static_cast<double>(terms);
  }
  return count;
}

ConvProblem ForwardProblem(const ConvGeometry& geometry) {
  ConvProblem p{.axis = {ForwardAxis(geometry.axis[0]), ForwardAxis(geometry.axis[1]), ForwardAxis(geometry.axis[2])},
                .batch = geometry.batch, .groups = geometry.groups,
                .src_channels = geometry.in_channels, .dst_channels = geometry.out_channels,
                .group_src = geometry.group_in(), .group_dst = geometry.group_out()};
  if (geometry.groups > 1 && geometry.group_in() == 1) {
    p.depthwise = true;
    p.multiplier = geometry.group_out();
  }
  return Normalized(std::move(p));
}

ConvProblem InputGradientProblem(const ConvGeometry& geometry) {
  ConvProblem p{.axis = {InputGradientAxis(geometry.axis[0]), InputGradientAxis(geometry.axis[1]), InputGradientAxis(geometry.axis[2])},
                .batch = geometry.batch, .groups = geometry.groups,
                .src_channels = geometry.out_channels, .dst_channels = geometry.in_channels,
                .group_src = geometry.group_out(), .group_dst = geometry.group_in(), .transposed = true};
  if (geometry.groups > 1 && geometry.group_in() == 1) {
    p.depthwise = true;
    p.multiplier = geometry.group_out();
  }
  return Normalized(std::move(p));
}

std::vector<TermLoop> Joined(const std::vector<TermLoop>& loops) {
  std::vector<TermLoop> joined;
  for (const TermLoop& loop : loops) {
    if (loop.count == 1) continue;
    if (!joined.empty() && joined.back().src == loop.count * loop.src && joined.back().filter == loop.count * loop.filter) {
      joined.back() = {joined.back().count * loop.count, loop.src, loop.filter};
    } else {
      joined.push_back(loop);
    }
  }
  return joined;
}

Tiling TilingOf(int64_t count, int64_t most) {
  if (count <= most) return {.size = count, .large = 1, .small = 0};
  for (int64_t size = most; 2 * size > most; --size) {
    if (count % size == 0) return {.size = size, .large = count / size, .small = 0};
  }
  const int64_t tiles = CeilDiv(count, most), size = CeilDiv(count, tiles), large = count - tiles * (size - 1);
  return {.size = size, .large = large, .small = tiles - large};
}

Val Tiling::Begin(KernelBuilder& b, Val tile) const {
  if (small == 0) return b.Mul(tile, size);
  return b.Add(b.Mul(tile, size - 1), b.Min(tile, b.I64(large)));
}

// ---- The source ------------------------------------------------------------------------------------------------------
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
    const auto check = [&](Val condition) { inside = inside == kNoVal ? condition : b.Binary(IrOp::kAnd, inside, condition); };
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
    b.Loop(b.I64(0), cells, 1, [&](Val cell) {
      run(b.Add(from, b.Mul(cell, channels)), b.Add(to, b.Mul(cell, pitch)), b.I64(channels));
    });
  }
}

}  // namespace weir::jit
