// What a user of Keras writes first: each call here stands as he would write it, and must compile.
#include <nlohmann/json.hpp>
#include <set>

#include "frontend_test_util.h"
#include "weir/frontend/callbacks.h"
#include "weir/frontend/custom_step.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

std::string Config(const Layer& layer) { return layer.base().Config().dump(); }

// Options by position mean what they mean by name.
TEST(KerasSpelling, PositionalArguments) {
  const std::vector<std::pair<Layer, Layer>> same{
      {Conv2D(32, 3), Conv2D({.filters = 32, .kernel_size = 3})},
      {Conv2D(32, {3, 5}), Conv2D({.filters = 32, .kernel_size = {3, 5}})},
      {Conv2D(32, {3, 3}, {.padding = "same", .activation = "relu"}),
       Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu"})},
      {Conv2D(32, 3, 2), Conv2D({.filters = 32, .kernel_size = 3, .strides = 2})},
      {Conv2D(32, {3, 3}, {2, 1}, "same"),
       Conv2D({.filters = 32, .kernel_size = 3, .strides = {2, 1}, .padding = "same"})},
      {Conv1D(8, 5, {.padding = "causal"}), Conv1D({.filters = 8, .kernel_size = 5, .padding = "causal"})},
      {Conv3D(8, {1, 2, 3}), Conv3D({.filters = 8, .kernel_size = {1, 2, 3}})},
      {Dense(10), Dense({.units = 10})},
      {Dense(10, "relu"), Dense({.units = 10, .activation = "relu"})},
      {Dense(10, {.activation = "relu", .use_bias = false}),
       Dense({.units = 10, .activation = "relu", .use_bias = false})},
      {Dense(10, "relu", {.kernel_constraint = MaxNorm(3), .input_shape = {784}}),
       Dense({.units = 10, .activation = "relu", .kernel_constraint = MaxNorm(3), .input_shape = {784}})},
      {MaxPooling2D(), MaxPooling2D({.pool_size = 2})},
      {MaxPooling2D(3), MaxPooling2D({.pool_size = {3, 3}})},
      {MaxPooling2D({3, 2}), MaxPooling2D({.pool_size = {3, 2}})},
      {MaxPooling2D({3, 2}, 1), MaxPooling2D({.pool_size = {3, 2}, .strides = 1})},
      {MaxPooling2D({3, 2}, {1, 2}, "same"),
       MaxPooling2D({.pool_size = {3, 2}, .strides = {1, 2}, .padding = "same"})},
      {MaxPooling2D(3, 2, "same"), MaxPooling2D({.pool_size = 3, .strides = 2, .padding = "same"})},
      {AveragePooling2D(2, {.strides = 1}), AveragePooling2D({.pool_size = 2, .strides = 1})},
      {AveragePooling1D(4), AveragePooling1D({.pool_size = 4})},
      {MaxPooling3D({1, 2, 2}), MaxPooling3D({.pool_size = {1, 2, 2}})},
      {ReLU(6), ReLU({.max_value = 6})},
      {LeakyReLU(0.1), LeakyReLU({.negative_slope = 0.1})},
      {ELU(0.5), ELU({.alpha = 0.5})},
      {Softmax(1), Softmax({.axis = 1})},
      {Concatenate(1), Concatenate({.axis = 1})},
      {Rescaling(1. / 255), Rescaling({.scale = 1. / 255})},
      {Rescaling(2, -1), Rescaling({.scale = 2, .offset = -1})},
      {Rescaling(0.5, {.input_shape = {2}}), Rescaling({.scale = 0.5, .input_shape = {2}})},
      {ActivationLayer("tanh"), ActivationLayer({.activation = "tanh"})},
  };
  for (const auto& [position, name] : same) {
    EXPECT_EQ(position.class_name(), name.class_name());
    EXPECT_EQ(Config(position), Config(name));
    EXPECT_EQ(position.base().input_shape_option(), name.base().input_shape_option());
  }
  EXPECT_EQ(SGD(0.5).ToJson(), SGD({.learning_rate = 0.5}).ToJson());
  EXPECT_EQ(Adam(ExponentialDecay({.initial_learning_rate = 1, .decay_steps = 2})).ToJson(),
            Adam({.learning_rate = ExponentialDecay({.initial_learning_rate = 1, .decay_steps = 2})}).ToJson());
  EXPECT_EQ(Input({.shape = {32, 32, 3}}).spec(), Input({32, 32, 3}).spec());
  EXPECT_EQ(SparseCategoricalCrossentropy({.from_logits = true}).ToJson(),
            SparseCategoricalCrossEntropy({.from_logits = true}).ToJson());
}

TEST(KerasSpelling, WhatIsGivenTwiceIsAMistake) {
  EXPECT_NE(MessageOf([] { Conv2D(32, 3, {.filters = 16}); }).find("Conv2D: filters and kernel_size are given in front"),
            std::string::npos);
  EXPECT_NE(MessageOf([] { Dense(3, {.units = 4}); }).find("Dense: units are given in front"), std::string::npos);
  EXPECT_NE(MessageOf([] { Dense(3, "relu", {.activation = "relu"}); }).find("Dense: the activation is given in front"),
            std::string::npos);
  EXPECT_NE(MessageOf([] { Input({3}, {.shape = {4}}); }).find("Input: the shape is given in front"), std::string::npos);
}

// 1 / 255 is 0 in C++, and nothing but zeros would be trained on.
TEST(KerasSpelling, AScaleOfWholeNumbers) {
  EXPECT_NE(MessageOf([] { Rescaling(1 / 255); }).find("the scale is 0, as 1 / 255 is in C++: write 1. / 255"),
            std::string::npos);
  const Sequential model = SmallModel();
  EXPECT_NE(MessageOf([&] { model.Predict(UniformTensor({1, 8, 8, 3}, 1), {.scale = 1 / 255}); }).find("write 1. / 255"),
            std::string::npos);
}

// Every option in the order of Keras's signature.
TEST(KerasSpelling, OptionsInKerassOrder) {
  const Sequential model({Dense({.units = 4,
                                 .activation = "relu",
                                 .use_bias = true,
                                 .kernel_initializer = "he_normal",
                                 .bias_initializer = "zeros",
                                 .kernel_regularizer = L2(1e-4),
                                 .bias_regularizer = {},
                                 .activity_regularizer = {},
                                 .kernel_constraint = MaxNorm(3),
                                 .bias_constraint = {},
                                 .input_shape = {3},
                                 .name = "first"}),
                          Dropout(0.5, {.noise_shape = {kNone, 4}, .seed = 1}), Dense(2)});
  model.Compile({.optimizer = Adam({.learning_rate = 1e-3,
                                    .beta_1 = 0.9,
                                    .beta_2 = 0.999,
                                    .epsilon = 1e-7,
                                    .amsgrad = false,
                                    .weight_decay = 1e-4,
                                    .clipnorm = {},
                                    .clipvalue = 1,
                                    .global_clipnorm = {},
                                    .use_ema = false,
                                    .ema_momentum = 0.99,
                                    .ema_overwrite_frequency = {},
                                    .name = "adam"}),
                 .loss = "mse",
                 .loss_weights = 1.0,
                 .metrics = {"mae"},
                 .weighted_metrics = {"mse"}});
  const Tensor x = UniformTensor({8, 3}, 1), y = UniformTensor({8, 2}, 2);
  const History history = model.Fit(x, y,
                                    {.batch_size = 4,
                                     .epochs = 2,
                                     .verbose = 0,
                                     .callbacks = {EarlyStopping({.monitor = "val_loss", .min_delta = 0, .patience = 3})},
                                     .validation_split = 0,
                                     .validation_data = {x, y},
                                     .shuffle = true,
                                     .class_weight = {},
                                     .initial_epoch = 0,
                                     .validation_batch_size = 8,
                                     .validation_freq = 1});
  EXPECT_EQ(history["val_loss"].size(), 2u);
  EXPECT_TRUE(model.Evaluate(x, y, {.batch_size = 4, .verbose = 0}).Has("mae"));
  model.Compile("sgd", "mse");
  model.Compile("sgd", "mse", {"mae"});
  model.Compile(SGD(0.1), MeanSquaredError());
  EXPECT_EQ(model.TrainOnBatch({x, y}).size(), 1u);
  BinaryAccuracy({.name = "binary", .threshold = 0.3});
  Input({.shape = {3}, .batch_size = 2, .dtype = DType::kInt32, .name = "in"});
}

// Callbacks by position save, log and watch what they do by name.
TEST(KerasSpelling, CallbacksByPosition) {
  const TempFolder folder;
  const std::string log = folder / "log.csv";
  const std::filesystem::path best = folder / "best";
  const Sequential model({Dense(2, {.input_shape = {4}})});
  model.Compile("sgd", "mse");
  const Tensor x = UniformTensor({8, 4}, 1), y = UniformTensor({8, 2}, 2);
  const History history = model.Fit(
      x, y,
      {.epochs = 9,
       .verbose = 0,
       .callbacks = {ModelCheckpoint(folder / "last"), CSVLogger(log),
                     ModelCheckpoint(best, {.monitor = "loss", .save_best_only = true}),
                     CSVLogger(log + ".tsv", {.separator = "\t"}), EarlyStopping("loss"),
                     EarlyStopping("loss", {.min_delta = 10, .patience = 2}), ReduceLROnPlateau("loss"),
                     ReduceLROnPlateau(std::string("loss"), {.factor = 0.5, .patience = 1})}});
  EXPECT_EQ(history.epoch.size(), 3u);
  for (const std::string& path : {folder / "last", best.string()}) EXPECT_TRUE(LoadModel(path).ok()) << path;
  for (const std::string& path : {log, log + ".tsv"}) EXPECT_TRUE(std::filesystem::exists(path)) << path;
  // Options alone mean what they did.
  EarlyStopping();
  EarlyStopping({});
  ReduceLROnPlateau({.monitor = "loss"});
  EXPECT_THROW(CSVLogger({}), Error);
}

// sample_weight beside the data is that in the data: in training, validation split, evaluation and single steps.
TEST(KerasSpelling, SampleWeights) {
  const Tensor x = UniformTensor({20, 4}, 1), y = UniformTensor({20, 2}, 2), w = UniformTensor({20}, 3);
  const Examples plain(x, y), weighted(x, y, w);
  const auto made = [] {
    const Sequential model({Dense(2, {.input_shape = {4}})}, {.seed = 3});
    model.Compile({.optimizer = "sgd", .loss = "mse", .weighted_metrics = "mae"});
    return model;
  };
  const Sequential beside = made(), inside = made(), none = made();
  const auto options = [](SampleWeights weights) {
    return FitOptions{.batch_size = 4, .epochs = 2, .verbose = 0, .validation_split = 0.25, .sample_weight = weights};
  };
  const History a = beside.Fit(plain, options(w)), b = inside.Fit(weighted, options({}));
  none.Fit(plain, options({}));
  EXPECT_TRUE(SameWeights(beside, inside));
  EXPECT_FALSE(SameWeights(beside, none));
  EXPECT_EQ(a.series, b.series);
  EXPECT_EQ(beside.Evaluate(plain, {.sample_weight = w}).entries(), inside.Evaluate(weighted).entries());
  EXPECT_EQ(beside.TrainOnBatch(plain, {.sample_weight = std::vector<Tensor>{w}}).entries(),
            inside.TrainOnBatch(weighted).entries());
  EXPECT_TRUE(SameWeights(beside, inside));
  const auto twice = [&](auto call) {
    const std::string message = MessageOf(call);
    EXPECT_NE(message.find("the data has sample weights already"), std::string::npos) << message;
  };
  twice([&] { beside.Fit(weighted, options(w)); });
  twice([&] { beside.Evaluate(weighted, {.sample_weight = w}); });
  twice([&] { beside.TrainOnBatch(weighted, {.sample_weight = w}); });
  EXPECT_NE(MessageOf([&] { beside.Fit(plain, options(x)); }).find("sample_weight"), std::string::npos);
}

TEST(KerasSpelling, FunctionalModels) {
  const SymbolicTensor inputs = Input({.shape = {8, 8, 3}});
  SymbolicTensor x = Conv2D(4, 3, {.padding = "same"})(inputs);
  x = Activation("relu")(x);
  x = MaxPooling2D(2)(x);
  const SymbolicTensor shortcut = x;
  x = Conv2D(4, 3, {.padding = "same", .activation = "relu"})(x);
  x = Add()({x, shortcut});
  x = GlobalAveragePooling2D()(x);
  const SymbolicTensor outputs = Dense(10, "softmax")(x);
  const Model model({.inputs = inputs, .outputs = outputs, .name = "net"});
  EXPECT_EQ(model.name(), "net");
  EXPECT_EQ(model.PredictOne(UniformTensor({2, 8, 8, 3}, 1)).shape(), (Shape{2, 10}));
}

class Symbolic : public testing::TestWithParam<std::string> {
 protected:
  Runtime& runtime() { return TestRuntime(GetParam(), 2); }
};
INSTANTIATE_TEST_SUITE_P(Backends, Symbolic, testing::ValuesIn(BackendNames()));

// Every function of symbolic tensors against the same function of values; then saved and loaded.
TEST_P(Symbolic, FunctionsAreThoseOfValues) {
  const SymbolicTensor x = Input({2, 3}), y = Input({3, 2});
  const auto graph = Graph::Create();
  const Tensor a = UniformTensor({4, 2, 3}, 1), b = UniformTensor({4, 3, 2}, 2);
  const Value u = graph->Data(a), v = graph->Data(b);
  const double inf = INFINITY;
  const std::vector<std::pair<SymbolicTensor, Value>> pairs{
      {x + x, u + u}, {x + 2, u + 2}, {2 + x, 2 + u}, {x - 1.5, u - 1.5}, {1 - x, 1 - u}, {x * 2, u * 2}, {x * x, u * u},
      {x / 3, u / 3}, {1 / (x + 1), 1 / (u + 1)}, {-x, -u}, {Pow(x, 2), Pow(u, 2)}, {Pow(2, x), Pow(2, u)},
      {Maximum(x, 0.5), Maximum(u, 0.5)}, {Minimum(0.5, x), Minimum(0.5, u)}, {Maximum(x, -inf), Maximum(u, -inf)},
      {MatMul(x, y), MatMul(u, v)}, {Abs(-x), Abs(-u)}, {Sign(x - 0.5), Sign(u - 0.5)}, {Square(x), Square(u)},
      {Sqrt(x), Sqrt(u)}, {Rsqrt(x + 1), Rsqrt(u + 1)}, {Exp(x), Exp(u)}, {Log(x + 1), Log(u + 1)}, {Log1p(x), Log1p(u)},
      {Erf(x), Erf(u)}, {Clip(x, 0.2, 0.6), Clip(u, 0.2, 0.6)}, {Clip(x, -inf, 0.6), Clip(u, -inf, 0.6)},
      {Cast(Cast(x * 9, DType::kInt32), DType::kFloat32), Cast(Cast(u * 9, DType::kInt32), DType::kFloat32)},
      {StopGradient(x), u}, {Relu(x - 0.5), Relu(u - 0.5)}, {LeakyRelu(x - 0.5, 0.3), LeakyRelu(u - 0.5, 0.3)},
      {Elu(x - 0.5, 0.7), Elu(u - 0.5, 0.7)}, {Gelu(x), Gelu(u)}, {Gelu(x, true), Gelu(u, true)}, {Silu(x), Silu(u)},
      {Softplus(x), Softplus(u)}, {Sigmoid(x), Sigmoid(u)}, {Tanh(x), Tanh(u)}, {Softmax(x), Softmax(u)},
      {Softmax(x, 1), Softmax(u, 1)}, {LogSoftmax(x), LogSoftmax(u)}, {Sum(x, {1}), Sum(u, {1})},
      {Mean(x, {1, 2}, true), Mean(u, {1, 2}, true)}, {Max(x, {-1}), Max(u, {-1})}, {Min(x, {2}), Min(u, {2})},
      {Reshape(x, {-1, 6}), Reshape(u, {-1, 6})}, {Transpose(x, {0, 2, 1}), Transpose(u, {0, 2, 1})},
      {Concatenate({x, x * 2}), Concatenate(std::vector<Value>{u, u * 2}, -1)},
      {Concatenate({x, x, x}, 1), Concatenate(std::vector<Value>{u, u, u}, 1)}};
  std::vector<SymbolicTensor> outputs;
  std::vector<Value> values;
  for (const auto& [symbolic, value] : pairs) {
    outputs.push_back(symbolic);
    values.push_back(value);
  }
  const Model model({x, y}, outputs, {.runtime = &runtime()});
  const std::vector<Tensor> predicted = model.Predict({a, b}), expected = TestRuntime("reference", 2).Evaluate(values);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(BitEqual(predicted[i], expected[i])) << i << ": " << predicted[i] << " for " << expected[i];
    EXPECT_TRUE(Fits(expected[i].shape(), outputs[i].spec())) << i << ": " << outputs[i].spec();
  }
  const TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "model").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "model", {.runtime = &runtime()});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::vector<Tensor> again = loaded->Predict({a, b});
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(BitEqual(again[i], expected[i])) << i;
}

TEST_P(Symbolic, AreTrainedThrough) {
  const SymbolicTensor x = Input({3});
  const Model model(x, Dense(1)(Relu(Dense(4)(x) * 2 + 0.1)), {.seed = 1, .runtime = &runtime()});
  model.Compile(SGD(0.05), "mse");
  const Examples data(UniformTensor({8, 3}, 1), UniformTensor({8, 1}, 2));
  const double before = model.TrainOnBatch(data)["loss"];
  for (int i = 0; i < 20; ++i) model.TrainOnBatch(data);
  EXPECT_LT(model.TrainOnBatch(data)["loss"], before / 2);
}

TEST(SymbolicNames, AreThoseOfTheFunctions) {
  const SymbolicTensor x = Input({3});
  const SymbolicTensor twice = x * 2, thrice = x * 3;
  const Model model(x, Relu(twice + thrice));
  std::vector<std::string> names;
  for (const Layer& layer : model.layers()) names.push_back(layer.name());
  EXPECT_EQ(names, (std::vector<std::string>{"input_1", "multiply", "multiply_1", "add", "relu"}));
  const TapHandle product = model.Tap("multiply_1");
  model.PredictOne(Tensor::Of<float>({1, 3}, {1, 2, 3}));
  EXPECT_EQ(Floats(product.value()), (std::vector<float>{3, 6, 9}));
}

TEST(SymbolicNames, MistakesAreTold) {
  const SymbolicTensor x = Input({3}), z = Input({4});
  const std::string message = MessageOf([&] { x + z; });
  EXPECT_NE(message.find("[None,3]"), std::string::npos) << message;
  EXPECT_NE(message.find("frontend_keras_test.cc:"), std::string::npos) << message;
  EXPECT_NE(MessageOf([&] { SymbolicTensor() + x; }).find("the symbolic tensor is undefined"), std::string::npos);
  EXPECT_NE(MessageOf([] { Pow(2, SymbolicOperand(3)); }).find("power needs a tensor, not numbers alone"), std::string::npos);
}

// The user's line and layer, and None where a size is open, in every message of a layer.
TEST(KerasMessages, NameTheLineAndNoSampleSizes) {
  const auto fails = [](const char* what, auto call) {
    const std::string message = MessageOf(call);
    EXPECT_NE(message.find(what), std::string::npos) << message;
    EXPECT_NE(message.find("frontend_keras_test.cc:"), std::string::npos) << message;
    EXPECT_EQ(message.find("4096"), std::string::npos) << message;
    EXPECT_EQ(message.find("[2,"), std::string::npos) << message;
    EXPECT_EQ(message.find("f32[2"), std::string::npos) << message;
  };
  const SymbolicTensor picture = Input({kNone, kNone, 3}), row = Input({7});
  fails("expected ndim=4", [&] { Conv2D(4, 3)(row); });
  fails("None", [&] { Add()({picture, Input({kNone, kNone, 4})}); });
  fails("None", [&] { MatMul(picture, picture); });
  fails("None", [&] { Reshape(picture, {-1, 5, 5, 5}); });
  fails("input_shape=(7)", [&] { Reshape({2, 3})(row); });
  fails("units", [&] { Dense(0); });
  fails("rate", [&] { Dropout(1.5); });
  fails("window", [&] { MaxPooling2D(9)(Input({4, 4, 3})); });
  fails("expected ndim=4", [&] { Sequential({Dense(3, {.input_shape = {4}}), Conv2D(4, 3)}); });
}

// In a profile, and in what taps and plans say of nodes, the line is the user's too.
TEST(KerasMessages, NodesComeFromTheUsersLine) {
  const uint32_t line = std::source_location::current().line() + 1;
  const Sequential model({Dense(3, "relu", {.input_shape = {4}}), Dense(2)});
  const auto runtime = MakeRuntime({.backend = "reference", .threads = 1});
  ASSERT_TRUE(runtime.ok());
  const auto profiler = std::make_shared<Profiler>();
  (*runtime)->SetProfiler(profiler);
  model.Compile({.optimizer = "sgd", .loss = "mse", .runtime = runtime->get()});
  model.TrainOnBatch({UniformTensor({2, 4}, 1), UniformTensor({2, 2}, 2)});
  int seen = 0;
  for (const ProfileEvent& event : profiler->events()) {
    if (event.layer.find("dense") == std::string::npos) continue;
    ++seen;
    EXPECT_EQ(event.source, StrCat("frontend_keras_test.cc:", line)) << event.layer << " " << event.ops;
  }
  EXPECT_GE(seen, 4);
  model.model().SetRuntime(nullptr);
}

// Losses, metrics and optimizers come from where they were chosen, also in a model that was loaded.
TEST(KerasMessages, LossesAndOptimizersComeFromTheUsersLine) {
  const auto runtime = MakeRuntime({.backend = "reference", .threads = 1});
  ASSERT_TRUE(runtime.ok());
  const auto lines = [&](Runtime& runs, auto step) {
    const auto profiler = std::make_shared<Profiler>();
    runs.SetProfiler(profiler);
    step();
    runs.SetProfiler(nullptr);
    std::set<std::string> found;
    for (const ProfileEvent& event : profiler->events()) {
      if (event.ops != "compile") found.insert(event.source);
    }
    return found;
  };
  const auto line = [](uint32_t number) { return StrCat("frontend_keras_test.cc:", number); };
  const Tensor x = UniformTensor({6, 4}, 1), labels = Labels(6, 3);
  const uint32_t made = std::source_location::current().line() + 1;
  const Sequential model({Dense(3, "softmax", {.kernel_regularizer = L2(0.1), .input_shape = {4}})});
  const uint32_t compiled = std::source_location::current().line() + 1;
  model.Compile({.optimizer = Adam({.weight_decay = 0.1, .global_clipnorm = 1, .use_ema = true}),
                 .loss = "sparse_categorical_crossentropy", .metrics = {"acc", "sparse_top_k_categorical_accuracy"}});
  model.set_runtime(runtime->get());
  const std::set<std::string> both{line(made), line(compiled)};
  EXPECT_EQ(lines(**runtime, [&] { model.TrainOnBatch({x, labels}); }), both);
  EXPECT_EQ(lines(**runtime, [&] { model.Evaluate(x, labels); }), both);
  // What does not fit is told with the same line.
  const std::string message = MessageOf([&] { model.TrainOnBatch({x, UniformTensor({6, 3, 2}, 1)}); });
  EXPECT_NE(message.find(line(compiled)), std::string::npos) << message;

  const TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  // Another runtime: of equal programs the first one's plan is kept, lines and all.
  const auto other = MakeRuntime({.backend = "reference", .threads = 1});
  ASSERT_TRUE(other.ok());
  const uint32_t read = std::source_location::current().line() + 1;
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m", {.runtime = other->get()});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(lines(**other, [&] { loaded->TrainOnBatch({x, labels}); }), (std::set<std::string>{line(read)}));
  model.set_runtime(nullptr);

  // In a step of one's own: the loss where it is called, the rest where the step was made; and the lines of a function.
  const Sequential inner({Dense(3, {.input_shape = {4}})});
  const uint32_t begin = std::source_location::current().line() + 1;
  const TrainStep::Function function = [&](StepRecorder& record, std::span<const Value> batch) {
    return Loss("mse")(batch[1], record(inner, batch[0]));
  };
  TrainStep step({.optimizer = "adam", .runtime = runtime->get()}, function);
  const uint32_t end = std::source_location::current().line() - 1;
  const std::set<std::string> own = lines(**runtime, [&] { step({x, UniformTensor({6, 3}, 2)}); });
  EXPECT_EQ(own, (std::set<std::string>{line(begin - 2), line(begin + 1), line(end)}));
  const uint32_t written = std::source_location::current().line() + 1;
  const Loss mine("mine", [](const Value& y, const Value& p) { return Mean(Square(y - p), {-1}); });
  inner.Compile({.optimizer = "sgd", .loss = mine, .runtime = runtime->get()});
  EXPECT_TRUE(lines(**runtime, [&] { inner.Evaluate(x, UniformTensor({6, 3}, 2)); }).contains(line(written)));
  inner.set_runtime(nullptr);
}

}  // namespace
}  // namespace weir
