// Elementwise ops: rows, shape rule and the user's functions. Formulas: scalar_math-inl.h; loops:
// elementwise_reference.cc; gradients: elementwise_gradient.cc.
#include <array>
#include <cmath>
#include <utility>

#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"
#include "weir/ops/simplify_rules.h"

namespace weir {
namespace {

void CheckNumbers(const InferContext& context, ScalarOp op, int first) {
  const DType dtype = context.inputs[first].dtype;
  for (size_t i = first + 1; i < context.inputs.size(); ++i) CheckSameDType(context, first, static_cast<int>(i));
  if (!IsFloating(dtype) && !(Info(op).integers && IsInteger(dtype))) {
    ThrowInvalidArgument(DisplayName(context.op.name), ": not defined for ", Name(dtype), " ",
                         TypeList(context.inputs));
  }
}

std::vector<TensorType> InferElementwise(const InferContext& context) {
  const ScalarOp op = ScalarOpOf(context.op);
  const ScalarOpInfo& info = Info(op);
  if (context.inputs.size() != static_cast<size_t>(info.arity())) {
    ThrowInvalidArgument(DisplayName(info.name), ": ", info.arity(), " operands expected ", TypeList(context.inputs));
  }
  DType dtype = context.inputs.back().dtype;
  for (int i = 0; i < info.arity(); ++i) {
    if (info.bool_input(i) && context.inputs[i].dtype != DType::kBool) {
      ThrowInvalidArgument(DisplayName(info.name), ": operand ", i, " must be bool ", TypeList(context.inputs));
    }
  }
  switch (info.form) {
    case ScalarForm::kUnary:
    case ScalarForm::kBinary: CheckNumbers(context, op, 0); break;
    case ScalarForm::kCompare: CheckNumbers(context, op, 0), dtype = DType::kBool; break;
    case ScalarForm::kSelect: CheckSameDType(context, 1, 2); break;
    default: break;
  }
  ScalarParamsOf(op, context.attrs);
  if (op == ScalarOp::kCast) dtype = context.attrs.Type(kDType);
  if (op == ScalarOp::kClip && !(context.attrs.Double(kLow) <= context.attrs.Double(kHigh))) {
    ThrowInvalidArgument("Clip: low ", context.attrs.Double(kLow), " is not below high ", context.attrs.Double(kHigh));
  }
  Shape shape = context.inputs[0].shape;
  for (size_t i = 1; i < context.inputs.size(); ++i) {
    if (context.inputs[i].shape == shape) continue;
    shape = BroadcastShapes(shape, context.inputs[i].shape, DisplayName(info.name));
  }
  if (op == ScalarOp::kBroadcastTo) {
    const Shape target(context.attrs.Ints(kShape));
    if (target.rank() < shape.rank() || BroadcastShapes(shape, target, "BroadcastTo") != target) {
      ThrowInvalidArgument("BroadcastTo: shape ", shape, " does not broadcast to ", target);
    }
    shape = target;
  }
  return {{dtype, std::move(shape)}};
}

template <size_t... kIndex>
std::array<OpDef, kScalarOps> MakeRows(std::index_sequence<kIndex...>) {
  return {OpDef{.name = kScalarOpTable[kIndex].name,
                .kind = OpKind::kElementwise,
                .infer = InferElementwise,
                .gradient = ElementwiseGradient(static_cast<ScalarOp>(kIndex)),
                .reference = ElementwiseReference(static_cast<ScalarOp>(kIndex)),
                .simplify = ElementwiseSimplify(static_cast<ScalarOp>(kIndex))}...};
}

const std::array<OpDef, kScalarOps>& Rows() {
  static const std::array<OpDef, kScalarOps> rows = MakeRows(std::make_index_sequence<kScalarOps>());
  return rows;
}

// Whether the op's result can lie outside of uint8 for operands inside it: those are computed as int32.
bool LeavesBytes(ScalarOp op) {
  return op == ScalarOp::kAdd || op == ScalarOp::kSub || op == ScalarOp::kMul || op == ScalarOp::kNeg ||
         op == ScalarOp::kSquare;
}

// A unary function defined for integers as well (bool counts as int32).
Value Number(ScalarOp op, const Operand& x, AttrMap attrs = {}) {
  const Value& value = ValueOf(x, Info(op).name);
  const bool widen = value.dtype() == DType::kBool || (value.dtype() == DType::kUint8 && LeavesBytes(op));
  const Value number = widen ? CastTo(value, DType::kInt32, x.where) : value;
  return Elementwise(op, {number}, x.where, std::move(attrs));
}
Value Real(ScalarOp op, const Operand& x, AttrMap attrs = {}) {
  return Elementwise(op, {FloatingOf(x, Info(op).name)}, x.where, std::move(attrs));
}
Value Binary(ScalarOp op, const Operand& a, const Operand& b, bool floating = false) {
  // The common case first: two values of one numeric type.
  if (a.value.defined() && b.value.defined() && a.value.dtype() == b.value.dtype() &&
      (IsFloating(a.value.dtype()) ||
       (!floating && IsInteger(a.value.dtype()) && !(a.value.dtype() == DType::kUint8 && LeavesBytes(op))))) {
    return Elementwise(op, {a.value, b.value}, a.where);
  }
  const std::vector<Value> values =
      Common(Info(op).name, {&a, &b}, floating, LeavesBytes(op) ? DType::kInt32 : DType::kBool);
  return Elementwise(op, {values[0], values[1]}, a.where);
}
Value Truth(const Operand& x, std::string_view op) {
  const Value& value = ValueOf(x, op);
  return CastTo(value, DType::kBool, x.where);
}

}  // namespace

const OpDef& ElementwiseOp(ScalarOp op) { return Rows()[static_cast<size_t>(op)]; }
ScalarOp ScalarOpOf(const OpDef& op) {
  const ptrdiff_t index = &op - Rows().data();
  WEIR_CHECK(index >= 0 && index < kScalarOps, op.name, " is not elementwise");
  return static_cast<ScalarOp>(index);
}

Value Cast(const Operand& x, DType dtype) { return CastTo(ValueOf(x, "Cast"), dtype, x.where); }
Value StopGradient(const Operand& x) {
  return Elementwise(ScalarOp::kStopGradient, {ValueOf(x, "StopGradient")}, x.where);
}
Value BroadcastTo(const Operand& x, const Shape& shape) {
  const Value& value = ValueOf(x, "BroadcastTo");
  if (value.shape() == shape) return value;
  return Elementwise(ScalarOp::kBroadcastTo, {value}, x.where, {{kShape, ToDims(shape)}});
}

Value operator+(const Operand& a, const Operand& b) { return Binary(ScalarOp::kAdd, a, b); }
Value operator-(const Operand& a, const Operand& b) { return Binary(ScalarOp::kSub, a, b); }
Value operator*(const Operand& a, const Operand& b) { return Binary(ScalarOp::kMul, a, b); }
Value operator/(const Operand& a, const Operand& b) { return Binary(ScalarOp::kDiv, a, b, /*floating=*/true); }
Value operator-(const Value& x) { return Number(ScalarOp::kNeg, x); }
Value Pow(const Operand& base, const Operand& exponent) { return Binary(ScalarOp::kPow, base, exponent, true); }
Value Maximum(const Operand& a, const Operand& b) { return Binary(ScalarOp::kMaximum, a, b); }
Value Minimum(const Operand& a, const Operand& b) { return Binary(ScalarOp::kMinimum, a, b); }
Value Abs(const Operand& x) { return Number(ScalarOp::kAbs, x); }
Value Sign(const Operand& x) { return Number(ScalarOp::kSign, x); }
Value Square(const Operand& x) { return Number(ScalarOp::kSquare, x); }
Value Sqrt(const Operand& x) { return Real(ScalarOp::kSqrt, x); }
Value Rsqrt(const Operand& x) { return Real(ScalarOp::kRsqrt, x); }
Value Exp(const Operand& x) { return Real(ScalarOp::kExp, x); }
Value Log(const Operand& x) { return Real(ScalarOp::kLog, x); }
Value Log1p(const Operand& x) { return Real(ScalarOp::kLog1p, x); }
Value Erf(const Operand& x) { return Real(ScalarOp::kErf, x); }
Value Clip(const Operand& x, double low, double high) {
  return Number(ScalarOp::kClip, x, {{kLow, low}, {kHigh, high}});
}

Value Equal(const Operand& a, const Operand& b) { return Binary(ScalarOp::kEqual, a, b); }
Value NotEqual(const Operand& a, const Operand& b) { return Binary(ScalarOp::kNotEqual, a, b); }
Value Less(const Operand& a, const Operand& b) { return Binary(ScalarOp::kLess, a, b); }
Value LessEqual(const Operand& a, const Operand& b) { return Binary(ScalarOp::kLessEqual, a, b); }
Value Greater(const Operand& a, const Operand& b) { return Binary(ScalarOp::kGreater, a, b); }
Value GreaterEqual(const Operand& a, const Operand& b) { return Binary(ScalarOp::kGreaterEqual, a, b); }
Value LogicalAnd(const Operand& a, const Operand& b) {
  return Elementwise(ScalarOp::kLogicalAnd, {Truth(a, "LogicalAnd"), Truth(b, "LogicalAnd")}, a.where);
}
Value LogicalOr(const Operand& a, const Operand& b) {
  return Elementwise(ScalarOp::kLogicalOr, {Truth(a, "LogicalOr"), Truth(b, "LogicalOr")}, a.where);
}
Value LogicalNot(const Operand& x) { return Elementwise(ScalarOp::kLogicalNot, {Truth(x, "LogicalNot")}, x.where); }

Value Where(const Operand& condition, const Operand& if_true, const Operand& if_false) {
  const Value truth = Truth(condition, "Where");
  const bool values_given = IsValue(if_true, "Where"), others_given = IsValue(if_false, "Where");
  if (values_given && others_given && if_true.value.dtype() == if_false.value.dtype()) {
    return Elementwise(ScalarOp::kSelect, {truth, if_true.value, if_false.value}, condition.where);
  }
  if (!values_given && !others_given) {  // two numbers: float32
    return Elementwise(
        ScalarOp::kSelect,
        {truth, Constant(truth, if_true.number, DType::kFloat32), Constant(truth, if_false.number, DType::kFloat32)},
        condition.where);
  }
  const std::vector<Value> values = Common("Where", {&if_true, &if_false}, false);
  return Elementwise(ScalarOp::kSelect, {truth, values[0], values[1]}, condition.where);
}

Value Relu(const Operand& x) { return Number(ScalarOp::kRelu, x); }
Value LeakyRelu(const Operand& x, double negative_slope) {
  return Real(ScalarOp::kLeakyRelu, x, {{kAlpha, negative_slope}});
}
Value Elu(const Operand& x, double alpha) { return Real(ScalarOp::kElu, x, {{kAlpha, alpha}}); }
Value Gelu(const Operand& x, bool approximate) { return Real(approximate ? ScalarOp::kGeluTanh : ScalarOp::kGelu, x); }
Value Silu(const Operand& x) { return Real(ScalarOp::kSilu, x); }
Value Softplus(const Operand& x) { return Real(ScalarOp::kSoftplus, x); }
Value Sigmoid(const Operand& x) { return Real(ScalarOp::kSigmoid, x); }
Value Tanh(const Operand& x) { return Real(ScalarOp::kTanh, x); }

}  // namespace weir
