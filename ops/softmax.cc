// Softmax, log-softmax and cross entropy of logits with integer labels, on the last axis.
#include <limits>
#include <numeric>
#include <vector>

#include "weir/core/kernel_errors.h"
#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"
#include "weir/ops/reduce_loops.h"

namespace weir {
namespace {

std::vector<TensorType> InferSoftmax(const InferContext& context) {
  CheckFloating(context, {0});
  if (context.inputs[0].shape.rank() == 0) {
    ThrowInvalidArgument(DisplayName(context.op.name), ": a scalar has no axis ", TypeList(context.inputs));
  }
  return {context.inputs[0]};
}

std::vector<TensorType> InferCrossEntropy(const InferContext& context) {
  CheckFloating(context, {0});
  const Shape& logits = context.inputs[0].shape;
  const DType labels = context.inputs[1].dtype;
  if (labels != DType::kInt32 && labels != DType::kInt64) {
    ThrowInvalidArgument("SparseCrossEntropy: labels must be int32 or int64 ", TypeList(context.inputs));
  }
  if (logits.rank() == 0 ||
      context.inputs[1].shape != Shape(logits.dims().first(static_cast<size_t>(logits.rank() - 1)))) {
    ThrowInvalidArgument("SparseCrossEntropy: labels must have the shape of the logits without the last axis ",
                         TypeList(context.inputs));
  }
  if (logits.dim(-1) == 0) ThrowInvalidArgument("SparseCrossEntropy: no classes ", TypeList(context.inputs));
  return {{context.inputs[0].dtype, context.inputs[1].shape}};
}

// For each row: shifted[j] = x[j] - max, powers[j] = exp(shifted[j]), and sum of powers.
template <class T>
struct RowsLoop {
  const T* x;
  T* shifted;  // may be x itself, but not a part of another row
  T* powers;   // may be equal to `shifted`
  T* sums;
  int64_t rows, columns;

  [[gnu::always_inline]] static void Run(const RowsLoop& loop) {
    const MathOf<T> math;
    for (int64_t row = 0; row < loop.rows; ++row) {
      const T* x = loop.x + row * loop.columns;
      T *shifted = loop.shifted + row * loop.columns, *powers = loop.powers + row * loop.columns;
      const T max = ReduceRow<MaxReducer<T>>(x, loop.columns);
      for (int64_t j = 0; j < loop.columns; ++j) shifted[j] = math.Sub(x[j], max);
      for (int64_t j = 0; j < loop.columns; ++j) powers[j] = ScalarMath<MathOf<T>>::Exp(math, shifted[j]);
      loop.sums[row] = ReduceRow<SumReducer<T>>(powers, loop.columns);
    }
  }
};
template <class T>
struct DivideRowsLoop {
  T* y;
  const T* sums;
  int64_t rows, columns;
  [[gnu::always_inline]] static void Run(const DivideRowsLoop& loop) {
    for (int64_t row = 0; row < loop.rows; ++row) {
      T* y = loop.y + row * loop.columns;
      for (int64_t j = 0; j < loop.columns; ++j) y[j] = MathOf<T>::Div(y[j], loop.sums[row]);
    }
  }
};
template <class Loop, class T>
void RunTyped(const Loop& loop, T) {
  if constexpr (std::is_same_v<T, float>) {
    RunLoop(loop);
  } else {
    Loop::Run(loop);
  }
}

struct RowShape {
  int64_t rows, columns;
};
RowShape RowsOf(const Shape& shape) {
  const int64_t columns = shape.dim(-1);
  return {columns == 0 ? 0 : shape.size() / columns, columns};
}

void SoftmaxReference(const ReferenceCall& call) {
  const auto [rows, columns] = RowsOf(call.in_shape(0));
  VisitFloating(call.input_types[0].dtype, [&, rows = rows, columns = columns]<class T>(T zero) {
    std::vector<T> sums(static_cast<size_t>(rows));
    RunTyped(RowsLoop<T>{call.in<T>(0), call.out<T>(), call.out<T>(), sums.data(), rows, columns}, zero);
    RunTyped(DivideRowsLoop<T>{call.out<T>(), sums.data(), rows, columns}, zero);
  });
}
void LogSoftmaxReference(const ReferenceCall& call) {
  const auto [rows, columns] = RowsOf(call.in_shape(0));
  VisitFloating(call.input_types[0].dtype, [&, rows = rows, columns = columns]<class T>(T zero) {
    std::vector<T> sums(static_cast<size_t>(rows)), powers(static_cast<size_t>(rows * columns));
    T* y = call.out<T>();
    RunTyped(RowsLoop<T>{call.in<T>(0), y, powers.data(), sums.data(), rows, columns}, zero);
    const MathOf<T> math;
    for (int64_t row = 0; row < rows; ++row) {
      const T log = ScalarMath<MathOf<T>>::Log(math, sums[static_cast<size_t>(row)]);
      for (int64_t j = 0; j < columns; ++j) y[row * columns + j] = math.Sub(y[row * columns + j], log);
    }
  });
}
void CrossEntropyReference(const ReferenceCall& call) {
  const auto [rows, columns] = RowsOf(call.in_shape(0));
  const bool wide = call.input_types[1].dtype == DType::kInt64;
  VisitFloating(call.input_types[0].dtype, [&, rows = rows, columns = columns]<class T>(T zero) {
    std::vector<T> sums(static_cast<size_t>(rows)), shifted(static_cast<size_t>(rows * columns)), powers(shifted);
    RunTyped(RowsLoop<T>{call.in<T>(0), shifted.data(), powers.data(), sums.data(), rows, columns}, zero);
    const MathOf<T> math;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t label = wide ? call.in<int64_t>(1)[row] : call.in<int32_t>(1)[row];
      T& loss = call.out<T>()[row];
      if (label < 0 || label >= columns) {
        call.errors.OutOfRange("SparseCrossEntropy: label", row, label, 0, columns);
        loss = MathOf<T>::Const(std::numeric_limits<double>::quiet_NaN());
        continue;
      }
      loss = math.Sub(ScalarMath<MathOf<T>>::Log(math, sums[static_cast<size_t>(row)]),
                      shifted[static_cast<size_t>(row * columns + label)]);
    }
  });
}

double RowFlops(const AttrMap&, std::span<const TensorType> inputs, std::span<const TensorType>) {
  return 20.0 * static_cast<double>(inputs[0].shape.size());
}

// y (g - sum(g y)).
std::vector<Value> SoftmaxGradient(const GradientContext& context) {
  const Value y = context.output(), g = context.cotangent();
  return {y * (g - Sum(g * y, {-1}, /*keep_dims=*/true))};
}
// g - softmax(x) sum(g).
std::vector<Value> LogSoftmaxGradient(const GradientContext& context) {
  const Value y = context.output(), g = context.cotangent();
  return {g - Exp(y) * Sum(g, {-1}, /*keep_dims=*/true)};
}
// (softmax(x) - one_hot(label)) g.
std::vector<Value> CrossEntropyGradient(const GradientContext& context) {
  const Value x = context.input(0);
  Dims column = ToDims(context.output().shape());
  column.push_back(1);
  const Value hot = OneHot(context.input(1), x.shape().dim(-1), x.dtype());
  return {(Softmax(x) - hot) * Reshape(context.cotangent(), column), Value()};
}

// The op on another axis than the last: between two transposes.
Value OnAxis(const OpDef& op, const Operand& x, int axis, std::string_view name) {
  const Value value = FloatingOf(x, name);
  const int rank = value.shape().rank();
  const int normalized = CheckAt(value, x.where, [&] { return NormalizeAxis(axis, rank, name); });
  if (normalized == rank - 1) return Record(op, {value}, {}, x.where);
  std::vector<int64_t> swap(static_cast<size_t>(rank));
  std::iota(swap.begin(), swap.end(), 0);
  std::swap(swap[static_cast<size_t>(normalized)], swap[static_cast<size_t>(rank - 1)]);
  const Value turned = Transpose({value, x.where}, swap);
  return Transpose({Record(op, {turned}, {}, x.where), x.where}, swap);
}

}  // namespace

const OpDef& SoftmaxOp() {
  static constexpr OpDef kOp = {.name = "softmax",
                                .kind = OpKind::kAnchor,
                                .infer = InferSoftmax,
                                .gradient = SoftmaxGradient,
                                .reference = SoftmaxReference,
                                .flops = RowFlops};
  return kOp;
}
const OpDef& LogSoftmaxOp() {
  static constexpr OpDef kOp = {.name = "log_softmax",
                                .kind = OpKind::kAnchor,
                                .infer = InferSoftmax,
                                .gradient = LogSoftmaxGradient,
                                .reference = LogSoftmaxReference,
                                .flops = RowFlops};
  return kOp;
}
const OpDef& SparseCrossEntropyOp() {
  static constexpr OpDef kOp = {.name = "sparse_cross_entropy",
                                .kind = OpKind::kAnchor,
                                .infer = InferCrossEntropy,
                                .gradient = CrossEntropyGradient,
                                .reference = CrossEntropyReference,
                                .flops = RowFlops};
  return kOp;
}

Value Softmax(const Operand& x, int axis) { return OnAxis(SoftmaxOp(), x, axis, "Softmax"); }
Value LogSoftmax(const Operand& x, int axis) { return OnAxis(LogSoftmaxOp(), x, axis, "LogSoftmax"); }

}  // namespace weir
