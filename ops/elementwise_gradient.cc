// Gradients of the elementwise ops, as nodes. Where a slope can be had from the output it is (relu, tanh, exp), so that
// the input need not be kept.
#include <cmath>

#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

constexpr double kTwoBySqrtPi = 1.12837916709551257390;  // 2 / sqrt(pi)
constexpr double kInvSqrt2 = 0.70710678118654752440;     // 1 / sqrt(2)
constexpr double kInvSqrt2Pi = 0.39894228040143267794;   // 1 / sqrt(2 pi)
constexpr double kSqrt2ByPi = 0.79788456080286535588;    // sqrt(2 / pi)

bool IsConstant(const GradientContext& context, int i) {
  return context.graph.node(context.node.inputs[i].node).op->kind == OpKind::kConstant;
}

// Operands of slopes that are constant, for float32, beyond these bounds: what is computed there would overflow, or
// multiply an infinity by 0. The value within the bounds is the operand's own.
Value Within(const Value& x, double bound) { return Clip(x, -bound, bound); }
constexpr double kGaussBound = 50;    // e^-x^2 is 0, the hyperbolic tangent of gelu's argument 1
constexpr double kSigmoidBound = 200;

// d(output) of a unary op times the cotangent g.
Value UnarySlope(ScalarOp op, const GradientContext& context) {
  const Value x = context.input(0), y = context.output(), g = context.cotangent();
  switch (op) {
    case ScalarOp::kNeg: return -g;
    case ScalarOp::kAbs: return g * Sign(x);
    case ScalarOp::kSquare: return g * (2.0 * x);
    case ScalarOp::kExp: return g * y;
    case ScalarOp::kLog: return g / x;
    case ScalarOp::kLog1p: return g / (1.0 + x);
    case ScalarOp::kSqrt: return 0.5 * g / y;
    case ScalarOp::kRsqrt: return -0.5 * g * (y * y * y);
    case ScalarOp::kTanh: return g * (1.0 - y * y);
    case ScalarOp::kSigmoid: return g * (y * (1.0 - y));
    case ScalarOp::kErf: {
      const Value c = Within(x, kGaussBound);
      return g * (kTwoBySqrtPi * Exp(-(c * c)));
    }
    case ScalarOp::kRelu: return Where(Greater(y, 0.0), g, 0.0);
    case ScalarOp::kLeakyRelu: {
      const double alpha = context.node.attrs.Double(kAlpha);
      // The output has the input's sign unless the slope is negative.
      return Where(Greater(alpha >= 0 ? y : x, 0.0), g, alpha * g);
    }
    case ScalarOp::kElu: {
      const double alpha = context.node.attrs.Double(kAlpha);
      // The output tells the branches unless alpha turns its sign, or makes it vanish beside a tiny input.
      return Where(GreaterEqual(alpha >= 1 ? y : x, 0.0), g, g * (y + alpha));
    }
    case ScalarOp::kGelu: {
      const Value c = Within(x, kGaussBound);
      const Value cdf = 0.5 + 0.5 * Erf(kInvSqrt2 * c);
      return g * (cdf + c * (kInvSqrt2Pi * Exp(-0.5 * (c * c))));
    }
    case ScalarOp::kGeluTanh: {
      const Value c = Within(x, kGaussBound);
      const Value square = c * c;
      const Value t = Tanh(kSqrt2ByPi * (c + 0.044715 * (square * c)));
      const Value slope = kSqrt2ByPi + (3 * 0.044715 * kSqrt2ByPi) * square;
      return g * (0.5 * (1.0 + t) + 0.5 * c * ((1.0 - t * t) * slope));
    }
    case ScalarOp::kSilu: {
      const Value c = Within(x, kSigmoidBound);
      const Value s = Sigmoid(c);
      return g * (s * (1.0 + c * (1.0 - s)));
    }
    case ScalarOp::kSoftplus: return g * Sigmoid(x);
    case ScalarOp::kClip: {
      // A NaN is not outside: slopes that are computed from it stay NaN.
      const Value outside =
          LogicalOr(Less(x, context.node.attrs.Double(kLow)), Greater(x, context.node.attrs.Double(kHigh)));
      return Where(outside, 0.0, g);
    }
    case ScalarOp::kCast: return Cast(g, x.dtype());
    case ScalarOp::kBroadcastTo: return SumToShape(g, x.shape());
    default: break;
  }
  WEIR_CHECK(false, Info(op).name);
}

std::vector<Value> Unary(const GradientContext& context) {
  // Integers carry no gradient (a cast from them).
  if (!IsFloating(context.input(0).dtype())) return {Value()};
  return {UnarySlope(ScalarOpOf(*context.node.op), context)};
}

// One side at a time: a constant operand needs no cotangent.
Value BinarySlope(ScalarOp op, bool left, const GradientContext& context) {
  const Value a = context.input(0), b = context.input(1), y = context.output(), g = context.cotangent();
  switch (op) {
    case ScalarOp::kAdd: return g;
    case ScalarOp::kSub: return left ? g : -g;
    case ScalarOp::kMul: return g * (left ? b : a);
    case ScalarOp::kDiv: return left ? g / b : -(g * (y / b));
    case ScalarOp::kPow: {
      // b a^(b-1), which is 0 for b = 0 also where a is 0; the slope in b is 0 where a is not positive.
      if (left) return g * Where(Equal(b, 0.0), 0.0, b * Pow(a, b - 1.0));
      const Value positive = Greater(a, 0.0);
      return Where(positive, g * (y * Log(Where(positive, a, 1.0))), 0.0);
    }
    case ScalarOp::kMaximum:
    case ScalarOp::kMinimum: {
      const Value& self = left ? a : b;
      const Value& other = left ? b : a;
      const Value wins = op == ScalarOp::kMaximum ? Greater(self, other) : Less(self, other);
      return Where(wins, g, Where(Equal(a, b), 0.5 * g, 0.0));
    }
    default: break;
  }
  WEIR_CHECK(false, Info(op).name);
}

std::vector<Value> Binary(const GradientContext& context) {
  const ScalarOp op = ScalarOpOf(*context.node.op);
  std::vector<Value> result(2);
  for (int i = 0; i < 2; ++i) {
    if (!IsConstant(context, i)) result[i] = SumToShape(BinarySlope(op, i == 0, context), context.input(i).shape());
  }
  return result;
}

std::vector<Value> SelectGradient(const GradientContext& context) {
  const Value condition = context.input(0), g = context.cotangent();
  if (!IsFloating(context.output().dtype())) return {Value(), Value(), Value()};
  std::vector<Value> result(3);
  if (!IsConstant(context, 1)) result[1] = SumToShape(Where(condition, g, 0.0), context.input(1).shape());
  if (!IsConstant(context, 2)) result[2] = SumToShape(Where(condition, 0.0, g), context.input(2).shape());
  return result;
}

}  // namespace

GradientFn ElementwiseGradient(ScalarOp op) {
  switch (Info(op).form) {
    case ScalarForm::kUnary: return op == ScalarOp::kSign ? nullptr : Unary;
    case ScalarForm::kIdentity: return op == ScalarOp::kStopGradient ? nullptr : Unary;
    case ScalarForm::kBinary: return Binary;
    case ScalarForm::kSelect: return SelectGradient;
    default: return nullptr;
  }
}

}  // namespace weir
