// Policies of scalar_math.h over single numbers: FloatMath is float32 as every backend computes it; DoubleMath is the
// accuracy oracle; ComplexMath carries a derivative in the imaginary part (the complex-step check of gradients);
// IntegerMath<T> wraps as NumPy's integers do. For the reference and for tests.
#ifndef WEIR_OPS_SCALAR_FLOAT_H_
#define WEIR_OPS_SCALAR_FLOAT_H_

#include <bit>
#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "weir/ops/fma.h"
#include "weir/ops/scalar_math.h"

namespace weir {

// Truth values are plain bools; `&` and `|` instead of `&&` and `||` keep loops free of branches.
struct BoolMask {
  using Mask = bool;
  [[gnu::always_inline]] static Mask And(Mask a, Mask b) { return a & b; }
  [[gnu::always_inline]] static Mask Or(Mask a, Mask b) { return a | b; }
  [[gnu::always_inline]] static Mask Not(Mask a) { return !a; }
};

struct FloatMath : BoolMask {
  using V = float;
  static constexpr bool kOwnFunctions = false;

  // What would round to a subnormal number is 0, as it is for a conversion while a program runs, whoever asks.
  [[gnu::always_inline]] static V Const(double number) {
    const float rounded = static_cast<float>(number);
    return __builtin_fabs(number) < 0x1.ffffffp-127 ? __builtin_copysignf(0.0f, rounded) : rounded;
  }
  [[gnu::always_inline]] static V Add(V a, V b) { return a + b; }
  [[gnu::always_inline]] static V Sub(V a, V b) { return a - b; }
  [[gnu::always_inline]] static V Mul(V a, V b) { return a * b; }
  [[gnu::always_inline]] static V Div(V a, V b) { return a / b; }
  [[gnu::always_inline]] static V Fma(V a, V b, V c) { return weir::Fma(a, b, c); }
  [[gnu::always_inline]] static V Neg(V a) { return -a; }
  [[gnu::always_inline]] static V Abs(V a) { return __builtin_fabsf(a); }
  [[gnu::always_inline]] static V Sqrt(V a) { return __builtin_sqrtf(a); }
  [[gnu::always_inline]] static V CopySign(V magnitude, V sign) { return __builtin_copysignf(magnitude, sign); }
  [[gnu::always_inline]] static Mask Lt(V a, V b) { return a < b; }
  [[gnu::always_inline]] static Mask Le(V a, V b) { return a <= b; }
  [[gnu::always_inline]] static Mask Eq(V a, V b) { return a == b; }
  [[gnu::always_inline]] static Mask IsNan(V a) { return a != a; }
  // Bit by bit: a compiler may make a maximum of a choice between two numbers that were compared, and the processor's
  // maximum of a subnormal number is 0.
  [[gnu::always_inline]] static V Select(Mask mask, V if_true, V if_false) {
    const uint32_t chosen = 0u - static_cast<uint32_t>(mask);
    return std::bit_cast<float>((std::bit_cast<uint32_t>(if_true) & chosen) |
                                (std::bit_cast<uint32_t>(if_false) & ~chosen));
  }
  [[gnu::always_inline]] static V SelectFlushed(Mask mask, V if_true, V if_false) { return mask ? if_true : if_false; }
  // Adding 2^23 rounds the fraction away; larger numbers have none.
  [[gnu::always_inline]] static V RoundEven(V a) {
    const float magnitude = __builtin_fabsf(a);
    const float rounded = (magnitude + 0x1p23f) - 0x1p23f;
    return __builtin_copysignf(magnitude < 0x1p23f ? rounded : magnitude, a);
  }
  // The low bits of n + 1.5 * 2^23 + 127 are the biased exponent.
  [[gnu::always_inline]] static V Pow2(V n) {
    return std::bit_cast<float>(std::bit_cast<uint32_t>(n + 12583039.0f) << 23);
  }
  [[gnu::always_inline]] static V Exponent(V a) {
    return static_cast<float>(static_cast<int32_t>(std::bit_cast<uint32_t>(a) >> 23) - 127);
  }
  [[gnu::always_inline]] static V Mantissa(V a) {
    return std::bit_cast<float>((std::bit_cast<uint32_t>(a) & 0x007FFFFFu) | 0x3F800000u);
  }
};

struct DoubleMath : BoolMask {
  using V = double;
  static constexpr bool kOwnFunctions = true;

  static V Const(double number) { return number; }
  static V Add(V a, V b) { return a + b; }
  static V Sub(V a, V b) { return a - b; }
  static V Mul(V a, V b) { return a * b; }
  static V Div(V a, V b) { return a / b; }
  static V Fma(V a, V b, V c) { return __builtin_fma(a, b, c); }
  static V Neg(V a) { return -a; }
  static V Abs(V a) { return std::abs(a); }
  static V Sqrt(V a) { return std::sqrt(a); }
  static V CopySign(V magnitude, V sign) { return std::copysign(magnitude, sign); }
  static Mask Lt(V a, V b) { return a < b; }
  static Mask Le(V a, V b) { return a <= b; }
  static Mask Eq(V a, V b) { return a == b; }
  static Mask IsNan(V a) { return a != a; }
  static V Select(Mask mask, V if_true, V if_false) { return mask ? if_true : if_false; }
  static V SelectFlushed(Mask mask, V if_true, V if_false) { return mask ? if_true : if_false; }
  static V RoundEven(V a) { return std::nearbyint(a); }
  static V Pow2(V n) { return std::exp2(n); }
  static V Exp(V a) { return std::exp(a); }
  static V Expm1(V a) { return std::expm1(a); }
  static V Log(V a) { return std::log(a); }
  static V Log1p(V a) { return std::log1p(a); }
  static V Tanh(V a) { return std::tanh(a); }
  static V Erf(V a) { return std::erf(a); }
  static V Pow(V a, V b) { return std::pow(a, b); }
};

// Numbers x + i h with an infinitesimal h (about 1e-100): f(x + i h) = f(x) + i h f'(x) to the last bit, so that a
// derivative is an imaginary part divided by h, without cancellation. Comparisons look at real parts.
struct ComplexMath : BoolMask {
  using V = std::complex<double>;
  static constexpr bool kOwnFunctions = true;

  static V Const(double number) { return {number, 0}; }
  static V Add(V a, V b) { return a + b; }
  static V Sub(V a, V b) { return a - b; }
  static V Mul(V a, V b) { return weir::Fma(a, b, V{}); }
  static V Div(V a, V b) {
    const double quotient = a.real() / b.real();
    return {quotient, (a.imag() - quotient * b.imag()) / b.real()};
  }
  static V Fma(V a, V b, V c) { return weir::Fma(a, b, c); }
  static V Neg(V a) { return -a; }
  static V Abs(V a) { return std::signbit(a.real()) ? -a : a; }
  static V Sqrt(V a) {
    const double root = std::sqrt(a.real());
    return Chain(root, a, 0.5 / root);
  }
  static V CopySign(V magnitude, V sign) {
    return std::signbit(magnitude.real()) == std::signbit(sign.real()) ? magnitude : -magnitude;
  }
  static Mask Lt(V a, V b) { return a.real() < b.real(); }
  static Mask Le(V a, V b) { return a.real() <= b.real(); }
  static Mask Eq(V a, V b) { return a.real() == b.real(); }
  static Mask IsNan(V a) { return a.real() != a.real(); }
  static V Select(Mask mask, V if_true, V if_false) { return mask ? if_true : if_false; }
  static V SelectFlushed(Mask mask, V if_true, V if_false) { return mask ? if_true : if_false; }
  static V RoundEven(V a) { return {std::nearbyint(a.real()), 0}; }
  static V Pow2(V n) { return {std::exp2(n.real()), 0}; }
  static V Exp(V a) { return Chain(std::exp(a.real()), a, std::exp(a.real())); }
  static V Expm1(V a) { return Chain(std::expm1(a.real()), a, std::exp(a.real())); }
  static V Log(V a) { return Chain(std::log(a.real()), a, 1 / a.real()); }
  static V Log1p(V a) { return Chain(std::log1p(a.real()), a, 1 / (1 + a.real())); }
  static V Tanh(V a) {
    const double t = std::tanh(a.real()), c = std::cosh(a.real());
    return Chain(t, a, 1 / (c * c));
  }
  static V Erf(V a) {
    constexpr double kTwoBySqrtPi = 1.12837916709551257390;
    return Chain(std::erf(a.real()), a, kTwoBySqrtPi * std::exp(-a.real() * a.real()));
  }
  static V Pow(V a, V b) {
    const double power = std::pow(a.real(), b.real());
    double derivative = a.imag() * b.real() * std::pow(a.real(), b.real() - 1);
    if (b.imag() != 0) derivative += b.imag() * power * std::log(a.real());
    return {power, derivative};
  }

 private:
  static V Chain(double value, V a, double slope) { return {value, a.imag() == 0 ? 0 : a.imag() * slope}; }
};

// Only what integer ops need; sums and products wrap modulo 2^bits.
template <class T>
struct IntegerMath : BoolMask {
  using V = T;
  static constexpr bool kOwnFunctions = true;
  using Wide = uint64_t;

  // Rounded towards 0, and to the nearest number of the type if it is outside.
  static V Const(double number) {
    if (!(number > static_cast<double>(std::numeric_limits<T>::min()))) return std::numeric_limits<T>::min();
    if (number >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
    return static_cast<T>(number);
  }
  static V Add(V a, V b) { return static_cast<T>(static_cast<Wide>(a) + static_cast<Wide>(b)); }
  static V Sub(V a, V b) { return static_cast<T>(static_cast<Wide>(a) - static_cast<Wide>(b)); }
  static V Mul(V a, V b) { return static_cast<T>(static_cast<Wide>(a) * static_cast<Wide>(b)); }
  static V Fma(V a, V b, V c) { return Add(Mul(a, b), c); }
  static V Neg(V a) { return Sub(0, a); }
  static V Abs(V a) { return a < 0 ? Neg(a) : a; }
  static Mask Lt(V a, V b) { return a < b; }
  static Mask Le(V a, V b) { return a <= b; }
  static Mask Eq(V a, V b) { return a == b; }
  static Mask IsNan(V) { return false; }
  static V Select(Mask mask, V if_true, V if_false) { return mask ? if_true : if_false; }
  static V SelectFlushed(Mask mask, V if_true, V if_false) { return mask ? if_true : if_false; }
};

// The policy of an element type.
template <class T>
struct MathOfType {
  using type = IntegerMath<T>;
};
template <>
struct MathOfType<float> {
  using type = FloatMath;
};
template <>
struct MathOfType<double> {
  using type = DoubleMath;
};
template <>
struct MathOfType<std::complex<double>> {
  using type = ComplexMath;
};
template <class T>
using MathOf = typename MathOfType<T>::type;

}  // namespace weir

#endif  // WEIR_OPS_SCALAR_FLOAT_H_
