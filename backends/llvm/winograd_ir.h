// Transforms of Winograd's convolution over vectors of channels, as kernel_ir.
#ifndef WEIR_BACKENDS_LLVM_WINOGRAD_IR_H_
#define WEIR_BACKENDS_LLVM_WINOGRAD_IR_H_

#include "weir/backends/llvm/cluster_ir.h"
#include "weir/backends/llvm/ir_math.h"
#include "weir/ops/winograd.h"

namespace weir::jit {

inline constexpr int kWinoElements = static_cast<int>(kWinogradElements);

using IrWinograd = WinogradTransform<IrMath>;

// A square of `From` x `From` values, `in(row, column)`, to one of `To` x `To`, handed to `out(row, column, value)`: along
// the first axis, then along the second.
template <int From, int To, class In, class Out>
void EmitSquare(KernelBuilder& b, void (*transform)(const IrMath&, const Val*, Val*), const In& in, const Out& out) {
  const IrMath math{&b, Elem::kF32, kLanes};
  Val half[To][From];
  for (int j = 0; j < From; ++j) {
    Val column[From], result[To];
    for (int i = 0; i < From; ++i) column[i] = in(i, j);
    transform(math, column, result);
    for (int i = 0; i < To; ++i) half[i][j] = result[i];
  }
  for (int i = 0; i < To; ++i) {
    Val row[To];
    transform(math, half[i], row);
    for (int j = 0; j < To; ++j) out(i, j, row[j]);
  }
}

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_WINOGRAD_IR_H_
