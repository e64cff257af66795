// Losses and metrics against values computed by Keras, and against the cases that other libraries got wrong.
#include <map>

#include "parts_test_util.h"
#include "weir/frontend/parts/losses.h"
#include "weir/frontend/parts/metrics.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

using nlohmann::json;

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

Tensor IntVector(const std::vector<int32_t>& values) {
  return Tensor::Of<int32_t>(Shape{static_cast<int64_t>(values.size())}, values);
}

class GoldenLosses : public testing::Test {
 protected:
  GoldenLosses() {
    for (const json& one : golden_.at("cases")) cases_[one.at("id")] = one;
  }

  // Values, mean, weighted mean and, if there is one, the gradient of the mean with respect to `x`.
  void Check(const std::string& id, const Loss& loss, const Value& y_true, const Value& y_pred, const Value& x,
             const std::optional<Logits>& logits = std::nullopt) {
    const json& own = cases_.at(id);
    const json& keras = golden_.at("keras3").at("losses");
    const Value weight = graph_->Data(Vector(golden_.at("sample_weight").get<std::vector<float>>()));
    const Value mean = loss(y_true, y_pred, logits);
    const std::vector<Value> gradient = Gradients({mean}, {x});
    const std::vector<Tensor> got =
        Evaluate({loss.PerSample(y_true, y_pred, logits), mean, loss(y_true, y_pred, logits, weight), gradient[0]});
    const bool from_keras = keras.contains(id);
    const json& expected = from_keras ? keras.at(id) : own;
    ExpectNear(got[0], expected.at("per_sample").get<std::vector<float>>(), 1e-6, id);
    ExpectNear(got[1], {expected.at("mean").get<float>()}, 1e-6, id + " mean");
    ExpectNear(got[2], {expected.at(from_keras ? "weighted" : "weighted_mean_over_batch_size").get<float>()}, 1e-6,
               id + " weighted");
    for (const char* key : {"grad", "grad_wrt_z_of_mean", "grad_wrt_p_of_mean"}) {
      if (expected.contains(key)) ExpectNear(got[3], Floats(GoldenTensor(expected.at(key))), 5e-6, id + " gradient");
    }
  }

  json golden_ = Golden("losses.json");
  std::map<std::string, json> cases_;
  std::shared_ptr<Graph> graph_ = Graph::Create();
  Value z_ = graph_->Data(GoldenTensor(golden_.at("z")));
  Value labels_ = graph_->Data(IntVector(golden_.at("y").get<std::vector<int32_t>>()));
  Value sigmoids_ = graph_->Data(GoldenTensor(golden_.at("sigmoid")));
  Value softmaxes_ = graph_->Data(GoldenTensor(golden_.at("softmax")));
};

TEST_F(GoldenLosses, SparseCategoricalCrossEntropyOnAllPaths) {
  const Loss loss = "sparse_categorical_crossentropy";
  const Loss other = SparseCategoricalCrossEntropy({.engine = "torch"});
  for (const Value& p : {Sigmoid(z_), Softmax(z_)}) {
    Check("scce_logit_path_sigmoid", loss, labels_, p, z_, FindLogits(p));
  }
  // Other engines don't look for logits.
  const Value p = Sigmoid(z_);
  Check("scce_prob_path_sigmoid", other, labels_, p, z_, FindLogits(p));
  Check("scce_prob_path_softmax", other, labels_, softmaxes_, softmaxes_);
  Check("scce_tf_prob_path_sigmoid", loss, labels_, sigmoids_, sigmoids_);
  Check("scce_from_logits", SparseCategoricalCrossEntropy({.from_logits = true}), labels_, z_, z_);
}

TEST_F(GoldenLosses, OthersEqualKeras) {
  const Value one_hot = OneHot(labels_, 5);
  Check("cce_label_smoothing_0.1_softmax", CategoricalCrossEntropy({.label_smoothing = 0.1}), one_hot, softmaxes_,
        softmaxes_);
  const std::pair<std::string, Loss> losses[] = {
      {"binary_crossentropy", "binary_crossentropy"}, {"mse", "mse"}, {"mae", "mae"}, {"huber_delta1", Huber()}};
  for (const auto& [id, loss] : losses) {
    const Value y_true = graph_->Data(GoldenTensor(cases_.at(id).at("y_true")));
    const Value y_pred = graph_->Data(GoldenTensor(cases_.at(id).at("y_pred")));
    Check(id, loss, y_true, y_pred, y_pred);
  }
}

TEST(Losses, LogitsAreFoundOnlyUnderTheLastOp) {
  const auto graph = Graph::Create();
  const Value z = graph->Data(Vector({1, 2, 3}));
  EXPECT_EQ(FindLogits(Sigmoid(z))->activation, Logits::kSigmoid);
  EXPECT_EQ(FindLogits(Softmax(z))->activation, Logits::kSoftmax);
  EXPECT_EQ(FindLogits(Softmax(z))->value.ref, z.ref);
  EXPECT_FALSE(FindLogits(Softmax(z) * 0.5).has_value());
  EXPECT_FALSE(FindLogits(Tanh(z)).has_value());
  EXPECT_FALSE(FindLogits(z).has_value());
}

TEST(Losses, CertainProbabilitiesAreFinite) {
  const auto graph = Graph::Create();
  const Value p = graph->Data(Tensor::Of<float>({2, 3}, {0, 1, 0, 1, 0, 0}));
  const Value labels = graph->Data(IntVector({0, 0}));
  for (const char* engine : {"tensorflow", "torch"}) {
    const Loss loss = SparseCategoricalCrossEntropy({.engine = engine});
    const Value values = loss.PerSample(labels, p);
    const std::vector<Tensor> got = Evaluate({values, Gradients({values}, {p})[0]});
    // The clipped probabilities' sum is 1 + 1e-7 or so, one unit in the last place.
    ExpectNear(got[0], {16.118095f, 1.19e-7f}, 1e-6, engine);
    for (const float gradient : Floats(got[1])) EXPECT_TRUE(std::isfinite(gradient)) << engine;
  }
}

TEST(Losses, LargeLogitsKeepTheirDifference) {
  const auto graph = Graph::Create();
  const Value z = graph->Data(Tensor::Of<float>({1, 3}, {14.4f, 50.1f, 3.5f}));
  const Value label = graph->Data(IntVector({0}));
  const Loss loss = "sparse_categorical_crossentropy";
  const Value p = Softmax(z);
  const Value huge = graph->Data(Tensor::Of<float>({1, 2}, {1e8f, 1e8f}));
  const std::vector<Tensor> got =
      Evaluate({SparseCategoricalCrossEntropy({.from_logits = true}).PerSample(label, z),
                loss.PerSample(label, p, FindLogits(p)), loss.PerSample(label, p),
                SparseCategoricalCrossEntropy({.from_logits = true}).PerSample(graph->Data(IntVector({1})), huge)});
  ExpectNear(got[0], {35.7f}, 1e-5, "from logits");
  ExpectNear(got[1], {35.7f}, 1e-5, "softmax before the loss");
  ExpectNear(got[2], {16.118096f}, 1e-6, "probabilities");
  ExpectNear(got[3], {0.6931472f}, 1e-6, "huge logits");
}

TEST(Losses, LabelsOutsideTheClassesFailOnEveryPath) {
  for (const int32_t bad : {2, -1}) {
    const auto graph = Graph::Create();
    const Value labels = graph->Data(IntVector({1, bad, 0}));
    const Value z = graph->Data(Tensor::Of<float>({3, 2}, {.1f, .2f, .3f, .4f, .5f, .6f}));
    const Value p = Softmax(z);
    const Value paths[] = {
        SparseCategoricalCrossEntropy().PerSample(labels, p, FindLogits(p)),
        SparseCategoricalCrossEntropy().PerSample(labels, p),
        SparseCategoricalCrossEntropy({.from_logits = true}).PerSample(labels, z),
        SparseCategoricalCrossEntropy({.engine = "torch"}).PerSample(labels, p),
    };
    for (const Value& path : paths) {
      const std::string message = MessageOf([&] { Evaluate(path); });
      EXPECT_TRUE(Contains(message, StrCat(bad)) && Contains(message, "[0, 2)")) << message;
    }
  }
}

TEST(Losses, LabelsOfAnyTypeAndColumn) {
  const auto graph = Graph::Create();
  const Value z = graph->Data(Tensor::Of<float>({2, 3}, {1, 2, 3, 3, 1, 2}));
  const Loss loss = SparseCategoricalCrossEntropy({.from_logits = true});
  const Tensor expected = Evaluate(loss.PerSample(graph->Data(IntVector({2, 0})), z));
  for (const DType dtype : {DType::kUint8, DType::kInt32, DType::kInt64, DType::kFloat32}) {
    const Tensor labels = IntVector({2, 0}).Cast(dtype);
    for (const Tensor& shaped : {labels, labels.Reshaped({2, 1})}) {
      EXPECT_TRUE(BitEqual(Evaluate(loss.PerSample(graph->Data(shaped), z)), expected)) << shaped.type();
    }
  }
}

TEST(Losses, TheOtherKindOfLabelsGetsAHint) {
  const auto graph = Graph::Create();
  const Value p = Softmax(graph->Data(Tensor(DType::kFloat32, {4, 5})));
  const Value one_hot = graph->Data(Tensor(DType::kFloat32, {4, 5}));
  const Value numbers = graph->Data(Tensor(DType::kInt32, {4, 1}));
  const Value wrong = graph->Data(Tensor(DType::kInt32, {3}));
  const Loss sparse = "sparse_categorical_crossentropy", categorical = "categorical_crossentropy";
  EXPECT_TRUE(Contains(MessageOf([&] { sparse(one_hot, p); }), "categorical_crossentropy"));
  EXPECT_TRUE(Contains(MessageOf([&] { categorical(numbers, p); }), "sparse_categorical_crossentropy"));
  const std::string message = MessageOf([&] { sparse(wrong, p); });
  EXPECT_TRUE(Contains(message, "i32[3]") && Contains(message, "f32[4,5]")) << message;
  EXPECT_TRUE(Contains(MessageOf([&] { Loss("mse")(numbers, p); }), "expected the predictions' shape"));
}

TEST(Losses, IgnoredClassCountsNowhere) {
  const auto graph = Graph::Create();
  const Value z = graph->Data(Tensor::Of<float>({3, 2}, {1, 2, 5, 0, 0, 3}));
  const Loss loss = SparseCategoricalCrossEntropy({.from_logits = true, .ignore_class = -1});
  const Value with = graph->Data(IntVector({0, -1, 1}));
  const Loss plain = SparseCategoricalCrossEntropy({.from_logits = true});
  const Value kept = graph->Data(Tensor::Of<float>({2, 2}, {1, 2, 0, 3}));
  const std::vector<Tensor> got =
      Evaluate({loss.PerSample(with, z), loss(with, z), plain(graph->Data(IntVector({0, 1})), kept)});
  EXPECT_EQ(got[0].at<float>({1}), 0);
  EXPECT_FLOAT_EQ(got[1].item<float>(), got[2].item<float>());
}

TEST(Losses, Reductions) {
  const auto graph = Graph::Create();
  const Value y = graph->Data(Tensor::Of<float>({3, 1}, {0, 0, 0}));
  const Value p = graph->Data(Tensor::Of<float>({3, 1}, {1, 2, 3}));
  const Value w = graph->Data(Vector({1, 0, 3}));
  const auto run = [&](const char* reduction, const Value& weight) {
    return Floats(Evaluate(MeanSquaredError({.reduction = reduction})(y, p, std::nullopt, weight)));
  };
  EXPECT_EQ(run("sum", {}), (std::vector<float>{14}));
  EXPECT_EQ(run("none", w), (std::vector<float>{1, 0, 27}));
  EXPECT_FLOAT_EQ(run("sum_over_batch_size", w)[0], 28.0f / 3);
  EXPECT_FLOAT_EQ(run("mean_with_sample_weight", w)[0], 28.0f / 4);
  EXPECT_FLOAT_EQ(run("mean", {})[0], 14.0f / 3);
  EXPECT_TRUE(Contains(MessageOf([] { MeanSquaredError({.reduction = "summ"}); }), "did you mean 'sum'"));
}

TEST(Losses, FormulasInFloat64) {
  const std::vector<float> y = {0.2f, 0.5f, 0.3f}, p = {0.1f, 0.7f, 0.4f};
  double mape = 0, msle = 0, log_cosh = 0, hinge = 0, kl = 0, poisson = 0, dot = 0, yy = 0, pp = 0;
  for (size_t i = 0; i < 3; ++i) {
    const double a = y[i], b = p[i];
    mape += 100 * std::abs(a - b) / a / 3;
    msle += std::pow(std::log1p(a) - std::log1p(b), 2) / 3;
    log_cosh += std::log(std::cosh(b - a)) / 3;
    hinge += std::max(0.0, 1 - a * b) / 3;
    kl += a * std::log(a / b);
    poisson += (b - a * std::log(b)) / 3;
    dot += a * b, yy += a * a, pp += b * b;
  }
  const std::pair<const char*, double> expected[] = {{"mape", mape},
                                                     {"msle", msle},
                                                     {"log_cosh", log_cosh},
                                                     {"hinge", hinge},
                                                     {"kl_divergence", kl},
                                                     {"poisson", poisson},
                                                     {"cosine_similarity", -dot / std::sqrt(yy * pp)}};
  const auto graph = Graph::Create();
  const Value y_true = graph->Data(Tensor::Of<float>({1, 3}, y)), y_pred = graph->Data(Tensor::Of<float>({1, 3}, p));
  for (const auto& [name, value] : expected) {
    ExpectNear(Evaluate(Loss(name).PerSample(y_true, y_pred)), {static_cast<float>(value)}, 1e-6, name);
  }
  // Labels 0 and 1 are -1 and 1 to the hinge.
  const Value binary = graph->Data(Tensor::Of<float>({1, 3}, {0, 1, 1}));
  ExpectNear(Evaluate(Loss("hinge").PerSample(binary, y_pred)), {(1.1f + 0.3f + 0.6f) / 3}, 1e-6, "hinge");
  // A row of zeros has no direction: cosine 0, and a finite gradient.
  const Value zeros = graph->Data(Tensor(DType::kFloat32, {1, 3}));
  const Value cosine = Loss("cosine_similarity").PerSample(y_true, zeros);
  for (const float gradient : Floats(Evaluate(Gradients({cosine}, {zeros})[0]))) EXPECT_TRUE(std::isfinite(gradient));
}

TEST(Losses, NamesAndFiles) {
  EXPECT_TRUE(Contains(MessageOf([] { Loss("sparse_categorical_crossentropi"); }),
                       "did you mean 'sparse_categorical_crossentropy'"));
  EXPECT_EQ(Loss("mse").ToJson(), "mse");
  EXPECT_EQ(Loss("mse").name(), "mse");
  EXPECT_EQ(MeanSquaredError().name(), "mean_squared_error");
  EXPECT_TRUE(Loss().ToJson().is_null());
  const json written = SparseCategoricalCrossEntropy({.from_logits = true, .ignore_class = 3}).ToJson();
  EXPECT_EQ(written, json::parse(R"({"module": "keras.losses", "class_name": "SparseCategoricalCrossentropy",
      "config": {"name": "sparse_categorical_crossentropy", "reduction": "sum_over_batch_size", "from_logits": true,
                 "ignore_class": 3}, "registered_name": null})"));
  for (const json& one : {written, CategoricalCrossEntropy({.label_smoothing = 0.1}).ToJson(),
                          Huber({.delta = 2, .reduction = "sum"}).ToJson(), LogCosh().ToJson(), json("mae")}) {
    EXPECT_EQ(Loss::FromJson(one).ToJson(), one);
  }
}

TEST(Metrics, AccuraciesEqualKeras) {
  const json golden = Golden("metrics.json");
  const auto graph = Graph::Create();
  const Value p = graph->Data(GoldenTensor(golden.at("p")));
  const std::vector<int32_t> numbers = golden.at("y").get<std::vector<int32_t>>();
  const Value labels = graph->Data(IntVector(numbers));
  const Value column = graph->Data(IntVector(numbers).Reshaped({7, 1}).Cast(DType::kUint8));
  const Value one_hot = OneHot(labels, 6);
  const auto expected = [&](const char* key) { return golden.at("keras3").at(key).get<std::vector<float>>(); };
  for (const char* name : {"sparse_categorical_accuracy", "accuracy", "acc"}) {
    EXPECT_EQ(Floats(Evaluate(Metric(name).PerSample(labels, p))), expected("acc")) << name;
    EXPECT_EQ(Floats(Evaluate(Metric(name).PerSample(column, p))), expected("acc")) << name;
  }
  for (const char* name : {"categorical_accuracy", "accuracy"}) {
    EXPECT_EQ(Floats(Evaluate(Metric(name).PerSample(one_hot, p))), expected("acc")) << name;
  }
  EXPECT_EQ(Floats(Evaluate(SparseTopKCategoricalAccuracy({.k = 2}).PerSample(labels, p))), expected("top2"));
  EXPECT_EQ(Floats(Evaluate(SparseTopKCategoricalAccuracy({.k = 3}).PerSample(column, p))), expected("top3"));
  EXPECT_EQ(Floats(Evaluate(TopKCategoricalAccuracy({.k = 3}).PerSample(one_hot, p))), expected("top3"));
}

TEST(Metrics, TheFirstOfEqualPredictionsWinsAndNaNNeverDoes) {
  const auto graph = Graph::Create();
  const Value p = graph->Data(Tensor::Of<float>({2, 3}, {.5f, .5f, 0, NAN, NAN, NAN}));
  const Value labels = graph->Data(IntVector({1, 1}));
  EXPECT_EQ(Floats(Evaluate(Metric("sparse_categorical_accuracy").PerSample(labels, p)))[0], 0);
  EXPECT_EQ(Floats(Evaluate(SparseTopKCategoricalAccuracy({.k = 1}).PerSample(labels, p))), (std::vector<float>{1, 0}));
}

TEST(Metrics, BinaryAccuracyAndLosses) {
  const auto graph = Graph::Create();
  const Value p = graph->Data(Tensor::Of<float>({3, 1}, {0.4f, 0.6f, 0.5f}));
  const Value y = graph->Data(IntVector({0, 0, 1}));
  for (const char* name : {"binary_accuracy", "accuracy"}) {
    EXPECT_EQ(Floats(Evaluate(Metric(name).PerSample(y, p))), (std::vector<float>{1, 0, 0})) << name;
  }
  ExpectNear(Evaluate(Metric("mse").PerSample(y, p)), {.16f, .36f, .25f}, 1e-6, "mse");
  EXPECT_EQ(Metric("mse").name(), "mse");
  EXPECT_EQ(Metric(MeanSquaredError()).name(), "mean_squared_error");
  const Value unit = graph->Data(Tensor::Of<float>({1, 2}, {3, 4}));
  ExpectNear(Evaluate(Metric("cosine_similarity").PerSample(unit, unit)), {1}, 1e-6, "the metric is the cosine");
}

TEST(Metrics, RunningMeanCountsSamplesNotBatches) {
  MeanState mean;
  const json example = Golden("metrics.json").at("running_loss_example");
  for (size_t i = 0; i < 3; ++i) {
    const double size = example.at("batch_sizes")[i];
    mean.Update(example.at("per_batch_loss")[i].get<double>() * size, size);
    EXPECT_NEAR(mean.Result(), example.at("shown_after_each_batch")[i].get<double>(), 1e-12);
  }
  mean.Reset();
  EXPECT_EQ(mean.Result(), 0);
  mean.Update(2 * 10, 2);  // three samples in batches of two
  mean.Update(1 * 9, 1);
  EXPECT_NEAR(mean.Result(), 29.0 / 3, 1e-12);
}

TEST(Metrics, ListsNamesAndFiles) {
  const MetricList one = "acc";
  const MetricList several = {"accuracy",
                              SparseTopKCategoricalAccuracy({.k = 3}),
                              LogCosh(),
                              {"mine", [](const Value& y, const Value&) { return y; }}};
  EXPECT_EQ(one.size(), 1u);
  ASSERT_EQ(several.size(), 4u);
  EXPECT_EQ(several[0].name(), "accuracy");
  EXPECT_EQ(several[1].name(), "sparse_top_k_categorical_accuracy");
  EXPECT_EQ(several[3].name(), "mine");
  EXPECT_EQ(several[0].Named("val").name(), "val");
  EXPECT_TRUE(Contains(MessageOf([] { Metric("acuracy"); }), "did you mean 'accuracy'"));
  for (const Metric& metric : {several[0], several[1], several[2], BinaryAccuracy({.threshold = 0.25})}) {
    EXPECT_EQ(Metric::FromJson(metric.ToJson()).ToJson(), metric.ToJson());
    EXPECT_EQ(Metric::FromJson(metric.ToJson()).name(), metric.name());
  }
}

}  // namespace
}  // namespace weir
