// Callbacks and what Fit prints.
#include "frontend_test_util.h"
#include "weir/frontend/checkpoint_path.h"
#include "weir/frontend/history_curves.h"

namespace weir {
namespace {

// Sets the logs of each epoch to dictated values.
CallbackPtr Dictate(const std::string& key, std::vector<double> values) {
  return LambdaCallback({.on_epoch_end = [key, values](FitContext&, int64_t epoch, Logs& logs) {
    logs.Set(key, values.at(static_cast<size_t>(epoch)));
  }});
}

Sequential Tiny() {
  Sequential model({Dense({.units = 1, .input_shape = {2}})});
  model.Compile({.optimizer = SGD({.learning_rate = 0.1}), .loss = "mse"});
  return model;
}

const Tensor& X() {
  static const Tensor x = UniformTensor({4, 2}, 1);
  return x;
}
const Tensor& Y() {
  static const Tensor y = UniformTensor({4, 1}, 2);
  return y;
}

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(EarlyStopping, StopsAndRestores) {
  const Sequential model = Tiny();
  std::vector<Tensor> kernels;
  const CallbackPtr keep = LambdaCallback(
      {.on_epoch_end = [&](FitContext&, int64_t, Logs&) { kernels.push_back(model.layer(0).kernel().value()); }});
  const History history = model.Fit(X(), Y(),
                                    {.epochs = 10,
                                     .verbose = 0,
                                     .callbacks = {Dictate("val_loss", {3, 1, 2, 2, 2, 2, 2, 2, 2, 2}), keep,
                                                   EarlyStopping({.patience = 2, .restore_best_weights = true})}});
  EXPECT_EQ(history.epoch.size(), 4u);
  EXPECT_TRUE(BitEqual(kernels[1], model.layer(0).kernel().value()));
}

TEST(EarlyStopping, DirectionFollowsTheName) {
  const History history = Tiny().Fit(X(), Y(),
                                     {.epochs = 10,
                                      .verbose = 0,
                                      .callbacks = {Dictate("val_accuracy", {.1, .2, .3, .2, .2, .2, .2, .2, .2, .2}),
                                                    EarlyStopping({.monitor = "val_accuracy", .patience = 1})}});
  EXPECT_EQ(history.epoch.size(), 4u);
  EXPECT_THROW(EarlyStopping({.mode = "best"}), Error);
}

// A value of validation_freq belongs to the epoch that ended with it, in what is drawn, printed and logged.
TEST(History, CurvesOfSomeEpochs) {
  const TempFolder folder;
  const History history = Tiny().Fit(
      X(), Y(), {.epochs = 5, .verbose = 0, .callbacks = {CSVLogger(folder / "log.csv")}, .validation_data = {X(), Y()},
                 .validation_freq = 2});
  const std::vector<plot::Series> curves = CurvesOf(history);
  ASSERT_EQ(curves.size(), 2u);
  EXPECT_EQ(curves[0].xs, (std::vector<double>{1, 2, 3, 4, 5}));
  EXPECT_EQ(curves[1].name, "val_loss");
  EXPECT_EQ(curves[1].xs, (std::vector<double>{2, 4}));
  EXPECT_EQ(curves[1].values, history["val_loss"]);
  const std::string log = Contents(folder / "log.csv");
  std::vector<bool> empty;
  for (size_t at = log.find('\n') + 1; at < log.size(); at = log.find('\n', at) + 1) {
    empty.push_back(log[log.find('\n', at) - 2] == ',');
  }
  EXPECT_EQ(empty, (std::vector<bool>{true, false, true, false, true}));
}

TEST(ReduceLROnPlateau, ReducesAndReports) {
  const Sequential model = Tiny();
  const History history = model.Fit(
      X(), Y(),
      {.epochs = 5,
       .verbose = 0,
       .callbacks = {Dictate("val_loss", {1, 1, 1, 1, 1}), ReduceLROnPlateau({.factor = 0.5, .patience = 2})}});
  EXPECT_EQ(history["lr"], (std::vector<double>{0.1, 0.1, 0.1, 0.05, 0.05}));
  EXPECT_THROW(ReduceLROnPlateau({.factor = 1}), Error);
}

TEST(LearningRateScheduler, SetsTheRateOfEachEpoch) {
  const Sequential model = Tiny();
  const Tensor before = model.layer(0).kernel().value();
  const History history = model.Fit(
      X(), Y(), {.epochs = 2, .verbose = 0, .callbacks = {LearningRateScheduler([](int64_t, double) { return 0.0; })}});
  EXPECT_EQ(history["lr"], (std::vector<double>{0, 0}));
  EXPECT_TRUE(BitEqual(before, model.layer(0).kernel().value()));
}

TEST(TerminateOnNaN, KeepsTheLastGoodWeights) {
  for (const std::string& backend : BackendNames()) {
    TempFolder folder;
    const Sequential model = SmallModel({.runtime = &TestRuntime(backend, 2)});
    CompileTutorial(model);
    Tensor x = UniformTensor({12, 8, 8, 3}, 1);
    x.data<float>()[8 * 8 * 3 * 9] = std::nanf("");  // image 9: batch 2 without shuffling
    std::vector<Tensor> good;
    const CallbackPtr keep = LambdaCallback({.on_batch_begin = [&](FitContext&, int64_t) {
      good.clear();
      for (const Variable& v : model.weights()) good.push_back(v.value());
    }});
    const History history = model.Fit(x, Labels(12, 5),
                                      {.batch_size = 4,
                                       .epochs = 3,
                                       .verbose = 0,
                                       .callbacks = {keep, TerminateOnNaN(), CSVLogger({.path = folder / "log.csv"})},
                                       .shuffle = false});
    EXPECT_EQ(history.epoch.size(), 1u);
    EXPECT_EQ(model.iterations(), 2);
    for (size_t i = 0; i < good.size(); ++i) EXPECT_TRUE(BitEqual(good[i], model.weights()[i].value()));
    EXPECT_EQ(Contents(folder / "log.csv").substr(0, 46), "epoch,loss,sparse_categorical_accuracy\r\n0,nan,");
  }
}

TEST(TerminateOnNaN, SaysWhereItBegan) {
  std::string text;
  ProgressOutput output;
  output.write = [&](std::string_view part) {
    text += part;
    return true;
  };
  const Sequential model = SmallModel();
  CompileTutorial(model);
  Tensor bias = Tensor(DType::kFloat32, Shape{5});
  bias.data<float>()[2] = std::numeric_limits<float>::infinity();
  model.layer("dense").bias().Assign(bias);
  model.Fit(UniformTensor({4, 8, 8, 3}, 1), Labels(4, 5), {.callbacks = {TerminateOnNaN()}, .output = output});
  EXPECT_NE(text.find("Batch 0: Invalid loss, terminating training"), std::string::npos) << text;
  EXPECT_NE(text.find("The first value that is not finite is sequential/dense/bias (0 NaNs and 1 infinities among 5"),
            std::string::npos)
      << text;
}

TEST(TerminateOnNaN, GuardedTrainingHasTheSameBits) {
  const Sequential a = SmallModel(), b = SmallModel();
  CompileTutorial(a);
  CompileTutorial(b);
  const Tensor x = UniformTensor({12, 8, 8, 3}, 1), y = Labels(12, 5);
  a.Fit(x, y, {.batch_size = 5, .epochs = 2, .verbose = 0});
  b.Fit(x, y, {.batch_size = 5, .epochs = 2, .verbose = 0, .callbacks = {TerminateOnNaN()}});
  EXPECT_TRUE(SameWeights(a, b));
}

TEST(CSVLogger, ColumnsAreFixedAndMissingCellsEmpty) {
  TempFolder folder;
  const std::string path = folder / "log.csv";
  const Sequential model = Tiny();
  const auto fit = [&](int64_t epochs, int64_t initial, bool append) {
    model.Fit(X(), Y(),
              {.epochs = epochs,
               .verbose = 0,
               .callbacks = {CSVLogger({.path = path, .append = append})},
               .validation_data = {X(), Y()},
               .initial_epoch = initial,
               .validation_freq = 2});
  };
  fit(3, 0, false);
  std::istringstream lines(Contents(path));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "epoch,loss,val_loss\r");
  std::getline(lines, line);
  EXPECT_TRUE(line.ends_with(",\r")) << line;  // no validation in the first epoch
  std::getline(lines, line);
  EXPECT_FALSE(line.ends_with(",\r")) << line;
  fit(4, 3, true);
  const std::string all = Contents(path);
  EXPECT_EQ(all.find("epoch"), all.rfind("epoch"));
  EXPECT_NE(all.find("\r\n3,"), std::string::npos);
}

TEST(CSVLogger, NamesWithSeparatorsAreQuoted) {
  TempFolder folder;
  Tiny().Fit(X(), Y(), {.verbose = 0, .callbacks = {Dictate("a,\"b\"", {1}), CSVLogger({.path = folder / "l.csv"})}});
  EXPECT_TRUE(Contents(folder / "l.csv").starts_with("epoch,\"a,\"\"b\"\"\",loss\r\n0,1.0,"));
}

TEST(ModelCheckpoint, KeepsTheBest) {
  TempFolder folder;
  const Sequential model = Tiny();
  std::vector<Tensor> kernels;
  const CallbackPtr keep = LambdaCallback(
      {.on_epoch_end = [&](FitContext&, int64_t, Logs&) { kernels.push_back(model.layer(0).kernel().value()); }});
  model.Fit(X(), Y(),
            {.epochs = 4,
             .verbose = 0,
             .callbacks = {Dictate("val_loss", {3, 1, 2, 1}), keep,
                           ModelCheckpoint({.path = folder / "best", .save_best_only = true}),
                           ModelCheckpoint({.path = folder / "at_{epoch:02d}_{val_loss:.1f}.safetensors",
                                            .save_weights_only = true})}});
  const absl::StatusOr<Model> best = LoadModel(folder / "best");
  ASSERT_TRUE(best.ok()) << best.status();
  EXPECT_TRUE(BitEqual(best->layer(0).kernel().value(), kernels[1]));
  EXPECT_TRUE(std::filesystem::exists(folder / "at_03_2.0.safetensors"));
  EXPECT_THROW(model.Fit(X(), Y(), {.verbose = 0, .callbacks = {ModelCheckpoint({.path = "/dev/full/x"})}}), Error);
}

TEST(ModelCheckpoint, TrainingGoesOnFromIt) {
  const auto callbacks = [](const std::string& path) {
    return std::vector<CallbackPtr>{
        ModelCheckpoint({.path = path}),
        ReduceLROnPlateau({.monitor = "loss", .factor = 0.5, .patience = 1, .min_delta = 100}),
        CSVLogger({.path = path + ".csv", .append = true})};
  };
  const Tensor x = UniformTensor({20, 8, 8, 3}, 1), y = Labels(20, 5);
  TempFolder folder;
  const Sequential straight = SmallModel(), model = SmallModel();
  CompileTutorial(straight);
  CompileTutorial(model);
  straight.Fit(x, y, {.batch_size = 6, .epochs = 5, .verbose = 0, .callbacks = callbacks(folder / "a")});
  model.Fit(x, y, {.batch_size = 6, .epochs = 3, .verbose = 0, .callbacks = callbacks(folder / "b")});
  // All that is left is the checkpoint of the third epoch.
  const absl::StatusOr<Model> loaded = LoadModel(folder / "b");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const History rest = loaded->Fit(
      x, y, {.batch_size = 6, .epochs = 5, .verbose = 0, .callbacks = callbacks(folder / "b"), .resume = true});
  EXPECT_EQ(rest.epoch, (std::vector<int64_t>{3, 4}));
  EXPECT_TRUE(SameWeights(straight, *loaded));
  EXPECT_EQ(straight.history()["lr"], loaded->history()["lr"]);
  EXPECT_EQ(Contents(folder / "a.csv"), Contents(folder / "b.csv"));
}

TEST(ModelCheckpoint, AModelSavedWithinAnEpochGoesOnThere) {
  const Tensor x = UniformTensor({20, 8, 8, 3}, 1), y = Labels(20, 5);
  TempFolder folder;
  const Sequential model = SmallModel();
  CompileTutorial(model);
  int steps = 0;
  const CallbackPtr save = LambdaCallback({.on_batch_end = [&](FitContext& fit, int64_t, const Logs&) {
    if (++steps == 6) {
      EXPECT_EQ(fit.model().Save(folder / "m"), absl::OkStatus());
    }
  }});
  model.Fit(x, y, {.batch_size = 6, .epochs = 3, .verbose = 0, .callbacks = {save}});
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  loaded->Fit(x, y, {.batch_size = 6, .epochs = 3, .verbose = 0, .resume = true});
  EXPECT_TRUE(SameWeights(model, *loaded));
  EXPECT_EQ(model.history()["loss"], loaded->history()["loss"]);
}

TEST(CheckpointPaths, PythonsFormats) {
  Logs logs;
  logs.Set("val_loss", 1.23456);
  EXPECT_EQ(CheckpointPath("w.{epoch:03d}-{val_loss:.2f}", 7, logs), "w.007-1.23");
  EXPECT_EQ(CheckpointPath("{epoch}", 12, logs), "12");
  EXPECT_THROW(CheckpointPath("{loss}", 1, logs), Error);
  EXPECT_THROW(CheckpointPath("{epoch:x}", 1, logs), Error);
  EXPECT_EQ(PythonFloat(1), "1.0");
  EXPECT_EQ(PythonFloat(1e-5), "1e-05");
  EXPECT_EQ(PythonFloat(0.1), "0.1");
  EXPECT_EQ(PythonFloat(1e16), "1e+16");
}

TEST(Progress, PipesGetOnePlainLineAnEpoch) {
  std::string text;
  ProgressOutput output;
  output.write = [&](std::string_view part) {
    text += part;
    return true;
  };
  const Sequential model = Tiny();
  const auto fit = [&](int verbose) {
    text.clear();
    model.Fit(X(), Y(),
              {.batch_size = 1, .epochs = 2, .verbose = verbose, .validation_data = {X(), Y()}, .output = output});
    return text;
  };
  EXPECT_EQ(fit(0), "");
  for (int verbose : {1, 2}) {
    const std::string printed = fit(verbose);
    EXPECT_EQ(printed.find_first_of("\b\r\x1b"), std::string::npos);
    EXPECT_NE(printed.find("Epoch 1/2"), std::string::npos);
    EXPECT_NE(printed.find("val_loss"), std::string::npos) << printed;
    EXPECT_LE(std::count(printed.begin(), printed.end(), '\n'), 4) << printed;
  }
}

TEST(Callbacks, GoOnWithTheirState) {
  // ReduceLROnPlateau with patience 2 over a break after the first plateau epoch.
  const auto callbacks = [] {
    return std::vector<CallbackPtr>{Dictate("val_loss", {1, 1, 1, 1, 1, 1}),
                                    ReduceLROnPlateau({.factor = 0.5, .patience = 3}), EarlyStopping({.patience = 5})};
  };
  const Sequential straight = Tiny(), model = Tiny();
  straight.Fit(X(), Y(), {.batch_size = 2, .epochs = 6, .verbose = 0, .callbacks = callbacks()});
  model.Fit(X(), Y(), {.batch_size = 2, .epochs = 3, .verbose = 0, .callbacks = callbacks()});
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  loaded->Fit(X(), Y(), {.batch_size = 2, .epochs = 6, .verbose = 0, .callbacks = callbacks(), .initial_epoch = 3});
  EXPECT_EQ(loaded->history()["lr"], straight.history()["lr"]);
  EXPECT_TRUE(SameWeights(straight, *loaded));
}

}  // namespace
}  // namespace weir
