// Losses and metrics whatever the batch size, labels that are none, the algorithm of a model's convolutions, and bytes.
#include "frontend_test_util.h"
#include "weir/frontend/layers/conv.h"
#include "weir/frontend/parts/losses.h"
#include "weir/frontend/parts/metrics.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

float ElementOf(const Tensor& tensor, size_t index) { return tensor.data<float>()[index]; }

std::vector<std::string> Backends() {
  std::vector<std::string> names = {"reference", "highway"};
#ifdef WEIR_HAS_LLVM
  names.push_back("llvm");
#endif
  return names;
}

// A model that gives its input, with a penalty on its weight (1 0; 0 1) if asked for.
Sequential IdentityModel(int64_t width, const std::string& backend, double l2 = 0) {
  Sequential model({Dense({.units = width,
                           .use_bias = false,
                           .kernel_initializer = "identity",
                           .kernel_regularizer = l2 > 0 ? L2(l2) : Regularizer(),
                           .input_shape = {width}})},
                   {.runtime = &TestRuntime(backend, 1)});
  return model;
}

class BatchSizes : public testing::TestWithParam<std::string> {
 protected:
  // Evaluate in batches of 1 to 4 gives `expected` for each of the keys.
  void Check(Sequential& model, const Examples& data, const std::map<std::string, double>& expected, const std::string& what) {
    for (const int64_t batch : {4, 3, 2, 1}) {
      const Logs logs = model.Evaluate(data, {.batch_size = batch, .verbose = 0});
      for (const auto& [key, value] : expected) {
        EXPECT_NEAR(logs[key], value, 2e-6 * std::max(1.0, std::abs(value)))
            << what << ": " << key << ", batches of " << batch << " on " << GetParam();
      }
    }
  }
};

TEST_P(BatchSizes, IgnoredClassesCountNowhere) {
  const Tensor x = Tensor::Of<float>({4, 2}, {0, 1, 0, 0, 2, 0, 3, 0});
  const Tensor y = Tensor::Of<int32_t>({4}, {0, -1, 1, 1}), none = Tensor::Of<int32_t>({4}, {-1, -1, -1, -1});
  for (const double l2 : {0.0, 0.25}) {
    Sequential model = IdentityModel(2, GetParam(), l2);
    const Loss loss = SparseCategoricalCrossEntropy({.from_logits = true, .ignore_class = -1});
    model.Compile({.optimizer = "sgd", .loss = loss, .metrics = {Metric(loss).Named("same")}});
    Check(model, {x, y}, {{"loss", 2.1629257 + 2 * l2}, {"same", 2.1629257}}, "mask");
    Check(model, {x, none}, {{"loss", 2 * l2}, {"same", 0}}, "all masked");
  }
}

TEST_P(BatchSizes, EveryReductionWithAndWithoutWeights) {
  const Tensor x = Tensor::Of<float>({4, 1}, {1, 2, 3, 4}), y = Tensor::Of<float>({4, 1}, {1, 4, 5, 8});
  const Tensor weights = Tensor::Of<float>({4}, {0.1f, 0, 0.1f, 0.3f});
  // Squared errors 0, 4, 4, 16.
  const std::tuple<std::string, double, double> reductions[] = {{"sum_over_batch_size", 6, 1.3},
                                                                {"sum", 24, 5.2},
                                                                {"mean_with_sample_weight", 6, 10.4},
                                                                {"none", 6, 1.3}};
  for (const auto& [reduction, plain, weighted] : reductions) {
    Sequential model = IdentityModel(1, GetParam());
    model.Compile({.optimizer = "sgd",
                   .loss = MeanSquaredError({.reduction = reduction}),
                   .metrics = {"mae"},
                   .weighted_metrics = {"mse"}});
    Check(model, {x, y}, {{"loss", plain}, {"mae", 2}, {"mse", 6}}, reduction);
    Check(model, Examples(x, y, weights), {{"loss", weighted}, {"mae", 2}, {"mse", 10.4}}, reduction + ", weighted");
  }
}

TEST_P(BatchSizes, EveryLossAndMetricByName) {
  const Tensor x = Tensor::Of<float>({4, 2}, {0.2f, 0.7f, 0.5f, 0.4f, 0.9f, 0.3f, 0.6f, 0.8f});
  const Tensor y = Tensor::Of<float>({4, 2}, {0, 1, 1, 0, 1, 0, 0, 1});
  for (const char* name :
       {"binary_crossentropy", "categorical_crossentropy", "categorical_hinge", "cosine_similarity", "hinge", "huber",
        "kl_divergence", "log_cosh", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error",
        "mean_squared_logarithmic_error", "poisson", "squared_hinge"}) {
    Sequential model = IdentityModel(2, GetParam());
    model.Compile({.optimizer = "sgd", .loss = name, .metrics = {name, "accuracy", "binary_accuracy"}});
    const Logs whole = model.Evaluate({x, y}, {.batch_size = 4, .verbose = 0});
    std::map<std::string, double> expected;
    for (const auto& [key, value] : whole.entries()) expected[key] = value;
    Check(model, {x, y}, expected, name);
  }
}

// Samples that count, and how much, in every reduction: by the formulas in double precision.
TEST_P(BatchSizes, MasksBesideWeightsInEveryReduction) {
  const std::vector<float> logits = {0, 1, 0.5f, 0, 2, 0, 3, 1};
  const std::vector<int32_t> labels = {0, -1, 1, 1};
  const std::vector<float> weights = {0.5f, 4, 2, 0.25f};
  double sum = 0, valid = 0, weight = 0;
  std::vector<float> probabilities;
  for (size_t i = 0; i < 4; ++i) {
    const double a = std::exp(double{logits[2 * i]}), b = std::exp(double{logits[2 * i + 1]});
    for (const double part : {a, b}) probabilities.push_back(static_cast<float>(part / (a + b)));
    if (labels[i] < 0) continue;
    sum -= weights[i] * std::log((labels[i] == 0 ? a : b) / (a + b));
    weight += double{weights[i]};
    ++valid;
  }
  const std::pair<std::string, double> reductions[] = {
      {"sum_over_batch_size", sum / valid}, {"sum", sum}, {"mean_with_sample_weight", sum / weight}};
  for (const bool from_logits : {true, false}) {
    for (const auto& [reduction, expected] : reductions) {
      Sequential model = IdentityModel(2, GetParam());
      model.Compile({.optimizer = "sgd",
                     .loss = SparseCategoricalCrossEntropy(
                         {.from_logits = from_logits, .ignore_class = -1, .reduction = reduction})});
      const Tensor x = Tensor::Of<float>({4, 2}, from_logits ? logits : probabilities);
      Check(model, Examples(x, Tensor::Of<int32_t>({4}, labels), Tensor::Of<float>({4}, weights)), {{"loss", expected}},
            reduction + (from_logits ? ", logits" : ", probabilities"));
    }
  }
}

TEST_P(BatchSizes, ClassMetrics) {
  const Tensor x = Tensor::Of<float>({4, 3}, {0.2f, 0.7f, 0.1f, 0.5f, 0.4f, 0.1f, 0.3f, 0.3f, 0.4f, 0.3f, 0.6f, 0.1f});
  const Tensor classes = Tensor::Of<int32_t>({4}, {1, 1, 0, 2});
  const Tensor hot = Tensor::Of<float>({4, 3}, {0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1});
  const Tensor weights = Tensor::Of<float>({4}, {1, 2, 4, 1});
  for (const bool sparse : {true, false}) {
    const std::string prefix = sparse ? "sparse_" : "";
    const Metric top = sparse ? SparseTopKCategoricalAccuracy({.k = 2}) : TopKCategoricalAccuracy({.k = 2});
    Sequential model = IdentityModel(3, GetParam());
    model.Compile({.optimizer = "sgd",
                   .loss = Loss(prefix + "categorical_crossentropy"),
                   .metrics = {"accuracy", top.Named("top2")},
                   .weighted_metrics = {Metric(prefix + "categorical_accuracy").Named("weighted"),
                                        top.Named("weighted_top2")}});
    // The first sample alone is right, the first three (ties count) are among two.
    Check(model, Examples(x, sparse ? classes : hot, weights),
          {{"accuracy", 0.25}, {"top2", 0.75}, {"weighted", 1 / 8.0}, {"weighted_top2", 7 / 8.0}}, prefix + "metrics");
  }
}

TEST_P(BatchSizes, SeveralOutputs) {
  const SymbolicTensor in = Input({1});
  const SymbolicTensor a = Dense({.units = 1, .use_bias = false, .kernel_initializer = Constant(1), .name = "a"})(in);
  const SymbolicTensor b = Dense({.units = 1, .use_bias = false, .kernel_initializer = Constant(2), .name = "b"})(in);
  Model model(in, {a, b}, {.runtime = &TestRuntime(GetParam(), 1)});
  model.Compile({.optimizer = "sgd",
                 .loss = {{"a", "mse"}, {"b", MeanAbsoluteError({.reduction = "sum"})}},
                 .metrics = std::vector<OutputMetrics::Named>{{"a", MetricList("mae")}, {"b", MetricList("mse")}}});
  const Tensor x = Tensor::Of<float>({4, 1}, {1, 2, 3, 4}), y = Tensor::Of<float>({4, 1}, {1, 4, 5, 8});
  Examples data(std::vector<Tensor>{x}, std::vector<Tensor>{y, y});
  for (const int64_t batch : {4, 3, 2, 1}) {
    const Logs logs = model.Evaluate(data, {.batch_size = batch, .verbose = 0});
    // Errors 0, -2, -2, -4 of a; 1, 0, 1, 0 of b.
    EXPECT_NEAR(logs["a_loss"], 6, 1e-5) << batch;
    EXPECT_NEAR(logs["b_loss"], 2, 1e-5) << batch;
    EXPECT_NEAR(logs["loss"], 8, 1e-5) << batch;
    EXPECT_NEAR(logs["a_mae"], 2, 1e-5) << batch;
    EXPECT_NEAR(logs["b_mse"], 0.5, 1e-5) << batch;
  }
}

TEST_P(BatchSizes, TrainingSaysTheSame) {
  const Tensor x = Tensor::Of<float>({4, 2}, {0, 1, 0, 0, 2, 0, 3, 0}), y = Tensor::Of<int32_t>({4}, {0, -1, 1, 1});
  for (const int64_t batch : {4, 3, 2, 1}) {
    Sequential model = IdentityModel(2, GetParam());
    model.Compile({.optimizer = SGD({.learning_rate = 0.0}),
                   .loss = SparseCategoricalCrossEntropy({.from_logits = true, .ignore_class = -1})});
    const History history = model.Fit({x, y}, {.batch_size = batch, .epochs = 1, .verbose = 0});
    EXPECT_NEAR(history["loss"][0], 2.1629257, 1e-5) << batch;
  }
}

TEST_P(BatchSizes, LabelsThatAreNoClassFailTheRun) {
  for (const float bad : {0.5f, std::nanf(""), -0.25f, INFINITY}) {
    Sequential model = IdentityModel(2, GetParam());
    model.Compile({.optimizer = "sgd", .loss = SparseCategoricalCrossEntropy({.from_logits = true})});
    const Tensor x = Tensor::Of<float>({2, 2}, {0, 1, 1, 0}), y = Tensor::Of<float>({2}, {1, bad});
    const std::string message = MessageOf([&] { model.Evaluate({x, y}, {.verbose = 0}); });
    EXPECT_NE(message.find("label"), std::string::npos) << message;
    EXPECT_NE(message.find("at row 1"), std::string::npos) << message;
  }
}

INSTANTIATE_TEST_SUITE_P(All, BatchSizes, testing::ValuesIn(Backends()), [](const auto& info) { return info.param; });

TEST(Messages, NameTheFormThatTheLabelsNeed) {
  const auto graph = Graph::Create();
  const Value p = graph->Data(Tensor::Of<float>({2, 3}, {1, 0, 0, 0, 1, 0}));
  const Value numbers = graph->Data(Tensor::Of<int32_t>({2}, {0, 1})), hot = p;
  const std::tuple<Metric, Value, std::string> metrics[] = {
      {CategoricalAccuracy(), numbers, "(sparse_categorical_accuracy)"},
      {TopKCategoricalAccuracy({.k = 2}), numbers, "(sparse_top_k_categorical_accuracy)"},
      {SparseCategoricalAccuracy(), hot, "(categorical_accuracy)"},
      {SparseTopKCategoricalAccuracy({.k = 2}), hot, "(top_k_categorical_accuracy)"},
      {Metric("categorical_crossentropy"), numbers, "(sparse_categorical_crossentropy)"}};
  for (const auto& [metric, labels, form] : metrics) {
    const std::string message = MessageOf([&, m = metric, l = labels] { m.PerSample(l, p); });
    EXPECT_NE(message.find(form), std::string::npos) << message;
  }
}

TEST(ConvAlgorithms, AreSetForAWholeModelAndSaved) {
  const auto convolution = [] {
    return Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .kernel_initializer = "ones",
                   .input_shape = {16, 16, 32}});
  };
  const Sequential inner({convolution()});
  Sequential model({inner, convolution()}, {.runtime = &TestRuntime("reference", 1)});
  Tensor x = Tensor::Full(DType::kFloat32, {1, 16, 16, 32}, 1);
  x.data<float>()[0] = std::numeric_limits<float>::infinity();
  const auto spoilt = [&](const Model& m) {
    int64_t count = 0;
    const Tensor y = m.PredictOne(x);
    for (const float value : y.data<float>()) count += std::isfinite(value) ? 0 : 1;
    return count;
  };
  const int64_t direct = 3 * 3 * 32;  // two windows of 3x3 from the corner
  EXPECT_GT(spoilt(model), direct) << "Winograd's algorithm spreads an infinity";
  EXPECT_EQ(SetConvAlgorithm(model, ConvAlgorithm::kDirect), 2);
  EXPECT_EQ(spoilt(model), direct);
  const TempFolder folder;
  ASSERT_TRUE(model.Save(folder.path() + "/m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder.path() + "/m", {.runtime = &TestRuntime("reference", 1)});
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(spoilt(*loaded), direct);
  EXPECT_EQ(SetConvAlgorithm(*loaded, ConvAlgorithm::kAuto), 2);
  EXPECT_GT(spoilt(*loaded), direct);
  EXPECT_THROW(SetConvAlgorithm(model, ConvAlgorithm::kWinograd), Error);
}

// What docs/numbers.md says of Winograd's algorithm.
TEST(ConvAlgorithms, WinogradsRangeIsAsDocumented) {
  for (const std::string& backend : Backends()) {
    Sequential model({Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .kernel_initializer = "ones",
                              .input_shape = {16, 16, 32}})},
                     {.runtime = &TestRuntime(backend, 1)});
    const auto run = [&](float all, float pixel, ConvAlgorithm algorithm) {
      SetConvAlgorithm(model, algorithm);
      Tensor x = Tensor::Full(DType::kFloat32, {1, 16, 16, 32}, all);
      x.data<float>()[0] = pixel;
      return model.Predict({x})[0];
    };
    const size_t beside = 2 * 16 * 32;  // pixel (2, 0), whose window holds 6 pixels
    EXPECT_EQ(ElementOf(run(1, 1e8f, ConvAlgorithm::kDirect), beside), 192) << backend;
    EXPECT_NEAR(ElementOf(run(1, 1e8f, ConvAlgorithm::kAuto), beside), 192, 1000) << backend;
    EXPECT_EQ(ElementOf(run(1, INFINITY, ConvAlgorithm::kDirect), beside), 192) << backend;
    EXPECT_FALSE(std::isfinite(ElementOf(run(1, INFINITY, ConvAlgorithm::kAuto), beside))) << backend;
    model.layer(0).kernel().Assign(Tensor::Full(DType::kFloat32, {3, 3, 32, 32}, 1e-10));
    const size_t inside = (5 * 16 + 5) * 32;
    EXPECT_NEAR(ElementOf(run(1e38f, 1e38f, ConvAlgorithm::kDirect), inside) / 2.88e30f, 1, 1e-5) << backend;
    EXPECT_NEAR(ElementOf(run(2e37f, 2e37f, ConvAlgorithm::kAuto), inside) / 5.76e29f, 1, 1e-5) << backend;
  }
}

TEST(Messages, AnUndefinedValueIsNoZero) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({DType::kFloat32, {2}}), none;
  const std::function<void()> calls[] = {
      [&] { x + none; },           [&] { none - x; },          [&] { x* none; },
      [&] { Maximum(x, none); },   [&] { Less(none, x); },     [&] { Where(Greater(x, 0), x, none); },
      [&] { Assign(x, none); },    [&] { Pow(x, none); },      [&] { Where(Greater(x, 0), 1, none); },
      [&] { SigmoidCrossEntropy(x, none); }};
  for (const auto& call : calls) {
    EXPECT_NE(MessageOf(call).find("undefined Value"), std::string::npos) << MessageOf(call);
  }
}

TEST(Bytes, DoNotWrap) {
  const auto graph = Graph::Create();
  const Value a = graph->Data(Tensor::Of<uint8_t>({3}, {200, 10, 0})), b = graph->Data(Tensor::Of<uint8_t>({3}, {100, 20, 1}));
  const auto ints = [](const Value& value) {
    EXPECT_EQ(value.dtype(), DType::kInt32);
    const Tensor result = Evaluate({value})[0];
    return std::vector<int32_t>(result.data<int32_t>().begin(), result.data<int32_t>().end());
  };
  using List = std::vector<int32_t>;
  EXPECT_EQ(ints(a + b), (List{300, 30, 1}));
  EXPECT_EQ(ints(a - b), (List{100, -10, -1}));
  EXPECT_EQ(ints(a * b), (List{20000, 200, 0}));
  EXPECT_EQ(ints(-a), (List{-200, -10, 0}));
  EXPECT_EQ(ints(Square(a)), (List{40000, 100, 0}));
  EXPECT_EQ(ints(a + 100), (List{300, 110, 100}));
  EXPECT_EQ(ints(a - 300), (List{-100, -290, -300}));
  EXPECT_EQ((a * 0.5).dtype(), DType::kFloat32);
  EXPECT_EQ(Maximum(a, b).dtype(), DType::kUint8);
  EXPECT_EQ(Evaluate({Cast(a + b, DType::kUint8)})[0].data<uint8_t>()[0], 44);
}

}  // namespace
}  // namespace weir
