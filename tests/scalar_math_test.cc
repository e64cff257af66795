// Accuracy of the float32 functions of ops/scalar_math.h against long double over sweeps of all magnitudes, and their
// values at the special points.
#include "weir/ops/scalar_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "weir/ops/scalar_float.h"

namespace weir {
namespace {

using Math = ScalarMath<FloatMath>;
constexpr FloatMath kMath;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Error in units in the last place of the exact value.
double UlpError(float got, long double exact) {
  if (std::isnan(got) || std::isnan(exact)) return std::isnan(got) && std::isnan(exact) ? 0 : 1e30;
  const float rounded = static_cast<float>(exact);
  if (std::isinf(got) || std::isinf(rounded)) {
    if (got == rounded) return 0;
    // One side overflows: measure from the largest number.
    const long double g = std::isinf(got) ? std::copysign(0x1p128L, static_cast<long double>(got)) : got;
    return static_cast<double>(std::abs(g - std::min(std::max(exact, -0x1p128L), 0x1p128L)) / 0x1p104L);
  }
  int exponent;
  std::frexp(exact, &exponent);
  const long double ulp = std::ldexp(1.0L, std::max(exponent, -125) - 24);
  return static_cast<double>(std::abs(static_cast<long double>(got) - exact) / ulp);
}

// Every `step`-th float of either sign.
template <class Function, class Exact>
void Sweep(const std::string& name, Function function, Exact exact, double bound, uint32_t step = 1009) {
  double worst = 0;
  float at = 0;
  for (uint64_t bits = 0; bits < 0x100000000u; bits += step) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (std::isnan(x)) continue;
    const double error = UlpError(function(x), exact(static_cast<long double>(x)));
    if (error > worst) worst = error, at = x;
  }
  ::testing::Test::RecordProperty(name, std::to_string(worst));
  EXPECT_LE(worst, bound) << name << " at " << at << ": " << function(at) << ", exactly "
                          << static_cast<double>(exact(at));
}
// Numbers evenly spread over an interval.
template <class Function, class Exact>
void Dense(const std::string& name, Function function, Exact exact, float low, float high, double bound) {
  double worst = 0;
  float at = 0;
  const int count = 400000;
  for (int i = 0; i <= count; ++i) {
    const float x = low + (high - low) * static_cast<float>(i) / count;
    const double error = UlpError(function(x), exact(static_cast<long double>(x)));
    if (error > worst) worst = error, at = x;
  }
  EXPECT_LE(worst, bound) << name << " at " << at << ": " << function(at) << ", exactly "
                          << static_cast<double>(exact(at));
}

template <ScalarOp kOp>
float Apply(float x, ScalarParams params = {}) {
  return Math::Apply<kOp>(kMath, params, x);
}
bool Same(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

TEST(ScalarMath, Exp) {
  const auto f = [](float x) { return Apply<ScalarOp::kExp>(x); };
  const auto e = [](long double x) { return std::exp(x); };
  Sweep("exp", f, e, 1.1);
  Dense("exp", f, e, -104, 89, 1.1);
  Dense("exp", f, e, -1, 1, 1.1);
  EXPECT_EQ(f(0.0f), 1);
  EXPECT_EQ(f(-0.0f), 1);
  EXPECT_EQ(f(kInf), kInf);
  EXPECT_TRUE(Same(f(-kInf), 0));
  EXPECT_TRUE(std::isnan(f(kNan)));
  EXPECT_EQ(f(88.8f), kInf);
  EXPECT_GT(f(-103.9f), 0);  // subnormal
  EXPECT_EQ(f(-104.1f), 0);
}

TEST(ScalarMath, Log) {
  const auto f = [](float x) { return Apply<ScalarOp::kLog>(x); };
  const auto e = [](long double x) { return std::log(x); };
  Sweep("log", f, e, 1.5);
  Dense("log", f, e, 0.5, 2, 1.5);
  EXPECT_TRUE(Same(f(1), 0));
  EXPECT_EQ(f(0.0f), -kInf);
  EXPECT_EQ(f(-0.0f), -kInf);
  EXPECT_EQ(f(kInf), kInf);
  EXPECT_TRUE(std::isnan(f(-1)));
  EXPECT_TRUE(std::isnan(f(-kInf)));
  EXPECT_TRUE(std::isnan(f(kNan)));
}

TEST(ScalarMath, Log1p) {
  const auto f = [](float x) { return Apply<ScalarOp::kLog1p>(x); };
  const auto e = [](long double x) { return std::log1p(x); };
  Sweep("log1p", f, e, 2);
  Dense("log1p", f, e, -0.9999f, 3, 2);
  EXPECT_TRUE(Same(f(0.0f), 0.0f));
  EXPECT_TRUE(Same(f(-0.0f), -0.0f));
  EXPECT_EQ(f(-1), -kInf);
  EXPECT_EQ(f(kInf), kInf);
  EXPECT_TRUE(std::isnan(f(-1.5f)));
  EXPECT_TRUE(std::isnan(f(kNan)));
}

TEST(ScalarMath, Tanh) {
  const auto f = [](float x) { return Apply<ScalarOp::kTanh>(x); };
  const auto e = [](long double x) { return std::tanh(x); };
  Sweep("tanh", f, e, 2);
  Dense("tanh", f, e, -10, 10, 2);
  EXPECT_TRUE(Same(f(0.0f), 0.0f));
  EXPECT_TRUE(Same(f(-0.0f), -0.0f));
  EXPECT_EQ(f(kInf), 1);
  EXPECT_EQ(f(-kInf), -1);
  EXPECT_TRUE(std::isnan(f(kNan)));
}

TEST(ScalarMath, Erf) {
  const auto f = [](float x) { return Apply<ScalarOp::kErf>(x); };
  const auto e = [](long double x) { return std::erf(x); };
  Sweep("erf", f, e, 2);
  Dense("erf", f, e, -4.5, 4.5, 2);
  EXPECT_TRUE(Same(f(0.0f), 0.0f));
  EXPECT_TRUE(Same(f(-0.0f), -0.0f));
  EXPECT_EQ(f(kInf), 1);
  EXPECT_EQ(f(-kInf), -1);
  EXPECT_TRUE(std::isnan(f(kNan)));
}

TEST(ScalarMath, SigmoidAndFriends) {
  Sweep(
      "sigmoid", [](float x) { return Apply<ScalarOp::kSigmoid>(x); },
      [](long double x) { return 1 / (1 + std::exp(-x)); }, 3, 10007);
  Sweep(
      "softplus", [](float x) { return Apply<ScalarOp::kSoftplus>(x); },
      [](long double x) { return x > 60 ? x : std::log1p(std::exp(x)); }, 3, 10007);
  Sweep(
      "elu",
      [](float x) {
        return Apply<ScalarOp::kElu>(x, {1, 0});
      },
      [](long double x) { return x > 0 ? x : std::expm1(x); }, 2, 10007);
  Sweep(
      "rsqrt", [](float x) { return Apply<ScalarOp::kRsqrt>(x); },
      [](long double x) { return x < 0 ? std::numeric_limits<long double>::quiet_NaN() : 1 / std::sqrt(x); }, 1.5,
      10007);
  // Cancellation in the left tail: the error is absolute there.
  for (float x = -12; x < 12; x += 1.0f / 128) {
    const long double exact = 0.5L * x * (1 + std::erf(x / std::sqrt(2.0L)));
    EXPECT_NEAR(Apply<ScalarOp::kGelu>(x), static_cast<double>(exact), 3e-7 * std::max(1.0f, std::abs(x)));
    const long double u = std::sqrt(2 / M_PIl) * (x + 0.044715L * x * x * x);
    EXPECT_NEAR(Apply<ScalarOp::kGeluTanh>(x), static_cast<double>(0.5L * x * (1 + std::tanh(u))),
                3e-7 * std::max(1.0f, std::abs(x)));
  }
  EXPECT_EQ(Apply<ScalarOp::kSigmoid>(-kInf), 0);
  EXPECT_EQ(Apply<ScalarOp::kSigmoid>(kInf), 1);
  EXPECT_GT(Apply<ScalarOp::kSigmoid>(-100), 0);
  EXPECT_TRUE(std::isnan(Apply<ScalarOp::kSigmoid>(kNan)));
  EXPECT_EQ(Apply<ScalarOp::kSoftplus>(kInf), kInf);
  EXPECT_TRUE(std::isnan(Apply<ScalarOp::kSoftplus>(kNan)));
  EXPECT_TRUE(std::isnan(Apply<ScalarOp::kRelu>(kNan)));
  EXPECT_TRUE(std::isnan(Apply<ScalarOp::kElu>(kNan, {1, 0})));
  EXPECT_TRUE(Same(Apply<ScalarOp::kElu>(-0.0f, {1, 0}), -0.0f));
  EXPECT_TRUE(std::isnan(Apply<ScalarOp::kClip>(kNan, {0, 1})));
  EXPECT_TRUE(std::isnan(Apply<ScalarOp::kSign>(kNan)));
}

TEST(ScalarMath, PowIsAccurate) {
  double worst = 0;
  float wa = 0, wb = 0;
  for (int i = 0; i < 1500; ++i) {
    const float a = std::exp(-20.0f + 40.0f * static_cast<float>(i) / 1500);
    for (int j = 0; j < 301; ++j) {
      const float b = -6.0f + 12.0f * static_cast<float>(j) / 301;
      const double error =
          UlpError(Math::Pow(kMath, a, b), std::pow(static_cast<long double>(a), static_cast<long double>(b)));
      if (error > worst) worst = error, wa = a, wb = b;
    }
  }
  EXPECT_LE(worst, 2.5) << wa << " ^ " << wb;
}

TEST(ScalarMath, PowHasTheSpecialValuesOfIeee754) {
  const float values[] = {0.0f, -0.0f, 1, -1, 0.5f, -0.5f, 2, -2, 3, -3, 1.5f, -1.5f, kInf, -kInf, kNan, 1e30f, 1e-40f};
  for (float a : values) {
    for (float b : values) {
      const float got = Math::Pow(kMath, a, b), want = std::pow(a, b);
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(got)) << a << " ^ " << b << " = " << got;
      } else {
        EXPECT_LE(UlpError(got, want), 2) << a << " ^ " << b << " = " << got << ", wanted " << want;
        EXPECT_EQ(std::signbit(got), std::signbit(want)) << a << " ^ " << b;
      }
    }
  }
}

TEST(ScalarMath, MaximumLetsNanWinAndTakesTheSecondOfEquals) {
  EXPECT_TRUE(std::isnan(Math::Max(kMath, kNan, 1)));
  EXPECT_TRUE(std::isnan(Math::Max(kMath, 1, kNan)));
  EXPECT_TRUE(std::isnan(Math::Min(kMath, kNan, 1)));
  EXPECT_TRUE(std::isnan(Math::Min(kMath, 1, kNan)));
  EXPECT_TRUE(Same(Math::Max(kMath, 0.0f, -0.0f), -0.0f));
  EXPECT_TRUE(Same(Math::Max(kMath, -0.0f, 0.0f), 0.0f));
  EXPECT_EQ(Math::Max(kMath, 1, 2), 2);
  EXPECT_EQ(Math::Min(kMath, 1, 2), 1);
}

TEST(ScalarMath, RoundsHalvesToEven) {
  for (float x : {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.49999997f, 8388607.5f, 4194304.5f, 1e20f, -1e20f, 0x1p23f}) {
    EXPECT_EQ(FloatMath::RoundEven(x), std::nearbyint(x)) << x;
  }
  EXPECT_EQ(FloatMath::RoundEven(kInf), kInf);
}

// The loops compiled for AVX2 with FMA give the bits of single calls.
template <ScalarOp kOp>
struct LoopBody {
  const float* src;
  float* dst;
  int64_t count;
  [[gnu::always_inline]] static void Run(const LoopBody& body) {
    for (int64_t i = 0; i < body.count; ++i) body.dst[i] = Math::Apply<kOp>(kMath, ScalarParams{0.3, 2}, body.src[i]);
  }
};
template <ScalarOp kOp>
void CompareLoopToCalls() {
  std::vector<float> x, y;
  for (uint64_t bits = 0; bits < 0x100000000u; bits += 100003) {
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  y.resize(x.size());
  RunLoop(LoopBody<kOp>{x.data(), y.data(), static_cast<int64_t>(x.size())});
  for (size_t i = 0; i < x.size(); ++i) {
    const float want = Apply<kOp>(x[i], {0.3, 2});
    ASSERT_TRUE(Same(y[i], want) || (std::isnan(y[i]) && std::isnan(want))) << Info(kOp).name << " at " << x[i];
  }
}
TEST(ScalarMath, VectorisedLoopsHaveTheSameBits) {
  CompareLoopToCalls<ScalarOp::kExp>();
  CompareLoopToCalls<ScalarOp::kLog>();
  CompareLoopToCalls<ScalarOp::kLog1p>();
  CompareLoopToCalls<ScalarOp::kTanh>();
  CompareLoopToCalls<ScalarOp::kErf>();
  CompareLoopToCalls<ScalarOp::kSigmoid>();
  CompareLoopToCalls<ScalarOp::kElu>();
  CompareLoopToCalls<ScalarOp::kGelu>();
  CompareLoopToCalls<ScalarOp::kSoftplus>();
  CompareLoopToCalls<ScalarOp::kClip>();
  CompareLoopToCalls<ScalarOp::kLeakyRelu>();
}

TEST(ScalarMath, OracleAgrees) {
  const DoubleMath d;
  for (float x = -5; x < 5; x += 0.173f) {
    VisitScalarOp(ScalarOp::kTanh, [&](auto) { return 0; });
    EXPECT_NEAR((ScalarMath<DoubleMath>::Unary<ScalarOp::kGelu>(d, {}, x)), Apply<ScalarOp::kGelu>(x), 1e-6);
    EXPECT_NEAR((ScalarMath<DoubleMath>::Unary<ScalarOp::kSoftplus>(d, {}, x)), Apply<ScalarOp::kSoftplus>(x), 1e-6);
  }
}

TEST(ScalarMath, NamesAndForms) {
  for (int i = 0; i < kScalarOps; ++i) {
    EXPECT_EQ(ScalarOpFromName(kScalarOpTable[i].name), static_cast<ScalarOp>(i));
  }
  EXPECT_EQ(ScalarOpFromName("conv"), std::nullopt);
  EXPECT_EQ(Info(ScalarOp::kSelect).arity(), 3);
  EXPECT_TRUE(Info(ScalarOp::kSelect).bool_input(0));
  EXPECT_TRUE(Info(ScalarOp::kLess).bool_result());
}

}  // namespace
}  // namespace weir
