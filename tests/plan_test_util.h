// What the tests of passes and of plans share: a backend that fuses all that may be, and programs run on it.
#ifndef WEIR_TESTS_PLAN_TEST_UTIL_H_
#define WEIR_TESTS_PLAN_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "weir/backends/reference/reference_backend.h"
#include "weir/core/runtime.h"
#include "weir/ops/registry.h"

namespace weir {

inline constexpr DType kF32 = DType::kFloat32;

// Fuses all that policy allows and computes clusters through the reference, so that the policy is tested by itself.
class JoinAll : public Backend {
 public:
  std::string_view name() const override { return "join_all"; }
  std::string config_key() const override { return ""; }
  std::optional<Decline> MayJoin(const Cluster&, const Node& node) const override {
    if (node.op->name == "abs") return Decline{"no abs here"};
    return std::nullopt;
  }
  std::optional<Decline> MayPrecede(const Cluster&, const Node& anchor) const override {
    if (anchor.op->name == "reduce_max") return Decline{"no prologue of a maximum here"};
    return std::nullopt;
  }
  std::optional<Decline> MayFollow(const Cluster&, const Node& node) const override {
    if (node.op->name != "max_pool") return Decline{"only a maximum behind an epilogue here"};
    return std::nullopt;
  }
  std::variant<Lowering, Decline> Lower(const Cluster& cluster) const override {
    std::variant<Lowering, Decline> lowering = reference_->Lower(cluster);
    // The reference keeps inner values in its workspace and writes outputs node by node; a pair is only safe if no
    // later node reads the input.
    if (cluster.nodes.size() == 1) std::get<Lowering>(lowering).in_place = PointwisePairs(cluster);
    return lowering;
  }

 private:
  std::unique_ptr<Backend> reference_ = MakeReferenceBackend();
};

inline std::unique_ptr<Runtime> MakeTestRuntime(CompileOptions options = {}, int threads = 1) {
  OpRegistry ops;
  RegisterAllOps(ops);
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(std::make_unique<JoinAll>());
  backends.push_back(MakeReferenceBackend());
  return std::make_unique<Runtime>(std::move(ops), std::move(backends), threads, std::move(options));
}

inline std::shared_ptr<const Executable> CompileOk(Runtime& runtime, const std::vector<Value>& inputs, const std::vector<Value>& roots) {
  auto executable = runtime.Compile(inputs, roots);
  EXPECT_TRUE(executable.ok()) << executable.status().message();
  return *executable;
}

inline std::vector<Tensor> RunOk(const Executable& executable, std::vector<Tensor> inputs) {
  std::vector<Tensor> outputs(executable.num_roots());
  const absl::Status status = executable.Run(inputs, outputs, {});
  EXPECT_TRUE(status.ok()) << status.message();
  return outputs;
}

inline Tensor Ramp(const Shape& shape, float scale = 0.25f) {
  Tensor tensor(kF32, shape);
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.data<float>()[static_cast<size_t>(i)] = scale * static_cast<float>(i % 17 - 8);
  return tensor;
}

}  // namespace weir

#endif  // WEIR_TESTS_PLAN_TEST_UTIL_H_
