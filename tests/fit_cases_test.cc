// Fit and its callbacks on inputs of a few numbers, with results that were calculated by hand; and what Fit refuses before
// the first epoch.
#include <signal.h>

#include <thread>

#include "frontend_test_util.h"

namespace weir {
namespace {

CallbackPtr Dictate(const std::string& key, std::vector<double> values) {
  return LambdaCallback({.on_epoch_end = [key, values](FitContext&, int64_t epoch, Logs& logs) {
    logs.Set(key, values.at(static_cast<size_t>(epoch)));
  }});
}

// A weight whose gradient is 1: |w x - y| with w x far above y.
Sequential OneWeight(const std::string& backend, const SGDOptions& sgd, double weight = 10) {
  Sequential model({Dense({.units = 1, .use_bias = false, .kernel_initializer = Constant(weight), .input_shape = {1}})},
                   {.runtime = &TestRuntime(backend, 1)});
  model.Compile({.optimizer = SGD(sgd), .loss = "mae"});
  return model;
}
Examples One() { return {Tensor::Of<float>({1, 1}, {1}), Tensor::Of<float>({1, 1}, {-1000})}; }
float Weight(const Model& model) { return model.layer(0).kernel().value().item<float>(); }

class FitOn : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Backends, FitOn, testing::ValuesIn(BackendNames()), [](const auto& info) { return info.param; });

TEST_P(FitOn, AveragesAreTakenBeforeCallbacksEndTheTraining) {
  const Sequential model = OneWeight(GetParam(), {.learning_rate = 1, .use_ema = true, .ema_momentum = 0.5});
  model.Fit(One(), {.epochs = 4,
                    .verbose = 0,
                    .callbacks = {Dictate("loss", {5, 3, 4, 4.5}),
                                  EarlyStopping({.monitor = "loss", .patience = 5, .restore_best_weights = true})}});
  EXPECT_EQ(Weight(model), 8);  // of the second epoch
}

TEST_P(FitOn, AveragesDoNotDisturbATrainingThatGoesOn) {
  const SGDOptions sgd{.learning_rate = 1, .use_ema = true, .ema_momentum = 0.5};
  const double straight = 4.96875, fresh = 5.625;
  const Sequential whole = OneWeight(GetParam(), sgd);
  whole.Fit(One(), {.epochs = 6, .verbose = 0});
  EXPECT_EQ(Weight(whole), straight);
  const Sequential interrupted = OneWeight(GetParam(), sgd);
  const CallbackPtr stop = LambdaCallback({.on_epoch_end = [](FitContext&, int64_t epoch, Logs&) {
    if (epoch == 2) raise(SIGINT);
  }});
  EXPECT_TRUE(interrupted.Fit(One(), {.epochs = 6, .verbose = 0, .callbacks = {stop}}).interrupted);
  EXPECT_EQ(Weight(interrupted), 7);  // no average
  interrupted.Fit(One(), {.epochs = 6, .verbose = 0, .resume = true});
  EXPECT_EQ(Weight(interrupted), straight);
  for (const bool resume : {false, true}) {
    for (const bool files : {false, true}) {
      Model model = OneWeight(GetParam(), sgd);
      model.Fit(One(), {.epochs = 3, .verbose = 0});
      EXPECT_EQ(Weight(model), 7.75);
      TempFolder folder;
      if (files) {
        ASSERT_TRUE(model.Save(folder / "m").ok());
        model = *LoadModel(folder / "m", {.runtime = &TestRuntime(GetParam(), 1)});
      }
      model.Fit(One(), {.epochs = 6, .verbose = 0, .initial_epoch = resume ? 0 : 3, .resume = resume});
      EXPECT_EQ(Weight(model), straight) << resume << files;
    }
  }
  // A Fit of its own begins with the weights that the model has, as in Keras.
  const Sequential twice = OneWeight(GetParam(), sgd);
  for (int i = 0; i < 2; ++i) twice.Fit(One(), {.epochs = 3, .verbose = 0});
  EXPECT_EQ(Weight(twice), fresh);
  // Weights that a user has set in between are the ones to go on from.
  const Sequential changed = OneWeight(GetParam(), sgd);
  changed.Fit(One(), {.epochs = 3, .verbose = 0});
  changed.layer(0).kernel().Assign(Tensor::Of<float>({1, 1}, {100}));
  changed.Fit(One(), {.epochs = 4, .verbose = 0, .resume = true});
  EXPECT_EQ(Weight(changed), 0.5 * 7.75 + 0.5 * 99);
}

TEST_P(FitOn, OverwrittenWeightsObeyTheirConstraint) {
  Sequential model({Dense({.units = 1,
                           .use_bias = false,
                           .kernel_initializer = Constant(0.5),
                           .kernel_constraint = NonNeg(),
                           .input_shape = {1}})},
                   {.runtime = &TestRuntime(GetParam(), 1)});
  model.Compile({.optimizer = SGD({.learning_rate = 1, .use_ema = true, .ema_momentum = 0.5, .ema_overwrite_frequency = 1}),
                 .loss = "mae"});
  model.TrainOnBatch(One());
  EXPECT_EQ(Weight(model), 0);
}

TEST_P(FitOn, ClassWeightsAreForTrainingAlone) {
  const std::vector<float> logits{0, 1};
  Tensor x(DType::kFloat32, Shape{8, 2});
  for (size_t i = 0; i < 16; ++i) x.data<float>()[i] = logits[i % 2];
  const Tensor y = Tensor::Of<int32_t>({8}, {0, 1, 0, 1, 0, 1, 1, 1});
  Sequential model({Activation("linear")}, {.runtime = &TestRuntime(GetParam(), 1)});
  model.Build({2});
  const auto fit = [&](double split, const Examples& validation, const Examples& data) {
    Sequential scaled({Dense({.units = 2, .use_bias = false, .kernel_initializer = Identity(), .input_shape = {2}})},
                      {.runtime = &TestRuntime(GetParam(), 1)});
    scaled.Compile({.optimizer = SGD({.learning_rate = 0}),
                    .loss = SparseCategoricalCrossEntropy({.from_logits = true}),
                    .weighted_metrics = {"sparse_categorical_accuracy"}});
    return scaled.Fit(data, {.batch_size = 3,
                             .verbose = 0,
                             .validation_split = split,
                             .validation_data = validation,
                             .class_weight = {{0, 1}, {1, 10}}});
  };
  const Examples all(x, y), none;
  const History split = fit(0.5, none, all), given = fit(0, Examples(x.Rows(4, 8), y.Rows(4, 8)), Examples(x.Rows(0, 4), y.Rows(0, 4)));
  EXPECT_NEAR(split["loss"][0], 2.2229393, 1e-6);
  EXPECT_NEAR(split["val_loss"][0], 0.5632617, 1e-6);
  EXPECT_NEAR(split["val_sparse_categorical_accuracy"][0], 0.75, 1e-9);
  EXPECT_EQ(split["val_loss"], given["val_loss"]);
  EXPECT_EQ(split["loss"], given["loss"]);
  // Sample weights are of the samples, and stay with those that validate.
  const History weighted = fit(0.5, none, Examples(x, y, Tensor::Of<float>({8}, {1, 1, 1, 1, 2, 0, 0, 0})));
  EXPECT_NEAR(weighted["val_loss"][0], 2 * 1.3132617 / 4, 1e-6);
}

TEST_P(FitOn, BiasesCanBeLeftOutOfWeightDecay) {
  Model model = Sequential({Dense({.units = 1, .kernel_initializer = "ones", .bias_initializer = "ones", .input_shape = {1}})},
                           {.runtime = &TestRuntime(GetParam(), 1)});
  // Without a gradient there is decay alone: w -= w * decay * rate.
  const Examples nothing(Tensor(DType::kFloat32, Shape{1, 1}), Tensor::Of<float>({1, 1}, {1}));
  const SGDOptions sgd{.learning_rate = 0.5, .weight_decay = 0.5};
  const auto step = [&](double kernel, double bias) {
    model.TrainOnBatch(nothing);
    EXPECT_EQ(model.layer(0).kernel().value().item<float>(), kernel);
    EXPECT_EQ(model.layer(0).bias().value().item<float>(), bias);
  };
  model.Compile({.optimizer = SGD(sgd).ExcludeFromWeightDecay({"bias"}), .loss = "mse"});
  step(0.75, 1);
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  model = *LoadModel(folder / "m", {.runtime = &TestRuntime(GetParam(), 1)});
  step(0.5625, 1);
  model.Compile({.optimizer = SGD(sgd).ExcludeFromWeightDecay({"bais"}), .loss = "mse"});
  EXPECT_NE(MessageOf([&] { model.TrainOnBatch(nothing); }).find("unknown weight 'bais'"), std::string::npos);
  EXPECT_NE(MessageOf([&] { SGD().ExcludeFromWeightDecay({"bias"}); }).find("no weight decay"), std::string::npos);
  EXPECT_THROW(SGD(sgd).ExcludeFromWeightDecay({""}), Error);
}

TEST(ClassWeight, NeedsOneLabelASample) {
  Sequential model({Dense({.units = 3, .input_shape = {4, 2}})});
  model.Compile({.optimizer = "sgd", .loss = "mse"});
  const Tensor x(DType::kFloat32, Shape{2, 4, 2}), y(DType::kFloat32, Shape{2, 4, 3});
  EXPECT_NE(MessageOf([&] { model.Fit(x, y, {.verbose = 0, .class_weight = {{1, 2}}}); }).find("one label a sample"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] { OneWeight("reference", {}).Fit(One(), {.verbose = 0, .class_weight = {{1, NAN}}}); }).find("class 1"),
            std::string::npos);
}

// A Fit that must be refused before anything happens, with all of these words.
void ExpectRefused(FitOptions options, const std::vector<std::string>& words, bool validation = true,
                   const OutputMetrics& metrics = {}, LearningRate rate = 1.0) {
  Sequential model({Dense({.units = 1, .use_bias = false, .kernel_initializer = Constant(10), .input_shape = {1}})});
  model.Compile({.optimizer = SGD({.learning_rate = rate}), .loss = "mae", .metrics = metrics});
  if (validation) options.validation_data = One();
  options.verbose = 0;
  const std::string message = MessageOf([&] { model.Fit(One(), options); });
  for (const std::string& word : words) EXPECT_NE(message.find(word), std::string::npos) << message << "\nlacks " << word;
  EXPECT_EQ(model.iterations(), 0);
  EXPECT_TRUE(model.history().epoch.empty());
}

TEST(RefusedBeforeTheFirstEpoch, MonitorsThatNeverComeAreNamed) {
  for (const CallbackPtr& callback :
       {EarlyStopping({.monitor = "val_los"}), ReduceLROnPlateau({.monitor = "val_los"}),
        ModelCheckpoint({.path = "/tmp/weir_never", .monitor = "val_los", .save_best_only = true})}) {
    ExpectRefused({.callbacks = {callback}}, {callback->class_name(), "'val_los'", "did you mean 'val_loss'", "known: loss"});
  }
  ExpectRefused({.callbacks = {EarlyStopping()}}, {"EarlyStopping", "val_loss", "validation_data"}, /*validation=*/false);
  ExpectRefused({.epochs = 3, .callbacks = {EarlyStopping()}, .validation_freq = 5},
                {"EarlyStopping", "val_loss", "epochs 1 to 3", "validation_freq is 5"});
  // What another callback adds is known.
  const Sequential model = OneWeight("reference", {.learning_rate = 1});
  model.Fit(One(), {.verbose = 0,
                    .callbacks = {LearningRateScheduler([](int64_t, double rate) { return rate; }),
                                  EarlyStopping({.monitor = "lr", .mode = "min"})}});
  EXPECT_EQ(model.iterations(), 1);
}

TEST(RefusedBeforeTheFirstEpoch, APathThatCannotBeMade) {
  TempFolder folder;
  const auto checkpoint = [&](const std::string& path, bool best = false, const std::string& monitor = "val_loss") {
    return std::vector<CallbackPtr>{
        ModelCheckpoint({.path = folder / path, .monitor = monitor, .save_best_only = best, .save_weights_only = true})};
  };
  for (const char* bad : {"{loss:.2}", "{loss:d}", "{epoch:x}", "{loss:.99999999999f}", "{epoch"}) {
    ExpectRefused({.callbacks = checkpoint(bad)}, {"ModelCheckpoint", bad});
  }
  ExpectRefused({.callbacks = checkpoint("{val_acc}")}, {"ModelCheckpoint", "val_acc", "known: loss, val_loss"});
  ExpectRefused({.epochs = 4, .callbacks = checkpoint("w-{epoch:02d}-{val_loss:.2f}"), .validation_freq = 2},
                {"ModelCheckpoint", "w-{epoch:02d}-{val_loss:.2f}", "val_loss", "epoch 1", "validation_freq is 2"});
  ExpectRefused({.epochs = 4, .callbacks = checkpoint("{val_loss:.2f}", true, "loss"), .validation_freq = 2},
                {"ModelCheckpoint", "val_loss", "validation_freq is 2"});
  EXPECT_TRUE(folder.Files().empty());
  std::ofstream(folder / "file") << "text";
  ExpectRefused({.callbacks = checkpoint("file/below")}, {"ModelCheckpoint", "file/below"});
  ExpectRefused({.callbacks = {ModelCheckpoint({.path = folder / "file"})}}, {"ModelCheckpoint", "is a file"});
  ExpectRefused({.callbacks = {ModelCheckpoint({.path = folder.path(), .save_weights_only = true})}}, {"is a folder"});
  // A log of an earlier training is not emptied by a Fit that is refused.
  ExpectRefused({.callbacks = {CSVLogger({.path = folder / "file"}), EarlyStopping({.monitor = "x"})}}, {"EarlyStopping"});
  EXPECT_EQ(std::filesystem::file_size(folder / "file"), 4u);
}

// What is asked about all epochs is not asked epoch by epoch.
TEST(RefusedBeforeTheFirstEpoch, NotAfterALookAtEveryEpoch) {
  constexpr int64_t kEver = std::numeric_limits<int64_t>::max();
  TempFolder folder;
  const Sequential model = OneWeight("reference", {.learning_rate = 1});
  const auto stop = LambdaCallback({.on_batch_end = [](FitContext& fit, int64_t, const Logs&) { fit.StopTraining(); }});
  model.Fit(One(), {.epochs = kEver,
                    .verbose = 0,
                    .callbacks = {stop, EarlyStopping(),
                                  ModelCheckpoint({.path = folder / "w-{val_loss:.0f}", .save_weights_only = true})},
                    .validation_data = One()});
  EXPECT_EQ(model.history().epoch.size(), 1u);
  ExpectRefused({.epochs = kEver - 1, .callbacks = {EarlyStopping()}, .validation_freq = kEver},
                {"EarlyStopping", "has no value in epochs 1 to "});
}

// A callback may ask whenever it is called, not only after a step.
TEST(FirstNonFinite, IsOfTheLastStep) {
  const Sequential model = OneWeight("reference", {.learning_rate = 1});
  std::vector<std::string> found;
  const auto ask = [&](FitContext& fit) { found.push_back(fit.FirstNonFinite()); };
  const auto asks = LambdaCallback({.on_train_begin = ask,
                                    .on_train_end = ask,
                                    .on_epoch_begin = [&](FitContext& fit, int64_t) { ask(fit); },
                                    .on_epoch_end = [&](FitContext& fit, int64_t, Logs&) { ask(fit); }});
  model.Fit(Tensor::Full(DType::kFloat32, {2, 1}, NAN), Tensor::Full(DType::kFloat32, {2, 1}, 1),
            {.epochs = 2, .verbose = 0, .callbacks = {asks}});
  ASSERT_EQ(found.size(), 6u);
  EXPECT_EQ(found[0] + found[1], "");
  for (size_t i = 2; i < found.size(); ++i) EXPECT_NE(found[i].find("2 NaNs"), std::string::npos) << found[i];
}

TEST(ModelCheckpointOfTheBest, SkipsEpochsWithoutTheValue) {
  TempFolder folder;
  const Sequential model = OneWeight("reference", {.learning_rate = 1});
  model.Fit(One(), {.epochs = 4,
                    .verbose = 0,
                    .callbacks = {ModelCheckpoint({.path = folder / "w-{epoch:02d}-{val_loss:.0f}",
                                                   .save_best_only = true,
                                                   .save_weights_only = true})},
                    .validation_data = One(),
                    .validation_freq = 2});
  std::vector<std::string> names;
  for (const auto& path : folder.Files()) names.push_back(path.filename().string());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"w-02-1008", "w-04-1006"}));
}

TEST(RefusedBeforeTheFirstEpoch, DirectionsThatNobodyKnows) {
  const auto zero = [](const Value& y_true, const Value&) { return y_true * 0; };
  for (const char* name : {"precision", "f1", "recall", "top5", "acc_top5", "auc_1"}) {
    const Metric metric(name, zero);
    const std::string key = std::string("val_") + name;
    for (const CallbackPtr& callback :
         {EarlyStopping({.monitor = key}), ReduceLROnPlateau({.monitor = key}),
          ModelCheckpoint({.path = "/tmp/weir_never", .monitor = key, .save_best_only = true})}) {
      ExpectRefused({.callbacks = {callback}}, {callback->class_name(), key, "mode"}, true, metric);
    }
  }
  // Metrics of weir's own are known whatever their name; with a mode any name will do.
  const auto stops_at = [](const Metric& metric, const std::string& mode) {
    Sequential model({Dense({.units = 1, .input_shape = {1}})});
    model.Compile({.optimizer = "sgd", .loss = "mse", .metrics = metric});
    const std::string key = "val_" + metric.name();
    return model.Fit(One(), {.epochs = 4,
                             .verbose = 0,
                             .callbacks = {Dictate(key, {.2, .5, .9, .7}), EarlyStopping({.monitor = key, .mode = mode})},
                             .validation_data = One()})
        .epoch.size();
  };
  EXPECT_EQ(stops_at(BinaryAccuracy({.name = "top5"}), "auto"), 4u);
  EXPECT_EQ(stops_at("cosine_similarity", "auto"), 4u);
  EXPECT_EQ(stops_at("mse", "auto"), 2u);
  EXPECT_EQ(stops_at(Metric("f1", zero), "max"), 4u);
  EXPECT_EQ(stops_at(Metric("f1", zero), "min"), 2u);
}

TEST(RefusedBeforeTheFirstEpoch, RatesThatFollowASchedule) {
  const LearningRate schedule = ExponentialDecay({.initial_learning_rate = 1, .decay_steps = 1, .decay_rate = 0.5});
  ExpectRefused({.callbacks = {ReduceLROnPlateau({.monitor = "loss"})}}, {"ReduceLROnPlateau", "schedule"}, true, {}, schedule);
  ExpectRefused({.callbacks = {LearningRateScheduler([](int64_t, double rate) { return rate; })}},
                {"LearningRateScheduler", "schedule"}, true, {}, schedule);
  ExpectRefused({.callbacks = {LearningRateScheduler([](int64_t, double) { return std::nan(""); })}},
                {"LearningRateScheduler", "nan"});
}

// A checkpoint fails, is caught, and the training goes on: everything is as if it had not failed.
TEST_P(FitOn, AFailedCheckpointChangesNothing) {
  const Tensor x = UniformTensor({20, 8, 8, 3}, 1), y = Labels(20, 5);
  const auto run = [&](bool fail) {
    TempFolder folder;
    const std::string path = folder / "checkpoint";
    const Sequential model = SmallModel({.seed = 5, .runtime = &TestRuntime(GetParam(), 1)});
    CompileTutorial(model);
    // Between the beginning of an epoch and its end somebody puts something in the checkpoint's place.
    const CallbackPtr spoil = LambdaCallback({.on_epoch_begin = [&, fail](FitContext&, int64_t epoch) {
      std::filesystem::remove_all(path);
      if (fail && epoch == 3) std::ofstream(path) << "in the way";
    }});
    const std::vector<CallbackPtr> callbacks{
        spoil, ReduceLROnPlateau({.monitor = "loss", .factor = 0.5, .patience = 1, .min_delta = 100}),
        EarlyStopping({.monitor = "loss", .min_delta = 100, .patience = 6}), ModelCheckpoint({.path = path})};
    bool failed = false;
    try {
      model.Fit(x, y, {.batch_size = 6, .epochs = 8, .verbose = 0, .callbacks = callbacks});
    } catch (const Error&) {
      failed = true;
      std::filesystem::remove(path);
      model.Fit(x, y, {.batch_size = 6, .epochs = 8, .verbose = 0, .callbacks = callbacks, .resume = true});
    }
    EXPECT_EQ(failed, fail);
    return model;
  };
  const Sequential straight = run(false), failed = run(true);
  EXPECT_TRUE(SameWeights(straight, failed));
  EXPECT_EQ(straight.history().epoch, failed.history().epoch);
  EXPECT_EQ(straight.history()["lr"], failed.history()["lr"]);
  EXPECT_EQ(straight.history()["loss"], failed.history()["loss"]);
}

TEST(HistoryOfSomeEpochs, KnowsWhichHadAValue) {
  const Sequential model = OneWeight("reference", {.learning_rate = 1});
  const auto fit = [&](int64_t epochs, int64_t initial) {
    return model.Fit(One(), {.epochs = epochs,
                             .verbose = 0,
                             .validation_data = One(),
                             .initial_epoch = initial,
                             .validation_freq = 2});
  };
  fit(5, 0);
  EXPECT_EQ(model.history().EpochsOf("val_loss"), (std::vector<int64_t>{1, 3}));
  const std::vector<double> before = model.history()["val_loss"];
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  EXPECT_EQ(LoadModel(folder / "m")->history().EpochsOf("val_loss"), (std::vector<int64_t>{1, 3}));
  fit(6, 4);
  EXPECT_EQ(model.history().EpochsOf("val_loss"), (std::vector<int64_t>{1, 3, 5}));
  EXPECT_EQ(model.history()["val_loss"][1], before[1]);
  EXPECT_EQ(model.history()["loss"].size(), 6u);
}

TEST(Interrupt, IgnoredSignalsStayIgnored) {
  struct sigaction ignore {}, before {}, after {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGINT, &ignore, &before);
  const Sequential model = OneWeight("reference", {.learning_rate = 1});
  const CallbackPtr stop = LambdaCallback({.on_batch_end = [](FitContext&, int64_t, const Logs&) {
    raise(SIGINT);
    raise(SIGINT);
  }});
  const History history = model.Fit(One(), {.epochs = 3, .verbose = 0, .callbacks = {stop}});
  sigaction(SIGINT, &before, &after);
  EXPECT_EQ(after.sa_handler, SIG_IGN);
  EXPECT_FALSE(history.interrupted);
  EXPECT_EQ(history.epoch.size(), 3u);
}

TEST(Interrupt, InTheLastEpochsValidationIsTheEnd) {
  const Sequential model = OneWeight("reference", {.learning_rate = 1, .use_ema = true, .ema_momentum = 0.5});
  const CallbackPtr stop = LambdaCallback({.on_epoch_end = [](FitContext&, int64_t epoch, Logs&) {
    if (epoch == 1) raise(SIGINT);
  }});
  EXPECT_FALSE(model.Fit(One(), {.epochs = 2, .verbose = 0, .callbacks = {stop}}).interrupted);
  EXPECT_EQ(Weight(model), 8.5);
}

TEST(Interrupt, BestWeightsAreKeptForTheEnd) {
  const auto callbacks = [](bool stop) {
    return std::vector<CallbackPtr>{
        Dictate("loss", {5, 3, 4, 4, 4, 4}),
        LambdaCallback({.on_epoch_end = [stop](FitContext&, int64_t epoch, Logs&) { if (stop && epoch == 2) raise(SIGINT); }}),
        EarlyStopping({.monitor = "loss", .patience = 10, .restore_best_weights = true})};
  };
  Model model = OneWeight("reference", {.learning_rate = 1});
  EXPECT_TRUE(model.Fit(One(), {.epochs = 6, .verbose = 0, .callbacks = callbacks(true)}).interrupted);
  EXPECT_EQ(Weight(model), 7);
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  model = *LoadModel(folder / "m");
  model.Fit(One(), {.epochs = 6, .verbose = 0, .callbacks = callbacks(false), .resume = true});
  EXPECT_EQ(Weight(model), 8);
}

}  // namespace
}  // namespace weir
