// What plans keep from run to run: a step that prepares its weights does so once, and again whenever they are others,
// however they changed.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <functional>
#include <thread>

#include "weir/backends/highway/highway_backend.h"
#ifdef WEIR_HAS_LLVM
#include "weir/backends/llvm/llvm_backend.h"
#endif
#include "weir/backends/reference/reference_backend.h"
#include "weir/core/runtime.h"
#include "weir/ops/ops.h"
#include "weir/ops/registry.h"

namespace weir {
namespace {

constexpr DType kF32 = DType::kFloat32;

// Multiplies x by twice w: the first stage prepares twice w, which the second reads.
class Doubling : public Backend {
 public:
  explicit Doubling(std::atomic<int>* prepared) : prepared_(prepared) {}

  std::string_view name() const override { return "doubling"; }
  std::string config_key() const override { return ""; }
  std::optional<Decline> MayJoin(const Cluster& cluster, const Node& node) const override {
    if (cluster.nodes.empty() && node.op->name == "mul") return std::nullopt;
    return Decline{"only products, one at a time"};
  }
  std::variant<Lowering, Decline> Lower(const Cluster& cluster) const override {
    if (cluster.node(cluster.nodes[0]).op->name != "mul") return Decline{"no product"};
    struct State {
      std::atomic<int>* prepared;
      int64_t count;
    };
    const auto state = std::make_shared<State>(State{prepared_, cluster.shape.size()});
    Stage prepare{.run =
                      [](const KernelCall& call) noexcept {
                        const auto& s = *static_cast<const State*>(call.state);
                        const auto* w = reinterpret_cast<const float*>(call.inputs[1]);
                        for (int64_t i = 0; i < s.count; ++i) reinterpret_cast<float*>(call.workspace)[i] = 2 * w[i];
                        ++*s.prepared;
                      },
                  .state = state};
    Stage multiply{.run =
                       [](const KernelCall& call) noexcept {
                         const auto& s = *static_cast<const State*>(call.state);
                         const auto* x = reinterpret_cast<const float*>(call.inputs[0]);
                         const auto* w = reinterpret_cast<const float*>(call.workspace);
                         for (int64_t i = 0; i < s.count; ++i)
                           reinterpret_cast<float*>(call.outputs[0])[i] = x[i] * w[i];
                       },
                   .state = state};
    Lowering lowering;
    lowering.kernel = "doubled";
    lowering.stages = {prepare, multiply};
    lowering.workspace_bytes = state->count * 4;
    lowering.prepared_input = 1;
    return lowering;
  }

 private:
  std::atomic<int>* const prepared_;
};

std::unique_ptr<Runtime> MakeRuntime(std::unique_ptr<Backend> first, int threads = 1) {
  OpRegistry ops;
  RegisterAllOps(ops);
  std::vector<std::unique_ptr<Backend>> backends;
  if (first != nullptr) backends.push_back(std::move(first));
  backends.push_back(MakeReferenceBackend());
  return std::make_unique<Runtime>(std::move(ops), std::move(backends), threads);
}

struct Product {
  std::atomic<int> prepared{0};
  std::unique_ptr<Runtime> runtime = MakeRuntime(std::make_unique<Doubling>(&prepared));
  std::shared_ptr<Graph> graph = Graph::Create();
  Value x, w;

  explicit Product(int64_t count = 4) : x(graph->Input({kF32, {count}}, "x")), w(graph->Input({kF32, {count}}, "w")) {}

  std::shared_ptr<const Executable> Compile(const std::vector<Value>& roots) {
    const std::vector<Value> inputs = {x, w};
    auto executable = runtime->Compile(inputs, roots);
    EXPECT_TRUE(executable.ok()) << executable.status().message();
    return *executable;
  }
};

std::vector<float> Numbers(const Tensor& tensor) {
  const std::span<const float> data = tensor.data<float>();
  return {data.begin(), data.end()};
}

TEST(Prepared, OnceUntilTheWeightsChange) {
  Product p;
  const auto executable = p.Compile({p.x * p.w});
  EXPECT_NE(ToText(executable->plan()).find("prepared once from"), std::string::npos) << ToText(executable->plan());
  EXPECT_TRUE(VerifyPlan(executable->plan()).ok());
  Tensor x = Tensor::Of<float>({4}, {1, 2, 3, 4}), w = Tensor::Of<float>({4}, {1, 1, 2, 2});
  const auto run = [&] {
    std::vector<Tensor> inputs = {x, w}, outputs(1);
    EXPECT_TRUE(executable->Run(inputs, outputs, {}).ok());
    return Numbers(outputs[0]);
  };
  EXPECT_EQ(run(), (std::vector<float>{2, 4, 12, 16}));
  x.data<float>()[0] = 10;
  EXPECT_EQ(run(), (std::vector<float>{20, 4, 12, 16}));
  EXPECT_EQ(p.prepared, 1);
  // In place, the last of them, by a number that is equal but for its bits; by another tensor; of equal numbers.
  w.data<float>()[3] = 5;
  EXPECT_EQ(run(), (std::vector<float>{20, 4, 12, 40}));
  EXPECT_EQ(p.prepared, 2);
  w.data<float>()[0] = 0;
  EXPECT_FALSE(std::signbit(run()[0]));
  w.data<float>()[0] = -0.0f;
  EXPECT_TRUE(std::signbit(run()[0]));
  EXPECT_EQ(p.prepared, 4);
  w = Tensor::Of<float>({4}, {3, 3, 3, 3});
  EXPECT_EQ(run(), (std::vector<float>{60, 12, 18, 24}));
  w = w.Clone();
  EXPECT_EQ(run(), (std::vector<float>{60, 12, 18, 24}));
  EXPECT_EQ(p.prepared, 5);
}

// Several steps keep what is theirs.
TEST(Prepared, EachStepKeepsItsOwn) {
  Product p;
  const auto executable = p.Compile({Abs(p.x * p.w) * p.w, p.w * p.x});
  EXPECT_EQ(executable->plan().kept_bytes, 3 * (64 + 64)) << ToText(executable->plan());
  EXPECT_TRUE(VerifyPlan(executable->plan()).ok());
  for (int round = 0; round < 3; ++round) {
    std::vector<Tensor> inputs = {Tensor::Of<float>({4}, {1, -2, 3, 4}), Tensor::Of<float>({4}, {1, 2, 3, 4})},
                        outputs(2);
    ASSERT_TRUE(executable->Run(inputs, outputs, {}).ok());
    EXPECT_EQ(Numbers(outputs[0]), (std::vector<float>{4, 32, 108, 256}));
    EXPECT_EQ(Numbers(outputs[1]), (std::vector<float>{2, -8, 18, 32}));
  }
  EXPECT_EQ(p.prepared, 3);
}

TEST(Prepared, NotWhatARunChangesOrComputesOrWhatIsLarge) {
  const auto expect_each_run = [](Product& p, const std::vector<Value>& roots) {
    const auto executable = p.Compile(roots);
    EXPECT_EQ(executable->plan().kept_bytes, 0) << ToText(executable->plan());
    for (int round = 0; round < 3; ++round) {
      std::vector<Tensor> inputs = {Tensor::Full(kF32, p.x.shape(), 1), Tensor::Full(kF32, p.x.shape(), 1)};
      std::vector<Tensor> outputs(roots.size());
      ASSERT_TRUE(executable->Run(inputs, outputs, {}).ok());
      EXPECT_EQ(outputs[0].data<float>()[0], 2);
    }
    EXPECT_EQ(p.prepared, 3);
  };
  Product assigned, computed, large(65 * 1024);
  expect_each_run(assigned, {assigned.x * assigned.w, Assign(assigned.w, assigned.w - 0.5)});
  expect_each_run(computed, {computed.x * Abs(computed.w)});
  expect_each_run(large, {large.x * large.w});
}

// Runs at once have each their own.
TEST(Prepared, RunsAtOnceDoNotMixTheirWeights) {
  Product p(1000);
  const auto executable = p.Compile({p.x * p.w});
  std::vector<std::thread> threads;
  for (int t = 1; t <= 3; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 50; ++round) {
        const auto number = static_cast<float>(t * 100 + round % 2);
        std::vector<Tensor> inputs = {Tensor::Full(kF32, {1000}, 1), Tensor::Full(kF32, {1000}, number)}, outputs(1);
        ASSERT_TRUE(executable->Run(inputs, outputs, {}).ok());
        ASSERT_EQ(Numbers(outputs[0]), std::vector<float>(1000, 2 * number));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Prepared, WrongPlansAreFound) {
  Product p;
  const auto executable = p.Compile({Abs(p.x * p.w) * p.w});
  const Plan& good = executable->plan();
  const auto fails = [&](const std::function<void(Plan&)>& change) {
    Plan bad = good;
    change(bad);
    return !VerifyPlan(bad).ok();
  };
  ASSERT_FALSE(fails([](Plan&) {}));
  EXPECT_TRUE(fails([](Plan& plan) { plan.kept_bytes = 64; }));
  EXPECT_TRUE(fails([](Plan& plan) { plan.steps[0].workspace.index += 4; }));
  EXPECT_TRUE(fails([](Plan& plan) { plan.steps[0].workspace = plan.steps[2].workspace; }));
  EXPECT_TRUE(fails([](Plan& plan) { plan.steps[0].prepared_from = plan.steps[0].workspace; }));
  EXPECT_TRUE(fails([](Plan& plan) { plan.steps[0].prepared_from = {}; }));
  EXPECT_TRUE(fails([](Plan& plan) { plan.steps[0].lowering.prepared_input.reset(); }));
  EXPECT_TRUE(fails([](Plan& plan) { plan.input_written[1] = true; }));
}

// Convolutions of both backends, by Winograd and with packed filters, forward and backward.
TEST(Prepared, ConvolutionsFollowTheirWeights) {
  std::vector<std::unique_ptr<Runtime>> runtimes;
  runtimes.push_back(MakeRuntime(*MakeHighwayBackend({}), 2));
#ifdef WEIR_HAS_LLVM
  if (auto llvm = MakeLlvmBackend({}); llvm.ok()) runtimes.push_back(MakeRuntime(*std::move(llvm), 2));
#endif
  const auto reference = MakeRuntime(nullptr);
  struct Problem {
    Shape x, w;
    ConvAlgorithm algorithm;
  };
  int kept = 0;
  for (const Problem& problem : {Problem{{1, 32, 32, 32}, {3, 3, 32, 32}, ConvAlgorithm::kWinograd},
                                 Problem{{2, 9, 9, 20}, {3, 3, 20, 24}, ConvAlgorithm::kDirect},
                                 Problem{{3, 14, 14, 128}, {3, 3, 128, 40}, ConvAlgorithm::kDirect}}) {
    const auto graph = Graph::Create();
    const Value x = graph->Input({kF32, problem.x}), w = graph->Input({kF32, problem.w});
    const Value y = Conv2D(x, w, {.padding = "same", .algorithm = problem.algorithm});
    const std::vector<Value> inputs = {x, w}, roots = {y};
    for (const auto& runtime : runtimes) {
      const auto executable = runtime->Compile(inputs, roots), expected = reference->Compile(inputs, roots);
      ASSERT_TRUE(executable.ok() && expected.ok());
      kept += (*executable)->plan().kept_bytes > 0;
      std::vector<Tensor> data = {Tensor(kF32, problem.x), Tensor(kF32, problem.w)};
      for (Tensor& tensor : data) {
        for (int64_t i = 0; i < tensor.size(); ++i)
          tensor.data<float>()[static_cast<size_t>(i)] = 0.125f * static_cast<float>(i % 23 - 11);
      }
      for (int round = 0; round < 4; ++round) {
        std::vector<Tensor> got(1), want(1);
        ASSERT_TRUE(runtime->Run(**executable, data, got).ok());
        ASSERT_TRUE(reference->Run(**expected, data, want).ok());
        EXPECT_TRUE(BitEqual(got[0], want[0])) << problem.w << ", round " << round;
        if (round % 2 == 1) data[1].data<float>().back() += 1;
      }
    }
  }
  EXPECT_GE(kept, 2);
}

}  // namespace
}  // namespace weir
