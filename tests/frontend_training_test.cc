// Training: steps against Keras, running means, dropout, errors, weights, several outputs.
#include <signal.h>

#include <thread>

#include "frontend_test_util.h"

namespace weir {
namespace {

class GoldenTraining : public testing::TestWithParam<std::tuple<std::string, std::string>> {};
INSTANTIATE_TEST_SUITE_P(All, GoldenTraining,
                         testing::Combine(testing::ValuesIn(BackendNames()),
                                          testing::Values("train_adam3_maxnorm3_inactive_logits",
                                                          "train_adam3_maxnorm_logits", "train_adam3_maxnorm_prob")),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::get<1>(info.param); });

TEST_P(GoldenTraining, ThreeAdamStepsAsKeras) {
  const auto& [backend, name] = GetParam();
  const nlohmann::json golden = Golden(name + ".json");
  const double max_norm = golden["model"]["layers"][0]["kernel_constraint"]["max_value"].get<double>();
  const Sequential model(
      {Conv2D({.filters = 3,
               .kernel_size = 3,
               .padding = "same",
               .activation = "relu",
               .kernel_constraint = MaxNorm(max_norm),
               .input_shape = {6, 6, 2}}),
       MaxPooling2D(), Flatten(), Dense({.units = 4, .activation = "sigmoid", .kernel_constraint = MaxNorm(max_norm)})},
      {.runtime = &TestRuntime(backend, 2)});
  const bool logits = golden["path"] == "logits";
  model.Compile({.optimizer = Adam({.learning_rate = golden["optimizer"]["lr"].get<double>()}),
                 .loss = SparseCategoricalCrossEntropy({.engine = logits ? "tensorflow" : "torch"}),
                 .metrics = {"sparse_categorical_accuracy"}});
  std::vector<Variable> weights = model.weights();
  for (size_t i = 0; i < weights.size(); ++i) weights[i].Assign(GoldenTensor(golden["weights_before"][i]));
  const std::vector<int32_t> labels = golden["y"].get<std::vector<int32_t>>();
  const Examples batch(GoldenTensor(golden["x"]), Tensor::Of<int32_t>({4}, labels));
  for (const nlohmann::json& step : golden["steps"]) {
    std::vector<TapReading> readings;
    const TapOptions gradient{.gradient = true, .receive = [&](const TapReading& r) { readings.push_back(r); }};
    std::vector<TapRequest> taps;
    for (const Variable& v : weights) taps.emplace_back(v.path(), gradient);
    const Logs logs = model.TrainOnBatch(batch, {.taps = taps});
    EXPECT_NEAR(logs["loss"], step["loss_before_update"].get<double>(), 2e-6);
    EXPECT_NEAR(logs["sparse_categorical_accuracy"], step["sparse_categorical_accuracy"].get<double>(), 1e-6);
    for (size_t i = 0; i < weights.size(); ++i) {
      ExpectNear(readings[i].value, Floats(GoldenTensor(step["grads"][i])), 2e-5, readings[i].path);
      ExpectNear(weights[i].value(), Floats(GoldenTensor(step["weights_after"][i])), 2e-5, weights[i].path());
    }
  }
}

// A model that returns its input, so that losses can be dictated.
Sequential Echo(const PerOutput<Loss>& loss, const OutputMetrics& metrics = {}) {
  Sequential model({Activation("linear")});
  model.Build({1});
  model.Compile({.optimizer = SGD({.learning_rate = 0.0}), .loss = loss, .metrics = metrics});
  return model;
}

TEST(Means, LossIsWeightedByBatchSize) {
  // Batches of 2 and 1 with mean losses 10 and 9.
  const Tensor x = Tensor::Of<float>({3, 1}, {9, 11, 9}), y = Tensor(DType::kFloat32, Shape{3, 1});
  const Sequential model = Echo("mae", "mae");
  const Logs logs = model.Evaluate(x, y, {.batch_size = 2});
  EXPECT_NEAR(logs["loss"], 29.0 / 3, 1e-6);
  EXPECT_NEAR(logs["mae"], 29.0 / 3, 1e-6);
  EXPECT_EQ(logs.entries()[0].first, "loss");
}

TEST(Means, BatchSizeDoesNotChangeEvaluate) {
  const Sequential model = SmallModel();
  CompileTutorial(model);
  const Tensor x = UniformTensor({50, 8, 8, 3}, 1), y = Labels(50, 5);
  const Logs a = model.Evaluate(x, y, {.batch_size = 50}), b = model.Evaluate(x, y, {.batch_size = 7});
  EXPECT_NEAR(a["loss"], b["loss"], 1e-6);
  EXPECT_NEAR(a["sparse_categorical_accuracy"], b["sparse_categorical_accuracy"], 1e-9);
}

TEST(Means, SampleAndClassWeights) {
  const Tensor x = Tensor::Of<float>({3, 1}, {1, 2, 3}), y = Tensor(DType::kFloat32, Shape{3, 1});
  Sequential model({Activation("linear")});
  model.Build({1});
  model.Compile({.optimizer = "sgd", .loss = "mae", .metrics = {"mae"}, .weighted_metrics = {"mae"}});
  const Logs logs = model.Evaluate(Examples(x, y, Vector({1, 0, 2})));
  EXPECT_NEAR(logs["loss"], 7.0 / 3, 1e-6);          // over the number of samples
  EXPECT_NEAR(logs["mae"], 2, 1e-6);                 // ignores weights
  EXPECT_NEAR(logs["weighted_mae"], 7.0 / 3, 1e-6);  // over the sum of weights: 3
  model.Compile({.optimizer = SGD({.learning_rate = 0.0}), .loss = "mae"});
  const Tensor classes = Tensor::Of<float>({3, 1}, {0, 1, 1});
  EXPECT_NEAR(model.TrainOnBatch(Examples(x, classes), {.class_weight = {{1, 10}}})["loss"],
              (1 + 10 * 1 + 10 * 2) / 3.0, 1e-5);
}

TEST(Fit, ReportsHistoryInOrder) {
  const Sequential model = SmallModel();
  CompileTutorial(model);
  const Tensor x = UniformTensor({20, 8, 8, 3}, 1), y = Labels(20, 5);
  const History history = model.Fit(x, y, {.batch_size = 8, .epochs = 3, .verbose = 0, .validation_split = 0.25});
  EXPECT_EQ(history.epoch, (std::vector<int64_t>{0, 1, 2}));
  std::vector<std::string> keys;
  for (const auto& [key, values] : history.series) {
    keys.push_back(key);
    EXPECT_EQ(values.size(), 3u);
  }
  EXPECT_EQ(keys, (std::vector<std::string>{"loss", "sparse_categorical_accuracy", "val_loss",
                                            "val_sparse_categorical_accuracy"}));
  EXPECT_EQ(model.iterations(), 6);  // 15 examples in batches of 8
  EXPECT_LT(history["loss"].back(), history["loss"].front());
  EXPECT_NE(MessageOf([&] { history["los"]; }).find("did you mean 'loss'"), std::string::npos);
}

TEST(Fit, BytesAreScaledOnTheWay) {
  Dataset bytes;
  bytes.images = Tensor(DType::kUint8, Shape{20, 8, 8, 3});
  for (size_t i = 0; i < 20 * 8 * 8 * 3; ++i) bytes.images.data<uint8_t>()[i] = static_cast<uint8_t>(i * 37);
  bytes.labels = Labels(20, 5);
  Dataset floats = bytes;
  floats.images = bytes.images.Cast(DType::kFloat32);
  for (float& v : floats.images.data<float>()) v = static_cast<float>(static_cast<double>(v) * (1 / 255.0));
  const Sequential a = SmallModel(), b = SmallModel();
  CompileTutorial(a);
  CompileTutorial(b);
  a.Fit(bytes, {.batch_size = 6, .epochs = 2, .verbose = 0, .scale = 1 / 255.0});
  b.Fit(floats, {.batch_size = 6, .epochs = 2, .verbose = 0});
  EXPECT_TRUE(SameWeights(a, b));
}

TEST(Fit, EmptyDataIsAnError) {
  const Sequential model = TutorialModel();
  CompileTutorial(model);
  for (const std::string& backend : BackendNames()) {
    model.set_runtime(&TestRuntime(backend, 1));
    EXPECT_EQ(model.PredictOne(Tensor(DType::kFloat32, Shape{0, 32, 32, 3})).shape(), (Shape{0, 10}));
  }
  const auto fit = [&](int64_t n, double split) {
    return MessageOf([&] {
      model.Fit(Tensor(DType::kFloat32, Shape{n, 32, 32, 3}), Labels(n, 10), {.verbose = 0, .validation_split = split});
    });
  };
  EXPECT_NE(fit(0, 0).find("zero training samples remain"), std::string::npos);
  EXPECT_NE(fit(1, 0.5).find("zero training samples remain of 1 with validation_split 0.5"), std::string::npos);
}

TEST(Fit, Misuse) {
  const Sequential model = SmallModel();
  const Tensor x = UniformTensor({4, 8, 8, 3}, 1);
  EXPECT_NE(MessageOf([&] { model.Fit(x, Labels(4, 5)); }).find("You must call `Compile()` before using Fit"),
            std::string::npos);
  CompileTutorial(model);
  EXPECT_NE(
      MessageOf([&] { model.Fit(x, Labels(3, 5)); }).find("Data cardinality is ambiguous: x sizes: 4; y sizes: 3"),
      std::string::npos);
  EXPECT_NE(MessageOf([&] { model.Fit(x, Labels(4, 5), {.batch_size = 0}); }).find("batch_size 0"), std::string::npos);
  EXPECT_THROW(model.Compile({.loss = "sparse_categorical_crossentrop"}), Error);
  EXPECT_THROW(model.Compile({.optimizer = "adamm", .loss = "mse"}), Error);
}

TEST(Fit, LabelsOutOfRangeAreTheSameErrorEverywhere) {
  for (const std::string& backend : BackendNames()) {
    const Sequential model = SmallModel({.runtime = &TestRuntime(backend, 2)});
    CompileTutorial(model);
    const Tensor before = model.layer(0).kernel().value().Clone();
    for (int32_t label : {7, -1}) {
      Tensor labels = Labels(4, 5);
      labels.data<int32_t>()[2] = label;
      try {
        model.Fit(UniformTensor({4, 8, 8, 3}, 1), labels, {.verbose = 0});
        ADD_FAILURE() << "nothing was thrown";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), absl::StatusCode::kOutOfRange);
        EXPECT_NE(error.message().find(std::to_string(label)), std::string::npos) << error.message();
        EXPECT_NE(error.message().find("[0, 5)"), std::string::npos) << error.message();
      }
    }
    EXPECT_TRUE(BitEqual(before, model.layer(0).kernel().value())) << backend;
  }
}

TEST(DropoutInTraining, MasksChangeEachStepAndRepeatEachRun) {
  const auto run = [](int threads) {
    const Sequential model({Dropout(0.5, {.seed = 7, .input_shape = {1000}})},
                           {.runtime = &TestRuntime("highway", threads)});
    model.Compile({.optimizer = "sgd", .loss = "mse"});
    std::vector<Tensor> masks, gradients;
    const Examples ones(Tensor::Full(DType::kFloat32, {1, 1000}, 1), Tensor(DType::kFloat32, Shape{1, 1000}));
    for (int step = 0; step < 2; ++step) {
      model.TrainOnBatch(ones,
                         {.taps = {{"dropout", {.receive = [&](const TapReading& r) { masks.push_back(r.value); }}},
                                   {"dropout_input", {.gradient = true, .receive = [&](const TapReading& r) {
                                                        gradients.push_back(r.value);
                                                      }}}}});
    }
    for (size_t step = 0; step < 2; ++step) {
      int64_t dropped = 0;
      for (size_t i = 0; i < 1000; ++i) {
        const float kept = masks[step].data<float>()[i];
        EXPECT_TRUE(kept == 0 || kept == 2);
        dropped += kept == 0;
        // The backward pass uses the very same mask.
        EXPECT_EQ(gradients[step].data<float>()[i] == 0, kept == 0);
      }
      EXPECT_GE(dropped, 450);
      EXPECT_LE(dropped, 550);
    }
    EXPECT_TRUE(BitEqual(model.PredictOne(ones.x[0]), ones.x[0]));
    return masks;
  };
  const std::vector<Tensor> first = run(1);
  EXPECT_FALSE(BitEqual(first[0], first[1]));
  for (int threads : {1, 2, 8}) {
    const std::vector<Tensor> again = run(threads);
    EXPECT_TRUE(BitEqual(first[0], again[0]));
    EXPECT_TRUE(BitEqual(first[1], again[1]));
  }
}

TEST(DropoutInTraining, RatesZeroAndOne) {
  const auto output = [](double rate) {
    const Sequential model({Dropout(rate, {.input_shape = {4}})});
    model.Compile({.optimizer = "sgd", .loss = "mse"});
    Tensor seen;
    model.TrainOnBatch(Examples(Vector({1, 2, 3, 4}).Reshaped({1, 4}), Tensor(DType::kFloat32, Shape{1, 4})),
                       {.taps = {{"dropout", {.receive = [&](const TapReading& r) { seen = r.value; }}}}});
    return Floats(seen);
  };
  EXPECT_EQ(output(0), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(output(1), (std::vector<float>{0, 0, 0, 0}));
}

TEST(Inference, ModeIsAnArgumentOfTheRun) {
  const Sequential inner({Dense({.units = 16, .activation = "relu", .input_shape = {8}}), Dropout(0.5)});
  const auto train = [&](bool predict) {
    const Sequential model(
        {Sequential({Dense({.units = 16, .activation = "relu", .input_shape = {8}}), Dropout(0.5)}), Dense(3)},
        {.seed = 1});
    model.Compile({.optimizer = "adam", .loss = "mse"});
    const Tensor x = UniformTensor({12, 8}, 1), y = UniformTensor({12, 3}, 2);
    const CallbackPtr callback = LambdaCallback({.on_batch_end = [&](FitContext& fit, int64_t, const Logs&) {
      if (!predict) return;
      const std::vector<Tensor> a = fit.model().Predict(x), b = fit.model().Predict(x);
      EXPECT_TRUE(BitEqual(a[0], b[0]));
    }});
    model.Fit(x, y, {.batch_size = 4, .epochs = 3, .verbose = 0, .callbacks = {callback}, .validation_split = 0.25});
    EXPECT_TRUE(BitEqual(model.PredictOne(x), model.PredictOne(x)));
    return model;
  };
  EXPECT_TRUE(SameWeights(train(false), train(true)));
}

TEST(SeveralOutputs, LossesAndTargetsByName) {
  const SymbolicTensor input = Input({2});
  const auto constant = [&](const char* name, int64_t units, double value) {
    return Dense({.units = units, .kernel_initializer = "zeros", .bias_initializer = Constant(value), .name = name})(
        input);
  };
  const Model model(input, {constant("small", 1, 1), constant("big", 4, 2)});
  model.Compile({.optimizer = SGD({.learning_rate = 0.0}),
                 .loss = {{"big", "mae"}, {"small", "mse"}},
                 .loss_weights = {{"big", 10.0}},
                 .metrics = {{"big", {"mae", "mse"}}}});
  const Tensor x(DType::kFloat32, Shape{3, 2}), small(DType::kFloat32, Shape{3, 1}), big(DType::kFloat32, Shape{3, 4});
  const Logs logs = model.Evaluate(Examples({x}, std::vector<NamedTensor>{{"big", big}, {"small", small}}));
  std::vector<std::string> keys;
  for (const auto& [key, value] : logs) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"loss", "small_loss", "big_loss", "big_mae", "big_mse"}));
  EXPECT_EQ(logs["small_loss"], 1);
  EXPECT_EQ(logs["big_loss"], 2);
  EXPECT_EQ(logs["loss"], 21);
  EXPECT_EQ(logs["big_mse"], 4);
  EXPECT_NE(MessageOf([&] {
              model.Evaluate(Examples({x}, std::vector<NamedTensor>{{"bigg", big}, {"small", small}}));
            }).find("did you mean 'big'"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] { model.Evaluate(x, big); }).find("has 2 output(s) (small, big), 1 target(s) given"),
            std::string::npos);
  EXPECT_THROW(model.Compile({.loss = {{"biggest", "mae"}}}), Error);
}

TEST(Regularizers, AreInTheReportedLoss) {
  const Sequential model({Dense({.units = 1,
                                 .use_bias = false,
                                 .kernel_initializer = "ones",
                                 .kernel_regularizer = L2(0.5),
                                 .input_shape = {4}})});
  model.Compile({.optimizer = "sgd", .loss = "mae"});
  const Tensor zeros(DType::kFloat32, Shape{3, 4});
  EXPECT_NEAR(model.Evaluate(zeros, Tensor(DType::kFloat32, Shape{3, 1}))["loss"], 2.0, 1e-6);
}

TEST(Constraints, ApplyAfterEachStep) {
  for (const std::string& backend : BackendNames()) {
    for (const auto& [constraint, expected] : std::vector<std::pair<Constraint, std::vector<float>>>{
             {MaxNorm(2), {2, 2, 0, 0}}, {MaxNorm(2, {0, 1, 2}), {1.2f, 1.6f, 0, 0}}}) {
      const Sequential model(
          {Conv2D({.filters = 1, .kernel_size = 2, .kernel_constraint = constraint, .input_shape = {2, 2, 1}}),
           Flatten()},
          {.runtime = &TestRuntime(backend, 2)});
      Variable kernel = model.layer(0).kernel();
      kernel.Assign(Tensor::Of<float>({2, 2, 1, 1}, {3, 4, 0, 0}));
      model.layer(0).bias().Assign(Vector({5}));
      model.Compile({.optimizer = SGD({.learning_rate = 0.0}), .loss = "mse"});
      model.TrainOnBatch(Examples(UniformTensor({1, 2, 2, 1}, 1), Tensor(DType::kFloat32, Shape{1, 1})));
      ExpectNear(kernel.value(), expected, 1e-6, "kernel");
      EXPECT_EQ(model.layer(0).bias().value().item<float>(), 5);
    }
  }
}

TEST(Frozen, LayersKeepTheirWeights) {
  const Sequential model = SmallModel();
  CompileTutorial(model);
  const Tensor x = UniformTensor({4, 8, 8, 3}, 1), y = Labels(4, 5);
  model.TrainOnBatch(Examples(x, y));
  model.layer(0).set_trainable(false);
  const Tensor kernel = model.layer(0).kernel().value(), dense = model.layer(-1).kernel().value();
  model.TrainOnBatch(Examples(x, y));
  EXPECT_TRUE(BitEqual(kernel, model.layer(0).kernel().value()));
  EXPECT_FALSE(BitEqual(dense, model.layer(-1).kernel().value()));
}

TEST(LearningRate, MayChangeBetweenSteps) {
  const Sequential model = SmallModel();
  model.Compile({.optimizer = "sgd", .loss = "sparse_categorical_crossentropy"});
  const Examples batch(UniformTensor({4, 8, 8, 3}, 1), Labels(4, 5));
  model.TrainOnBatch(batch);
  model.set_learning_rate(0);
  // The last layer has no constraint, which would change weights too.
  const Tensor kernel = model.layer(-1).kernel().value();
  model.TrainOnBatch(batch);
  EXPECT_TRUE(BitEqual(kernel, model.layer(-1).kernel().value()));
}

TEST(Threads, AStdThreadGetsTheSameBits) {
  const auto train = [](int threads) {
    const Sequential model = SmallModel({.seed = 1, .runtime = &TestRuntime("highway", threads)});
    CompileTutorial(model);
    model.Fit(UniformTensor({64, 8, 8, 3}, 1), Labels(64, 5), {.epochs = 2, .verbose = 0});
    return model;
  };
  const Sequential first = train(1);
  for (int threads : {1, 2, 3, 8}) EXPECT_TRUE(SameWeights(first, train(threads))) << threads;
  std::thread([&] { EXPECT_TRUE(SameWeights(first, train(2))); }).join();
}

TEST(Interrupt, EndsAfterTheRunningStepAndResumesBitEqual) {
  const Tensor x = UniformTensor({30, 8, 8, 3}, 1), y = Labels(30, 5);
  const Sequential straight = SmallModel({.seed = 3}), model = SmallModel({.seed = 3});
  CompileTutorial(straight);
  CompileTutorial(model);
  const History whole = straight.Fit(x, y, {.batch_size = 5, .epochs = 4, .verbose = 0, .validation_split = 0.2});
  int64_t steps = 0;
  const CallbackPtr stop = LambdaCallback({.on_batch_end = [&](FitContext&, int64_t, const Logs&) {
    if (++steps == 12) raise(SIGINT);
  }});
  const History part =
      model.Fit(x, y, {.batch_size = 5, .epochs = 4, .verbose = 0, .callbacks = {stop}, .validation_split = 0.2});
  EXPECT_TRUE(part.interrupted);
  EXPECT_EQ(part.epoch.size(), 2u);
  EXPECT_EQ(model.iterations(), 12);
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const History rest =
      loaded->Fit(x, y, {.batch_size = 5, .epochs = 4, .verbose = 0, .validation_split = 0.2, .resume = true});
  EXPECT_FALSE(rest.interrupted);
  EXPECT_EQ(rest.epoch, (std::vector<int64_t>{2, 3}));
  EXPECT_TRUE(SameWeights(straight, *loaded));
  EXPECT_EQ(loaded->history()["loss"], whole["loss"]);
  EXPECT_EQ(loaded->history()["val_loss"], whole["val_loss"]);
}

TEST(InterruptDeathTest, TheSecondEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const Sequential model = SmallModel();
        CompileTutorial(model);
        const CallbackPtr stop = LambdaCallback({.on_batch_end = [&](FitContext&, int64_t, const Logs&) {
          raise(SIGINT);
          raise(SIGINT);
        }});
        model.Fit(UniformTensor({4, 8, 8, 3}, 1), Labels(4, 5), {.verbose = 0, .callbacks = {stop}});
      },
      testing::KilledBySignal(SIGINT), "");
}

TEST(CopyOnWrite, HeldWeightsAreNotTouchedByTraining) {
  const Sequential model = SmallModel();
  CompileTutorial(model);
  const Examples batch(UniformTensor({4, 8, 8, 3}, 1), Labels(4, 5));
  const Tensor held = model.layer(0).kernel().value(), copy = held.Clone();
  model.TrainOnBatch(batch);
  EXPECT_TRUE(BitEqual(held, copy));
  EXPECT_FALSE(BitEqual(held, model.layer(0).kernel().value()));
  const std::byte* place = model.layer(0).kernel().value().raw();
  model.TrainOnBatch(batch);
  EXPECT_EQ(place, model.layer(0).kernel().value().raw());  // nobody holds it: updated in place
}

TEST(CompileBackend, IsChosenByName) {
  const Sequential model = SmallModel({.seed = 1});
  const auto compile = [&](const std::string& backend, Runtime* runtime = nullptr) {
    model.Compile({.optimizer = "sgd", .loss = "sparse_categorical_crossentropy", .runtime = runtime, .backend = backend});
  };
  for (const std::string& backend : BackendNames()) {
    compile(backend);
    Runtime& runtime = RuntimeWithBackend(backend);
    EXPECT_EQ(runtime.backends()[0]->name(), backend);
    const size_t plans = runtime.cache().Executables().size();
    model.TrainOnBatch({UniformTensor({4, 8, 8, 3}, 1), Labels(4, 5)});
    EXPECT_EQ(runtime.cache().Executables().size(), plans + 1) << backend;
  }
  EXPECT_NE(MessageOf([&] { compile("higway"); }).find("did you mean 'highway'"), std::string::npos);
  EXPECT_NE(MessageOf([&] { compile("highway", &TestRuntime("reference", 1)); }).find("both a runtime and"),
            std::string::npos);
}

}  // namespace
}  // namespace weir
