#include "weir/backends/llvm/jit.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>

#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Support/MemoryBuffer.h"
#include "weir/backends/llvm/emit.h"
#include "weir/core/error.h"
#include "weir/core/kernel_errors.h"

namespace weir::jit {
namespace {

// Instructions of kernel_ir that are worth a module of their own, and modules a plan is cut into at most.
constexpr size_t kPartInsts = 4000;
constexpr size_t kMaxParts = 8;

absl::Status ToStatus(::llvm::Error error, const std::string& what) {
  if (!error) return absl::OkStatus();
  return absl::InternalError(StrCat("LLVM: ", what, ": ", ::llvm::toString(std::move(error))));
}
template <class T>
absl::StatusOr<T> ToStatusOr(::llvm::Expected<T> expected, const std::string& what) {
  if (!expected) return ToStatus(expected.takeError(), what);
  return std::move(*expected);
}

extern "C" void WeirReportLabel(KernelErrors* errors, const char* what, int64_t row, int64_t label,
                                int64_t classes) noexcept {
  errors->OutOfRange(what, row, label, 0, classes);
}

// A library of one plan's code inside the session; unloaded when the plan is gone.
class Code {
 public:
  Code(std::shared_ptr<::llvm::orc::LLJIT> jit, ::llvm::orc::JITDylib& library)
      : jit_(std::move(jit)), library_(library) {}
  ~Code() { ::llvm::consumeError(jit_->getExecutionSession().removeJITDylib(library_)); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  ::llvm::orc::JITDylib& library() const { return library_; }

 private:
  std::shared_ptr<::llvm::orc::LLJIT> jit_;
  ::llvm::orc::JITDylib& library_;
};

class OrcJit : public Jit {
 public:
  OrcJit(Target target, std::shared_ptr<const ObjectCache> cache)
      : target_(std::move(target)), key_(TargetKey(target_)), cache_(std::move(cache)) {}

  const Target& target() const override { return target_; }

  absl::StatusOr<Compiled> Compile(std::span<const Kernel* const> kernels, ThreadPool& pool) const override {
    Compiled compiled;
    compiled.functions.resize(kernels.size());
    const std::vector<std::vector<size_t>> parts = Partition(kernels);
    std::vector<absl::StatusOr<std::string>> objects(parts.size(), std::string());
    pool.ParallelFor(static_cast<int64_t>(parts.size()), [&](int64_t p, int) noexcept {
      objects[static_cast<size_t>(p)] = CompilePart(kernels, parts[static_cast<size_t>(p)]);
    });
    WEIR_ASSIGN_OR_RETURN(const std::shared_ptr<::llvm::orc::LLJIT> jit, Session());
    std::vector<std::shared_ptr<const Code>> codes;
    for (size_t p = 0; p < parts.size(); ++p) {
      WEIR_RETURN_IF_ERROR(objects[p].status());
      WEIR_ASSIGN_OR_RETURN(std::shared_ptr<const Code> code, Link(jit, *std::move(objects[p])));
      for (size_t i = 0; i < parts[p].size(); ++i) {
        WEIR_ASSIGN_OR_RETURN(const ::llvm::orc::ExecutorAddr address,
                              ToStatusOr(jit->lookup(code->library(), KernelSymbol(i)), "lookup"));
        compiled.functions[parts[p][i]] = address.toPtr<KernelFn>();
      }
      codes.push_back(std::move(code));
    }
    compiled.code = std::make_shared<const std::vector<std::shared_ptr<const Code>>>(std::move(codes));
    return compiled;
  }

 private:
  // Parts of about equal work, as many as pay, largest kernels first. The number of threads has no say: the object
  // cache is to find the same parts whatever it is.
  static std::vector<std::vector<size_t>> Partition(std::span<const Kernel* const> kernels) {
    size_t total = 0;
    for (const Kernel* kernel : kernels) total += kernel->insts.size();
    const size_t count = std::clamp<size_t>(total / kPartInsts, 1, kMaxParts);
    std::vector<size_t> order(kernels.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return kernels[a]->insts.size() > kernels[b]->insts.size(); });
    std::vector<std::vector<size_t>> parts(count);
    std::vector<size_t> sizes(count, 0);
    for (size_t kernel : order) {
      const size_t part = static_cast<size_t>(std::min_element(sizes.begin(), sizes.end()) - sizes.begin());
      parts[part].push_back(kernel);
      sizes[part] += kernels[kernel]->insts.size();
    }
    std::erase_if(parts, [](const std::vector<size_t>& part) { return part.empty(); });
    return parts;
  }

  absl::StatusOr<std::string> CompilePart(std::span<const Kernel* const> kernels,
                                          const std::vector<size_t>& part) const {
    std::vector<const Kernel*> own;
    for (size_t kernel : part) own.push_back(kernels[kernel]);
    if (cache_ == nullptr) return GenerateCode(own, target_, CodeForm::kObject);
    std::string key = key_;
    for (const Kernel* kernel : own) key += "\n---\n" + ToText(*kernel);
    if (std::optional<std::string> found = cache_->Find(key)) return *std::move(found);
    WEIR_ASSIGN_OR_RETURN(std::string object, GenerateCode(own, target_, CodeForm::kObject));
    cache_->Store(key, object);
    return object;
  }

  // Made by the first plan: whoever compiles nothing does not wait for it.
  absl::StatusOr<std::shared_ptr<::llvm::orc::LLJIT>> Session() const {
    std::lock_guard lock(mutex_);
    if (jit_ != nullptr) return jit_;
    ::llvm::orc::LLJITBuilder builder;
    ::llvm::orc::JITTargetMachineBuilder machine((::llvm::Triple(target_.triple)));
    machine.setCPU(target_.cpu);
    builder.setJITTargetMachineBuilder(std::move(machine));
    // Kernels neither throw nor name the host's functions other than through absolute symbols.
    builder.setPlatformSetUp(::llvm::orc::setUpInactivePlatform);
    builder.setLinkProcessSymbolsByDefault(false);
    WEIR_ASSIGN_OR_RETURN(std::unique_ptr<::llvm::orc::LLJIT> jit, ToStatusOr(builder.create(), "LLJIT"));
    jit_ = std::move(jit);
    return jit_;
  }

  static absl::StatusOr<std::shared_ptr<const Code>> Link(const std::shared_ptr<::llvm::orc::LLJIT>& jit,
                                                          const std::string& object) {
    static std::atomic<int64_t> serial{0};
    ::llvm::orc::ExecutionSession& session = jit->getExecutionSession();
    ::llvm::orc::JITDylib& library = session.createBareJITDylib(StrCat("plan_", serial++));
    auto code = std::make_shared<const Code>(jit, library);
    ::llvm::orc::SymbolMap host;
    host[jit->mangleAndIntern(kReportLabelSymbol)] = {
        ::llvm::orc::ExecutorAddr::fromPtr(&WeirReportLabel),
        ::llvm::JITSymbolFlags::Exported | ::llvm::JITSymbolFlags::Callable};
    WEIR_RETURN_IF_ERROR(ToStatus(library.define(::llvm::orc::absoluteSymbols(std::move(host))), "host symbols"));
    std::unique_ptr<::llvm::MemoryBuffer> buffer = ::llvm::MemoryBuffer::getMemBufferCopy(object, "weir");
    WEIR_RETURN_IF_ERROR(ToStatus(jit->addObjectFile(library, std::move(buffer)), "object file"));
    return code;
  }

  const Target target_;
  const std::string key_;
  const std::shared_ptr<const ObjectCache> cache_;
  mutable std::mutex mutex_;  // guards jit_
  mutable std::shared_ptr<::llvm::orc::LLJIT> jit_;
};

}  // namespace

std::shared_ptr<const Jit> Jit::Create(Target target, std::shared_ptr<const ObjectCache> cache) {
  return std::make_shared<const OrcJit>(std::move(target), std::move(cache));
}

}  // namespace weir::jit
