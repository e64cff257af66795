// Ops that look up by integer indices. An index out of range fails the run (KernelErrors) and reads nothing.
#include <algorithm>

#include "weir/core/kernel_errors.h"
#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"
#include "weir/ops/scalar_float.h"

namespace weir {
namespace {

void CheckIndices(const InferContext& context, int i) {
  const DType dtype = context.inputs[i].dtype;
  if (dtype != DType::kInt32 && dtype != DType::kInt64) {
    ThrowInvalidArgument(DisplayName(context.op.name), ": indices must be int32 or int64 ", TypeList(context.inputs));
  }
}

// Index `i` of an index operand, as 64 bits.
class Indices {
 public:
  Indices(const ReferenceCall& call, int input)
      : data_(call.inputs[input]),
        wide_(call.input_types[input].dtype == DType::kInt64),
        count_(call.in_shape(input).size()) {}
  int64_t count() const { return count_; }
  int64_t operator[](int64_t i) const {
    return wide_ ? reinterpret_cast<const int64_t*>(data_)[i] : reinterpret_cast<const int32_t*>(data_)[i];
  }
  // Whether index i is in [0, size); records an error if not.
  bool Check(int64_t i, int64_t size, const char* what, KernelErrors& errors) const {
    const int64_t value = (*this)[i];
    if (value >= 0 && value < size) return true;
    errors.OutOfRange(what, i, value, 0, size);
    return false;
  }

 private:
  const std::byte* data_;
  bool wide_;
  int64_t count_;
};

double NoFlops(const AttrMap&, std::span<const TensorType>, std::span<const TensorType>) { return 0; }

// ---- one_hot
// ---------------------------------------------------------------------------------------------------------
std::vector<TensorType> InferOneHot(const InferContext& context) {
  CheckIndices(context, 0);
  const int64_t depth = context.attrs.Int(kDepth);
  if (depth < 0) ThrowInvalidArgument("OneHot: depth ", depth, " is negative ", TypeList(context.inputs));
  Dims dims = ToDims(context.inputs[0].shape);
  dims.push_back(depth);
  return {{context.attrs.Type(kDType), Shape(dims)}};
}
void OneHotReference(const ReferenceCall& call) {
  const Indices indices(call, 0);
  const int64_t depth = call.attrs.Int(kDepth);
  VisitDType(call.output_types[0].dtype, [&]<class T>(T) {
    T* out = call.out<T>();
    std::fill_n(out, call.out_shape().size(), T(0));
    for (int64_t i = 0; i < indices.count(); ++i) {
      if (indices[i] >= 0 && indices[i] < depth) out[i * depth + indices[i]] = T(1);
    }
  });
}

// ---- gather
// ----------------------------------------------------------------------------------------------------------
std::vector<TensorType> InferGather(const InferContext& context) {
  CheckIndices(context, 1);
  const Shape& x = context.inputs[0].shape;
  const int64_t axis = context.attrs.Int(kAxis);
  if (axis < 0 || axis >= x.rank()) {
    ThrowInvalidArgument("Gather: axis ", axis, " is out of range ", TypeList(context.inputs));
  }
  Dims dims(x.begin(), x.begin() + axis);
  dims.insert(dims.end(), context.inputs[1].shape.begin(), context.inputs[1].shape.end());
  dims.insert(dims.end(), x.begin() + axis + 1, x.end());
  return {{context.inputs[0].dtype, Shape(dims)}};
}
void GatherReference(const ReferenceCall& call) {
  const Indices indices(call, 1);
  const Shape& x = call.in_shape(0);
  const int axis = static_cast<int>(call.attrs.Int(kAxis));
  int64_t outer = 1;
  for (int i = 0; i < axis; ++i) outer *= x.dim(i);
  const int64_t size = x.dim(axis), bytes = x.Strides()[axis] * SizeOf(call.input_types[0].dtype);
  if (call.out_shape().size() == 0 && indices.count() == 0) return;
  std::byte* dst = call.outputs[0];
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < indices.count(); ++i, dst += bytes) {
      if (indices.Check(i, size, "Gather: index", call.errors)) {
        std::copy_n(call.inputs[0] + (o * size + indices[i]) * bytes, bytes, dst);
      } else {
        std::fill_n(dst, bytes, std::byte(0));
      }
    }
  }
}
std::vector<Value> GatherGradient(const GradientContext& context) {
  const Value indices = context.input(1);
  const Shape& x = context.input(0).shape();
  const int axis = static_cast<int>(context.node.attrs.Int(kAxis)), width = indices.shape().rank();
  Value g = context.cotangent();
  Dims shape = ToDims(x);
  if (axis == 0) return {ScatterAdd(indices, g, x), Value()};
  // The indices' axes to the front, and the axis they stand for back to its place.
  std::vector<int64_t> to_front, back;
  for (int i = 0; i < width; ++i) to_front.push_back(axis + i);
  for (int i = 0; i < axis; ++i) to_front.push_back(i);
  for (int i = axis + width; i < g.shape().rank(); ++i) to_front.push_back(i);
  std::rotate(shape.begin(), shape.begin() + axis, shape.begin() + axis + 1);
  for (int i = 0; i < axis; ++i) back.push_back(i + 1);
  back.push_back(0);
  for (int i = axis + 1; i < x.rank(); ++i) back.push_back(i);
  return {Transpose(ScatterAdd(indices, Transpose(g, to_front), Shape(shape)), back), Value()};
}

// ---- scatter_add

// Inputs: indices, updates (indices' shape, then the output's shape without axis 0).
std::vector<TensorType> InferScatterAdd(const InferContext& context) {
  CheckIndices(context, 0);
  const Shape shape(context.attrs.Ints(kShape));
  const Shape &indices = context.inputs[0].shape, &updates = context.inputs[1].shape;
  if (context.inputs[1].dtype == DType::kBool) {
    ThrowInvalidArgument("ScatterAdd: not defined for bool ", TypeList(context.inputs));
  }
  Dims expected = ToDims(indices);
  if (shape.rank() > 0) expected.insert(expected.end(), shape.begin() + 1, shape.end());
  if (shape.rank() == 0 || updates != Shape(expected)) {
    ThrowInvalidArgument("ScatterAdd: updates of shape ", updates, " do not fit shape ", shape, " ",
                         TypeList(context.inputs));
  }
  return {{context.inputs[1].dtype, shape}};
}
void ScatterAddReference(const ReferenceCall& call) {
  const Indices indices(call, 0);
  const int64_t rows = call.out_shape().dim(0), row = call.out_shape().Strides()[0];
  VisitNumber(call.output_types[0].dtype, [&]<class T>(T) {
    T* out = call.out<T>();
    std::fill_n(out, call.out_shape().size(), T(0));
    for (int64_t i = 0; i < indices.count(); ++i) {
      if (!indices.Check(i, rows, "ScatterAdd: index", call.errors)) continue;
      const T* update = call.in<T>(1) + i * row;
      T* dst = out + indices[i] * row;
      for (int64_t j = 0; j < row; ++j) dst[j] = MathOf<T>::Add(dst[j], update[j]);
    }
  });
}
std::vector<Value> ScatterAddGradient(const GradientContext& context) {
  return {Value(), Gather(context.cotangent(), context.input(0), 0)};
}
double ScatterAddFlops(const AttrMap&, std::span<const TensorType> inputs, std::span<const TensorType>) {
  return static_cast<double>(inputs[1].shape.size());
}

// ---- take_along_last
// -------------------------------------------------------------------------------------------------
std::vector<TensorType> InferTakeAlongLast(const InferContext& context) {
  CheckIndices(context, 1);
  const Shape &x = context.inputs[0].shape, &indices = context.inputs[1].shape;
  if (x.rank() == 0 || Shape(x.dims().first(static_cast<size_t>(x.rank() - 1))) != indices) {
    ThrowInvalidArgument("TakeAlongLast: indices must have the shape of x without its last axis ",
                         TypeList(context.inputs));
  }
  return {{context.inputs[0].dtype, indices}};
}
void TakeAlongLastReference(const ReferenceCall& call) {
  const Indices indices(call, 1);
  const int64_t depth = call.in_shape(0).dim(-1), bytes = SizeOf(call.input_types[0].dtype);
  for (int64_t i = 0; i < indices.count(); ++i) {
    std::byte* dst = call.outputs[0] + i * bytes;
    if (indices.Check(i, depth, "TakeAlongLast: index", call.errors)) {
      std::copy_n(call.inputs[0] + (i * depth + indices[i]) * bytes, bytes, dst);
    } else {
      std::fill_n(dst, bytes, std::byte(0));
    }
  }
}
std::vector<Value> TakeAlongLastGradient(const GradientContext& context) {
  const Value x = context.input(0), g = context.cotangent();
  Dims column = ToDims(g.shape());
  column.push_back(1);
  const Value hot = OneHot(context.input(1), x.shape().dim(-1), x.dtype());
  return {hot * Reshape(g, column), Value()};
}

// Indices of a narrower type become int32.
Value IndexOperand(const Operand& x, std::string_view op) {
  const Value& value = ValueOf(x, op);
  return value.dtype() == DType::kUint8 || value.dtype() == DType::kBool ? CastTo(value, DType::kInt32, x.where)
                                                                         : value;
}

}  // namespace

const OpDef& OneHotOp() {
  static constexpr OpDef kOp = {
      .name = "one_hot", .infer = InferOneHot, .reference = OneHotReference, .flops = NoFlops};
  return kOp;
}
const OpDef& GatherOp() {
  static constexpr OpDef kOp = {.name = "gather",
                                .infer = InferGather,
                                .gradient = GatherGradient,
                                .reference = GatherReference,
                                .flops = NoFlops};
  return kOp;
}
const OpDef& ScatterAddOp() {
  static constexpr OpDef kOp = {.name = "scatter_add",
                                .infer = InferScatterAdd,
                                .gradient = ScatterAddGradient,
                                .reference = ScatterAddReference,
                                .flops = ScatterAddFlops};
  return kOp;
}
const OpDef& TakeAlongLastOp() {
  static constexpr OpDef kOp = {.name = "take_along_last",
                                .infer = InferTakeAlongLast,
                                .gradient = TakeAlongLastGradient,
                                .reference = TakeAlongLastReference,
                                .flops = NoFlops};
  return kOp;
}

Value OneHot(const Operand& indices, int64_t depth, DType dtype) {
  return Record(OneHotOp(), {IndexOperand(indices, "OneHot")}, {{kDepth, depth}, {kDType, dtype}}, indices.where);
}
Value Gather(const Operand& x, const Operand& indices, int axis) {
  const Value& value = ValueOf(x, "Gather");
  const int64_t normalized =
      CheckAt(value, x.where, [&] { return NormalizeAxis(axis, value.shape().rank(), "Gather"); });
  return Record(GatherOp(), {value, IndexOperand(indices, "Gather")}, {{kAxis, normalized}}, x.where);
}
Value ScatterAdd(const Operand& indices, const Operand& updates, const Shape& shape) {
  return Record(ScatterAddOp(), {IndexOperand(indices, "ScatterAdd"), ValueOf(updates, "ScatterAdd")},
                {{kShape, ToDims(shape)}}, indices.where);
}
Value TakeAlongLast(const Operand& x, const Operand& indices) {
  return Record(TakeAlongLastOp(), {ValueOf(x, "TakeAlongLast"), IndexOperand(indices, "TakeAlongLast")}, {}, x.where);
}

}  // namespace weir
