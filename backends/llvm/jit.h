// Kernels of a plan made runnable in this process, and let go of: compiled at once, in parts on several threads, or taken
// from the object cache, where they are without LLVM being loaded.
#ifndef WEIR_BACKENDS_LLVM_JIT_H_
#define WEIR_BACKENDS_LLVM_JIT_H_

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/backends/llvm/codegen.h"
#include "weir/backends/llvm/kernel_ir.h"
#include "weir/backends/llvm/object_cache.h"
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
  // `cache` may be null.
  Jit(Target target, std::shared_ptr<const ObjectCache> cache);

  // On the threads of `pool`. Safe for several threads.
  absl::StatusOr<Compiled> Compile(std::span<const Kernel* const> kernels, ThreadPool& pool) const;
  const Target& target() const { return target_; }

 private:
  // The object file of a part.
  absl::StatusOr<std::string> FindOrGenerate(std::span<const Kernel* const> kernels) const;

  const Target target_;
  const std::string key_;
  const std::shared_ptr<const ObjectCache> cache_;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_JIT_H_
