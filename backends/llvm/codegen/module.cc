#include "weir/backends/llvm/codegen/module.h"

#include <mutex>

#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/CodeGen.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/TargetParser/Host.h"
#include "weir/backends/llvm/codegen/emit.h"
#include "weir/core/error.h"

namespace weir::jit {
namespace {

constexpr char kPasses[] =
    "function(early-cse,instcombine<max-iterations=1;no-verify-fixpoint>,loop-mssa(licm),simplifycfg)";

void InitializeOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<llvm::TargetMachine>> MakeMachine(const ProcessorFacts& processor) {
  InitializeOnce();
  const std::string triple = llvm::sys::getProcessTriple();
  std::string problem;
  const llvm::Target* target = llvm::TargetRegistry::lookupTarget(triple, problem);
  if (target == nullptr) return absl::InternalError(StrCat("LLVM: ", problem));
  std::unique_ptr<llvm::TargetMachine> machine(
      target->createTargetMachine(triple, processor.name, processor.features, llvm::TargetOptions(), llvm::Reloc::PIC_,
                                  llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default, /*JIT=*/true));
  if (machine == nullptr) return absl::InternalError(StrCat("LLVM: no code generator for ", triple));
  return machine;
}

absl::StatusOr<std::unique_ptr<llvm::Module>> MakeModule(std::span<const NamedKernel> kernels,
                                                         const llvm::TargetMachine& machine,
                                                         llvm::LLVMContext& context) {
  for (const NamedKernel& named : kernels) WEIR_RETURN_IF_ERROR(Verify(*named.kernel));
  auto module = std::make_unique<llvm::Module>("weir", context);
  module->setTargetTriple(machine.getTargetTriple().str());
  module->setDataLayout(machine.createDataLayout());
  for (const NamedKernel& named : kernels) {
    Emit(*named.kernel, named.symbol, llvm::wrap(module.get()), llvm::wrap(&context));
  }
  std::string problem;
  llvm::raw_string_ostream stream(problem);
  if (llvm::verifyModule(*module, &stream)) {
    return absl::InternalError(StrCat("LLVM: a module is not valid: ", stream.str()));
  }
  return module;
}

absl::Status Optimize(llvm::Module& module, llvm::TargetMachine& machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graphs;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graphs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graphs, modules);
  llvm::ModulePassManager passes;
  if (llvm::Error failed = builder.parsePassPipeline(passes, kPasses)) {
    return absl::InternalError(StrCat("LLVM: passes: ", llvm::toString(std::move(failed))));
  }
  passes.run(module, modules);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ShowCode(std::span<const NamedKernel> kernels, const ProcessorFacts& processor, CodeForm form) {
  WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<llvm::TargetMachine> machine, MakeMachine(processor));
  llvm::LLVMContext context;
  WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<llvm::Module> module, MakeModule(kernels, *machine, context));
  WEIR_RETURN_IF_ERROR(Optimize(*module, *machine));
  llvm::SmallString<0> text;
  llvm::raw_svector_ostream stream(text);
  if (form == CodeForm::kLlvmIr) {
    module->print(stream, nullptr);
    return std::string(text.str());
  }
  llvm::legacy::PassManager passes;
  if (machine->addPassesToEmitFile(passes, stream, nullptr, llvm::CodeGenFileType::AssemblyFile)) {
    return absl::InternalError("LLVM: its code generator writes no assembly");
  }
  passes.run(*module);
  return std::string(text.str());
}

}  // namespace weir::jit
