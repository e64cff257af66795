// How models are put together: names, shapes, summaries, cutting, sharing, seeds, and the messages of misuse.
#include <sstream>

#include "frontend_test_util.h"

namespace weir {
namespace {

std::vector<std::string> NamesOf(const Model& model) {
  std::vector<std::string> names;
  for (const Layer& layer : model.layers()) names.push_back(layer.name());
  return names;
}

std::string GoldenText(const std::string& name) {
  std::ifstream file(std::string(WEIR_TEST_DATA_DIR) + "/goldens/text/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Names, SnakeCase) {
  for (const auto& [from, to] :
       std::map<std::string, std::string>{{"Conv2D", "conv2d"},
                                          {"MaxPooling2D", "max_pooling2d"},
                                          {"GlobalAveragePooling2D", "global_average_pooling2d"},
                                          {"LeakyReLU", "leaky_re_lu"},
                                          {"PReLU", "p_re_lu"},
                                          {"ReLU", "re_lu"},
                                          {"ELU", "elu"},
                                          {"SpatialDropout2D", "spatial_dropout2d"},
                                          {"BatchNormalization", "batch_normalization"},
                                          {"InputLayer", "input_layer"}}) {
    EXPECT_EQ(SnakeCase(from), to);
  }
}

TEST(Names, CountedPerModel) {
  const std::vector<std::string> expected{"conv2d",  "dropout", "conv2d_1",  "max_pooling2d",
                                          "flatten", "dense",   "dropout_1", "dense_1"};
  EXPECT_EQ(NamesOf(TutorialModel()), expected);
  EXPECT_EQ(NamesOf(TutorialModel()), expected);
  const Sequential model = TutorialModel();
  EXPECT_EQ(model.name(), "sequential");
  EXPECT_EQ(model.inputs()[0].layer().name(), "conv2d_input");
  EXPECT_EQ(Model(model.inputs(), model.outputs()).name(), "model");
  EXPECT_EQ(model.layer(0).kernel().name(), "conv2d/kernel:0");
}

TEST(Names, FunctionalInputsCountFromOne) {
  const SymbolicTensor a = Input({4}), b = Input({4});
  const Model model({a, b}, Add()({Dense(3)(a), Dense(3)(b)}));
  EXPECT_EQ(NamesOf(model), (std::vector<std::string>{"input_1", "input_2", "dense", "dense_1", "add"}));
}

TEST(Names, DuplicatesAreErrors) {
  EXPECT_NE(MessageOf([] {
              Sequential({Dense({.units = 2, .name = "a"}), Dense({.units = 2, .name = "a"})});
            }).find("The name \"a\" is used 2 times in the model. All layer names should be unique."),
            std::string::npos);
  const Layer layer = Dense(2);
  EXPECT_THROW(Sequential({layer, layer}), Error);
}

TEST(Names, NewLayersAvoidNamesThatAreTaken) {
  const Sequential base({Dense({.units = 4, .input_shape = {3}}), Dense(2)});
  const Model grown(base.inputs(), Dense(5)(base.layer(0).output()));
  EXPECT_EQ(NamesOf(grown), (std::vector<std::string>{"dense_input", "dense", "dense_1"}));
}

TEST(Summary, TutorialToTheBlank) { EXPECT_EQ(TutorialModel().SummaryText(), GoldenText("summary_tf2.7-2.12.txt")); }

TEST(Summary, FunctionalGraphHasConnections) {
  const SymbolicTensor input = Input({8, 8, 3});
  const SymbolicTensor a = Conv2D({.filters = 4, .kernel_size = 3, .padding = "same"})(input);
  const SymbolicTensor sum = Add()({a, Conv2D({.filters = 4, .kernel_size = 1})(input)});
  const Model model(input, GlobalAveragePooling2D()(sum));
  const std::string line(98, '_');
  EXPECT_EQ(model.SummaryText(),
            "Model: \"model\"\n" + line +
                "\n"
                " Layer (type)                   Output Shape         Param #     Connected to                     \n" +
                std::string(98, '=') +
                "\n"
                " input_1 (InputLayer)           [(None, 8, 8, 3)]    0           []                               \n" +
                std::string(98, ' ') +
                "\n"
                " conv2d (Conv2D)                (None, 8, 8, 4)      112         ['input_1[0][0]']                \n" +
                std::string(98, ' ') +
                "\n"
                " conv2d_1 (Conv2D)              (None, 8, 8, 4)      16          ['input_1[0][0]']                \n" +
                std::string(98, ' ') +
                "\n"
                " add (Add)                      (None, 8, 8, 4)      0           ['conv2d[0][0]',                 \n"
                "                                                                  'conv2d_1[0][0]']               \n" +
                std::string(98, ' ') +
                "\n"
                " global_average_pooling2d (Glob  (None, 4)           0           ['add[0][0]']                    \n"
                " alAveragePooling2D)                                                                              \n" +
                std::string(98, ' ') + "\n" + std::string(98, '=') +
                "\n"
                "Total params: 128\nTrainable params: 128\nNon-trainable params: 0\n" +
                line + "\n");
}

TEST(Summary, ChainsNeedNoConnections) {
  const SymbolicTensor input = Input({784});
  const Model model(input, Dense(10)(input));
  const std::string text = model.SummaryText();
  EXPECT_NE(text.find(" Layer (type)                Output Shape              Param #   \n"), std::string::npos);
  EXPECT_NE(text.find(" input_1 (InputLayer)        [(None, 784)]             0         \n"), std::string::npos);
  EXPECT_NE(text.find(" dense (Dense)               (None, 10)                7850      \n"), std::string::npos);
}

TEST(Summary, UnbuiltIsAnError) {
  const Sequential model({Dense(2)});
  EXPECT_NE(MessageOf([&] { model.SummaryText(); }).find("This model has not yet been built."), std::string::npos);
  model.Build({3});
  EXPECT_NE(model.SummaryText().find("dense (Dense)               (None, 2)                 8"), std::string::npos);
}

TEST(Summary, FrozenLayersCount) {
  const Sequential model({Dense({.units = 4, .input_shape = {3}}), Dense(2)});
  model.layer(0).set_trainable(false);
  const std::string text = model.SummaryText();
  EXPECT_NE(text.find("Total params: 26\nTrainable params: 10\nNon-trainable params: 16\n"), std::string::npos) << text;
}

TEST(Shapes, UnknownDimensionsStayUnknown) {
  const SymbolicTensor input = Input({kNone, kNone, 3});
  const SymbolicTensor conv = Conv2D({.filters = 4, .kernel_size = 3, .strides = 2})(input);
  EXPECT_EQ(ShapeText(conv.shape()), "(None, None, None, 4)");
  EXPECT_EQ(ShapeText(GlobalMaxPooling2D()(conv).shape()), "(None, 4)");
  EXPECT_EQ(ShapeText(Flatten()(conv).shape()), "(None, None)");
  EXPECT_THROW(Dense(3)(Flatten()(conv)), Error);
  const Model model(input, GlobalMaxPooling2D()(conv));
  EXPECT_EQ(model.PredictOne(UniformTensor({2, 9, 7, 3}, 1)).shape(), (Shape{2, 4}));
}

TEST(Models, ExtractorSharesLayersAndValues) {
  const Sequential model = TutorialModel();
  const Model extractor(model.inputs(), OutputsOf(model.layers()));
  const Tensor image = UniformTensor({1, 32, 32, 3}, 5);
  const std::vector<Tensor> features = extractor.Predict(image);
  ASSERT_EQ(features.size(), 8u);
  EXPECT_EQ(features[0].shape(), (Shape{1, 32, 32, 32}));
  EXPECT_TRUE(BitEqual(features[0], features[1]));  // dropout is inactive
  EXPECT_EQ(features[2].shape(), (Shape{1, 32, 32, 32}));
  EXPECT_EQ(features[4].shape(), (Shape{1, 8192}));
  EXPECT_TRUE(BitEqual(features[7], model.PredictOne(image)));
  Variable bias = extractor.layer("conv2d").bias();
  bias.Assign(Tensor::Full(DType::kFloat32, {32}, 1));
  EXPECT_EQ(model.layer(0).bias().value().at<float>({3}), 1);
  EXPECT_FALSE(BitEqual(features[7], model.PredictOne(image)));
}

TEST(Models, CutAnywhere) {
  const Sequential model = TutorialModel();
  const Tensor image = UniformTensor({2, 32, 32, 3}, 6);
  const Model lower(model.inputs(), model.layer("max_pooling2d").output());
  const Model upper(model.layer("max_pooling2d").output(), model.outputs());
  EXPECT_EQ(NamesOf(upper), (std::vector<std::string>{"input_1", "flatten", "dense", "dropout_1", "dense_1"}));
  EXPECT_TRUE(BitEqual(upper.PredictOne(lower.PredictOne(image)), model.PredictOne(image)));
}

TEST(Models, NestedAndShared) {
  const Sequential inner({Dense({.units = 4, .activation = "tanh", .input_shape = {3}}), Dropout(0.5)});
  const SymbolicTensor a = Input({3}), b = Input({3});
  const Model model({a, b}, Concatenate()({inner(a), inner(b)}));
  EXPECT_EQ(model.weights().size(), 2u);
  const Tensor x = UniformTensor({2, 3}, 1), y = UniformTensor({2, 3}, 2);
  const Tensor both = model.Predict({x, y})[0];
  const Tensor alone = inner.PredictOne(x);
  EXPECT_EQ(both.shape(), (Shape{2, 8}));
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(both.at<float>({1, i}), alone.at<float>({1, i}));
  EXPECT_TRUE(BitEqual(both, model.Predict({x, y})[0]));
  const Sequential outer({inner, Dense(2)});
  EXPECT_EQ(NamesOf(outer), (std::vector<std::string>{"sequential", "dense"}));
  EXPECT_EQ(outer.PredictOne(x).shape(), (Shape{2, 2}));
}

TEST(Models, DisconnectedGraphIsAnError) {
  const SymbolicTensor a = Input({3}), b = Input({3}, {.name = "other"});
  const SymbolicTensor sum = Add()({a, b});
  const std::string message = MessageOf([&] { Model(a, sum); });
  EXPECT_NE(
      message.find(
          "Graph disconnected: cannot obtain value for tensor float32(None, 3) of input layer \"other\" at \"add\""),
      std::string::npos)
      << message;
}

TEST(Models, OutputOfSeveralCallsIsAmbiguous) {
  const Layer dense = Dense(3);
  EXPECT_NE(MessageOf([&] { dense.output(); }).find("has never been called"), std::string::npos);
  const SymbolicTensor a = Input({3});
  const SymbolicTensor once = dense(a), twice = dense(once);
  EXPECT_NE(MessageOf([&] { dense.output(); }).find("the notion of \"layer output\" is ill-defined"),
            std::string::npos);
  EXPECT_EQ(dense.output(1), twice);
  EXPECT_EQ(Model(a, twice).weights().size(), 2u);
}

TEST(Models, SeveralOutputsKeepTheirOrder) {
  const SymbolicTensor input = Input({4});
  const SymbolicTensor small = Dense({.units = 1, .name = "small"})(input),
                       big = Dense({.units = 64, .name = "big"})(input);
  const Model model(input, {small, big});
  EXPECT_EQ(model.output_names(), (std::vector<std::string>{"small", "big"}));
  const std::vector<Tensor> y = model.Predict(UniformTensor({3, 4}, 1));
  EXPECT_EQ(y[0].shape(), (Shape{3, 1}));
  EXPECT_EQ(y[1].shape(), (Shape{3, 64}));
}

TEST(Models, DeferredBuildHappensWithTheData) {
  const Sequential model;
  model.Add(Dense({.units = 4, .activation = "relu"}));
  model.Add(Activation("tanh"));
  model.Add(Dense(2));
  EXPECT_FALSE(model.built());
  EXPECT_NE(MessageOf([&] { model.layer(0).kernel(); }).find("has no kernel yet"), std::string::npos);
  EXPECT_EQ(model.PredictOne(UniformTensor({5, 3}, 1)).shape(), (Shape{5, 2}));
  EXPECT_EQ(NamesOf(model), (std::vector<std::string>{"dense", "activation", "dense_1"}));
  model.Add(Dense(7));
  EXPECT_EQ(model.PredictOne(UniformTensor({5, 3}, 1)).shape(), (Shape{5, 7}));
}

TEST(Models, InputMayStandInFront) {
  const Sequential model({Input({6, 6, 1}), Flatten(), Dense(2)});
  EXPECT_TRUE(model.built());
  EXPECT_EQ(NamesOf(model), (std::vector<std::string>{"flatten", "dense"}));
}

TEST(Seeds, SameSeedSameWeightsWhateverWasBuiltBefore) {
  const Sequential first = TutorialModel({.seed = 7});
  const Sequential other = TutorialModel({.seed = 8});
  const Sequential again = TutorialModel({.seed = 7});
  EXPECT_TRUE(SameWeights(first, again));
  EXPECT_FALSE(SameWeights(first, other));
  const Tensor kernel = first.layer(0).kernel().value();
  float largest = 0;
  for (float w : kernel.data<float>()) largest = std::max(largest, std::abs(w));
  EXPECT_LE(largest, 0.1381f);  // Glorot, fans 27 and 288
  EXPECT_GT(largest, 0.13f);
  // Weights of equal shape differ: each variable has a stream of its own.
  const Sequential twins({Dense({.units = 3, .input_shape = {3}}), Dense(3)});
  EXPECT_FALSE(BitEqual(twins.layer(0).kernel().value(), twins.layer(1).kernel().value()));
}

TEST(Seeds, CompileMaySetIt) {
  const Sequential a = SmallModel({.seed = 3}), b = SmallModel();
  b.Compile({.optimizer = "sgd", .loss = "mse", .seed = 3});
  EXPECT_TRUE(SameWeights(a, b));
}

TEST(Errors, HintsForWrongInputs) {
  const Sequential model = TutorialModel();
  const auto message = [&](const Shape& shape) {
    return MessageOf([&] { model.Predict(Tensor(DType::kFloat32, shape)); });
  };
  EXPECT_EQ(message({32, 32, 3}),
            "Input 0 of model \"sequential\" is incompatible: expected shape (N, 32, 32, 3), got (32, 32, 3): the "
            "batch axis is "
            "missing, reshape to (1, ...)");
  EXPECT_NE(message({1, 3, 32, 32}).find("got (1, 3, 32, 32): looks like channels-first data"), std::string::npos);
  EXPECT_NE(message({1, 28, 28, 1}).find("the pictures have 1 channels, not 3"), std::string::npos);
  EXPECT_NE(message({600, 400, 3}).find("the batch axis is missing, and the picture must be resized"),
            std::string::npos);
  EXPECT_NE(message({1, 64, 64, 3}).find("resize the pictures"), std::string::npos);
}

TEST(Errors, LayersRefuseInKerasWords) {
  const SymbolicTensor flat = Input({10}), picture = Input({8, 8, 3});
  EXPECT_NE(MessageOf([&] { Conv2D({.filters = 2, .kernel_size = 3})(flat); })
                .find("Input 0 of layer \"conv2d\" is incompatible with the layer: expected ndim=4, found ndim=2. Full "
                      "shape received: (None, 10)"),
            std::string::npos);
  const Layer conv = Conv2D({.filters = 2, .kernel_size = 3});
  conv(picture);
  EXPECT_NE(MessageOf([&] {
              conv(Input({8, 8, 4}));
            }).find("expected axis -1 of input shape to have value 3, but received input with shape (None, 8, 8, 4)"),
            std::string::npos);
  EXPECT_NE(MessageOf([] { Conv2D({.filters = 0, .kernel_size = 3}); }).find("Received filters=0"), std::string::npos);
  EXPECT_NE(MessageOf([] {
              Conv2D({.filters = 2, .kernel_size = {3, 3, 3}});
            }).find("must be a tuple of 2 integers. Received: (3, 3, 3)"),
            std::string::npos);
  EXPECT_NE(MessageOf([] { Conv2D({.filters = 2, .kernel_size = 3, .padding = "sume"}); }).find("Received: sume"),
            std::string::npos);
  EXPECT_NE(MessageOf([] {
              Conv2D({.filters = 2, .kernel_size = 3, .strides = 2, .dilation_rate = 2});
            }).find("not supported in conjunction"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] {
              Conv2D({.filters = 4, .kernel_size = 3, .groups = 2})(picture);
            }).find("evenly divisible by the number of groups"),
            std::string::npos);
  EXPECT_NE(MessageOf([] { Dropout(1.5); }).find("Expected a float value between 0 and 1"), std::string::npos);
  EXPECT_NE(MessageOf([] { Dense(0); }).find("units=0"), std::string::npos);
  EXPECT_NE(MessageOf([&] {
              Reshape({5, 5})(flat);
            }).find("total size of the tensor must be unchanged"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] {
              Concatenate()({picture, Input({8, 9, 3})});
            }).find("requires inputs with matching shapes except for the concatenation"),
            std::string::npos);
  const std::string small = MessageOf([] { Conv2D({.filters = 4, .kernel_size = 5})(Input({3, 3, 1})); });
  EXPECT_NE(small.find("conv2d"), std::string::npos) << small;
  EXPECT_NE(MessageOf([] { Dense({.units = 3, .activation = "rellu"}); }).find("rellu"), std::string::npos);
}

TEST(Errors, UnknownLayersAreListed) {
  const Sequential model = SmallModel();
  EXPECT_NE(MessageOf([&] { model.layer("conv2s"); }).find("did you mean 'conv2d'"), std::string::npos);
  EXPECT_THROW(model.layer(5), Error);
  EXPECT_EQ(model.layer(-1).name(), "dense");
}

// Batches of neighbouring rows are the caller's own data, wherever those begin.
TEST(Predict, BatchesShareTheCallersRows) {
  for (const std::string& backend : BackendNames()) {
    const Sequential model({Dense({.units = 3, .activation = "relu", .input_shape = {5}}), Dense(2)},
                           {.seed = 3, .runtime = &TestRuntime(backend, 2)});
    const Tensor all = UniformTensor({40, 5}, 1), before = all.Clone();
    const Tensor expected = model.PredictOne(all);
    EXPECT_TRUE(BitEqual(model.PredictOne(all.Rows(7, 20)), expected.Rows(7, 20))) << backend;
    EXPECT_TRUE(BitEqual(model.PredictOne(all, {.batch_size = 7}), expected)) << backend;
    EXPECT_TRUE(BitEqual(all, before)) << backend;
    EXPECT_EQ(all.use_count(), 1) << backend << " keeps the data of a call";
  }
}

}  // namespace
}  // namespace weir
