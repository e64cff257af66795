// What LLVM may not fold, because arithmetic takes a subnormal number for a zero and a select keeps it. LLVM takes both for
// equal: it makes a maximum or minimum instruction, which flushes, of a select between two numbers that are compared,
// and nothing, which does not, of a product with 1.
#ifndef WEIR_BACKENDS_LLVM_CODEGEN_SUBNORMALS_H_
#define WEIR_BACKENDS_LLVM_CODEGEN_SUBNORMALS_H_

#include "weir/backends/llvm/kernel_ir.h"

namespace weir::jit {

// Whether v is the f32 constant `magnitude`, or its negative.
bool IsNumber(const Kernel& kernel, Val v, float magnitude);

// Whether LLVM could make a maximum or minimum of a kSelect whose value may be subnormal and must keep its bits.
bool MayBecomeExtreme(const Kernel& kernel, const Inst& select);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CODEGEN_SUBNORMALS_H_
