// What the backend and its plug-in say to each other. The plug-in (weir_llvm.so, made of codegen/) holds LLVM, its ORC
// JIT and its X86 code generator; a program holds none of them and loads it when its first kernel has to be linked. Both
// sides are built together: what crosses is C++, and the identity tells a plug-in of another build.
#ifndef WEIR_BACKENDS_LLVM_PLUGIN_H_
#define WEIR_BACKENDS_LLVM_PLUGIN_H_

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weir/backends/llvm/kernel_ir.h"
#include "weir/core/backend.h"

namespace weir::jit {

// What LLVM knows of a processor, and what of that this machine can run.
struct ProcessorFacts {
  std::string name;      // LLVM's: "sapphirerapids", "znver5"
  std::string features;  // "+avx512f,-sse4a,...": code is generated for `name` with these
  bool avx2 = false;     // with fused multiply-add and BMI2
  bool avx512 = false;   // F, BW, DQ and VL
  std::string missing;   // the first instruction set of these that `name` has and this machine lacks, or ""
};

// A function of the host's that kernels may call.
struct HostFunction {
  std::string symbol;
  void (*function)();
};

// A kernel and the name that it has in debuggers and profiles; names are distinct within a plan.
struct NamedKernel {
  const Kernel* kernel = nullptr;
  std::string symbol;
};

enum class CodeForm { kAssembly, kLlvmIr };

// The code of one executable: linked part by part, freed as a whole when this goes.
class PlanCode {
 public:
  virtual ~PlanCode() = default;

  // Both give the functions of `kernels`, in order, and are safe for several threads, each with its own part.
  // Compiles the kernels and links what comes out, which `object` is given to keep.
  virtual absl::StatusOr<std::vector<KernelFn>> CompileAndLink(std::span<const NamedKernel> kernels, std::string* object) = 0;
  // Links what an earlier CompileAndLink gave for equal kernels.
  virtual absl::StatusOr<std::vector<KernelFn>> Link(std::span<const NamedKernel> kernels, const std::string& object) = 0;
};

// An ORC JIT for one processor. Errors: kUnavailable where this machine refuses what linking needs (memory, pages that
// may be executed); kInternal for kernels that are not valid.
class Linker {
 public:
  virtual ~Linker() = default;
  virtual absl::StatusOr<std::shared_ptr<PlanCode>> NewPlan() = 0;
};

struct Plugin {
  std::string identity;      // the version of weir and a hash of the headers that both sides share
  std::string llvm_version;  // "19.1.7"
  // "" is the processor this runs on. kInvalidArgument, with the known ones, for a name that LLVM doesn't know.
  absl::StatusOr<ProcessorFacts> (*describe_processor)(const std::string& name);
  absl::StatusOr<std::shared_ptr<Linker>> (*make_linker)(const ProcessorFacts& processor,
                                                         std::span<const HostFunction> host);
  absl::StatusOr<std::string> (*show)(std::span<const NamedKernel> kernels, const ProcessorFacts& processor,
                                      CodeForm form);
};

// The symbol by which kernels call void(KernelErrors*, const char* what, int64_t row, int64_t label, int64_t classes).
inline constexpr char kReportLabelSymbol[] = "weir_report_label";

// The plug-in's only function, extern "C": PluginEntry.
inline constexpr char kPluginEntry[] = "weir_llvm_plugin";
using PluginEntry = const Plugin* (*)();

// Loads the plug-in when first called; it stays. kUnavailable, naming the file and what is wrong with it. It is looked for
// where the environment's WEIR_LLVM_LIBRARY says (not in set-user-id programs), else where the system's loader looks for
// the program's libraries: its own run path, LD_LIBRARY_PATH, the system's folders.
absl::StatusOr<const Plugin*> LoadPlugin();

// Whether its file is in its place, without loading it: kUnimplemented if not.
absl::Status FindPlugin();

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_PLUGIN_H_
