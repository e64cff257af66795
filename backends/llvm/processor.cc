#include "weir/backends/llvm/processor.h"

#include <cpuid.h>

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "weir/core/error.h"

namespace weir::jit {
namespace {

constexpr unsigned kFamilyOfZen5 = 0x1a;

enum class Vectors { kNone, kAvx2, kAvx512 };

// Processors that can be named: levels of the psABI, and Intel's and AMD's. The three of kNone are there to be refused with
// the reason.
struct Named {
  std::string_view name;
  Vectors vectors;
};
constexpr Named kNamed[] = {
    {"x86-64", Vectors::kNone},           {"x86-64-v2", Vectors::kNone},       {"nehalem", Vectors::kNone},
    {"x86-64-v3", Vectors::kAvx2},        {"x86-64-v4", Vectors::kAvx512},     {"haswell", Vectors::kAvx2},
    {"broadwell", Vectors::kAvx2},        {"skylake", Vectors::kAvx2},         {"alderlake", Vectors::kAvx2},
    {"raptorlake", Vectors::kAvx2},       {"meteorlake", Vectors::kAvx2},      {"arrowlake", Vectors::kAvx2},
    {"gracemont", Vectors::kAvx2},        {"sierraforest", Vectors::kAvx2},    {"skylake-avx512", Vectors::kAvx512},
    {"cascadelake", Vectors::kAvx512},    {"cooperlake", Vectors::kAvx512},    {"icelake-client", Vectors::kAvx512},
    {"icelake-server", Vectors::kAvx512}, {"rocketlake", Vectors::kAvx512},    {"tigerlake", Vectors::kAvx512},
    {"sapphirerapids", Vectors::kAvx512}, {"emeraldrapids", Vectors::kAvx512}, {"graniterapids", Vectors::kAvx512},
    {"znver1", Vectors::kAvx2},           {"znver2", Vectors::kAvx2},          {"znver3", Vectors::kAvx2},
    {"znver4", Vectors::kAvx512},         {"znver5", Vectors::kAvx512},
};

// The first instruction set of those that vectors need which this machine, or its operating system, has not; or none.
std::string_view MissingFor(Vectors vectors) {
  // The compiler's builtin takes literals only.
#define WEIR_NEEDS(feature) \
  if (!__builtin_cpu_supports(feature)) return feature;
  WEIR_NEEDS("avx")
  WEIR_NEEDS("avx2")
  WEIR_NEEDS("fma")
  WEIR_NEEDS("bmi2")
  if (vectors != Vectors::kAvx512) return {};
  WEIR_NEEDS("avx512f")
  WEIR_NEEDS("avx512bw")
  WEIR_NEEDS("avx512dq")
  WEIR_NEEDS("avx512vl")
#undef WEIR_NEEDS
  return {};
}

// Every leaf of CPUID out of which LLVM reads a processor's name and its instruction sets, and what the operating
// system saves of its registers; without the number of the core (EBX of leaf 1).
std::string IdentityOfThis() {
  struct Leaf {
    unsigned leaf, subleaf;
  };
  std::string text = "cpuid";
  for (const Leaf& l : {Leaf{0, 0}, Leaf{1, 0}, Leaf{7, 0}, Leaf{7, 1}, Leaf{0xd, 1}, Leaf{0x14, 0}, Leaf{0x19, 0},
                        Leaf{0x1e, 1}, Leaf{0x24, 0}, Leaf{0x80000001, 0}, Leaf{0x80000008, 0}}) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(l.leaf, l.subleaf, &a, &b, &c, &d) == 0) a = b = c = d = 0;
    if (l.leaf == 1) b = 0;
    if (l.leaf == 0xd) b = c = d = 0;  // bytes of the state that is in use now
    char words[48];
    std::snprintf(words, sizeof(words), " %x.%x.%x.%x", a, b, c, d);
    text += words;
  }
  unsigned low = 0, high = 0;
  // The operating system has enabled it wherever AVX may be used.
  if (__builtin_cpu_supports("avx")) __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return StrCat(text, " xcr0 ", low, " ", high);
}

// The family, 0 if the processor is not AMD's.
unsigned AmdFamily() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) == 0 || b != signature_AMD_ebx) return 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return 0;
  return (a >> 8 & 0xf) + (a >> 20 & 0xff);
}

}  // namespace

std::vector<std::string_view> ProcessorNames() {
  std::vector<std::string_view> names;
  for (const Named& named : kNamed) {
    if (named.vectors != Vectors::kNone) names.push_back(named.name);
  }
  return names;
}

absl::StatusOr<Target> FindTarget(const std::string& cpu) {
  Target target;
  target.cpu = cpu;
  Vectors vectors = Vectors::kNone;
  bool amd = false, zen5 = false;
  if (cpu.empty()) {
    if (MissingFor(Vectors::kAvx2).empty()) vectors = Vectors::kAvx2;
    if (MissingFor(Vectors::kAvx512).empty()) vectors = Vectors::kAvx512;
    amd = AmdFamily() != 0;
    zen5 = AmdFamily() == kFamilyOfZen5;
    target.identity = IdentityOfThis();
  } else {
    const Named* found =
        std::find_if(std::begin(kNamed), std::end(kNamed), [&](const Named& n) { return n.name == cpu; });
    if (found == std::end(kNamed)) {
      return absl::InvalidArgumentError(
          StrCat("LLVM: unknown processor '", cpu, "': expected one of ", StrJoin(ProcessorNames(), ", ")));
    }
    vectors = found->vectors;
    amd = cpu.starts_with("znver");
    zen5 = cpu == "znver5";
    target.identity = cpu;
    const std::string_view missing = vectors == Vectors::kNone ? std::string_view() : MissingFor(vectors);
    if (!missing.empty()) {
      return absl::InvalidArgumentError(
          StrCat("LLVM: this machine can't run code for '", cpu, "': it has no ", missing));
    }
  }
  if (vectors == Vectors::kNone) {
    const std::string name = cpu.empty() ? std::string("this processor") : StrCat("'", cpu, "'");
    return absl::UnimplementedError(StrCat("LLVM: ", name, " has no AVX2 with fused multiply-add"));
  }
  const bool wide = vectors == Vectors::kAvx512;
  target.vector_registers = wide ? 32 : 8;
  target.vector_parts = wide ? 1 : 2;
  // Which of AVX2's processors it is need not be known ("x86-64-v3"); those of Intel with AVX-512 are told apart.
  target.fetches_far = !wide || amd;
  // A Zen 5's own fetching gets more out of the last-level cache than instructions for it.
  target.far_bytes = zen5 ? 32 << 20 : target.fetches_far ? 8 << 20 : 4 << 20;
  return target;
}

}  // namespace weir::jit
