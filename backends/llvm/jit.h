// Kernels of a plan made runnable in this process, and let go of: compiled at once, in parts on several threads, or taken
// from the object cache; linked by LLVM's ORC JIT, which the plug-in holds.
#ifndef WEIR_BACKENDS_LLVM_JIT_H_
#define WEIR_BACKENDS_LLVM_JIT_H_

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/backends/llvm/kernel_ir.h"
#include "weir/backends/llvm/object_cache.h"
#include "weir/backends/llvm/plugin.h"
#include "weir/backends/llvm/processor.h"
#include "weir/core/backend.h"
#include "weir/core/thread_pool.h"

namespace weir::jit {

struct Compiled {
  // Functions stay valid as long as anybody holds this; the last one to let go frees the code.
  std::shared_ptr<const void> code;
  std::vector<KernelFn> functions;  // one a kernel, in order
};

class Jit {
 public:
  // For the processor of that name, see FindTarget. `cache` may be null.
  Jit(std::string cpu, std::shared_ptr<const ObjectCache> cache);

  const std::string& cpu() const { return cpu_; }
  // Loads the plug-in when first asked. A failure stays.
  const absl::StatusOr<Target>& target() const;

  // On the threads of `pool`. Safe for several threads. Kernels that are equal but for their symbols are compiled once, under
  // the first one's; symbols that are equal but for their kernels get a number. kUnavailable as Linker says.
  absl::StatusOr<Compiled> Compile(std::span<const NamedKernel> kernels, ThreadPool& pool) const;

  // The code of kernels as text, for people.
  absl::StatusOr<std::string> Show(std::span<const NamedKernel> kernels, CodeForm form) const;

 private:
  absl::StatusOr<Linker*> linker() const;
  // The functions of a part. `texts` are ToText of its kernels.
  absl::StatusOr<std::vector<KernelFn>> MakePart(PlanCode& plan, std::span<const NamedKernel> kernels,
                                                 std::span<const std::string> texts) const;

  const std::string cpu_;
  const std::shared_ptr<const ObjectCache> cache_;
  mutable std::once_flag found_, made_;
  mutable std::optional<absl::StatusOr<Target>> target_;
  mutable std::string key_;  // what a cached object depends on besides its kernels
  mutable std::optional<absl::StatusOr<std::shared_ptr<Linker>>> linker_;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_JIT_H_
