#include "weir/backends/llvm/plugin.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <vector>

#include "weir/core/error.h"

// LLVM comes without a sanitizer, and late.
#if defined(__SANITIZE_THREAD__)
// The thread sanitizer sees its locks but not the atomics by which LLVM makes them on first use, and would report the
// lock of one thread as a race with another's making it.
extern "C" [[gnu::weak]] const char* __tsan_default_suppressions() { return "called_from_lib:weir_llvm\nrace:weir_llvm\n"; }
#elif defined(__SANITIZE_ADDRESS__)
// Where a thread's variables of a library loaded by dlopen lie, the address sanitizer takes from a header in front of
// them that the C library does not write: its search for leaks may read anywhere.
extern "C" [[gnu::weak]] const char* __asan_default_options() { return "intercept_tls_get_addr=0"; }
#endif

namespace weir::jit {
namespace {

constexpr const char* kFileName = WEIR_PLUGIN_FILE;

// The file that the user asks for, or null. In a set-user-id program the environment is a stranger's.
const char* FromEnvironment() {
  const char* path = secure_getenv("WEIR_LLVM_LIBRARY");
  return path == nullptr || *path == '\0' ? nullptr : path;
}

// The first file of that name in the folders in which the loader looks for libraries of whatever this code is part of, a
// program or a library; "" if there is none.
std::string SearchPath() {
  Dl_info info;
  void* own = nullptr;
  if (dladdr1(reinterpret_cast<void*>(&SearchPath), &info, &own, RTLD_DL_LINKMAP) == 0 || own == nullptr) return "";
  Dl_serinfo size;
  if (dlinfo(own, RTLD_DI_SERINFOSIZE, &size) != 0) return "";
  std::vector<std::max_align_t> memory(size.dls_size / sizeof(std::max_align_t) + 1);
  auto* folders = reinterpret_cast<Dl_serinfo*>(memory.data());
  folders->dls_size = size.dls_size;
  folders->dls_cnt = size.dls_cnt;
  if (dlinfo(own, RTLD_DI_SERINFO, folders) != 0) return "";
  for (unsigned i = 0; i < folders->dls_cnt; ++i) {
    const std::string path = StrCat(folders->dls_serpath[i].dls_name, "/", kFileName);
    if (access(path.c_str(), R_OK) == 0) return path;
  }
  return "";
}

std::string Explained(const std::string& what) {
  return StrCat("LLVM: ", FromEnvironment() != nullptr ? "WEIR_LLVM_LIBRARY: " : "", what,
                "; backend 'highway' does without");
}

absl::StatusOr<const Plugin*> Load() {
  const auto fault = [](const std::string& what) { return absl::UnavailableError(Explained(what)); };
  const auto loader_says = [] {
    const char* text = dlerror();
    return std::string(text == nullptr ? "unknown error" : text);
  };
  const char* asked = FromEnvironment();
  const std::string path = asked != nullptr ? asked : SearchPath();
  void* library = dlopen(path.empty() ? kFileName : path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return fault(loader_says());
  const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, kPluginEntry));
  if (entry == nullptr) return fault(StrCat(loader_says(), " (it is no plug-in of weir)"));
  const Plugin* plugin = entry();
  if (plugin->identity != WEIR_PLUGIN_IDENTITY) {
    return fault(StrCat(path, " is of another build of weir, ", plugin->identity, ", expected ", WEIR_PLUGIN_IDENTITY));
  }
  return plugin;
}

}  // namespace

absl::StatusOr<const Plugin*> LoadPlugin() {
  static const absl::StatusOr<const Plugin*> plugin = Load();
  return plugin;
}

absl::Status FindPlugin() {
  const char* asked = FromEnvironment();
  if (asked != nullptr) {
    if (access(asked, R_OK) == 0) return absl::OkStatus();
    return absl::UnimplementedError(Explained(StrCat("there is no ", asked)));
  }
  if (!SearchPath().empty()) return absl::OkStatus();
  return absl::UnimplementedError(
      Explained(StrCat("there is no ", kFileName, " where libraries of this program are looked for")));
}

}  // namespace weir::jit
