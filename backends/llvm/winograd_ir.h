// Transforms of Winograd's convolution over vectors of channels, as kernel_ir.
#ifndef WEIR_BACKENDS_LLVM_WINOGRAD_IR_H_
#define WEIR_BACKENDS_LLVM_WINOGRAD_IR_H_

#include "weir/backends/llvm/cluster_ir.h"
#include "weir/backends/llvm/ir_math.h"
#include "weir/ops/winograd.h"

namespace weir::jit {

using IrWinograd = WinogradTransform<IrMath>;

using Transform1D = void (*)(const IrMath&, const Val*, Val*);

// `From` values `in(i)`, transformed and handed to `out(i, value)`, of which there are `To`.
template <Transform1D kTransform, int From, int To, class In, class Out>
void EmitTransform(KernelBuilder& b, const In& in, const Out& out) {
  const IrMath math{&b, Elem::kF32, kLanes};
  Val values[From], results[To];
  for (int i = 0; i < From; ++i) values[i] = in(i);
  kTransform(math, values, results);
  for (int i = 0; i < To; ++i) out(i, results[i]);
}

// A square of `From` x `From` values, `in(row, column)`, to one of `To` x `To`, handed to `out(row, column, value)`: along
// the first axis, then along the second.
template <Transform1D kTransform, int From, int To, class In, class Out>
void EmitSquare(KernelBuilder& b, const In& in, const Out& out) {
  Val half[To][From];
  for (int j = 0; j < From; ++j) {
    EmitTransform<kTransform, From, To>(
        b, [&](int i) { return in(i, j); }, [&](int i, Val v) { half[i][j] = v; });
  }
  for (int i = 0; i < To; ++i) {
    EmitTransform<kTransform, From, To>(
        b, [&](int j) { return half[i][j]; }, [&](int j, Val v) { out(i, j, v); });
  }
}

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_WINOGRAD_IR_H_
