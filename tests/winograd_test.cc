// Winograd's convolution: which convolutions kAuto computes so, and that its errors keep the bound that ops/winograd.h
// derives, element by element, against the direct sum in float64.
#include "weir/ops/winograd.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "weir/core/rng.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"
#include "weir/tests/interpret.h"

namespace weir {
namespace {

ConvAlgorithm AutoOf(Shape input, Shape filter, ConvOptions options = {.padding = "same"}) {
  const auto graph = Graph::Create();
  const Value y = Conv2D(graph->Input({DType::kFloat32, std::move(input)}),
                         graph->Input({DType::kFloat32, std::move(filter)}), options);
  return static_cast<ConvAlgorithm>(graph->node(y.ref.node).attrs.Int(kAlgorithm));
}

TEST(WinogradAuto, FollowsFromTheShapes) {
  for (int64_t batch : {1, 32, 1000}) {
    EXPECT_EQ(AutoOf({batch, 32, 32, 32}, {3, 3, 32, 32}), ConvAlgorithm::kWinograd);
    EXPECT_EQ(AutoOf({batch, 2, 2, 512}, {3, 3, 512, 512}), ConvAlgorithm::kDirect);  // a tile for four outputs
    EXPECT_EQ(AutoOf({batch, 32, 32, 3}, {3, 3, 3, 32}), ConvAlgorithm::kDirect);
    EXPECT_EQ(AutoOf({batch, 32, 32, 32}, {3, 3, 32, 8}), ConvAlgorithm::kDirect);
  }
  // Many channels on small images.
  EXPECT_EQ(AutoOf({1, 7, 7, 512}, {3, 3, 512, 512}), ConvAlgorithm::kDirect);
  EXPECT_EQ(AutoOf({4, 7, 7, 512}, {3, 3, 512, 512}), ConvAlgorithm::kWinograd);
  EXPECT_EQ(AutoOf({32, 7, 7, 512}, {3, 3, 512, 512}), ConvAlgorithm::kWinograd);
  // Where padding is left out, the direct sum has less to do.
  EXPECT_EQ(AutoOf({4, 4, 4, 512}, {3, 3, 512, 512}), ConvAlgorithm::kDirect);
  EXPECT_EQ(AutoOf({32, 4, 4, 512}, {3, 3, 512, 512}), ConvAlgorithm::kWinograd);
  EXPECT_EQ(AutoOf({1000, 4, 4, 512}, {3, 3, 512, 512}), ConvAlgorithm::kWinograd);
  EXPECT_EQ(AutoOf({32, 4, 4, 128}, {3, 3, 128, 128}), ConvAlgorithm::kWinograd);
  EXPECT_EQ(AutoOf({2, 32, 32, 32}, {5, 5, 32, 32}), ConvAlgorithm::kDirect);
  EXPECT_EQ(AutoOf({2, 32, 32, 32}, {3, 1, 32, 32}), ConvAlgorithm::kDirect);
  EXPECT_EQ(AutoOf({2, 32, 32, 32}, {3, 3, 32, 32}, {.strides = {2, 2}}), ConvAlgorithm::kDirect);
  EXPECT_EQ(AutoOf({2, 32, 32, 32}, {3, 3, 32, 32}, {.dilations = {2, 2}}), ConvAlgorithm::kDirect);
  EXPECT_EQ(AutoOf({2, 32, 32, 64}, {3, 3, 32, 64}, {.groups = 2}), ConvAlgorithm::kDirect);
}

// Numbers of float32, in [low, high).
Tensor Numbers(DType dtype, const Shape& shape, uint64_t seed, double low, double high) {
  Tensor numbers(DType::kFloat32, shape);
  RandomStream random(seed, 0);
  for (float& x : numbers.data<float>()) x = static_cast<float>(low + (high - low) * random.Uniform());
  return dtype == DType::kFloat32 ? numbers : numbers.Cast(dtype);
}

struct Problem {
  int64_t batch, rows, columns, in, out;
  double low = -1;  // of the operands: sums of positive numbers, or of both signs
};
enum class Partial : uint8_t { kForward, kInputGradient, kFilterGradient };
constexpr Partial kPartials[] = {Partial::kForward, Partial::kInputGradient, Partial::kFilterGradient};

// One of the three partials of the trilinear form in (x, w, dy).
std::vector<double> Compute(const Problem& p, Partial partial, DType dtype, ConvAlgorithm algorithm) {
  const auto graph = Graph::Create();
  const Value x = graph->Data(Numbers(dtype, {p.batch, p.rows, p.columns, p.in}, 1, p.low, 1));
  const Value w = graph->Data(Numbers(dtype, {3, 3, p.in, p.out}, 2, p.low, 1));
  const Value y = Conv2D(x, w, {.padding = "same", .algorithm = algorithm});
  const Value dy = graph->Data(Numbers(dtype, y.shape(), 3, p.low, 1));
  const AttrMap attrs = graph->node(y.ref.node).attrs;
  const Value result = partial == Partial::kForward         ? y
                       : partial == Partial::kInputGradient ? ConvInputGradient(dy, w, attrs, x.shape())
                                                            : ConvFilterGradient(x, dy, attrs, w.shape());
  const Tensor values = Interpret(result).Cast(DType::kFloat64);
  return {values.data<double>().begin(), values.data<double>().end()};
}

// A transform's matrix of absolute values, found by transforming unit vectors.
struct AbsMatrix {
  int from, to;
  double at[6][6] = {};
};
struct DoubleMath {
  using V = double;
  static double Const(double number) { return number; }
  static double Add(double a, double b) { return a + b; }
  static double Sub(double a, double b) { return a - b; }
  static double Mul(double a, double b) { return a * b; }
  static double Fma(double a, double b, double c) { return a * b + c; }
};
template <void (*kTransform)(const DoubleMath&, const double*, double*)>
AbsMatrix MatrixOf(int from, int to) {
  AbsMatrix matrix{from, to};
  for (int j = 0; j < from; ++j) {
    double unit[6] = {}, out[6] = {};
    unit[j] = 1;
    kTransform({}, unit, out);
    for (int i = 0; i < to; ++i) matrix.at[i][j] = std::abs(out[i]);
  }
  return matrix;
}
using Cells = std::array<std::array<double, 6>, 6>;
Cells Apply(const AbsMatrix& m, const Cells& cells) {
  Cells half = {}, out = {};
  for (int i = 0; i < m.to; ++i) {
    for (int j = 0; j < m.from; ++j) {
      for (int k = 0; k < m.from; ++k) half[i][j] += m.at[i][k] * cells[k][j];
    }
  }
  for (int i = 0; i < m.to; ++i) {
    for (int j = 0; j < m.to; ++j) {
      for (int k = 0; k < m.from; ++k) out[i][j] += m.at[j][k] * half[i][k];
    }
  }
  return out;
}

// The bound of winograd.h, without its factor, of each output of the forward convolution.
std::vector<double> ForwardBounds(const Problem& p) {
  using T = WinogradTransform<DoubleMath>;
  const AbsMatrix source = MatrixOf<T::Source>(6, 6), filter = MatrixOf<T::Filter>(3, 6),
                  output = MatrixOf<T::Output>(6, 4);
  const Tensor x = Numbers(DType::kFloat64, {p.batch, p.rows, p.columns, p.in}, 1, p.low, 1);
  const Tensor w = Numbers(DType::kFloat64, {3, 3, p.in, p.out}, 2, p.low, 1);
  const auto size = [](int64_t n) { return static_cast<size_t>(n); };
  std::vector<Cells> filters(size(p.in * p.out));
  for (int64_t i = 0; i < p.in * p.out; ++i) {
    Cells taps = {};
    for (int64_t t = 0; t < 9; ++t)
      taps[size(t / 3)][size(t % 3)] = std::abs(w.data<double>()[size(t * p.in * p.out + i)]);
    filters[size(i)] = Apply(filter, taps);
  }
  std::vector<double> bounds(size(p.batch * p.rows * p.columns * p.out));
  const int64_t rows = WinogradTiles(p.rows), columns = WinogradTiles(p.columns);
  for (int64_t tile = 0; tile < p.batch * rows * columns; ++tile) {
    const int64_t n = tile / (rows * columns), row = tile / columns % rows * 4, column = tile % columns * 4;
    std::vector<Cells> sums(size(p.out));
    for (int64_t c = 0; c < p.in; ++c) {
      Cells cells = {};
      for (int64_t i = 0; i < 36; ++i) {
        const int64_t r = row + i / 6 - 1, q = column + i % 6 - 1;
        if (r < 0 || r >= p.rows || q < 0 || q >= p.columns) continue;
        const int64_t at = ((n * p.rows + r) * p.columns + q) * p.in + c;
        cells[size(i / 6)][size(i % 6)] = std::abs(x.data<double>()[size(at)]);
      }
      const Cells v = Apply(source, cells);
      for (int64_t o = 0; o < p.out; ++o) {
        for (size_t e = 0; e < 36; ++e)
          sums[size(o)][e / 6][e % 6] += v[e / 6][e % 6] * filters[size(c * p.out + o)][e / 6][e % 6];
      }
    }
    for (int64_t o = 0; o < p.out; ++o) {
      const Cells y = Apply(output, sums[size(o)]);
      for (int64_t i = 0; i < 16; ++i) {
        const int64_t r = row + i / 4, q = column + i % 4;
        if (r < p.rows && q < p.columns)
          bounds[size(((n * p.rows + r) * p.columns + q) * p.out + o)] = y[size(i / 4)][size(i % 4)];
      }
    }
  }
  return bounds;
}

const Problem kProblems[] = {{2, 8, 8, 16, 16}, {1, 13, 10, 32, 24}, {1, 8, 12, 200, 16}, {2, 8, 8, 32, 16, 0}};

TEST(WinogradErrors, EveryOutputKeepsItsBound) {
  for (const Problem& p : kProblems) {
    const std::vector<double> exact = Compute(p, Partial::kForward, DType::kFloat64, ConvAlgorithm::kDirect);
    const std::vector<double> computed = Compute(p, Partial::kForward, DType::kFloat32, ConvAlgorithm::kWinograd);
    const std::vector<double> bounds = ForwardBounds(p);
    const double unit = std::ldexp(static_cast<double>(p.in) + 18, -24);
    for (size_t i = 0; i < exact.size(); ++i) {
      ASSERT_LE(std::abs(computed[i] - exact[i]), unit * bounds[i]) << "output " << i << " of " << p.in << " channels";
    }
  }
}

double RootMeanSquare(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

TEST(WinogradErrors, AreOfTheDirectSumsSize) {
  for (const Problem& p : kProblems) {
    for (Partial partial : kPartials) {
      const std::vector<double> exact = Compute(p, partial, DType::kFloat64, ConvAlgorithm::kDirect);
      const double direct = RootMeanSquare(Compute(p, partial, DType::kFloat32, ConvAlgorithm::kDirect), exact);
      const double winograd = RootMeanSquare(Compute(p, partial, DType::kFloat32, ConvAlgorithm::kWinograd), exact);
      EXPECT_LE(winograd, 4 * direct) << "partial " << static_cast<int>(partial) << " of " << p.in << " channels";
      EXPECT_GT(winograd, 0) << "the direct sum was computed";
    }
  }
}

TEST(WinogradErrors, VanishInFloat64) {
  for (const Problem& p : kProblems) {
    for (Partial partial : kPartials) {
      const std::vector<double> direct = Compute(p, partial, DType::kFloat64, ConvAlgorithm::kDirect);
      const std::vector<double> winograd = Compute(p, partial, DType::kFloat64, ConvAlgorithm::kWinograd);
      for (size_t i = 0; i < direct.size(); ++i)
        ASSERT_NEAR(direct[i], winograd[i], 1e-12 * std::max(1.0, std::abs(direct[i])));
    }
  }
}

}  // namespace
}  // namespace weir
