// One table of op problems for conformance tests, gradient tests and benchmarks: what is recorded, and from which
// inputs. Inputs are a pure function of the case, of the same values in float32, float64 and complex128.
//
//   for (const OpCase& c : AllOpCases()) {
//     auto graph = Graph::Create();
//     std::vector<Value> inputs = RecordInputs(c, *graph);
//     std::vector<Value> outputs = c.build(*graph, inputs);
//     ... run with MakeInputs(c) ...
//   }
#ifndef WEIR_TESTS_CASES_OP_CASE_H_
#define WEIR_TESTS_CASES_OP_CASE_H_

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "weir/core/graph.h"
#include "weir/core/strings.h"
#include "weir/core/tensor.h"

namespace weir {

// What an input is filled with.
enum class Fill : uint8_t {
  kUniform,      // in [-2, 2]
  kNonzero,      // in [-2, -0.1] and [0.1, 2]: away from kinks and poles at 0
  kPositive,     // in [0.1, 3]
  kProbability,  // in [0.02, 0.98]
  kLarge,        // in [-100, 100]: overflow and saturation of exponentials
  kTies,         // -2, -1, 0, 1, 2
  kSpecials,     // numbers of all magnitudes, both zeros and infinities, NaN
  kIndices,      // integers in [0, bound)
  kBytes,        // integers in [0, 256), or in [-300, 300) for signed types
  kFlags,        // bool
  kStep,         // an integer: 3
};

struct CaseInput {
  TensorType type;
  Fill fill = Fill::kUniform;
  int64_t bound = 0;
  bool differentiable = true;  // if of a floating type

  CaseInput(Shape shape, Fill f = Fill::kUniform, bool d = true)  // NOLINT: a float32 input is written as its shape
      : type{DType::kFloat32, std::move(shape)}, fill(f), differentiable(d) {}
  CaseInput(DType dtype, Shape shape, Fill f, int64_t b = 0) : type{dtype, std::move(shape)}, fill(f), bound(b) {}
};

using BuildFn = std::function<std::vector<Value>(Graph& graph, std::span<const Value> inputs)>;

struct OpCase {
  std::string name;  // a problem string: "conv/mb2ic3ih5iw4oc4kh3kw3_same"
  std::string op;    // OpDef::name of what it is about
  std::vector<CaseInput> inputs;
  BuildFn build;
  // Whether outputs are smooth at the inputs, so that a gradient can be checked against a derivative.
  bool gradient = true;
  // Worth timing, and only that (too large for a test).
  bool bench = false;
  bool bench_only = false;
};

// The type and values of an input, float32 replaced by `floating`. Values are multiples of a float32 step, equal in
// all floating types.
TensorType InputType(const CaseInput& input, DType floating = DType::kFloat32);
Tensor MakeInput(const OpCase& op_case, int index, DType floating = DType::kFloat32);
std::vector<Tensor> MakeInputs(const OpCase& op_case, DType floating = DType::kFloat32);

// Leaves for the inputs of a case, named "x0", "x1", ...
std::vector<Value> RecordInputs(const OpCase& op_case, Graph& graph, DType floating = DType::kFloat32);

// All cases, families one after the other, bench-only ones last. Names are unique.
std::vector<OpCase> AllOpCases();

using OpCases = std::vector<OpCase>;
void AddElementwiseCases(OpCases& cases);
void AddReduceCases(OpCases& cases);
void AddShapeCases(OpCases& cases);
void AddIndexCases(OpCases& cases);
void AddMatMulCases(OpCases& cases);
void AddConvCases(OpCases& cases);
void AddSmallConvCases(OpCases& cases);
void AddPoolCases(OpCases& cases);
void AddConvPoolCases(OpCases& cases);
void AddWinogradCases(OpCases& cases);
void AddSoftmaxCases(OpCases& cases);
void AddBenchCases(OpCases& cases);

// "2x3x4", "scalar": shapes in problem strings.
std::string ShapeName(const Shape& shape);

}  // namespace weir

#endif  // WEIR_TESTS_CASES_OP_CASE_H_
