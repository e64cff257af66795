// Runtimes of every backend and target that this machine has, and what it means that they give the same bits. A program
// that includes this links weir_backend_highway and weir_backend_reference, and weir_backend_llvm where WEIR_HAS_LLVM is
// defined.
#ifndef WEIR_TESTS_TEST_RUNTIMES_H_
#define WEIR_TESTS_TEST_RUNTIMES_H_

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sanitized.h"
#include "temp_folder.h"
#include "weir/backends/highway/highway_backend.h"
#ifdef WEIR_HAS_LLVM
#include "weir/backends/llvm/llvm_backend.h"
#endif
#include "weir/backends/reference/reference_backend.h"
#include "weir/core/runtime.h"
#include "weir/core/strings.h"
#include "weir/ops/registry.h"

namespace weir {

// A runtime of `target` and, for what it does not take, the reference; "" is the reference alone. LLVM is to take what
// Highway takes: where Highway would come in, compiling is an error.
inline std::unique_ptr<Runtime> MakeTestRuntime(const std::string& target, int threads, CompileOptions options = {}) {
  OpRegistry ops;
  RegisterAllOps(ops);
  std::vector<std::unique_ptr<Backend>> backends;
  std::string highway_target = target;
#ifdef WEIR_HAS_LLVM
  if (target.rfind("llvm", 0) == 0) {
    // Numbers of threads differ and kernels do not: the cache saves compiling them anew for each.
    static const TempFolder cache;
    auto llvm = MakeLlvmBackend({.cpu = target == "llvm" ? "" : "x86-64-v3", .cache_folder = cache.path()});
    EXPECT_TRUE(llvm.ok()) << llvm.status().message();
    backends.push_back(*std::move(llvm));
    highway_target = HighwayTargets().front();
    options.forbid = {"highway"};
  }
#endif
  if (!target.empty()) {
    auto highway = MakeHighwayBackend({.target = highway_target});
    EXPECT_TRUE(highway.ok()) << highway.status().message();
    backends.push_back(*std::move(highway));
  }
  backends.push_back(MakeReferenceBackend());
  return std::make_unique<Runtime>(std::move(ops), std::move(backends), threads, std::move(options));
}

// Highway's targets, and "llvm" (this machine) and "llvm_v3" (AVX2) where they can run.
inline std::vector<std::string> Targets() {
  std::vector<std::string> targets = HighwayTargets();
  if (kSanitized) targets.resize(1);  // the best
#ifdef WEIR_HAS_LLVM
  if (MakeLlvmBackend({}).ok()) targets.push_back("llvm");
  const bool more = HighwayTargets().front() != "AVX2";  // where AVX2 is all there is, "llvm" is the same code
  if (!kSanitized && more && MakeLlvmBackend({.cpu = "x86-64-v3"}).ok()) targets.push_back("llvm_v3");
#endif
  return targets;
}

inline std::vector<std::string> TargetsAndReference() {
  std::vector<std::string> targets = Targets();
  targets.push_back("");
  return targets;
}

// Equal bits; any NaN equals any other, since which operand's payload an instruction keeps is the processor's choice.
inline ::testing::AssertionResult SameBits(const Tensor& a, const Tensor& b) {
  if (a.type() != b.type()) return ::testing::AssertionFailure() << a.type() << " against " << b.type();
  if (a.dtype() != DType::kFloat32) {
    return BitEqual(a, b) ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << "values differ";
  }
  for (int64_t i = 0; i < a.size(); ++i) {
    const float x = a.data<float>()[static_cast<size_t>(i)], y = b.data<float>()[static_cast<size_t>(i)];
    if (std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y) || (std::isnan(x) && std::isnan(y))) continue;
    return ::testing::AssertionFailure() << "element " << i << " of " << a.type() << " is " << std::hexfloat << x
                                         << ", the reference has " << y;
  }
  return ::testing::AssertionSuccess();
}

}  // namespace weir

#endif  // WEIR_TESTS_TEST_RUNTIMES_H_
