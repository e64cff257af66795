#include "weir/backends/llvm/jit.h"

#include <algorithm>
#include <numeric>

#include "weir/backends/llvm/object_loader.h"
#include "weir/core/error.h"
#include "weir/core/kernel_errors.h"

namespace weir::jit {
namespace {

// Instructions of kernel_ir that are worth a module of their own, and modules a plan is cut into at most.
constexpr size_t kPartInsts = 4000;
constexpr size_t kMaxParts = 8;

extern "C" void WeirReportLabel(KernelErrors* errors, const char* what, int64_t row, int64_t label,
                                int64_t classes) noexcept {
  errors->OutOfRange(what, row, label, 0, classes);
}

const HostFunction kHostFunctions[] = {{kReportLabelSymbol, reinterpret_cast<void (*)()>(&WeirReportLabel)}};

// Parts of about equal work, as many as pay, largest kernels first. The number of threads has no say: the object
// cache is to find the same parts whatever it is.
std::vector<std::vector<size_t>> Partition(std::span<const Kernel* const> kernels) {
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

}  // namespace

Jit::Jit(Target target, std::shared_ptr<const ObjectCache> cache)
    : target_(std::move(target)), key_(TargetKey(target_)), cache_(std::move(cache)) {}

absl::StatusOr<Compiled> Jit::Compile(std::span<const Kernel* const> kernels, ThreadPool& pool) const {
  const std::vector<std::vector<size_t>> parts = Partition(kernels);
  std::vector<absl::StatusOr<std::string>> made(parts.size(), std::string());
  pool.ParallelFor(static_cast<int64_t>(parts.size()), [&](int64_t p, int) noexcept {
    std::vector<const Kernel*> own;
    for (size_t kernel : parts[static_cast<size_t>(p)]) own.push_back(kernels[kernel]);
    made[static_cast<size_t>(p)] = FindOrGenerate(own);
  });
  std::vector<std::string> objects;
  for (absl::StatusOr<std::string>& object : made) {
    WEIR_RETURN_IF_ERROR(object.status());
    objects.push_back(*std::move(object));
  }
  WEIR_ASSIGN_OR_RETURN(const std::shared_ptr<const LoadedCode> code, LoadedCode::Load(objects, kHostFunctions));
  Compiled compiled{.code = code, .functions = std::vector<KernelFn>(kernels.size())};
  for (size_t p = 0; p < parts.size(); ++p) {
    for (size_t i = 0; i < parts[p].size(); ++i) {
      void* function = code->Find(p, KernelSymbol(i));
      if (function == nullptr) return absl::InternalError(StrCat("LLVM: a compiled object has no ", KernelSymbol(i)));
      compiled.functions[parts[p][i]] = reinterpret_cast<KernelFn>(function);
    }
  }
  return compiled;
}

absl::StatusOr<std::string> Jit::FindOrGenerate(std::span<const Kernel* const> kernels) const {
  if (cache_ == nullptr) return GenerateCode(kernels, target_, CodeForm::kObject);
  std::string key = key_;
  for (const Kernel* kernel : kernels) key += "\n---\n" + ToText(*kernel);
  if (std::optional<std::string> found = cache_->Find(key)) return *std::move(found);
  WEIR_ASSIGN_OR_RETURN(std::string object, GenerateCode(kernels, target_, CodeForm::kObject));
  cache_->Store(key, object);
  return object;
}

}  // namespace weir::jit
