// The tutorial's model: ten training steps against float64 (PyTorch), on every backend; and the same bits whatever
// the backend and the number of threads.
#include "frontend_test_util.h"
#include "sanitized.h"

namespace weir {
namespace {

struct Stat {
  double sum = 0, l2 = 0, max_abs = 0;
};

Stat StatOf(const Tensor& tensor) {
  Stat stat;
  double squares = 0;
  for (float v : tensor.data<float>()) {
    stat.sum += v;
    squares += static_cast<double>(v) * v;
    stat.max_abs = std::max(stat.max_abs, std::fabs(static_cast<double>(v)));
  }
  stat.l2 = std::sqrt(squares);
  return stat;
}

// l2 within `tolerance` of itself; sum and samples within it of what the l2 and the largest element allow, samples at
// least within `absolute`.
void ExpectStat(const Tensor& tensor, const nlohmann::json& golden, double tolerance, const std::string& what,
                double absolute = 0) {
  SCOPED_TRACE(what);
  const Stat stat = StatOf(tensor);
  const double l2 = golden.at("l2").get<double>(), largest = golden.at("max_abs").get<double>();
  EXPECT_NEAR(stat.l2, l2, tolerance * l2);
  EXPECT_NEAR(stat.max_abs, largest, std::max(absolute, tolerance * largest));
  EXPECT_NEAR(stat.sum, golden.at("sum").get<double>(),
              std::max(absolute, tolerance * l2) * std::sqrt(static_cast<double>(tensor.size())));
  for (const auto& [index, value] : golden.at("at").items()) {
    EXPECT_NEAR(tensor.data<float>()[static_cast<size_t>(std::stoll(index))], value.get<double>(),
                std::max(absolute, tolerance * largest))
        << index;
  }
}

void SetTutorialWeights(const Model& model) {
  uint32_t k = 0;
  for (Variable variable : model.weights()) {
    ++k;
    Tensor value(DType::kFloat32, variable.shape());
    const Shape& s = variable.shape();
    if (s.rank() > 1) {
      int64_t r = 1;
      for (int i = 0; i + 2 < s.rank(); ++i) r *= s[i];
      const double limit = std::sqrt(6.0 / static_cast<double>(s[-2] * r + s[-1] * r));
      const std::vector<double> u = Uniforms(s.size(), k);
      for (size_t i = 0; i < u.size(); ++i) value.data<float>()[i] = static_cast<float>((2 * u[i] - 1) * limit);
    }
    variable.Assign(value);
  }
}

class Tutorial : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Backends, Tutorial, testing::ValuesIn(BackendNames()),
                         [](const auto& info) { return info.param; });

TEST_P(Tutorial, TenStepsAsInFloat64) {
  if (kSanitized && GetParam() == "reference") GTEST_SKIP() << "minutes of arithmetic that the tests of ops run as well";
  const nlohmann::json golden = Golden("tutorial_10_steps.json");
  const Sequential model = TutorialModel({.runtime = &TestRuntime(GetParam(), 2)}, /*dropout=*/false);
  CompileTutorial(model);
  SetTutorialWeights(model);
  std::map<std::string, Tensor> values, gradients;
  const TapReceiver keep = [&](const TapReading& r) { (r.gradient ? gradients : values)[r.path] = r.value; };
  std::vector<TapRequest> taps;
  for (const char* layer : {"conv2d", "conv2d_1", "max_pooling2d", "dense", "dense_1/pre_activation", "dense_1"}) {
    taps.emplace_back(layer, TapOptions{.receive = keep});
    taps.emplace_back(layer, TapOptions{.gradient = true, .receive = keep});
  }
  for (const Variable& variable : model.weights())
    taps.emplace_back(variable.path(), TapOptions{.gradient = true, .receive = keep});
  for (int step = 0; step < 10; ++step) {
    Tensor labels(DType::kInt32, Shape{32});
    for (int j = 0; j < 32; ++j) labels.data<int32_t>()[static_cast<size_t>(j)] = (7 * j + 3 * step + 1) % 10;
    const Examples batch(UniformTensor({32, 32, 32, 3}, static_cast<uint32_t>(100 + step)), labels);
    const Logs logs = model.TrainOnBatch(batch, {.taps = step == 0 ? taps : std::vector<TapRequest>{}});
    const double expected = golden.at("losses").at(static_cast<size_t>(step)).get<double>();
    EXPECT_NEAR(logs["loss"], expected, 1e-5 * expected) << "step " << step;
    RecordProperty(StrCat("loss_error_", step), StrCat((logs["loss"] - expected) / expected));
    EXPECT_NEAR(logs["sparse_categorical_accuracy"], golden.at("accuracy").at(static_cast<size_t>(step)).get<double>(),
                1e-6);
  }
  const auto path = [](const std::string& name) {
    return "sequential/" + (name == "logits" ? std::string("dense_1/pre_activation") : name + "/output");
  };
  for (const auto& [name, stat] : golden.at("step0_outputs").items())
    ExpectStat(values.at(path(name)), stat, 1e-5, name);
  for (const auto& [name, stat] : golden.at("step0_activation_gradients").items()) {
    ExpectStat(gradients.at(path(name)), stat, 3e-5, "gradient of " + name);
  }
  for (const auto& [name, stat] : golden.at("step0_gradients").items()) {
    ExpectStat(gradients.at("sequential/" + name), stat, 3e-5, "gradient of " + name);
  }
  for (const Variable& variable : model.weights()) {
    // Adam divides a small gradient by its own size, so a single weight may part by a share of a step (1e-3).
    const double tolerance = variable.shape().rank() > 1 ? 1e-5 : 1e-3;
    ExpectStat(variable.value(), golden.at("final_weights").at(variable.path()), tolerance, variable.path(), 1e-4);
  }
}

TEST(TutorialBits, EqualForAllThreadsAndBackends) {
  const Tensor x = UniformTensor({7, 32, 32, 3}, 3), y = Labels(7, 10);
  std::unique_ptr<Sequential> first;
  const auto train = [&](const std::string& backend, int threads) {
    const Sequential model = TutorialModel({.seed = 5, .runtime = &TestRuntime(backend, threads)});
    CompileTutorial(model);
    model.Fit(x, y, {.batch_size = 4, .epochs = 2, .verbose = 0});
    if (first == nullptr) {
      first = std::make_unique<Sequential>(model);
      return;
    }
    EXPECT_TRUE(SameWeights(*first, model)) << backend << " " << threads;
    EXPECT_TRUE(BitEqual(first->PredictOne(x), model.PredictOne(x))) << backend << " " << threads;
  };
  for (const std::string& backend : BackendNames()) {
    for (int threads : {1, 2, 3, 8}) {
      if (backend != "reference" || threads == 2) train(backend, threads);
    }
  }
  train("highway", 1);  // a second run of the same
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// The training step compiled and evicted again and again: code and tables go with the plan. All but the first rounds
// are linked from the object cache, as they would be in a program that meets many shapes.
TEST(Tutorial, EvictedTrainingStepsGiveTheirMemoryBack) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer keeps freed memory";
  for (const std::string& backend : BackendNames()) {
    const TempFolder folder;
    auto made = MakeRuntime({.backend = backend, .threads = 2, .jit_cache = folder.path()});
    ASSERT_TRUE(made.ok()) << made.status().message();
    Runtime& runtime = **made;
    const Sequential model = TutorialModel({.seed = 1, .runtime = &runtime});
    CompileTutorial(model);
    model.TrainOnBatch({UniformTensor({2, 32, 32, 3}, 1), Labels(2, 10)});
    const Program program = runtime.cache().Executables().front()->plan().program;
    const auto graph = std::const_pointer_cast<Graph>(program.graph);
    std::vector<Value> inputs, roots;
    for (Ref ref : program.inputs) inputs.push_back({graph, ref});
    for (Ref ref : program.roots) roots.push_back({graph, ref});
    int64_t start = 0;
    for (int round = 0; round < 210; ++round) {
      runtime.cache().Clear();
      ASSERT_TRUE(runtime.Compile(inputs, roots).ok());
      if (round == 9) start = ResidentBytes();
    }
    EXPECT_LT(ResidentBytes(), start + start / 10) << backend;
  }
}

}  // namespace
}  // namespace weir
