// Every elementwise op, select and reduction on zeros, subnormal numbers, the smallest and largest normal ones,
// infinities and NaN, in every order of the operands: every backend gives the reference's bits. While a program runs
// arithmetic and comparisons take a subnormal number for a zero, and what only chooses, moves or changes a sign keeps
// its bits.
#include <gtest/gtest.h>

#include <limits>

#include "test_runtimes.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

const std::vector<float>& Specials() {
  static const std::vector<float> specials = [] {
    using Limits = std::numeric_limits<float>;
    std::vector<float> all;
    for (const float magnitude :
         {0.0f, Limits::denorm_min(), 1e-39f, std::nextafter(Limits::min(), 0.0f), Limits::min(), 0.5f, 1.0f, 2.0f, 3.0f,
          6.0f, 88.0f, 1e20f, Limits::max(), Limits::infinity(), Limits::quiet_NaN()}) {
      all.push_back(magnitude);
      all.push_back(std::copysign(magnitude, -1.0f));
    }
    return all;
  }();
  return specials;
}
int64_t Count() { return static_cast<int64_t>(Specials().size()); }

// Every pair: the first of each as [n * n], the second likewise.
std::pair<Tensor, Tensor> Pairs() {
  std::vector<float> a, b;
  for (const float x : Specials()) {
    for (const float y : Specials()) a.push_back(x), b.push_back(y);
  }
  const Shape shape{Count() * Count()};
  return {Tensor::Of<float>(shape, a), Tensor::Of<float>(shape, b)};
}

struct Problem {
  std::string name;
  std::vector<Tensor> data;
  std::function<std::vector<Value>(std::span<const Value>)> build;
};

using Unary = Value (*)(const Value&);
using Binary = Value (*)(const Operand&, const Operand&);
const std::pair<const char*, Binary> kBinary[] = {
    {"add", [](const Operand& a, const Operand& b) { return a + b; }},
    {"sub", [](const Operand& a, const Operand& b) { return a - b; }},
    {"mul", [](const Operand& a, const Operand& b) { return a * b; }},
    {"div", [](const Operand& a, const Operand& b) { return a / b; }},
    {"pow", Pow},
    {"maximum", Maximum},
    {"minimum", Minimum},
    {"equal", Equal},
    {"not_equal", NotEqual},
    {"less", Less},
    {"less_equal", LessEqual},
    {"greater", Greater},
    {"greater_equal", GreaterEqual},
};
const std::pair<const char*, Unary> kUnary[] = {
    {"neg", [](const Value& x) { return -x; }},
    {"neg_neg", [](const Value& x) { return -(-Abs(x)); }},
    {"abs", [](const Value& x) { return Abs(x); }},
    {"sign", [](const Value& x) { return Sign(x); }},
    {"square", [](const Value& x) { return Square(x); }},
    {"exp", [](const Value& x) { return Exp(x); }},
    {"log", [](const Value& x) { return Log(x); }},
    {"log1p", [](const Value& x) { return Log1p(x); }},
    {"sqrt", [](const Value& x) { return Sqrt(x); }},
    {"rsqrt", [](const Value& x) { return Rsqrt(x); }},
    {"tanh", [](const Value& x) { return Tanh(x); }},
    {"sigmoid", [](const Value& x) { return Sigmoid(x); }},
    {"erf", [](const Value& x) { return Erf(x); }},
    {"relu", [](const Value& x) { return Relu(x); }},
    {"gelu", [](const Value& x) { return Gelu(x); }},
    {"gelu_tanh", [](const Value& x) { return Gelu(x, true); }},
    {"silu", [](const Value& x) { return Silu(x); }},
    {"softplus", [](const Value& x) { return Softplus(x); }},
    {"stop_gradient", [](const Value& x) { return StopGradient(x); }},
    {"to_bool", [](const Value& x) { return Cast(x, DType::kBool); }},
    {"to_uint8", [](const Value& x) { return Cast(x, DType::kUint8); }},
    {"to_int32", [](const Value& x) { return Cast(x, DType::kInt32); }},
    {"to_int64", [](const Value& x) { return Cast(x, DType::kInt64); }},
    {"relu_by_where", [](const Value& x) { return Where(Greater(x, 0), x, 0); }},
    {"positive_or_zero", [](const Value& x) { return Where(Less(x, 0), 0, x); }},
    {"not_negative", [](const Value& x) { return Where(LogicalNot(LessEqual(x, 0)), x, 0); }},
    {"zero_stays", [](const Value& x) { return Where(Equal(x, 0), x, 1); }},
    {"not_zero", [](const Value& x) { return Where(NotEqual(x, 0), x, 1); }},
};

// The op between two tensors, and with each special value as a number on either side.
std::vector<Problem> BinaryProblems() {
  std::vector<Problem> problems;
  const auto [a, b] = Pairs();
  const Tensor x = Tensor::Of<float>({Count()}, Specials());
  for (const auto& [name, op] : kBinary) {
    problems.push_back({name, {a, b, x}, [op = op](std::span<const Value> v) {
                          std::vector<Value> results = {op(v[0], v[1]), op(v[2], v[2])};
                          for (const float number : {0.0f, -0.0f, 1e-39f, -1e-39f, 1.0f, -1.0f, 2.5f, -2.0f, 1e38f,
                                                     kInfinity, -kInfinity, kNan}) {
                            const Value constant = Constant(v[2], number, DType::kFloat32);
                            results.push_back(op(v[2], constant));
                            results.push_back(op(constant, v[2]));
                          }
                          return results;
                        }});
  }
  return problems;
}

std::vector<Problem> UnaryProblems() {
  std::vector<Problem> problems;
  const Tensor x = Tensor::Of<float>({Count()}, Specials());
  for (const auto& [name, op] : kUnary) {
    problems.push_back({name, {x}, [op = op](std::span<const Value> v) { return std::vector<Value>{op(v[0])}; }});
  }
  problems.push_back({"leaky_relu and elu", {x}, [](std::span<const Value> v) {
                        std::vector<Value> results;
                        for (const double alpha : {0.2, 0.0, -0.0, 1.0, -1.0, -0.5, 2.0}) {
                          results.push_back(LeakyRelu(v[0], alpha));
                          results.push_back(Elu(v[0], alpha));
                        }
                        return results;
                      }});
  problems.push_back({"clip", {x}, [](std::span<const Value> v) {
                        std::vector<Value> results;
                        for (const float low : Specials()) {
                          for (const float high : {-1.5f, -1e-39f, 0.0f, 1e-39f, 1.5f, kInfinity}) {
                            if (low <= high && (low != 0 || high != 0)) results.push_back(Clip(v[0], low, high));
                          }
                        }
                        return results;
                      }});
  return problems;
}

// Every comparison of a and b, by which one of two of them, their negatives or a number is chosen: what could be taken
// for a maximum or a minimum, written in every order.
std::vector<Problem> SelectProblems() {
  std::vector<Problem> problems;
  const auto [a, b] = Pairs();
  for (const auto& [name, op] : std::span(kBinary).subspan(7)) {
    problems.push_back({StrCat("select by ", name), {a, b}, [op = op](std::span<const Value> v) {
                          std::vector<Value> results;
                          for (const bool inverse : {false, true}) {
                            const Value plain = op(v[0], v[1]), condition = inverse ? LogicalNot(plain) : plain;
                            const Value nan = LogicalOr(condition, NotEqual(v[0], v[0]));
                            for (const Value& chosen : {condition, nan}) {
                              results.push_back(Where(chosen, v[0], v[1]));
                              results.push_back(Where(chosen, v[1], v[0]));
                              results.push_back(Where(chosen, -v[0], v[1]));
                              results.push_back(Where(chosen, v[0], 0));
                              results.push_back(Where(chosen, 0.5, v[1]));
                            }
                          }
                          return results;
                        }});
    problems.push_back({StrCat("select by ", name, " with a number"), {a}, [op = op](std::span<const Value> v) {
                          std::vector<Value> results;
                          for (const float number : {0.0f, -0.0f, 1e-39f, -1e-39f, 1.5f, -1.5f, kInfinity, -kInfinity, kNan}) {
                            const Value constant = Constant(v[0], number, DType::kFloat32);
                            for (const bool turned : {false, true}) {
                              const Value condition = turned ? op(constant, v[0]) : op(v[0], constant);
                              results.push_back(Where(condition, v[0], constant));
                              results.push_back(Where(condition, constant, v[0]));
                              results.push_back(Where(LogicalNot(condition), v[0], constant));
                              results.push_back(Where(LogicalOr(condition, NotEqual(v[0], v[0])), v[0], constant));
                            }
                          }
                          return results;
                        }});
  }
  problems.push_back({"chains", {a, b}, [](std::span<const Value> v) {
                        return std::vector<Value>{Maximum(0, Minimum(v[0], v[1])), Minimum(6, Maximum(0, v[0])),
                                                  Maximum(Maximum(v[0], 1e-39), -v[1]), Abs(Maximum(0, -v[0])),
                                                  Where(Less(Abs(v[0]), Abs(v[1])), Abs(v[1]), Abs(v[0])),
                                                  -1.0 * v[0], v[0] / -1.0, 0.0 - v[0], v[0] + 0.0, -0.0 - v[1],
                                                  v[0] * v[1] * -1.0, Where(Less(v[0], v[1]), v[0], v[0] * 2),
                                                  Where(Less(v[0], v[1]), v[0] + v[1], v[0]),
                                                  Where(Less(v[0], v[1]), v[0] - v[1], v[0]),
                                                  Where(Less(v[0], v[1]), v[0], v[0] / v[1])};
                      }});
  return problems;
}

std::vector<Problem> ReductionProblems() {
  std::vector<Problem> problems;
  const auto [a, b] = Pairs();
  const int64_t n = Count() * Count();
  std::vector<float> rows, columns, trios;
  for (int64_t i = 0; i < n; ++i) {
    const float x = a.data<float>()[static_cast<size_t>(i)], y = b.data<float>()[static_cast<size_t>(i)];
    rows.insert(rows.end(), {x, y});
    // The pair at either end of a longer row of a third.
    const float third = Specials()[static_cast<size_t>(i * 7 % Count())];
    for (int k = 0; k < 19; ++k) trios.push_back(k == 0 ? x : k == 18 ? y : third);
  }
  const Tensor pairs = Tensor::Of<float>({n, 2}, rows), long_rows = Tensor::Of<float>({n, 19}, trios);
  using Reduce = Value (*)(const Operand&, const Axes&, bool);
  const std::pair<const char*, Reduce> reductions[] = {
      {"sum", Sum}, {"sum_squares", SumSquares}, {"mean", Mean}, {"max", Max}, {"min", Min}};
  for (const auto& [name, reduce] : reductions) {
    problems.push_back({name, {pairs, long_rows}, [reduce = reduce](std::span<const Value> v) {
                          std::vector<Value> results;
                          for (const Value& x : v) {
                            results.push_back(reduce(x, {1}, false));
                            results.push_back(reduce(Transpose(x), {0}, false));
                            results.push_back(reduce(Reshape(x, {x.shape()[0] / 2, 2, x.shape()[1]}), {1}, false));
                            results.push_back(reduce(Maximum(0, x), {1}, false));
                          }
                          return results;
                        }});
  }
  problems.push_back({"argmax", {pairs, long_rows}, [](std::span<const Value> v) {
                        return std::vector<Value>{ArgMax(v[0]), ArgMax(v[1]), ArgMax(Transpose(v[1]), 0)};
                      }});
  problems.push_back({"softmax", {pairs, long_rows}, [](std::span<const Value> v) {
                        return std::vector<Value>{Softmax(v[0]), Softmax(v[1]), LogSoftmax(v[0]), LogSoftmax(v[1])};
                      }});
  problems.push_back({"pools", {pairs, long_rows}, [n](std::span<const Value> v) {
                        const Value x = Reshape(v[0], {n / 2, 2, 2, 1}), y = Reshape(v[1], {n / 2, 2, 19, 1});
                        const MaxPooled pooled = MaxPoolWithIndex(x), wide = MaxPoolWithIndex(y, {.window = {2, 3}});
                        return std::vector<Value>{pooled.values,           pooled.index,
                                                  wide.values,             wide.index,
                                                  MaxPool(Maximum(0, x)),  AveragePool(x),
                                                  AveragePool(y, {.window = {2, 3}, .padding = "same"})};
                      }});
  problems.push_back({"epilogues", {pairs}, [](std::span<const Value> v) {
                        const Value product = MatMul(v[0], Constant(v[0], 0.5, DType::kFloat32, {2, 2}));
                        return std::vector<Value>{product, Maximum(0, v[0]) + product, Maximum(product, 0),
                                                  Where(Less(v[0], product), product, v[0]), Clip(v[0], -1, 1) * product};
                      }});
  return problems;
}

class SpecialValues : public ::testing::TestWithParam<std::string> {
 protected:
  void Check(const std::vector<Problem>& problems) {
    const auto reference = MakeTestRuntime("", 1);
    std::vector<std::unique_ptr<Runtime>> runtimes;
    runtimes.push_back(MakeTestRuntime(GetParam(), 2));
    const bool generated = GetParam().rfind("llvm", 0) == 0;
    if (!generated || !kSanitized) runtimes.push_back(MakeTestRuntime(GetParam(), 1, {.fuse = false}));
    for (const Problem& problem : problems) {
      const auto graph = Graph::Create();
      std::vector<Value> inputs;
      for (const Tensor& tensor : problem.data) inputs.push_back(graph->Input(tensor.type()));
      const std::vector<Value> roots = problem.build(inputs);
      const std::vector<Tensor> expected = Run(*reference, inputs, roots, problem);
      for (const auto& runtime : runtimes) {
        const std::vector<Tensor> got = Run(*runtime, inputs, roots, problem);
        for (size_t r = 0; r < roots.size(); ++r) {
          EXPECT_TRUE(SameBits(got[r], expected[r])) << problem.name << ", value " << r << " on " << GetParam()
                                                     << (runtime == runtimes[0] ? "" : ", not fused");
        }
      }
    }
  }

 private:
  static std::vector<Tensor> Run(Runtime& runtime, std::span<const Value> inputs, std::span<const Value> roots,
                                 const Problem& problem) {
    std::vector<Tensor> data = problem.data, results(roots.size());
    const auto made = runtime.Compile(inputs, roots);
    EXPECT_TRUE(made.ok()) << problem.name << ": " << made.status().message();
    const absl::Status status = runtime.Run(**made, data, results);
    EXPECT_TRUE(status.ok()) << problem.name << ": " << status.message();
    return results;
  }
};

TEST_P(SpecialValues, OfOneOperand) { Check(UnaryProblems()); }
TEST_P(SpecialValues, OfTwoOperands) { Check(BinaryProblems()); }
TEST_P(SpecialValues, OfSelects) { Check(SelectProblems()); }
TEST_P(SpecialValues, OfReductions) { Check(ReductionProblems()); }

INSTANTIATE_TEST_SUITE_P(All, SpecialValues, ::testing::ValuesIn(Targets()), [](const auto& info) { return info.param; });

// What the reference itself gives: a number chosen keeps its bits, one compared or computed with counts as 0.
TEST(Subnormals, AreKeptByChoicesAndFlushedByArithmetic) {
  for (const std::string& target : TargetsAndReference()) {
    const auto runtime = MakeTestRuntime(target, 1);
    const auto graph = Graph::Create();
    const Value x = graph->Input({DType::kFloat32, {2}}), z = graph->Input({DType::kFloat32, {2}});
    const std::vector<Value> inputs = {x, z},
                             roots = {Maximum(0, x), Minimum(1, x),  Where(Less(x, z), z, x), -x,      Clip(x, -1, 1),
                                      x * 1.5,       Greater(x, 0.0), Relu(x),                 Abs(x), x * -1.0};
    const float tiny = 1e-39f;
    std::vector<Tensor> data = {Tensor::Of<float>({2}, {tiny, -tiny}), Tensor::Of<float>({2}, {0, 0})},
                        got(roots.size());
    const auto made = runtime->Compile(inputs, roots);
    ASSERT_TRUE(made.ok());
    ASSERT_TRUE(runtime->Run(**made, data, got).ok());
    const auto expect = [&](size_t root, float first, float second) {
      EXPECT_TRUE(SameBits(got[root], Tensor::Of<float>({2}, {first, second}))) << target << ", value " << root;
    };
    expect(0, tiny, -tiny);
    expect(1, tiny, -tiny);
    expect(2, tiny, -tiny);
    expect(3, -tiny, tiny);
    expect(4, tiny, -tiny);
    expect(5, 0, -0.0f);
    EXPECT_EQ(got[6].data<bool>()[0], false) << target;
    expect(7, 0, 0);
    expect(8, tiny, tiny);
    expect(9, -0.0f, 0);
  }
}

}  // namespace
}  // namespace weir
