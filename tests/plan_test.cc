// Graphs, plans and their checkers, executables: core with ops, on the reference. The checkers are shown plans that are
// wrong and must say so.
#include <gtest/gtest.h>

#include <thread>

#include "plan_test_util.h"
#include "weir/core/error.h"
#include "weir/core/verify.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

TEST(Graph, ErrorNamesOpShapesLayerAndLine) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {8, 32, 32, 3}}), w = graph->Input({kF32, {3, 3, 4, 16}});
  Graph::LayerScope sequential(*graph, "sequential");
  Graph::LayerScope layer(*graph, "conv2d");
  const int32_t size = graph->size();
  try {
    Conv2D(x, w);
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("input f32[8,32,32,3]"), std::string::npos) << text;
    EXPECT_NE(text.find("at sequential/conv2d, plan_test.cc:"), std::string::npos) << text;
    EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(graph->size(), size) << "a rejected op left a node behind";
}

TEST(Graph, GradientNodesKnowTheirForwardNode) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {2, 2}});
  Value y;
  {
    Graph::LayerScope layer(*graph, "dense");
    y = Exp(x);
  }
  const Value dx = Gradients({y}, {x})[0];
  const Node& node = graph->node(dx.ref.node);
  EXPECT_TRUE(node.origin.backward);
  EXPECT_EQ(graph->LayerPath(node.origin.layer), "dense");
}

// A training-like program: two variables, updates that read old values, a norm constraint.
struct TrainingProgram {
  std::shared_ptr<Graph> graph = Graph::Create();
  Value x, w, m, loss, new_m, new_w;

  TrainingProgram() {
    x = graph->Input({kF32, {6, 5}}, "x");
    w = graph->Input({kF32, {5, 4}}, "w");
    m = graph->Input({kF32, {5, 4}}, "m");
    const Value hidden = Tanh(MatMul(x, w));
    loss = Mean(Square(MatMul(hidden, w, {.transpose_b = true}) - x));
    const Value g = Gradients({loss}, {w})[0];
    const Value moved = m + (g - m) * 0.1;
    const Value stepped = w - moved * 0.5;
    const Value norm = Sqrt(SumSquares(stepped, {0}, true));
    new_m = Assign(m, moved);
    new_w = Assign(w, stepped * (Clip(norm, 0, 1) / (norm + 1e-7)));
  }
  std::vector<Value> inputs() const { return {x, w, m}; }
  std::vector<Value> roots() const { return {loss, new_m, new_w}; }
  static std::vector<Tensor> Data() { return {Ramp({6, 5}), Ramp({5, 4}, 0.1f), Ramp({5, 4}, 0.01f)}; }
};

TEST(Memory, EveryModeGivesTheSameBits) {
  const TrainingProgram program;
  std::vector<std::vector<Tensor>> results;
  for (const CompileOptions& options :
       {CompileOptions{}, CompileOptions{.memory = CompileOptions::Memory::kNoReuse},
        CompileOptions{.memory = CompileOptions::Memory::kPoison}, CompileOptions{.fuse = false},
        CompileOptions{.optimize = false}}) {
    auto runtime = MakeTestRuntime(options);
    const auto executable = CompileOk(*runtime, program.inputs(), program.roots());
    std::vector<Tensor> data = TrainingProgram::Data(), outputs;
    for (int step = 0; step < 3; ++step) {
      outputs.assign(3, Tensor());
      ASSERT_TRUE(executable->Run(data, outputs, {}).ok());
    }
    EXPECT_TRUE(BitEqual(outputs[2], data[1])) << "the assign's root is the variable's own tensor";
    results.push_back({outputs[0], data[1], data[2]});
  }
  for (size_t mode = 1; mode < results.size(); ++mode) {
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(BitEqual(results[mode][i], results[0][i])) << "mode " << mode << ", value " << i;
  }
}

TEST(Memory, VariablesAreUpdatedInPlace) {
  const TrainingProgram program;
  auto runtime = MakeTestRuntime({.fuse = false});
  const auto executable = CompileOk(*runtime, program.inputs(), program.roots());
  EXPECT_TRUE(executable->plan().copies.empty()) << ToText(executable->plan());
}

TEST(Memory, SwapAndOldValue) {
  const auto graph = Graph::Create();
  const Value a = graph->Input({kF32, {3}}, "a"), b = graph->Input({kF32, {3}}, "b");
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {a, b}, {Assign(a, b), Assign(b, a), a, a + b});
  std::vector<Tensor> data{Tensor::Of<float>({3}, {1, 2, 3}), Tensor::Of<float>({3}, {4, 5, 6})};
  std::vector<Tensor> outputs(4);
  ASSERT_TRUE(executable->Run(data, outputs, {}).ok());
  EXPECT_EQ(data[0].at<float>({0}), 4);
  EXPECT_EQ(data[1].at<float>({0}), 1);
  EXPECT_EQ(outputs[2].at<float>({0}), 1) << "a root that is the old value of a variable";
  EXPECT_EQ(outputs[3].at<float>({2}), 9);
}

TEST(Memory, ArenaIsNearTheLargestLiveSet) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {1000}});
  Value y = x;
  for (int i = 0; i < 40; ++i) y = Abs(Exp(y * 0.01)) - 1.0;  // abs is refused, so every other step crosses memory
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {x}, {y});
  const Plan& plan = executable->plan();
  EXPECT_LE(plan.arena_bytes, plan.live_bytes * 115 / 100) << ToText(plan);
  EXPECT_LE(plan.live_bytes, 6 * 4096);
}

// A program of many steps runs poisoned in about the time it runs anyway: what is dead is not looked for again and
// again.
TEST(Memory, PoisonOfManySteps) {
  const auto seconds = [](CompileOptions::Memory memory) {
    const auto graph = Graph::Create();
    const Value x = graph->Input({kF32, {4}});
    Value y = x;
    for (int i = 0; i < 30'000; ++i) y = Reverse(y, {0});  // not in place
    OpRegistry ops;
    RegisterAllOps(ops);
    std::vector<std::unique_ptr<Backend>> reference;
    reference.push_back(MakeReferenceBackend());
    Runtime runtime(std::move(ops), std::move(reference), 1, {.optimize = false, .fuse = false, .memory = memory});
    const auto executable = CompileOk(runtime, {x}, {y});
    std::vector<Tensor> data{Tensor::Of<float>({4}, {1, 2, 3, 4})}, outputs(1);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_TRUE(executable->Run(data, outputs, {}).ok());
    EXPECT_TRUE(BitEqual(outputs[0], data[0]));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double plain = seconds(CompileOptions::Memory::kReuse), poisoned = seconds(CompileOptions::Memory::kPoison);
  EXPECT_LT(poisoned, 20 * plain + 2);  // 7 seconds when it was quadratic
}

TEST(VerifyPlan, FindsOverlaps) {
  const TrainingProgram program;
  auto runtime = MakeTestRuntime({.fuse = false});
  const auto executable = CompileOk(*runtime, program.inputs(), program.roots());
  const Plan& good = executable->plan();
  ASSERT_TRUE(VerifyPlan(good).ok());
  // Any arena place moved onto the arena's start, where something else lives at some time, must be noticed for at
  // least one value; a place outside of the arena always.
  int noticed = 0, moved = 0;
  for (size_t s = 0; s < good.steps.size(); ++s) {
    for (size_t o = 0; o < good.steps[s].outputs.size(); ++o) {
      if (good.steps[s].outputs[o].kind != Location::Kind::kArena) continue;
      Plan bad = good;
      bad.steps[s].outputs[o].index += 64;
      ++moved;
      noticed += !VerifyPlan(bad).ok();
      bad.steps[s].outputs[o].index = good.arena_bytes;
      EXPECT_FALSE(VerifyPlan(bad).ok());
    }
  }
  EXPECT_GT(moved, 3);
  EXPECT_EQ(noticed, moved) << "a value written where its readers do not look";
}

TEST(VerifyPlan, FindsLostValuesAndWrongRoots) {
  const TrainingProgram program;
  auto runtime = MakeTestRuntime({.fuse = false});
  const auto executable = CompileOk(*runtime, program.inputs(), program.roots());
  const Plan& good = executable->plan();
  Plan swapped = good;
  std::swap(swapped.steps.front(), swapped.steps.back());
  EXPECT_FALSE(VerifyPlan(swapped).ok());
  Plan wrong_root = good;
  wrong_root.roots[0] = {Location::Kind::kArena, 0};
  EXPECT_FALSE(VerifyPlan(wrong_root).ok());
  Plan written = good;
  written.input_written.assign(written.input_written.size(), false);
  EXPECT_FALSE(VerifyPlan(written).ok());
  Plan no_pairs = good;
  for (PlanStep& step : no_pairs.steps) step.lowering.in_place.clear();
  EXPECT_FALSE(VerifyPlan(no_pairs).ok()) << "in place without leave";
}

TEST(VerifyProgram, FindsUnboundLeavesAndDoubleAssignments) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {3}}, "x"), y = graph->Input({kF32, {3}}, "y");
  EXPECT_NE(std::string(VerifyProgram({graph, {x.ref}, {(x + y).ref}}).message()).find("y is not bound"), std::string::npos);
  const Value once = Assign(x, y), twice = Assign(x, y + y);
  EXPECT_FALSE(VerifyProgram({graph, {x.ref, y.ref}, {once.ref, twice.ref}}).ok());
  EXPECT_FALSE(VerifyProgram({graph, {x.ref, x.ref, y.ref}, {once.ref}}).ok());
  EXPECT_TRUE(VerifyProgram({graph, {x.ref, y.ref}, {once.ref}}).ok());
}

TEST(Executable, RunsOnSeveralThreadsAtOnce) {
  const TrainingProgram program;
  auto runtime = MakeTestRuntime({}, 2);
  const auto executable = CompileOk(*runtime, program.inputs(), program.roots());
  std::vector<Tensor> expected = TrainingProgram::Data();
  std::vector<Tensor> outputs(3);
  ASSERT_TRUE(executable->Run(expected, outputs, {}).ok());
  std::vector<std::thread> threads;
  std::vector<std::vector<Tensor>> data(4);
  for (size_t t = 0; t < data.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int repeat = 0; repeat < 20; ++repeat) {
        data[t] = TrainingProgram::Data();
        std::vector<Tensor> out(3);
        EXPECT_TRUE(runtime->Run(*executable, data[t], out).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : data) EXPECT_TRUE(BitEqual(result[1], expected[1]));
}

TEST(Executable, ChecksTensors) {
  const TrainingProgram program;
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, program.inputs(), program.roots());
  std::vector<Tensor> outputs(3), data = TrainingProgram::Data();
  data[0] = Ramp({6, 4});
  EXPECT_EQ(std::string(executable->Run(data, outputs, {}).message()), "run: input 0 (x) is f32[6,4], expected f32[6,5]");
  data = TrainingProgram::Data();
  data[2] = data[1];
  EXPECT_FALSE(executable->Run(data, outputs, {}).ok()) << "two variables in one buffer";
  data.pop_back();
  EXPECT_FALSE(executable->Run(data, outputs, {}).ok());
}

TEST(Executable, WritesIntoGivenOutputs) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {3}});
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {x}, {x * 2.0});
  std::vector<Tensor> inputs{Ramp({3})}, outputs{Tensor(kF32, {3})};
  const std::byte* where = outputs[0].raw();
  ASSERT_TRUE(executable->Run(inputs, outputs, {}).ok());
  EXPECT_EQ(outputs[0].raw(), where);
  outputs[0] = Tensor(kF32, {4});
  EXPECT_FALSE(executable->Run(inputs, outputs, {}).ok());
}

TEST(Executable, DataErrorsStopBeforeUpdates) {
  const auto graph = Graph::Create();
  const Value w = graph->Input({kF32, {3, 2}}, "w"), labels = graph->Input({DType::kInt32, {3}}, "labels");
  const Value loss = Mean(SparseSoftmaxCrossEntropy(w, labels));
  const Value updated = Assign(w, w - Gradients({loss}, {w})[0]);
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, {w, labels}, {loss, updated});
  std::vector<Tensor> data{Ramp({3, 2}), Tensor::Of<int32_t>({3}, {1, 2, 0})}, outputs(2);
  const absl::Status status = executable->Run(data, outputs, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_NE(std::string(status.message()).find("2 at row 1 is outside [0, 2)"), std::string::npos) << status.message();
  EXPECT_TRUE(BitEqual(data[0], Ramp({3, 2})));
}

TEST(Evaluate, KeepsWhatItComputed) {
  auto runtime = MakeTestRuntime();
  const auto graph = Graph::Create();
  const Value x = graph->Data(Tensor::Scalar(3.0f));
  const Value y = x * x;
  const std::vector<Value> first{y};
  ASSERT_EQ(runtime->Evaluate(first)[0].item<float>(), 9);
  // The second evaluation starts from y.
  const std::vector<Value> second{y + 1.0};
  EXPECT_EQ(runtime->Evaluate(second)[0].item<float>(), 10);
  EXPECT_EQ(runtime->cache().misses(), 2);
  const std::vector<Value> unbound{graph->Input({kF32, {}}, "hole") + 1.0};
  EXPECT_THROW(runtime->Evaluate(unbound), Error);
}

TEST(Evaluate, LoopsHitTheCache) {
  auto runtime = MakeTestRuntime();
  for (int i = 0; i < 10; ++i) {
    const auto graph = Graph::Create();
    const Value x = graph->Data(Tensor::Scalar(static_cast<float>(i)));
    const std::vector<Value> wanted{Square(x)};
    EXPECT_EQ(runtime->Evaluate(wanted)[0].item<float>(), static_cast<float>(i * i));
  }
  EXPECT_EQ(runtime->cache().misses(), 1);
  EXPECT_EQ(runtime->cache().hits(), 9);
}

TEST(Compile, ForbiddenBackendIsAnError) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {3}});
  auto runtime = MakeTestRuntime({.forbid = {"join_all"}});
  const std::vector<Value> inputs{x}, roots{Exp(x)};
  const auto executable = runtime->Compile(inputs, roots);
  ASSERT_FALSE(executable.ok());
  EXPECT_NE(std::string(executable.status().message()).find("forbidden"), std::string::npos);
}

TEST(Compile, DeepGraphs) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({kF32, {4}});
  Value y = x;
  for (int i = 0; i < 5000; ++i) y = y * 0.5 + 1.0;
  auto runtime = MakeTestRuntime({.fuse = false});
  const auto executable = CompileOk(*runtime, {x}, {y});
  EXPECT_NEAR(RunOk(*executable, {Ramp({4})})[0].at<float>({0}), 2, 1e-6);
}

TEST(Print, TextAndDotNameEverything) {
  const TrainingProgram program;
  auto runtime = MakeTestRuntime();
  const auto executable = CompileOk(*runtime, program.inputs(), program.roots());
  const std::string text = ToText(executable->plan()), dot = ToDot(executable->plan());
  for (const char* part : {"matmul", "reduce_sum_squares", "f32[6,5]", "arena", "root 2 at input 1", "pass "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " missing in\n" << text;
  }
  EXPECT_EQ(dot.rfind("digraph", 0), 0u);
  EXPECT_NE(dot.find("subgraph cluster_0"), std::string::npos);
  EXPECT_NE(ToDot(executable->plan().program).find("matmul"), std::string::npos);
}

}  // namespace
}  // namespace weir
