#include "weir/backends/llvm/processor.h"

#include <string_view>

#include "weir/core/error.h"

namespace weir::jit {
namespace {

absl::Status NoAvx2(const std::string& what) {
  return absl::UnimplementedError(StrCat("LLVM: ", what, " has no AVX2 with fused multiply-add"));
}

}  // namespace

absl::Status CheckThisProcessor() {
  const bool able = __builtin_cpu_supports("avx") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2");
  return able ? absl::OkStatus() : NoAvx2("this processor");
}

absl::StatusOr<Target> FindTarget(const std::string& cpu) {
  WEIR_ASSIGN_OR_RETURN(const Plugin* plugin, LoadPlugin());
  WEIR_ASSIGN_OR_RETURN(const ProcessorFacts facts, plugin->describe_processor(cpu));
  if (!facts.avx2) return NoAvx2(cpu.empty() ? "this processor" : StrCat("'", cpu, "'"));
  if (!facts.missing.empty()) {
    return absl::InvalidArgumentError(
        StrCat("LLVM: this machine can't run code for '", cpu, "': it has no ", facts.missing));
  }
  Target target;
  target.facts = facts;
  target.identity = StrCat(facts.name, " ", facts.features);
  target.vector_registers = facts.avx512 ? 32 : 8;
  target.vector_parts = facts.avx512 ? 1 : 2;
  // Which of AVX2's processors it is need not be known ("x86-64-v3"); those of Intel with AVX-512 are told apart.
  target.fetches_far = !facts.avx512 || facts.name.starts_with("znver");
  // A Zen 5's own fetching gets more out of the last-level cache than instructions for it.
  target.far_bytes = facts.name == "znver5" ? 32 << 20 : target.fetches_far ? 8 << 20 : 4 << 20;
  return target;
}

}  // namespace weir::jit
