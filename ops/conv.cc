// Convolution and its two partials: rows, shape rules, gradients, user functions. The three are the partials of one
// trilinear form in (x, w, dy), so that each one's gradient is made of the other two.
#include "weir/ops/conv_geometry.h"
#include "weir/ops/conv_reference.h"
#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"
#include "weir/ops/window_rules.h"
#include "weir/ops/winograd.h"

namespace weir {
namespace {

// "Conv2D" for two spatial axes.
std::string Label(const Shape& input, std::string_view suffix = "") {
  const int spatial = input.rank() - 2;
  return spatial >= 1 && spatial <= 3 ? StrCat("Conv", spatial, "D", suffix) : StrCat("Conv", suffix);
}

// After all other checks.
void CheckAlgorithm(const std::string& op, const AttrMap& attrs, const Shape& input, const Shape& filter,
                    const std::string& operands) {
  if (attrs.Int(kAlgorithm) == static_cast<int64_t>(ConvAlgorithm::kDirect)) return;
  if (!UsesWinograd(attrs)) {
    ThrowInvalidArgument(op, ": unknown algorithm ", attrs.Int(kAlgorithm), " ", operands);
  }
  if (!IsWinograd(ConvGeometryOf(attrs, input, filter))) {
    ThrowInvalidArgument(op,
                         ": algorithm kWinograd is for two spatial axes, a window of 3x3 and strides, dilations "
                         "and groups of 1; kDirect takes all others ",
                         operands);
  }
}

// Checks input and filter against each other and the attributes; returns the output's shape. `operands` is "(input
// f32[..], filter f32[..])".
Shape CheckedOutput(const std::string& op, const AttrMap& attrs, const Shape& input, const Shape& filter,
                    const std::string& operands) {
  if (input.rank() < 3 || input.rank() > 5) {
    ThrowInvalidArgument(op, ": input needs batch, one to three spatial axes and channels ", operands);
  }
  if (filter.rank() != input.rank()) {
    ThrowInvalidArgument(op, ": filter needs ", input.rank(), " axes, has ", filter.rank(), " ", operands);
  }
  const size_t spatial = static_cast<size_t>(input.rank() - 2);
  const int64_t groups = attrs.Int(kGroups), channels = input.dim(-1), filters = filter.dim(-1);
  if (groups < 1) ThrowInvalidArgument(op, ": groups ", groups, " is not positive ", operands);
  if (channels < 1 || filters < 1) {
    ThrowInvalidArgument(op, ": needs at least one input channel and one filter ", operands);
  }
  if (channels % groups != 0 || filters % groups != 0) {
    ThrowInvalidArgument(op, ": ", channels, " channels and ", filters, " filters are not both divisible by ", groups,
                         " groups ", operands);
  }
  if (channels / groups != filter.dim(-2)) {
    ThrowInvalidArgument(op, ": input has ", channels, " channels, ",
                         groups > 1 ? StrCat("in ", groups, " groups, ") : "", "filter expects ", filter.dim(-2),
                         groups > 1 ? " in each " : " ", operands);
  }
  const Dims sizes = CheckWindows(op, attrs, input, filter.dims().first(spatial), operands);
  Dims dims = {input.dim(0)};
  dims.insert(dims.end(), sizes.begin(), sizes.end());
  dims.push_back(filters);
  CheckAlgorithm(op, attrs, input, filter, operands);
  return Shape(dims);
}

std::vector<TensorType> InferConv(const InferContext& context) {
  const TensorType &x = context.inputs[0], &w = context.inputs[1];
  CheckSameDType(context, 0, 1);
  CheckFloating(context, {0, 1});
  return {{x.dtype,
           CheckedOutput(Label(x.shape), context.attrs, x.shape, w.shape, StrCat("(input ", x, ", filter ", w, ")"))}};
}

void CheckCotangent(const std::string& op, const TensorType& dy, const Shape& expected, const std::string& operands) {
  if (dy.shape != expected) {
    ThrowInvalidArgument(op, ": the output's cotangent should have shape ", expected, " ", operands);
  }
}

std::vector<TensorType> InferInputGradient(const InferContext& context) {
  const TensorType &dy = context.inputs[0], &w = context.inputs[1];
  CheckSameDType(context, 0, 1);
  CheckFloating(context, {0, 1});
  const TensorType x{dy.dtype, Shape(context.attrs.Ints(kInputShape))};
  const std::string op = Label(x.shape, "InputGradient");
  const std::string operands = StrCat("(input ", x, ", filter ", w, ", cotangent ", dy, ")");
  CheckCotangent(op, dy, CheckedOutput(op, context.attrs, x.shape, w.shape, operands), operands);
  return {x};
}

std::vector<TensorType> InferFilterGradient(const InferContext& context) {
  const TensorType &x = context.inputs[0], &dy = context.inputs[1];
  CheckSameDType(context, 0, 1);
  CheckFloating(context, {0, 1});
  const TensorType w{dy.dtype, Shape(context.attrs.Ints(kFilterShape))};
  const std::string op = Label(x.shape, "FilterGradient");
  const std::string operands = StrCat("(input ", x, ", filter ", w, ", cotangent ", dy, ")");
  CheckCotangent(op, dy, CheckedOutput(op, context.attrs, x.shape, w.shape, operands), operands);
  return {w};
}

double FlopsOf(const ConvGeometry& geometry) {
  return 2.0 * static_cast<double>(geometry.batch) * static_cast<double>(geometry.out_positions()) *
         static_cast<double>(geometry.taps()) * static_cast<double>(geometry.group_in()) *
         static_cast<double>(geometry.out_channels);
}
double ConvFlops(const AttrMap& attrs, std::span<const TensorType> inputs, std::span<const TensorType>) {
  return FlopsOf(ConvGeometryOf(attrs, inputs[0].shape, inputs[1].shape));
}
double InputGradientFlops(const AttrMap& attrs, std::span<const TensorType> inputs,
                          std::span<const TensorType> outputs) {
  return FlopsOf(ConvGeometryOf(attrs, outputs[0].shape, inputs[1].shape));
}
double FilterGradientFlops(const AttrMap& attrs, std::span<const TensorType> inputs,
                           std::span<const TensorType> outputs) {
  return FlopsOf(ConvGeometryOf(attrs, inputs[0].shape, outputs[0].shape));
}

template <ReferenceFn Direct, ReferenceFn Winograd>
void ByAlgorithm(const ReferenceCall& call) {
  (UsesWinograd(call.attrs) ? Winograd : Direct)(call);
}

// The attributes that the three ops share.
AttrMap SharedAttrs(const AttrMap& attrs) {
  AttrMap shared;
  for (std::string_view key : {kStrides, kDilations, kPadBefore, kPadAfter, kGroups, kAlgorithm}) {
    shared.Set(key, *attrs.Find(key));
  }
  return shared;
}
Value RecordConv(const Value& x, const Value& w, const AttrMap& attrs) {
  return Record(ConvOp(), {x, w}, SharedAttrs(attrs), std::source_location::current());
}

std::vector<Value> ConvGradient(const GradientContext& context) {
  const Value x = context.input(0), w = context.input(1), g = context.cotangent();
  const AttrMap& attrs = context.node.attrs;
  return {ConvInputGradient(g, w, attrs, x.shape()), ConvFilterGradient(x, g, attrs, w.shape())};
}
// Inputs dy, w; the cotangent has the shape of x.
std::vector<Value> InputGradientGradient(const GradientContext& context) {
  const Value dy = context.input(0), w = context.input(1), g = context.cotangent();
  const AttrMap& attrs = context.node.attrs;
  return {RecordConv(g, w, attrs), ConvFilterGradient(g, dy, attrs, w.shape())};
}
// Inputs x, dy; the cotangent has the shape of w.
std::vector<Value> FilterGradientGradient(const GradientContext& context) {
  const Value x = context.input(0), dy = context.input(1), g = context.cotangent();
  const AttrMap& attrs = context.node.attrs;
  return {ConvInputGradient(dy, g, attrs, x.shape()), RecordConv(x, g, attrs)};
}

Dims OrOnes(const std::vector<int64_t>& list, size_t axes) { return list.empty() ? Dims(axes, 1) : ToDims(list); }

Value ConvOfRank(const Operand& x, const Operand& filter, const ConvOptions& options, int spatial) {
  const std::string op = spatial == 0 ? "Conv" : StrCat("Conv", spatial, "D");
  ValueOf(x, op), ValueOf(filter, op);
  const std::vector<Value> values = Common(op, {&x, &filter}, /*floating=*/true);
  const Shape &input = values[0].shape(), &window = values[1].shape();
  const AttrMap attrs = CheckAt(values[0], x.where, [&]() -> AttrMap {
    if (spatial > 0 && input.rank() != spatial + 2) {
      ThrowInvalidArgument(op, ": input needs ", spatial + 2, " axes (batch, ", spatial, " spatial, channels), has ",
                           input.rank(), " (input ", values[0].type(), ", filter ", values[1].type(), ")");
    }
    const size_t axes = static_cast<size_t>(std::max(input.rank() - 2, 0));
    const Dims strides = OrOnes(options.strides, axes), dilations = OrOnes(options.dilations, axes);
    ResolvedPadding padding{Dims(axes, 0), Dims(axes, 0)};
    if (input.rank() == window.rank() && axes > 0) {
      padding = ResolveWindows(Label(input), options.padding, input.dims().subspan(1, axes), window.dims().first(axes),
                               strides, dilations, options.padding_before, options.padding_after);
    }
    const auto with = [&](ConvAlgorithm algorithm) -> AttrMap {
      return {{kStrides, strides},        {kDilations, dilations},   {kPadBefore, padding.before},
              {kPadAfter, padding.after}, {kGroups, options.groups}, {kAlgorithm, static_cast<int64_t>(algorithm)}};
    };
    if (options.algorithm != ConvAlgorithm::kAuto) return with(options.algorithm);
    // kAuto is resolved here, from shapes alone: the graph never says auto.
    AttrMap direct = with(ConvAlgorithm::kDirect);
    CheckedOutput(Label(input), direct, input, window,
                  StrCat("(input ", values[0].type(), ", filter ", values[1].type(), ")"));
    return WinogradPays(ConvGeometryOf(direct, input, window)) ? with(ConvAlgorithm::kWinograd) : direct;
  });
  return Record(ConvOp(), values, attrs, x.where);
}

}  // namespace

const OpDef& ConvOp() {
  static constexpr OpDef kOp = {.name = "conv",
                                .kind = OpKind::kAnchor,
                                .infer = InferConv,
                                .gradient = ConvGradient,
                                .reference = ByAlgorithm<ConvReference, WinogradReference>,
                                .flops = ConvFlops};
  return kOp;
}
const OpDef& ConvInputGradientOp() {
  static constexpr OpDef kOp = {.name = "conv_input_gradient",
                                .kind = OpKind::kAnchor,
                                .infer = InferInputGradient,
                                .gradient = InputGradientGradient,
                                .reference = ByAlgorithm<ConvInputGradientReference, WinogradInputGradientReference>,
                                .flops = InputGradientFlops};
  return kOp;
}
const OpDef& ConvFilterGradientOp() {
  static constexpr OpDef kOp = {.name = "conv_filter_gradient",
                                .kind = OpKind::kAnchor,
                                .infer = InferFilterGradient,
                                .gradient = FilterGradientGradient,
                                .reference = ByAlgorithm<ConvFilterGradientReference, WinogradFilterGradientReference>,
                                .flops = FilterGradientFlops};
  return kOp;
}

Value Conv(const Operand& x, const Operand& filter, const ConvOptions& options) {
  return ConvOfRank(x, filter, options, 0);
}
Value Conv1D(const Operand& x, const Operand& filter, const ConvOptions& options) {
  return ConvOfRank(x, filter, options, 1);
}
Value Conv2D(const Operand& x, const Operand& filter, const ConvOptions& options) {
  return ConvOfRank(x, filter, options, 2);
}
Value Conv3D(const Operand& x, const Operand& filter, const ConvOptions& options) {
  return ConvOfRank(x, filter, options, 3);
}

Value ConvInputGradient(const Value& dy, const Value& filter, const AttrMap& conv_attrs, const Shape& input_shape) {
  AttrMap attrs = SharedAttrs(conv_attrs);
  attrs.Set(kInputShape, ToDims(input_shape));
  return Record(ConvInputGradientOp(), {dy, filter}, std::move(attrs), std::source_location::current());
}
Value ConvFilterGradient(const Value& x, const Value& dy, const AttrMap& conv_attrs, const Shape& filter_shape) {
  AttrMap attrs = SharedAttrs(conv_attrs);
  attrs.Set(kFilterShape, ToDims(filter_shape));
  return Record(ConvFilterGradientOp(), {x, dy}, std::move(attrs), std::source_location::current());
}

}  // namespace weir
