#include "weir/ops/op_rows.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>

#include "weir/ops/ops.h"

namespace weir {
namespace {

// Never recorded: its shape rule always throws, so a mistake found before there is a node gets layer path and line.
std::vector<TensorType> Reject(const InferContext& context) {
  throw Error(static_cast<absl::StatusCode>(context.attrs.Int("code")), context.attrs.String("message"));
}
constexpr OpDef kRejectOp = {.name = "reject", .kind = OpKind::kOpaque, .infer = Reject};

bool IsIntegral(double number) { return std::nearbyint(number) == number; }

// Whether an integer type holds the number exactly.
bool Holds(DType dtype, double number) {
  switch (dtype) {
    case DType::kUint8: return number >= 0 && number <= 255;
    case DType::kInt32: return number >= -0x1p31 && number < 0x1p31;
    case DType::kInt64: return number >= -0x1p63 && number < 0x1p63;
    default: return true;
  }
}

}  // namespace

void ThrowAt(Graph& graph, std::source_location where, absl::StatusCode code, std::string message) {
  graph.Append(kRejectOp, {}, {{"code", static_cast<int64_t>(code)}, {"message", std::move(message)}}, where);
  WEIR_CHECK(false);
}

Value Record(const OpDef& op, std::span<const Value> inputs, AttrMap attrs, std::source_location where) {
  WEIR_CHECK(!inputs.empty());
  absl::InlinedVector<Ref, 4> refs;
  const std::shared_ptr<Graph>& graph = inputs[0].graph;
  for (const Value& input : inputs) {
    if (!input.defined()) ThrowInvalidArgument(DisplayName(op.name), ": an operand is an undefined Value");
    if (input.graph != graph) {
      ThrowAt(*graph, where, absl::StatusCode::kInvalidArgument,
              StrCat(DisplayName(op.name), ": operands are of two graphs"));
    }
    refs.push_back(input.ref);
  }
  return graph->value({graph->Append(op, {refs.data(), refs.size()}, std::move(attrs), where), 0});
}

const Value& ValueOf(const Operand& x, std::string_view op) {
  if (!x.value.defined()) {
    ThrowInvalidArgument(DisplayName(op),
                         ": a plain number or an undefined Value belongs to no graph; use Constant, at ",
                         ShortLocation(x.where.file_name(), static_cast<int>(x.where.line())));
  }
  return x.value;
}

bool IsValue(const Operand& x, std::string_view op) {
  if (!x.value.defined() && !x.is_number) {
    ThrowInvalidArgument(DisplayName(op), ": an operand is an undefined Value, at ",
                         ShortLocation(x.where.file_name(), static_cast<int>(x.where.line())));
  }
  return !x.is_number;
}

Value CastTo(const Value& x, DType dtype, std::source_location where) {
  if (x.dtype() == dtype) return x;
  return Record(ElementwiseOp(ScalarOp::kCast), {x}, {{kDType, dtype}}, where);
}

Value FloatingOf(const Operand& x, std::string_view op) {
  const Value& value = ValueOf(x, op);
  return IsFloating(value.dtype()) ? value : CastTo(value, DType::kFloat32, x.where);
}

std::vector<Value> Common(std::string_view op, std::initializer_list<const Operand*> operands, bool floating,
                          DType least) {
  const Operand* first = nullptr;
  DType dtype = least;
  bool fraction = false;
  for (const Operand* operand : operands) {
    if (IsValue(*operand, op)) {
      if (first == nullptr) first = operand;
      dtype = Promote(dtype, operand->value.dtype());
    } else if (!IsIntegral(operand->number)) {
      fraction = true;
    }
  }
  if (first == nullptr) ValueOf(**operands.begin(), op);  // throws
  if (dtype == DType::kBool) dtype = DType::kInt32;
  if ((floating || fraction) && !IsFloating(dtype)) dtype = DType::kFloat32;
  std::vector<Value> values;
  values.reserve(operands.size());
  for (const Operand* operand : operands) {
    if (IsValue(*operand, op)) {
      values.push_back(CastTo(operand->value, dtype, operand->where));
    } else {
      if (!Holds(dtype, operand->number)) {
        ThrowAt(*first->value.graph, operand->where, absl::StatusCode::kOutOfRange,
                StrCat(DisplayName(op), ": ", operand->number, " is out of range for ", Name(dtype)));
      }
      values.push_back(Constant(*first->value.graph, operand->number, dtype, {}, operand->where));
    }
  }
  return values;
}

Value Elementwise(ScalarOp op, std::initializer_list<Value> inputs, std::source_location where, AttrMap attrs) {
  return Record(ElementwiseOp(op), inputs, std::move(attrs), where);
}

std::string DisplayName(std::string_view op_name) {
  std::string name;
  bool upper = true;
  for (char c : op_name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    name += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return name;
}

std::string TypeList(std::span<const TensorType> types) { return StrCat("(", StrJoin(types, ", "), ")"); }

void CheckFloating(const InferContext& context, std::initializer_list<int> inputs) {
  for (int i : inputs) {
    if (!IsFloating(context.inputs[i].dtype)) {
      ThrowInvalidArgument(DisplayName(context.op.name), ": operand ", i, " is not of a floating type ",
                           TypeList(context.inputs));
    }
  }
}

void CheckSameDType(const InferContext& context, int a, int b) {
  if (context.inputs[a].dtype != context.inputs[b].dtype) {
    ThrowInvalidArgument(DisplayName(context.op.name), ": operands have different types ", TypeList(context.inputs));
  }
}

namespace {

template <class T>
void CopyAxis(int axis, std::span<const int64_t> dims, const T* src, std::span<const int64_t> src_strides, T* dst,
              std::span<const int64_t> dst_strides) {
  const int64_t count = dims[axis], s = src_strides[axis], d = dst_strides[axis];
  if (axis + 1 < static_cast<int>(dims.size())) {
    for (int64_t i = 0; i < count; ++i) CopyAxis(axis + 1, dims, src + i * s, src_strides, dst + i * d, dst_strides);
  } else if (s == 1 && d == 1) {
    std::memcpy(static_cast<void*>(dst), src, static_cast<size_t>(count) * sizeof(T));
  } else {
    for (int64_t i = 0; i < count; ++i) dst[i * d] = src[i * s];
  }
}

}  // namespace

void StridedCopy(DType dtype, std::span<const int64_t> dims, const std::byte* src, std::span<const int64_t> src_strides,
                 std::byte* dst, std::span<const int64_t> dst_strides) {
  for (int64_t dim : dims) {
    if (dim == 0) return;
  }
  VisitElementSize(dtype, [&]<class T>(T) {
    const T* from = reinterpret_cast<const T*>(src);
    T* to = reinterpret_cast<T*>(dst);
    if (dims.empty()) {
      *to = *from;
    } else {
      CopyAxis(0, dims, from, src_strides, to, dst_strides);
    }
  });
}

}  // namespace weir
