// Pooling: rows, shape rules, references, gradients, user functions. Gradients of max pooling move values to and from
// the winner of each window, found again from x.
#include <algorithm>
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
  const Dims sizes = CheckWindows(op, context.attrs, input.dims().subspan(1, spatial), windows, operands);
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

std::vector<TensorType> InferMaxPool(const InferContext& context) {
  if (context.inputs[0].dtype == DType::kBool) {
    ThrowInvalidArgument("MaxPool: not defined for bool ", TypeList(context.inputs));
  }
  return {{context.inputs[0].dtype, CheckedOutput(context, context.inputs[0].shape)}};
}
std::vector<TensorType> InferMaxPoolGradient(const InferContext& context) {  // x, dy
  CheckSameDType(context, 0, 1);
  CheckFloating(context, {0});
  CheckShape(context, 1, CheckedOutput(context, context.inputs[0].shape));
  return {context.inputs[0]};
}
std::vector<TensorType> InferMaxPoolGather(const InferContext& context) {  // x, t
  CheckSameDType(context, 0, 1);
  CheckFloating(context, {0});
  CheckShape(context, 1, context.inputs[0].shape);
  return {{context.inputs[0].dtype, CheckedOutput(context, context.inputs[0].shape)}};
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

// Calls visit(output position, cells inside the input in row-major order) for all windows of an image, in row-major
// order. Positions count spatial cells, without channels.
template <class Visit>
void ForEachWindow(const ConvGeometry& geometry, Visit&& visit) {
  const SpatialAxis* axis = geometry.axis;
  std::vector<int64_t> cells;
  int64_t position = 0;
  int64_t low[3], high[3], out[3];
  for (out[0] = 0; out[0] < axis[0].output; ++out[0]) {
    for (out[1] = 0; out[1] < axis[1].output; ++out[1]) {
      for (out[2] = 0; out[2] < axis[2].output; ++out[2], ++position) {
        for (int i = 0; i < 3; ++i) {
          const int64_t begin = out[i] * axis[i].stride - axis[i].pad_before;
          low[i] = std::max<int64_t>(begin, 0);
          high[i] = std::min(begin + axis[i].window, axis[i].input);
        }
        cells.clear();
        for (int64_t a = low[0]; a < high[0]; ++a) {
          for (int64_t b = low[1]; b < high[1]; ++b) {
            for (int64_t c = low[2]; c < high[2]; ++c) cells.push_back((a * axis[1].input + b) * axis[2].input + c);
          }
        }
        visit(position, cells);
      }
    }
  }
}

// The cell of a window with the first largest value of a channel; a NaN is larger than any number.
template <class T>
int64_t Winner(const T* channel, int64_t channels, const std::vector<int64_t>& cells) {
  using Math = MathOf<T>;
  int64_t best = cells[0];
  for (int64_t cell : cells) {
    const T value = channel[cell * channels], champion = channel[best * channels];
    if (Math::Lt(champion, value) || (Math::IsNan(value) && !Math::IsNan(champion))) best = cell;
  }
  return best;
}

// Calls visit(offset into the output, offset of the winner in x) for all windows and channels.
template <class T, class Visit>
void ForEachWinner(const ConvGeometry& geometry, const T* x, Visit&& visit) {
  const int64_t channels = geometry.in_channels;
  for (int64_t n = 0; n < geometry.batch; ++n) {
    const int64_t in = n * geometry.in_positions() * channels, out = n * geometry.out_positions() * channels;
    ForEachWindow(geometry, [&](int64_t position, const std::vector<int64_t>& cells) {
      for (int64_t c = 0; c < channels; ++c) {
        visit(out + position * channels + c, in + Winner(x + in + c, channels, cells) * channels + c);
      }
    });
  }
}

void MaxPoolReference(const ReferenceCall& call) {
  const ConvGeometry geometry = PoolGeometryOf(call.attrs, call.in_shape(0));
  VisitNumber(call.input_types[0].dtype, [&]<class T>(T) {
    const T* x = call.in<T>(0);
    ForEachWinner(geometry, x, [&](int64_t out, int64_t winner) { call.out<T>()[out] = x[winner]; });
  });
}
void MaxPoolGradientReference(const ReferenceCall& call) {
  const ConvGeometry geometry = PoolGeometryOf(call.attrs, call.in_shape(0));
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    T* dx = call.out<T>();
    std::fill_n(dx, call.out_shape().size(), T(0));
    ForEachWinner(geometry, call.in<T>(0), [&](int64_t out, int64_t winner) { dx[winner] += call.in<T>(1)[out]; });
  });
}
void MaxPoolGatherReference(const ReferenceCall& call) {
  const ConvGeometry geometry = PoolGeometryOf(call.attrs, call.in_shape(0));
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    ForEachWinner(geometry, call.in<T>(0),
                  [&](int64_t out, int64_t winner) { call.out<T>()[out] = call.in<T>(1)[winner]; });
  });
}
void AveragePoolReference(const ReferenceCall& call) {
  const ConvGeometry geometry = PoolGeometryOf(call.attrs, call.in_shape(0));
  const int64_t channels = geometry.in_channels;
  VisitFloating(call.input_types[0].dtype, [&]<class T>(T) {
    for (int64_t n = 0; n < geometry.batch; ++n) {
      const T* x = call.in<T>(0) + n * geometry.in_positions() * channels;
      T* y = call.out<T>() + n * geometry.out_positions() * channels;
      ForEachWindow(geometry, [&](int64_t position, const std::vector<int64_t>& cells) {
        const T count = MathOf<T>::Const(static_cast<double>(cells.size()));
        for (int64_t c = 0; c < channels; ++c) {
          T sum(0);
          for (int64_t cell : cells) sum += x[cell * channels + c];
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
      ForEachWindow(geometry, [&](int64_t position, const std::vector<int64_t>& cells) {
        const T count = MathOf<T>::Const(static_cast<double>(cells.size()));
        for (int64_t cell : cells) {
          for (int64_t c = 0; c < channels; ++c) {
            dx[cell * channels + c] += MathOf<T>::Div(dy[position * channels + c], count);
          }
        }
      });
    }
  });
}

double PoolFlops(const AttrMap& attrs, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  // Of input and output the larger is the pooled tensor, whichever op this is.
  const Shape& out = outputs[0].shape.size() < inputs[0].shape.size() ? outputs[0].shape : inputs.back().shape;
  double taps = 1;
  for (int64_t size : attrs.Ints(kWindow)) taps *= static_cast<double>(size);
  return taps * static_cast<double>(out.size());
}

// ---- Gradients
// -------------------------------------------------------------------------------------------------------
std::vector<Value> MaxPoolBackward(const GradientContext& context) {
  return {MaxPoolGradient(context.input(0), context.cotangent(), context.node.attrs)};
}
std::vector<Value> MaxPoolGradientBackward(const GradientContext& context) {  // in dy; winners don't move
  return {Value(), MaxPoolGather(context.input(0), context.cotangent(), context.node.attrs)};
}
std::vector<Value> MaxPoolGatherBackward(const GradientContext& context) {
  return {Value(), MaxPoolGradient(context.input(0), context.cotangent(), context.node.attrs)};
}
std::vector<Value> AveragePoolBackward(const GradientContext& context) {
  return {AveragePoolGradient(context.cotangent(), context.node.attrs, context.input(0).shape())};
}

AttrMap SharedAttrs(const AttrMap& attrs) {
  AttrMap shared;
  for (std::string_view key : {kWindow, kStrides, kPadBefore, kPadAfter}) shared.Set(key, *attrs.Find(key));
  return shared;
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

Value MaxPool(const Operand& x, const PoolOptions& options) {
  const Value& value = ValueOf(x, "MaxPool");
  return Record(MaxPoolOp(), {value}, PoolAttrs("MaxPool", value, x.where, options), x.where);
}
Value AveragePool(const Operand& x, const PoolOptions& options) {
  const Value value = FloatingOf(x, "AveragePool");
  return Record(AveragePoolOp(), {value}, PoolAttrs("AveragePool", value, x.where, options), x.where);
}
Value MaxPoolGradient(const Value& x, const Value& dy, const AttrMap& pool_attrs) {
  return Record(MaxPoolGradientOp(), {x, dy}, SharedAttrs(pool_attrs), std::source_location::current());
}
Value MaxPoolGather(const Value& x, const Value& t, const AttrMap& pool_attrs) {
  return Record(MaxPoolGatherOp(), {x, t}, SharedAttrs(pool_attrs), std::source_location::current());
}
Value AveragePoolGradient(const Value& dy, const AttrMap& pool_attrs, const Shape& input_shape) {
  AttrMap attrs = SharedAttrs(pool_attrs);
  attrs.Set(kInputShape, ToDims(input_shape));
  return Record(AveragePoolGradientOp(), {dy}, std::move(attrs), std::source_location::current());
}

}  // namespace weir
