#include "weir/backends/llvm/pool_ir.h"

namespace weir::jit {

bool WindowsInside(const ConvGeometry& g) {
  for (const SpatialAxis& axis : g.axis) {
    if (axis.pad_before != 0 || (axis.output - 1) * axis.stride + axis.window > axis.input) return false;
  }
  return true;
}

bool WindowsTile(const ConvGeometry& g) {
  for (const SpatialAxis& axis : g.axis) {
    if (axis.stride != axis.window || axis.output * axis.stride != axis.input) return false;
  }
  return WindowsInside(g) && g.taps() <= kUnrolledCells;
}

Val Beats(const IrMath& math, Val value, Val best) {
  return math.And(math.Not(math.Le(value, best)), math.Eq(best, best));
}

Winner WinnerOf(const IrMath& math, std::span<const Val> cells) {
  KernelBuilder& b = *math.builder;
  const auto number = [&](size_t k) { return b.Const({Elem::kI32, math.lanes}, static_cast<int64_t>(k)); };
  Winner winner{cells[0], number(0)};
  for (size_t k = 1; k < cells.size(); ++k) {
    const Val beats = Beats(math, cells[k], winner.value);
    winner = {math.Select(beats, cells[k], winner.value), b.Select(beats, number(k), winner.index)};
  }
  return winner;
}

Val MaxOf(const IrMath& math, std::span<const Val> cells) {
  Val best = cells[0];
  for (const Val cell : cells.subspan(1)) best = math.Select(Beats(math, cell, best), cell, best);
  return best;
}

Val AverageOf(const IrMath& math, std::span<const Val> cells) {
  Val sum = math.Const(0);
  for (const Val cell : cells) sum = math.Add(sum, cell);
  return math.Div(sum, math.Const(static_cast<double>(cells.size())));
}

}  // namespace weir::jit
