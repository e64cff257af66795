// What a saved model knows of the data it was trained on: names of classes, the scale of its inputs.
#include "saving_test_util.h"
#include "weir/frontend/layers/custom.h"

namespace weir {
namespace {

Dataset Bytes(int64_t count) {
  Dataset data{Tensor(DType::kUint8, {count, 8, 8, 3}), Labels(count, 5), {"ant", "bee", "cat", "dog", "eel"}, "animals"};
  const std::vector<double> values = Uniforms(data.images.size(), 3);
  for (size_t i = 0; i < values.size(); ++i) data.images.data<uint8_t>()[i] = static_cast<uint8_t>(values[i] * 256);
  return data;
}

Model Trained(const Layer& first, const Dataset& data, std::optional<double> scale) {
  const Sequential model({first, Conv2D({.filters = 4, .kernel_size = 3}), Flatten(), Dense(5, "softmax")});
  model.Compile({.optimizer = "sgd", .loss = "sparse_categorical_crossentropy"});
  model.Fit(data, {.epochs = 1, .verbose = 0, .scale = scale});
  return model;
}

TEST(SavedData, NamesOfClassesComeBack) {
  const Dataset data = Bytes(10);
  const Model model = Trained(Input({8, 8, 3}), data, 1 / 255.0);
  EXPECT_EQ(model.class_names(), data.class_names);
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->class_names(), data.class_names);
  // Data without names leave them; one's own replace them.
  loaded->Fit(data.images, data.labels, {.epochs = 2, .verbose = 0});
  EXPECT_EQ(loaded->class_names(), data.class_names);
  loaded->set_class_names({"a", "b"});
  ASSERT_TRUE(loaded->Save(folder / "m").ok());
  EXPECT_EQ(LoadModel(folder / "m")->class_names(), (std::vector<std::string>{"a", "b"}));
}

TEST(SavedData, BytesAreScaledAsInTraining) {
  const Dataset data = Bytes(10);
  const Model model = Trained(Input({8, 8, 3}), data, 1 / 255.0);
  const Tensor right = model.PredictOne(data.Scaled(1 / 255.0).images);
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const Model& m : {model, *loaded}) {
    EXPECT_EQ(m.input_scale(), 1 / 255.0);
    EXPECT_TRUE(BitEqual(m.PredictOne(data.images), right));
    EXPECT_TRUE(BitEqual(m.PredictOne(data.images, {.scale = 1 / 255.0}), right));
    const Model extractor(m.inputs(), m.outputs());
    EXPECT_TRUE(BitEqual(extractor.PredictOne(data.images), right));
    EXPECT_EQ(m.Evaluate(data)["loss"], m.Evaluate(data.Scaled(1 / 255.0))["loss"]);
    for (const double wrong : {1.0, 2 / 255.0}) {
      const std::string message = MessageOf([&] { m.PredictOne(data.images, {.scale = wrong}); });
      EXPECT_NE(message.find("was trained on bytes times"), std::string::npos) << message;
      EXPECT_THROW(m.Evaluate(data, {.scale = wrong}), Error);
    }
    // Numbers that are no bytes are nobody's business.
    EXPECT_NO_THROW(m.PredictOne(data.Scaled(1).images, {.scale = 2 / 255.0}));
  }
  // Going on without saying it again is the same training.
  const Model again = Trained(Input({8, 8, 3}), data, 1 / 255.0);
  again.Fit(data, {.epochs = 2, .verbose = 0, .initial_epoch = 1, .scale = 1 / 255.0});
  model.Fit(data, {.epochs = 2, .verbose = 0, .initial_epoch = 1});
  EXPECT_TRUE(SameWeights(model, again));
}

TEST(SavedData, AModelThatRescalesTakesBytesAsTheyAre) {
  const Dataset data = Bytes(10);
  const Model model = Trained(Rescaling({.scale = 1 / 255.0, .input_shape = {8, 8, 3}}), data, {});
  EXPECT_EQ(model.input_scale(), 1.0);
  const Model untrained = Sequential({Rescaling({.scale = 1 / 255.0, .input_shape = {8, 8, 3}}), Flatten()});
  EXPECT_EQ(untrained.input_scale(), 1.0);
  EXPECT_EQ(Model(SmallModel()).input_scale(), std::nullopt);
  const SymbolicTensor x = Input({8, 8, 3});
  EXPECT_EQ(Model(x, untrained(x)).input_scale(), 1.0);
}

// ---- Layers of one's own

class Stretch : public LayerBase {
 public:
  Stretch(double factor, std::vector<int64_t> marks) : LayerBase("Stretch", {}), factor_(factor), marks_(std::move(marks)) {}
  void Build(std::span<const TensorSpec> inputs) override {
    shift_ = AddWeight({.name = "shift", .shape = {inputs[0].dims.back()}, .initializer = GlorotUniform({.seed = 4})});
  }
  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override {
    return {inputs[0] * factor_ + context.Weight(shift_)};
  }
  LayerConfig Options() const override { return {{"factor", factor_}, {"marks", marks_}, {"exact", true}}; }

 private:
  double factor_;
  std::vector<int64_t> marks_;
  Variable shift_;
};

// Without options, and without a word on configurations.
class Twice : public LayerBase {
 public:
  Twice() : LayerBase("Twice", {}) {}
  std::vector<Value> Call(CallContext& /*context*/, std::span<const Value> inputs) const override {
    return {inputs[0] + inputs[0]};
  }
};

TEST(CustomLayers, LoadAgainWhereRegistered) {
  RegisterLayer<Stretch>("shop>Stretch", [](const LayerConfig& config) {
    EXPECT_TRUE(config.Bool("exact"));
    return std::make_shared<Stretch>(config.Number("factor"), config.Ints("marks"));
  });
  RegisterLayer<Twice>("shop>Twice", [](const LayerConfig&) { return std::make_shared<Twice>(); });
  const SymbolicTensor x = Input({4});
  const Layer stretch(std::make_shared<Stretch>(2.5, std::vector<int64_t>{1, 2}));
  const Model sub(x, stretch(x));
  const Model model(x, Layer(std::make_shared<Twice>())(stretch(sub(x))));
  stretch.set_trainable(false);
  TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Tensor input = UniformTensor({2, 4}, 1);
  EXPECT_TRUE(BitEqual(model.PredictOne(input), loaded->PredictOne(input)));
  EXPECT_EQ(loaded->weights().size(), 1u);
  EXPECT_FALSE(loaded->layer("stretch").trainable());
  ASSERT_TRUE(loaded->Save(folder / "again").ok());
  EXPECT_EQ(ReadBytes(folder / "m/config.json"), ReadBytes(folder / "again/config.json"));
  // Files that say too little, or name what isn't registered.
  const NamedTensors tensors = TensorsOf(folder / "m");
  const std::string good = ReadBytes(folder / "m/config.json");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string config = good;
    for (size_t at = 0; (at = config.find(from, at)) != std::string::npos; at += to.size()) config.replace(at, from.size(), to);
    WriteModel(folder / "bad", config, tensors);
    return LoadModel(folder / "bad").status();
  };
  EXPECT_TRUE(Says(with("shop>Twice", "shop>Thrice"), "RegisterLayer")) << with("shop>Twice", "shop>Thrice");
  EXPECT_TRUE(Says(with("shop>Twice", "shop>Thrice"), "shop>Thrice"));
  EXPECT_TRUE(Says(with("\"factor\"", "\"fact\""), "factor"));
  EXPECT_FALSE(with("2.5", "\"much\"").ok());
}

TEST(CustomLayers, NamesAreWellFormedAndOneAClass) {
  const auto make = [](const LayerConfig&) { return std::make_shared<Twice>(); };
  for (const char* name : {"Twice", ">Twice", "shop>", ""}) EXPECT_THROW(RegisterLayer<Twice>(name, make), Error) << name;
  RegisterLayer<Twice>("shop>Twice", make);
  EXPECT_NO_THROW(RegisterLayer<Twice>("shop>Twice", make));
  EXPECT_THROW(RegisterLayer<Twice>("shop>Double", make), Error);
  EXPECT_THROW(RegisterLayer<Stretch>("shop>Twice", make), Error);
  EXPECT_THROW(LayerConfig({{"rate", INFINITY}}), Error);
}

}  // namespace
}  // namespace weir
