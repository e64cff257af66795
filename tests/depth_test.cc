// Deep models: 10,000 layers are built, recorded, compiled, run and let go with a small stack, and the work of the passes
// grows with their number, not with its square.
#include <pthread.h>

#include <cstring>
#include <functional>
#include <random>
#include <sstream>

#include "frontend_test_util.h"
#include "sanitized.h"
#include "weir/core/pack.h"

namespace weir {
namespace {

constexpr int kManyLayers = kSanitized ? 1'000 : 10'000;
constexpr size_t kSmallStack = size_t{kSanitized ? 1024 : 256} << 10;  // instrumented frames are large

// Runs `work` on a thread with a stack of so many bytes.
void RunWithStack(size_t bytes, const std::function<void()>& work) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, bytes), 0);
  pthread_t thread;
  const auto run = [](void* data) -> void* {
    (*static_cast<const std::function<void()>*>(data))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, run, const_cast<std::function<void()>*>(&work)), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

std::unique_ptr<Runtime> FreshRuntime(const std::string& backend) {
  auto runtime = MakeRuntime({.backend = backend, .threads = 1, .jit_cache = "off"});
  EXPECT_TRUE(runtime.ok()) << runtime.status();
  return *std::move(runtime);
}

Layer DeepDense(bool first, bool relu = true) {
  return Dense({.units = 4,
                .activation = relu ? "relu" : "linear",
                .input_shape = first ? std::vector<int64_t>{4} : std::vector<int64_t>{}});
}

std::vector<Layer> DeepLayers(int count) {
  std::vector<Layer> layers;
  for (int i = 0; i < count; ++i) layers.push_back(DeepDense(i == 0));
  return layers;
}

const Plan& TrainOnce(const Sequential& model, Runtime& runtime, const std::string& optimizer) {
  model.Compile({.optimizer = optimizer, .loss = "mean_squared_error"});
  const Tensor x = UniformTensor({2, 4}, 1);
  model.TrainOnBatch({x, x});
  return runtime.cache().Executables().front()->plan();
}

TEST(Depth, ManyLayersTrainWithASmallStack) {
  for (const std::string backend : {"reference", "highway"}) {
    const std::unique_ptr<Runtime> runtime = FreshRuntime(backend);
    RunWithStack(kSmallStack, [&] {
      const Sequential model(DeepLayers(kManyLayers), {.runtime = runtime.get()});
      const Plan& plan = TrainOnce(model, *runtime, "sgd");
      EXPECT_GT(plan.steps.size(), static_cast<size_t>(3 * kManyLayers));
      EXPECT_NE(ToText(plan).find("pass"), std::string::npos);
      EXPECT_NE(ToDot(plan.program).find("->"), std::string::npos);
      EXPECT_EQ(model.layers().size(), static_cast<size_t>(kManyLayers));
      EXPECT_NE(model.SummaryText().find(StrCat("Total params: ", WithThousandsCommas(20 * kManyLayers))),
                std::string::npos);
      EXPECT_EQ(model.Predict(UniformTensor({3, 4}, 2))[0].shape(), (Shape{3, 4}));
    });
  }
}

// A chain of calls that only its end holds, and values of a graph: no destructor goes down the chain.
TEST(Depth, FunctionalChainsAreMappedAndLetGoWithASmallStack) {
  RunWithStack(kSmallStack, [] {
    const SymbolicTensor input = Input({4});
    SymbolicTensor x = input;
    const Layer shared = Dense({.units = 4});
    for (int i = 0; i < kManyLayers; ++i) x = i % 3 == 2 ? shared(x) : DeepDense(false)(x);
    const Model model(input, x);
    EXPECT_EQ(model.layers().size(), static_cast<size_t>(kManyLayers - kManyLayers / 3 + 2));
    EXPECT_NE(model.SummaryText().find(StrCat("dense[", kManyLayers / 3 - 1, "][0]")), std::string::npos);
    EXPECT_EQ(model.Predict(UniformTensor({1, 4}, 3))[0].shape(), (Shape{1, 4}));
  });
  RunWithStack(kSmallStack, [] {
    SymbolicTensor x = Input({4});
    for (int i = 0; i < kManyLayers; ++i) x = DeepDense(false)(x);
    x = {};  // no network holds the calls
  });
}

TEST(Depth, LayersAddedOneByOneMakeTheSameModel) {
  constexpr int kLayers = kManyLayers / 4;
  Sequential model;
  for (int i = 0; i < kLayers; ++i) model.Add(DeepDense(i == 0, i % 2 == 0));
  std::vector<Layer> layers;
  for (int i = 0; i < kLayers; ++i) layers.push_back(DeepDense(i == 0, i % 2 == 0));
  const Sequential at_once(layers);
  EXPECT_EQ(model.layer(0).name(), "dense");
  EXPECT_EQ(model.layer(-1).name(), StrCat("dense_", kLayers - 1));
  ASSERT_EQ(model.weights().size(), at_once.weights().size());
  for (size_t i = 0; i < model.weights().size(); i += 97) {
    const Tensor a = model.weights()[i].value(), b = at_once.weights()[i].value();
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0) << i;
  }
  EXPECT_EQ(model.SummaryText().substr(model.SummaryText().find('\n')),
            at_once.SummaryText().substr(at_once.SummaryText().find('\n')));
  // A name that is taken is refused, and the model is as it was.
  EXPECT_THROW(model.Add(Dense({.units = 4, .name = "dense_7"})), Error);
  model.Add(DeepDense(false));
  EXPECT_EQ(model.layer(-1).name(), StrCat("dense_", kLayers));
}

// What the searches of fusion and scheduling have looked at, as the plan's log tells.
int64_t LookedAt(const Plan& plan) {
  int64_t sum = 0;
  for (const std::string& line : plan.log) {
    const size_t end = line.find(" looked at");
    if (end != std::string::npos) sum += std::stoll(line.substr(line.rfind(' ', end - 1)));
  }
  return sum;
}

TEST(Depth, SearchesOfThePassesGrowWithTheModel) {
  for (const std::string backend : {"reference", "highway"}) {
    for (const std::string optimizer : {"sgd", "adam"}) {
      int64_t looked_at[2], steps[2];
      for (const int twice : {0, 1}) {
        const std::unique_ptr<Runtime> runtime = FreshRuntime(backend);
        const Sequential model(DeepLayers(300 << twice), {.runtime = runtime.get()});
        const Plan& plan = TrainOnce(model, *runtime, optimizer);
        looked_at[twice] = LookedAt(plan);
        steps[twice] = static_cast<int64_t>(plan.steps.size());
      }
      EXPECT_GT(steps[1], steps[0] * 19 / 10);
      EXPECT_LE(looked_at[1], looked_at[0] * 5 / 2 + 100) << backend << ", " << optimizer;
      EXPECT_LE(looked_at[1], 20 * steps[1]) << backend << ", " << optimizer;
    }
  }
}

// Slots that are alive at one step don't overlap.
void ExpectPacked(const std::vector<Slot>& slots, int64_t arena) {
  for (size_t i = 0; i < slots.size(); ++i) {
    ASSERT_GE(slots[i].offset, 0);
    ASSERT_EQ(slots[i].offset % kSlotAlignment, 0);
    ASSERT_LE(slots[i].offset + slots[i].bytes, arena);
    for (size_t j = 0; j < i; ++j) {
      if (slots[i].end < slots[j].begin || slots[j].end < slots[i].begin) continue;
      ASSERT_TRUE(slots[i].offset + slots[i].bytes <= slots[j].offset || slots[j].offset + slots[j].bytes <= slots[i].offset)
          << i << " and " << j;
    }
  }
}

TEST(Depth, SlotsArePackedBySizeAndByTime) {
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    std::vector<Slot> slots;
    for (int i = 0; i < 300; ++i) {
      const int begin = static_cast<int>(random() % 200);
      slots.push_back({static_cast<int64_t>(random() % 2000), begin, begin + static_cast<int>(random() % 40)});
    }
    std::vector<Slot> by_time = slots;
    const int64_t live = LargestLiveSet(slots);
    for (auto* packed : {&slots, &by_time}) {
      const int64_t arena = PackSlots(*packed, packed == &slots ? kManySlots : 0);
      ExpectPacked(*packed, arena);
      EXPECT_GE(arena, live);
      EXPECT_LE(arena, live * 3 / 2);
    }
  }
}

// Activations that live until the backward pass comes back to them, and short-lived values all along.
TEST(Depth, ADeepTrainingStepIsPackedTightly) {
  constexpr int kLayers = 3000;
  std::vector<Slot> slots;
  for (int i = 0; i < kLayers; ++i) {
    const int64_t size = 1000 + 512 * (i % 5);
    slots.push_back({size, i, 3 * kLayers - 2 * i});
    slots.push_back({2 * size, i, i + 1});
    slots.push_back({size, 3 * kLayers - 2 * i, 3 * kLayers - 2 * i + 2});
  }
  const int64_t live = LargestLiveSet(slots), arena = PackSlots(slots, 0);
  ExpectPacked(slots, arena);
  EXPECT_LE(arena, live + live / 20);
}

// Two buffers that are one are found among many inputs, whichever of them is the variable.
TEST(Depth, SharedBuffersAreFoundAmongManyInputs) {
  const auto graph = Graph::Create();
  std::vector<Value> inputs, roots;
  for (int i = 0; i < 200; ++i) {
    inputs.push_back(graph->Input({DType::kFloat32, {4}}, StrCat("x", i)));
    if (i % 2 == 1) roots.push_back(Assign(inputs.back(), inputs.back() + inputs[static_cast<size_t>(i - 1)]));
  }
  Runtime& runtime = TestRuntime("reference", 1);
  const auto executable = runtime.Compile(inputs, roots);
  ASSERT_TRUE(executable.ok()) << executable.status();
  for (const auto& [a, b] : {std::pair<size_t, size_t>{3, 198}, {198, 3}, {5, 77}, {2, 100}}) {
    std::vector<Tensor> tensors, outputs(roots.size());
    for (int i = 0; i < 200; ++i) tensors.push_back(UniformTensor({4}, static_cast<uint32_t>(i)));
    tensors[a] = tensors[b];
    const absl::Status status = runtime.Run(**executable, tensors, outputs);
    if (a % 2 == 0 && b % 2 == 0) {
      EXPECT_TRUE(status.ok()) << status;  // neither is written
      continue;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("shares its buffer with input"), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace weir
