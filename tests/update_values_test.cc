// Optimizers' rules and clipping with gradients from the smallest to the largest finite numbers: nothing becomes NaN, norms
// are what they were clipped to, and every backend gives the same bits.
#include <gtest/gtest.h>

#include <limits>

#include "test_runtimes.h"
#include "weir/frontend/parts/optimizers.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

constexpr float kMax = std::numeric_limits<float>::max();
const std::vector<float> kGradients = {0, 1e-38f, -1e-30f, 1e-20f, -1e-8f, 1, -1e8f, 1e18f, -1e19f, 1e20f, -1e30f, 1e38f, kMax, -kMax};

struct Rule {
  std::string name;
  Optimizer optimizer;
};

template <class Options>
void AddVariants(std::vector<Rule>& rules, const std::string& name, Optimizer (*make)(const Options&), Options base) {
  rules.push_back({name, make(base)});
  Options options = base;
  options.clipnorm = 1;
  rules.push_back({name + " clipnorm", make(options)});
  options = base;
  options.global_clipnorm = 0.5;
  rules.push_back({name + " global_clipnorm", make(options)});
  options = base;
  options.clipvalue = 2;
  rules.push_back({name + " clipvalue", make(options)});
  options = base;
  options.use_ema = true;
  options.ema_overwrite_frequency = 2;
  options.weight_decay = 0.01;
  rules.push_back({name + " ema", make(options)});
}

std::vector<Rule> Rules() {
  std::vector<Rule> rules;
  AddVariants(rules, "SGD", SGD, SGDOptions{.learning_rate = 0.01});
  AddVariants(rules, "SGD momentum", SGD, SGDOptions{.learning_rate = 0.01, .momentum = 0.5, .nesterov = true});
  AddVariants(rules, "Adam", Adam, AdamOptions{});
  AddVariants(rules, "Adam amsgrad", Adam, AdamOptions{.amsgrad = true});
  AddVariants(rules, "AdamW", AdamW, AdamWOptions{});
  AddVariants(rules, "RMSprop", RMSprop, RMSpropOptions{});
  AddVariants(rules, "RMSprop centered", RMSprop, RMSpropOptions{.momentum = 0.5, .centered = true});
  AddVariants(rules, "Adagrad", Adagrad, AdagradOptions{});
  AddVariants(rules, "Adadelta", Adadelta, AdadeltaOptions{});
  AddVariants(rules, "Adamax", Adamax, AdamaxOptions{});
  AddVariants(rules, "Nadam", Nadam, NadamOptions{});
  return rules;
}

// A weight under one optimizer, updated in place by given gradients.
class Trained {
 public:
  Trained(Runtime& runtime, const Optimizer& optimizer, const Tensor& weight) : runtime_(runtime), optimizer_(optimizer) {
    const auto graph = Graph::Create();
    const TensorType type = weight.type();
    const Value w = graph->Input(type), g = graph->Input(type);
    inputs_ = {w, g};
    data_ = {weight.Clone(), Tensor(type.dtype, type.shape)};
    std::vector<Value> slots, scalars;
    for (const SlotSpec& slot : optimizer.slots()) {
      slots.push_back(graph->Input(type));
      inputs_.push_back(slots.back());
      data_.push_back(Tensor::Full(DType::kFloat32, type.shape, slot.initial));
    }
    for (size_t i = 0; i < optimizer.scalar_names().size(); ++i) {
      scalars.push_back(graph->Input({DType::kFloat32, Shape{}}));
      inputs_.push_back(scalars.back());
      data_.push_back(Tensor::Scalar(0.0f));
    }
    const std::vector<Value> gradients = {g};
    const UpdateResult result = optimizer.Update(w, optimizer.Clip(gradients)[0], slots, scalars);
    std::vector<Value> roots = {Assign(w, result.weight)};
    for (size_t i = 0; i < slots.size(); ++i) roots.push_back(Assign(slots[i], result.slots[i]));
    const auto made = runtime.Compile(inputs_, roots);
    EXPECT_TRUE(made.ok()) << made.status().message();
    executable_ = *made;
    roots_ = roots.size();
    first_scalar_ = 2 + slots.size();
  }

  const Tensor& Step(const Tensor& gradient) {
    std::copy_n(gradient.raw(), gradient.bytes(), data_[1].raw());
    const std::vector<float> scalars = optimizer_.Scalars(iterations_++);
    for (size_t i = 0; i < scalars.size(); ++i) data_[first_scalar_ + i] = Tensor::Scalar(scalars[i]);
    std::vector<Tensor> outputs(roots_);
    EXPECT_TRUE(runtime_.Run(*executable_, data_, outputs).ok());
    return data_[0];
  }

 private:
  Runtime& runtime_;
  const Optimizer& optimizer_;
  std::vector<Value> inputs_;
  std::vector<Tensor> data_;
  std::shared_ptr<const Executable> executable_;
  size_t roots_ = 0, first_scalar_ = 0;
  int64_t iterations_ = 0;
};

class Updates : public ::testing::TestWithParam<std::string> {};

TEST_P(Updates, StayNumbersForGradientsOfAllSizes) {
  const auto runtime = MakeTestRuntime(GetParam(), 1), reference = MakeTestRuntime("", 1);
  const int64_t count = static_cast<int64_t>(kGradients.size());
  const Tensor weight = Tensor::Full(DType::kFloat32, {count}, 0.5);
  for (const Rule& rule : Rules()) {
    Trained trained(*runtime, rule.optimizer, weight), expected(*reference, rule.optimizer, weight);
    for (int step = 0; step < 6; ++step) {
      // Every weight has gradients of one size, then of others.
      std::vector<float> gradients;
      for (int64_t i = 0; i < count; ++i) {
        gradients.push_back(kGradients[static_cast<size_t>((i + (step < 3 ? 0 : step)) % count)]);
      }
      const Tensor gradient = Tensor::Of<float>({count}, gradients);
      const Tensor& got = trained.Step(gradient);
      ASSERT_TRUE(SameBits(got, expected.Step(gradient))) << rule.name << " on " << GetParam() << ", step " << step;
      for (int64_t i = 0; i < count; ++i) {
        const float w = got.data<float>()[static_cast<size_t>(i)];
        ASSERT_TRUE(std::isfinite(w)) << rule.name << " on '" << GetParam() << "', gradient "
                                      << gradients[static_cast<size_t>(i)] << ", step " << step << ": " << w;
      }
    }
  }
}

// The steps of a rule that divides by a root of squares do not grow with the gradient.
TEST_P(Updates, RulesOfRatiosTakeTheSameStepForEverySize) {
  const auto runtime = MakeTestRuntime(GetParam(), 1);
  const std::pair<const char*, Optimizer> rules[] = {
      {"Adam", Adam()}, {"RMSprop", RMSprop()}, {"Adagrad", Adagrad()}, {"Adamax", Adamax()}, {"Nadam", Nadam()}};
  for (const auto& [name, optimizer] : rules) {
    const Tensor weight = Tensor::Full(DType::kFloat32, {4}, 1);
    Trained trained(*runtime, optimizer, weight);
    Tensor got;
    for (int step = 0; step < 3; ++step) got = trained.Step(Tensor::Of<float>({4}, {1e6f, 1e17f, 1e25f, kMax}));
    for (const size_t i : {1, 2, 3}) {
      EXPECT_NEAR(got.data<float>()[i], got.data<float>()[0], 1e-5) << name << " " << i << " on " << GetParam();
    }
    EXPECT_LT(got.data<float>()[0], 1 - 1e-4) << name;
  }
}

TEST_P(Updates, CenteredRmspropIsNeverNan) {
  const auto runtime = MakeTestRuntime(GetParam(), 1);
  const Optimizer optimizer = RMSprop({.learning_rate = 1e-3, .centered = true});
  const Tensor gradient = Tensor::Of<float>({5}, {5.39052773f, 149.047333f, 37699.7539f, 1, 100});
  Trained trained(*runtime, optimizer, Tensor::Full(DType::kFloat32, {5}, 0));
  Tensor got;
  for (int step = 0; step < 300; ++step) got = trained.Step(gradient);
  for (const float w : got.data<float>()) EXPECT_TRUE(std::isfinite(w) && w < 0) << w << " on " << GetParam();
}

TEST_P(Updates, ClippedGradientsHaveTheNormTheyAreClippedTo) {
  const auto runtime = MakeTestRuntime(GetParam(), 1);
  for (const float size : {1e-38f, 1e-20f, 1e-3f, 3.0f, 1e10f, 1e19f, 1e25f, 1e38f, kMax}) {
    const auto graph = Graph::Create();
    const std::vector<Value> gradients = {graph->Input({DType::kFloat32, {3}}), graph->Input({DType::kFloat32, {2}})};
    std::vector<Value> roots = SGD({.learning_rate = 1, .clipnorm = 2}).Clip(gradients);
    for (const Value& clipped : SGD({.learning_rate = 1, .global_clipnorm = 2}).Clip(gradients)) roots.push_back(clipped);
    for (const Value& clipped : SGD({.learning_rate = 1, .clipvalue = 2}).Clip(gradients)) roots.push_back(clipped);
    const auto made = runtime->Compile(gradients, roots);
    ASSERT_TRUE(made.ok()) << made.status().message();
    std::vector<Tensor> data = {Tensor::Of<float>({3}, {size, -size, size}), Tensor::Of<float>({2}, {size, 0})};
    std::vector<Tensor> got(roots.size());
    ASSERT_TRUE(runtime->Run(**made, data, got).ok());
    const auto norm = [&](std::initializer_list<size_t> tensors) {
      double squares = 0;
      for (const size_t t : tensors) {
        for (const float x : got[t].data<float>()) squares += double{x} * x;
      }
      return std::sqrt(squares);
    };
    const auto expect = [&](double measured, double whole, const char* what) {
      EXPECT_NEAR(measured, std::min(whole, 2.0), 1e-5 * std::min(whole, 2.0) + 1e-37) << what << " of " << size << " on " << GetParam();
    };
    expect(norm({0}), std::sqrt(3.0) * size, "clipnorm");
    expect(norm({1}), size, "clipnorm");
    expect(norm({2, 3}), 2.0 * size, "global_clipnorm");
    expect(norm({5}), size, "clipvalue");
  }
}

INSTANTIATE_TEST_SUITE_P(All, Updates, ::testing::ValuesIn(TargetsAndReference()),
                         [](const auto& info) { return info.param.empty() ? "reference" : info.param; });

}  // namespace
}  // namespace weir
