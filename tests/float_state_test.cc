// The floating-point state of the calling thread: no result depends on it, and every call leaves it as it was.
#include <gtest/gtest.h>

#include <cfenv>
#include <functional>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "frontend_test_util.h"
#include "weir/frontend/data/dataset.h"
#include "weir/frontend/pictures/image.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

struct HostState {
  std::string name;
  int rounding;
  bool flush;
};

void SetFlush(bool flush) {
#if defined(__x86_64__)
  _mm_setcsr((_mm_getcsr() & ~0x8040u) | (flush ? 0x8040u : 0u));
#else
  (void)flush;
#endif
}

unsigned Control() {
#if defined(__x86_64__)
  return _mm_getcsr() & 0xFFC0u;  // without the exception flags
#else
  return 0;
#endif
}

std::vector<HostState> HostStates() {
  return {{"upward", FE_UPWARD, false},
          {"toward zero", FE_TOWARDZERO, false},
          {"downward, flushing", FE_DOWNWARD, true},
          {"flushing", FE_TONEAREST, true}};
}

// What `body` computes has the same bits in every state, which is the same behind it.
void ExpectIndependent(const std::function<std::vector<Tensor>()>& body) {
  const std::vector<Tensor> right = body();
  for (const HostState& host : HostStates()) {
    std::vector<Tensor> found;
    std::fesetround(host.rounding);
    SetFlush(host.flush);
    const unsigned before = Control();
    found = body();
    const unsigned after = Control();
    const int rounding = std::fegetround();
    std::fesetround(FE_TONEAREST);
    SetFlush(false);
    EXPECT_EQ(before, after) << host.name;
    EXPECT_EQ(rounding, host.rounding) << host.name;
    ASSERT_EQ(found.size(), right.size());
    for (size_t i = 0; i < right.size(); ++i) EXPECT_TRUE(BitEqual(found[i], right[i])) << host.name << ", value " << i;
  }
}

class FloatState : public testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  Runtime& runtime() const { return TestRuntime(std::get<0>(GetParam()), std::get<1>(GetParam())); }
};

TEST_P(FloatState, GraphsAndGradients) {
  const Tensor x = UniformTensor({4, 9, 9, 8}, 1), w = UniformTensor({3, 3, 8, 16}, 2), a = UniformTensor({33, 65}, 3),
               b = UniformTensor({65, 47}, 4);
  Tensor tiny(DType::kFloat32, Shape{64});
  for (size_t i = 0; i < 64; ++i) tiny.data<float>()[i] = 1e-39f * static_cast<float>(i);
  ExpectIndependent([&] {
    const std::shared_ptr<Graph> graph = Graph::Create();
    const Value vx = graph->Data(x), vw = graph->Data(w), va = graph->Data(a), vb = graph->Data(b), vt = graph->Data(tiny);
    const Value y = Conv2D(vx, vw, {.padding = "same"});
    const Value loss = Mean(Square(Sigmoid(y) * 0.1)) + Mean(Exp(MatMul(va, vb) * 0.01));
    std::vector<Value> values{y, loss, MatMul(va, vb), Softmax(va), Sum(va), vt * 2.0, vt + 0.1, Log(va + 1e-3)};
    for (const Value& gradient : Gradients({loss}, {vx, vw, va})) values.push_back(gradient);
    runtime().cache().Clear();  // compiled in that state too
    return runtime().Evaluate(values);
  });
}

TEST_P(FloatState, ModelsFromTheFirstWeightOn) {
  Tensor bytes(DType::kUint8, Shape{6, 8, 8, 3});
  for (size_t i = 0; i < bytes.data<uint8_t>().size(); ++i) bytes.data<uint8_t>()[i] = static_cast<uint8_t>(i * 37);
  const Examples data(bytes, Labels(6, 5));
  ExpectIndependent([&] {
    Sequential model = SmallModel({.seed = 5, .runtime = &runtime()});
    model.Compile({.optimizer = Adam({.learning_rate = ExponentialDecay({.initial_learning_rate = 0.01, .decay_steps = 3, .decay_rate = 0.7})}),
                   .loss = "sparse_categorical_crossentropy",
                   .metrics = "acc"});
    model.Fit(data, {.batch_size = 4, .epochs = 3, .verbose = 0, .scale = 1 / 255.});
    std::vector<Tensor> values = model.Predict(bytes, {.batch_size = 4, .scale = 1 / 255.});
    const Logs logs = model.Evaluate(data, {.scale = 1 / 255.});
    for (const auto& [key, value] : logs) values.push_back(Tensor::Scalar(value));
    for (const Variable& weight : model.weights()) values.push_back(weight.value());
    return values;
  });
}

// What a host does before it asks a model: pictures resized and scaled, a model read.
TEST(FloatStateOfTheHost, FilesAndPictures) {
  const TempFolder folder;
  const Sequential saved({Dense({.units = 3, .input_shape = {4}}), Rescaling(1. / 3, 0.1)}, {.seed = 1});
  ASSERT_TRUE(saved.Save(folder / "m").ok());
  Tensor picture(DType::kUint8, Shape{7, 5, 3});
  for (size_t i = 0; i < picture.data<uint8_t>().size(); ++i) picture.data<uint8_t>()[i] = static_cast<uint8_t>(i * 37);
  Dataset data;
  data.images = picture.Reshaped({1, 7, 5, 3});
  data.labels = Tensor(DType::kInt32, Shape{1});
  const Tensor x = UniformTensor({5, 4}, 1);
  ExpectIndependent([&]() -> std::vector<Tensor> {
    const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
    if (!loaded.ok()) return {};
    return {Resize(picture, 13, 3), data.Scaled(1 / 3.).images, loaded->PredictOne(x)};
  });
}

std::vector<std::tuple<std::string, int>> Runtimes() {
  std::vector<std::tuple<std::string, int>> all;
  for (const std::string& backend : BackendNames()) {
    for (int threads : {1, 2}) all.emplace_back(backend, threads);
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Backends, FloatState, testing::ValuesIn(Runtimes()), [](const auto& info) {
  return std::get<0>(info.param) + "_" + std::to_string(std::get<1>(info.param));
});

}  // namespace
}  // namespace weir
