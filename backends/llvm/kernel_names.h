// The names that kernels have in debuggers and profiles: layer and ops, "conv2d_1.conv+bias+relu+pool".
#ifndef WEIR_BACKENDS_LLVM_KERNEL_NAMES_H_
#define WEIR_BACKENDS_LLVM_KERNEL_NAMES_H_

#include <span>

#include "weir/core/backend.h"

namespace weir::jit {

// Names the kernels of a cluster that was just lowered; one that has several stages says what each does behind a slash.
void NameKernels(const Cluster& cluster, std::span<Stage> stages);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_KERNEL_NAMES_H_
