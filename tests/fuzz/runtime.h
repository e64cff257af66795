// What the targets that compute run on.
#ifndef WEIR_TESTS_FUZZ_RUNTIME_H_
#define WEIR_TESTS_FUZZ_RUNTIME_H_

#include "weir/frontend/session.h"
#include "weir/tests/fuzz/scratch.h"

namespace weir::fuzz {

// Without threads and compiled kernels, whose making would take most of the time, and with little kept.
inline Runtime& SmallRuntime() {
  static const auto& runtime = *new std::unique_ptr<Runtime>([] {
    auto made = MakeRuntime({.backend = "highway", .threads = 1, .cache_bytes = int64_t{16} << 20});
    Require(made.ok(), "there is a runtime");
    return *std::move(made);
  }());
  return *runtime;
}

}  // namespace weir::fuzz

#endif  // WEIR_TESTS_FUZZ_RUNTIME_H_
