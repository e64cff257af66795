// Models as functions of values, training steps of one's own, and what one looks into models with: Profile, Diff, nested
// summaries, borrowed tensors.
#include <cfenv>

#include "frontend_test_util.h"
#include "weir/frontend/custom_step.h"
#include "weir/frontend/diff.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

class OwnSteps : public testing::TestWithParam<std::string> {
 protected:
  Runtime& runtime() { return TestRuntime(GetParam(), 2); }

  // Dropout, a constraint, penalties of weights and outputs: all that a step may hold.
  Sequential Net(uint64_t seed = 5) {
    return Sequential({Conv2D(4, 3, {.padding = "same", .activation = "relu", .kernel_regularizer = L2(1e-3),
                                     .kernel_constraint = MaxNorm(1), .input_shape = {8, 8, 3}}),
                       MaxPooling2D(), Flatten(), Dropout(0.25),
                       Dense(5, "softmax", {.bias_regularizer = L1(1e-2), .activity_regularizer = L2(1e-3)})},
                      {.seed = seed, .runtime = &runtime()});
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, OwnSteps, testing::ValuesIn(BackendNames()));

TEST_P(OwnSteps, EqualTrainOnBatchToTheBit) {
  for (const Optimizer& optimizer :
       {Adam({.learning_rate = 1e-2, .weight_decay = 1e-3, .global_clipnorm = 1}),
        SGD({.learning_rate = 0.1, .weight_decay = 0.1}).ExcludeFromWeightDecay({"bias", "dense"}), SGD({.momentum = 0.9, .use_ema = true}),
        RMSprop(ExponentialDecay({.initial_learning_rate = 0.01, .decay_steps = 2}))}) {
    const Sequential model = Net(), own = Net();
    model.Compile({.optimizer = optimizer, .loss = "sparse_categorical_crossentropy", .metrics = "acc"});
    TrainStep step({.optimizer = optimizer, .runtime = &runtime()},
                   [&](StepRecorder& record, std::span<const Value> batch) {
                     const Value y = record(own, batch[0]);
                     record.Report("acc", Mean(Metric("sparse_categorical_accuracy").PerSample(batch[1], y)));
                     return Loss("sparse_categorical_crossentropy")(batch[1], y, FindLogits(y));
                   });
    for (int i = 0; i < 5; ++i) {
      const int64_t rows = i == 3 ? 4 : 6;  // a batch that is smaller goes on with the same state
      const Tensor x = UniformTensor({rows, 8, 8, 3}, static_cast<uint32_t>(i)), y = Labels(rows, 5, i);
      const Logs expected = model.TrainOnBatch({x, y}), got = step({x, y});
      EXPECT_EQ(got["loss"], expected["loss"]) << i;
      EXPECT_NEAR(got["acc"], expected["acc"], 1e-6) << i;
      ASSERT_TRUE(SameWeights(model, own)) << i;
    }
    EXPECT_EQ(step.iterations(), 5);
  }
}

// Whatever the host has its arithmetic round to.
TEST_P(OwnSteps, AreTheSameInAnyRoundingMode) {
  const Tensor x = UniformTensor({4, 3}, 1), y = UniformTensor({4, 1}, 2);
  const auto train = [&](int mode) {
    const Sequential model({Dense(4, "tanh", {.input_shape = {3}}), Dense(1)}, {.seed = 1, .runtime = &runtime()});
    std::fesetround(mode);
    TrainStep step({.optimizer = Adam({.learning_rate = 0.1}), .runtime = &runtime()},
                   [&](StepRecorder& record, std::span<const Value> batch) {
                     return Mean(Square(record(model, batch[0]) - 1. / 3 * batch[1]));
                   });
    for (int i = 0; i < 3; ++i) step({x, y});
    std::fesetround(FE_TONEAREST);
    return model;
  };
  const Sequential nearest = train(FE_TONEAREST);
  for (int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) EXPECT_TRUE(SameWeights(nearest, train(mode))) << mode;
}

// Programs are among what the cache's limit bounds.
TEST(OwnStepsOfALimitedRuntime, CompileAgainWhatWasDropped) {
  auto made = MakeRuntime({.threads = 1, .cache_bytes = 0});
  ASSERT_TRUE(made.ok());
  Runtime& runtime = **made;
  const Sequential model({Dense(1, {.input_shape = {3}})}, {.seed = 1, .runtime = &runtime});
  TrainStep step({.optimizer = "sgd", .runtime = &runtime}, [&](StepRecorder& record, std::span<const Value> batch) {
    return Mean(Square(record(model, batch[0])));
  });
  double last = 1e9;
  for (int64_t rows : {4, 5, 4, 5}) {
    const double loss = step({Tensor::Full(DType::kFloat32, {rows, 3}, 1)})["loss"];
    EXPECT_LT(loss, last);
    last = loss;
    EXPECT_LE(runtime.cache().size(), 1u);
  }
}

TEST_P(OwnSteps, TrainWhatIsAskedFor) {
  const Sequential first({Dense(3, "tanh", {.input_shape = {2}})}, {.seed = 1, .runtime = &runtime()});
  const Sequential second({Dense(1, {.input_shape = {3}})}, {.seed = 2, .runtime = &runtime()});
  const auto loss = [&](StepRecorder& record, std::span<const Value> batch) {
    return Mean(Square(record(second, record(first, batch[0])) - batch[1]));
  };
  const Tensor x = UniformTensor({4, 2}, 1), y = UniformTensor({4, 1}, 2);
  TrainStep one({.optimizer = "sgd", .weights = second.trainable_weights(), .runtime = &runtime()}, loss);
  const Tensor kept = first.layer(0).kernel().value().Clone(), moved = second.layer(0).kernel().value().Clone();
  one({x, y});
  EXPECT_TRUE(BitEqual(first.layer(0).kernel().value(), kept));
  EXPECT_FALSE(BitEqual(second.layer(0).kernel().value(), moved));
  // All by default; what is frozen in between stays.
  TrainStep both({.optimizer = "sgd", .runtime = &runtime()}, loss);
  both({x, y});
  EXPECT_FALSE(BitEqual(first.layer(0).kernel().value(), kept));
  first.layer(0).set_trainable(false);
  const Tensor frozen = first.layer(0).kernel().value().Clone();
  both({x, y});
  EXPECT_TRUE(BitEqual(first.layer(0).kernel().value(), frozen));
  EXPECT_EQ(both.iterations(), 2);
}

TEST_P(OwnSteps, MistakesAreTold) {
  const Sequential model = Net();
  const Tensor x = UniformTensor({2, 8, 8, 3}, 1);
  const auto fails = [&](TrainStep::Function function, const char* what) {
    TrainStep step({.optimizer = "sgd", .runtime = &runtime()}, std::move(function));
    const std::string message = MessageOf([&] { step({x}); });
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  fails([&](StepRecorder& record, std::span<const Value> batch) { return record(model, batch[0]); },
        "must return the loss, a scalar of the step, returned f32[2,5]");
  fails([&](StepRecorder&, std::span<const Value> batch) { return Mean(batch[0]); }, "calls no model");
  fails([&](StepRecorder& record, std::span<const Value> batch) {
    record.Report("y", record(model, batch[0]));
    return Mean(batch[0]);
  }, "reported as 'y' is no value of one element");
  EXPECT_NE(MessageOf([] { TrainStep(Optimizer(), [](StepRecorder&, std::span<const Value>) { return Value(); }); })
                .find("there is no optimizer"),
            std::string::npos);
}

TEST_P(OwnSteps, AModelIsAFunctionOfValues) {
  const Sequential model = Net();
  const Tensor x = UniformTensor({3, 8, 8, 3}, 1);
  const auto graph = Graph::Create();
  const Value in = graph->Data(x);
  const Value y = model(in);
  EXPECT_TRUE(BitEqual(runtime().Evaluate({&y, 1})[0], model.PredictOne(x)));
  const Value trained = model(in, /*training=*/true), again = model(in, true, /*step=*/0), later = model(in, true, 1);
  const std::vector<Value> all{trained, again, later};
  const std::vector<Tensor> values = runtime().Evaluate(all);
  EXPECT_FALSE(BitEqual(values[0], model.PredictOne(x)));
  EXPECT_TRUE(BitEqual(values[0], values[1]));
  EXPECT_FALSE(BitEqual(values[0], values[2]));
  // Differentiated like any value: the gradient of the input, as a tap has it.
  const Value loss = Sum(y);
  const Value gradient = Gradients({loss}, {in})[0];
  EXPECT_EQ(runtime().Evaluate({&gradient, 1})[0].shape(), x.shape());
  // A layer too, built when first called.
  const Layer dense = Dense(2);
  EXPECT_EQ(dense(graph->Data(UniformTensor({4, 3}, 1))).shape(), (Shape{4, 2}));
  EXPECT_NE(MessageOf([&] { dense(graph->Data(UniformTensor({4, 7}, 1))); }).find("axis -1"), std::string::npos);
}

TEST_P(OwnSteps, AProfileLeavesTheModelAsItWas) {
  const Sequential model = Net();
  const Tensor x = UniformTensor({6, 8, 8, 3}, 1), y = Labels(6, 5);
  model.Compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy"});
  model.TrainOnBatch({x, y});
  const Sequential twin = Net();
  twin.Compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy"});
  twin.TrainOnBatch({x, y});
  const std::string text = model.Profile(x, y, {.batch_size = 4, .steps = 2, .ceilings = false});
  EXPECT_NE(text.find("Model \"sequential\": a training step of 4 examples, "), std::string::npos) << text;
  for (const char* part : {"sequential/conv2d", "sequential/dense", "adam", "step 0: ", "work: ", "time: ",
                           "frontend_inspect_test.cc:"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in\n" << text;
  }
  EXPECT_EQ(model.iterations(), 1);
  EXPECT_TRUE(SameWeights(model, twin));
  model.TrainOnBatch({x, y});
  twin.TrainOnBatch({x, y});
  EXPECT_TRUE(SameWeights(model, twin));
  EXPECT_NE(model.Profile(x, {.steps = 1, .ceilings = false}).find("a prediction of 6 examples"), std::string::npos);
  EXPECT_NE(MessageOf([&] { model.Profile(x, y, {.steps = 0}); }).find("steps 0"), std::string::npos);
}

TEST(Profiles, ChangeNothingThatIsSavedWithAModel) {
  const Sequential model({Flatten({.input_shape = {2, 2, 1}}), Dense(3, "softmax")});
  model.Compile({.optimizer = "sgd", .loss = "sparse_categorical_crossentropy"});
  const Tensor x(DType::kUint8, {4, 2, 2, 1}), y = Labels(4, 3);
  model.Profile(x, y, {.steps = 1, .ceilings = false, .scale = 1 / 255.0});
  EXPECT_EQ(model.input_scale(), std::nullopt);
  EXPECT_TRUE(model.class_names().empty());
  // Nor is a model that hands on its input told to have run what another one did.
  const Sequential none({Dropout(0.5, {.input_shape = {3}})});
  EXPECT_NE(none.Profile(UniformTensor({2, 3}, 1), {.steps = 1, .ceilings = false}).find("computes nothing"),
            std::string::npos);
}

TEST(Profiles, SayWhatWinogradsWorkIsCountedAs) {
  const Sequential model({Conv2D(32, 3, {.padding = "same", .input_shape = {16, 16, 32}})},
                         {.runtime = &TestRuntime(BackendNames()[0], 2)});
  const std::string text = model.Profile(UniformTensor({2, 16, 16, 32}, 1), {.steps = 1, .ceilings = false});
  EXPECT_NE(text.find("Work is counted as that of the direct sum"), std::string::npos) << text;
  const Sequential direct({Dense(3, {.input_shape = {4}})}, {.runtime = &TestRuntime(BackendNames()[0], 2)});
  EXPECT_EQ(direct.Profile(UniformTensor({2, 4}, 1), {.steps = 1, .ceilings = false}).find("direct sum"),
            std::string::npos);
}

TEST(Diffs, BackendsAgree) {
  const Sequential model = SmallModel({.seed = 3});
  const Tensor x = UniformTensor({2, 8, 8, 3}, 1);
  for (const std::string& backend : BackendNames()) {
    const std::optional<Difference> difference = DiffBackends(model, x, backend, "reference");
    EXPECT_FALSE(difference.has_value()) << difference->message;
  }
}

TEST(Diffs, TheFirstValueThatDiffersIsFound) {
  const Sequential a = SmallModel({.seed = 3}), b = SmallModel({.seed = 3});
  const Tensor x = UniformTensor({2, 8, 8, 3}, 1);
  EXPECT_FALSE(DiffModels(a, b, x).has_value());
  Tensor kernel = b.layer(4).kernel().value().Clone();
  kernel.data<float>()[7] += 0.25f;
  b.layer(4).kernel().Assign(kernel);
  const std::optional<Difference> found = DiffModels(a, b, x);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->path, "dense/kernel");
  EXPECT_EQ(found->index, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(found->count, 1);
  EXPECT_NEAR(found->largest, 0.25, 1e-6);
  EXPECT_EQ(found->message.rfind("'dense/kernel' differs first: 1 of 320 elements, the first at (1, 2): ", 0), 0u)
      << found->message;
  const TempFolder folder;
  ASSERT_TRUE(a.Save(folder / "a").ok());
  ASSERT_TRUE(b.Save(folder / "b").ok());
  const auto files = DiffFiles(folder / "a", folder / "b", x);
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_TRUE(files->has_value());
  EXPECT_EQ((*files)->path, "dense/kernel");
  EXPECT_FALSE(DiffFiles(folder / "a", folder / "none", x).ok());
  const Sequential other({Dense(2, {.input_shape = {8, 8, 3}})});
  EXPECT_NE(DiffModels(a, other, x)->message.find("is a value of the first alone"), std::string::npos);
}

TEST(NestedSummary, ModelsAreExpandedAsKerasDoes) {
  const Sequential inner({Dense(4, {.input_shape = {3}, .name = "deep"}), Dense(2, {.name = "deeper"})}, {.name = "inner"});
  const Sequential model({inner, Dense(1, {.name = "last"})}, {.name = "outer"});
  const std::string bar = [](int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += "\u00af";
    return text;
  }(63), full = bar + "\u00af\u00af";
  const std::string expected =
      "Model: \"outer\"\n"
      "_________________________________________________________________\n"
      " Layer (type)                Output Shape              Param #   \n"
      "=================================================================\n"
      " inner (Sequential)          (None, 2)                 26        \n"
      "|" + bar + "|\n"
      "| deep (Dense)              (None, 4)                 16        |\n"
      "|                                                               |\n"
      "| deeper (Dense)            (None, 2)                 10        |\n" +
      full + "\n"
      "                                                                 \n"
      " last (Dense)                (None, 1)                 3         \n"
      "                                                                 \n"
      "=================================================================\n"
      "Total params: 29\nTrainable params: 29\nNon-trainable params: 0\n"
      "_________________________________________________________________\n";
  EXPECT_EQ(model.SummaryText({.expand_nested = true}), expected);
  EXPECT_EQ(model.SummaryText().find("deep"), std::string::npos);
}

template <class T>
concept GivesData = requires(T&& tensor) { std::forward<T>(tensor).template data<float>(); };
static_assert(GivesData<Tensor&> && GivesData<const Tensor&>);
static_assert(!GivesData<Tensor> && !GivesData<const Tensor>, "the elements of a temporary tensor would dangle");

TEST(BorrowedTensors, AreSharedWhereTheyLieAsATensorsDo) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4, 5, 6});
  std::weak_ptr<std::vector<float>> alive = owner;
  {
    Tensor shared = Tensor::Borrow(owner->data(), {DType::kFloat32, {2, 3}}, owner);
    EXPECT_EQ(shared.raw(), reinterpret_cast<std::byte*>(owner->data()));
    owner.reset();
    const Tensor row = shared[1];
    shared = Tensor();
    EXPECT_FALSE(alive.expired()) << "a tensor still shares the elements";
    EXPECT_EQ(Floats(row), (std::vector<float>{4, 5, 6}));
  }
  EXPECT_TRUE(alive.expired());
}

TEST(BorrowedTensors, AreCopiedOtherwise) {
  const std::vector<float> data{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const TensorType type{DType::kFloat32, {2, 3}};
  const auto borrow = [&](size_t first, std::initializer_list<int64_t> strides) {
    return Tensor::Borrow(data.data() + first, type, nullptr, strides);
  };
  EXPECT_EQ(Floats(borrow(0, {16, 4})), (std::vector<float>{0, 1, 2, 4, 5, 6})) << "rows of four";
  EXPECT_EQ(Floats(borrow(0, {4, 8})), (std::vector<float>{0, 2, 4, 1, 3, 5})) << "transposed";
  EXPECT_EQ(Floats(borrow(11, {-24, -8})), (std::vector<float>{11, 9, 7, 5, 3, 1})) << "backwards";
  EXPECT_EQ(Floats(borrow(5, {0, 0})), std::vector<float>(6, 5)) << "one element";
  EXPECT_EQ(borrow(0, {12, 4}).raw(), reinterpret_cast<const std::byte*>(data.data())) << "without gaps";
  std::vector<std::byte> bytes(1 + 6 * sizeof(float));
  std::memcpy(bytes.data() + 1, data.data(), 6 * sizeof(float));
  EXPECT_EQ(Floats(Tensor::Borrow(bytes.data() + 1, type)), (std::vector<float>{0, 1, 2, 3, 4, 5})) << "unaligned";
  // Along an axis of one element a stride says nothing.
  EXPECT_EQ(Tensor::Borrow(data.data(), {DType::kFloat32, {1, 3}}, nullptr, {999, 4}).raw(),
            reinterpret_cast<const std::byte*>(data.data()));
  EXPECT_EQ(Tensor::Borrow(nullptr, {DType::kFloat32, {0, 3}}).size(), 0);
  EXPECT_NE(MessageOf([&] { borrow(0, {4}); }).find("1 strides for a tensor of rank 2"), std::string::npos);
  EXPECT_NE(MessageOf([&] { Tensor::Borrow(nullptr, type); }).find("there is no data"), std::string::npos);
}

TEST(BorrowedTensors, AreInputsOfModels) {
  const Sequential model = SmallModel({.seed = 3});
  const Tensor x = UniformTensor({4, 8, 8, 3}, 1);
  std::vector<float> buffer(Floats(x));
  const Tensor shared = Tensor::Borrow(buffer.data(), x.type());
  EXPECT_TRUE(BitEqual(model.PredictOne(shared), model.PredictOne(x)));
  // Every second picture.
  const int64_t row = 8 * 8 * 3 * 4;
  const Tensor half = Tensor::Borrow(x.raw(), {DType::kFloat32, {2, 8, 8, 3}}, nullptr, {2 * row, row / 8, 12, 4});
  const Tensor all = model.PredictOne(x), some = model.PredictOne(half);
  EXPECT_TRUE(BitEqual(some[0], all[0]));
  EXPECT_TRUE(BitEqual(some[1], all[2]));
}

// Bytes where numbers of about one are meant: said once a model.
TEST(ByteWarnings, AreSaidOnceAndOnlyWhereNothingScales) {
  const auto says = [](const Model& model, const Tensor& x, double scale) {
    testing::internal::CaptureStderr();
    model.Predict(x, {.scale = scale});
    return testing::internal::GetCapturedStderr();
  };
  const Tensor bytes = Tensor::Full(DType::kUint8, {1, 8, 8, 3}, 200), flags = Tensor::Full(DType::kUint8, {1, 8, 8, 3}, 1);
  const Sequential model = SmallModel();
  EXPECT_EQ(says(model, flags, 1), "");
  EXPECT_EQ(says(model, bytes, 1 / 255.), "");
  EXPECT_NE(says(model, bytes, 1).find("weir: warning: model \"sequential\" is fed bytes up to 200"), std::string::npos);
  EXPECT_EQ(says(model, bytes, 1), "");
  const Sequential scaled({Rescaling(1. / 255, {.input_shape = {8, 8, 3}}), Flatten(), Dense(2)});
  EXPECT_EQ(says(scaled, bytes, 1), "");
}

}  // namespace
}  // namespace weir
