#include "weir/backends/llvm/codegen/module.h"

#include <mutex>

#include "llvm/Analysis/AliasAnalysis.h"
#include "llvm/Analysis/AssumptionCache.h"
#include "llvm/Analysis/BasicAliasAnalysis.h"
#include "llvm/Analysis/BlockFrequencyInfo.h"
#include "llvm/Analysis/BranchProbabilityInfo.h"
#include "llvm/Analysis/LoopAnalysisManager.h"
#include "llvm/Analysis/LoopInfo.h"
#include "llvm/Analysis/MemorySSA.h"
#include "llvm/Analysis/OptimizationRemarkEmitter.h"
#include "llvm/Analysis/PostDominators.h"
#include "llvm/Analysis/ProfileSummaryInfo.h"
#include "llvm/Analysis/ScalarEvolution.h"
#include "llvm/Analysis/ScopedNoAliasAA.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/Analysis/TargetTransformInfo.h"
#include "llvm/Analysis/TypeBasedAliasAnalysis.h"
#include "llvm/IR/Dominators.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/PassManager.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/CodeGen.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"
#include "weir/backends/llvm/codegen/emit.h"
#include "weir/core/error.h"

namespace weir::jit {
namespace {

void InitializeOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
}

// What the passes of Optimize ask for. llvm::PassBuilder would register every analysis there is, and with each the code
// of the passes around it: a third of the plug-in.
struct Analyses {
  explicit Analyses(llvm::TargetMachine& machine) {
    functions.registerPass([] {
      llvm::AAManager aliases;
      aliases.registerFunctionAnalysis<llvm::BasicAA>();
      aliases.registerFunctionAnalysis<llvm::ScopedNoAliasAA>();
      aliases.registerFunctionAnalysis<llvm::TypeBasedAA>();
      return aliases;
    });
    functions.registerPass([&] { return machine.getTargetIRAnalysis(); });
    functions.registerPass([&] {
      return llvm::TargetLibraryAnalysis(llvm::TargetLibraryInfoImpl(machine.getTargetTriple()));
    });
    Register<llvm::PassInstrumentationAnalysis, llvm::AssumptionAnalysis, llvm::BasicAA, llvm::ScopedNoAliasAA,
             llvm::TypeBasedAA, llvm::DominatorTreeAnalysis, llvm::PostDominatorTreeAnalysis, llvm::LoopAnalysis,
             llvm::MemorySSAAnalysis, llvm::ScalarEvolutionAnalysis, llvm::BranchProbabilityAnalysis,
             llvm::BlockFrequencyAnalysis, llvm::OptimizationRemarkEmitterAnalysis>(functions);
    Register<llvm::PassInstrumentationAnalysis, llvm::ProfileSummaryAnalysis>(modules);
    Register<llvm::PassInstrumentationAnalysis>(loops);
    functions.registerPass([&] { return llvm::ModuleAnalysisManagerFunctionProxy(modules); });
    functions.registerPass([&] { return llvm::LoopAnalysisManagerFunctionProxy(loops); });
    loops.registerPass([&] { return llvm::FunctionAnalysisManagerLoopProxy(functions); });
  }

  template <typename... Kinds, typename Manager>
  static void Register(Manager& manager) {
    (manager.registerPass([] { return Kinds(); }), ...);
  }

  llvm::LoopAnalysisManager loops;
  llvm::ModuleAnalysisManager modules;
  llvm::FunctionAnalysisManager functions;
};

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

void Optimize(llvm::Module& module, llvm::TargetMachine& machine) {
  Analyses analyses(machine);
  llvm::FunctionPassManager passes;
  passes.addPass(llvm::EarlyCSEPass());
  passes.addPass(llvm::InstCombinePass(llvm::InstCombineOptions().setMaxIterations(1).setVerifyFixpoint(false)));
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LICMPass(llvm::LICMOptions()), /*UseMemorySSA=*/true));
  passes.addPass(llvm::SimplifyCFGPass());
  for (llvm::Function& function : module) {
    if (!function.isDeclaration()) passes.run(function, analyses.functions);
  }
}

absl::StatusOr<std::string> ShowCode(std::span<const NamedKernel> kernels, const ProcessorFacts& processor, CodeForm form) {
  WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<llvm::TargetMachine> machine, MakeMachine(processor));
  llvm::LLVMContext context;
  WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<llvm::Module> module, MakeModule(kernels, *machine, context));
  Optimize(*module, *machine);
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
