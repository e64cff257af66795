#include "weir/backends/llvm/llvm_api.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "weir/core/error.h"

// LLVM's library comes without a sanitizer, and late.
#if defined(__SANITIZE_THREAD__)
// The thread sanitizer sees its locks but not the atomics by which LLVM makes them on first use, and would report the
// lock of one thread as a race with another's making it.
extern "C" [[gnu::weak]] const char* __tsan_default_suppressions() { return "called_from_lib:libLLVM\n"; }
#elif defined(__SANITIZE_ADDRESS__)
// Where a thread's variables of a library loaded by dlopen lie, the address sanitizer takes from a header in front of
// them that the C library does not write: its search for leaks may read anywhere.
extern "C" [[gnu::weak]] const char* __asan_default_options() { return "intercept_tls_get_addr=0"; }
#endif

namespace weir::jit {
namespace {

// As the build found it, and by name for machines that have it elsewhere.
constexpr const char* kPath = WEIR_LLVM_LIBRARY;
constexpr const char* kName = WEIR_LLVM_LIBRARY_NAME;

// The file that the user asks for, or null.
const char* FromEnvironment() {
  const char* path = std::getenv("WEIR_LLVM_LIBRARY");
  return path == nullptr || *path == '\0' ? nullptr : path;
}

absl::StatusOr<const LlvmApi*> Load() {
  const char* asked = FromEnvironment();
  const auto fault = [&](const std::string& what) {
    return absl::UnimplementedError(StrCat("LLVM: ", asked != nullptr ? "WEIR_LLVM_LIBRARY: " : "", what,
                                           "; expected the library of LLVM ", WEIR_LLVM_MAJOR, " (Debian: libllvm",
                                           WEIR_LLVM_MAJOR, "); backend 'highway' does without"));
  };
  const auto loader_says = [] {
    const char* text = dlerror();
    return std::string(text == nullptr ? "unknown error" : text);
  };
  void* library = dlopen(asked != nullptr ? asked : kPath, RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr && asked == nullptr) library = dlopen(kName, RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return fault(loader_says());
  static LlvmApi api;
#define WEIR_LOAD(name)                                                          \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, "LLVM" #name)); \
  if (api.name == nullptr) return fault(loader_says());
  WEIR_LLVM_FUNCTIONS(WEIR_LOAD)
#undef WEIR_LOAD
  unsigned major = 0;
  api.GetVersion(&major, nullptr, nullptr);
  if (std::to_string(major) != WEIR_LLVM_MAJOR)
    return fault(StrCat(asked != nullptr ? asked : kName, " is version ", major));
  api.InitializeX86TargetInfo();
  api.InitializeX86Target();
  api.InitializeX86TargetMC();
  api.InitializeX86AsmPrinter();
  return &api;
}

}  // namespace

absl::StatusOr<const LlvmApi*> LoadLlvm() {
  static const absl::StatusOr<const LlvmApi*> api = Load();
  return api;
}

bool LlvmIsInPlace() {
  const char* asked = FromEnvironment();
  return access(asked != nullptr ? asked : kPath, R_OK) == 0;
}

}  // namespace weir::jit
