// Passes over programs, and fusion: core with ops, on the reference.
#include <gtest/gtest.h>

#include <cmath>

#include "plan_test_util.h"
#include "weir/core/fingerprint.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

TEST(Fingerprint, SeesStructureOnly) {
  const auto build = [](bool dead, float data, double slope) {
    const auto graph = Graph::Create();
    const Value x = graph->Data(Tensor::Full(kF32, {4}, data), dead ? "x" : "other");
    if (dead) Exp(x);
    const Value y = LeakyRelu(x, slope);
    return FingerprintOf({graph, {x.ref}, {y.ref}}, "config");
  };
  EXPECT_EQ(build(false, 1, 0.2), build(true, 2, 0.2));
  EXPECT_NE(build(false, 1, 0.2), build(false, 1, 0.3));
}

TEST(Cse, MergesEqualNodesButNotAssignments) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {4}});
  const Value a = Exp(x) + 1.0, b = Exp(x) + 1.0;
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {x}, {a * b});
  int exps = 0;
  for (const PlanStep& step : executable->plan().steps) {
    for (NodeId id : step.cluster.nodes) exps += step.cluster.node(id).op->name == "exp";
  }
  EXPECT_EQ(exps, 1);
}

TEST(Simplify, RemovesWhatChangesNoBit) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {2, 3}});
  const Value same = Transpose(Transpose(-(-(StopGradient(x) * 1.0 / 1.0 - 0.0))));
  const Value reshaped = Reshape(Reshape(same, {3, 2}), {6});
  const Value padded = Pad(Slice(reshaped, {.begin = {0}, .end = {6}}), {0}, {0});
  const Value broadcast = BroadcastTo(Reshape(Constant(x, 1.0, kF32), {1}), {6});
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {x}, {padded * broadcast});
  EXPECT_EQ(executable->plan().steps.size(), 0u) << ToText(executable->plan());
  EXPECT_TRUE(BitEqual(RunOk(*executable, {Ramp({2, 3})})[0], Ramp({2, 3}).Reshaped({6})));
}

// What a relu lets through of a pool's gradient can be told from the pool's values.
TEST(Simplify, PoolsGradientDoesNotNeedWhatIsPooled) {
  for (const int64_t stride : {1, 2}) {
    const auto graph = Graph::Create();
    const int64_t size = 7 - stride * 2;
    const Value x = graph->Input({kF32, {1, 6, 6, 2}}), seed = graph->Input({kF32, {1, size, size, 2}});
    const Value y = Relu(x - 1.5), pooled = MaxPool(y, {.strides = {stride, stride}});
    const Value dx = Gradients({&pooled, 1}, {&x, 1}, {&seed, 1})[0];
    auto runtime = MakeTestRuntime(), plain = MakeTestRuntime({.optimize = false});
    const std::vector<Tensor> data = {Ramp(x.shape()), Ramp(seed.shape())};
    const auto executable = CompileOk(*runtime, {x, seed}, {dx}), unchanged = CompileOk(*plain, {x, seed}, {dx});
    const Tensor expected = RunOk(*unchanged, data)[0];
    EXPECT_TRUE(BitEqual(RunOk(*executable, data)[0], expected));
    EXPECT_FALSE(BitEqual(expected, Tensor(kF32, x.shape())));
    const Graph& made = *executable->plan().program.graph;
    for (NodeId id = 0; id < made.size(); ++id) {
      const Node& node = made.node(id);
      // Nothing of the size of x is masked.
      EXPECT_TRUE(node.op->name != "select" || node.outputs[0].shape == seed.shape());
    }
    // Another mask is left where it is.
    const Value other = Where(Greater(1.9 - x, 0.0), dx, 0.0);
    EXPECT_TRUE(BitEqual(RunOk(*CompileOk(*runtime, {x, seed}, {other}), data)[0],
                         RunOk(*CompileOk(*plain, {x, seed}, {other}), data)[0]));
  }
}

TEST(Simplify, KeepsWhatChangesABit) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {2}});
  auto runtime = MakeTestRuntime();
  // -0 + 0 is 0, and a broadcast by multiplication with 1 is still a broadcast.
  const auto executable = CompileOk(*runtime, {x}, {x + 0.0, Constant(x, 1.0, kF32, {3, 1}) * x, Transpose(Reshape(x, {2, 1}))});
  const std::vector<Tensor> values = RunOk(*executable, {Tensor::Of<float>({2}, {-0.0f, 1.0f})});
  EXPECT_FALSE(std::signbit(values[0].at<float>({0})));
  EXPECT_EQ(values[1].shape(), (Shape{3, 2}));
  EXPECT_EQ(values[2].shape(), (Shape{1, 2}));
}

TEST(Fuse, EpilogueJoinsItsAnchor) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {4, 8}}), w = graph->Input({kF32, {8, 3}}), b = graph->Input({kF32, {3}});
  const Value pre = MatMul(x, w) + b;
  const Value y = Relu(pre);
  auto runtime = MakeTestRuntime();
  // The tapped inner value is one more output of the same cluster.
  const auto executable = CompileOk(*runtime, {x, w, b}, {y, pre});
  ASSERT_EQ(executable->plan().steps.size(), 1u) << ToText(executable->plan());
  EXPECT_EQ(executable->plan().steps[0].cluster.outputs.size(), 2u);
  EXPECT_EQ(Describe(executable->plan().steps[0].cluster), "matmul+add+relu");
}

TEST(Fuse, NeverMakesACircle) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {4, 8}}), w = graph->Input({kF32, {8, 8}});
  const Value y = MatMul(x, w);
  // The mean needs all of y, so what uses both can't be in y's cluster.
  const Value centered = y - Mean(y);
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {x, w}, {centered});
  EXPECT_GE(executable->plan().steps.size(), 2u);
  const std::string text = ToText(executable->plan());
  EXPECT_NE(text.find("an operand needs the cluster's own result first"), std::string::npos) << text;
}

TEST(Fuse, PrologueJoinsItsAnchor) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {4, 8}}), p = Relu(x * 2), sum = Sum(p, {1}), y = sum + 1;
  auto runtime = MakeTestRuntime();
  const auto alone = CompileOk(*runtime, {x}, {y});
  ASSERT_EQ(alone->plan().steps.size(), 1u) << ToText(alone->plan());
  EXPECT_EQ(Describe(alone->plan().steps[0].cluster), "mul+relu+reduce_sum+add");
  EXPECT_EQ(alone->plan().steps[0].cluster.outputs.size(), 1u);
  // Wanted by others too, its value is one more output; who reads it comes later.
  const auto shared = CompileOk(*runtime, {x}, {y, Exp(p)});
  ASSERT_EQ(shared->plan().steps.size(), 2u) << ToText(shared->plan());
  EXPECT_EQ(shared->plan().steps[0].cluster.outputs.size(), 2u);
  // A maximum has none here, and says so.
  const auto refused = CompileOk(*runtime, {x}, {Max(p, {1})});
  ASSERT_EQ(refused->plan().steps.size(), 2u);
  EXPECT_NE(ToText(refused->plan()).find("no prologue of a maximum here"), std::string::npos);
}

TEST(Fuse, EpilogueReadsNothingFromBeforeTheAnchor) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {4, 8}}), p = Relu(x), y = Softmax(p) * p;
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {x}, {y});
  EXPECT_EQ(executable->plan().steps.size(), 2u) << ToText(executable->plan());
  EXPECT_NE(ToText(executable->plan()).find("that the epilogue does not have"), std::string::npos);
}

TEST(Fuse, PoolJoinsTheConvolutionItFollows) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {1, 8, 8, 2}}), w = graph->Input({kF32, {3, 3, 2, 2}});
  const Value y = Relu(Conv2D(x, w, {.padding = "same"})), pooled = MaxPool(y);
  auto runtime = MakeTestRuntime(), plain = MakeTestRuntime({.optimize = false, .fuse = false});
  const std::vector<Value> roots = {pooled, y, Exp(y), pooled * 2};
  const auto executable = CompileOk(*runtime, {x, w}, roots);
  ASSERT_EQ(executable->plan().steps.size(), 2u) << ToText(executable->plan());
  EXPECT_EQ(Describe(executable->plan().steps[0].cluster), "conv+relu+max_pool+exp");
  const std::vector<Tensor> data = {Ramp({1, 8, 8, 2}), Ramp({3, 3, 2, 2})};
  const std::vector<Tensor> got = RunOk(*executable, data), expected = RunOk(*CompileOk(*plain, {x, w}, roots), data);
  for (size_t i = 0; i < roots.size(); ++i) EXPECT_TRUE(BitEqual(got[i], expected[i])) << i;
  // An average does not join here, and a maximum not what it does not follow directly.
  EXPECT_EQ(CompileOk(*runtime, {x, w}, {AveragePool(y)})->plan().steps.size(), 2u);
  EXPECT_EQ(CompileOk(*runtime, {x, w}, {MaxPool(Reshape(y, {1, 16, 4, 2}))})->plan().steps.size(), 2u);
}

TEST(Fuse, PoolsIndexIsComputedBesideItsValues) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {1, 8, 8, 2}}), w = graph->Input({kF32, {3, 3, 2, 2}});
  const auto [behind, tail_index] = MaxPoolWithIndex(Relu(Conv2D(x, w)));
  const auto [alone, index] = MaxPoolWithIndex(x);
  const std::vector<Value> roots = {behind, tail_index, Cast(tail_index, kF32), alone * 2, index, Cast(index, kF32)};
  auto runtime = MakeTestRuntime(), plain = MakeTestRuntime({.optimize = false, .fuse = false});
  const std::vector<Tensor> data = {Ramp({1, 8, 8, 2}), Ramp({3, 3, 2, 2})};
  const auto executable = CompileOk(*runtime, {x, w}, roots);
  // No epilogue has an index at hand.
  EXPECT_EQ(executable->plan().steps.size(), 4u) << ToText(executable->plan());
  const std::vector<Tensor> got = RunOk(*executable, data), expected = RunOk(*CompileOk(*plain, {x, w}, roots), data);
  for (size_t i = 0; i < roots.size(); ++i) EXPECT_TRUE(BitEqual(got[i], expected[i])) << i;
  EXPECT_TRUE(BitEqual(RunOk(*CompileOk(*runtime, {x, w}, {tail_index}), data)[0], expected[1]));
}

TEST(Fuse, AnotherOperandMayNeedThePrologueFirst) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {4, 4}}), p = Relu(x), y = MatMul(p, Exp(Sum(p, {0}, true)) + p);
  auto fused = MakeTestRuntime(), plain = MakeTestRuntime({.optimize = false, .fuse = false});
  const std::vector<Tensor> data = {Ramp({4, 4})};
  EXPECT_TRUE(BitEqual(RunOk(*CompileOk(*fused, {x}, {y}), data)[0], RunOk(*CompileOk(*plain, {x}, {y}), data)[0]));
}

// Graphs by chance: whatever is fused with what, results are those of nodes computed one by one.
TEST(Fuse, RandomGraphsKeepTheirValues) {
  uint32_t state = 1;
  const auto next = [&](size_t below) {
    state = state * 1664525u + 1013904223u;
    return static_cast<size_t>(state >> 8) % below;
  };
  auto fused = MakeTestRuntime(), plain = MakeTestRuntime({.optimize = false, .fuse = false});
  size_t prologues = 0;
  for (int round = 0; round < 300; ++round) {
    const auto graph = Graph::Create();
    const Value x = graph->Input({kF32, {4, 4}});
    std::vector<Value> values = {x};
    for (int n = 0; n < 14; ++n) {
      const Value a = values[next(values.size())], b = values[next(values.size())];
      switch (next(8)) {
        case 0: values.push_back(a + b); break;
        case 1: values.push_back(Relu(a)); break;
        case 2: values.push_back(Softmax(a)); break;
        case 3: values.push_back(MatMul(a, b)); break;
        case 4: values.push_back(a * 0.5 - Sum(b, {1}, true)); break;
        case 5: values.push_back(Reshape(Reshape(a, {16}) * 0.25, {4, 4})); break;
        case 6: values.push_back(Tanh(a) * b); break;
        default: values.push_back(Max(a, {0}, true) + b); break;
      }
    }
    std::vector<Value> roots = {values.back()};
    while (next(3) != 0) roots.push_back(values[1 + next(values.size() - 1)]);
    const std::vector<Tensor> data = {Ramp({4, 4})};
    const auto executable = CompileOk(*fused, {x}, roots);
    for (const PlanStep& step : executable->plan().steps) prologues += step.cluster.prologue > 0;
    const std::vector<Tensor> got = RunOk(*executable, data), expected = RunOk(*CompileOk(*plain, {x}, roots), data);
    for (size_t i = 0; i < roots.size(); ++i) {
      ASSERT_TRUE(BitEqual(got[i], expected[i])) << "round " << round << ", root " << i << "\n" << ToText(executable->plan());
    }
  }
  EXPECT_GT(prologues, 100u);
}

TEST(Fuse, BackendsRefusalIsPrinted) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {4}});
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {x}, {Abs(Exp(x))});
  EXPECT_EQ(executable->plan().steps.size(), 2u);
  EXPECT_NE(ToText(executable->plan()).find("no abs here"), std::string::npos);
}

TEST(Fuse, ConstantsAndCountersAreRecomputedByEachUser) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {64, 4}}), w = graph->Input({kF32, {4, 4}}), step = graph->Input({DType::kInt64, {}});
  const Value u = RandomUniform(step, {64, 4}, 1, 2);
  const Value y = MatMul(Where(GreaterEqual(u, 0.5), x, 0.0), w);
  const Value z = y * u;
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {x, w, step}, {z});
  int draws = 0;
  for (const PlanStep& s : executable->plan().steps) {
    for (NodeId id : s.cluster.nodes) draws += s.cluster.node(id).op->kind == OpKind::kCounter;
    for (Ref output : s.cluster.outputs) EXPECT_NE(s.cluster.node(output.node).op->kind, OpKind::kCounter);
  }
  // The product's prologue and epilogue both draw, in one cluster.
  EXPECT_EQ(draws, 1) << ToText(executable->plan());
}

}  // namespace
}  // namespace weir
