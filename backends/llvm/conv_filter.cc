#include "weir/backends/llvm/conv_filter.h"

#include <algorithm>
#include <utility>

#include "weir/backends/llvm/product_ir.h"

namespace weir::jit {
namespace {

constexpr int64_t kPackTaskFloats = 16 * 1024;
constexpr int64_t kPackTogether = 4;    // panels, if they are neighbours in a row of the filter, which are fetched
constexpr int64_t kPackAhead = 8;       // rows ahead
constexpr int64_t kRowInPlace = 32;     // floats; longer rows of a filter leave gaps between a panel's: packed
constexpr int64_t kLongSum = 512;       // terms of one tap: from here on a panel has four vectors,
constexpr int64_t kManyPixels = 192;    // if at least so many pixels share them
constexpr int64_t kManyRegisters = 16;  // vectors; with fewer, panels are of one

struct Packer {
  KernelBuilder& b;
  const ConvProblem& p;
  const FilterLayout& layout;
  const int filter, packed;  // buffers
  const Val first;           // panel that is the first of those packed

  // Tap `position` of `panels` panels of equal vectors from `panel` on.
  void Panels(Val position, Val group, Val panel, Val panels, int64_t vectors) const {
    const Val column = b.Mul(panel, layout.vectors * kLanes);
    const int64_t row = layout.row(vectors);
    const Val end = b.Add(column, b.Mul(panels, row));
    Val to = b.Add(b.Mul(group, layout.group_floats()), b.Mul(b.Add(panel, b.Mul(first, -1)), layout.panel_floats()));
    to = b.Add(to, b.Mul(position, layout.group_src * row));
    const Val tap = p.transposed ? b.Add(b.I64(layout.taps - 1), b.Mul(position, -1)) : position;
    // The filter's element of the first channels on both sides.
    const Val from =
        p.transposed ? b.Add(b.Mul(b.Add(b.Mul(tap, p.group_dst), column), p.src_channels), b.Mul(group, p.group_src))
                     : b.Add(b.Mul(tap, p.group_src * p.dst_channels), b.Add(b.Mul(group, p.group_dst), column));
    const TileShape tile{.rows = 1, .vectors = vectors, .parts = layout.parts};
    PanelPack pack{.src = filter,
                   .dst = packed,
                   .from = b.Add(from, b.Mul(column, p.transposed ? -p.src_channels : -1)),
                   .to = to,
                   .pitch = p.transposed ? p.src_channels : p.dst_channels,
                   .begin = column,
                   .end = end,
                   .columns = p.group_dst,
                   .terms = b.I64(p.group_src),
                   .panel_terms = layout.taps * layout.group_src};
    if (!p.transposed) {
      pack.ahead = p.dst_channels > kRowInPlace ? kPackAhead : 0;
      PackPanels(b, tile, pack);
      return;
    }
    // Whole blocks of channels are transposed in registers: to gather lanes takes some processors a cycle or more each.
    const int64_t whole = p.group_src / kLanes * kLanes;
    if (whole > 0) {
      pack.terms = b.I64(whole);
      PackTransposed(b, tile, pack, /*whole=*/true);
    }
    if (whole == p.group_src) return;
    const IrType index{Elem::kI32, kLanes};
    const Val lanes = b.Binary(IrOp::kMul, b.Iota(index), b.Const(index, p.src_channels));
    b.Loop(column, end, row, [&](Val begin) {
      const std::vector<Val> counts = ColumnCounts(b, tile, begin, p.group_dst);
      const Val passed = b.Add(begin, b.Mul(column, -1));
      b.Loop(b.I64(whole), b.I64(p.group_src), 1, [&](Val c) {
        for (int64_t v = 0; v < vectors; ++v) {
          const Val first =
              b.Add(b.Add(b.Add(from, b.Mul(passed, p.src_channels)), c), b.I64(v * kLanes * p.src_channels));
          const Val at = b.Binary(IrOp::kAdd, b.Splat(b.Convert(first, Elem::kI32), kLanes), lanes);
          b.Store(packed, b.Gather(filter, at, counts[static_cast<size_t>(v)]),
                  b.Add(b.Add(b.Add(to, b.Mul(passed, pack.panel_terms)), b.Mul(c, row)), b.I64(v * kLanes)));
        }
      });
    });
  }
};

}  // namespace

FilterLayout LayoutFilter(const ConvProblem& p, const TileLimits& limits) {
  FilterLayout layout{
      .parts = limits.vector_parts, .group_src = p.group_src, .taps = p.taps(), .in_place_row = p.dst_channels};
  const int64_t vectors = CeilDiv(p.depthwise ? p.dst_channels : p.group_dst, kLanes);
  // Two vectors share a pixel's broadcast. Three where that leaves no rest, if there are registers for enough pixels.
  layout.vectors = std::min<int64_t>(vectors, vectors % 3 == 0 && vectors % 2 != 0 ? 3 : 2);
  const int64_t pixels = p.batch * p.dst_pixels();
  const bool enough = pixels > kOwnFilterPixels || vectors >= 4 * kOwnFilterParts;
  if (p.taps() == 1 && p.group_src >= kLongSum && pixels >= kManyPixels && vectors % 4 == 0 && enough)
    layout.vectors = 4;
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
  const Packer pack{b, p, layout, filter, packed, b.I64(0)};
  // A unit is a tap of some panels: whole ones first.
  const int64_t together = p.transposed ? 1 : kPackTogether;
  const int64_t blocks = CeilDiv(layout.panels, together), whole = p.groups * blocks * layout.taps;
  const int64_t units = whole + (layout.rest > 0 ? p.groups * layout.taps : 0);
  const int64_t floats = layout.group_src * std::min(layout.panels, together) * layout.vectors * kLanes;
  const int64_t per_task = TaskSize(units, std::max<int64_t>(1, kPackTaskFloats / std::max<int64_t>(1, floats)), 1);
  const Val begin = b.Mul(task, per_task), end = b.Min(b.Add(begin, b.I64(per_task)), b.I64(units));
  if (whole > 0) {
    b.Loop(begin, b.Min(end, b.I64(whole)), 1, [&](Val unit) {
      const Val block = b.Div(unit, layout.taps), panel = b.Mul(b.Rem(block, blocks), together);
      Val panels = b.I64(together);
      if (layout.panels % together != 0) panels = b.Min(panels, b.Add(b.I64(layout.panels), b.Mul(panel, -1)));
      pack.Panels(b.Rem(unit, layout.taps), b.Div(block, blocks), panel, panels, layout.vectors);
    });
  }
  if (layout.rest > 0) {
    const Val first = b.Select(b.Binary(IrOp::kLt, begin, b.I64(whole)), b.I64(whole), begin);
    b.Loop(first, end, 1, [&](Val unit) {
      const Val rest = b.Add(unit, b.I64(-whole));
      pack.Panels(b.Rem(rest, layout.taps), b.Div(rest, layout.taps), b.I64(layout.panels), b.I64(1), layout.rest);
    });
  }
  return MakeStage(b.Take(), CeilDiv(units, per_task));
}

void PackFilterPanels(KernelBuilder& b, const ConvProblem& p, const FilterLayout& layout, int filter, int packed,
                      Val begin, Val end) {
  const Packer pack{b, p, layout, filter, packed, begin};
  b.Loop(begin, end, 1, [&](Val panel) {
    b.Loop(b.I64(0), b.I64(layout.taps), 1,
           [&](Val position) { pack.Panels(position, b.I64(0), panel, b.I64(1), layout.vectors); });
  });
}

}  // namespace weir::jit
