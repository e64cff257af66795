#include "weir/backends/llvm/conv_filter.h"

#include <algorithm>
#include <utility>

#include "weir/backends/llvm/product_ir.h"

namespace weir::jit {
namespace {

constexpr int64_t kPackTaskFloats = 32 * 1024;
constexpr int64_t kRowInPlace = 32;     // floats; longer rows of a filter leave gaps between a panel's: packed
constexpr int64_t kManyRegisters = 16;  // vectors; with fewer, panels are of one

struct Packer {
  KernelBuilder& b;
  const ConvProblem& p;
  const FilterLayout& layout;
  const int filter, packed;  // buffers

  // Tap `position` of a panel.
  void Panel(Val position, Val group, Val panel, int64_t vectors) const {
    const Val column = b.Mul(panel, layout.vectors * kLanes);
    const int64_t row = layout.row(vectors);
    Val to = b.Add(b.Mul(group, layout.group_floats()), b.Mul(panel, layout.panel_floats()));
    to = b.Add(to, b.Mul(position, layout.group_src * row));
    const Val left = p.group_dst % kLanes == 0 ? kNoVal : b.Add(b.I64(p.group_dst), b.Mul(column, -1));
    const auto count = [&](int64_t v) { return left == kNoVal ? kNoVal : b.Add(left, b.I64(-v * kLanes)); };
    const Val tap = p.transposed ? b.Add(b.I64(layout.taps - 1), b.Mul(position, -1)) : position;
    // The filter's element of the first channels on both sides.
    const Val from =
        p.transposed ? b.Add(b.Mul(b.Add(b.Mul(tap, p.group_dst), column), p.src_channels), b.Mul(group, p.group_src))
                     : b.Add(b.Mul(tap, p.group_src * p.dst_channels), b.Add(b.Mul(group, p.group_dst), column));
    if (!p.transposed) {
      b.Loop(b.I64(0), b.I64(p.group_src), 1, [&](Val c) {
        for (int64_t v = 0; v < vectors; ++v) {
          const Val at = b.Add(b.Add(from, b.Mul(c, p.dst_channels)), b.I64(v * kLanes));
          b.Store(packed, b.Load(filter, at, kLanes, count(v)), b.Add(b.Add(to, b.Mul(c, row)), b.I64(v * kLanes)));
        }
      });
      return;
    }
    // Whole blocks of channels are transposed in registers: to gather lanes takes some processors a cycle or more each.
    const int64_t whole = p.group_src / kLanes * kLanes;
    if (whole > 0) {
      PackTransposed(b, {.rows = 1, .vectors = vectors},
                     {.src = filter,
                      .dst = packed,
                      .from = b.Add(from, b.Mul(column, -p.src_channels)),
                      .to = to,
                      .pitch = p.src_channels,
                      .begin = column,
                      .end = b.Add(column, b.I64(row)),
                      .columns = p.group_dst,
                      .terms = b.I64(whole)},
                     /*whole=*/true);
    }
    const IrType index{Elem::kI32, kLanes};
    const Val lanes = b.Binary(IrOp::kMul, b.Iota(index), b.Const(index, p.src_channels));
    b.Loop(b.I64(whole), b.I64(p.group_src), 1, [&](Val c) {
      for (int64_t v = 0; v < vectors; ++v) {
        const Val first =
            b.Splat(b.Convert(b.Add(b.Add(from, c), b.I64(v * kLanes * p.src_channels)), Elem::kI32), kLanes);
        b.Store(packed, b.Gather(filter, b.Binary(IrOp::kAdd, first, lanes), count(v)),
                b.Add(b.Add(to, b.Mul(c, row)), b.I64(v * kLanes)));
      }
    });
  }
};

}  // namespace

FilterLayout LayoutFilter(const ConvProblem& p, const TileLimits& limits) {
  FilterLayout layout{.group_src = p.group_src, .taps = p.taps(), .in_place_row = p.dst_channels};
  const int64_t vectors = CeilDiv(p.depthwise ? p.dst_channels : p.group_dst, kLanes);
  // Two vectors share a pixel's broadcast. Three where that leaves no rest, if there are registers for enough pixels.
  layout.vectors = std::min<int64_t>(vectors, vectors % 3 == 0 && vectors % 2 != 0 ? 3 : 2);
  if (p.depthwise || limits.vector_registers < kManyRegisters) layout.vectors = 1;
  layout.panels = vectors / layout.vectors;
  layout.rest = vectors % layout.vectors;
  layout.packed = !p.depthwise && (p.transposed || p.group_dst % kLanes != 0 || p.dst_channels > kRowInPlace);
  return layout;
}

Stage PackFilterStage(const ConvProblem& p, const FilterLayout& layout, int filter_input, std::string name) {
  KernelBuilder b(std::move(name));
  const Val task = b.Task();
  const int filter = b.Buffer({IrBuffer::Kind::kInput, filter_input, Elem::kF32, 0});
  const int packed = b.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
  const Packer pack{b, p, layout, filter, packed};
  // A unit is a tap of a panel: whole panels first.
  const int64_t whole = p.groups * layout.panels * layout.taps;
  const int64_t units = whole + (layout.rest > 0 ? p.groups * layout.taps : 0);
  const int64_t floats = layout.group_src * layout.vectors * kLanes;
  const int64_t per_task = TaskSize(units, std::max<int64_t>(1, kPackTaskFloats / floats), 1);
  const Val begin = b.Mul(task, per_task), end = b.Min(b.Add(begin, b.I64(per_task)), b.I64(units));
  if (whole > 0) {
    b.Loop(begin, b.Min(end, b.I64(whole)), 1, [&](Val unit) {
      const Val panel = b.Div(unit, layout.taps);
      pack.Panel(b.Rem(unit, layout.taps), b.Div(panel, layout.panels), b.Rem(panel, layout.panels), layout.vectors);
    });
  }
  if (layout.rest > 0) {
    const Val first = b.Select(b.Binary(IrOp::kLt, begin, b.I64(whole)), b.I64(whole), begin);
    b.Loop(first, end, 1, [&](Val unit) {
      const Val rest = b.Add(unit, b.I64(-whole));
      pack.Panel(b.Rem(rest, layout.taps), b.Div(rest, layout.taps), b.I64(layout.panels), layout.rest);
    });
  }
  return MakeStage(b.Take(), CeilDiv(units, per_task));
}

}  // namespace weir::jit
