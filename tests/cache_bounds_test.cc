// What is kept for later runs is bounded, and made once however many want it.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "frontend_test_util.h"
#include "sanitized.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

int64_t ResidentBytes() {
  malloc_trim(0);
  int64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * 4096;
}

std::unique_ptr<Runtime> NewRuntime(const std::string& backend, int64_t cache_bytes = -1) {
  auto made = MakeRuntime({.backend = backend, .threads = 2, .cache_bytes = cache_bytes});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

class CacheBounds : public testing::TestWithParam<std::string> {};

TEST_P(CacheBounds, OneCompileAKey) {
  const std::unique_ptr<Runtime> runtime = NewRuntime(GetParam());
  const auto profiler = std::make_shared<Profiler>();
  runtime->SetProfiler(profiler);
  const Tensor x = UniformTensor({4, 12, 12, 8}, 1), w = UniformTensor({3, 3, 8, 16}, 2);
  std::atomic<int> waiting{16}, wrong{0};
  std::vector<Tensor> found(16);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      const std::shared_ptr<Graph> graph = Graph::Create();
      const Value y = Relu(Conv2D(graph->Data(x), graph->Data(w), {.padding = "same"}) + 0.5);
      for (--waiting; waiting > 0;) std::this_thread::yield();
      found[t] = runtime->Evaluate({&y, 1})[0];
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& y : found) wrong += !BitEqual(y, found[0]);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(runtime->cache().misses(), 1);
  EXPECT_EQ(runtime->cache().hits(), 15);
  int compiles = 0;
  for (const ProfileEvent& event : profiler->events()) compiles += event.ops == "compile";
  EXPECT_EQ(compiles, 1);
}

TEST_P(CacheBounds, SeveralThreadsEvaluateOneGraph) {
  const std::unique_ptr<Runtime> runtime = NewRuntime(GetParam());
  const std::shared_ptr<Graph> graph = Graph::Create();
  const Value x = graph->Data(UniformTensor({64, 64}, 1));
  const std::vector<Value> values{Exp(x), MatMul(x, x), Sum(MatMul(x, x)), Exp(x) + 1.0};
  std::vector<std::thread> threads;
  std::vector<std::vector<Tensor>> found(8);
  for (size_t t = 0; t < 8; ++t) threads.emplace_back([&, t] { found[t] = runtime->Evaluate(values); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& tensors : found) {
    for (size_t i = 0; i < values.size(); ++i) EXPECT_TRUE(BitEqual(tensors[i], found[0][i]));
  }
}

// A failure is nobody else's: all are told, and the next try is a new one.
TEST(PlanCacheKeys, FailuresAreNotKept) {
  PlanCache cache;
  int tries = 0;
  const auto fail = [&]() -> absl::StatusOr<std::shared_ptr<const Executable>> {
    ++tries;
    return absl::InternalError("no");
  };
  EXPECT_FALSE(cache.FindOrMake({1, 1}, fail).ok());
  EXPECT_FALSE(cache.FindOrMake({1, 1}, fail).ok());
  EXPECT_THROW(cache.FindOrMake({1, 1},
                                [&]() -> absl::StatusOr<std::shared_ptr<const Executable>> {
                                  ThrowInvalidArgument("thrown");
                                })
                   .IgnoreError(),
               Error);
  EXPECT_EQ(tries, 2);
  EXPECT_TRUE(cache.FindOrMake({1, 1}, [] { return std::make_shared<const Executable>(Plan{}, CompileOptions{}); }).ok());
}

Model AnySize(Runtime& runtime) {
  const SymbolicTensor input = Input({kNone, kNone, 3});
  const SymbolicTensor a = Conv2D({.filters = 16, .kernel_size = 3, .padding = "same", .activation = "relu"})(input);
  const SymbolicTensor b = Conv2D({.filters = 16, .kernel_size = 3, .padding = "same", .activation = "relu"})(a);
  return Model(input, GlobalAveragePooling2D()(b), {.seed = 3, .runtime = &runtime});
}

// 300 picture sizes: beyond what the largest needs there is little.
TEST_P(CacheBounds, PicturesOfManySizes) {
  const bool slow = GetParam() == "reference" || kSanitized;
  const int sizes = slow ? 60 : 300;
  const std::unique_ptr<Runtime> runtime = NewRuntime(GetParam());
  const auto side = [&](int i) { return 20 + (i * 37) % sizes / (slow ? 2 : 1); };
  const int64_t largest_side = 20 + (sizes - 1) / (slow ? 2 : 1);
  Model model = AnySize(*runtime);
  model.PredictOne(UniformTensor({1, largest_side, largest_side, 3}, 1));
  const int64_t largest = runtime->cached_bytes(), resident = ResidentBytes();
  for (int i = 0; i < sizes; ++i) model.PredictOne(UniformTensor({1, side(i), side(i), 3}, 1));
  EXPECT_LT(runtime->cached_bytes(), largest + 5 * kMiB);
  const int64_t grown = ResidentBytes() - resident;
  RecordProperty("grown_bytes", std::to_string(grown));
  std::printf("cached %.1f MiB at the largest, %.1f MiB at the end, resident grown by %.1f MiB\n",
              static_cast<double>(largest) / kMiB, static_cast<double>(runtime->cached_bytes()) / kMiB,
              static_cast<double>(grown) / kMiB);
  if (!kSanitized) {
    EXPECT_LT(grown, 24 * kMiB);
  }
}

TEST_P(CacheBounds, ManyBatchSizes) {
  const int64_t sizes = GetParam() == "reference" || kSanitized ? 40 : 1000;
  const std::unique_ptr<Runtime> runtime = NewRuntime(GetParam());
  const Sequential model = SmallModel({.seed = 3, .runtime = runtime.get()});
  const Tensor x = UniformTensor({sizes, 8, 8, 3}, 1);
  const Tensor right = model.PredictOne(x, {.batch_size = sizes});
  const int64_t largest = runtime->cached_bytes(), resident = ResidentBytes();
  int64_t wrong = 0;
  for (int64_t i = 0; i < sizes; ++i) {
    const int64_t n = 1 + i * 389 % sizes;
    wrong += !BitEqual(model.PredictOne(x.Rows(0, n), {.batch_size = n}), right.Rows(0, n));
  }
  EXPECT_EQ(wrong, 0);
  std::printf("cached %.1f MiB at the largest, %.1f MiB at the end, resident %.1f and %.1f MiB\n",
              static_cast<double>(largest) / kMiB, static_cast<double>(runtime->cached_bytes()) / kMiB,
              static_cast<double>(resident) / kMiB, static_cast<double>(ResidentBytes()) / kMiB);
  EXPECT_LT(runtime->cached_bytes(), largest * 13 / 10 + 5 * kMiB);
  if (!kSanitized) {
    EXPECT_LT(ResidentBytes(), resident * 13 / 10);
  }
}

// Ragged batches run on few programs, with the bits that a program of their size would give.
TEST_P(CacheBounds, RaggedBatchesUseFewPrograms) {
  const std::unique_ptr<Runtime> runtime = NewRuntime(GetParam());
  const Sequential model = SmallModel({.seed = 3, .runtime = runtime.get()});
  const Tensor x = UniformTensor({100, 8, 8, 3}, 1);
  const Tensor right = model.PredictOne(x, {.batch_size = 100});
  for (int64_t n = 1; n <= 100; ++n) {
    EXPECT_TRUE(BitEqual(model.PredictOne(x.Rows(0, n), {.batch_size = 128}), right.Rows(0, n))) << n;
  }
  EXPECT_LE(runtime->cache().size(), 8u + 7u);
  // Taps are of whole batches.
  int64_t rows = 0, readings = 0;
  TapOptions options;
  options.receive = [&](const TapReading& reading) {
    rows += reading.value.shape()[0];
    ++readings;
  };
  model.PredictOne(x.Rows(0, 87), {.batch_size = 128, .taps = {{"dense", options}}});
  EXPECT_EQ(rows, 87);
  EXPECT_EQ(readings, 1);
}

// What a sample is answered may depend on the others of its batch where a user's own part says so.
class AgainstTheMean : public LayerBase {
 public:
  AgainstTheMean() : LayerBase("AgainstTheMean", {}) {}
  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> x) const override {
    return {x[0] - Mean(x[0], {0}, /*keepdims=*/true)};
  }
};

TEST_P(CacheBounds, BatchesOfModelsThatMixSamplesStayWhole) {
  const std::unique_ptr<Runtime> runtime = NewRuntime(GetParam());
  const Activation centred("centred", [](const Value& x) { return x - Mean(x, {0}, true); });
  const SymbolicTensor input = Input({4});
  const ModelOptions options{.seed = 3, .runtime = runtime.get()};
  const Model inner(input, Layer(std::make_shared<AgainstTheMean>())(input), options);
  const SymbolicTensor a = Input({4});
  const std::vector<Model> models{inner, Model(input, Dense({.units = 4, .activation = centred})(input), options),
                                  Model(input, ActivationLayer(centred)(input), options), Model(a, inner(a), options),
                                  Model(input, Softmax({.axis = 0})(input), options)};
  for (const Model& model : models) {
    for (int64_t n = 1; n <= 23; ++n) {
      const Tensor x = UniformTensor({n, 4}, static_cast<uint64_t>(n));
      const Tensor y = model.PredictOne(x, {.batch_size = 32});
      ASSERT_EQ(y.shape(), Shape({n, 4}));
      double mean = 0;
      for (int64_t i = 0; i < n; ++i) mean += y.at<float>({i, 1}) / static_cast<double>(n);
      EXPECT_NEAR(mean, &model == &models.back() ? 1.0 / static_cast<double>(n) : 0, 1e-6) << n;
    }
  }
}

// Which algorithm a convolution takes may depend on the batch: its parts must take the same, or it stays whole.
TEST_P(CacheBounds, PartsTakeTheAlgorithmOfTheWhole) {
  const std::unique_ptr<Runtime> runtime = NewRuntime(GetParam());
  const auto make = [&] {
    return Sequential({Conv2D(64, 3, {.padding = "same", .input_shape = {4, 4, 64}}), Flatten(), Dense(3)},
                      {.seed = 5, .runtime = runtime.get()});
  };
  const Sequential model = make();
  const Tensor x = UniformTensor({23, 4, 4, 64}, 1);
  for (int64_t n = 1; n <= 23; ++n) {
    const Tensor y = model.PredictOne(x.Rows(0, n));
    EXPECT_TRUE(BitEqual(y, make().PredictOne(x.Rows(0, n)))) << n;
  }
}

// The limit is kept to, but for what is in use, and what was dropped is made again with the same bits.
TEST_P(CacheBounds, TheLimitIsKeptTo) {
  const std::unique_ptr<Runtime> runtime = NewRuntime(GetParam(), 0);
  EXPECT_EQ(runtime->cache_limit(), 0);
  const Sequential model = SmallModel({.seed = 3, .runtime = runtime.get()});
  const Tensor x = UniformTensor({40, 8, 8, 3}, 1);
  const Tensor right = model.PredictOne(x, {.batch_size = 40});
  const int64_t one = runtime->cached_bytes();
  for (int64_t n = 1; n <= 40; ++n) {
    EXPECT_TRUE(BitEqual(model.PredictOne(x.Rows(0, n), {.batch_size = n}), right.Rows(0, n))) << n;
    EXPECT_LE(runtime->cache().size(), 2u);
  }
  EXPECT_LE(runtime->cached_bytes(), one * 2);
  runtime->SetCacheLimit(64 * kMiB);
  for (int64_t n = 1; n <= 10; ++n) model.PredictOne(x.Rows(0, n), {.batch_size = n});
  EXPECT_GE(runtime->cache().size(), 8u);
  EXPECT_LE(runtime->cached_bytes(), 64 * kMiB);
  runtime->SetCacheLimit(0);
  EXPECT_EQ(runtime->cache().size(), 0u);
  EXPECT_THROW(runtime->SetCacheLimit(-1), Error);
}

INSTANTIATE_TEST_SUITE_P(Backends, CacheBounds, testing::ValuesIn(BackendNames()),
                         [](const auto& info) { return info.param; });

TEST(CacheLimit, FromTheEnvironment) {
  setenv("WEIR_CACHE_BYTES", "123456789", 1);
  EXPECT_EQ((*MakeRuntime({.backend = "reference"}))->cache_limit(), 123456789);
  EXPECT_EQ((*MakeRuntime({.backend = "reference", .cache_bytes = 5}))->cache_limit(), 5);
  for (const char* text : {"-1", "1g", "x", "1e9"}) {
    setenv("WEIR_CACHE_BYTES", text, 1);
    const auto made = MakeRuntime({.backend = "reference"});
    ASSERT_FALSE(made.ok()) << text;
    EXPECT_EQ(made.status().message(), StrCat("WEIR_CACHE_BYTES=", text, ": expected a number of bytes, 0 or more"));
  }
  unsetenv("WEIR_CACHE_BYTES");
  EXPECT_GT((*MakeRuntime({.backend = "reference"}))->cache_limit(), 16 * kMiB);
  EXPECT_FALSE(MakeRuntime({.backend = "reference", .cache_bytes = -2}).ok());
}

}  // namespace
}  // namespace weir
