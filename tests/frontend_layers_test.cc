// Every layer through one helper: built from its configuration, shapes, values and gradients against Keras's, saved
// and loaded, one training step. Golden files: see their README; what Keras 3 gave wins.
#include "frontend_test_util.h"
#include "weir/frontend/layers/registry.h"

namespace weir {
namespace {

constexpr double kTolerance = 2e-5;

const std::vector<std::string> kGoldens{"add3",
                                        "average2",
                                        "maximum2",
                                        "concatenate_axis_last",
                                        "avgpool1d_same_k2_s2",
                                        "avgpool2d_same_k3_s2",
                                        "avgpool2d_valid",
                                        "avgpool3d_same_k2_s2",
                                        "conv1d_causal_dilated",
                                        "conv1d_same_s2",
                                        "conv2d_dilation2_same",
                                        "conv2d_dilation_valid",
                                        "conv2d_nobias_1x1",
                                        "conv2d_same_k2_s3",
                                        "conv2d_same_k4x2_s2",
                                        "conv2d_same_relu",
                                        "conv2d_same_s2_even",
                                        "conv2d_same_s2_odd",
                                        "conv2d_valid",
                                        "conv3d_same_s2",
                                        "dense_on_3d",
                                        "dense_relu",
                                        "dense_sigmoid",
                                        "elu",
                                        "flatten",
                                        "global_avgpool2d",
                                        "global_maxpool2d",
                                        "leaky_relu_default",
                                        "maxpool1d_same_k3_s1",
                                        "maxpool2d_default",
                                        "maxpool2d_same_k3_s2",
                                        "rescaling",
                                        "reshape_infer"};

// `inputs` -> the layer alone.
Model ModelOf(const Layer& layer, const std::vector<Tensor>& inputs, Runtime& runtime) {
  std::vector<SymbolicTensor> symbols;
  for (const Tensor& input : inputs) {
    symbols.push_back(Input({input.shape().begin() + 1, input.shape().end()}));
  }
  const SymbolicTensor output = layer(symbols);
  return Model(symbols, output, {.runtime = &runtime});
}

// sum(y * r): its gradient is what the golden files have for cotangent r.
Loss DotLoss() {
  return Loss(
      "dot",
      [](const Value& y_true, const Value& y_pred) {
        Axes axes;
        for (int i = 1; i < y_pred.shape().rank(); ++i) axes.push_back(i);
        const Value product = y_true * y_pred;
        return axes.empty() ? product : Sum(product, axes);
      },
      Reduction::kSum);
}

class GoldenLayer : public testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(GoldenLayer, AsKeras) {
  const auto& [backend, name] = GetParam();
  const nlohmann::json golden = Golden(name + ".json");
  Runtime& runtime = TestRuntime(backend, 2);
  const Layer layer = LayerFromJson({{"class_name", golden.at("layer")}, {"config", golden.at("config")}});
  std::vector<Tensor> inputs;
  for (const nlohmann::json& input : golden.at("inputs")) inputs.push_back(GoldenTensor(input));
  const Model model = ModelOf(layer, inputs, runtime);

  std::vector<Variable> weights = layer.weights();
  ASSERT_EQ(weights.size(), golden.at("weights").size());
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_EQ(weights[i].leaf_name(), golden["weights"][i].at("name"));
    weights[i].Assign(GoldenTensor(golden["weights"][i]));
  }
  const nlohmann::json& keras = golden.at("keras3");
  const Tensor expected = GoldenTensor(keras.contains("output") ? keras["output"] : golden.at("output"));
  const Tensor output = model.Predict(inputs)[0];
  EXPECT_EQ(output.shape(), expected.shape());
  ExpectNear(output, Floats(expected), kTolerance, "output");
  std::vector<int64_t> symbolic(expected.shape().begin(), expected.shape().end());
  symbolic[0] = kNone;
  EXPECT_EQ(ShapeText(layer.output_shape()), ShapeText(symbolic));
  int64_t params = 0;
  for (const nlohmann::json& weight : golden["weights"]) params += GoldenTensor(weight).size();
  EXPECT_EQ(layer.count_params(), params);

  // Save and load.
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "model").ok());
  absl::StatusOr<Model> loaded = LoadModel(folder / "model", {.runtime = &runtime});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(BitEqual(loaded->Predict(inputs)[0], output));
  EXPECT_EQ(loaded->layer(-1).ConfigText(), layer.ConfigText());

  // One step with gradient taps.
  if (!keras.contains("grads")) return;
  model.Compile({.optimizer = SGD({.learning_rate = 0.5}), .loss = DotLoss()});
  std::vector<TapRequest> taps;
  std::vector<TapReading> readings;
  const TapOptions gradient{.gradient = true,
                            .receive = [&](const TapReading& reading) { readings.push_back(reading); }};
  for (size_t i = 0; i < inputs.size(); ++i) taps.emplace_back(StrCat("input_", i + 1), gradient);
  for (const Variable& weight : weights) taps.emplace_back(weight.path(), gradient);
  model.TrainOnBatch(Examples(inputs, std::vector<Tensor>{GoldenTensor(golden.at("cotangent"))}), {.taps = taps});
  ASSERT_EQ(readings.size(), taps.size());
  for (size_t i = 0; i < taps.size(); ++i) {
    const bool of_input = i < inputs.size();
    const nlohmann::json& grad = of_input ? keras["grads"].at("inputs").at(i)
                                          : keras["grads"].at("weights").at(weights[i - inputs.size()].leaf_name());
    ExpectNear(readings[i].value, Floats(GoldenTensor(grad)), kTolerance, readings[i].path);
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    const std::vector<float> before = Floats(GoldenTensor(golden["weights"][i]));
    const std::vector<float> step = Floats(readings[inputs.size() + i].value);
    std::vector<float> after;
    for (size_t k = 0; k < before.size(); ++k) after.push_back(before[k] - 0.5f * step[k]);
    ExpectNear(weights[i].value(), after, 1e-6, weights[i].path() + " after the step");
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenLayer,
                         testing::Combine(testing::ValuesIn(BackendNames()), testing::ValuesIn(kGoldens)),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::get<1>(info.param); });

// Layers without golden files: a step, and the file.
TEST(Layers, OthersSaveLoadAndTrain) {
  const std::vector<Layer> layers{Activation("relu"),
                                  ReLU({.max_value = 0.5, .negative_slope = 0.1}),
                                  ReLU({.threshold = 0.3}),
                                  Softmax(),
                                  SpatialDropout2D(0.5),
                                  AveragePooling2D(),
                                  GlobalMaxPooling2D({.keepdims = true}),
                                  Dropout(0.4, {.seed = 3}),
                                  Dropout(0.5, {.noise_shape = {kNone, 1, 1, 3}}),
                                  Conv2D({.filters = 4,
                                          .kernel_size = 3,
                                          .groups = 1,
                                          .kernel_regularizer = L2(0.1),
                                          .activity_regularizer = L1(0.1)})};
  const Tensor x = UniformTensor({2, 6, 6, 3}, 4);
  for (const Layer& layer : layers) {
    SCOPED_TRACE(layer.class_name());
    const Sequential model({Input({6, 6, 3}), Conv2D({.filters = 3, .kernel_size = 1}), layer, Flatten(), Dense(2)});
    model.Compile({.optimizer = "sgd", .loss = "mse"});
    const Tensor before = model.layer(0).kernel().value();
    const Logs logs = model.TrainOnBatch(Examples(x, UniformTensor({2, 2}, 9)));
    EXPECT_TRUE(std::isfinite(logs["loss"]));
    EXPECT_FALSE(BitEqual(before, model.layer(0).kernel().value()));
    TempFolder folder;
    ASSERT_TRUE(model.Save(folder / "m").ok());
    absl::StatusOr<Model> loaded = LoadModel(folder / "m");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(BitEqual(loaded->PredictOne(x), model.PredictOne(x)));
    EXPECT_EQ(loaded->layer(1).ConfigText(), model.layer(1).ConfigText());
  }
}

TEST(Layers, MergesBroadcast) {
  const SymbolicTensor a = Input({4, 3}), b = Input({3});
  const Tensor x = UniformTensor({2, 4, 3}, 1), y = UniformTensor({2, 3}, 2);
  for (const auto& [layer, expected] : std::vector<std::pair<Layer, float (*)(float, float)>>{
           {Add(), [](float p, float q) { return p + q; }},
           {Subtract(), [](float p, float q) { return p - q; }},
           {Multiply(), [](float p, float q) { return p * q; }},
           {Minimum(), [](float p, float q) { return std::min(p, q); }}}) {
    const Tensor z = Model({a, b}, layer({a, b})).Predict({x, y})[0];
    ASSERT_EQ(z.shape(), (Shape{2, 4, 3}));
    for (int64_t n = 0; n < 2; ++n) {
      for (int64_t i = 0; i < 4; ++i) {
        for (int64_t c = 0; c < 3; ++c) {
          EXPECT_EQ((z.at<float>({n, i, c})), expected(x.at<float>({n, i, c}), y.at<float>({n, c})));
        }
      }
    }
  }
}

TEST(Layers, TutorialConfigIsKeras) {
  const Sequential model = TutorialModel();
  CompileTutorial(model);
  nlohmann::json mine = nlohmann::json::parse(model.ConfigText());
  const nlohmann::json golden = Golden("tutorial_config.json");
  ASSERT_EQ(mine.at("config").at("layers").size(), golden.at("config").at("layers").size());
  for (size_t i = 0; i < golden["config"]["layers"].size(); ++i) {
    nlohmann::json expected = golden["config"]["layers"][i];
    if (i == 0) expected["config"]["name"] = "conv2d_input";  // Keras 2's name
    nlohmann::json& layer = mine["config"]["layers"][i];
    // Kept for shape inference by Keras, meaningless here.
    expected["config"].erase("quantization_config");
    expected["config"].erase("activity_regularizer");
    layer["config"].erase("activity_regularizer");
    expected.erase("build_config");
    layer.erase("build_config");
    for (nlohmann::json* json : {&expected, &layer}) {
      if (json->at("config").contains("kernel_initializer"))
        json->at("config")["kernel_initializer"]["config"] = nullptr;
    }
    EXPECT_EQ(layer, expected) << i;
  }
  // And Keras's own text makes the model.
  const Layer loaded = LayerFromJson(golden);
  EXPECT_EQ(Model(std::static_pointer_cast<ModelBase>(loaded.shared())).layers().size(), 8u);
  EXPECT_EQ(loaded.count_params(), 4210090);
}

}  // namespace
}  // namespace weir
