#include "weir/backends/llvm/codegen/orc.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "llvm/ExecutionEngine/Orc/CompileUtils.h"
#include "llvm/ExecutionEngine/Orc/DebugObjectManagerPlugin.h"
#include "llvm/ExecutionEngine/Orc/Debugging/PerfSupportPlugin.h"
#include "llvm/ExecutionEngine/Orc/EPCDebugObjectRegistrar.h"
#include "llvm/ExecutionEngine/Orc/ExecutorProcessControl.h"
#include "llvm/ExecutionEngine/Orc/IRCompileLayer.h"
#include "llvm/ExecutionEngine/Orc/JITTargetMachineBuilder.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h"
#include "llvm/ExecutionEngine/Orc/TargetProcess/JITLoaderGDB.h"
#include "llvm/ExecutionEngine/Orc/TargetProcess/JITLoaderPerf.h"
#include "llvm/ExecutionEngine/Orc/TaskDispatch.h"
#include "llvm/ExecutionEngine/Orc/ThreadSafeModule.h"
#include "weir/backends/llvm/codegen/module.h"
#include "weir/core/error.h"

// The interface between debuggers and code that is linked at run time, which LLVM defines and doesn't declare.
extern "C" jit_descriptor __jit_debug_descriptor;
extern "C" void __jit_debug_register_code();

namespace weir::jit {
namespace {

namespace orc = llvm::orc;

// What went wrong while ORC materialized something: it is reported apart from the error of the look-up that asked for
// it, and perhaps on another thread: each materializes what is next in the session's queue. Where two fail at once, one
// tells both reasons.
class Reports {
 public:
  void Add(llvm::Error error) {
    std::lock_guard lock(mutex_);
    text_ += StrCat(text_.empty() ? "" : "; ", llvm::toString(std::move(error)));
  }
  std::string Take() {
    std::lock_guard lock(mutex_);
    return std::exchange(text_, "");
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

Reports& TheReports() {
  static auto* reports = new Reports;
  return *reports;
}

// Where LLVM's errors become those of weir. Linking fails for what the machine refuses (memory, pages that may be
// executed), since kernels were verified before.
absl::Status StatusOf(llvm::Error error) {
  std::string text = llvm::toString(std::move(error));
  if (const std::string reported = TheReports().Take(); !reported.empty()) text = StrCat(reported, " (", text, ")");
  return absl::UnavailableError(StrCat("LLVM: compiled kernels can't be linked: ", text));
}

#define WEIR_RETURN_IF_LLVM_ERROR(expression) \
  if (llvm::Error weir_error = (expression)) return StatusOf(std::move(weir_error))

// ORC's compile layer: passes and code generation for a module, on the thread that asks for one of its symbols. The
// object's bytes go to whoever keeps them.
class KeepingCompiler : public orc::IRCompileLayer::IRCompiler {
 public:
  explicit KeepingCompiler(const ProcessorFacts& processor)
      : IRCompiler(orc::irManglingOptionsFromTargetOptions(llvm::TargetOptions())), processor_(processor) {}

  llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>> operator()(llvm::Module& module) override {
    auto machine = MakeMachine(processor_);
    if (!machine.ok()) return Fault(machine.status());
    Optimize(module, **machine);
    orc::SimpleCompiler compiler(**machine);
    auto object = compiler(module);
    if (object) {
      std::lock_guard lock(mutex_);
      const auto kept = keep_.find(module.getModuleIdentifier());
      if (kept != keep_.end()) kept->second->assign((*object)->getBufferStart(), (*object)->getBufferSize());
    }
    return object;
  }

  // From now on, the bytes of the module of that name are stored in `object`.
  void Keep(const std::string& module, std::string* object) {
    std::lock_guard lock(mutex_);
    keep_[module] = object;
  }
  void Forget(const std::string& module) {
    std::lock_guard lock(mutex_);
    keep_.erase(module);
  }

 private:
  static llvm::Error Fault(const absl::Status& status) {
    return llvm::createStringError(llvm::inconvertibleErrorCode(), std::string(status.message()));
  }

  const ProcessorFacts processor_;
  std::mutex mutex_;
  std::map<std::string, std::string*, std::less<>> keep_;
};

// Objects that debuggers know of, by their symbols: kernels have no debug sections. LLVM's registration appends to a list
// that debuggers read and never takes anything off it again; whoever frees code has to, or a debugger reads freed memory.
class DebugEntries {
 public:
  DebugEntries() = default;
  ~DebugEntries() { Clear(); }

  // Before the objects go.
  void Clear() {
    std::lock_guard lock(mutex_);
    if (entries_.empty()) return;
    for (jit_code_entry* entry : entries_) {
      (entry->prev_entry != nullptr ? entry->prev_entry->next_entry : __jit_debug_descriptor.first_entry) = entry->next_entry;
      if (entry->next_entry != nullptr) entry->next_entry->prev_entry = entry->prev_entry;
      __jit_debug_descriptor.relevant_entry = entry;
      __jit_debug_descriptor.action_flag = JIT_UNREGISTER_FN;
      __jit_debug_register_code();
      delete entry;
    }
    __jit_debug_descriptor.relevant_entry = nullptr;
    entries_.clear();
  }
  DebugEntries(const DebugEntries&) = delete;
  DebugEntries& operator=(const DebugEntries&) = delete;

  void Register(orc::ExecutorAddrRange object) {
    std::lock_guard lock(mutex_);
    auto* entry = new jit_code_entry;
    entry->symfile_addr = object.Start.toPtr<const char*>();
    entry->symfile_size = object.size();
    entry->prev_entry = nullptr;
    entry->next_entry = __jit_debug_descriptor.first_entry;
    if (entry->next_entry != nullptr) entry->next_entry->prev_entry = entry;
    __jit_debug_descriptor.first_entry = __jit_debug_descriptor.relevant_entry = entry;
    __jit_debug_descriptor.action_flag = JIT_REGISTER_FN;
    __jit_debug_register_code();
    entries_.push_back(entry);
  }

 private:
  static inline std::mutex mutex_;  // guards the debuggers' list
  std::vector<jit_code_entry*> entries_;
};

// Where what this thread is about to register belongs.
thread_local DebugEntries* current_entries = nullptr;

// The plans that live, by their dylibs: of which of them a linked object is, whatever thread has linked it.
class PlanEntries : public orc::ObjectLinkingLayer::Plugin {
 public:
  // Comes before the plugin that registers.
  llvm::Error notifyEmitted(orc::MaterializationResponsibility& linked) override {
    std::lock_guard lock(mutex_);
    const auto found = plans_.find(&linked.getTargetJITDylib());
    current_entries = found == plans_.end() ? nullptr : found->second;
    return llvm::Error::success();
  }
  llvm::Error notifyFailed(orc::MaterializationResponsibility&) override { return llvm::Error::success(); }
  llvm::Error notifyRemovingResources(orc::JITDylib&, orc::ResourceKey) override { return llvm::Error::success(); }
  void notifyTransferringResources(orc::JITDylib&, orc::ResourceKey, orc::ResourceKey) override {}

  void Add(const orc::JITDylib& dylib, DebugEntries* entries) {
    std::lock_guard lock(mutex_);
    plans_[&dylib] = entries;
  }
  void Remove(const orc::JITDylib& dylib) {
    std::lock_guard lock(mutex_);
    plans_.erase(&dylib);
  }

 private:
  std::mutex mutex_;
  std::map<const orc::JITDylib*, DebugEntries*> plans_;
};

class Registrar : public orc::DebugObjectRegistrar {
 public:
  llvm::Error registerDebugObject(orc::ExecutorAddrRange object, bool) override {
    if (current_entries != nullptr) current_entries->Register(object);
    return llvm::Error::success();
  }
};

void AddDebugger(orc::ExecutionSession& session, orc::ObjectLinkingLayer& layer) {
  layer.addPlugin(std::make_unique<orc::DebugObjectManagerPlugin>(session, std::make_unique<Registrar>(),
                                                                  /*RequireDebugSections=*/false,
                                                                  /*AutoRegisterCode=*/true));
}

// LLVM leaves the flags in a jitdump's header as they happen to be, and perf refuses those that it doesn't know. The file
// is among this process's mappings; the header is in it once a record is.
void ClearFlagsOfDump() {
  constexpr off_t kFlags = 32;  // behind six words of 4 bytes and the time
  const std::string name = StrCat("/jit-", getpid(), ".dump");
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find('/');
    if (path == std::string::npos || !line.ends_with(name)) continue;
    const int file = open(line.c_str() + path, O_WRONLY | O_CLOEXEC);
    const uint64_t none = 0;
    if (file < 0 || pwrite(file, &none, sizeof(none), kFlags) != sizeof(none)) {
      std::fprintf(stderr, "weir: the header of %s can't be written\n", line.c_str() + path);
    }
    if (file >= 0) close(file);
    return;
  }
}

extern "C" orc::shared::CWrapperFunctionResult WeirWriteDump(const char* data, uint64_t size) {
  const orc::shared::CWrapperFunctionResult result = llvm_orc_registerJITLoaderPerfImpl(data, size);
  static std::once_flag once;
  std::call_once(once, ClearFlagsOfDump);
  return result;
}

// A jitdump of all that is linked, for `perf inject --jit`.
void AddPerf(orc::ExecutionSession& session, orc::ObjectLinkingLayer& layer) {
  layer.addPlugin(std::make_unique<orc::PerfSupportPlugin>(
      session.getExecutorProcessControl(), orc::ExecutorAddr::fromPtr(&llvm_orc_registerJITLoaderPerfStart),
      orc::ExecutorAddr::fromPtr(&llvm_orc_registerJITLoaderPerfEnd), orc::ExecutorAddr::fromPtr(&WeirWriteDump), /*EmitDebugInfo=*/false,
      /*EmitUnwindInfo=*/false));
}

bool WantsPerf() {
  const char* value = secure_getenv("WEIR_JIT_PERF");
  return value != nullptr && std::string_view(value) != "" && std::string_view(value) != "0";
}

class OrcLinker : public Linker, public std::enable_shared_from_this<OrcLinker> {
 public:
  explicit OrcLinker(const ProcessorFacts& processor) : processor_(processor) {}

  absl::Status Start(std::span<const HostFunction> host) {
    auto control = orc::SelfExecutorProcessControl::Create(nullptr, std::make_unique<orc::InPlaceTaskDispatcher>());
    if (!control) return StatusOf(control.takeError());
    WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<llvm::TargetMachine> machine, MakeMachine(processor_));
    orc::LLJITBuilder builder;
    builder.setExecutorProcessControl(std::move(*control))
        .setJITTargetMachineBuilder(orc::JITTargetMachineBuilder(machine->getTargetTriple()))
        .setDataLayout(machine->createDataLayout())
        .setLinkProcessSymbolsByDefault(false)
        .setPlatformSetUp(orc::setUpInactivePlatform)
        .setCompileFunctionCreator([this](orc::JITTargetMachineBuilder)
                                       -> llvm::Expected<std::unique_ptr<orc::IRCompileLayer::IRCompiler>> {
          auto compiler = std::make_unique<KeepingCompiler>(processor_);
          compiler_ = compiler.get();
          return compiler;
        })
        .setObjectLinkingLayerCreator([this](orc::ExecutionSession& session, const llvm::Triple&)
                                          -> llvm::Expected<std::unique_ptr<orc::ObjectLayer>> {
          session.setErrorReporter([](llvm::Error error) { TheReports().Add(std::move(error)); });
          auto layer = std::make_unique<orc::ObjectLinkingLayer>(session);
          layer->addPlugin(plan_entries_);
          AddDebugger(session, *layer);
          if (WantsPerf()) AddPerf(session, *layer);
          return layer;
        });
    auto jit = builder.create();
    if (!jit) return StatusOf(jit.takeError());
    jit_ = std::move(*jit);
    orc::SymbolMap symbols;
    for (const HostFunction& function : host) {
      symbols[jit_->mangleAndIntern(function.symbol)] = {orc::ExecutorAddr::fromPtr(function.function),
                                                         llvm::JITSymbolFlags::Exported};
    }
    WEIR_RETURN_IF_LLVM_ERROR(jit_->getMainJITDylib().define(orc::absoluteSymbols(std::move(symbols))));
    return absl::OkStatus();
  }

  absl::StatusOr<std::shared_ptr<PlanCode>> NewPlan() override;

  orc::LLJIT& jit() { return *jit_; }
  KeepingCompiler& compiler() { return *compiler_; }
  PlanEntries& plan_entries() { return *plan_entries_; }
  const ProcessorFacts& processor() const { return processor_; }

 private:
  const ProcessorFacts processor_;
  const std::shared_ptr<PlanEntries> plan_entries_ = std::make_shared<PlanEntries>();
  std::unique_ptr<orc::LLJIT> jit_;
  KeepingCompiler* compiler_ = nullptr;  // jit_'s
  std::atomic<int64_t> plans_{0};
};

// A dylib of ORC's, so that plans may have kernels of equal names; its tracker frees all that was linked.
class OrcPlan : public PlanCode {
 public:
  OrcPlan(std::shared_ptr<OrcLinker> linker, orc::JITDylib& dylib)
      : linker_(std::move(linker)), dylib_(dylib), tracker_(dylib.createResourceTracker()) {
    linker_->plan_entries().Add(dylib_, &debug_entries_);
  }
  ~OrcPlan() override {
    linker_->plan_entries().Remove(dylib_);
    debug_entries_.Clear();
    // What can't be freed is lost, and nothing can be done about it here.
    llvm::consumeError(tracker_->remove());
    llvm::consumeError(linker_->jit().getExecutionSession().removeJITDylib(dylib_));
  }

  absl::StatusOr<std::vector<KernelFn>> CompileAndLink(std::span<const NamedKernel> kernels,
                                                       std::string* object) override {
    auto context = std::make_unique<llvm::LLVMContext>();
    WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<llvm::TargetMachine> machine, MakeMachine(linker_->processor()));
    WEIR_ASSIGN_OR_RETURN(std::unique_ptr<llvm::Module> module, MakeModule(kernels, *machine, *context));
    const std::string name = StrCat(dylib_.getName(), " part ", parts_++);
    module->setModuleIdentifier(name);
    linker_->compiler().Keep(name, object);
    absl::StatusOr<std::vector<KernelFn>> functions =
        Add(linker_->jit().addIRModule(tracker_, orc::ThreadSafeModule(std::move(module), std::move(context))), kernels);
    linker_->compiler().Forget(name);
    return functions;
  }

  absl::StatusOr<std::vector<KernelFn>> Link(std::span<const NamedKernel> kernels, const std::string& object) override {
    const std::string name = StrCat(dylib_.getName(), " part ", parts_++);
    return Add(linker_->jit().addObjectFile(tracker_, llvm::MemoryBuffer::getMemBufferCopy(object, name)), kernels);
  }

 private:
  // Looks the kernels up, which has them compiled and linked.
  absl::StatusOr<std::vector<KernelFn>> Add(llvm::Error added, std::span<const NamedKernel> kernels) {
    WEIR_RETURN_IF_LLVM_ERROR(std::move(added));
    orc::LLJIT& jit = linker_->jit();
    orc::SymbolLookupSet wanted;
    for (const NamedKernel& named : kernels) wanted.add(jit.mangleAndIntern(named.symbol));
    auto found = jit.getExecutionSession().lookup({{&dylib_, orc::JITDylibLookupFlags::MatchAllSymbols}},
                                                  std::move(wanted));
    if (!found) return StatusOf(found.takeError());
    std::vector<KernelFn> functions;
    for (const NamedKernel& named : kernels) {
      functions.push_back((*found)[jit.mangleAndIntern(named.symbol)].getAddress().toPtr<KernelFn>());
    }
    return functions;
  }

  const std::shared_ptr<OrcLinker> linker_;
  orc::JITDylib& dylib_;
  const orc::ResourceTrackerSP tracker_;
  DebugEntries debug_entries_;
  std::atomic<int64_t> parts_{0};
};

absl::StatusOr<std::shared_ptr<PlanCode>> OrcLinker::NewPlan() {
  auto dylib = jit_->createJITDylib(StrCat("plan ", plans_++));
  if (!dylib) return StatusOf(dylib.takeError());
  dylib->addToLinkOrder(jit_->getMainJITDylib());
  return std::make_shared<OrcPlan>(shared_from_this(), *dylib);
}

}  // namespace

absl::StatusOr<std::shared_ptr<Linker>> MakeOrcLinker(const ProcessorFacts& processor,
                                                      std::span<const HostFunction> host) {
  auto linker = std::make_shared<OrcLinker>(processor);
  WEIR_RETURN_IF_ERROR(linker->Start(host));
  return linker;
}

}  // namespace weir::jit
