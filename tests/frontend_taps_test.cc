// Taps: names, values, gradients, statistics, and that looking changes nothing.
#include "frontend_test_util.h"
#include "sanitized.h"

namespace weir {
namespace {

Sequential ReluNet(Runtime& runtime) {
  return Sequential(
      {Conv2D({.filters = 8, .kernel_size = 3, .padding = "same", .activation = "relu", .input_shape = {8, 8, 3}}),
       MaxPooling2D(), Flatten(), Dense({.units = 5, .activation = "softmax"})},
      {.seed = 2, .runtime = &runtime});
}

class Taps : public testing::TestWithParam<std::string> {
 protected:
  Runtime& runtime() { return TestRuntime(GetParam(), 2); }
};
INSTANTIATE_TEST_SUITE_P(Backends, Taps, testing::ValuesIn(BackendNames()));

TEST_P(Taps, TheTappedValueIsWhatTheLayerMade) {
  const Sequential model = ReluNet(runtime());
  const Tensor x = UniformTensor({3, 8, 8, 3}, 1);
  const Tensor untapped = model.PredictOne(x);
  const TapHandle before = model.Tap("conv2d/pre_activation"), after = model.Tap("conv2d"),
                  pooled = model.Tap("max_pooling2d");
  EXPECT_TRUE(BitEqual(model.PredictOne(x), untapped));
  float smallest = 0;
  for (float v : before.value().data<float>()) smallest = std::min(smallest, v);
  EXPECT_LT(smallest, 0);
  const std::vector<float> z = Floats(before.value()), y = Floats(after.value());
  for (size_t i = 0; i < z.size(); ++i) ASSERT_EQ(std::max(z[i], 0.f), y[i]);
  EXPECT_TRUE(
      BitEqual(Model(model.inputs(), model.layer(1).output(), {.runtime = &runtime()}).PredictOne(x), pooled.value()));
  // A later run leaves what was handed out alone.
  const Tensor kept = before.value(), copy = kept.Clone();
  model.PredictOne(UniformTensor({3, 8, 8, 3}, 2));
  EXPECT_TRUE(BitEqual(kept, copy));
  EXPECT_FALSE(BitEqual(before.value(), copy));
}

// A layer that only renames what it is given hands out the caller's elements.
TEST_P(Taps, AViewOfTheInputIsACopy) {
  const Sequential model({Flatten({.input_shape = {2, 3}}), Dense(2)}, {.runtime = &runtime()});
  Tensor x = UniformTensor({4, 2, 3}, 1);
  const TapHandle flat = model.Tap("flatten");
  model.PredictOne(x);
  const Tensor kept = flat.value(), copy = x.Clone().Reshaped({4, 6});
  EXPECT_TRUE(BitEqual(kept, copy));
  model.PredictOne(UniformTensor({4, 2, 3}, 2));
  EXPECT_TRUE(BitEqual(kept, copy)) << "a later run";
  x.data<float>()[0] = 5;
  EXPECT_TRUE(BitEqual(kept, copy)) << "the caller's change";
}

TEST_P(Taps, TrainingIsBitEqualWithAndWithout) {
  const Tensor x = UniformTensor({10, 8, 8, 3}, 1), y = Labels(10, 5);
  const auto train = [&](std::vector<TapRequest> taps) {
    const Sequential model = SmallModel({.seed = 4, .runtime = &runtime()});
    CompileTutorial(model);
    model.Fit(x, y, {.batch_size = 4, .epochs = 3, .verbose = 0, .taps = std::move(taps)});
    return model;
  };
  int readings = 0;
  const TapReceiver count = [&](const TapReading& reading) {
    EXPECT_TRUE(reading.value.defined());
    ++readings;
  };
  EXPECT_TRUE(SameWeights(train({}), train({{"**", {.receive = count}},
                                            {"**/conv2d*/**", {.gradient = true, .receive = count}},
                                            {"dense/kernel", {.gradient = true, .receive = count}}})));
  EXPECT_GT(readings, 9 * 10);
}

// Data for the leaves of a recorded training step: labels in range, a step number, positive second moments.
std::vector<Tensor> LeafData(const Program& program) {
  std::vector<Tensor> data;
  for (Ref ref : program.inputs) {
    const TensorType& type = program.graph->type(ref);
    if (type.dtype == DType::kFloat32) {
      data.push_back(UniformTensor(type.shape, static_cast<uint32_t>(data.size())));
      for (float& v : data.back().data<float>()) v = type.shape.size() == 1 ? 0.001f : 0.1f * v;
    } else if (type.dtype == DType::kInt32) {
      data.push_back(Labels(type.shape.size(), 10));
    } else {
      data.push_back(Tensor::Full(type.dtype, type.shape, 3));
    }
  }
  return data;
}

std::vector<Tensor> RunProgram(Runtime& runtime, const Program& program, const std::vector<Tensor>& data) {
  std::vector<Value> inputs, roots;
  const auto graph = std::const_pointer_cast<Graph>(program.graph);
  for (Ref ref : program.inputs) inputs.push_back({graph, ref});
  for (Ref ref : program.roots) roots.push_back({graph, ref});
  const auto executable = runtime.Compile(inputs, roots);
  ThrowIfError(executable.status());
  std::vector<Tensor> leaves, results(roots.size());
  for (size_t i = 0; i < data.size(); ++i) {
    leaves.push_back((*executable)->plan().input_written[i] ? data[i].Clone() : data[i]);
  }
  ThrowIfError(runtime.Run(**executable, leaves, results));
  return results;
}

// Every value inside of the tutorial's training step, forward, backward and update: tapped all at once, and many of
// them alone, they are the reference's, and nothing else changes.
TEST_P(Taps, EveryInnerValueOfATrainingStep) {
  const Sequential model = TutorialModel({.seed = 1, .runtime = &runtime()});
  CompileTutorial(model);
  model.TrainOnBatch({UniformTensor({2, 32, 32, 3}, 1), Labels(2, 10)});
  const Program program = runtime().cache().Executables().front()->plan().program;  // the last one run
  const std::vector<Tensor> data = LeafData(program);
  std::vector<Ref> inner;
  for (NodeId id = 0; id < program.graph->size(); ++id) {
    const OpKind kind = program.graph->node(id).op->kind;
    if (kind != OpKind::kLeaf && kind != OpKind::kAssign) inner.push_back({id, 0});
  }
  ASSERT_GT(inner.size(), 100u);
  Program all = program;
  all.roots.insert(all.roots.end(), inner.begin(), inner.end());
  const std::vector<Tensor> expected = RunProgram(TestRuntime("reference", 2), all, data);
  const std::vector<Tensor> together = RunProgram(runtime(), all, data);
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_TRUE(BitEqual(together[i], expected[i])) << i;
  constexpr size_t kEvery = kSanitized ? 20 : 7;
  for (size_t i = 0; i < inner.size(); i += kEvery) {
    Program one = program;
    one.roots.push_back(inner[i]);
    const std::vector<Tensor> results = RunProgram(runtime(), one, data);
    const std::string path = program.graph->Path(inner[i].node);
    for (size_t r = 0; r + 1 < results.size(); ++r) {
      ASSERT_TRUE(BitEqual(results[r], expected[r])) << path << " changes root " << r;
    }
    ASSERT_TRUE(BitEqual(results.back(), expected[program.roots.size() + i])) << path;
  }
}

TEST_P(Taps, GradientsOfActivations) {
  // y = sum(w x): the gradient of the loss is known.
  const Sequential model({Dense({.units = 1, .use_bias = false, .input_shape = {3}})}, {.runtime = &runtime()});
  model.layer(0).kernel().Assign(Tensor::Of<float>({3, 1}, {1, 2, 3}));
  model.Compile({.optimizer = "sgd", .loss = "mse"});
  const Tensor x = Tensor::Of<float>({1, 3}, {1, 1, 2}), y = Tensor::Of<float>({1, 1}, {5});  // prediction 9
  std::map<std::string, Tensor> seen;
  const TapOptions gradient{.gradient = true, .receive = [&](const TapReading& r) { seen[r.path] = r.value; }};
  model.Evaluate(x, y, {.taps = {{"dense", gradient}, {"dense/kernel", gradient}, {"dense_input", gradient}}});
  EXPECT_EQ(Floats(seen.at("sequential/dense/output")), (std::vector<float>{8}));
  EXPECT_EQ(Floats(seen.at("sequential/dense/kernel")), (std::vector<float>{8, 8, 16}));
  EXPECT_EQ(Floats(seen.at("sequential/dense_input/output")), (std::vector<float>{8, 16, 24}));
  EXPECT_NE(MessageOf([&] {
              model.Predict(x, {.taps = {{"dense", gradient}}});
            }).find("Predict has no loss"),
            std::string::npos);
}

TEST_P(Taps, StatisticsOnly) {
  const Sequential model = ReluNet(runtime());
  const TapHandle tap = model.Tap("conv2d", {.statistics_only = true});
  const TapHandle full = model.Tap("conv2d");
  model.PredictOne(UniformTensor({2, 8, 8, 3}, 1));
  EXPECT_FALSE(tap.value().defined());
  const TapStatistics& s = tap.reading().statistics;
  double sum = 0;
  int64_t zeros = 0;
  for (float v : full.value().data<float>()) {
    sum += v;
    zeros += v == 0;
  }
  EXPECT_EQ(s.count, 2 * 8 * 8 * 8);
  EXPECT_EQ(s.zeros, zeros);
  EXPECT_NEAR(s.mean, sum / static_cast<double>(s.count), 1e-12);
  EXPECT_EQ(s.min, 0);
  EXPECT_EQ(s.nans, 0);
  EXPECT_GT(s.std, 0);
}

// A handle on what only training has reads trainings, and disturbs no other run.
TEST_P(Taps, WhatOnlyTrainingHas) {
  const Sequential model = SmallModel({.seed = 4, .runtime = &runtime()}, /*dropout=*/0.5);
  const TapHandle early = model.Tap("dropout/mask");  // before there is a loss
  CompileTutorial(model);
  const TapHandle mask = model.Tap("dropout/mask"), output = model.Tap("dropout"), input = model.Tap("flatten"),
                  loss = model.Tap("loss"), gradients = model.Tap("**/conv_filter_gradient*"),
                  moments = model.Tap("adam/**_momentum", {.statistics_only = true});
  const Tensor x = UniformTensor({6, 8, 8, 3}, 1), y = Labels(6, 5);
  const Tensor untapped = model.PredictOne(x);
  EXPECT_TRUE(mask.readings().empty());
  EXPECT_TRUE(moments.readings().empty());
  const double trained = model.TrainOnBatch({x, y})["loss"];
  const Tensor keep = mask.value();
  ASSERT_EQ(keep.dtype(), DType::kBool);
  ASSERT_TRUE(BitEqual(keep, early.value()));
  const std::vector<float> before = Floats(input.value()), after = Floats(output.value());
  int64_t kept = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const bool keeps = keep.data<bool>()[i];
    kept += keeps;
    ASSERT_EQ(after[i], keeps ? before[i] * 2 : 0) << i;
  }
  EXPECT_GT(kept, 0);
  EXPECT_LT(kept, keep.size());
  EXPECT_EQ(loss.value().item<double>(), trained);
  ASSERT_EQ(gradients.readings().size(), 1u);
  EXPECT_EQ(gradients.value().shape(), (Shape{3, 3, 3, 4}));
  EXPECT_EQ(moments.readings().size(), 4u);
  // Other runs go on, and leave what was read.
  model.PredictOne(x);
  const double evaluated = model.Evaluate(x, y)["loss"];
  EXPECT_EQ(loss.value().item<double>(), evaluated);
  EXPECT_TRUE(BitEqual(mask.value(), keep));
  EXPECT_EQ(gradients.readings().size(), 1u);
  model.Fit(x, y, {.batch_size = 3, .epochs = 1, .verbose = 0, .validation_split = 0.5});
  EXPECT_EQ(mask.value().shape()[0], 3);
}

// Of a call's own taps one that this kind of run can't serve is a mistake, told as what it is.
TEST_P(Taps, AskedOfTheWrongKindOfRun) {
  const Sequential model = SmallModel({.runtime = &runtime()}, /*dropout=*/0.5);
  CompileTutorial(model);
  const Tensor x = UniformTensor({6, 8, 8, 3}, 1), y = Labels(6, 5);
  for (const std::string& message : {MessageOf([&] { model.Predict(x, {.taps = {"dropout/mask"}}); }),
                                     MessageOf([&] { model.Evaluate(x, y, {.taps = {"dropout/mask"}}); })}) {
    EXPECT_EQ(message, "Tap: 'dropout/mask' exists in training only: tap Fit or TrainOnBatch");
  }
  EXPECT_NE(MessageOf([&] { model.Evaluate(x, y, {.taps = {"adam/**"}}); }).find("unknown value 'adam/**'"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] { model.Tap("dropout/musk"); }).find("unknown value 'dropout/musk'"), std::string::npos);
  EXPECT_NE(MessageOf([&] { model.Tap("dropout/mask", {.gradient = true}); }).find("it has no gradient"), std::string::npos);
  const Sequential fresh = SmallModel({.runtime = &runtime()});
  EXPECT_NE(MessageOf([&] { fresh.Tap("adam/**"); }).find("unknown value"), std::string::npos);
  EXPECT_EQ(fresh.Tap("loss").readings().size(), 0u);
}

TEST_P(Taps, LossesOfSeveralOutputs) {
  const SymbolicTensor input = Input({3});
  const Model model(input, {Dense({.units = 2, .name = "small"})(input), Dense({.units = 4, .name = "big"})(input)},
                    {.runtime = &runtime()});
  model.Compile({.optimizer = "sgd", .loss = {{"small", "mse"}, {"big", "mae"}}});
  const TapHandle small = model.Tap("small_loss"), big = model.Tap("big_loss"), both = model.Tap("loss");
  const Logs logs = model.TrainOnBatch(Examples(std::vector<Tensor>{UniformTensor({5, 3}, 1)},
                                                std::vector<Tensor>{UniformTensor({5, 2}, 2), UniformTensor({5, 4}, 3)}));
  EXPECT_EQ(small.value().item<double>(), logs["small_loss"]);
  EXPECT_EQ(big.value().item<double>(), logs["big_loss"]);
  EXPECT_EQ(both.value().item<double>(), logs["loss"]);
}

TEST(TapNames, SharedLayersAreAddressedByUse) {
  const Layer dense = Dense({.units = 3, .activation = "relu"});
  const SymbolicTensor input = Input({3});
  const Model model(input, dense(dense(input)));
  const std::string message = MessageOf([&] { model.Tap("dense"); });
  EXPECT_NE(message.find("'dense' is ambiguous, it may be model/dense#0/output, model/dense#1/output"),
            std::string::npos)
      << message;
  const TapHandle first = model.Tap("dense#0"), second = model.Tap("dense#1"), kernel = model.Tap("dense/kernel");
  const Tensor y = model.PredictOne(UniformTensor({2, 3}, 1));
  EXPECT_TRUE(BitEqual(second.value(), y));
  EXPECT_FALSE(BitEqual(first.value(), y));
  EXPECT_TRUE(BitEqual(kernel.value(), dense.kernel().value()));
}

TEST(TapNames, GlobsAndNestedModels) {
  const Sequential inner({Dense({.units = 4, .activation = "tanh", .input_shape = {3}, .name = "deep"})},
                         {.name = "inner"});
  const Sequential model({inner, Dense({.units = 2, .activation = "relu"})});
  const Tensor x = UniformTensor({2, 3}, 1);
  const TapHandle deep = model.Tap("deep"), all = model.Tap("**/pre_activation"),
                  full = model.Tap("sequential/inner/deep/kernel");
  model.PredictOne(x);
  EXPECT_TRUE(BitEqual(deep.value(), inner.PredictOne(x)));
  ASSERT_EQ(all.readings().size(), 2u);
  EXPECT_EQ(all.readings()[0].path, "sequential/inner/deep/pre_activation");
  EXPECT_EQ(all.readings()[1].path, "sequential/dense/pre_activation");
  EXPECT_EQ(full.value().shape(), (Shape{3, 4}));
}

TEST(TapNames, AnyNodeOfTheGraph) {
  const Sequential model = SmallModel();
  const TapHandle convolution = model.Tap("sequential/conv2d/conv_*");
  model.PredictOne(UniformTensor({1, 8, 8, 3}, 1));
  ASSERT_EQ(convolution.readings().size(), 1u);
  EXPECT_EQ(convolution.value().shape(), (Shape{1, 8, 8, 4}));
}

TEST(TapNames, UnknownNamesListTheNearest) {
  const Sequential model = SmallModel();
  const std::string message = MessageOf([&] { model.Tap("conv2s"); });
  EXPECT_NE(message.find("unknown value 'conv2s' (did you mean 'conv2d'?)"), std::string::npos) << message;
}

TEST(TapNames, HandlesEndWithTheirLife) {
  const Sequential model = SmallModel();
  const Tensor x = UniformTensor({1, 8, 8, 3}, 1);
  int calls = 0;
  {
    const TapHandle tap = model.Tap("conv2d", {.receive = [&](const TapReading&) { ++calls; }});
    model.PredictOne(x);
  }
  model.PredictOne(x);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace weir
