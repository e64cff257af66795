// Kernels to machine code: an LLVM module of them, its passes, code generation. Keeps nothing but LLVM itself; safe to
// call from several threads at once. Linking is orc.h's.
#ifndef WEIR_BACKENDS_LLVM_CODEGEN_MODULE_H_
#define WEIR_BACKENDS_LLVM_CODEGEN_MODULE_H_

#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Target/TargetMachine.h"
#include "weir/backends/llvm/plugin.h"

namespace weir::jit {

// A code generator for a processor. Nothing in it lets an addition and a multiplication become one instruction: the
// contract on bits has them fused only where a kernel says so.
absl::StatusOr<std::unique_ptr<llvm::TargetMachine>> MakeMachine(const ProcessorFacts& processor);

// A module with one function a kernel, of its symbol; verified.
absl::StatusOr<std::unique_ptr<llvm::Module>> MakeModule(std::span<const NamedKernel> kernels,
                                                         const llvm::TargetMachine& machine,
                                                         llvm::LLVMContext& context);

// Runs the passes over a module: those that change no floating-point operation and pay for code that is already vectors
// and tiles.
void Optimize(llvm::Module& module, llvm::TargetMachine& machine);

// The code of kernels as text, for people.
absl::StatusOr<std::string> ShowCode(std::span<const NamedKernel> kernels, const ProcessorFacts& processor, CodeForm form);

// What LLVM knows of processors: see Plugin::describe_processor.
absl::StatusOr<ProcessorFacts> DescribeProcessor(const std::string& name);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CODEGEN_MODULE_H_
