// What the tests of the JIT share: runtimes with and without it, and the comparison of their bits.
#ifndef WEIR_TESTS_LLVM_TEST_UTIL_H_
#define WEIR_TESTS_LLVM_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "weir/backends/llvm/llvm_backend.h"
#include "weir/backends/reference/reference_backend.h"
#include "weir/core/runtime.h"
#include "weir/ops/registry.h"

namespace weir {

inline std::unique_ptr<Runtime> MakeLlvmRuntime(LlvmOptions options, int threads = 1) {
  OpRegistry ops;
  RegisterAllOps(ops);
  std::vector<std::unique_ptr<Backend>> backends;
  auto llvm = MakeLlvmBackend(options);
  EXPECT_TRUE(llvm.ok()) << llvm.status().message();
  backends.push_back(*std::move(llvm));
  backends.push_back(MakeReferenceBackend());
  return std::make_unique<Runtime>(std::move(ops), std::move(backends), threads);
}
inline std::unique_ptr<Runtime> MakeReferenceRuntime() {
  OpRegistry ops;
  RegisterAllOps(ops);
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(MakeReferenceBackend());
  return std::make_unique<Runtime>(std::move(ops), std::move(backends), 1);
}

// NaNs are equal whatever their bits.
inline bool SameBits(const Tensor& a, const Tensor& b) {
  if (a.type() != b.type()) return false;
  if (a.dtype() != DType::kFloat32) return BitEqual(a, b);
  for (int64_t i = 0; i < a.size(); ++i) {
    const float x = a.data<float>()[static_cast<size_t>(i)], y = b.data<float>()[static_cast<size_t>(i)];
    if (std::memcmp(&x, &y, sizeof(x)) != 0 && !(std::isnan(x) && std::isnan(y))) return false;
  }
  return true;
}

}  // namespace weir

#endif  // WEIR_TESTS_LLVM_TEST_UTIL_H_
