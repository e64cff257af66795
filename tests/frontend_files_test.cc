// Saved models: whole or refused, strict or listed, and training that goes on as if it had never stopped.
#include <signal.h>
#include <sys/wait.h>

#include "saving_test_util.h"

namespace weir {
namespace {

TEST(ModelFiles, TwoAndTwoEpochsAreFour) {
  for (const char* optimizer : {"adam", "rmsprop", "sgd"}) {
    const Tensor x = UniformTensor({30, 8, 8, 3}, 1), y = Labels(30, 5);
    const Sequential straight = SmallModel({.seed = 9}), model = SmallModel({.seed = 9});
    for (const Model& m : {Model(straight), Model(model)})
      m.Compile({.optimizer = optimizer, .loss = "sparse_categorical_crossentropy"});
    straight.Fit(x, y, {.batch_size = 7, .epochs = 4, .verbose = 0});
    model.Fit(x, y, {.batch_size = 7, .epochs = 2, .verbose = 0});
    TempFolder folder;
    ASSERT_TRUE(model.Save(folder / "m").ok());
    const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->iterations(), 10);
    EXPECT_EQ(loaded->name(), "sequential");
    const History history = loaded->Fit(x, y, {.batch_size = 7, .epochs = 4, .verbose = 0, .initial_epoch = 2});
    EXPECT_EQ(history.epoch, (std::vector<int64_t>{2, 3}));
    EXPECT_TRUE(SameWeights(straight, *loaded)) << optimizer;
    EXPECT_EQ(loaded->history()["loss"], straight.history()["loss"]);
  }
}

TEST(ModelFiles, WithoutCompileItPredictsOnly) {
  TempFolder folder;
  const Sequential model = SmallModel();
  CompileTutorial(model);
  const Tensor x = UniformTensor({2, 8, 8, 3}, 1);
  model.TrainOnBatch(Examples(x, Labels(2, 5)));
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m", {}, /*compile=*/false);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(BitEqual(loaded->PredictOne(x), model.PredictOne(x)));
  EXPECT_EQ(loaded->iterations(), 0);
  EXPECT_THROW(loaded->TrainOnBatch(Examples(x, Labels(2, 5))), Error);
  // The weights are the file's own tensors: training after all, or assigning, changes none that was handed out.
  const Tensor before = loaded->layer(0).weights()[0].value(), copy = before.Clone();
  CompileTutorial(*loaded);
  loaded->TrainOnBatch(Examples(x, Labels(2, 5)));
  EXPECT_TRUE(BitEqual(before, copy));
  EXPECT_FALSE(SameWeights(model, *loaded));
}

TEST(ModelFiles, KeepTheAlgorithmOfAConvolution) {
  const Tensor x = UniformTensor({2, 8, 8, 16}, 1);
  std::vector<Tensor> outputs;
  for (ConvAlgorithm algorithm : {ConvAlgorithm::kDirect, ConvAlgorithm::kWinograd}) {
    const Sequential model({Conv2D({.filters = 16,
                                    .kernel_size = {3, 3},
                                    .padding = "same",
                                    .kernel_initializer = GlorotUniform({.seed = 1}),
                                    .input_shape = {8, 8, 16},
                                    .algorithm = algorithm})});
    TempFolder folder;
    ASSERT_TRUE(model.Save(folder / "m").ok());
    const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    outputs.push_back(loaded->PredictOne(x));
    EXPECT_TRUE(BitEqual(outputs.back(), model.PredictOne(x)));
  }
  EXPECT_FALSE(BitEqual(outputs[0], outputs[1])) << "both were computed alike";
}

TEST(ModelFiles, FunctionalNestedAndSharedModels) {
  const Sequential inner({Dense({.units = 4, .activation = "tanh", .input_shape = {3}}), Dense(3)}, {.name = "inner"});
  const Layer shared = Dense({.units = 3, .name = "shared"});
  const SymbolicTensor a = Input({3}, {.name = "left"}), b = Input({3}, {.name = "right"});
  const SymbolicTensor sum = Add()({inner(a), shared(b)});
  const Model model({a, b}, {shared(sum), Concatenate({.name = "joined"})({sum, a})});
  const std::vector<Tensor> x{UniformTensor({2, 3}, 1), UniformTensor({2, 3}, 2)};
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::vector<Tensor> before = model.Predict(x), after = loaded->Predict(x);
  ASSERT_EQ(after.size(), 2u);
  EXPECT_TRUE(BitEqual(before[0], after[0]));
  EXPECT_TRUE(BitEqual(before[1], after[1]));
  EXPECT_EQ(loaded->output_names(), model.output_names());
  EXPECT_EQ(loaded->SummaryText(), model.SummaryText());
}

TEST(ModelFiles, CutFilesAreRefused) {
  TempFolder folder;
  const Sequential model = SmallModel();
  CompileTutorial(model);
  model.TrainOnBatch(Examples(UniformTensor({2, 8, 8, 3}, 1), Labels(2, 5)));
  const std::string path = folder / "m";
  ASSERT_TRUE(model.Save(path).ok());
  for (const char* name : {"/config.json", "/weights.safetensors"}) {
    const std::string whole = ReadBytes(path + name);
    for (size_t size = 0; size < whole.size(); size += 97) {
      WriteBytes(path + name, std::string_view(whole).substr(0, size));
      const absl::StatusOr<Model> loaded = LoadModel(path);
      ASSERT_FALSE(loaded.ok()) << name << " cut to " << size;
      EXPECT_NE(std::string(loaded.status().message()).find(name), std::string::npos) << loaded.status();
    }
    WriteBytes(path + name, whole);
  }
  EXPECT_TRUE(LoadModel(path).ok());
  fs::remove(path + "/config.json");
  EXPECT_EQ(LoadModel(path).status().code(), absl::StatusCode::kNotFound);
}

// By what the model computes, where checksums were made anew.
TEST(ModelFiles, AChangedWeightIsNoticed) {
  TempFolder folder;
  const Sequential model = SmallModel();
  const std::string path = folder / "m";
  ASSERT_TRUE(model.Save(path).ok());
  NamedTensors tensors = TensorsOf(path);
  tensors[0].second.data<float>()[0] += 1;
  WriteModel(path, ReadBytes(path + "/config.json"), tensors);
  const absl::Status status = LoadModel(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Says(status, "computes something else")) << status;
}

TEST(ModelFiles, HostileConfigs) {
  TempFolder folder;
  const Sequential model = SmallModel();
  const std::string path = folder / "m";
  ASSERT_TRUE(model.Save(path).ok());
  const NamedTensors tensors = TensorsOf(path);
  const auto load = [&](const std::string& text) {
    WriteModel(path, text, tensors);
    return LoadModel(path).status();
  };
  for (const char* text : {"{}", "[]", "null", "3", "{\"weir_format\": 99}", "{\"weir_format\": \"x\"}",
                           "{\"weir_format\": 1, \"seed\": 0, \"class_name\": \"Sequential\"}",
                           "{\"weir_format\": 1, \"seed\": 0, \"class_name\": \"Sequential\", \"config\": {\"layers\": "
                           "[{\"class_name\": \"Evil\", \"config\": {}}]}}",
                           "{\"weir_format\": 1, \"seed\": 0, \"class_name\": \"Sequential\", \"config\": {\"layers\": "
                           "[{\"class_name\": \"Dense\", \"config\": {\"units\": -4}}]}}"}) {
    const absl::Status status = load(text);
    EXPECT_FALSE(status.ok()) << text;
    EXPECT_FALSE(Says(status, "checksum")) << text;
  }
  EXPECT_FALSE(load(std::string(5000, '[')).ok());
}

TEST(ModelFiles, SavingReplacesWholly) {
  TempFolder folder;
  const std::string path = folder / "m";
  const Sequential a = SmallModel({.seed = 1}), b = SmallModel({.seed = 2});
  ASSERT_TRUE(a.Save(path).ok());
  ASSERT_TRUE(b.Save(path).ok());
  const absl::StatusOr<Model> loaded = LoadModel(path);
  ASSERT_TRUE(loaded.ok());
  EXPECT_TRUE(SameWeights(b, *loaded));
  int entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder.path())) ++entries;
  EXPECT_EQ(entries, 1);  // no temporary is left
  // A folder of something else is not replaced.
  fs::create_directory(folder / "mine");
  WriteBytes(folder / "mine/notes.txt", "important");
  EXPECT_FALSE(a.Save(folder / "mine").ok());
  EXPECT_EQ(ReadBytes(folder / "mine/notes.txt"), "important");
  EXPECT_FALSE(a.Save("/dev/full/m").ok());
  EXPECT_EQ(a.SaveWeights("/dev/full").code(), absl::StatusCode::kResourceExhausted);
}

TEST(ModelFiles, AKillDuringSaveLeavesAWholeModel) {
  TempFolder folder;
  const std::string path = folder / "m";
  // One thread: a forked child has no others.
  const Sequential model = SmallModel({.runtime = &TestRuntime("highway", 1)});
  ASSERT_TRUE(model.Save(path).ok());
  for (int microseconds : {200, 1000, 3000, 8000, 20000}) {
    const pid_t child = fork();
    if (child == 0) {
      while (model.Save(path).ok()) {
      }
      _exit(1);
    }
    usleep(static_cast<useconds_t>(microseconds));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "saving failed";
    const absl::StatusOr<Model> loaded = LoadModel(path);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(SameWeights(model, *loaded));
  }
}

TEST(Weights, StrictByDefault) {
  TempFolder folder;
  const std::string path = folder / "w.safetensors";
  const auto make = [](int64_t units, const char* last) {
    return Sequential({Dense({.units = 6, .input_shape = {4}}), Dense({.units = units, .name = last})});
  };
  const Sequential saved = make(10, "head");
  ASSERT_TRUE(saved.SaveWeights(path).ok());
  // Another model of the same process has the same names.
  const Sequential again = make(10, "head");
  ASSERT_TRUE(again.LoadWeights(path).ok());
  EXPECT_TRUE(SameWeights(saved, again));

  const Sequential narrower = make(25, "head");
  const Tensor before = narrower.layer(0).kernel().value();
  const absl::Status mismatch = narrower.LoadWeights(path).status();
  EXPECT_NE(std::string(mismatch.message()).find("mismatched: head/kernel: file f32[6,10], model f32[6,25]"),
            std::string::npos)
      << mismatch;
  EXPECT_TRUE(BitEqual(before, narrower.layer(0).kernel().value()));

  const Sequential renamed = make(10, "tail");
  const absl::Status missing = renamed.LoadWeights(path).status();
  EXPECT_NE(std::string(missing.message()).find("missing: tail/kernel (6, 10)"), std::string::npos) << missing;
  EXPECT_NE(std::string(missing.message()).find("unexpected: head/bias (10,)"), std::string::npos) << missing;

  const absl::StatusOr<std::vector<std::string>> skipped = renamed.LoadWeights(path, /*partial=*/true);
  ASSERT_TRUE(skipped.ok());
  EXPECT_EQ(skipped->size(), 4u);
  EXPECT_TRUE(BitEqual(saved.layer(0).kernel().value(), renamed.layer(0).kernel().value()));
}

}  // namespace
}  // namespace weir
