// kernel_ir to LLVM IR, one instruction for one: no fast-math flags, explicit fused multiply-adds, vectors as wide as
// the kernel says. What a module may then undergo is chosen so that no floating-point operation changes.
#ifndef WEIR_BACKENDS_LLVM_CODEGEN_EMIT_H_
#define WEIR_BACKENDS_LLVM_CODEGEN_EMIT_H_

#include <string>

#include "llvm-c/Core.h"
#include "weir/backends/llvm/kernel_ir.h"

namespace weir::jit {

// Adds the function `symbol`, of type void(const KernelCall*), to the module. Calls to the host go to the symbol
// kReportLabelSymbol.
void Emit(const Kernel& kernel, const std::string& symbol, LLVMModuleRef module, LLVMContextRef context);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CODEGEN_EMIT_H_
