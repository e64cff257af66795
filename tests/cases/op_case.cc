#include "weir/tests/cases/op_case.h"

#include <cmath>
#include <limits>

#include "weir/core/error.h"
#include "weir/core/rng.h"

namespace weir {
namespace {

uint64_t HashName(const std::string& name) {
  uint64_t hash = 0;
  for (char c : name) hash = SplitMix64(hash ^ static_cast<unsigned char>(c));
  return hash;
}

float Special(RandomStream& random) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNumbers[] = {
      0.0f,    -0.0f,   1,           -1,     kInf,   -kInf, std::numeric_limits<float>::quiet_NaN(),
      1e-40f,  -1e-40f, 3e38f,       -3e38f, 1e-38f, 88.7f, -88.7f,
      -103.5f, 0.5f,    16777217.0f, -2.5f};
  constexpr uint64_t kCount = std::size(kNumbers);
  const uint64_t draw = random.Below(2 * kCount);
  if (draw < kCount) return kNumbers[draw];
  const float magnitude = std::exp2(static_cast<float>(random.Uniform() * 40 - 20));
  return random.Below(2) != 0 ? magnitude : -magnitude;
}

float FloatOf(Fill fill, RandomStream& random) {
  const double u = random.Uniform();
  switch (fill) {
    case Fill::kUniform: return static_cast<float>(4 * u - 2);
    case Fill::kNonzero: return static_cast<float>(u < 0.5 ? -0.1 - 3.8 * u : 0.1 + 3.8 * (u - 0.5));
    case Fill::kPositive: return static_cast<float>(0.1 + 2.9 * u);
    case Fill::kProbability: return static_cast<float>(0.02 + 0.96 * u);
    case Fill::kLarge: return static_cast<float>(200 * u - 100);
    case Fill::kTies: return static_cast<float>(static_cast<int>(u * 5) - 2);
    case Fill::kSpecials: return Special(random);
    default: WEIR_CHECK(false, "fill of a float input");
  }
}

int64_t IntegerOf(const CaseInput& input, RandomStream& random) {
  switch (input.fill) {
    case Fill::kIndices: return static_cast<int64_t>(random.Below(static_cast<uint64_t>(input.bound)));
    case Fill::kBytes:
      return input.type.dtype == DType::kUint8 ? static_cast<int64_t>(random.Below(256))
                                               : static_cast<int64_t>(random.Below(600)) - 300;
    case Fill::kTies: return static_cast<int64_t>(random.Below(3));
    case Fill::kFlags: return static_cast<int64_t>(random.Below(2));
    case Fill::kStep: return 3;
    default: WEIR_CHECK(false, "fill of an integer input");
  }
}

}  // namespace

TensorType InputType(const CaseInput& input, DType floating) {
  return {input.type.dtype == DType::kFloat32 ? floating : input.type.dtype, input.type.shape};
}

Tensor MakeInput(const OpCase& op_case, int index, DType floating) {
  const CaseInput& input = op_case.inputs[static_cast<size_t>(index)];
  RandomStream random(HashName(op_case.name), static_cast<uint64_t>(index));
  Tensor tensor(input.type);
  VisitDType(input.type.dtype, [&]<class T>(T) {
    for (T& element : tensor.data<T>()) {
      if constexpr (std::is_integral_v<T>) {
        element = static_cast<T>(IntegerOf(input, random));
      } else {
        element = static_cast<T>(FloatOf(input.fill, random));
      }
    }
  });
  return input.type.dtype == DType::kFloat32 && floating != DType::kFloat32 ? tensor.Cast(floating) : tensor;
}

std::vector<Tensor> MakeInputs(const OpCase& op_case, DType floating) {
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < op_case.inputs.size(); ++i) {
    tensors.push_back(MakeInput(op_case, static_cast<int>(i), floating));
  }
  return tensors;
}

std::vector<Value> RecordInputs(const OpCase& op_case, Graph& graph, DType floating) {
  std::vector<Value> values;
  for (const CaseInput& input : op_case.inputs) {
    values.push_back(graph.Input(InputType(input, floating), StrCat("x", values.size())));
  }
  return values;
}

std::string ShapeName(const Shape& shape) { return shape.rank() == 0 ? "scalar" : StrJoin(shape, "x"); }

std::vector<OpCase> AllOpCases() {
  std::vector<OpCase> cases;
  AddElementwiseCases(cases);
  AddReduceCases(cases);
  AddShapeCases(cases);
  AddIndexCases(cases);
  AddMatMulCases(cases);
  AddConvCases(cases);
  AddSmallConvCases(cases);
  AddPoolCases(cases);
  AddConvPoolCases(cases);
  AddWinogradCases(cases);
  AddSoftmaxCases(cases);
  AddBenchCases(cases);
  return cases;
}

}  // namespace weir
