// Kernels to machine code, as bytes of an object file: module, verifier, passes, code generation. Needs no linker and
// keeps nothing; safe to call from several threads at once. Linking is jit.h's.
#ifndef WEIR_BACKENDS_LLVM_CODEGEN_H_
#define WEIR_BACKENDS_LLVM_CODEGEN_H_

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "weir/backends/llvm/kernel_ir.h"

namespace weir::jit {

struct Target {
  std::string triple, cpu, features;
  int vector_registers = 0;  // vectors of 16 floats that the registers hold
  int vector_parts = 1;      // registers of such a vector
  bool fetches_far = false;  // see TileLimits
};

// The processor this runs on, or another one that it can stand in for ("x86-64-v3": AVX2). kUnimplemented if it has no
// fused multiply-add, without which results could not be the reference's; kInvalidArgument for an unknown processor
// or one with instructions that this machine lacks.
absl::StatusOr<Target> FindTarget(const std::string& cpu);

// What a cached object depends on besides its kernels: processor, instructions, versions of weir and LLVM.
std::string TargetKey(const Target& target);

// Kernel i becomes the function KernelSymbol(i).
std::string KernelSymbol(size_t index);
enum class CodeForm { kObject, kAssembly, kLlvmIr };
absl::StatusOr<std::string> GenerateCode(std::span<const Kernel* const> kernels, const Target& target, CodeForm form);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CODEGEN_H_
