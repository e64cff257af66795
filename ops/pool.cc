// Pooling: rows, shape rules, references, gradients, user functions. Max pooling says where each window's winner lies,
// so that its gradients, which move values to and from there, need not have x.
#include <algorithm>
#include <limits>
#include <vector>

#include "weir/ops/conv_geometry.h"
#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"
#include "weir/ops/scalar_float.h"
#include "weir/ops/window_rules.h"

namespace weir {
namespace {

// ---- Shape rules
// -----------------------------------------------------------------------------------------------------
std::string Label(std::string_view name, const Shape& input) {
  const int spatial = input.rank() - 2;
  return spatial >= 1 && spatial <= 3 ? StrCat(name, spatial, "D") : std::string(name);
}

Shape CheckedOutput(const InferContext& context, const Shape& input) {
  const std::string op = Label(DisplayName(context.op.name), input);
  const std::string operands = TypeList(context.inputs);
  if (input.rank() < 3 || input.rank() > 5) {
    ThrowInvalidArgument(op, ": input needs batch, one to three spatial axes and channels ", operands);
  }
  const size_t spatial = static_cast<size_t>(input.rank() - 2);
  const Dims& window = context.attrs.Ints(kWindow);
  const std::span<const int64_t> windows(window.data(), window.size());
  const Dims sizes = CheckWindows(op, context.attrs, input, windows, operands);
  int64_t cells = 1;
  for (int64_t size : windows) {
    if (!__builtin_mul_overflow(cells, size, &cells) && cells <= std::numeric_limits<int32_t>::max()) continue;
    ThrowInvalidArgument(op, ": a window of ", Times(windows), " has too many cells, at most ",
                         std::numeric_limits<int32_t>::max(), " can be counted ", operands);
  }
  for (size_t i = 0; i < spatial; ++i) {
    for (std::string_view key : {kPadBefore, kPadAfter}) {
      if (context.attrs.Ints(key)[i] >= window[i]) {
        ThrowInvalidArgument(op, ": padding ", context.attrs.Ints(key)[i], " is not smaller than the window ",
                             Times(windows), " ", operands);
      }
    }
  }
  Dims dims = {input.dim(0)};
  dims.insert(dims.end(), sizes.begin(), sizes.end());
  dims.push_back(input.dim(-1));
  return Shape(dims);
}

void CheckShape(const InferContext& context, int input, const Shape& expected) {
  if (context.inputs[input].shape != expected) {
    ThrowInvalidArgument(DisplayName(context.op.name), ": operand ", input, " should have shape ", expected, " ",
                         TypeList(context.inputs));
  }
}

DType IndexType(const InferContext& context) {
  int64_t cells = 1;
  for (int64_t size : context.attrs.Ints(kWindow)) cells *= size;  // fits: CheckedOutput comes first
  return cells <= 256 ? DType::kUint8 : DType::kInt32;
}
void CheckIndex(const InferContext& context, const Shape& windows) {
  CheckShape(context, 1, windows);
  const DType dtype = context.inputs[1].dtype, expected = IndexType(context);
  if (dtype != expected) {
    ThrowInvalidArgument(DisplayName(context.op.name), ": the index is ", dtype, ", expected ", expected,
                         " for windows of ", Times(context.attrs.Ints(kWindow)), " ", TypeList(context.inputs));
  }
}

std::vector<TensorType> InferMaxPool(const InferContext& context) {
  if (context.inputs[0].dtype == DType::kBool) {
    ThrowInvalidArgument("MaxPool: not defined for bool ", TypeList(context.inputs));
  }
  const Shape output = CheckedOutput(context, context.inputs[0].shape);
  return {{context.inputs[0].dtype, output}, {IndexType(context), output}};
}
std::vector<TensorType> InferMaxPoolGradient(const InferContext& context) {  // dy, index
  CheckFloating(context, {0});
  const Shape input(context.attrs.Ints(kInputShape)), output = CheckedOutput(context, input);
  CheckShape(context, 0, output);
  CheckIndex(context, output);
  return {{context.inputs[0].dtype, input}};
}
std::vector<TensorType> InferMaxPoolGather(const InferContext& context) {  // t, index
  CheckFloating(context, {0});
  const Shape output = CheckedOutput(context, context.inputs[0].shape);
  CheckIndex(context, output);
  return {{context.inputs[0].dtype, output}};
}
std::vector<TensorType> InferAveragePool(const InferContext& context) {
  CheckFloating(context, {0});
  return {{context.inputs[0].dtype, CheckedOutput(context, context.inputs[0].shape)}};
}
std::vector<TensorType> InferAveragePoolGradient(const InferContext& context) {  // dy
  CheckFloating(context, {0});
  const Shape input(context.attrs.Ints(kInputShape));
  CheckShape(context, 0, CheckedOutput(context, input));
  return {{context.inputs[0].dtype, input}};
}

// ---- References

struct Cell {
  int64_t position;  // in the input, without channels
  int32_t index;     // in the window, row-major, cells in the padding counted too
};

// Calls visit(output position, cells inside the input in row-major order) for all windows of an image, in row-major
// order. Positions count spatial cells, without channels.
template <class Visit>
void ForEachWindow(const ConvGeometry& geometry, Visit&& visit) {
  const SpatialAxis* axis = geometry.axis;
  std::vector<Cell> cells;
  int64_t position = 0;
  int64_t begin[3], low[3], high[3], out[3];
  for (out[0] = 0; out[0] < axis[0].output; ++out[0]) {
    for (out[1] = 0; out[1] < axis[1].output; ++out[1]) {
      for (out[2] = 0; out[2] < axis[2].output; ++out[2], ++position) {
        for (int i = 0; i < 3; ++i) {
          begin[i] = out[i] * axis[i].stride - axis[i].pad_before;
          low[i] = std::max<int64_t>(begin[i], 0);
          high[i] = std::min(begin[i] + axis[i].window, axis[i].input);
        }
        cells.clear();
        for (int64_t a = low[0]; a < high[0]; ++a) {
          for (int64_t b = low[1]; b < high[1]; ++b) {
            for (int64_t c = low[2]; c < high[2]; ++c) {
              const int64_t row = (a - begin[0]) * axis[1].window + (b - begin[1]);
              cells.push_back({(a * axis[1].input + b) * axis[2].input + c,
                               static_cast<int32_t>(row * axis[2].window + (c - begin[2]))});
            }
          }
        }
        visit(position, cells);
      }
    }
  }
}

// The cell of a window with the first largest value of a channel; a NaN is larger than any number.
template <class T>
Cell Winner(const T* channel, int64_t channels, const std::vector<Cell>& cells) {
  using Math = MathOf<T>;
  Cell best = cells[0];
  for (const Cell& cell : cells) {
    const T value = channel[cell.position * channels], champion = channel[best.position * channels];
    if (Math::Lt(champion, value) || (Math::IsNan(value) && !Math::IsNan(champion))) best = cell;
  }
  return best;
}

// Calls visit(offset into the output, offset of the winner in the input) for all windows and channels; an index that
// names no cell inside the input has no winner.
template <class Visit>
void ForEachIndexed(const ReferenceCall& call, const ConvGeometry& geometry, Visit&& visit) {
  const int64_t channels = geometry.in_channels;
  const auto index_at = [&](int64_t i) {
    return call.input_types[1].dtype == DType::kUint8 ? int32_t{call.in<uint8_t>(1)[i]} : call.in<int32_t>(1)[i];
  };
  for (int64_t n = 0; n < geometry.batch; ++n) {
    const int64_t in = n * geometry.in_positions() * channels, out = n * geometry.out_positions() * channels;
    ForEachWindow(geometry, [&](int64_t position, const std::vector<Cell>& cells) {
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t at = out + position * channels + c;
        for (const Cell& cell : cells) {
          if (cell.index == index_at(at)) visit(at, in + cell.position * channels + c);
        }
      }
    });
  }
}

void MaxPoolReference(const ReferenceCall& call) {
  const ConvGeometry geometry = PoolGeometryOf(call.attrs, call.in_shape(0));
  const int64_t channels = geometry.in_channels;
  VisitNumber(call.input_types[0].dtype, [&]<class T>(T) {
    for (int64_t n = 0; n < geometry.batch; ++n) {
      const T* x = call.in<T>(0) + n * geometry.in_positions() * channels;
      ForEachWindow(geometry, [&](int64_t position, const std::vector<Cell>& cells) {
        for (int64_t c = 0; c < channels; ++c) {
          const Cell winner = Winner(x + c, channels, cells);
          const int64_t at = (n * geometry.out_positions() + position) * channels + c;
          call.out<T>(0)[at] = x[winner.position * channels + c];
          if (call.output_types[1].dtype == DType::kUint8) {
            call.out<uint8_t>(1)[at] = static_cast<uint8_t>(winner.index);
          } else {
            call.out<int32_t>(1)[at] = winner.index;
          }
        }
      });
    }
  });
}
void MaxPoolGradientReference(const ReferenceCall& call) {
  const ConvGeometry geometry = PoolGeometryOf(call.attrs, call.out_shape());
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    T* dx = call.out<T>();
    std::fill_n(dx, call.out_shape().size(), T(0));
    ForEachIndexed(call, geometry, [&](int64_t out, int64_t winner) { dx[winner] += call.in<T>(0)[out]; });
  });
}
void MaxPoolGatherReference(const ReferenceCall& call) {
  const ConvGeometry geometry = PoolGeometryOf(call.attrs, call.in_shape(0));
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    std::fill_n(call.out<T>(), call.out_shape().size(), T(0));
    ForEachIndexed(call, geometry, [&](int64_t out, int64_t winner) { call.out<T>()[out] = call.in<T>(0)[winner]; });
  });
}
void AveragePoolReference(const ReferenceCall& call) {
  const ConvGeometry geometry = PoolGeometryOf(call.attrs, call.in_shape(0));
  const int64_t channels = geometry.in_channels;
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    for (int64_t n = 0; n < geometry.batch; ++n) {
      const T* x = call.in<T>(0) + n * geometry.in_positions() * channels;
      T* y = call.out<T>() + n * geometry.out_positions() * channels;
      ForEachWindow(geometry, [&](int64_t position, const std::vector<Cell>& cells) {
        const T count = MathOf<T>::Const(static_cast<double>(cells.size()));
        for (int64_t c = 0; c < channels; ++c) {
          T sum(0);
          for (const Cell& cell : cells) sum += x[cell.position * channels + c];
          y[position * channels + c] = MathOf<T>::Div(sum, count);
        }
      });
    }
  });
}
void AveragePoolGradientReference(const ReferenceCall& call) {
  const ConvGeometry geometry = PoolGeometryOf(call.attrs, call.out_shape());
  const int64_t channels = geometry.in_channels;
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    std::fill_n(call.out<T>(), call.out_shape().size(), T(0));
    for (int64_t n = 0; n < geometry.batch; ++n) {
      const T* dy = call.in<T>(0) + n * geometry.out_positions() * channels;
      T* dx = call.out<T>() + n * geometry.in_positions() * channels;
      ForEachWindow(geometry, [&](int64_t position, const std::vector<Cell>& cells) {
        const T count = MathOf<T>::Const(static_cast<double>(cells.size()));
        for (const Cell& cell : cells) {
          for (int64_t c = 0; c < channels; ++c) {
            dx[cell.position * channels + c] += MathOf<T>::Div(dy[position * channels + c], count);
          }
        }
      });
    }
  });
}

double PoolFlops(const AttrMap& attrs, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  // Of input and output the larger is the pooled tensor, whichever op this is.
  const Shape& out = outputs[0].shape.size() < inputs[0].shape.size() ? outputs[0].shape : inputs[0].shape;
  double taps = 1;
  for (int64_t size : attrs.Ints(kWindow)) taps *= static_cast<double>(size);
  return taps * static_cast<double>(out.size());
}

// ---- Gradients
// -------------------------------------------------------------------------------------------------------
std::vector<Value> MaxPoolBackward(const GradientContext& context) {
  return {MaxPoolGradient(context.cotangent(), context.output(1), context.node.attrs, context.input(0).shape())};
}
std::vector<Value> MaxPoolGradientBackward(const GradientContext& context) {
  return {MaxPoolGather(context.cotangent(), context.input(1), context.node.attrs), Value()};
}
std::vector<Value> MaxPoolGatherBackward(const GradientContext& context) {
  const Shape& input = context.input(0).shape();
  return {MaxPoolGradient(context.cotangent(), context.input(1), context.node.attrs, input), Value()};
}
std::vector<Value> AveragePoolBackward(const GradientContext& context) {
  return {AveragePoolGradient(context.cotangent(), context.node.attrs, context.input(0).shape())};
}

AttrMap SharedAttrs(const AttrMap& attrs) {
  AttrMap shared;
  for (std::string_view key : {kWindow, kStrides, kPadBefore, kPadAfter}) shared.Set(key, *attrs.Find(key));
  return shared;
}
AttrMap AttrsWithInput(const AttrMap& pool_attrs, const Shape& input) {
  AttrMap attrs = SharedAttrs(pool_attrs);
  attrs.Set(kInputShape, ToDims(input));
  return attrs;
}
std::vector<Value> AveragePoolGradientBackward(const GradientContext& context) {
  return {
      Record(AveragePoolOp(), {context.cotangent()}, SharedAttrs(context.node.attrs), std::source_location::current())};
}

AttrMap PoolAttrs(std::string_view name, const Value& x, std::source_location where, const PoolOptions& options) {
  return CheckAt(x, where, [&]() -> AttrMap {
    const Shape& input = x.shape();
    const size_t axes = static_cast<size_t>(std::max(input.rank() - 2, 0));
    const Dims window = options.window.empty() ? Dims(axes, 2) : ToDims(options.window);
    const Dims strides = options.strides.empty() ? window : ToDims(options.strides);
    ResolvedPadding padding{Dims(axes, 0), Dims(axes, 0)};
    if (axes > 0) {
      if (options.padding == "causal") ThrowInvalidArgument(name, ": padding 'causal' is for convolutions");
      padding = ResolveWindows(Label(name, input), options.padding, input.dims().subspan(1, axes),
                               {window.data(), window.size()}, strides, Dims(axes, 1), options.padding_before,
                               options.padding_after);
    }
    return {{kWindow, window}, {kStrides, strides}, {kPadBefore, padding.before}, {kPadAfter, padding.after}};
  });
}

}  // namespace

const OpDef& MaxPoolOp() {
  static constexpr OpDef kOp = {.name = "max_pool",
                                .kind = OpKind::kAnchor,
                                .infer = InferMaxPool,
                                .gradient = MaxPoolBackward,
                                .reference = MaxPoolReference,
                                .flops = PoolFlops};
  return kOp;
}
const OpDef& MaxPoolGradientOp() {
  static constexpr OpDef kOp = {.name = "max_pool_gradient",
                                .kind = OpKind::kAnchor,
                                .infer = InferMaxPoolGradient,
                                .gradient = MaxPoolGradientBackward,
                                .reference = MaxPoolGradientReference,
                                .flops = PoolFlops};
  return kOp;
}
const OpDef& MaxPoolGatherOp() {
  static constexpr OpDef kOp = {.name = "max_pool_gather",
                                .kind = OpKind::kAnchor,
                                .infer = InferMaxPoolGather,
                                .gradient = MaxPoolGatherBackward,
                                .reference = MaxPoolGatherReference,
                                .flops = PoolFlops};
  return kOp;
}
const OpDef& AveragePoolOp() {
  static constexpr OpDef kOp = {.name = "average_pool",
                                .kind = OpKind::kAnchor,
                                .infer = InferAveragePool,
                                .gradient = AveragePoolBackward,
                                .reference = AveragePoolReference,
                                .flops = PoolFlops};
  return kOp;
}
const OpDef& AveragePoolGradientOp() {
  static constexpr OpDef kOp = {.name = "average_pool_gradient",
                                .kind = OpKind::kAnchor,
                                .infer = InferAveragePoolGradient,
                                .gradient = AveragePoolGradientBackward,
                                .reference = AveragePoolGradientReference,
                                .flops = PoolFlops};
  return kOp;
}

MaxPooled MaxPoolWithIndex(const Operand& x, const PoolOptions& options) {
  const Value& value = ValueOf(x, "MaxPool");
  const Value values = Record(MaxPoolOp(), {value}, PoolAttrs("MaxPool", value, x.where, options), x.where);
  return {values, values.graph->value({values.ref.node, 1})};
}
Value MaxPool(const Operand& x, const PoolOptions& options) { return MaxPoolWithIndex(x, options).values; }
Value AveragePool(const Operand& x, const PoolOptions& options) {
  const Value value = FloatingOf(x, "AveragePool");
  return Record(AveragePoolOp(), {value}, PoolAttrs("AveragePool", value, x.where, options), x.where);
}
Value MaxPoolGradient(const Value& dy, const Value& index, const AttrMap& pool_attrs, const Shape& input_shape) {
  return Record(MaxPoolGradientOp(), {dy, index}, AttrsWithInput(pool_attrs, input_shape),
                std::source_location::current());
}
Value MaxPoolGather(const Value& t, const Value& index, const AttrMap& pool_attrs) {
  return Record(MaxPoolGatherOp(), {t, index}, SharedAttrs(pool_attrs), std::source_location::current());
}
Value AveragePoolGradient(const Value& dy, const AttrMap& pool_attrs, const Shape& input_shape) {
  return Record(AveragePoolGradientOp(), {dy}, AttrsWithInput(pool_attrs, input_shape),
                std::source_location::current());
}

}  // namespace weir
