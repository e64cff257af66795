// The ORC JIT: links, loads, names and frees the code of plans. The only file that knows ORC is orc.cc.
#ifndef WEIR_BACKENDS_LLVM_CODEGEN_ORC_H_
#define WEIR_BACKENDS_LLVM_CODEGEN_ORC_H_

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "weir/backends/llvm/plugin.h"

namespace weir::jit {

absl::StatusOr<std::shared_ptr<Linker>> MakeOrcLinker(const ProcessorFacts& processor,
                                                      std::span<const HostFunction> host);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CODEGEN_ORC_H_
