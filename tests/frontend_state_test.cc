// State of layers: what a training step keeps for the next besides the weights it trains.
#include <csignal>
#include <nlohmann/json.hpp>

#include "frontend_test_util.h"
#include "weir/frontend/layers/custom.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

// Takes the mean away: the batch's in training, a moving one in inference, as batch normalization does; and counts the
// batches it has seen.
class CenterLayer : public LayerBase {
 public:
  explicit CenterLayer(LayerOptions options = {}) : LayerBase("Center", std::move(options)) {}

  void Build(std::span<const TensorSpec> inputs) override {
    offset_ = AddWeight({.name = "offset", .shape = {inputs[0].dims.back()}});
    mean_ = AddWeight({.name = "moving_mean", .shape = {inputs[0].dims.back()}, .trainable = false});
    count_ = AddWeight({.name = "batches", .trainable = false, .dtype = DType::kInt64});
  }

  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    const Value& x = inputs[0];
    Value mean = context.Weight(mean_);
    if (context.training() && trainable()) {
      const Value batch = Mean(x, {0});
      context.Assign(mean_, mean * 0.75 + batch * 0.25);
      context.Assign(count_, context.Weight(count_) + 1);
      mean = batch;
    }
    return {x - mean + context.Weight(offset_)};
  }

  nlohmann::json Config() const override { return nlohmann::json::object(); }

 private:
  Variable offset_, mean_, count_;
};

Layer Center(LayerOptions options = {}) { return Layer(std::make_shared<CenterLayer>(std::move(options))); }

int64_t Batches(const Layer& layer) { return layer.weight("batches").value().item<int64_t>(); }

class LayerState : public testing::TestWithParam<std::string> {
 protected:
  Runtime& runtime() { return TestRuntime(GetParam(), 2); }

  Sequential Centered(uint64_t seed = 3) {
    return Sequential({Dense({.units = 4, .input_shape = {3}}), Center(), Dense(2)}, {.seed = seed, .runtime = &runtime()});
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, LayerState, testing::ValuesIn(BackendNames()));

TEST_P(LayerState, AMovingMeanMovesInTrainingOnly) {
  const Sequential model({Center({.input_shape = {2}})}, {.runtime = &runtime()});
  const Layer center = model.layer(0);
  model.Compile({.optimizer = SGD({.learning_rate = 0}), .loss = "mse"});
  const Tensor x = Tensor::Of<float>({2, 2}, {1, 2, 3, 6}), y = Tensor(DType::kFloat32, {2, 2});
  EXPECT_EQ(Floats(model.PredictOne(x)), (std::vector<float>{1, 2, 3, 6}));
  model.Evaluate(x, y);
  EXPECT_EQ(Batches(center), 0);
  // Training sees the batch's mean (2, 4): differences -1, -2, 1, 2.
  EXPECT_EQ(model.TrainOnBatch({x, y})["loss"], 2.5);
  EXPECT_EQ(Floats(center.weight("moving_mean").value()), (std::vector<float>{0.5, 1}));
  EXPECT_EQ(Batches(center), 1);
  model.TrainOnBatch({x, y});
  EXPECT_EQ(Floats(center.weight("moving_mean").value()), (std::vector<float>{0.875, 1.75}));
  EXPECT_EQ(Batches(center), 2);
  EXPECT_EQ(Floats(model.PredictOne(x)), (std::vector<float>{0.125, 0.25, 2.125, 4.25}));
  EXPECT_EQ(center.non_trainable_weights().size(), 2u);
  EXPECT_EQ(center.trainable_weights().size(), 1u);
}

TEST_P(LayerState, FitCountsEveryBatchAndNoValidation) {
  const Sequential model = Centered();
  model.Compile({.optimizer = "adam", .loss = "mse"});
  const Tensor x = UniformTensor({10, 3}, 1), y = UniformTensor({10, 2}, 2);
  model.Fit(x, y, {.batch_size = 2, .epochs = 3, .verbose = 0, .validation_split = 0.3});
  EXPECT_EQ(Batches(model.layer(1)), 12);
}

// Optimizers with decay, clipping and averages train the weights alone.
TEST_P(LayerState, NoOptimizerTouchesIt) {
  for (const Optimizer& optimizer : {AdamW({.weight_decay = 0.5, .clipnorm = 1e-3}), SGD({.momentum = 0.9, .use_ema = true})}) {
    const Sequential model = Centered();
    model.Compile({.optimizer = optimizer, .loss = "mse"});
    const Tensor x = UniformTensor({4, 3}, 1), y = UniformTensor({4, 2}, 2);
    const TapHandle dense = model.Tap("dense/output");
    std::vector<float> mean(4, 0);
    for (int step = 0; step < 3; ++step) {
      model.TrainOnBatch({x, y});
      const std::vector<float> values = Floats(dense.value()), moving = Floats(model.layer(1).weight("moving_mean").value());
      for (size_t c = 0; c < 4; ++c) {
        const double batch = (static_cast<double>(values[c]) + values[4 + c] + values[8 + c] + values[12 + c]) / 4;
        mean[c] = static_cast<float>(0.75 * mean[c] + 0.25 * batch);
        EXPECT_NEAR(moving[c], mean[c], 1e-6);
      }
    }
    EXPECT_EQ(Batches(model.layer(1)), 3);
  }
}

// A frozen layer leaves its state alone, also if it has nothing else that could be frozen.
TEST_P(LayerState, AFrozenLayerKeepsIt) {
  const Sequential model = Centered();
  model.Compile({.optimizer = "adam", .loss = "mse"});
  const Examples data(UniformTensor({4, 3}, 1), UniformTensor({4, 2}, 2));
  model.TrainOnBatch(data);
  model.layer(1).set_trainable(false);
  model.TrainOnBatch(data);
  EXPECT_EQ(Batches(model.layer(1)), 1);
  model.layer(1).set_trainable(true);
  model.TrainOnBatch(data);
  EXPECT_EQ(Batches(model.layer(1)), 2);
}

// Two uses in one step: the second sees what the first made.
TEST_P(LayerState, UsesOfASharedLayerFollowEachOther) {
  const Layer center = Center();
  const SymbolicTensor a = Input({2}), b = Input({2});
  const Model model({a, b}, Add()({center(a), center(b)}), {.runtime = &runtime()});
  model.Compile({.optimizer = SGD({.learning_rate = 0}), .loss = "mse"});
  const Tensor x = Tensor::Of<float>({1, 2}, {4, 8}), z = Tensor::Of<float>({1, 2}, {8, 16});
  model.TrainOnBatch(Examples(std::vector<Tensor>{x, z}, std::vector<Tensor>{Tensor(DType::kFloat32, {1, 2})}));
  // 4 / 4 = 1, then 1 * 3 / 4 + 8 / 4 = 2.75.
  EXPECT_EQ(Floats(center.weight("moving_mean").value()), (std::vector<float>{2.75, 5.5}));
  EXPECT_EQ(Batches(center), 2);
}

TEST_P(LayerState, ALayerInNestedModelsHasOneState) {
  const Sequential inner({Center({.input_shape = {2}}), Dense(2)}, {.name = "inner", .runtime = &runtime()});
  const SymbolicTensor input = Input({2});
  const Model outer(input, Dense(1)(inner(input)), {.runtime = &runtime()});
  outer.Compile({.optimizer = "sgd", .loss = "mse"});
  inner.Compile({.optimizer = "sgd", .loss = "mse"});
  const Tensor x = UniformTensor({4, 2}, 1);
  outer.TrainOnBatch({x, UniformTensor({4, 1}, 2)});
  EXPECT_EQ(Batches(inner.layer(0)), 1);
  inner.TrainOnBatch({x, UniformTensor({4, 2}, 2)});
  EXPECT_EQ(Batches(inner.layer(0)), 2);
  outer.layer(1).set_trainable(false);
  outer.TrainOnBatch({x, UniformTensor({4, 1}, 2)});
  EXPECT_EQ(Batches(inner.layer(0)), 2);
}

TEST_P(LayerState, IsSavedAndLoaded) {
  RegisterLayer<CenterLayer>("test>Center",
                             [](const LayerConfig&) { return std::make_shared<CenterLayer>(LayerOptions{}); });
  const TempFolder folder;
  const Sequential model = Centered();
  model.Compile({.optimizer = "adam", .loss = "mse"});
  const Tensor x = UniformTensor({9, 3}, 1), y = UniformTensor({9, 2}, 2);
  model.Fit(x, y, {.batch_size = 4, .epochs = 2, .verbose = 0});
  ASSERT_TRUE(model.Save(folder.path() + "/model").ok());
  const Sequential loaded = Centered(/*seed=*/8);
  ASSERT_TRUE(loaded.LoadWeights(folder.path() + "/model").ok());
  EXPECT_EQ(Batches(loaded.layer(1)), 6);
  EXPECT_TRUE(SameWeights(model, loaded));
  EXPECT_TRUE(BitEqual(model.PredictOne(x), loaded.PredictOne(x)));
  const absl::StatusOr<Model> whole = LoadModel(folder.path() + "/model", {.runtime = &runtime()});
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_TRUE(SameWeights(model, *whole));
}

// Interrupted in an epoch and gone on with, a training has the state of one that was not.
TEST_P(LayerState, GoesOnWhereFitStopped) {
  const Tensor x = UniformTensor({12, 3}, 1), y = UniformTensor({12, 2}, 2);
  const auto make = [&] {
    const Sequential model = Centered();
    model.Compile({.optimizer = "adam", .loss = "mse"});
    return model;
  };
  const Sequential whole = make(), parts = make();
  whole.Fit(x, y, {.batch_size = 4, .epochs = 3, .verbose = 0});
  const CallbackPtr stop = LambdaCallback({.on_batch_end = [](FitContext& fit, int64_t, const Logs&) {
    if (fit.model().iterations() == 5) raise(SIGINT);
  }});
  EXPECT_TRUE(parts.Fit(x, y, {.batch_size = 4, .epochs = 3, .verbose = 0, .callbacks = {stop}}).interrupted);
  EXPECT_EQ(Batches(parts.layer(1)), 5);
  parts.Fit(x, y, {.batch_size = 4, .epochs = 3, .verbose = 0, .resume = true});
  EXPECT_EQ(Batches(parts.layer(1)), 9);
  EXPECT_TRUE(SameWeights(whole, parts));
}

TEST_P(LayerState, TheBestWeightsAreRestoredWithIt) {
  const Sequential model = Centered();
  model.Compile({.optimizer = SGD({.learning_rate = 0}), .loss = "mse"});
  const Tensor x = UniformTensor({4, 3}, 1), y = UniformTensor({4, 2}, 2);
  model.Fit(x, y, {.batch_size = 4, .epochs = 5, .verbose = 0,
                   .callbacks = {EarlyStopping({.monitor = "loss", .patience = 2, .restore_best_weights = true})}});
  EXPECT_EQ(Batches(model.layer(1)), 1);  // the first epoch was the best
}

TEST_P(LayerState, AGuardedStepThatFailsChangesNone) {
  const Sequential model = Centered();
  model.Compile({.optimizer = "sgd", .loss = "mse"});
  Tensor x = UniformTensor({4, 3}, 1);
  x.data<float>()[3] = NAN;
  model.Fit(x, UniformTensor({4, 2}, 2), {.batch_size = 4, .epochs = 1, .verbose = 0, .callbacks = {TerminateOnNaN()}});
  EXPECT_EQ(Batches(model.layer(1)), 0);
  EXPECT_EQ(Floats(model.layer(1).weight("moving_mean").value()), std::vector<float>(4, 0));
}

TEST_P(LayerState, CanBeTapped) {
  const Sequential model = Centered();
  model.Compile({.optimizer = "sgd", .loss = "mse"});
  const TapHandle before = model.Tap("center/moving_mean"), after = model.Tap("center/moving_mean/assigned");
  const Examples data(UniformTensor({4, 3}, 1), UniformTensor({4, 2}, 2));
  model.TrainOnBatch(data);
  EXPECT_EQ(Floats(before.value()), std::vector<float>(4, 0));
  const Tensor now = model.layer(1).weight("moving_mean").value();
  EXPECT_TRUE(BitEqual(after.value(), now));
  const Tensor kept = now.Clone();
  model.TrainOnBatch(data);
  EXPECT_TRUE(BitEqual(now, kept)) << "a value that was handed out has changed";
  EXPECT_TRUE(BitEqual(before.value(), kept));
  // Inference has no such value: the reading stays.
  const Tensor last = after.value();
  model.PredictOne(UniformTensor({4, 3}, 3));
  EXPECT_TRUE(BitEqual(after.value(), last));
}

// What is stored may be any value: another variable's, itself, the input, a constant.
class SwapLayer : public LayerBase {
 public:
  SwapLayer() : LayerBase("Swap", {}) {}
  void Build(std::span<const TensorSpec> /*inputs*/) override {
    a_ = AddWeight({.name = "a", .shape = {2}, .initializer = "ones", .trainable = false});
    b_ = AddWeight({.name = "b", .shape = {2}, .trainable = false});
    same_ = AddWeight({.name = "same", .shape = {2}, .initializer = "ones", .trainable = false});
    input_ = AddWeight({.name = "input", .shape = {1, 2}, .trainable = false});
    constant_ = AddWeight({.name = "constant", .shape = {2}, .trainable = false});
    w_ = AddWeight({.name = "w", .shape = {2}, .initializer = "ones"});
  }
  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    if (context.training()) {
      const Value a = context.Weight(a_), b = context.Weight(b_);
      context.Assign(a_, b);
      context.Assign(b_, a);
      context.Assign(same_, context.Weight(same_));
      context.Assign(input_, inputs[0]);
      context.Assign(constant_, Constant(a, 7, DType::kFloat32, {2}));
    }
    return {inputs[0] * context.Weight(w_)};
  }
  nlohmann::json Config() const override { return nlohmann::json::object(); }

 private:
  Variable a_, b_, same_, input_, constant_, w_;
};

TEST_P(LayerState, AnyValueCanBeStored) {
  const Layer swap(std::make_shared<SwapLayer>());
  const SymbolicTensor input = Input({2});
  const Model model(input, swap(input), {.runtime = &runtime()});
  model.Compile({.optimizer = "adam", .loss = "mse"});
  Tensor x = Tensor::Of<float>({1, 2}, {3, 5});
  const auto values = [&](const char* name) { return Floats(swap.weight(name).value()); };
  for (int step = 1; step <= 3; ++step) {
    model.TrainOnBatch({x, Tensor(DType::kFloat32, {1, 2})});
    x = Tensor::Of<float>({1, 2}, {3, 5});  // what is kept isn't the caller's tensor
    const float odd = step % 2 == 1 ? 1 : 0;
    EXPECT_EQ(values("a"), std::vector<float>(2, 1 - odd));
    EXPECT_EQ(values("b"), std::vector<float>(2, odd));
    EXPECT_EQ(values("same"), std::vector<float>(2, 1));
    EXPECT_EQ(values("input"), (std::vector<float>{3, 5}));
    EXPECT_EQ(values("constant"), std::vector<float>(2, 7));
  }
}

// A layer whose mistake `kind` says.
class WrongLayer : public LayerBase {
 public:
  explicit WrongLayer(int kind) : LayerBase("Wrong", {}), kind_(kind) {}
  void Build(std::span<const TensorSpec> /*inputs*/) override {
    weight_ = AddWeight({.name = "weight", .shape = {2}});
    state_ = AddWeight({.name = "state", .shape = {2}, .trainable = false});
  }
  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    const Value y = inputs[0] * context.Weight(weight_);
    if (kind_ == 0) context.Assign(state_, Mean(y, {0}));
    if (!context.training()) return {y};
    if (kind_ == 1) context.Assign(weight_, Mean(y, {0}));
    if (kind_ == 2) context.Assign(state_, y);
    if (kind_ == 3) context.Assign(state_, {});
    return {y};
  }
  nlohmann::json Config() const override { return nlohmann::json::object(); }

 private:
  int kind_;
  Variable weight_, state_;
};

TEST(LayerStateErrors, NameTheVariableAndWhatToDo) {
  const std::vector<std::string> wanted{"wrong/state at wrong: only a training step changes variables",
                                        "wrong/weight at model/wrong is trainable, what changes it is the optimizer",
                                        "wrong/state at model/wrong is f32[2], cannot be assigned f32[3,2]",
                                        "cannot be assigned an undefined value"};
  for (int kind = 0; kind < 4; ++kind) {
    const std::string message = MessageOf([&] {
      const SymbolicTensor input = Input({2});
      const Model model(input, Layer(std::make_shared<WrongLayer>(kind))(input));
      model.Compile({.loss = "mse"});
      model.TrainOnBatch({UniformTensor({3, 2}, 1), UniformTensor({3, 2}, 1)});
    });
    EXPECT_NE(message.find(wanted[static_cast<size_t>(kind)]), std::string::npos) << message;
  }
}

TEST(LayerStateErrors, WhatIsTrainedIsFloat32) {
  const std::string message = MessageOf([] { Variable({.name = "n", .shape = {2}, .dtype = DType::kInt64}, "layer"); });
  EXPECT_NE(message.find("weight layer/n is i64[2]: what is trained is float32"), std::string::npos) << message;
}

}  // namespace
}  // namespace weir
