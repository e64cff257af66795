// The JIT as a backend: processors it refuses, what it shows, what is computed together, deep graphs, memory of evicted
// plans. That its results are the reference's bits is conformance_test's subject.
#include <gtest/gtest.h>

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "llvm_test_util.h"
#include "sanitized.h"
#include "temp_folder.h"
#include "weir/core/explain.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

TEST(LlvmBackend, RefusesProcessorsThatCanNot) {
  const auto unknown = MakeLlvmBackend({.cpu = "z80"});
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(unknown.status().message()).find("z80"), std::string::npos);
  const auto old = MakeLlvmBackend({.cpu = "nehalem"});
  ASSERT_FALSE(old.ok());
  EXPECT_EQ(old.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(std::string(old.status().message()).find("multiply-add"), std::string::npos);
}

TEST(LlvmBackend, ShowsLoopsIrAndAssembly) {
  auto backend = MakeLlvmBackend({});
  ASSERT_TRUE(backend.ok()) << backend.status().message();
  const Backend& llvm = **backend;
  const auto runtime = MakeLlvmRuntime({});
  const auto graph = Graph::Create();
  const Value x = graph->Input({DType::kFloat32, {100}});
  const Value inputs[] = {x}, roots[] = {Exp(x) + 1};
  const auto executable = runtime->Compile(inputs, roots);
  ASSERT_TRUE(executable.ok());
  const Lowering& lowering = (*executable)->plan().steps[0].lowering;
  EXPECT_NE(llvm.Show(lowering, CodeView::kLoops).find("fma f32x16"), std::string::npos);
  EXPECT_NE(llvm.Show(lowering, CodeView::kLlvmIr).find("llvm.fma"), std::string::npos);
  EXPECT_EQ(llvm.Show(lowering, CodeView::kLlvmIr).find(" fast "), std::string::npos);
  EXPECT_NE(llvm.Show(lowering, CodeView::kAssembly).find("fmadd"), std::string::npos);
}

// Outputs too large for the caches are written past them, where that may be; the numbers are the same either way.
TEST(LlvmBackend, LargeOutputsAreStreamed) {
  constexpr int64_t kCount = (int64_t{16} << 20) + 21;  // a tail as well
  const auto runtime = MakeLlvmRuntime({}, 2);
  const auto graph = Graph::Create();
  const Value x = graph->Input({DType::kFloat32, {kCount}});
  const Value inputs[] = {x}, roots[] = {x * 0.5 + 1};
  const auto executable = runtime->Compile(inputs, roots);
  ASSERT_TRUE(executable.ok()) << executable.status().message();
  EXPECT_NE(runtime->backends()[0]->Show((*executable)->plan().steps[0].lowering, CodeView::kAssembly).find("vmovntps"),
            std::string::npos);
  Tensor data(DType::kFloat32, {kCount});
  for (int64_t i = 0; i < kCount; ++i) data.data<float>()[static_cast<size_t>(i)] = static_cast<float>(i % 1000);
  for (int64_t offset : {0, 1}) {  // in floats: the second is not where a streaming store may begin
    Tensor whole = Tensor::Full(DType::kFloat32, {kCount + 2}, -1);
    std::vector<Tensor> results = {whole.Rows(offset, offset + kCount)}, leaves = {data};
    ASSERT_TRUE(runtime->Run(**executable, leaves, results).ok());
    const std::span<const float> y = results[0].data<float>();
    for (int64_t i = 0; i < kCount; ++i) {
      ASSERT_EQ(y[static_cast<size_t>(i)], static_cast<float>(i % 1000) * 0.5f + 1) << i;
    }
    EXPECT_EQ(whole.data<float>()[static_cast<size_t>(kCount + offset)], -1);
  }
}

// What counts is all that a kernel moves: an optimizer's update has many operands of middling size.
TEST(LlvmBackend, OutputsOfManyOperandsAreStreamed) {
  constexpr int64_t kCount = (int64_t{4} << 20) + 21;
  const auto runtime = MakeLlvmRuntime({}, 2), reference = MakeReferenceRuntime();
  const auto streams = [&](std::span<const Value> inputs, std::span<const Value> roots) {
    const auto executable = runtime->Compile(inputs, roots);
    EXPECT_TRUE(executable.ok()) << executable.status().message();
    const std::string code = runtime->backends()[0]->Show((*executable)->plan().steps[0].lowering, CodeView::kAssembly);
    return code.find("vmovntps") != std::string::npos;
  };
  const auto graph = Graph::Create();
  const TensorType type{DType::kFloat32, {kCount}};
  const Value weight = graph->Input(type), gradient = graph->Input(type), moment = graph->Input(type);
  const Value next = moment * 0.9 - 0.01 * gradient;
  const Value inputs[] = {weight, gradient, moment}, roots[] = {weight + next, next};
  EXPECT_FALSE(streams(std::span(inputs).last(2), std::span(roots).last(1)));  // 50 MB
  EXPECT_TRUE(streams(inputs, roots));                                         // 84 MB
  std::vector<Tensor> data(3);
  for (size_t k = 0; k < data.size(); ++k) {
    data[k] = Tensor(DType::kFloat32, {kCount});
    for (int64_t i = 0; i < kCount; ++i) {
      data[k].data<float>()[static_cast<size_t>(i)] = static_cast<float>(i % (1000 + static_cast<int64_t>(k))) * 0.37f;
    }
  }
  std::vector<Tensor> results(2), expected(2);
  ASSERT_TRUE(runtime->Run(**runtime->Compile(inputs, roots), data, results).ok());
  ASSERT_TRUE(reference->Run(**reference->Compile(inputs, roots), data, expected).ok());
  for (size_t o = 0; o < results.size(); ++o) EXPECT_TRUE(BitEqual(results[o], expected[o])) << o;
}

// So are those of convolutions.
TEST(LlvmBackend, LargeConvolutionsAreStreamed) {
  constexpr int64_t kRows = 1025, kColumns = 512, kChannels = 16;
  const auto runtime = MakeLlvmRuntime({}, 2);
  const auto graph = Graph::Create();
  const Value x = graph->Input({DType::kFloat32, {1, kRows, kColumns, 1}});
  const Value filter = graph->Input({DType::kFloat32, {1, 1, 1, kChannels}});
  const Value inputs[] = {x, filter}, roots[] = {Relu(Conv2D(x, filter))};
  const auto executable = runtime->Compile(inputs, roots);
  ASSERT_TRUE(executable.ok()) << executable.status().message();
  EXPECT_NE(runtime->backends()[0]->Show((*executable)->plan().steps[0].lowering, CodeView::kAssembly).find("vmovntps"),
            std::string::npos);
  Tensor data(DType::kFloat32, {1, kRows, kColumns, 1}), weights(DType::kFloat32, {1, 1, 1, kChannels});
  for (int64_t i = 0; i < data.size(); ++i) data.data<float>()[static_cast<size_t>(i)] = static_cast<float>(i % 999);
  for (int64_t o = 0; o < kChannels; ++o) weights.data<float>()[static_cast<size_t>(o)] = static_cast<float>(o - 2);
  constexpr int64_t kCount = kRows * kColumns * kChannels;
  for (int64_t offset : {0, 1}) {  // in floats: the second is not where a streaming store may begin
    Tensor whole = Tensor::Full(DType::kFloat32, {kCount + 2}, -1);
    std::vector<Tensor> leaves = {data, weights},
                        results = {whole.Rows(offset, offset + kCount).Reshaped({1, kRows, kColumns, kChannels})};
    ASSERT_TRUE(runtime->Run(**executable, leaves, results).ok());
    const std::span<const float> y = results[0].data<float>();
    for (int64_t i = 0; i < kCount; ++i) {
      const float expected = static_cast<float>(i / kChannels % 999) * static_cast<float>(i % kChannels - 2);
      ASSERT_EQ(y[static_cast<size_t>(i)], std::max(0.0f, expected)) << i;
    }
    EXPECT_EQ(whole.data<float>()[static_cast<size_t>(kCount + offset)], -1);
  }
}

// What people see: who took a step and why it ends where it does, its work, its loops; the same in a file a plan.
TEST(LlvmBackend, ExplainsPlansAndDumpsThem) {
  const TempFolder folder;
  const auto runtime = MakeLlvmRuntime({});
  runtime->SetDumpFolder(folder.path() + "/plans");
  const auto graph = Graph::Create();
  const Value x = graph->Input({DType::kFloat32, {64, 100}}), y = Relu(Sum(x * 2, {1})), z = Sum(y);
  const Value inputs[] = {x}, roots[] = {z, OneHot(Cast(y, DType::kInt32), 4)};
  const auto executable = runtime->Compile(inputs, roots);
  ASSERT_TRUE(executable.ok()) << executable.status().message();
  const std::string text = Explain(**executable, runtime->backends(), {.code = CodeView::kLoops});
  for (const char* part : {"mul+reduce_sum+relu+cast [64]", "by llvm: jit, rows of 100", "work: ", "ends before ", "carrying %",
                           "declined by llvm: "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() + "/plans")) {
    std::ifstream file(entry.path());
    const std::string dumped((std::istreambuf_iterator<char>(file)), {});
    EXPECT_NE(dumped.find(text), std::string::npos);
    ++files;
  }
  EXPECT_EQ(files, 1);
}

// Graphs by chance, with anchors of every kind one behind the other: prologues, epilogues and tails in all combinations.
TEST(LlvmBackend, RandomGraphsEqualTheReference) {
  uint32_t state = 7;
  const auto next = [&](size_t below) {
    state = state * 1664525u + 1013904223u;
    return static_cast<size_t>(state >> 8) % below;
  };
  const auto reference = MakeReferenceRuntime();
  const auto llvm = MakeLlvmRuntime({}, 2);
  for (int round = 0; round < 60; ++round) {
    const auto graph = Graph::Create();
    const int64_t channels = next(2) == 0 ? 16 : 5;
    const Shape shape{2, 4, 4, channels};
    const Value x = graph->Input({DType::kFloat32, shape}), w = graph->Input({DType::kFloat32, {3, 3, channels, channels}});
    const Value step = graph->Input({DType::kInt64, {}});
    std::vector<Value> values = {x};
    for (int n = 0; n < 12; ++n) {
      const Value a = values[next(values.size())], b = values[next(values.size())];
      switch (next(9)) {
        case 0: values.push_back(a + b); break;
        case 1: values.push_back(Relu(a * 0.5)); break;
        case 2: values.push_back(Softmax(a)); break;
        case 3: values.push_back(Conv2D(a, w, {.padding = "same"})); break;
        case 4: values.push_back(a - Mean(b, {1, 2}, true)); break;
        case 5: values.push_back(a + Reshape(MatMul(Reshape(b, {32, channels}), Sum(w, {0, 1})), shape.dims())); break;
        case 6: values.push_back(Dropout(Tanh(a), 0.3, step, 5, static_cast<int64_t>(n))); break;
        case 7: values.push_back(b + Sum(MaxPool(a), {1, 2}, true)); break;
        default: values.push_back(b * Max(AveragePool(Relu(a)), {1, 2}, true)); break;
      }
    }
    std::vector<Value> roots = {values.back()};
    while (next(3) != 0) roots.push_back(values[1 + next(values.size() - 1)]);
    const std::vector<Value> inputs = {x, w, step};
    std::vector<Tensor> data = {Tensor(DType::kFloat32, shape), Tensor(DType::kFloat32, w.shape()), Tensor::Full(DType::kInt64, {}, 3)};
    for (int t = 0; t < 2; ++t) {
      for (int64_t i = 0; i < data[static_cast<size_t>(t)].size(); ++i) {
        data[static_cast<size_t>(t)].data<float>()[static_cast<size_t>(i)] = 0.1f * static_cast<float>(i % 11 - 5);
      }
    }
    std::vector<Tensor> results[2];
    for (int k = 0; k < 2; ++k) {
      Runtime& runtime = k == 0 ? *reference : *llvm;
      const auto executable = runtime.Compile(inputs, roots);
      ASSERT_TRUE(executable.ok()) << executable.status().message();
      results[k].resize(roots.size());
      ASSERT_TRUE(runtime.Run(**executable, data, results[k]).ok());
    }
    for (size_t o = 0; o < roots.size(); ++o) ASSERT_TRUE(SameBits(results[0][o], results[1][o])) << "round " << round << ", root " << o;
  }
}

struct Chain {
  std::shared_ptr<Graph> graph = Graph::Create();
  Value x, y;
  explicit Chain(int nodes) {
    x = graph->Input({DType::kFloat32, {64}});
    y = x;
    for (int i = 0; i < nodes; ++i) y = i % 2 == 0 ? y * 1.001 : Relu(y + 0.01);
  }
};

TEST(LlvmBackend, DeepChainsCompileOnAnOrdinaryStack) {
  const auto body = [](void*) -> void* {
    const Chain chain(5000);
    const Value inputs[] = {chain.x}, roots[] = {chain.y};
    std::vector<Tensor> results[2];
    for (int k = 0; k < 2; ++k) {
      const auto runtime = k == 0 ? MakeReferenceRuntime() : MakeLlvmRuntime({});
      const auto executable = runtime->Compile(inputs, roots);
      EXPECT_TRUE(executable.ok()) << executable.status().message();
      if (!executable.ok()) return nullptr;
      std::vector<Tensor> data = {Tensor::Full(DType::kFloat32, {64}, 0.5)};
      results[k].resize(1);
      EXPECT_TRUE(runtime->Run(**executable, data, results[k]).ok());
    }
    EXPECT_TRUE(SameBits(results[0][0], results[1][0]));
    return nullptr;
  };
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, size_t{8} << 20);
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &attributes, body, nullptr), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(LlvmBackend, EvictedPlansGiveTheirMemoryBack) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer keeps freed memory";
  const auto runtime = MakeLlvmRuntime({});
  int64_t start = 0;
  for (int round = 0; round < 200; ++round) {
    const auto graph = Graph::Create();
    const Value x = graph->Input({DType::kFloat32, {100 + round}});
    const Value inputs[] = {x}, roots[] = {Tanh(x) * 2 + Exp(x), Sum(x)};
    ASSERT_TRUE(runtime->Compile(inputs, roots).ok());
    runtime->cache().Clear();
    if (round == 40) start = ResidentBytes();  // allocators and LLVM's own tables have their size by now
  }
  EXPECT_LT(ResidentBytes(), start + start / 10);
}

// ---- What is computed together ---------------------------------------------------------------------------------------
std::vector<std::string> StepsOf(Runtime& runtime, std::span<const Value> inputs, std::span<const Value> roots) {
  const auto executable = runtime.Compile(inputs, roots);
  EXPECT_TRUE(executable.ok()) << executable.status().message();
  std::vector<std::string> steps;
  if (!executable.ok()) return steps;
  for (const PlanStep& step : (*executable)->plan().steps) {
    EXPECT_EQ(step.backend, "llvm") << Describe(step.cluster);
    steps.push_back(Describe(step.cluster));
  }
  return steps;
}

TEST(LlvmClusters, PoolsFollowConvolutions) {
  using Steps = std::vector<std::string>;
  const auto runtime = MakeLlvmRuntime({});
  const auto graph = Graph::Create();
  const Value x = graph->Input({DType::kFloat32, {2, 12, 12, 3}}), w = graph->Input({DType::kFloat32, {3, 3, 3, 8}});
  const Value bias = graph->Input({DType::kFloat32, {8}});
  const std::vector<Value> inputs = {x, w, bias};
  const auto steps = [&](std::vector<Value> roots) { return StepsOf(*runtime, inputs, roots); };
  const Value y = Relu(Conv2D(x, w, {.padding = "same"}) + bias);
  for (const PoolOptions& options : {PoolOptions{}, PoolOptions{.window = {3, 3}}, PoolOptions{.window = {2, 1}}}) {
    EXPECT_EQ(steps({MaxPool(y, options)}), Steps{"conv+add+relu+max_pool"});
    EXPECT_EQ(steps({AveragePool(y, options), y}), Steps{"conv+add+relu+average_pool"});
  }
  EXPECT_EQ(steps({MaxPool(Conv2D(x, w))}), Steps{"conv+max_pool"});
  // The epilogue may grow behind it, and with it into one that is too long for registers.
  EXPECT_EQ(steps({MaxPool(y), Gelu(Exp(y)) * Tanh(y)}).size(), 1u);
  // Windows that overlap, or leave something out; another convolution's value; a second pool.
  EXPECT_EQ(steps({MaxPool(y, {.window = {3, 3}, .strides = {1, 1}})}).size(), 2u);
  EXPECT_EQ(steps({MaxPool(y, {.window = {5, 5}})}).size(), 2u);
  EXPECT_EQ(steps({MaxPool(Reshape(y, {2, 6, 24, 8}))}).size(), 2u);
  EXPECT_EQ(steps({MaxPool(y), AveragePool(y)}).size(), 2u);
}

TEST(LlvmClusters, ProloguesPrecedeConvolutionsThatCopy) {
  using Steps = std::vector<std::string>;
  const auto runtime = MakeLlvmRuntime({});
  const auto graph = Graph::Create();
  const Value x = graph->Input({DType::kFloat32, {20, 12, 12, 16}}), w = graph->Input({DType::kFloat32, {3, 3, 16, 8}});
  const Value step = graph->Input({DType::kInt64, {}}), p = Relu(x * 0.5);
  const std::vector<Value> inputs = {x, w, step};
  const auto steps = [&](std::vector<Value> roots) { return StepsOf(*runtime, inputs, roots); };
  const ConvOptions same = {.padding = "same"};
  EXPECT_EQ(steps({Relu(Conv2D(p, w, same))}), Steps{"mul+relu+conv+relu"});
  EXPECT_EQ(steps({MaxPool(Conv2D(p, w, same)), p}), Steps{"mul+relu+conv+max_pool"});
  EXPECT_EQ(steps({Conv2D(Dropout(p, 0.3, step, 7, 1), w, same)}).size(), 1u);
  // Nothing is copied; cells are left out; random numbers of rows that are no multiple of a block; halos of many tasks.
  EXPECT_EQ(steps({Conv2D(p, w)}).size(), 2u);
  EXPECT_EQ(steps({Conv2D(p, w, {.strides = {4, 4}, .padding_before = {1, 1}, .padding_after = {0, 0}})}).size(), 2u);
  const Value odd = graph->Input({DType::kFloat32, {20, 5, 5, 3}}), v = graph->Input({DType::kFloat32, {3, 3, 3, 8}});
  EXPECT_EQ(StepsOf(*runtime, std::vector{odd, v}, std::vector{Conv2D(Relu(odd), v, same)}).size(), 1u);
  EXPECT_EQ(StepsOf(*runtime, std::vector{odd, v, step}, std::vector{Conv2D(Dropout(odd, 0.3, step, 7, 1), v, same)}).size(), 2u);
  const Value one = graph->Input({DType::kFloat32, {1, 32, 32, 64}}), u = graph->Input({DType::kFloat32, {3, 3, 64, 64}});
  EXPECT_EQ(StepsOf(*runtime, std::vector{one, u}, std::vector{Conv2D(Relu(one), u, same)}).size(), 2u);
}

// Tasks that share an image both compute the rows between them, but one alone stores what is wanted of them.
TEST(LlvmClusters, EveryElementOfAProloguesOutputHasOneTask) {
  const auto runtime = MakeLlvmRuntime({});
  const auto graph = Graph::Create();
  const struct {
    Shape x, w;
  } problems[] = {{{1, 40, 30, 8}, {3, 3, 8, 9}}, {{1, 1500, 64}, {4, 64, 16}}, {{1, 40, 4, 5, 8}, {3, 3, 3, 8, 5}}};
  for (const auto& problem : problems) {
    const Value x = graph->Input({DType::kFloat32, problem.x}), w = graph->Input({DType::kFloat32, problem.w});
    const Value p = x * 0.5 + 1;
    const Value inputs[] = {x, w}, roots[] = {Conv(p, w, {.padding = "same"}), p};
    const auto executable = runtime->Compile(inputs, roots);
    ASSERT_TRUE(executable.ok()) << executable.status().message();
    ASSERT_EQ((*executable)->plan().steps.size(), 1u);
    const PlanStep& step = (*executable)->plan().steps[0];
    const auto fresh = [&](Ref ref) { return Tensor::Full(DType::kFloat32, step.cluster.type(ref).shape, 3); };
    std::vector<Tensor> in, out;
    size_t wanted = 0;
    for (Ref ref : step.cluster.inputs) in.push_back(fresh(ref));
    for (Ref ref : step.cluster.outputs) {
      if (step.cluster.in_prologue(ref.node)) wanted = out.size();
      out.push_back(fresh(ref));
    }
    std::vector<const std::byte*> in_data;
    std::vector<std::byte*> out_data;
    for (const Tensor& tensor : in) in_data.push_back(tensor.raw());
    for (Tensor& tensor : out) out_data.push_back(tensor.raw());
    std::vector<std::byte> workspace(static_cast<size_t>(step.lowering.workspace_bytes) + 64);
    const auto aligned = [](std::vector<std::byte>& bytes) {
      return bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64;
    };
    Tensor& stored = out[wanted];
    ASSERT_EQ(stored.shape(), problem.x);
    std::vector<int> times(static_cast<size_t>(stored.size()));
    EXPECT_GT(step.lowering.stages.back().tasks, 1);
    for (const Stage& stage : step.lowering.stages) {
      std::vector<std::byte> scratch(static_cast<size_t>(stage.scratch_bytes) + 64);
      for (int64_t task = 0; task < stage.tasks; ++task) {
        std::fill(stored.data<float>().begin(), stored.data<float>().end(), -1.0f);
        stage.run({.state = stage.state.get(), .inputs = in_data.data(), .outputs = out_data.data(),
                   .workspace = aligned(workspace), .scratch = aligned(scratch), .task = task, .errors = nullptr});
        for (size_t i = 0; i < times.size(); ++i) times[i] += stored.data<float>()[i] != -1.0f;
      }
    }
    EXPECT_EQ(std::count(times.begin(), times.end(), 1), stored.size());
  }
}

}  // namespace
}  // namespace weir
