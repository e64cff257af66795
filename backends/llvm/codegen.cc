#include "weir/backends/llvm/codegen.h"

#include <memory>

#include "weir/backends/llvm/emit.h"
#include "weir/backends/llvm/llvm_api.h"
#include "weir/core/error.h"

namespace weir::jit {
namespace {

// What changes no floating-point operation and pays for code that is already vectors and tiles.
constexpr char kPasses[] =
    "function(early-cse,instcombine<max-iterations=1;no-verify-fixpoint>,loop-mssa(licm),simplifycfg)";

// A handle of LLVM's with the function that lets go of it.
template <class Ref>
using Owned = std::unique_ptr<std::remove_pointer_t<Ref>, void (*)(Ref)>;

std::string Take(const LlvmApi& llvm, char* message) {
  const std::string text = message == nullptr ? "unknown error" : message;
  if (message != nullptr) llvm.DisposeMessage(message);
  return text;
}

absl::StatusOr<Owned<LLVMTargetMachineRef>> MakeMachine(const LlvmApi& llvm, const Target& target,
                                                        const std::string& triple) {
  LLVMTargetRef found = nullptr;
  char* error = nullptr;
  if (llvm.GetTargetFromTriple(triple.c_str(), &found, &error) != 0)
    return absl::InternalError(StrCat("LLVM: ", Take(llvm, error)));
  const Owned<LLVMTargetMachineOptionsRef> options(llvm.CreateTargetMachineOptions(), llvm.DisposeTargetMachineOptions);
  if (target.cpu.empty()) {
    llvm.TargetMachineOptionsSetCPU(options.get(), Take(llvm, llvm.GetHostCPUName()).c_str());
    llvm.TargetMachineOptionsSetFeatures(options.get(), Take(llvm, llvm.GetHostCPUFeatures()).c_str());
  } else {
    llvm.TargetMachineOptionsSetCPU(options.get(), target.cpu.c_str());
  }
  // Nothing here lets an addition and a multiplication become one instruction: the contract on bits has them fused only
  // where a kernel says so.
  llvm.TargetMachineOptionsSetCodeGenOptLevel(options.get(), LLVMCodeGenLevelDefault);
  llvm.TargetMachineOptionsSetRelocMode(options.get(), LLVMRelocPIC);
  llvm.TargetMachineOptionsSetCodeModel(options.get(), LLVMCodeModelSmall);
  Owned<LLVMTargetMachineRef> machine(llvm.CreateTargetMachineWithOptions(found, triple.c_str(), options.get()),
                                      llvm.DisposeTargetMachine);
  if (machine == nullptr) return absl::InternalError(StrCat("LLVM: no code generator for ", triple));
  return machine;
}

}  // namespace

std::string TargetKey(const Target& target) {
  // The number is raised when emit.cc or the passes give other code for an equal kernel.
  return StrCat("weir-", WEIR_VERSION, " code-5 llvm-", WEIR_LLVM_VERSION, " ", target.identity);
}

std::string KernelSymbol(size_t index) { return StrCat("weir_kernel_", index); }

absl::Status FindLlvm() { return LlvmIsInPlace() ? absl::OkStatus() : LoadLlvm().status(); }

absl::StatusOr<std::string> GenerateCode(std::span<const Kernel* const> kernels, const Target& target, CodeForm form) {
  for (const Kernel* kernel : kernels) WEIR_RETURN_IF_ERROR(Verify(*kernel));
  WEIR_ASSIGN_OR_RETURN(const LlvmApi* api, LoadLlvm());
  const LlvmApi& llvm = *api;
  const std::string triple = Take(llvm, llvm.GetDefaultTargetTriple());
  WEIR_ASSIGN_OR_RETURN(const Owned<LLVMTargetMachineRef> machine, MakeMachine(llvm, target, triple));
  const Owned<LLVMContextRef> context(llvm.ContextCreate(), llvm.ContextDispose);
  const Owned<LLVMModuleRef> module(llvm.ModuleCreateWithNameInContext("weir", context.get()), llvm.DisposeModule);
  const Owned<LLVMTargetDataRef> layout(llvm.CreateTargetDataLayout(machine.get()), llvm.DisposeTargetData);
  llvm.SetTarget(module.get(), triple.c_str());
  llvm.SetModuleDataLayout(module.get(), layout.get());
  for (size_t i = 0; i < kernels.size(); ++i) {
    Emit(*kernels[i], KernelSymbol(i), llvm, module.get(), context.get());
  }
  char* problem = nullptr;
  const bool invalid = llvm.VerifyModule(module.get(), LLVMReturnStatusAction, &problem) != 0;
  const std::string what = Take(llvm, problem);
  if (invalid) return absl::InternalError(StrCat("LLVM: a module is not valid: ", what));

  const Owned<LLVMPassBuilderOptionsRef> options(llvm.CreatePassBuilderOptions(), llvm.DisposePassBuilderOptions);
  if (LLVMErrorRef failed = llvm.RunPasses(module.get(), kPasses, machine.get(), options.get()); failed != nullptr) {
    char* message = llvm.GetErrorMessage(failed);
    absl::Status status = absl::InternalError(StrCat("LLVM: passes: ", message));
    llvm.DisposeErrorMessage(message);
    return status;
  }
  if (form == CodeForm::kLlvmIr) return Take(llvm, llvm.PrintModuleToString(module.get()));
  LLVMMemoryBufferRef made = nullptr;
  char* error = nullptr;
  const LLVMCodeGenFileType type = form == CodeForm::kObject ? LLVMObjectFile : LLVMAssemblyFile;
  if (llvm.TargetMachineEmitToMemoryBuffer(machine.get(), module.get(), type, &error, &made) != 0)
    return absl::InternalError(StrCat("LLVM: code generation: ", Take(llvm, error)));
  const Owned<LLVMMemoryBufferRef> buffer(made, llvm.DisposeMemoryBuffer);
  return std::string(llvm.GetBufferStart(buffer.get()), llvm.GetBufferSize(buffer.get()));
}

}  // namespace weir::jit
