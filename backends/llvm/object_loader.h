// Object files as code generation makes them (ELF, x86-64, position independent, no data that is written) into this
// process: sections into memory of their own, relocations, calls of the host's functions; nothing of LLVM's. Code is
// never writable while it can run.
#ifndef WEIR_BACKENDS_LLVM_OBJECT_LOADER_H_
#define WEIR_BACKENDS_LLVM_OBJECT_LOADER_H_

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace weir::jit {

// A function of the host's that objects may call.
struct HostFunction {
  std::string_view symbol;
  void (*function)();
};

// Several objects, in one piece of memory; unmapped with it.
class LoadedCode {
 public:
  // kInternal, saying which object and what about it, for anything that isn't such an object or needs what is not here.
  static absl::StatusOr<std::shared_ptr<const LoadedCode>> Load(std::span<const std::string> objects,
                                                                std::span<const HostFunction> host);
  ~LoadedCode();
  LoadedCode(const LoadedCode&) = delete;
  LoadedCode& operator=(const LoadedCode&) = delete;

  // The function of that name in object `object`, or null.
  void* Find(size_t object, const std::string& symbol) const;

 private:
  LoadedCode() = default;

  std::byte* memory_ = nullptr;
  size_t bytes_ = 0;
  std::vector<std::map<std::string, void*, std::less<>>> functions_;  // one an object
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_OBJECT_LOADER_H_
