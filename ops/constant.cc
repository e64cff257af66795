// The constant op: one number, any shape.
#include <algorithm>

#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"
#include "weir/ops/scalar_float.h"

namespace weir {
namespace {

std::vector<TensorType> Infer(const InferContext& context) {
  context.attrs.Double(kValue);
  return {{context.attrs.Type(kDType), Shape(context.attrs.Ints(kShape))}};
}

void Reference(const ReferenceCall& call) {
  const double number = call.attrs.Double(kValue);
  VisitDType(call.output_types[0].dtype, [&]<class T>(T) {
    T value;
    if constexpr (std::is_same_v<T, bool>) {
      value = number != 0;
    } else {
      value = MathOf<T>::Const(number);
    }
    std::fill_n(call.out<T>(), call.out_shape().size(), value);
  });
}

}  // namespace

const OpDef& ConstantOp() {
  static constexpr OpDef kOp = {.name = "constant", .kind = OpKind::kConstant, .infer = Infer, .reference = Reference};
  return kOp;
}

Value Constant(Graph& graph, double number, DType dtype, const Shape& shape, std::source_location where) {
  return graph.value(
      {graph.Append(ConstantOp(), {}, {{kDType, dtype}, {kShape, ToDims(shape)}, {kValue, number}}, where), 0});
}
Value Constant(const Value& like, double number, DType dtype, const Shape& shape) {
  return Constant(*like.graph, number, dtype, shape);
}
Value ZerosLike(const Value& value) { return Constant(value, 0, value.dtype(), value.shape()); }
Value OnesLike(const Value& value) { return Constant(value, 1, value.dtype(), value.shape()); }

}  // namespace weir
