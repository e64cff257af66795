// Runs a kernel as its text says, one instruction after the other: slow, and independent of LLVM. For tests, which
// hold lowerings against the reference without a compiler in between.
#ifndef WEIR_BACKENDS_LLVM_KERNEL_INTERPRETER_H_
#define WEIR_BACKENDS_LLVM_KERNEL_INTERPRETER_H_

#include "weir/backends/llvm/kernel_ir.h"
#include "weir/core/backend.h"

namespace weir::jit {

// One task. The kernel must have passed Verify.
void Interpret(const Kernel& kernel, const KernelCall& call);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_KERNEL_INTERPRETER_H_
