// The rows of all ops and what their files share: recording, operands, messages, reference loops. Internal to ops/;
// registry.cc and the tests list the rows, users see ops.h.
#ifndef WEIR_OPS_OP_ROWS_H_
#define WEIR_OPS_OP_ROWS_H_

#include <complex>
#include <initializer_list>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/core/graph.h"
#include "weir/core/op_def.h"
#include "weir/ops/attrs.h"
#include "weir/ops/scalar_math.h"

namespace weir {

// ---- Rows ----------------------------------------------------------------------------------------------------------
const OpDef& ElementwiseOp(ScalarOp op);
ScalarOp ScalarOpOf(const OpDef& op);  // of a row of the above
const OpDef& ConstantOp();
const OpDef& RandomUniformOp();
const OpDef& ReshapeOp();
const OpDef& AssignOp();
const OpDef& ConvOp();
const OpDef& ConvInputGradientOp();
const OpDef& ConvFilterGradientOp();
const OpDef& MatMulOp();
const OpDef& MaxPoolOp();
const OpDef& MaxPoolGradientOp();
const OpDef& MaxPoolGatherOp();
const OpDef& AveragePoolOp();
const OpDef& AveragePoolGradientOp();
const OpDef& ReduceSumOp();
const OpDef& ReduceSumSquaresOp();
const OpDef& ReduceMaxOp();
const OpDef& ReduceMinOp();
const OpDef& ArgMaxOp();
const OpDef& SoftmaxOp();
const OpDef& LogSoftmaxOp();
const OpDef& SparseCrossEntropyOp();
const OpDef& TransposeOp();
const OpDef& SliceOp();
const OpDef& PadOp();
const OpDef& ConcatenateOp();
const OpDef& ReverseOp();
const OpDef& OneHotOp();
const OpDef& GatherOp();
const OpDef& ScatterAddOp();
const OpDef& TakeAlongLastOp();

// ---- Recording -----------------------------------------------------------------------------------------------------
// Appends a node and returns its only output. All inputs are of one graph, or an Error says so.
Value Record(const OpDef& op, std::span<const Value> inputs, AttrMap attrs, std::source_location where);
inline Value Record(const OpDef& op, std::initializer_list<Value> inputs, AttrMap attrs, std::source_location where) {
  return Record(op, std::span<const Value>(inputs.begin(), inputs.size()), std::move(attrs), where);
}

// Throws an Error found before there is a node, with the layer path and source line that a rejected node would have.
[[noreturn]] void ThrowAt(Graph& graph, std::source_location where, absl::StatusCode code, std::string message);

// Runs a check that throws Error without a place, and throws its Error with one. Not to be put around recording.
template <class Check>
auto CheckAt(const Value& value, std::source_location where, Check&& check) {
  try {
    return check();
  } catch (const Error& error) {
    ThrowAt(*value.graph, where, error.code(), error.message());
  }
}

// ---- Operands ------------------------------------------------------------------------------------------------------
// The operand's value; a plain number is an Error naming `op` ("relu" or "Relu").
const Value& ValueOf(const Operand& x, std::string_view op);
// Whether the operand is a Value; false for a plain number. A Value that is undefined is an Error naming `op`.
bool IsValue(const Operand& x, std::string_view op);
// The same as ValueOf, converted to float32 if it is not of a floating type.
Value FloatingOf(const Operand& x, std::string_view op);
// The operands as values of their common dtype; numbers become constants.
std::vector<Value> Common(std::string_view op, std::initializer_list<const Operand*> operands, bool floating,
                          DType least = DType::kBool);
Value CastTo(const Value& x, DType dtype, std::source_location where);

// One elementwise node; inputs of one dtype (but for a select's condition).
Value Elementwise(ScalarOp op, std::initializer_list<Value> inputs, std::source_location where, AttrMap attrs = {});

// ---- Shape rules ---------------------------------------------------------------------------------------------------
// "leaky_relu" -> "LeakyRelu", for messages.
std::string DisplayName(std::string_view op_name);
// "(f32[2,3], f32[3])".
std::string TypeList(std::span<const TensorType> types);
void CheckFloating(const InferContext& context, std::initializer_list<int> inputs);
void CheckSameDType(const InferContext& context, int a, int b);
inline Dims ToDims(const Shape& shape) { return Dims(shape.begin(), shape.end()); }
inline Dims ToDims(std::span<const int64_t> list) { return Dims(list.begin(), list.end()); }

// ---- Reference -----------------------------------------------------------------------------------------------------
// Calls visitor(T{}) for a floating T.
template <class Visitor>
void VisitFloating(DType dtype, Visitor&& visitor) {
  switch (dtype) {
    case DType::kFloat32: return visitor(float{});
    case DType::kFloat64: return visitor(double{});
    case DType::kComplex128: return visitor(std::complex<double>{});
    default: WEIR_CHECK(false, "dtype ", dtype);
  }
}
// Calls visitor(T{}) for a T of numbers: not bool.
template <class Visitor>
void VisitNumber(DType dtype, Visitor&& visitor) {
  switch (dtype) {
    case DType::kUint8: return visitor(uint8_t{});
    case DType::kInt32: return visitor(int32_t{});
    case DType::kInt64: return visitor(int64_t{});
    default: return VisitFloating(dtype, visitor);
  }
}
// Calls visitor(T{}) with an unsigned type (or complex) as large as an element: for moving elements.
template <class Visitor>
void VisitElementSize(DType dtype, Visitor&& visitor) {
  switch (SizeOf(dtype)) {
    case 1: return visitor(uint8_t{});
    case 4: return visitor(uint32_t{});
    case 8: return visitor(uint64_t{});
    default: return visitor(std::complex<double>{});
  }
}

// dst[i . dst_strides] = src[i . src_strides] for all indices i of a shape. Strides count elements and may be negative.
void StridedCopy(DType dtype, std::span<const int64_t> dims, const std::byte* src, std::span<const int64_t> src_strides,
                 std::byte* dst, std::span<const int64_t> dst_strides);

// The reference of an elementwise op, and how its gradient is formed (null: it has none).
ReferenceFn ElementwiseReference(ScalarOp op);
GradientFn ElementwiseGradient(ScalarOp op);

}  // namespace weir

#endif  // WEIR_OPS_OP_ROWS_H_
