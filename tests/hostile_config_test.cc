// Configurations that nobody saved: numbers that no counter has, and a few kilobytes that stand for boundless work,
// which ctest's time limit would end.
#include "saving_test_util.h"
#include "weir/frontend/layers/registry.h"
#include "weir/frontend/model_config.h"

namespace weir {
namespace {

using Json = nlohmann::json;

Json InputObject(const std::string& name, const Json& batch_shape) {
  return {{"class_name", "InputLayer"},
          {"name", name},
          {"config", {{"name", name}, {"batch_shape", batch_shape}}},
          {"inbound_nodes", Json::array()}};
}

Json Key(const std::string& layer, int use = 0) { return {layer, use, 0}; }

// A call with these arguments.
Json Node(const std::vector<Json>& keys) {
  Json tensors = Json::array();
  for (const Json& key : keys) tensors.push_back({{"config", {{"keras_history", key}}}});
  return {{"args", Json::array({tensors.size() == 1 ? tensors[0] : tensors})}, {"kwargs", Json::object()}};
}

Json LayerObject(const std::string& class_name, const std::string& name, Json config, const Json& nodes) {
  config["name"] = name;
  return {{"class_name", class_name}, {"name", name}, {"config", config}, {"inbound_nodes", nodes}};
}

Json FunctionalObject(const std::string& name, const Json& layers, const Json& inputs, const Json& outputs) {
  return {{"class_name", "Functional"},
          {"name", name},
          {"config", {{"name", name}, {"layers", layers}, {"input_layers", inputs}, {"output_layers", outputs}}}};
}

absl::Status Load(Json config, const NamedTensors& tensors = {}) {
  TempFolder folder;
  config["weir_format"] = 2;
  config["seed"] = 0;
  WriteModel(folder / "m", config.dump(), tensors);
  return LoadModel(folder / "m").status();
}

NamedTensors ProbeOf(const Shape& input) {
  return {{"/probe/input/0", Tensor(DType::kFloat32, input)}, {"/probe/output/0", Tensor(DType::kFloat32, input)}};
}

// A model that calls the one of the level before twice: 2^levels calls.
Json Doubling(int levels, const Json& batch_shape) {
  Json inner;
  for (int level = 0; level < levels; ++level) {
    const std::string name = StrCat("m", level);
    Json layer = level == 0 ? LayerObject("ReLU", "relu", Json::object(), Json::array()) : inner;
    const std::string inner_name = level == 0 ? "relu" : StrCat("m", level - 1);
    layer["inbound_nodes"] = Json::array({Node({Key("x")}), Node({Key(inner_name, 0)})});
    // Each level's batch axis is another one, so that shapes are not known from the level before.
    Json shape = batch_shape;
    if (level % 2 == 1) shape[0] = 2;
    inner = FunctionalObject(name, {InputObject("x", shape), layer}, Json::array({Key("x")}),
                             Json::array({Key(inner_name, 1)}));
  }
  return inner;
}

TEST(HostileConfig, ModelsNestedTwentyFourDeep) {
  const absl::Status small = Load(Doubling(6, {nullptr, 4}), ProbeOf({2, 4}));
  ASSERT_TRUE(small.ok()) << small;
  const Json config = Doubling(24, {nullptr, 4});
  EXPECT_LT(config.dump().size(), 16'000u);
  const absl::Status status = Load(config, ProbeOf({2, 4}));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_TRUE(Says(status, "calls of layers")) << status;
  EXPECT_TRUE(Says(status, "config.json")) << status;
}

TEST(HostileConfig, ConcatenatesOfALayerWithItself) {
  Json layers = Json::array({InputObject("x", {nullptr, 4})});
  std::string last = "x";
  for (int i = 0; i < 26; ++i) {
    const std::string name = StrCat("c", i);
    layers.push_back(LayerObject("Concatenate", name, {{"axis", -1}}, Json::array({Node({Key(last), Key(last)})})));
    last = name;
  }
  // 2^28 columns: fine as a shape, and nothing is computed to find that out.
  const Json config = FunctionalObject("big", layers, Json::array({Key("x")}), Json::array({Key(last)}));
  const absl::Status status = Load(config, ProbeOf({1, 4}));
  EXPECT_TRUE(status.ok()) << status;
}

TEST(HostileConfig, BroadcastingAdds) {
  Json layers = {
      InputObject("x", {nullptr, 2048, 1, 1, 1}),
      LayerObject("Reshape", "b", {{"target_shape", {1, 2048, 1, 1}}}, Json::array({Node({Key("x")})})),
      LayerObject("Reshape", "c", {{"target_shape", {1, 1, 2048, 1}}}, Json::array({Node({Key("x")})})),
      LayerObject("Reshape", "d", {{"target_shape", {1, 1, 1, 2048}}}, Json::array({Node({Key("x")})})),
      LayerObject("Add", "sum", Json::object(), Json::array({Node({Key("x"), Key("b"), Key("c"), Key("d")})}))};
  const Json config = FunctionalObject("wide", layers, Json::array({Key("x")}), Json::array({Key("sum")}));
  const absl::Status status = Load(config, ProbeOf({1, 2048, 1, 1, 1}));
  EXPECT_TRUE(status.ok()) << status;
}

TEST(HostileConfig, ASharedModelCalledByMany) {
  // 2^14 calls in each of 200 models.
  Json shared = Doubling(14, {nullptr, 4});
  shared["shared_object_id"] = 1;
  const std::string name = shared["name"].get<std::string>();
  Json layers = Json::array({InputObject("x", {2, 4})});
  std::string last = "x";
  for (int i = 0; i < 200; ++i) {
    Json inner =
        i == 0 ? shared : Json{{"class_name", "Functional"}, {"config", {{"name", name}}}, {"shared_object_id", 1}};
    inner["inbound_nodes"] = Json::array({Node({Key("x")})});
    Json model = FunctionalObject(StrCat("use", i), {InputObject("x", {2, 4}), inner}, Json::array({Key("x")}),
                                  Json::array({Key(name)}));
    model["inbound_nodes"] = Json::array({Node({Key(last)})});
    layers.push_back(model);
    last = StrCat("use", i);
  }
  const absl::Status status =
      Load(FunctionalObject("outer", layers, Json::array({Key("x")}), Json::array({Key(last)})));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

// n layers in a row, listed from the last to the first.
Json ReversedChain(int n) {
  Json layers = Json::array();
  for (int i = n - 1; i >= 0; --i) {
    layers.push_back(LayerObject("ReLU", StrCat("r", i), Json::object(),
                                 Json::array({Node({Key(i == 0 ? "x" : StrCat("r", i - 1))})})));
  }
  layers.push_back(InputObject("x", {nullptr, 4}));
  return FunctionalObject("chain", layers, Json::array({Key("x")}), Json::array({Key(StrCat("r", n - 1))}));
}

TEST(HostileConfig, LayersListedInReverse) {
  const Json config = ReversedChain(4000);
  const std::shared_ptr<ModelBase> model = ModelFromJson(config);
  EXPECT_EQ(model->call_count(), 4000);
  EXPECT_EQ(model->layers().size(), 4001u);
}

TEST(HostileConfig, ArgumentsThatNeverCome) {
  Json layers = {InputObject("x", {nullptr, 4}),
                 LayerObject("ReLU", "a", Json::object(), Json::array({Node({Key("b")})})),
                 LayerObject("ReLU", "b", Json::object(), Json::array({Node({Key("a")})}))};
  const absl::Status circle = Load(FunctionalObject("m", layers, Json::array({Key("x")}), Json::array({Key("a")})));
  EXPECT_TRUE(Says(circle, "can't be made")) << circle;
}

// ---- Text

TEST(HostileConfig, TextBehindANul) {
  TempFolder folder;
  const std::string nul(1, '\0');
  for (const std::string& text : {"{}" + nul, "{" + nul + "}", nul + "{}", "{\"a\": \"" + nul + "\"}"}) {
    WriteModel(folder / "m", text, {});
    const absl::Status status = LoadModel(folder / "m").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_TRUE(Says(status, StrCat("config.json: has a NUL at byte ", text.find('\0'), " of ", text.size())))
        << status;
  }
}

TEST(HostileConfig, TextNestedTooDeep) {
  TempFolder folder;
  WriteModel(folder / "m", "{\"a\": " + std::string(100'000, '['), {});
  const absl::Status status = LoadModel(folder / "m").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_TRUE(Says(status, "config.json: nests deeper than 512 at byte 517")) << status;
}

// ---- Numbers

class HostileNumbers : public ::testing::Test {
 protected:
  HostileNumbers() {
    const Sequential model({Dense({.units = 3, .input_shape = {4}}), Dropout(0.5, {.seed = 7}), Dense(2)});
    model.Compile({.optimizer = "adam", .loss = "mse"});
    model.Fit(UniformTensor({8, 4}, 1), UniformTensor({8, 2}, 2), {.epochs = 2, .verbose = 0});
    EXPECT_TRUE(model.Save(folder_ / "m").ok());
    config_ = Json::parse(ReadBytes(folder_ / "m/config.json"));
    tensors_ = TensorsOf(folder_ / "m");
  }

  absl::StatusOr<Model> LoadText(const std::string& text) {
    WriteModel(folder_ / "bad", text, tensors_);
    return LoadModel(folder_ / "bad");
  }
  // The model with `pointer` of its configuration replaced by JSON text, which may be a number that no type holds.
  absl::StatusOr<Model> With(const std::string& pointer, const std::string& value) {
    Json config = config_;
    config[Json::json_pointer(pointer)] = "REPLACED";
    std::string text = config.dump();
    text.replace(text.find("\"REPLACED\""), 10, value);
    return LoadText(text);
  }

  TempFolder folder_;
  Json config_;
  NamedTensors tensors_;
};

const char* const kNoCounters[] = {"-1",
                                   "-9223372036854775808",
                                   "9223372036854775807",
                                   "9223372036854775808",
                                   "18446744073709551615",
                                   "1e300",
                                   "-1e300",
                                   "0.5",
                                   "\"1\"",
                                   "null",
                                   "[]",
                                   "{}",
                                   "1e999"};

TEST_F(HostileNumbers, Counters) {
  ASSERT_TRUE(LoadText(config_.dump()).ok());
  config_["training_state"]["interrupted"] = {
      {"epoch", 2}, {"step", 1}, {"means", Json::array({Json::array({1.5, 8})})}};
  ASSERT_TRUE(LoadText(config_.dump()).ok()) << LoadText(config_.dump()).status();
  for (const char* pointer : {"/training_state/iterations", "/training_state/epochs/0", "/training_state/epochs/1",
                              "/training_state/interrupted/epoch", "/training_state/interrupted/step"}) {
    for (const char* value : kNoCounters) {
      const absl::Status status = With(pointer, value).status();
      EXPECT_FALSE(status.ok()) << pointer << " " << value;
      EXPECT_TRUE(Says(status, "config.json")) << status;
    }
  }
}

TEST_F(HostileNumbers, CountersThatDoNotGoTogether) {
  const auto refused = [&](const char* pointer, const char* value) {
    const absl::Status status = With(pointer, value).status();
    EXPECT_TRUE(Says(status, "training_state")) << pointer << " " << value << ": " << status;
  };
  refused("/training_state/epochs", "[1, 0]");
  refused("/training_state/epochs", "[0, 0]");
  refused("/training_state/epochs", "[0]");  // two losses of one epoch
  refused("/training_state/epochs", "7");
  refused("/training_state/history/0", "[\"loss\", [1, 2, 3]]");
  refused("/training_state/history", "[[\"loss\", [1]], [\"loss\", [2]]]");
  config_["training_state"]["interrupted"] = {
      {"epoch", 2}, {"step", 1}, {"means", Json::array({Json::array({1.5, 8})})}};
  refused("/training_state/interrupted/epoch", "0");  // is done
  refused("/training_state/interrupted/means", "[]");
  refused("/training_state/interrupted/means", "[[1, 2], [3, 4]]");
  refused("/training_state/interrupted/means", "[[1, 2, 3]]");
  refused("/training_state/interrupted/means", "[[true, 2]]");
  refused("/training_state/interrupted/means", "{}");
  config_["training_state"].erase("interrupted");
  refused("/training_state/callbacks", "[{\"class_name\": \"EarlyStopping\"}]");
  refused("/training_state/callbacks", "[3]");
  refused("/training_state/callbacks", "{}");
}

// What loads goes on training, whatever its counters say.
TEST_F(HostileNumbers, WhatLoadsCanBeResumed) {
  const Tensor x = UniformTensor({8, 4}, 1), y = UniformTensor({8, 2}, 2);
  for (const char* epochs : {"[0, 9007199254740992]", "[5, 6]"}) {
    const absl::StatusOr<Model> model = With("/training_state/epochs", epochs);
    ASSERT_TRUE(model.ok()) << model.status();
    const History history = model->Fit(x, y, {.epochs = 9, .verbose = 0, .resume = true});
    EXPECT_LE(history.epoch.size(), 2u);
  }
  config_["training_state"]["interrupted"] = {
      {"epoch", 2}, {"step", 9007199254740992}, {"means", Json::array({Json::array({1.5, 8})})}};
  const absl::StatusOr<Model> model = LoadText(config_.dump());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->Fit(x, y, {.epochs = 4, .verbose = 0, .resume = true}).epoch, (std::vector<int64_t>{2, 3}));
}

// Each of these would be counted on from.
TEST_F(HostileNumbers, OfLayersAndSeeds) {
  for (const char* value :
       {"-1", "0", "9223372036854775808", "18446744073709551615", "1e300", "0.5", "\"3\"", "null"}) {
    EXPECT_FALSE(With("/config/layers/1/config/units", value).ok()) << value;
  }
  for (const char* value : {"-1", "1.5", "1e300", "\"1\"", "null", "18446744073709551616"}) {
    EXPECT_FALSE(With("/seed", value).ok()) << value;
    EXPECT_FALSE(With("/weir_format", value).ok()) << value;
  }
  for (const char* value : {"0", "-7", "9223372036854775808", "1e300", "0.5", "\"4\"", "{}"}) {
    EXPECT_FALSE(With("/config/layers/0/config/batch_shape/1", value).ok()) << value;
  }
  for (const char* value : {"9223372036854775808", "1e300", "0.5", "\"4\""}) {
    EXPECT_FALSE(With("/config/layers/2/config/seed", value).ok()) << value;
  }
  EXPECT_FALSE(With(
                   "/config/layers/0/config/batch_shape", "[" +
                                                              [] {
                                                                std::string ones = "1";
                                                                for (int i = 0; i < 5000; ++i) ones += ",1";
                                                                return ones;
                                                              }() +
                                                              "]")
                   .ok());
  // A shape that a file may name but no memory holds: refused for its weights before anything is made.
  EXPECT_FALSE(With("/config/layers/1/config/units", "1099511627776").ok());
  EXPECT_FALSE(With("/config/layers/0/config/batch_shape/1", "4611686018427387904").ok());
}

// Numbers that an int holds only in part: 2^32 - 1 cut to 32 bits is -1, the axis that was meant.
TEST_F(HostileNumbers, Axes) {
  const auto with_axis = [](const std::string& class_name, Json config, const Json& axis) {
    const bool operation = class_name == "Operation";
    (operation ? config["options"] : config)["axis"] = axis;
    const Json nodes = Json::array({class_name == "Concatenate" ? Node({Key("x"), Key("x")}) : Node({Key("x")})});
    return FunctionalObject("m", {InputObject("x", {nullptr, 4}), LayerObject(class_name, "y", config, nodes)},
                            Json::array({Key("x")}), Json::array({Key("y")}));
  };
  const auto operation = [](const char* function) {
    return Json{{"function", function}, {"arguments", Json::array({nullptr})}};
  };
  const std::vector<std::pair<std::string, Json>> layers{{"Softmax", Json::object()},
                                                         {"Concatenate", Json::object()},
                                                         {"Operation", operation("softmax")},
                                                         {"Operation", operation("log_softmax")},
                                                         {"Operation", operation("concatenate")},
                                                         {"Operation", operation("sum")}};
  for (const auto& [class_name, config] : layers) {
    const absl::Status good = Load(with_axis(class_name, config, -1));
    EXPECT_TRUE(good.ok()) << good;
    for (const Json& axis : {Json(4294967295), Json(-4294967297), Json(4294967297), Json(7), Json(0.5), Json("1")}) {
      const absl::Status status = Load(with_axis(class_name, config, axis));
      EXPECT_FALSE(status.ok()) << class_name << " " << config << " " << axis;
      EXPECT_TRUE(Says(status, "axis") && Says(status, "config.json") && Says(status, "expected")) << status;
    }
  }
}

TEST_F(HostileNumbers, OfCallbacks) {
  const Tensor x = UniformTensor({8, 4}, 1), y = UniformTensor({8, 2}, 2);
  const auto fit = [&](const std::string& key, const Json& value) {
    const Json good{{"wait", 1},       {"cooldown", 0},          {"best", 1.5},
                    {"best_epoch", 0}, {"best_in_model", false}, {"begun", -1}};
    Json callbacks = Json::array();
    for (const char* name : {"EarlyStopping", "ReduceLROnPlateau", "LearningRateScheduler", "ModelCheckpoint"}) {
      callbacks.push_back({{"class_name", name}, {"state", good}});
    }
    std::string all;
    for (Json& callback : callbacks) {
      callback["state"][key] = value;
      config_["training_state"]["callbacks"] = Json::array({callback});
      const absl::StatusOr<Model> model = LoadText(config_.dump());
      EXPECT_TRUE(model.ok()) << model.status();
      try {
        model->Fit(x, y,
                   {.epochs = 3,
                    .verbose = 0,
                    .callbacks = {EarlyStopping({.monitor = "loss"}), ReduceLROnPlateau({.monitor = "loss"}),
                                  LearningRateScheduler([](int64_t, double rate) { return rate; }),
                                  ModelCheckpoint({.path = folder_ / "checkpoint", .monitor = "loss"})},
                    .resume = true});
      } catch (const Error& error) {
        all += error.message() + "\n";
      }
    }
    return all;
  };
  EXPECT_EQ(fit("wait", 0), "");
  const auto refused = [&](const char* key, const Json& value, int callbacks) {
    const std::string told = fit(key, value);
    EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), callbacks) << key << " " << value << "\n" << told;
    if (callbacks > 0) {
      EXPECT_NE(told.find("the saved state of"), std::string::npos) << told;
      EXPECT_NE(told.find(StrCat("\"", key, "\" is ", value.dump(), ", expected")), std::string::npos) << told;
    }
  };
  for (const Json& value :
       {Json(-2), Json(1e300), Json(INT64_MAX), Json(UINT64_MAX), Json(0.5), Json(true), Json("1")}) {
    refused("wait", value, 2);
    refused("cooldown", value, 1);
    refused("best_epoch", value, 1);
    refused("begun", value, 1);
  }
  for (const Json& value : {Json("1"), Json(true), Json::array()}) refused("best", value, 3);
  for (const Json& value : {Json("1"), Json(1), Json::array()}) refused("best_in_model", value, 1);
}

// A label to ignore that labels of 32 bits would hold only in part.
TEST_F(HostileNumbers, IgnoredClass) {
  const auto with = [&](int64_t ignored) {
    config_["compile_config"]["loss"] = {{"class_name", "SparseCategoricalCrossentropy"},
                                         {"config", {{"ignore_class", ignored}}}};
    return LoadText(config_.dump()).status();
  };
  EXPECT_TRUE(with(-1).ok()) << with(-1);
  for (const int64_t ignored : {int64_t{4294967295}, int64_t{-4294967297}, INT64_MIN, INT64_MAX}) {
    EXPECT_TRUE(Says(with(ignored), "ignore_class") && Says(with(ignored), "expected")) << with(ignored);
  }
}

// What is said of a value of another kind names it.
TEST_F(HostileNumbers, OfOtherKinds) {
  const auto refused = [&](const char* pointer, const char* value, const char* key) {
    const absl::Status status = With(pointer, value).status();
    EXPECT_TRUE(Says(status, "config.json") && Says(status, key) && Says(status, "expected")) << status;
  };
  refused("/training_state/learning_rate", "\"fast\"", "training_state.learning_rate");
  refused("/training_state/history/0/0", "7", "training_state.history");
  refused("/training_state/history/0/1/0", "true", "training_state.history");
  refused("/compile_config/loss_weights", "\"1\"", "compile_config.loss_weights");
  refused("/class_names", "[3]", "class_names");
  refused("/input_scales", "[true]", "input_scales");
  refused("/config/name", "3", "name");
  refused("/class_name", "3", "class_name");
}

}  // namespace
}  // namespace weir
