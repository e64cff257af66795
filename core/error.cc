#include "weir/core/error.h"

#include <cstdio>
#include <cstdlib>

namespace weir {

void ThrowIfError(const absl::Status& status) {
  if (!status.ok()) throw Error(status.code(), std::string(status.message()));
}

std::string ShortLocation(std::string_view file, int line) {
  const size_t slash = file.find_last_of('/');
  if (slash != std::string_view::npos) file.remove_prefix(slash + 1);
  return StrCat(file, ":", line);
}

namespace internal {

void CheckFailed(const char* condition, const char* file, int line, const std::string& detail) {
  std::fprintf(stderr, "weir: broken invariant: %s at %s\n%s\n", condition, ShortLocation(file, line).c_str(),
               detail.c_str());
  std::abort();
}

}  // namespace internal
}  // namespace weir
