// What a window of a pool comes to, in the canonical order: shared by pools of their own and those behind a
// convolution.
#ifndef WEIR_BACKENDS_LLVM_POOL_IR_H_
#define WEIR_BACKENDS_LLVM_POOL_IR_H_

#include <span>

#include "weir/backends/llvm/ir_math.h"
#include "weir/ops/conv_geometry.h"

namespace weir::jit {

inline constexpr int64_t kUnrolledCells = 16;  // of a window; larger ones are loops

// Every window lies inside of the input.
bool WindowsInside(const ConvGeometry& g);
// Every cell of the input lies in one window, which is small enough to be unrolled.
bool WindowsTile(const ConvGeometry& g);

// Whether `value` takes the place of `best`: a NaN is larger than any number, the first of equals wins.
Val Beats(const IrMath& math, Val value, Val best);

// The maximum of a window's cells, which are in row-major order, and which it is: lanes of i32.
struct Winner {
  Val value = kNoVal, index = kNoVal;
};
Winner WinnerOf(const IrMath& math, std::span<const Val> cells);
// Likewise, the maximum alone or the average.
Val MaxOf(const IrMath& math, std::span<const Val> cells);
Val AverageOf(const IrMath& math, std::span<const Val> cells);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_POOL_IR_H_
