// What a saved model carries: layers that several models share, checksums, formats of before.
#include "saving_test_util.h"

namespace weir {
namespace {

// Saves, loads, and compares predictions and weights.
void ExpectComesBack(const Model& model, const std::vector<Tensor>& x, const std::string& what) {
  TempFolder folder;
  const absl::Status saved = model.Save(folder / "m");
  ASSERT_TRUE(saved.ok()) << what << ": " << saved;
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << what << ": " << loaded.status();
  const std::vector<Tensor> before = model.Predict(x), after = loaded->Predict(x);
  ASSERT_EQ(before.size(), after.size()) << what;
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(BitEqual(before[i], after[i])) << what << ", output " << i;
  EXPECT_EQ(loaded->weights().size(), model.weights().size()) << what;
  EXPECT_EQ(loaded->count_params(), model.count_params()) << what;
  EXPECT_EQ(loaded->SummaryText(), model.SummaryText()) << what;
  // Once more: what was loaded is saved alike.
  ASSERT_TRUE(loaded->Save(folder / "again").ok()) << what;
  EXPECT_EQ(ReadBytes(folder / "again/config.json"), ReadBytes(folder / "m/config.json")) << what;
}

TEST(SharedLayers, OfAModelAndItsSubModel) {
  const SymbolicTensor x = Input({2});
  const Layer dense = Dense({.units = 2, .use_bias = false});
  const Model sub(x, dense(x));
  const Model model(x, dense(sub(x)));
  EXPECT_EQ(model.count_params(), 4);
  ExpectComesBack(model, {UniformTensor({3, 2}, 1)}, "a layer of the model and its sub-model");
}

TEST(SharedLayers, OfTwoSubModels) {
  const SymbolicTensor x = Input({2});
  const Layer dense = Dense({.units = 2, .use_bias = false});
  const Model a(x, dense(x), {.name = "s1"}), b(x, ReLU()(dense(x)), {.name = "s2"});
  const Model model(x, Add()({a(x), b(x)}));
  EXPECT_EQ(model.count_params(), 4);
  ExpectComesBack(model, {UniformTensor({3, 2}, 1)}, "a layer of two sub-models");
}

TEST(SharedLayers, ModelsThemselvesAndSequentials) {
  const SymbolicTensor x = Input({4});
  const Layer core = Sequential({Dense({.units = 4, .activation = "tanh", .input_shape = {4}}), Dense(4)},
                                {.name = "core"});
  const Layer head = Dense({.units = 4, .name = "head"});
  const Model a(x, head(core(x)), {.name = "a"}), b(x, core(head(x)), {.name = "b"});
  // Twice within one model, and in a Sequential of its own too.
  const Sequential chain({core, head}, {.name = "chain"});
  const Model model(x, {Add()({a(x), b(x)}), chain(core(x))});
  EXPECT_EQ(model.count_params(), 3 * (4 * 4 + 4));
  ExpectComesBack(model, {UniformTensor({3, 4}, 1)}, "models that share a model");
}

TEST(SharedLayers, TrainAsOneAfterLoading) {
  const auto build = [] {
    const SymbolicTensor x = Input({2});
    const Layer dense = Dense({.units = 2, .kernel_initializer = GlorotUniform({.seed = 3})});
    const Model sub(x, dense(x));
    const Model model(x, dense(sub(x)));
    model.Compile({.optimizer = "adam", .loss = "mse"});
    return model;
  };
  const Tensor x = UniformTensor({8, 2}, 1), y = UniformTensor({8, 2}, 2);
  const Model straight = build(), saved = build();
  for (int i = 0; i < 4; ++i) straight.TrainOnBatch({x, y});
  for (int i = 0; i < 2; ++i) saved.TrainOnBatch({x, y});
  TempFolder folder;
  ASSERT_TRUE(saved.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (int i = 0; i < 2; ++i) loaded->TrainOnBatch({x, y});
  EXPECT_TRUE(SameWeights(straight, *loaded));
}

TEST(SharedLayers, AManyfoldSharedModelIsWrittenOnce) {
  // Each level has two models that both contain both of the level before: 2^12 ways lead to the first.
  const SymbolicTensor x = Input({2});
  Layer a = Dense({.units = 2, .name = "dense"}), b = Dense({.units = 2, .name = "other"});
  for (int level = 0; level < 6; ++level) {
    const Model next_a(x, Add({.name = "add"})({a(x), b(x)}), {.name = StrCat("a", level)});
    const Model next_b(x, Subtract({.name = "subtract"})({a(x), b(x)}), {.name = StrCat("b", level)});
    a = next_a;
    b = next_b;
  }
  const Model model(x, Add({.name = "sum"})({a(x), b(x)}));
  TempFolder folder;
  ExpectComesBack(model, {UniformTensor({3, 2}, 1)}, "a lattice of models");
  ASSERT_TRUE(model.Save(folder / "m").ok());
  EXPECT_LT(fs::file_size(folder / "m/config.json"), 200'000u);
}

// A layer that uses another one's weight without being it.
class Borrower : public LayerBase {
 public:
  explicit Borrower(Variable kernel) : LayerBase("Borrower", {}), kernel_(std::move(kernel)) {}
  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    return {MatMul(inputs[0], context.Weight(kernel_))};
  }
  std::vector<Variable> weights() const override { return {kernel_}; }
  std::vector<Variable> trainable_weights() const override { return {kernel_}; }
 private:
  Variable kernel_;
};

TEST(SharedLayers, AWeightOfTwoLayersIsRefused) {
  const SymbolicTensor x = Input({2});
  const Layer dense = Dense({.units = 2, .name = "lender"});
  const SymbolicTensor y = dense(x);
  const Model model(x, Layer(std::make_shared<Borrower>(dense.kernel()))(y));
  TempFolder folder;
  const absl::Status status = model.Save(folder / "m");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Says(status, "lender/kernel")) << status;
  EXPECT_TRUE(Says(status, "borrower")) << status;
  EXPECT_FALSE(fs::exists(folder / "m"));
  // Weights alone are fine: whoever builds the model again has both layers.
  ASSERT_TRUE(model.SaveWeights(folder / "w").ok());
  EXPECT_TRUE(model.LoadWeights(folder / "w").ok());
}

TEST(SharedLayers, NumbersThatMeanNothingAreRefused) {
  TempFolder folder;
  const SymbolicTensor x = Input({2});
  const Layer dense = Dense({.units = 2});
  const Model sub(x, dense(x));
  const Model model(x, ReLU()(dense(sub(x))));
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const NamedTensors tensors = TensorsOf(folder / "m");
  const std::string good = ReadBytes(folder / "m/config.json");
  const std::string number = "\"shared_object_id\": 1";
  ASSERT_NE(good.find(number), std::string::npos);
  // The second place (the outer model's layer) with another number: nobody said what layer that is.
  for (const char* wrong : {"2", "-1", "1.5", "1e30", "18446744073709551615", "\"1\"", "null"}) {
    std::string config = good;
    config.replace(config.rfind(number), number.size(), StrCat("\"shared_object_id\": ", wrong));
    WriteModel(folder / "bad", config, tensors);
    EXPECT_FALSE(LoadModel(folder / "bad").ok()) << wrong;
  }
}

TEST(SavedModels, TheModelsOwnSwitchOfTrainingComesBack) {
  const Sequential model = SmallModel();
  model.set_trainable(false);
  model.layer(-1).set_trainable(true);
  ASSERT_EQ(model.trainable_weights().size(), 0u);
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->trainable_weights().size(), 0u);
  EXPECT_TRUE(loaded->layer(-1).trainable());
}

TEST(SavedModels, TapsDoNotSeeTheProbe) {
  const Sequential model = SmallModel();
  const TapHandle tap = model.Tap("dense/output");
  const Tensor x = UniformTensor({3, 8, 8, 3}, 1);
  const Tensor output = model.PredictOne(x);
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  EXPECT_TRUE(BitEqual(tap.value(), output));
}

// ---- Checksums

TEST(Checksums, AnyFlippedBitIsFound) {
  TempFolder folder;
  const Sequential model({Dense({.units = 3, .activation = "relu", .input_shape = {4}}), Dense(2)});
  model.Compile({.optimizer = "adam", .loss = "mse", .metrics = {"mae"}});
  model.Fit(UniformTensor({8, 4}, 1), UniformTensor({8, 2}, 2), {.epochs = 2, .verbose = 0});
  const std::string path = folder / "m";
  ASSERT_TRUE(model.Save(path).ok());
  for (const char* name : {"/config.json", "/weights.safetensors"}) {
    const std::string whole = ReadBytes(path + name);
    int64_t missed = 0, unnamed = 0;
    // One bit of every third byte, all bits of some.
    for (size_t byte = 0; byte < whole.size(); byte += 3) {
      for (int bit = static_cast<int>(byte % 8); bit < 8; bit += byte % 31 == 0 ? 1 : 8) {
        std::string changed = whole;
        changed[byte] = static_cast<char>(changed[byte] ^ (1 << bit));
        WriteBytes(path + name, changed);
        const absl::Status status = LoadModel(path).status();
        missed += status.ok();
        unnamed += !Says(status, name);
        if (status.ok()) ADD_FAILURE() << name << " byte " << byte << " bit " << bit << " of '" << whole[byte] << "'";
        if (missed > 5) return;
      }
    }
    EXPECT_EQ(unnamed, 0) << name;
    WriteBytes(path + name, whole);
  }
  EXPECT_TRUE(LoadModel(path).ok());
}

TEST(Checksums, NameTheTensor) {
  TempFolder folder;
  const Sequential model = SmallModel();
  CompileTutorial(model);
  model.TrainOnBatch(Examples(UniformTensor({2, 8, 8, 3}, 1), Labels(2, 5)));
  ASSERT_TRUE(model.Save(folder / "m").ok());
  ASSERT_TRUE(model.SaveWeights(folder / "w").ok());
  for (const char* name : {"m/weights.safetensors", "w"}) {
    std::string bytes = ReadBytes(folder / name);
    // The least bit of a weight: no probe would notice.
    const Tensor kernel = model.layer(0).kernel().value();
    const std::string needle(reinterpret_cast<const char*>(kernel.raw()), static_cast<size_t>(kernel.bytes()));
    const size_t at = bytes.find(needle);
    ASSERT_NE(at, std::string::npos);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    WriteBytes(folder / name, bytes);
    const absl::Status status =
        std::string(name) == "w" ? model.LoadWeights(folder / name).status() : LoadModel(folder / "m").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(Says(status, "conv2d/kernel")) << status;
    EXPECT_TRUE(Says(status, folder / name)) << status;
    EXPECT_TRUE(Says(status, "checksum")) << status;
  }
}

TEST(Checksums, OfTheOptimizerAreCheckedWhereItIsRead) {
  TempFolder folder;
  const Sequential model = SmallModel();
  CompileTutorial(model);
  model.TrainOnBatch(Examples(UniformTensor({2, 8, 8, 3}, 1), Labels(2, 5)));
  const std::string path = folder / "m";
  ASSERT_TRUE(model.Save(path).ok());
  std::string bytes = ReadBytes(path + "/weights.safetensors");
  const NamedTensors tensors = TensorsOf(path);
  for (const auto& [name, tensor] : tensors) {
    if (name != "/optimizer/dense/kernel/m" && name.find("dense/kernel") == std::string::npos) continue;
    if (!name.starts_with("/optimizer/")) continue;
    const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.bytes())));
    ASSERT_NE(at, std::string::npos);
    bytes[at + 1] = static_cast<char>(bytes[at + 1] ^ 8);
    break;
  }
  WriteBytes(path + "/weights.safetensors", bytes);
  EXPECT_EQ(LoadModel(path).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(LoadModel(path, {}, /*compile=*/false).ok());
}

TEST(Checksums, FilesOfBeforeHaveNone) {
  TempFolder folder;
  const Sequential model = SmallModel();
  ASSERT_TRUE(model.Save(folder / "m").ok());
  // As format 1 was written: the version, and nothing but the size in the metadata.
  nlohmann::json config = nlohmann::json::parse(ReadBytes(folder / "m/config.json"));
  config["weir_format"] = 1;
  const std::string text = config.dump(1);
  nlohmann::json header{{"__metadata__", {{"format", "weir"}, {"config_bytes", std::to_string(text.size())}}}};
  std::string data;
  for (const auto& [name, tensor] : TensorsOf(folder / "m")) {
    ASSERT_EQ(tensor.dtype(), DType::kFloat32);
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.bytes()));
    const std::vector<int64_t> dims(tensor.shape().begin(), tensor.shape().end());
    header[name] = {{"dtype", "F32"}, {"shape", dims}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string head = header.dump();
  const uint64_t size = head.size();
  fs::create_directory(folder / "old");
  WriteBytes(folder / "old/config.json", text);
  WriteBytes(folder / "old/weights.safetensors",
             std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + head + data);
  const absl::StatusOr<Model> loaded = LoadModel(folder / "old");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(SameWeights(model, *loaded));
  // The same files under the new format's number are missing something.
  config["weir_format"] = 2;
  WriteBytes(folder / "old/config.json", config.dump(1));
  EXPECT_TRUE(Says(LoadModel(folder / "old").status(), "checksum")) << LoadModel(folder / "old").status();
  config["weir_format"] = 3;
  WriteBytes(folder / "old/config.json", config.dump(1));
  EXPECT_EQ(LoadModel(folder / "old").status().code(), absl::StatusCode::kUnimplemented);
}

TEST(Checksums, OfAPairThatDoesNotBelongTogether) {
  TempFolder folder;
  const Sequential model = SmallModel();
  CompileTutorial(model);
  const Examples batch(UniformTensor({2, 8, 8, 3}, 1), Labels(2, 5));
  model.TrainOnBatch(batch);
  ASSERT_TRUE(model.Save(folder / "a").ok());
  model.TrainOnBatch(batch);
  ASSERT_TRUE(model.Save(folder / "b").ok());
  ASSERT_EQ(fs::file_size(folder / "a/config.json"), fs::file_size(folder / "b/config.json"));
  fs::copy_file(folder / "b/config.json", folder / "a/config.json", fs::copy_options::overwrite_existing);
  const absl::Status status = LoadModel(folder / "a").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Says(status, "a/config.json")) << status;
}

}  // namespace
}  // namespace weir
