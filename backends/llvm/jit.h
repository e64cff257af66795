// Linking generated code into this process, and letting go of it: the only place that knows ORC, and the one where
// LLVM's errors become absl::Status. Kernels of a plan are compiled at once, in parts on several threads, or taken
// from the object cache.
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
  static std::shared_ptr<const Jit> Create(Target target, std::shared_ptr<const ObjectCache> cache);
  virtual ~Jit() = default;

  // On the threads of `pool`. Safe for several threads.
  virtual absl::StatusOr<Compiled> Compile(std::span<const Kernel* const> kernels, ThreadPool& pool) const = 0;
  virtual const Target& target() const = 0;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_JIT_H_
