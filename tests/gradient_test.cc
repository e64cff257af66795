// Gradients of every differentiable case, to second order, against derivatives by complex steps: f(x + i h v) =
// f(x) + i h f'(x) v with h so small that nothing cancels, so both sides agree to rounding in float64. And the same by
// inner products: <u, J v> with J v from differentiating twice equals <J' u, v>.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>

#include "weir/core/rng.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"
#include "weir/tests/interpret.h"

namespace weir {
namespace {

using Complex = std::complex<double>;
constexpr double kStep = 1e-100;
constexpr double kTolerance = 1e-9;  // relative to the sum of magnitudes

Tensor RandomLike(const TensorType& type, uint64_t stream) {
  RandomStream random(12345, stream);
  Tensor tensor(DType::kFloat64, type.shape);
  for (double& x : tensor.data<double>()) x = 2 * random.Uniform() - 1;
  return tensor;
}

struct Sum2 {
  double value = 0, magnitude = 0;
  void Add(double term) { value += term, magnitude += std::abs(term); }
};
Sum2 InnerProduct(const Tensor& a, const Tensor& b) {
  Sum2 sum;
  for (int64_t i = 0; i < a.size(); ++i) sum.Add(a.data<double>()[i] * b.data<double>()[i]);
  return sum;
}
void ExpectClose(const Sum2& a, const Sum2& b, const std::string& what) {
  EXPECT_NEAR(a.value, b.value, kTolerance * (a.magnitude + b.magnitude) + 1e-13) << what;
}

std::vector<int> Differentiable(const OpCase& c) {
  std::vector<int> inputs;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    if (c.inputs[i].type.dtype == DType::kFloat32 && c.inputs[i].differentiable) inputs.push_back(static_cast<int>(i));
  }
  return inputs;
}

// A case recorded with its gradients: outputs, seeds, first-order gradients, weights on those, second-order gradients.
struct Recording {
  std::shared_ptr<Graph> graph = Graph::Create();
  std::vector<Value> inputs, xs, outputs, seeds, first, weights, second;

  Recording(const OpCase& c, DType dtype) {
    inputs = RecordInputs(c, *graph, dtype);
    for (int i : Differentiable(c)) xs.push_back(inputs[static_cast<size_t>(i)]);
    for (const Value& y : c.build(*graph, inputs)) {
      if (IsFloating(y.dtype())) outputs.push_back(y);
    }
    for (const Value& y : outputs) seeds.push_back(graph->Input(y.type()));
    first = Gradients(outputs, xs, seeds);
    for (const Value& x : xs) weights.push_back(graph->Input(x.type()));
    std::vector<Value> wrt = xs;
    wrt.insert(wrt.end(), seeds.begin(), seeds.end());
    second = Gradients(first, wrt, weights);
  }
};

class GradientTest : public ::testing::TestWithParam<OpCase> {};

TEST_P(GradientTest, EqualsComplexStepToSecondOrder) {
  const OpCase& c = GetParam();
  const Recording real(c, DType::kFloat64), complex(c, DType::kComplex128);
  const std::vector<Tensor> data = MakeInputs(c, DType::kFloat64);
  std::vector<Tensor> seeds, weights;
  for (size_t i = 0; i < real.seeds.size(); ++i) seeds.push_back(RandomLike(real.seeds[i].type(), 100 + i));
  for (size_t i = 0; i < real.xs.size(); ++i) weights.push_back(RandomLike(real.xs[i].type(), 200 + i));

  Interpreter run;
  for (size_t i = 0; i < data.size(); ++i) run.Bind(real.inputs[i], data[i]);
  for (size_t i = 0; i < seeds.size(); ++i) run.Bind(real.seeds[i], seeds[i]);
  for (size_t i = 0; i < weights.size(); ++i) run.Bind(real.weights[i], weights[i]);
  const std::vector<Tensor> first = run.Evaluate(real.first), second = run.Evaluate(real.second);

  // <u, J v> = <J' u, v>, with J v the derivative of <J' u, v> in u.
  Sum2 left, right;
  for (size_t i = 0; i < seeds.size(); ++i) {
    const Sum2 part = InnerProduct(seeds[i], second[real.xs.size() + i]);
    left.value += part.value, left.magnitude += part.magnitude;
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    const Sum2 part = InnerProduct(first[i], weights[i]);
    right.value += part.value, right.magnitude += part.magnitude;
  }
  ExpectClose(left, right, "inner products");

  // One input perturbed at a time along a random direction.
  const std::vector<int> differentiable = Differentiable(c);
  for (size_t k = 0; k < differentiable.size(); ++k) {
    const Tensor direction = RandomLike(real.xs[k].type(), 300 + k);
    Interpreter step;
    for (size_t i = 0; i < data.size(); ++i) {
      if (data[i].dtype() != DType::kFloat64) {
        step.Bind(complex.inputs[i], data[i]);
        continue;
      }
      Tensor x = data[i].Cast(DType::kComplex128);
      if (static_cast<int>(i) == differentiable[k]) {
        for (int64_t j = 0; j < x.size(); ++j) {
          Complex& element = x.data<Complex>()[j];
          element = {element.real(), kStep * direction.data<double>()[j]};
        }
      }
      step.Bind(complex.inputs[i], x);
    }
    for (size_t i = 0; i < seeds.size(); ++i) step.Bind(complex.seeds[i], seeds[i].Cast(DType::kComplex128));
    for (size_t i = 0; i < weights.size(); ++i) step.Bind(complex.weights[i], weights[i].Cast(DType::kComplex128));
    Sum2 forward, backward;
    for (size_t i = 0; i < complex.outputs.size(); ++i) {
      const Tensor y = step.Evaluate(complex.outputs[i]);
      for (int64_t j = 0; j < y.size(); ++j) {
        forward.Add(std::as_const(y).data<Complex>()[j].imag() / kStep * seeds[i].data<double>()[j]);
      }
    }
    ExpectClose(forward, InnerProduct(first[k], direction), StrCat("first order, input ", differentiable[k]));
    for (size_t i = 0; i < complex.first.size(); ++i) {
      const Tensor g = step.Evaluate(complex.first[i]);
      for (int64_t j = 0; j < g.size(); ++j) {
        backward.Add(std::as_const(g).data<Complex>()[j].imag() / kStep * weights[i].data<double>()[j]);
      }
    }
    ExpectClose(backward, InnerProduct(second[k], direction), StrCat("second order, input ", differentiable[k]));
  }
}

std::vector<OpCase> GradientCases() {
  std::vector<OpCase> cases;
  for (OpCase& c : AllOpCases()) {
    if (c.gradient && !c.bench_only && !Differentiable(c).empty()) cases.push_back(std::move(c));
  }
  return cases;
}
std::string TestName(const ::testing::TestParamInfo<OpCase>& info) {
  std::string name = StrCat(info.index, "_", info.param.name);
  for (char& ch : name) {
    if (!std::isalnum(static_cast<unsigned char>(ch))) ch = '_';
  }
  return name;
}
INSTANTIATE_TEST_SUITE_P(Cases, GradientTest, ::testing::ValuesIn(GradientCases()), TestName);

}  // namespace

// What a failing test prints of its case.
void PrintTo(const OpCase& c, std::ostream* out) { *out << c.name; }

}  // namespace weir
