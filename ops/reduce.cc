// Reductions over axes: sum, sum of squares, largest, smallest, position of the largest.
#include <algorithm>
#include <numeric>

#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"
#include "weir/ops/reduce_loops.h"

namespace weir {
namespace {

// ---- Shape rule
// ------------------------------------------------------------------------------------------------------
Shape ReducedShape(const Shape& input, const Dims& axes, bool keep_dims) {
  Dims dims;
  for (int axis = 0; axis < input.rank(); ++axis) {
    if (!std::binary_search(axes.begin(), axes.end(), axis)) {
      dims.push_back(input.dim(axis));
    } else if (keep_dims) {
      dims.push_back(1);
    }
  }
  return Shape(dims);
}

Shape CheckedReducedShape(const InferContext& context) {
  const Shape& input = context.inputs[0].shape;
  const Dims& axes = context.attrs.Ints(kAxes);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < 0 || axes[i] >= input.rank() || (i > 0 && axes[i] <= axes[i - 1])) {
      ThrowInvalidArgument(DisplayName(context.op.name), ": bad axes [", StrJoin(axes, ","), "] ",
                           TypeList(context.inputs));
    }
  }
  return ReducedShape(input, axes, context.attrs.Bool(kKeepDims));
}

std::vector<TensorType> InferReduce(const InferContext& context) {
  if (context.inputs[0].dtype == DType::kBool) {
    ThrowInvalidArgument(DisplayName(context.op.name), ": not defined for bool ", TypeList(context.inputs));
  }
  return {{context.inputs[0].dtype, CheckedReducedShape(context)}};
}

std::vector<TensorType> InferArgMax(const InferContext& context) {
  const Dims& axes = context.attrs.Ints(kAxes);
  const Shape shape = CheckedReducedShape(context);
  if (axes.size() != 1 || context.inputs[0].shape.dim(static_cast<int>(axes[0])) == 0) {
    ThrowInvalidArgument("Argmax: one axis that is not empty is needed ", TypeList(context.inputs));
  }
  return {{DType::kInt32, shape}};
}

// ---- Reference

// The axes after dropping those of size 1 and merging neighbours of one kind, outermost first.
struct MergedAxis {
  int64_t size;
  int64_t stride;  // elements of the input
  bool reduced;
};
std::vector<MergedAxis> MergeAxes(const Shape& shape, const Dims& axes) {
  const Dims strides = shape.Strides();
  std::vector<MergedAxis> merged;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape.dim(axis) == 1) continue;
    const bool reduced = std::binary_search(axes.begin(), axes.end(), axis);
    if (!merged.empty() && merged.back().reduced == reduced) {
      merged.back().size *= shape.dim(axis);
      merged.back().stride = strides[axis];
    } else {
      merged.push_back({shape.dim(axis), strides[axis], reduced});
    }
  }
  return merged;
}

// Offsets of all index tuples of the given axes, row-major.
std::vector<int64_t> Offsets(const std::vector<MergedAxis>& axes) {
  std::vector<int64_t> offsets = {0};
  for (const MergedAxis& axis : axes) {
    std::vector<int64_t> next;
    next.reserve(offsets.size() * static_cast<size_t>(axis.size));
    for (int64_t offset : offsets) {
      for (int64_t i = 0; i < axis.size; ++i) next.push_back(offset + i * axis.stride);
    }
    offsets = std::move(next);
  }
  return offsets;
}

// Row mode: each output sums contiguous runs of `run` elements, one at each of `others`.
template <class Reducer, class T>
struct RowLoop {
  const T* x;
  T* y;
  const std::vector<int64_t>& kept;
  const std::vector<int64_t>& others;
  int64_t run;

  [[gnu::always_inline]] static void Run(const RowLoop& loop) {
    for (size_t k = 0; k < loop.kept.size(); ++k) {
      T total = Reducer::Init();
      bool first = true;
      for (const int64_t other : loop.others) {
        for (int64_t begin = 0; begin < loop.run; begin += kReduceRowBlock) {
          const T block = ReduceRowBlock<Reducer>(loop.x + loop.kept[k] + other + begin,
                                                  std::min(kReduceRowBlock, loop.run - begin));
          total = first ? block : Reducer::Combine(total, block);
          first = false;
        }
      }
      loop.y[k] = total;
    }
  }
};

// Column mode: `columns` neighbouring outputs at a time, over the offsets `reduced`.
template <class Reducer, class T>
struct ColumnLoop {
  const T* x;
  T* y;
  const std::vector<int64_t>& kept;
  const std::vector<int64_t>& reduced;
  int64_t columns;

  [[gnu::always_inline]] static void Run(const ColumnLoop& loop) {
    constexpr int64_t kTile = 64;
    const int64_t count = static_cast<int64_t>(loop.reduced.size());
    for (size_t k = 0; k < loop.kept.size(); ++k) {
      for (int64_t column = 0; column < loop.columns; column += kTile) {
        const int64_t width = std::min(kTile, loop.columns - column);
        T total[kTile], acc[kTile];
        for (int64_t j = 0; j < width; ++j) total[j] = Reducer::Init();
        for (int64_t begin = 0; begin < count; begin += kReduceColumnBlock) {
          for (int64_t j = 0; j < width; ++j) acc[j] = Reducer::Init();
          for (int64_t r = begin; r < std::min(count, begin + kReduceColumnBlock); ++r) {
            const T* x = loop.x + loop.kept[k] + loop.reduced[static_cast<size_t>(r)] + column;
            for (int64_t j = 0; j < width; ++j) acc[j] = Reducer::Op(acc[j], x[j]);
          }
          for (int64_t j = 0; j < width; ++j) total[j] = begin == 0 ? acc[j] : Reducer::Combine(total[j], acc[j]);
        }
        std::copy_n(total, width, loop.y + static_cast<int64_t>(k) * loop.columns + column);
      }
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

template <template <class> class Reducer>
void Reduce(const ReferenceCall& call) {
  const Shape& shape = call.in_shape(0);
  VisitNumber(call.input_types[0].dtype, [&]<class T>(T zero) {
    if (shape.size() == 0) {
      std::fill_n(call.out<T>(), call.out_shape().size(), Reducer<T>::Init());
      return;
    }
    std::vector<MergedAxis> kept, reduced;
    bool row_mode = false;
    for (const MergedAxis& axis : MergeAxes(shape, call.attrs.Ints(kAxes))) {
      (axis.reduced ? reduced : kept).push_back(axis);
      row_mode = axis.reduced;
    }
    int64_t inner = 1;
    std::vector<MergedAxis>& innermost = row_mode ? reduced : kept;
    if (!innermost.empty()) {
      inner = innermost.back().size;
      innermost.pop_back();
    }
    const std::vector<int64_t> kept_offsets = Offsets(kept), reduced_offsets = Offsets(reduced);
    const T* x = call.in<T>(0);
    if (row_mode) {
      RunTyped(RowLoop<Reducer<T>, T>{x, call.out<T>(), kept_offsets, reduced_offsets, inner}, zero);
    } else {
      RunTyped(ColumnLoop<Reducer<T>, T>{x, call.out<T>(), kept_offsets, reduced_offsets, inner}, zero);
    }
  });
}

void ArgMaxReference(const ReferenceCall& call) {
  const Shape& shape = call.in_shape(0);
  const int axis = static_cast<int>(call.attrs.Ints(kAxes)[0]);
  int64_t outer = 1;
  for (int i = 0; i < axis; ++i) outer *= shape.dim(i);
  const int64_t count = shape.dim(axis), inner = shape.Strides()[axis];
  VisitDType(call.input_types[0].dtype, [&]<class T>(T) {
    using Math = MathOf<T>;
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        const T* x = call.in<T>(0) + o * count * inner + i;
        int64_t best = 0;
        for (int64_t j = 1; j < count && !Math::IsNan(x[best * inner]); ++j) {
          if (Math::Lt(x[best * inner], x[j * inner]) || Math::IsNan(x[j * inner])) best = j;
        }
        call.out<int32_t>()[o * inner + i] = static_cast<int32_t>(best);
      }
    }
  });
}

double ReduceFlops(const AttrMap&, std::span<const TensorType> inputs, std::span<const TensorType>) {
  return static_cast<double>(inputs[0].shape.size());
}

// ---- Gradients

// A reduction's output or cotangent under the input's rank: reduced axes of size 1.
Value WithKeptDims(const GradientContext& context, const Value& reduced) {
  return Reshape(reduced, ReducedShape(context.input(0).shape(), context.node.attrs.Ints(kAxes), true).dims());
}

std::vector<Value> SumGradient(const GradientContext& context) {
  return {BroadcastTo(WithKeptDims(context, context.cotangent()), context.input(0).shape())};
}

std::vector<Value> SumSquaresGradient(const GradientContext& context) {
  return {WithKeptDims(context, context.cotangent()) * (2.0 * context.input(0))};
}

// Shared equally among the elements that equal the extreme one.
std::vector<Value> ExtremeGradient(const GradientContext& context) {
  const Value x = context.input(0);
  const Value winner = Equal(x, WithKeptDims(context, context.output()));
  const Axes axes(context.node.attrs.Ints(kAxes).begin(), context.node.attrs.Ints(kAxes).end());
  const Value count = Sum(Cast(winner, x.dtype()), axes, /*keep_dims=*/true);
  return {Where(winner, WithKeptDims(context, context.cotangent()) / count, 0.0)};
}

std::vector<int64_t> NormalizedAxes(const Value& x, const Axes& axes, std::string_view op, std::source_location where) {
  std::vector<int64_t> normalized;
  if (axes.empty()) {
    normalized.resize(static_cast<size_t>(x.shape().rank()));
    std::iota(normalized.begin(), normalized.end(), 0);
    return normalized;
  }
  CheckAt(x, where, [&] {
    for (int64_t axis : axes) normalized.push_back(NormalizeAxis(axis, x.shape().rank(), op));
    std::sort(normalized.begin(), normalized.end());
    if (std::adjacent_find(normalized.begin(), normalized.end()) != normalized.end()) {
      ThrowInvalidArgument(op, ": an axis is given twice in [", StrJoin(axes, ","), "]");
    }
  });
  return normalized;
}

Value RecordReduce(const OpDef& op, const Value& x, std::span<const int64_t> axes, bool keep_dims,
                   std::source_location where) {
  return Record(op, {x}, {{kAxes, ToDims(axes)}, {kKeepDims, keep_dims}}, where);
}

// Small types are summed as int32.
Value Summand(const Operand& x, std::string_view op) {
  const Value& value = ValueOf(x, op);
  return value.dtype() == DType::kBool || value.dtype() == DType::kUint8 ? CastTo(value, DType::kInt32, x.where)
                                                                         : value;
}

}  // namespace

const OpDef& ReduceSumOp() {
  static constexpr OpDef kOp = {.name = "reduce_sum",
                                .kind = OpKind::kAnchor,
                                .infer = InferReduce,
                                .gradient = SumGradient,
                                .reference = Reduce<SumReducer>,
                                .flops = ReduceFlops};
  return kOp;
}
const OpDef& ReduceSumSquaresOp() {
  static constexpr OpDef kOp = {.name = "reduce_sum_squares",
                                .kind = OpKind::kAnchor,
                                .infer = InferReduce,
                                .gradient = SumSquaresGradient,
                                .reference = Reduce<SumSquaresReducer>,
                                .flops = ReduceFlops};
  return kOp;
}
const OpDef& ReduceMaxOp() {
  static constexpr OpDef kOp = {.name = "reduce_max",
                                .kind = OpKind::kAnchor,
                                .infer = InferReduce,
                                .gradient = ExtremeGradient,
                                .reference = Reduce<MaxReducer>,
                                .flops = ReduceFlops};
  return kOp;
}
const OpDef& ReduceMinOp() {
  static constexpr OpDef kOp = {.name = "reduce_min",
                                .kind = OpKind::kAnchor,
                                .infer = InferReduce,
                                .gradient = ExtremeGradient,
                                .reference = Reduce<MinReducer>,
                                .flops = ReduceFlops};
  return kOp;
}
const OpDef& ArgMaxOp() {
  static constexpr OpDef kOp = {.name = "argmax",
                                .kind = OpKind::kAnchor,
                                .infer = InferArgMax,
                                .reference = ArgMaxReference,
                                .flops = ReduceFlops};
  return kOp;
}

Value Sum(const Operand& x, const Axes& axes, bool keep_dims) {
  const Value value = Summand(x, "Sum");
  return RecordReduce(ReduceSumOp(), value, NormalizedAxes(value, axes, "Sum", x.where), keep_dims, x.where);
}
Value SumSquares(const Operand& x, const Axes& axes, bool keep_dims) {
  const Value value = Summand(x, "SumSquares");
  return RecordReduce(ReduceSumSquaresOp(), value, NormalizedAxes(value, axes, "SumSquares", x.where), keep_dims,
                      x.where);
}
Value Mean(const Operand& x, const Axes& axes, bool keep_dims) {
  const Value value = FloatingOf(x, "Mean");
  const std::vector<int64_t> normalized = NormalizedAxes(value, axes, "Mean", x.where);
  double count = 1;
  for (int64_t axis : normalized) count *= static_cast<double>(value.shape().dim(static_cast<int>(axis)));
  const Value sum = RecordReduce(ReduceSumOp(), value, normalized, keep_dims, x.where);
  return Operand(sum, x.where) / Operand(count, x.where);
}
Value Max(const Operand& x, const Axes& axes, bool keep_dims) {
  const Value& value = ValueOf(x, "Max");
  return RecordReduce(ReduceMaxOp(), value, NormalizedAxes(value, axes, "Max", x.where), keep_dims, x.where);
}
Value Min(const Operand& x, const Axes& axes, bool keep_dims) {
  const Value& value = ValueOf(x, "Min");
  return RecordReduce(ReduceMinOp(), value, NormalizedAxes(value, axes, "Min", x.where), keep_dims, x.where);
}
Value ArgMax(const Operand& x, int axis) {
  const Value& value = ValueOf(x, "ArgMax");
  const Axes axes = {axis};
  return RecordReduce(ArgMaxOp(), value, NormalizedAxes(value, axes, "ArgMax", x.where), false, x.where);
}

Value SumToShape(const Value& value, const Shape& shape) {
  const Shape& from = value.shape();
  if (from == shape) return value;
  const int lead = from.rank() - shape.rank();
  Axes axes;
  for (int axis = 0; axis < from.rank(); ++axis) {
    if (axis < lead || (shape.dim(axis - lead) == 1 && from.dim(axis) != 1)) axes.push_back(axis);
  }
  const Value sum = axes.empty() ? value : Sum(value, axes, /*keep_dims=*/true);
  return Reshape(sum, shape.dims());
}

}  // namespace weir
