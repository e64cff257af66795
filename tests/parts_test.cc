// Initializers, constraints, regularizers, activations, schedules and optimizers against values computed by Keras.
#include <map>
#include <numbers>

#include "parts_test_util.h"
#include "weir/frontend/parts/activations.h"
#include "weir/frontend/parts/constraints.h"
#include "weir/frontend/parts/initializers.h"
#include "weir/frontend/parts/optimizers.h"
#include "weir/frontend/parts/regularizers.h"
#include "weir/frontend/parts/schedules.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

using nlohmann::json;

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Moments {
  double mean = 0;
  double stddev = 0;
  double largest = 0;  // magnitude
};

Moments MomentsOf(const Tensor& tensor) {
  Moments moments;
  for (const float element : tensor.data<float>()) {
    moments.mean += element;
    moments.largest = std::max(moments.largest, std::abs(double{element}));
  }
  moments.mean /= static_cast<double>(tensor.size());
  for (const float element : tensor.data<float>()) moments.stddev += std::pow(element - moments.mean, 2);
  moments.stddev = std::sqrt(moments.stddev / static_cast<double>(tensor.size()));
  return moments;
}

TEST(Initializers, FansAndLimitsOfTheTutorialsWeights) {
  RandomStream stream(1, 0);
  const std::pair<Shape, double> limits[] = {
      {{3, 3, 3, 32}, 0.1380}, {{3, 3, 32, 32}, 0.1021}, {{8192, 512}, 0.02626}, {{512, 10}, 0.1072}};
  for (const auto& [shape, limit] : limits) {
    const Moments moments = MomentsOf(Initializer("glorot_uniform")(shape, stream));
    EXPECT_LE(moments.largest, limit * 1.001) << shape;
    EXPECT_GE(moments.largest, limit * 0.98) << shape;
    EXPECT_NEAR(moments.stddev, limit / std::sqrt(3.0), limit * 0.03) << shape;
    EXPECT_NEAR(moments.mean, 0, limit * 0.1) << shape;
  }
  EXPECT_EQ(ComputeFans({3, 3, 3, 32}).in, 27);
  EXPECT_EQ(ComputeFans({3, 3, 3, 32}).out, 288);
  EXPECT_EQ(ComputeFans({7}).in, 7);
  EXPECT_EQ(ComputeFans({}).out, 1);
}

TEST(Initializers, DistributionsHaveTheirMoments) {
  RandomStream stream(2, 0);
  const Shape shape = {400, 100};
  const std::pair<Initializer, double> expected[] = {
      {"random_normal", 0.05},
      {"truncated_normal", 0.05 * 0.87962566},
      {"random_uniform", 0.05 / std::sqrt(3.0)},
      {"he_normal", std::sqrt(2.0 / 400)},
      {"he_uniform", std::sqrt(2.0 / 400)},
      {"lecun_normal", std::sqrt(1.0 / 400)},
      {"lecun_uniform", std::sqrt(1.0 / 400)},
      {"glorot_normal", std::sqrt(1.0 / 250)},
      {VarianceScaling({.scale = 3, .mode = "fan_out", .distribution = "untruncated_normal"}), std::sqrt(3.0 / 100)}};
  for (const auto& [initializer, stddev] : expected) {
    const Moments moments = MomentsOf(initializer(shape, stream));
    EXPECT_NEAR(moments.stddev, stddev, stddev * 0.02) << initializer.class_name();
    EXPECT_NEAR(moments.mean, 0, stddev * 0.03) << initializer.class_name();
  }
  EXPECT_LE(MomentsOf(TruncatedNormal({.stddev = 1})(shape, stream)).largest, 2);
}

TEST(Initializers, OrthogonalConstantIdentity) {
  RandomStream stream(3, 0);
  for (const Shape& shape : {Shape{6, 4}, Shape{4, 6}, Shape{2, 3, 5}}) {
    const Tensor w = Orthogonal({.gain = 2})(shape, stream);
    const int64_t columns = shape[-1], rows = shape.size() / columns;
    const auto at = [&](int64_t r, int64_t c) { return double{w.data<float>()[static_cast<size_t>(r * columns + c)]}; };
    const bool tall = rows >= columns;
    for (int64_t i = 0; i < std::min(rows, columns); ++i) {
      for (int64_t j = 0; j < std::min(rows, columns); ++j) {
        double dot = 0;
        for (int64_t k = 0; k < std::max(rows, columns); ++k) dot += tall ? at(k, i) * at(k, j) : at(i, k) * at(j, k);
        EXPECT_NEAR(dot, i == j ? 4 : 0, 1e-5) << shape;
      }
    }
  }
  EXPECT_EQ(Floats(Constant(0.5)({2}, stream)), (std::vector<float>{0.5f, 0.5f}));
  EXPECT_EQ(Floats(Identity(3)({2, 3}, stream)), (std::vector<float>{3, 0, 0, 0, 3, 0}));
  EXPECT_EQ(Floats(Initializer("ones")({2}, stream)), (std::vector<float>{1, 1}));
  EXPECT_TRUE(Contains(MessageOf([&] { Orthogonal()({3}, stream); }), "Orthogonal: shape [3]"));
}

TEST(Initializers, SeedsNamesAndFiles) {
  RandomStream stream(4, 0);
  const Initializer seeded = HeNormal({.seed = 7});
  EXPECT_TRUE(BitEqual(seeded({4, 4}, stream), seeded({4, 4}, stream)));
  const Initializer plain = HeNormal();
  EXPECT_FALSE(BitEqual(plain({4, 4}, stream), plain({4, 4}, stream)));
  EXPECT_TRUE(Contains(MessageOf([] { Initializer("he_norml"); }), "did you mean 'he_normal'"));
  EXPECT_EQ(Initializer("glorot_uniform").ToJson(),
            json::parse(R"({"module": "keras.initializers", "class_name": "GlorotUniform",
                "config": {"seed": null, "input_axes": null, "output_axes": null}, "registered_name": null})"));
  for (const Initializer& one : {Zeros(), Ones(), Constant(2), RandomNormal({.stddev = 2, .seed = 3}),
                                 RandomUniform({.minval = -2}), seeded, TruncatedNormal({.mean = 1}),
                                 VarianceScaling({.scale = 2}), Orthogonal({.gain = 3}), Identity(), LecunUniform()}) {
    EXPECT_EQ(Initializer::FromJson(one.ToJson()).ToJson(), one.ToJson());
  }
  EXPECT_EQ(Initializer::FromJson("he_normal").class_name(), "HeNormal");
  EXPECT_EQ(Initializer::FromJson({{"class_name", "Ones"}, {"config", json::object()}}).class_name(), "Ones");
  EXPECT_FALSE(Initializer::FromJson(nullptr).defined());
  EXPECT_TRUE(Contains(MessageOf([] {
                         Initializer::FromJson({{"class_name", "Constant"}, {"config", {{"value", "x"}}}});
                       }),
                       "Constant: config \"value\" is \"x\", expected a number"));
}

TEST(Constraints, EqualKeras) {
  const json golden = Golden("constraints.json");
  for (const json& one : golden.at("cases")) {
    const std::string id = one.at("id");
    const auto graph = Graph::Create();
    const Constraint constraint = Constraint::FromJson({{"class_name", one.at("class")}, {"config", one.at("config")}});
    const Tensor got = Evaluate(constraint.Apply(graph->Data(GoldenTensor(one.at("w")))));
    ExpectNear(got, Floats(GoldenTensor(golden.at("keras3").at("outputs").at(id))), 2e-7, id);
  }
}

TEST(Constraints, MaxNormAxesAndZeros) {
  const auto graph = Graph::Create();
  const Value w = graph->Data(Tensor::Of<float>({2, 2, 1, 1}, {3, 4, 0, 0}));
  ExpectNear(Evaluate(MaxNorm(2).Apply(w)), {2, 2, 0, 0}, 1e-6, "axis 0");
  ExpectNear(Evaluate(MaxNorm(2, {0, 1, 2}).Apply(w)), {1.2f, 1.6f, 0, 0}, 1e-6, "a filter");
  const Value zeros = graph->Data(Tensor(DType::kFloat32, {2, 2, 1, 1}));
  EXPECT_EQ(Floats(Evaluate(MaxNorm(2).Apply(zeros))), (std::vector<float>{0, 0, 0, 0}));
  EXPECT_EQ(Constraint().Apply(w).ref, w.ref);
  EXPECT_THROW(MaxNorm(2, {0, 4}).Apply(w), Error);
  EXPECT_EQ(MaxNorm(3).ToJson(), json::parse(R"({"module": "keras.constraints", "class_name": "MaxNorm",
      "config": {"max_value": 3, "axis": 0}, "registered_name": null})"));
  for (const Constraint& one : {MaxNorm(1.5, {0, 1, 2}), UnitNorm(1), NonNeg(), MinMaxNorm({.rate = 0.5})}) {
    EXPECT_EQ(Constraint::FromJson(one.ToJson()).ToJson(), one.ToJson());
  }
  EXPECT_TRUE(Contains(MessageOf([] { Constraint("maxnrom"); }), "unknown constraint 'maxnrom'"));
}

TEST(Regularizers, PenaltiesAndFiles) {
  const auto graph = Graph::Create();
  const Value w = graph->Data(Vector({1, -2, 3}));
  EXPECT_FLOAT_EQ(Evaluate(L1(0.5).Penalty(w)).item<float>(), 3);
  EXPECT_FLOAT_EQ(Evaluate(Regularizer("l2").Penalty(w)).item<float>(), 0.14f);
  EXPECT_FLOAT_EQ(Evaluate(L1L2({.l1 = 1, .l2 = 2}).Penalty(w)).item<float>(), 34);
  EXPECT_FLOAT_EQ(Evaluate(Regularizer("l1_l2").Penalty(w)).item<float>(), 0.2f);
  for (const Regularizer& one : {L1(0.25), L2(0.5), L1L2({.l2 = 1})}) {
    EXPECT_EQ(Regularizer::FromJson(one.ToJson()).ToJson(), one.ToJson());
  }
  EXPECT_THROW(L2(-1), Error);
}

TEST(Activations, EqualKeras) {
  const json golden = Golden("activations.json");
  const Tensor x = Vector(golden.at("x").at("data").get<std::vector<float>>());
  const Tensor cotangent = Vector(golden.at("cotangent").get<std::vector<float>>());
  const json& expected = golden.at("keras3").at("activations");
  int compared = 0;
  for (const std::string& name : ActivationNames()) {
    const std::string key = name == "swish" ? "silu" : name == "hard_swish" ? "hard_silu" : name;
    ASSERT_TRUE(expected.contains(key)) << name;
    const auto graph = Graph::Create();
    const Value leaf = graph->Data(x), seed = graph->Data(cotangent);
    const Value y = Activation(name)(leaf) * 1;  // so that linear has a node
    const std::vector<Value> gradients = Gradients({&y, 1}, {&leaf, 1}, {&seed, 1});
    const std::vector<Tensor> got = Evaluate({y, gradients[0]});
    ExpectNear(got[0], expected.at(key).at("output").get<std::vector<float>>(), 1e-6, name);
    ExpectNear(got[1], expected.at(key).at("grad").get<std::vector<float>>(), 5e-6, name + " gradient");
    ++compared;
  }
  EXPECT_GE(compared, 17);
  EXPECT_TRUE(Activation("sigmoid").has_logits());
  EXPECT_TRUE(Activation("softmax").has_logits());
  EXPECT_FALSE(Activation("relu").has_logits());
  EXPECT_TRUE(Activation().is_linear() && Activation("linear").is_linear());
  EXPECT_EQ(Activation("swish").ToJson(), "swish");
  EXPECT_TRUE(Contains(MessageOf([] { Activation("rellu"); }), "did you mean 'relu'"));
}

TEST(Schedules, EqualKeras) {
  const json golden = Golden("schedules.json");
  const std::vector<int64_t> steps = golden.at("steps").get<std::vector<int64_t>>();
  const std::map<std::string, std::string> classes = {{"exponential", "ExponentialDecay"},
                                                      {"exponential_staircase", "ExponentialDecay"},
                                                      {"cosine", "CosineDecay"},
                                                      {"cosine_warmup", "CosineDecay"},
                                                      {"polynomial", "PolynomialDecay"},
                                                      {"inverse_time", "InverseTimeDecay"},
                                                      {"piecewise", "PiecewiseConstantDecay"}};
  for (const auto& [id, class_name] : classes) {
    const Schedule schedule =
        Schedule::FromJson({{"class_name", class_name}, {"config", golden.at("schedules").at(id).at("config")}});
    const std::vector<double> values = golden.at("keras3").at("values").at(id).get<std::vector<double>>();
    for (size_t i = 0; i < steps.size(); ++i)
      EXPECT_NEAR(schedule.At(steps[i]), values[i], 2e-8 + 1e-6 * values[i]) << id;
    EXPECT_EQ(Schedule::FromJson(schedule.ToJson()).ToJson(), schedule.ToJson());
  }
}

TEST(Schedules, RestartsCyclesAndMisuse) {
  const Schedule restarts = CosineDecayRestarts({.initial_learning_rate = 1, .first_decay_steps = 10, .m_mul = 0.5});
  EXPECT_DOUBLE_EQ(restarts.At(0), 1);
  EXPECT_NEAR(restarts.At(5), 0.5, 1e-12);
  EXPECT_DOUBLE_EQ(restarts.At(10), 0.5);
  EXPECT_NEAR(restarts.At(20), 0.25, 1e-12);  // half of the second period, which takes 20 steps
  EXPECT_DOUBLE_EQ(restarts.At(30), 0.25);
  const Schedule cycle =
      PolynomialDecay({.initial_learning_rate = 1, .decay_steps = 10, .end_learning_rate = 0, .cycle = true});
  EXPECT_NEAR(cycle.At(15), 1 - 15.0 / 20, 1e-12);
  EXPECT_THROW(CosineDecay({.decay_steps = 0}), Error);
  EXPECT_THROW(PiecewiseConstantDecay({.boundaries = {1}, .values = {1}}), Error);
  // Periods that hardly grow are too many to be walked through one by one.
  const Schedule slow = CosineDecayRestarts({.initial_learning_rate = 1, .first_decay_steps = 10, .t_mul = 1 + 1e-6});
  for (const int64_t at : {400'003, 5'000'007}) {
    long double step = static_cast<long double>(at), period = 10;
    for (; step >= period; period *= 1 + 1e-6) step -= period;
    const double expected = 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(step / period)));
    EXPECT_NEAR(slow.At(at), expected, 1e-5) << at;
  }
  for (const double t_mul : {1 + 0x1p-52, 1 + 1e-9, 1.5}) {
    for (const int64_t step : {int64_t{1} << 30, int64_t{1} << 53}) {
      const double rate = CosineDecayRestarts({.initial_learning_rate = 1, .first_decay_steps = 3, .t_mul = t_mul}).At(step);
      EXPECT_TRUE(rate >= 0 && rate <= 1) << t_mul << " " << step << ": " << rate;
    }
  }
}

// Steps an optimizer over given gradients, from given weights, as a trainer does.
class Stepper {
 public:
  explicit Stepper(Optimizer optimizer, const Tensor& weight) : optimizer_(std::move(optimizer)), weight_(weight) {
    for (const SlotSpec& slot : optimizer_.slots()) {
      slots_.push_back(Tensor::Full(DType::kFloat32, weight.shape(), slot.initial));
    }
  }
  const Tensor& Step(const Tensor& gradient) {
    const auto graph = Graph::Create();
    std::vector<Value> slots, scalars;
    for (const Tensor& slot : slots_) slots.push_back(graph->Data(slot));
    for (const float scalar : optimizer_.Scalars(iterations_++)) scalars.push_back(graph->Data(Tensor::Scalar(scalar)));
    EXPECT_EQ(scalars.size(), optimizer_.scalar_names().size());
    const Value leaf = graph->Data(gradient);
    const std::vector<Value> gradients = optimizer_.Clip({&leaf, 1});
    const UpdateResult update = optimizer_.Update(graph->Data(weight_), gradients[0], slots, scalars);
    std::vector<Value> roots = {update.weight};
    roots.insert(roots.end(), update.slots.begin(), update.slots.end());
    const std::vector<Tensor> computed = Evaluate(std::span<const Value>(roots));
    weight_ = computed[0];
    slots_.assign(computed.begin() + 1, computed.end());
    return weight_;
  }
  const Tensor& weight() const { return weight_; }

 private:
  Optimizer optimizer_;
  Tensor weight_;
  std::vector<Tensor> slots_;
  int64_t iterations_ = 0;
};

TEST(Optimizers, EqualKeras) {
  const json golden = Golden("optimizers.json");
  for (const json& one : golden.at("cases")) {
    const std::string id = one.at("id");
    json config = one.at("config");
    config["learning_rate"] = config["lr"];
    const Optimizer optimizer = Optimizer::FromJson({{"class_name", one.at("class")}, {"config", config}});
    Stepper stepper(optimizer, GoldenTensor(golden.at("w0")));
    const json& expected = golden.at("keras3").at("trajectories").at(id);
    for (size_t step = 0; step < 4; ++step) {
      const Tensor& weight = stepper.Step(GoldenTensor(golden.at("grads")[step]));
      std::vector<float> flat = expected[step].get<std::vector<float>>();
      ExpectNear(weight, flat, 1.3e-7, StrCat(id, " step ", step));
    }
    EXPECT_EQ(Optimizer::FromJson(optimizer.ToJson()).ToJson(), optimizer.ToJson()) << id;
  }
}

// Two steps of one weight in float64.
TEST(Optimizers, FormulasWithoutGoldens) {
  const double g[] = {0.5, -0.3}, lr = 0.01, eps = 1e-7;
  double adadelta = 1, adamax = 1, nadam = 1;
  double a = 0, u = 0, m = 0, n = 0, v = 0, product = 1;
  for (int t = 1; t <= 2; ++t) {
    const double d = g[t - 1];
    a = 0.95 * a + 0.05 * d * d;
    const double delta = -d * std::sqrt(u + eps) / std::sqrt(a + eps);
    u = 0.95 * u + 0.05 * delta * delta;
    adadelta += lr * delta;
    m = 0.9 * m + 0.1 * d;
    n = std::max(0.999 * n, std::abs(d));
    v = 0.999 * v + 0.001 * d * d;
    adamax -= lr * m / ((1 - std::pow(0.9, t)) * (n + eps));
    const auto mu = [](int i) { return 0.9 * (1 - 0.5 * std::pow(0.96, i)); };
    product *= mu(t);
    const double m_hat = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * d / (1 - product);
    nadam -= lr * m_hat / (std::sqrt(v / (1 - std::pow(0.999, t))) + eps);
  }
  const std::pair<Optimizer, double> expected[] = {{Adadelta({.learning_rate = lr}), adadelta},
                                                   {Adamax({.learning_rate = lr}), adamax},
                                                   {Nadam({.learning_rate = lr}), nadam}};
  for (const auto& [optimizer, value] : expected) {
    Stepper stepper(optimizer, Vector({1}));
    for (const double d : g) stepper.Step(Vector({static_cast<float>(d)}));
    ExpectNear(stepper.weight(), {static_cast<float>(value)}, 1e-6, optimizer.name());
  }
}

TEST(Optimizers, Clipping) {
  const auto graph = Graph::Create();
  const std::vector<Value> g = {graph->Data(Vector({3, 4})), graph->Data(Vector({0, 12}))};
  const auto clip = [&](const Optimizer& optimizer) { return Evaluate(std::span<const Value>(optimizer.Clip(g))); };
  const auto by_norm = clip(SGD({.clipnorm = 6}));
  EXPECT_EQ(Floats(by_norm[0]), (std::vector<float>{3, 4}));
  EXPECT_EQ(Floats(by_norm[1]), (std::vector<float>{0, 6}));
  const auto global = clip(SGD({.global_clipnorm = 6.5}));  // the norm of all is 13
  ExpectNear(global[0], {1.5f, 2}, 1e-6, "global");
  ExpectNear(global[1], {0, 6}, 1e-6, "global");
  EXPECT_EQ(Floats(clip(SGD({.clipvalue = 3.5}))[0]), (std::vector<float>{3, 3.5f}));
  const Value zero = graph->Data(Vector({0, 0}));
  EXPECT_EQ(Floats(Evaluate(SGD({.global_clipnorm = 1.0}).Clip({&zero, 1})[0])), (std::vector<float>{0, 0}));
  EXPECT_EQ(SGD().Clip(g)[0].ref, g[0].ref);
  EXPECT_THROW(SGD({.clipnorm = 1.0, .clipvalue = 1.0}), Error);
}

TEST(Optimizers, MovingAverageAndDecay) {
  const Optimizer optimizer =
      SGD({.learning_rate = 1, .use_ema = true, .ema_momentum = 0.5, .ema_overwrite_frequency = 3});
  EXPECT_EQ(optimizer.slots()[0].name, "average");
  Stepper stepper(optimizer, Vector({10}));
  stepper.Step(Vector({1}));                               // w 9, average 9
  EXPECT_EQ(Floats(stepper.Step(Vector({1})))[0], 8);      // w 8, average 8.5
  EXPECT_EQ(Floats(stepper.Step(Vector({1})))[0], 7.75f);  // w 7, average 7.75, which w becomes
  Stepper decayed(SGD({.learning_rate = 0.5, .weight_decay = 0.5}), Vector({8}));
  EXPECT_EQ(Floats(decayed.Step(Vector({2})))[0], 8 - 8 * 0.25f - 1);
  // Adam has no rate among its scalars, unless decay asks for it.
  EXPECT_EQ(Adam().scalar_names(), (std::vector<std::string>{"alpha"}));
  EXPECT_EQ(AdamW().scalar_names(), (std::vector<std::string>{"alpha", "learning_rate"}));
}

TEST(Optimizers, RatesNamesAndFiles) {
  Optimizer adam = "adam";
  const Optimizer copy = adam;
  adam.set_learning_rate(0.5);
  EXPECT_EQ(adam.learning_rate().At(0), 0.5);
  EXPECT_EQ(copy.learning_rate().At(0), 0.001);
  Optimizer scheduled =
      SGD({.learning_rate = ExponentialDecay({.initial_learning_rate = 1, .decay_steps = 1, .decay_rate = 0.5})});
  EXPECT_EQ(scheduled.Scalars(0), (std::vector<float>{1}));
  EXPECT_EQ(scheduled.Scalars(2), (std::vector<float>{0.25f}));
  EXPECT_THROW(scheduled.set_learning_rate(1), Error);
  EXPECT_EQ(Optimizer::FromJson(scheduled.ToJson()).ToJson(), scheduled.ToJson());
  EXPECT_TRUE(Contains(MessageOf([] { Optimizer("adamm"); }), "did you mean 'adam'"));
  EXPECT_EQ(copy.ToJson(), json::parse(R"({"module":"keras.optimizers","class_name":"Adam","config":{"name":"adam",
      "learning_rate":0.0010000000474974513,"weight_decay":null,"clipnorm":null,"global_clipnorm":null,"clipvalue":null,
      "use_ema":false,"ema_momentum":0.99,"ema_overwrite_frequency":null,"loss_scale_factor":null,
      "gradient_accumulation_steps":null,"beta_1":0.9,"beta_2":0.999,"epsilon":1e-07,"amsgrad":false},
      "registered_name":null})"));
  for (const char* name : {"adadelta", "adagrad", "adam", "adamax", "adamw", "nadam", "rmsprop", "sgd"}) {
    EXPECT_EQ(Optimizer(name).name(), name);
    EXPECT_EQ(Optimizer::FromJson(Optimizer(name).ToJson()).ToJson(), Optimizer(name).ToJson());
  }
}

}  // namespace
}  // namespace weir
