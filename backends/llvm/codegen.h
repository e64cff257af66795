// Kernels to machine code, as bytes of an object file: module, verifier, passes, code generation. Needs no linker and
// keeps nothing but LLVM itself, which it loads; safe to call from several threads at once. Linking is object_loader.h's.
#ifndef WEIR_BACKENDS_LLVM_CODEGEN_H_
#define WEIR_BACKENDS_LLVM_CODEGEN_H_

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "weir/backends/llvm/kernel_ir.h"
#include "weir/backends/llvm/processor.h"

namespace weir::jit {

// What a cached object depends on besides its kernels: processor, versions of weir and LLVM.
std::string TargetKey(const Target& target);

// Kernel i becomes the function KernelSymbol(i), which calls of the host's functions void kReportLabelSymbol(
// KernelErrors*, const char* what, int64_t row, int64_t label, int64_t classes).
std::string KernelSymbol(size_t index);
inline constexpr char kReportLabelSymbol[] = "weir_report_label";

enum class CodeForm { kObject, kAssembly, kLlvmIr };
// kUnimplemented where LLVM can't be loaded.
absl::StatusOr<std::string> GenerateCode(std::span<const Kernel* const> kernels, const Target& target, CodeForm form);

// Whether it may be expected to find LLVM, without loading it where it is in its place: kUnimplemented if not.
absl::Status FindLlvm();

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CODEGEN_H_
