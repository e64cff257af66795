// The scalar functions behind every elementwise op, each written once: a name table (ScalarOp) and, in
// scalar_math-inl.h, the formulas as templates over a policy M. Plain float, double and complex<double>
// (scalar_float.h), a Highway vector and an LLVM value are policies; all interpret the same primitives in the same
// order, so float32 results are equal bit for bit (NaN payloads aside).
//
// A policy M has types V (a number, or a vector of them) and Mask (the result of a comparison, as wide), and const
// member functions
//   V Const(double)              the number, rounded to the element type
//   V Add Sub Mul Div (V, V)     V Sqrt(V)             correctly rounded
//   V Fma(V a, V b, V c)         a * b + c, rounded once
//   V Neg Abs (V)                V CopySign(V magnitude, V sign)   on the sign bit, also of zeros and NaNs
//   Mask Lt Le Eq (V, V)         false if either is NaN          Mask IsNan(V)
//   Mask And Or (Mask, Mask)     Mask Not(Mask)        V Select(Mask, V if_true, V if_false), every bit of it
//   V SelectFlushed(Mask, V, V)  the same where only arithmetic reads it: a subnormal number may come out as a zero
//   V RoundEven(V)               nearest integer, ties to even; any finite or infinite number (a zero may have either sign)
//   V Pow2(V n)                  2^n for an integral n in [-126, 127]; anything, without a trap, for other n
//   V Exponent(V)                floor(log2 x) of a positive normal x; anything, without a trap, for other x
//   V Mantissa(V)                x / 2^Exponent(x), in [1, 2), likewise
// and `static constexpr bool kOwnFunctions`. If that is true, M brings Exp, Log, Log1p, Expm1, Tanh, Erf (V) and
// Pow(V, V) itself (the accuracy oracle does); otherwise the polynomials of scalar_math-inl.h are used.
//
// A kernel compiled for a SIMD target includes scalar_math-inl.h once more inside its own namespace, because
// templates defined outside of the target's region can't inline that target's instructions.
#ifndef WEIR_OPS_SCALAR_MATH_H_
#define WEIR_OPS_SCALAR_MATH_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "weir/core/attrs.h"
#include "weir/core/error.h"

namespace weir {

// Every op of kind kElementwise.
enum class ScalarOp : uint8_t {
  // Number -> number.
  kNeg,
  kAbs,
  kSign,
  kSquare,
  kExp,
  kLog,
  kLog1p,
  kSqrt,
  kRsqrt,
  kTanh,
  kSigmoid,
  kErf,
  kRelu,
  kLeakyRelu,
  kElu,
  kGelu,
  kGeluTanh,
  kSilu,
  kSoftplus,
  kClip,
  // Number -> number, value unchanged: what differs is the type, the shape or the gradient.
  kCast,
  kStopGradient,
  kBroadcastTo,
  // Two numbers -> number.
  kAdd,
  kSub,
  kMul,
  kDiv,
  kPow,
  kMaximum,
  kMinimum,
  // Two numbers -> truth value.
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  // Truth values.
  kLogicalNot,
  kLogicalAnd,
  kLogicalOr,
  // Truth value and two numbers -> number.
  kSelect,
};
inline constexpr int kScalarOps = static_cast<int>(ScalarOp::kSelect) + 1;

// What a function takes and gives.
enum class ScalarForm : uint8_t { kUnary, kIdentity, kBinary, kCompare, kLogicalUnary, kLogicalBinary, kSelect };

struct ScalarOpInfo {
  std::string_view name;  // = OpDef::name
  ScalarForm form;
  bool integers;  // defined for integers too, in which it wraps
  constexpr int arity() const {
    switch (form) {
      case ScalarForm::kUnary:
      case ScalarForm::kIdentity:
      case ScalarForm::kLogicalUnary: return 1;
      case ScalarForm::kSelect: return 3;
      default: return 2;
    }
  }
  constexpr bool bool_result() const {
    return form == ScalarForm::kCompare || form == ScalarForm::kLogicalUnary || form == ScalarForm::kLogicalBinary;
  }
  // Whether input i is a truth value (a Mask).
  constexpr bool bool_input(int i) const {
    return form == ScalarForm::kLogicalUnary || form == ScalarForm::kLogicalBinary ||
           (form == ScalarForm::kSelect && i == 0);
  }
};

// In the order of the enumeration.
inline constexpr ScalarOpInfo kScalarOpTable[kScalarOps] = {
    {"neg", ScalarForm::kUnary, true},
    {"abs", ScalarForm::kUnary, true},
    {"sign", ScalarForm::kUnary, true},
    {"square", ScalarForm::kUnary, true},
    {"exp", ScalarForm::kUnary, false},
    {"log", ScalarForm::kUnary, false},
    {"log1p", ScalarForm::kUnary, false},
    {"sqrt", ScalarForm::kUnary, false},
    {"rsqrt", ScalarForm::kUnary, false},
    {"tanh", ScalarForm::kUnary, false},
    {"sigmoid", ScalarForm::kUnary, false},
    {"erf", ScalarForm::kUnary, false},
    {"relu", ScalarForm::kUnary, true},
    {"leaky_relu", ScalarForm::kUnary, false},
    {"elu", ScalarForm::kUnary, false},
    {"gelu", ScalarForm::kUnary, false},
    {"gelu_tanh", ScalarForm::kUnary, false},
    {"silu", ScalarForm::kUnary, false},
    {"softplus", ScalarForm::kUnary, false},
    {"clip", ScalarForm::kUnary, true},
    {"cast", ScalarForm::kIdentity, true},
    {"stop_gradient", ScalarForm::kIdentity, true},
    {"broadcast_to", ScalarForm::kIdentity, true},
    {"add", ScalarForm::kBinary, true},
    {"sub", ScalarForm::kBinary, true},
    {"mul", ScalarForm::kBinary, true},
    {"div", ScalarForm::kBinary, false},
    {"pow", ScalarForm::kBinary, false},
    {"maximum", ScalarForm::kBinary, true},
    {"minimum", ScalarForm::kBinary, true},
    {"equal", ScalarForm::kCompare, true},
    {"not_equal", ScalarForm::kCompare, true},
    {"less", ScalarForm::kCompare, true},
    {"less_equal", ScalarForm::kCompare, true},
    {"greater", ScalarForm::kCompare, true},
    {"greater_equal", ScalarForm::kCompare, true},
    {"logical_not", ScalarForm::kLogicalUnary, true},
    {"logical_and", ScalarForm::kLogicalBinary, true},
    {"logical_or", ScalarForm::kLogicalBinary, true},
    {"select", ScalarForm::kSelect, true},
};

constexpr const ScalarOpInfo& Info(ScalarOp op) { return kScalarOpTable[static_cast<int>(op)]; }

// The function behind an elementwise op's name; nullopt if it has none.
constexpr std::optional<ScalarOp> ScalarOpFromName(std::string_view name) {
  for (int i = 0; i < kScalarOps; ++i) {
    if (kScalarOpTable[i].name == name) return static_cast<ScalarOp>(i);
  }
  return std::nullopt;
}

// Attributes of elementwise nodes, rounded to the element type where they are used.
inline constexpr std::string_view kAlpha = "alpha";  // leaky_relu: slope of the negative part; elu: its limit
inline constexpr std::string_view kLow = "low";      // clip
inline constexpr std::string_view kHigh = "high";

struct ScalarParams {
  double a = 0;  // alpha, or low
  double b = 0;  // high
};
inline ScalarParams ScalarParamsOf(ScalarOp op, const AttrMap& attrs) {
  switch (op) {
    case ScalarOp::kLeakyRelu:
    case ScalarOp::kElu: return {attrs.Double(kAlpha), 0};
    case ScalarOp::kClip: return {attrs.Double(kLow), attrs.Double(kHigh)};
    default: return {};
  }
}

// An op as a type: what VisitScalarOp hands over.
template <ScalarOp kOp>
using ScalarOpConstant = std::integral_constant<ScalarOp, kOp>;

namespace internal {
template <class Visitor, size_t... kIndex>
auto VisitScalarOpImpl(ScalarOp op, Visitor&& visitor, std::index_sequence<kIndex...>) {
  using Result = decltype(visitor(ScalarOpConstant<ScalarOp::kNeg>{}));
  using Entry = Result (*)(Visitor&);
  static constexpr Entry kTable[] = {
      [](Visitor& v) -> Result { return v(ScalarOpConstant<static_cast<ScalarOp>(kIndex)>{}); }...};
  return kTable[static_cast<int>(op)](visitor);
}
}  // namespace internal

// Turns a run-time op into a compile-time one: visitor(ScalarOpConstant<op>{}), with one result type for all ops.
// Called once a kernel, around its loop (or to choose a function pointer), never inside.
template <class Visitor>
auto VisitScalarOp(ScalarOp op, Visitor&& visitor) {
  return internal::VisitScalarOpImpl(op, visitor, std::make_index_sequence<kScalarOps>());
}

#include "weir/ops/scalar_math-inl.h"  // NOLINT(build/include): its text belongs inside the namespace

}  // namespace weir

#endif  // WEIR_OPS_SCALAR_MATH_H_
