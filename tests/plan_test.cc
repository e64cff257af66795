// Programs, passes, fusion, plans and their checkers, executables: core with ops, on the reference. The checkers are
// shown plans that are wrong and must say so.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "weir/backends/reference/reference_backend.h"
#include "weir/core/error.h"
#include "weir/core/fingerprint.h"
#include "weir/core/runtime.h"
#include "weir/core/verify.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"
#include "weir/ops/registry.h"

namespace weir {
namespace {

constexpr DType kF32 = DType::kFloat32;

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

std::unique_ptr<Runtime> MakeTestRuntime(CompileOptions options = {}, int threads = 1) {
  OpRegistry ops;
  RegisterAllOps(ops);
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(std::make_unique<JoinAll>());
  backends.push_back(MakeReferenceBackend());
  return std::make_unique<Runtime>(std::move(ops), std::move(backends), threads, std::move(options));
}

std::shared_ptr<const Executable> CompileOk(Runtime& runtime, const std::vector<Value>& inputs, const std::vector<Value>& roots) {
  auto executable = runtime.Compile(inputs, roots);
  EXPECT_TRUE(executable.ok()) << executable.status().message();
  return *executable;
}

std::vector<Tensor> RunOk(const Executable& executable, std::vector<Tensor> inputs) {
  std::vector<Tensor> outputs(executable.num_roots());
  const absl::Status status = executable.Run(inputs, outputs, {});
  EXPECT_TRUE(status.ok()) << status.message();
  return outputs;
}

Tensor Ramp(const Shape& shape, float scale = 0.25f) {
  Tensor tensor(kF32, shape);
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.data<float>()[static_cast<size_t>(i)] = scale * static_cast<float>(i % 17 - 8);
  return tensor;
}

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
