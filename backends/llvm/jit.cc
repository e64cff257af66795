#include "weir/backends/llvm/jit.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "weir/core/error.h"
#include "weir/core/kernel_errors.h"

namespace weir::jit {
namespace {

// Instructions of kernel_ir that are worth a module of their own, and modules a plan is cut into at most.
constexpr size_t kPartInsts = 4000;
constexpr size_t kMaxParts = 8;

// Raised when codegen/ gives other code for an equal kernel.
constexpr int kCodeVersion = 7;

extern "C" void WeirReportLabel(KernelErrors* errors, const char* what, int64_t row, int64_t label,
                                int64_t classes) noexcept {
  errors->OutOfRange(what, row, label, 0, classes);
}

// Distinct kernels, by their texts, with distinct names.
struct Distinct {
  std::vector<NamedKernel> kernels;
  std::vector<std::string> texts;
  std::vector<size_t> of;  // for each kernel asked for, which of these it is
};

Distinct DistinctOf(std::span<const NamedKernel> asked) {
  Distinct distinct;
  absl::flat_hash_map<std::string, size_t> known;
  absl::flat_hash_set<std::string> names;
  for (const NamedKernel& named : asked) {
    const auto [at, fresh] = known.try_emplace(ToText(*named.kernel), distinct.kernels.size());
    distinct.of.push_back(at->second);
    if (!fresh) continue;
    std::string symbol = named.symbol;
    for (int number = 2; !names.insert(symbol).second; ++number) symbol = StrCat(named.symbol, "~", number);
    distinct.texts.push_back(at->first);
    distinct.kernels.push_back({named.kernel, std::move(symbol)});
  }
  return distinct;
}

// Parts of about equal work, as many as pay, largest kernels first. The number of threads has no say: the object
// cache is to find the same parts whatever it is.
std::vector<std::vector<size_t>> Partition(std::span<const NamedKernel> kernels) {
  const auto size_of = [&](size_t kernel) { return kernels[kernel].kernel->insts.size(); };
  size_t total = 0;
  for (size_t kernel = 0; kernel < kernels.size(); ++kernel) total += size_of(kernel);
  const size_t count = std::clamp<size_t>(total / kPartInsts, 1, kMaxParts);
  std::vector<size_t> order(kernels.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return size_of(a) > size_of(b); });
  std::vector<std::vector<size_t>> parts(count);
  std::vector<size_t> sizes(count, 0);
  for (size_t kernel : order) {
    const size_t part = static_cast<size_t>(std::min_element(sizes.begin(), sizes.end()) - sizes.begin());
    parts[part].push_back(kernel);
    sizes[part] += size_of(kernel);
  }
  std::erase_if(parts, [](const std::vector<size_t>& part) { return part.empty(); });
  return parts;
}

}  // namespace

Jit::Jit(std::string cpu, std::shared_ptr<const ObjectCache> cache) : cpu_(std::move(cpu)), cache_(std::move(cache)) {}

const absl::StatusOr<Target>& Jit::target() const {
  std::call_once(found_, [&] {
    target_ = FindTarget(cpu_);
    if (!target_->ok()) return;
    key_ = StrCat("weir-", WEIR_VERSION, " code-", kCodeVersion, " llvm-", (*LoadPlugin())->llvm_version, " ",
                  (*target_)->identity);
  });
  return *target_;
}

absl::StatusOr<Linker*> Jit::linker() const {
  WEIR_RETURN_IF_ERROR(target().status());
  std::call_once(made_, [&] {
    const HostFunction host[] = {{kReportLabelSymbol, reinterpret_cast<void (*)()>(&WeirReportLabel)}};
    linker_ = (*LoadPlugin())->make_linker((*target_)->facts, std::span<const HostFunction>(host));
  });
  WEIR_RETURN_IF_ERROR(linker_->status());
  return (**linker_).get();
}

absl::StatusOr<Compiled> Jit::Compile(std::span<const NamedKernel> kernels, ThreadPool& pool) const {
  WEIR_ASSIGN_OR_RETURN(Linker* const linker, this->linker());
  WEIR_ASSIGN_OR_RETURN(const std::shared_ptr<PlanCode> plan, linker->NewPlan());
  const Distinct distinct = DistinctOf(kernels);
  const std::vector<std::vector<size_t>> parts = Partition(distinct.kernels);
  std::vector<absl::StatusOr<std::vector<KernelFn>>> made(parts.size(), std::vector<KernelFn>());
  pool.ParallelFor(static_cast<int64_t>(parts.size()), [&](int64_t p, int) noexcept {
    std::vector<NamedKernel> own;
    std::vector<std::string> texts;
    for (size_t kernel : parts[static_cast<size_t>(p)]) {
      own.push_back(distinct.kernels[kernel]);
      texts.push_back(distinct.texts[kernel]);
    }
    made[static_cast<size_t>(p)] = MakePart(*plan, own, texts);
  });
  std::vector<KernelFn> functions(distinct.kernels.size());
  for (size_t p = 0; p < parts.size(); ++p) {
    WEIR_RETURN_IF_ERROR(made[p].status());
    for (size_t i = 0; i < parts[p].size(); ++i) functions[parts[p][i]] = (*made[p])[i];
  }
  Compiled compiled{.code = plan, .functions = {}};
  for (size_t kernel : distinct.of) compiled.functions.push_back(functions[kernel]);
  return compiled;
}

absl::StatusOr<std::vector<KernelFn>> Jit::MakePart(PlanCode& plan, std::span<const NamedKernel> kernels,
                                                    std::span<const std::string> texts) const {
  std::string object;
  if (cache_ == nullptr) return plan.CompileAndLink(kernels, &object);
  std::string key = key_;
  for (size_t i = 0; i < kernels.size(); ++i) key += StrCat("\n--- ", kernels[i].symbol, "\n", texts[i]);
  if (const std::optional<std::string> found = cache_->Find(key)) return plan.Link(kernels, *found);
  WEIR_ASSIGN_OR_RETURN(std::vector<KernelFn> functions, plan.CompileAndLink(kernels, &object));
  cache_->Store(key, object);
  return functions;
}

absl::StatusOr<std::string> Jit::Show(std::span<const NamedKernel> kernels, CodeForm form) const {
  WEIR_RETURN_IF_ERROR(target().status());
  return (*LoadPlugin())->show(kernels, (*target_)->facts, form);
}

}  // namespace weir::jit
