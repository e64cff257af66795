#include "weir/backends/llvm/codegen.h"

#include <mutex>

#include "llvm/Analysis/CGSCCPassManager.h"
#include "llvm/Analysis/LoopAnalysisManager.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"
#include "weir/backends/llvm/emit.h"
#include "weir/core/error.h"

namespace weir::jit {
namespace {

void InitializeOnce() {
  static const bool done = [] {
    ::llvm::InitializeNativeTarget();
    ::llvm::InitializeNativeTargetAsmPrinter();
    return true;
  }();
  (void)done;
}

absl::StatusOr<std::unique_ptr<::llvm::TargetMachine>> MakeMachine(const Target& target) {
  InitializeOnce();
  std::string error;
  const ::llvm::Target* found = ::llvm::TargetRegistry::lookupTarget(target.triple, error);
  if (found == nullptr) return absl::InternalError(StrCat("LLVM: ", error));
  ::llvm::TargetOptions options;
  // The contract on bits: an addition and a multiplication become one instruction only where the kernel says so.
  options.AllowFPOpFusion = ::llvm::FPOpFusion::Strict;
  std::unique_ptr<::llvm::TargetMachine> machine(
      found->createTargetMachine(target.triple, target.cpu, target.features, options, ::llvm::Reloc::PIC_,
                                 ::llvm::CodeModel::Small, ::llvm::CodeGenOptLevel::Default, /*JIT=*/true));
  if (machine == nullptr) return absl::InternalError(StrCat("LLVM: no code generator for ", target.triple));
  return machine;
}

// What changes no floating-point operation and pays for code that is already vectors and tiles.
void Optimize(::llvm::Module& module, ::llvm::TargetMachine& machine) {
  ::llvm::LoopAnalysisManager loops;
  ::llvm::FunctionAnalysisManager functions;
  ::llvm::CGSCCAnalysisManager components;
  ::llvm::ModuleAnalysisManager modules;
  ::llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  ::llvm::FunctionPassManager passes;
  passes.addPass(::llvm::EarlyCSEPass());
  passes.addPass(::llvm::InstCombinePass(::llvm::InstCombineOptions().setMaxIterations(1).setVerifyFixpoint(false)));
  passes.addPass(
      ::llvm::createFunctionToLoopPassAdaptor(::llvm::LICMPass(::llvm::LICMOptions()), /*UseMemorySSA=*/true));
  passes.addPass(::llvm::SimplifyCFGPass());
  for (::llvm::Function& function : module) {
    if (!function.isDeclaration()) passes.run(function, functions);
  }
}

}  // namespace

absl::StatusOr<Target> FindTarget(const std::string& cpu) {
  InitializeOnce();
  const ::llvm::StringMap<bool> host = ::llvm::sys::getHostCPUFeatures();
  Target target;
  target.triple = ::llvm::sys::getProcessTriple();
  target.cpu = cpu.empty() ? ::llvm::sys::getHostCPUName().str() : cpu;
  if (cpu.empty()) {
    std::vector<std::string> features;
    for (const auto& feature : host) features.push_back((feature.getValue() ? "+" : "-") + feature.getKey().str());
    std::sort(features.begin(), features.end());
    target.features = StrJoin(features, ",");
  }
  // LLVM itself only warns about names it doesn't know.
  std::string error;
  const ::llvm::Target* found = ::llvm::TargetRegistry::lookupTarget(target.triple, error);
  if (found == nullptr) return absl::UnimplementedError(StrCat("LLVM: ", error));
  const std::unique_ptr<::llvm::MCSubtargetInfo> plain(found->createMCSubtargetInfo(target.triple, "", ""));
  if (plain == nullptr || !plain->isCPUStringValid(target.cpu)) {
    return absl::InvalidArgumentError(StrCat("LLVM: unknown processor '", target.cpu, "'"));
  }
  const std::unique_ptr<::llvm::MCSubtargetInfo> subtarget(
      found->createMCSubtargetInfo(target.triple, target.cpu, target.features));
#if defined(__x86_64__)
  for (const char* feature : {"avx", "avx2", "fma", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl"}) {
    const auto has = host.find(feature);
    if (subtarget->checkFeatures(std::string("+") + feature) && (has == host.end() || !has->getValue())) {
      return absl::InvalidArgumentError(
          StrCat("LLVM: this machine can't run code for '", target.cpu, "': it has no ", feature));
    }
  }
  if (!subtarget->checkFeatures("+fma") || !subtarget->checkFeatures("+avx2")) {
    return absl::UnimplementedError(StrCat("LLVM: '", target.cpu, "' has no AVX2 with fused multiply-add"));
  }
#endif
  const bool wide = subtarget->checkFeatures("+avx512vl");
  target.vector_registers = wide ? 32 : 8;
  target.vector_parts = wide ? 1 : 2;
  // Which of AVX2's processors it is need not be known ("x86-64-v3"); those of Intel with AVX-512 are told apart.
  target.fetches_far = !wide || target.cpu.starts_with("znver");
  return target;
}

std::string TargetKey(const Target& target) {
  // The number is raised when emit.cc or the passes give other code for an equal kernel.
  return StrCat("weir-", WEIR_VERSION, " code-5 llvm-", LLVM_VERSION_STRING, " ", target.triple, " ", target.cpu, " ",
                target.features);
}

std::string KernelSymbol(size_t index) { return StrCat("weir_kernel_", index); }

absl::StatusOr<std::string> GenerateCode(std::span<const Kernel* const> kernels, const Target& target, CodeForm form) {
  WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<::llvm::TargetMachine> machine, MakeMachine(target));
  ::llvm::LLVMContext context;
  ::llvm::Module module("weir", context);
  module.setTargetTriple(target.triple);
  module.setDataLayout(machine->createDataLayout());
  for (size_t i = 0; i < kernels.size(); ++i) {
    WEIR_RETURN_IF_ERROR(Verify(*kernels[i]));
    Emit(*kernels[i], KernelSymbol(i), module);
  }
  std::string problem;
  ::llvm::raw_string_ostream stream(problem);
  if (::llvm::verifyModule(module, &stream))
    return absl::InternalError(StrCat("LLVM: a module is not valid: ", problem));
  Optimize(module, *machine);
  if (form == CodeForm::kLlvmIr) {
    std::string text;
    ::llvm::raw_string_ostream out(text);
    module.print(out, nullptr);
    return text;
  }
  ::llvm::SmallVector<char, 0> bytes;
  ::llvm::raw_svector_ostream out(bytes);
  ::llvm::legacy::PassManager generator;
  const auto type =
      form == CodeForm::kObject ? ::llvm::CodeGenFileType::ObjectFile : ::llvm::CodeGenFileType::AssemblyFile;
  if (machine->addPassesToEmitFile(generator, out, nullptr, type))
    return absl::InternalError("LLVM: no code generator");
  generator.run(module);
  return std::string(bytes.data(), bytes.size());
}

}  // namespace weir::jit
