// Parts of a user's own (functions given for activations, losses, optimizers, ...) in saved models: registered they
// come back, otherwise Save says what to call.
#include <algorithm>

#include "saving_test_util.h"
#include "weir/frontend/callbacks.h"
#include "weir/frontend/parts/custom.h"
#include "weir/frontend/parts/keras_config.h"

namespace weir {
namespace {

Value ScaledTanh(const Value& x) { return 1.7 * Tanh(x); }
Value Fourth(const Value& y, const Value& p) { return Mean(Square(Square(p - y)), {-1}); }
Value Largest(const Value&, const Value& p) { return Max(p, {-1}); }
Tensor Ramp(const Shape& shape, RandomStream& stream) {
  Tensor tensor(DType::kFloat32, shape);
  for (float& value : tensor.data<float>()) value = static_cast<float>(stream.Uniform() - 0.5);
  return tensor;
}
Value AbsPenalty(const Value& w) { return 0.01 * Sum(Abs(w)); }
Value Bounded(const Value& w) { return Clip(w, -0.4, 0.4); }
double Halving(int64_t step) { return 0.1 / static_cast<double>(1 + step / 3); }

// Moves by the gradient's sign.
class SignRule : public OptimizerRule {
 public:
  explicit SignRule(double share) : share_(share) {}
  std::string class_name() const override { return "SignDescent"; }
  std::vector<SlotSpec> slots() const override { return {{.name = "last"}}; }
  UpdateResult Update(const Value& weight, const Value& gradient, std::span<const Value> slots,
                      std::span<const Value> scalars) const override {
    const Value mixed = slots[0] * share_ + gradient * (1 - share_);
    return {weight - scalars[0] * Sign(mixed), {mixed}};
  }
  void AddConfig(nlohmann::json& config) const override { config["share"] = share_; }

 private:
  double share_;
};

struct Kind {
  std::string name, function;
  std::function<void()> register_it;
};

std::vector<Kind> Kinds() {
  return {{"scaled_tanh", "RegisterActivation", [] { RegisterActivation("scaled_tanh", ScaledTanh); }},
          {"fourth", "RegisterLoss", [] { RegisterLoss("fourth", Fourth); }},
          {"largest", "RegisterMetric", [] { RegisterMetric("largest", Largest); }},
          {"ramp", "RegisterInitializer", [] { RegisterInitializer("ramp", Ramp); }},
          {"abs_penalty", "RegisterRegularizer", [] { RegisterRegularizer("abs_penalty", AbsPenalty); }},
          {"bounded", "RegisterConstraint", [] { RegisterConstraint("bounded", Bounded); }},
          {"halving", "RegisterSchedule", [] { RegisterSchedule("halving", Halving); }},
          {"SignDescent", "RegisterOptimizer", [] {
             RegisterOptimizer("SignDescent", [](const nlohmann::json& config) {
               return std::make_shared<SignRule>(config.at("share").get<double>());
             });
           }}};
}

Sequential Compiled() {
  const Sequential model({Dense({.units = 4,
                                 .activation = {"scaled_tanh", ScaledTanh},
                                 .kernel_initializer = {"ramp", Ramp},
                                 .kernel_regularizer = {"abs_penalty", AbsPenalty},
                                 .kernel_constraint = {"bounded", Bounded},
                                 .input_shape = {3}}),
                          Dense(2, {.name = "last"})},
                         {.seed = 5});
  const auto rule = std::make_shared<SignRule>(0.75);
  model.Compile({.optimizer = Optimizer(rule, Schedule("halving", Halving), {.clipnorm = 2}),
                 .loss = Loss("fourth", Fourth, Reduction::kSum),
                 .metrics = {{"largest", Largest}, Loss("fourth", Fourth)}});
  return model;
}

const Tensor& X() { static const Tensor x = UniformTensor({12, 3}, 1); return x; }
const Tensor& Y() { static const Tensor y = UniformTensor({12, 2}, 2); return y; }

// In the order of these tests, nothing is registered at first.
TEST(OwnParts, AreNamedUntilAllAreRegistered) {
  const TempFolder folder;
  const Sequential model = Compiled();
  model.Fit(X(), Y(), {.batch_size = 4, .verbose = 0});
  std::vector<Kind> missing = Kinds();
  while (!missing.empty()) {
    const absl::Status status = model.Save(folder / "m");
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    for (const Kind& kind : missing) {
      EXPECT_TRUE(Says(status, "'" + kind.name + "'")) << kind.name << ": " << status;
      EXPECT_TRUE(Says(status, "call " + kind.function)) << kind.name << ": " << status;
    }
    EXPECT_FALSE(fs::exists(folder / "m"));
    // A checkpoint says so before anything is trained.
    const int64_t before = model.iterations();
    EXPECT_THROW(model.Fit(X(), Y(), {.verbose = 0, .callbacks = {ModelCheckpoint(folder / "c")}}), Error);
    EXPECT_EQ(model.iterations(), before);
    missing.back().register_it();
    missing.pop_back();
  }
  const absl::Status status = model.Save(folder / "m");
  EXPECT_TRUE(status.ok()) << status;
}

TEST(OwnParts, TrainOnWhereTheyStopped) {
  for (const Kind& kind : Kinds()) kind.register_it();
  const TempFolder folder;
  const Sequential model = Compiled();
  const FitOptions first{.batch_size = 4, .epochs = 2, .verbose = 0};
  model.Fit(X(), Y(), first);
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(SameWeights(model, *loaded));
  const FitOptions rest{.batch_size = 4, .epochs = 5, .verbose = 0, .initial_epoch = 2};
  const History here = model.Fit(X(), Y(), rest), there = loaded->Fit(X(), Y(), rest);
  EXPECT_EQ(here.series, there.series);
  EXPECT_TRUE(SameWeights(model, *loaded));
  EXPECT_EQ(model.Evaluate({X(), Y()}).entries(), loaded->Evaluate({X(), Y()}).entries());
  ASSERT_TRUE(loaded->Save(folder / "again").ok());
  EXPECT_EQ(ReadBytes(folder / "again/config.json").size(), [&] {
    EXPECT_TRUE(model.Save(folder / "m").ok());
    return ReadBytes(folder / "m/config.json").size();
  }());
}

// What is registered goes by its name like any part.
TEST(OwnParts, ByName) {
  for (const Kind& kind : Kinds()) kind.register_it();
  const Sequential model({Dense({.units = 2,
                                 .activation = "scaled_tanh",
                                 .kernel_initializer = "ramp",
                                 .kernel_regularizer = "abs_penalty",
                                 .kernel_constraint = "bounded",
                                 .input_shape = {3}})});
  model.Compile("sgd", "fourth", {"largest", "fourth", "mse"});
  const History history = model.Fit(X(), Y(), {.verbose = 0});
  EXPECT_NE(history.Find("largest"), nullptr);
  const TempFolder folder;
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(model.Evaluate({X(), Y()}).entries(), loaded->Evaluate({X(), Y()}).entries());
}

TEST(OwnParts, Names) {
  const auto refused = [](const char* text, auto call) {
    const std::string message = MessageOf(call);
    EXPECT_NE(message.find(text), std::string::npos) << message;
  };
  refused("RegisterActivation: \"relu\" is the name of a part", [] { RegisterActivation("relu", ScaledTanh); });
  refused("RegisterLoss: \"MeanSquaredError\"", [] { RegisterLoss("MeanSquaredError", Fourth); });
  refused("RegisterMetric: \"acc\"", [] { RegisterMetric("acc", Largest); });
  refused("RegisterInitializer: the name is empty", [] { RegisterInitializer("", Ramp); });
  const OptimizerRuleMaker nothing = [](const nlohmann::json&) { return nullptr; };
  refused("RegisterOptimizer: \"adam\"", [&] { RegisterOptimizer("adam", nothing); });
  refused("has no function", [] { RegisterSchedule("mine", nullptr); });
  refused("RegisterLoss", [] { Loss("fuorth"); });
  refused("RegisterActivation", [] { Activation("no_such"); });
  refused("RegisterMetric", [] { Metric("no_such"); });
  RegisterOptimizer("Nothing", nothing);
  refused("made no rule", [] { Optimizer("Nothing"); });
}

// Under a name of weir's own, another function would come back.
TEST(OwnParts, UnderABuiltInName) {
  const TempFolder folder;
  const Sequential model({Dense({.units = 2, .activation = {"relu", ScaledTanh}, .input_shape = {3}})});
  const absl::Status status = model.Save(folder / "m");
  EXPECT_TRUE(Says(status, "activation 'relu' of layer \"dense\" is your own")) << status;
}

class Twice : public LayerBase {
 public:
  Twice() : LayerBase("Twice", {}) {}
  std::vector<Value> Call(CallContext&, std::span<const Value> x) const override { return {x[0] * 2}; }
};

TEST(OwnParts, LayersThatAreNotRegistered) {
  const TempFolder folder;
  const Sequential model({Dense({.units = 2, .input_shape = {3}}), Layer(std::make_shared<Twice>())});
  const absl::Status status = model.Save(folder / "m");
  EXPECT_TRUE(Says(status, "layer class 'Twice'") && Says(status, "RegisterLayer")) << status;
  EXPECT_FALSE(fs::exists(folder / "m"));
}

}  // namespace
}  // namespace weir
