// Ops that move elements without computing: reshape, transpose, slice, pad, concatenate, reverse. Slice and pad (with
// `interior` elements between neighbours, for strided slices) are each other's gradients.
#include <algorithm>
#include <numeric>

#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"
#include "weir/ops/scalar_float.h"
#include "weir/ops/simplify_rules.h"

namespace weir {
namespace {

// ---- reshape
// ---------------------------------------------------------------------------------------------------------
std::vector<TensorType> InferReshape(const InferContext& context) {
  const Shape shape(context.attrs.Ints(kShape));
  if (shape.size() != context.inputs[0].shape.size()) {
    ThrowInvalidArgument("Reshape: ", context.inputs[0].shape.size(), " elements do not fill shape ", shape, " ",
                         TypeList(context.inputs));
  }
  return {{context.inputs[0].dtype, shape}};
}
void ReshapeReference(const ReferenceCall& call) {
  const int64_t bytes = call.output_types[0].bytes();
  if (call.outputs[0] != call.inputs[0]) std::copy_n(call.inputs[0], bytes, call.outputs[0]);
}
std::vector<Value> ReshapeGradient(const GradientContext& context) {
  return {Reshape(context.cotangent(), context.input(0).shape().dims())};
}
double NoFlops(const AttrMap&, std::span<const TensorType>, std::span<const TensorType>) { return 0; }

// ---- transpose
// -------------------------------------------------------------------------------------------------------
std::vector<TensorType> InferTranspose(const InferContext& context) {
  const Shape& input = context.inputs[0].shape;
  const Dims& permutation = context.attrs.Ints(kPermutation);
  Dims sorted = permutation, dims;
  std::sort(sorted.begin(), sorted.end());
  bool valid = static_cast<int>(sorted.size()) == input.rank();
  for (size_t i = 0; valid && i < sorted.size(); ++i) valid = sorted[i] == static_cast<int64_t>(i);
  if (!valid) {
    ThrowInvalidArgument("Transpose: [", StrJoin(permutation, ","), "] is no permutation of the axes of ",
                         context.inputs[0]);
  }
  for (int64_t axis : permutation) dims.push_back(input.dim(static_cast<int>(axis)));
  return {{context.inputs[0].dtype, Shape(dims)}};
}
void TransposeReference(const ReferenceCall& call) {
  const Dims strides = call.in_shape(0).Strides();
  Dims src_strides;
  for (int64_t axis : call.attrs.Ints(kPermutation)) src_strides.push_back(strides[static_cast<size_t>(axis)]);
  StridedCopy(call.output_types[0].dtype, call.out_shape().dims(), call.inputs[0], src_strides, call.outputs[0],
              call.out_shape().Strides());
}
std::vector<Value> TransposeGradient(const GradientContext& context) {
  const Dims& permutation = context.node.attrs.Ints(kPermutation);
  std::vector<int64_t> inverse(permutation.size());
  for (size_t i = 0; i < permutation.size(); ++i)
    inverse[static_cast<size_t>(permutation[i])] = static_cast<int64_t>(i);
  return {Transpose(context.cotangent(), inverse)};
}

// ---- slice
// -----------------------------------------------------------------------------------------------------------
std::vector<TensorType> InferSlice(const InferContext& context) {
  const Shape& input = context.inputs[0].shape;
  const Dims &begin = context.attrs.Ints(kBegin), &end = context.attrs.Ints(kEnd), &steps = context.attrs.Ints(kSteps);
  const size_t rank = static_cast<size_t>(input.rank());
  if (begin.size() != rank || end.size() != rank || steps.size() != rank) {
    ThrowInvalidArgument("Slice: one begin, end and stride an axis expected ", TypeList(context.inputs));
  }
  Dims dims;
  for (int i = 0; i < input.rank(); ++i) {
    if (begin[i] < 0 || begin[i] > end[i] || end[i] > input.dim(i) || steps[i] < 1) {
      ThrowInvalidArgument("Slice: [", begin[i], ", ", end[i], ") by ", steps[i], " is no range of axis ", i, " ",
                           TypeList(context.inputs));
    }
    dims.push_back(begin[i] == end[i] ? 0 : (end[i] - begin[i] - 1) / steps[i] + 1);
  }
  return {{context.inputs[0].dtype, Shape(dims)}};
}
void SliceReference(const ReferenceCall& call) {
  const Dims &begin = call.attrs.Ints(kBegin), &steps = call.attrs.Ints(kSteps);
  Dims strides = call.in_shape(0).Strides();
  int64_t offset = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    offset += begin[i] * strides[i];
    strides[i] *= call.out_shape().dim(static_cast<int>(i)) > 1 ? steps[i] : 1;
  }
  const DType dtype = call.output_types[0].dtype;
  StridedCopy(dtype, call.out_shape().dims(), call.inputs[0] + offset * SizeOf(dtype), strides, call.outputs[0],
              call.out_shape().Strides());
}
std::vector<Value> SliceGradient(const GradientContext& context) {
  const Dims &begin = context.node.attrs.Ints(kBegin), &steps = context.node.attrs.Ints(kSteps);
  const Shape &input = context.input(0).shape(), &output = context.output().shape();
  Dims after, interior;
  for (int i = 0; i < input.rank(); ++i) {
    const int64_t count = output.dim(i);
    const int64_t gap = count > 1 ? steps[i] - 1 : 0;
    interior.push_back(gap);
    after.push_back(input.dim(i) - begin[i] - (count == 0 ? 0 : (count - 1) * (gap + 1) + 1));
  }
  return {Record(PadOp(), {context.cotangent()},
                 {{kBefore, begin}, {kAfter, after}, {kInterior, interior}, {kValue, 0.0}},
                 std::source_location::current())};
}

// ---- pad
// -------------------------------------------------------------------------------------------------------------
std::vector<TensorType> InferPad(const InferContext& context) {
  const Shape& input = context.inputs[0].shape;
  const Dims &before = context.attrs.Ints(kBefore), &after = context.attrs.Ints(kAfter);
  const Dims& interior = context.attrs.Ints(kInterior);
  const size_t rank = static_cast<size_t>(input.rank());
  context.attrs.Double(kValue);
  if (before.size() != rank || after.size() != rank || interior.size() != rank) {
    ThrowInvalidArgument("Pad: one count before and after each axis expected ", TypeList(context.inputs));
  }
  Dims dims;
  for (int i = 0; i < input.rank(); ++i) {
    if (before[i] < 0 || after[i] < 0 || interior[i] < 0) {
      ThrowInvalidArgument("Pad: negative count on axis ", i, " ", TypeList(context.inputs));
    }
    int64_t size = input.dim(i) == 0 ? 0 : CheckedMultiply(input.dim(i) - 1, interior[i], "Pad");
    if (__builtin_add_overflow(size, input.dim(i), &size) || __builtin_add_overflow(size, before[i], &size) ||
        __builtin_add_overflow(size, after[i], &size)) {
      ThrowOutOfRange("Pad: axis ", i, " grows beyond 63 bits ", TypeList(context.inputs));
    }
    dims.push_back(size);
  }
  return {{context.inputs[0].dtype, Shape(dims)}};
}
void PadReference(const ReferenceCall& call) {
  const Dims &before = call.attrs.Ints(kBefore), &interior = call.attrs.Ints(kInterior);
  const DType dtype = call.output_types[0].dtype;
  const double value = call.attrs.Double(kValue);
  VisitDType(dtype, [&]<class T>(T) {
    if constexpr (std::is_same_v<T, bool>) {
      std::fill_n(call.out<T>(), call.out_shape().size(), value != 0);
    } else {
      std::fill_n(call.out<T>(), call.out_shape().size(), MathOf<T>::Const(value));
    }
  });
  Dims strides = call.out_shape().Strides();
  int64_t offset = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    offset += before[i] * strides[i];
    strides[i] *= call.in_shape(0).dim(static_cast<int>(i)) > 1 ? interior[i] + 1 : 1;
  }
  StridedCopy(dtype, call.in_shape(0).dims(), call.inputs[0], call.in_shape(0).Strides(),
              call.outputs[0] + offset * SizeOf(dtype), strides);
}
std::vector<Value> PadGradient(const GradientContext& context) {
  const Dims &before = context.node.attrs.Ints(kBefore), &interior = context.node.attrs.Ints(kInterior);
  const Shape& input = context.input(0).shape();
  Dims end, steps;
  for (int i = 0; i < input.rank(); ++i) {
    steps.push_back(input.dim(i) > 1 ? interior[i] + 1 : 1);
    end.push_back(before[i] + (input.dim(i) == 0 ? 0 : (input.dim(i) - 1) * steps[i] + 1));
  }
  return {Record(SliceOp(), {context.cotangent()}, {{kBegin, before}, {kEnd, end}, {kSteps, steps}},
                 std::source_location::current())};
}

// ---- concatenate
// -----------------------------------------------------------------------------------------------------
std::vector<TensorType> InferConcatenate(const InferContext& context) {
  const int axis = static_cast<int>(context.attrs.Int(kAxis));
  const TensorType& first = context.inputs[0];
  if (axis < 0 || axis >= first.shape.rank()) {
    ThrowInvalidArgument("Concatenate: axis ", axis, " is out of range ", TypeList(context.inputs));
  }
  Dims dims = ToDims(first.shape);
  for (size_t i = 1; i < context.inputs.size(); ++i) {
    const TensorType& type = context.inputs[i];
    bool fits = type.dtype == first.dtype && type.shape.rank() == first.shape.rank();
    for (int a = 0; fits && a < first.shape.rank(); ++a) fits = a == axis || type.shape.dim(a) == first.shape.dim(a);
    if (!fits) {
      ThrowInvalidArgument("Concatenate: operands 0 and ", i, " differ outside of axis ", axis, " ",
                           TypeList(context.inputs));
    }
    if (__builtin_add_overflow(dims[axis], type.shape.dim(axis), &dims[axis])) {
      ThrowOutOfRange("Concatenate: axis ", axis, " grows beyond 63 bits ", TypeList(context.inputs));
    }
  }
  return {{first.dtype, Shape(dims)}};
}
void ConcatenateReference(const ReferenceCall& call) {
  const int axis = static_cast<int>(call.attrs.Int(kAxis));
  const DType dtype = call.output_types[0].dtype;
  const Dims strides = call.out_shape().Strides();
  std::byte* dst = call.outputs[0];
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const Shape& shape = call.in_shape(static_cast<int>(i));
    StridedCopy(dtype, shape.dims(), call.inputs[i], shape.Strides(), dst, strides);
    dst += shape.dim(axis) * strides[axis] * SizeOf(dtype);
  }
}
std::vector<Value> ConcatenateGradient(const GradientContext& context) {
  const int axis = static_cast<int>(context.node.attrs.Int(kAxis));
  const Shape& output = context.output().shape();
  const Dims steps(static_cast<size_t>(output.rank()), 1);
  std::vector<Value> result;
  Dims begin(static_cast<size_t>(output.rank()), 0), end = ToDims(output);
  for (size_t i = 0; i < context.node.inputs.size(); ++i) {
    end[axis] = begin[axis] + context.input(static_cast<int>(i)).shape().dim(axis);
    result.push_back(Record(SliceOp(), {context.cotangent()}, {{kBegin, begin}, {kEnd, end}, {kSteps, steps}},
                            std::source_location::current()));
    begin[axis] = end[axis];
  }
  return result;
}

// ---- reverse
// ---------------------------------------------------------------------------------------------------------
std::vector<TensorType> InferReverse(const InferContext& context) {
  for (int64_t axis : context.attrs.Ints(kAxes)) {
    if (axis < 0 || axis >= context.inputs[0].shape.rank()) {
      ThrowInvalidArgument("Reverse: axis ", axis, " is out of range ", TypeList(context.inputs));
    }
  }
  return {context.inputs[0]};
}
void ReverseReference(const ReferenceCall& call) {
  const Shape& shape = call.in_shape(0);
  const DType dtype = call.output_types[0].dtype;
  const Dims strides = shape.Strides();
  Dims src_strides = strides;
  int64_t offset = 0;
  for (int64_t axis : call.attrs.Ints(kAxes)) {
    const size_t a = static_cast<size_t>(axis);
    offset += (shape.dim(static_cast<int>(axis)) - 1) * strides[a];
    src_strides[a] = -strides[a];
  }
  if (shape.size() == 0) return;
  StridedCopy(dtype, shape.dims(), call.inputs[0] + offset * SizeOf(dtype), src_strides, call.outputs[0], strides);
}
std::vector<Value> ReverseGradient(const GradientContext& context) {
  return {Record(ReverseOp(), {context.cotangent()}, context.node.attrs, std::source_location::current())};
}

}  // namespace

const OpDef& ReshapeOp() {
  static constexpr OpDef kOp = {.name = "reshape",
                                .kind = OpKind::kAlias,
                                .infer = InferReshape,
                                .gradient = ReshapeGradient,
                                .reference = ReshapeReference,
                                .simplify = SimplifyReshape};
  return kOp;
}
const OpDef& TransposeOp() {
  static constexpr OpDef kOp = {.name = "transpose",
                                .infer = InferTranspose,
                                .gradient = TransposeGradient,
                                .reference = TransposeReference,
                                .flops = NoFlops,
                                .simplify = SimplifyTranspose};
  return kOp;
}
const OpDef& SliceOp() {
  static constexpr OpDef kOp = {
      .name = "slice",
      .infer = InferSlice,
      .gradient = SliceGradient,
      .reference = SliceReference,
      .flops = NoFlops,
      .simplify = SimplifySlice};
  return kOp;
}
const OpDef& PadOp() {
  static constexpr OpDef kOp = {
      .name = "pad",
      .infer = InferPad,
      .gradient = PadGradient,
      .reference = PadReference,
      .flops = NoFlops,
      .simplify = SimplifyPad};
  return kOp;
}
const OpDef& ConcatenateOp() {
  static constexpr OpDef kOp = {.name = "concatenate",
                                .infer = InferConcatenate,
                                .gradient = ConcatenateGradient,
                                .reference = ConcatenateReference,
                                .flops = NoFlops,
                                .simplify = SimplifyConcatenate};
  return kOp;
}
const OpDef& ReverseOp() {
  static constexpr OpDef kOp = {.name = "reverse",
                                .infer = InferReverse,
                                .gradient = ReverseGradient,
                                .reference = ReverseReference,
                                .flops = NoFlops};
  return kOp;
}

Value Reshape(const Operand& x, std::span<const int64_t> dims) {
  const Value& value = ValueOf(x, "Reshape");
  Dims resolved = ToDims(dims);
  CheckAt(value, x.where, [&] {
    int64_t known = 1;
    int unknown = -1;
    for (size_t i = 0; i < resolved.size(); ++i) {
      if (resolved[i] != -1) {
        known = CheckedMultiply(known, resolved[i], "Reshape");
      } else if (unknown < 0) {
        unknown = static_cast<int>(i);
      } else {
        ThrowInvalidArgument("Reshape: more than one dimension is -1 in [", StrJoin(resolved, ","), "]");
      }
    }
    if (unknown < 0) return;
    if (known <= 0 || value.shape().size() % known != 0) {
      ThrowInvalidArgument("Reshape: [", StrJoin(resolved, ","), "] can't hold the elements of ", value.type());
    }
    resolved[unknown] = value.shape().size() / known;
  });
  if (std::ranges::equal(value.shape().dims(), resolved)) return value;
  return Record(ReshapeOp(), {value}, {{kShape, resolved}}, x.where);
}
Value Reshape(const Operand& x, std::initializer_list<int64_t> dims) {
  return Reshape(x, std::span<const int64_t>(dims.begin(), dims.size()));
}

Value Transpose(const Operand& x, std::vector<int64_t> permutation) {
  const Value& value = ValueOf(x, "Transpose");
  const int rank = value.shape().rank();
  if (permutation.empty()) {
    for (int axis = rank - 1; axis >= 0; --axis) permutation.push_back(axis);
  }
  CheckAt(value, x.where, [&] {
    for (int64_t& axis : permutation) axis = NormalizeAxis(axis, rank, "Transpose");
  });
  return Record(TransposeOp(), {value}, {{kPermutation, ToDims(permutation)}}, x.where);
}

Value Slice(const Operand& x, const SliceOptions& options) {
  const Value& value = ValueOf(x, "Slice");
  const Shape& shape = value.shape();
  Dims begin = ToDims(options.begin), end = ToDims(options.end), steps = ToDims(options.strides);
  if (steps.empty()) steps.assign(static_cast<size_t>(shape.rank()), 1);
  // As in Python: negative numbers count from the back, and what lies outside is cut off.
  for (Dims* list : {&begin, &end}) {
    for (size_t i = 0; i < list->size() && static_cast<int>(i) < shape.rank(); ++i) {
      const int64_t size = shape.dim(static_cast<int>(i));
      int64_t& at = (*list)[i];
      at = std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
    }
  }
  for (size_t i = 0; i < std::min(begin.size(), end.size()); ++i) end[i] = std::max(begin[i], end[i]);
  return Record(SliceOp(), {value}, {{kBegin, begin}, {kEnd, end}, {kSteps, steps}}, x.where);
}

Value Pad(const Operand& x, std::vector<int64_t> before, std::vector<int64_t> after, double value) {
  const Value& input = ValueOf(x, "Pad");
  const Dims interior(static_cast<size_t>(input.shape().rank()), 0);
  return Record(PadOp(), {input},
                {{kBefore, ToDims(before)}, {kAfter, ToDims(after)}, {kInterior, interior}, {kValue, value}}, x.where);
}

Value Concatenate(std::span<const Value> values, int axis, std::source_location where) {
  if (values.empty())
    ThrowInvalidArgument("Concatenate: no values, at ",
                         ShortLocation(where.file_name(), static_cast<int>(where.line())));
  DType dtype = ValueOf({values[0], where}, "Concatenate").dtype();
  for (const Value& value : values) dtype = Promote(dtype, ValueOf({value, where}, "Concatenate").dtype());
  std::vector<Value> converted;
  for (const Value& value : values) converted.push_back(CastTo(value, dtype, where));
  const int64_t normalized =
      CheckAt(values[0], where, [&] { return NormalizeAxis(axis, values[0].shape().rank(), "Concatenate"); });
  return Record(ConcatenateOp(), converted, {{kAxis, normalized}}, where);
}

Value Reverse(const Operand& x, const Axes& axes) {
  const Value& value = ValueOf(x, "Reverse");
  Axes normalized;
  CheckAt(value, x.where, [&] {
    for (int64_t axis : axes) normalized.push_back(NormalizeAxis(axis, value.shape().rank(), "Reverse"));
    std::sort(normalized.begin(), normalized.end());
    normalized.erase(std::unique(normalized.begin(), normalized.end()), normalized.end());
  });
  return Record(ReverseOp(), {value}, {{kAxes, ToDims(normalized)}}, x.where);
}

}  // namespace weir
