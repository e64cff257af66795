#include "weir/ops/simplify_rules.h"

#include <algorithm>
#include <bit>

#include "weir/ops/attrs.h"
#include "weir/ops/op_rows.h"

namespace weir {
namespace {

bool IsConstant(const Node& node) { return node.op->kind == OpKind::kConstant; }

// Whether input `i` is the constant `number`, told from its negative zero.
bool IsNumber(const SimplifyContext& context, int i, double number) {
  const Node& node = context.producer(i);
  return IsConstant(node) && std::bit_cast<uint64_t>(node.attrs.Double(kValue)) == std::bit_cast<uint64_t>(number);
}

// Input `i`, if it can stand for the output: not where it would still have to be broadcast.
std::optional<Ref> Input(const SimplifyContext& context, int i) {
  const Ref input = context.inputs[static_cast<size_t>(i)];
  if (context.graph.type(input) != context.node.outputs[0]) return std::nullopt;
  return input;
}

// A constant under another shape is a constant.
std::optional<Ref> ConstantOfOutputShape(const SimplifyContext& context) {
  if (!IsConstant(context.producer(0))) return std::nullopt;
  AttrMap attrs = context.producer(0).attrs;
  attrs.Set(kShape, ToDims(context.node.outputs[0].shape));
  return Ref{context.graph.Append(ConstantOp(), {}, std::move(attrs)), 0};
}

std::optional<Ref> SimplifyMul(const SimplifyContext& context) {
  for (int i : {0, 1}) {
    if (IsNumber(context, i, 1)) return Input(context, 1 - i);
  }
  return std::nullopt;
}

std::optional<Ref> SimplifyDiv(const SimplifyContext& context) {
  return IsNumber(context, 1, 1) ? Input(context, 0) : std::nullopt;
}

// x - 0 is x, also for x = -0; x + 0 is not, so there is no rule for add. (A subnormal x stays as it is by these rules,
// where arithmetic would flush it: on every backend, since what is simplified is the program.)
std::optional<Ref> SimplifySub(const SimplifyContext& context) {
  return IsNumber(context, 1, 0.0) ? Input(context, 0) : std::nullopt;
}

// Casts, stopped gradients and broadcasts that change nothing.
std::optional<Ref> SimplifySame(const SimplifyContext& context) { return Input(context, 0); }

std::optional<Ref> SimplifyBroadcast(const SimplifyContext& context) {
  if (const std::optional<Ref> same = Input(context, 0)) return same;
  return ConstantOfOutputShape(context);
}

std::optional<Ref> SimplifyNeg(const SimplifyContext& context) {
  const Node& inner = context.producer(0);
  if (inner.op != context.node.op) return std::nullopt;
  return inner.inputs[0];
}

// select(a > c, gradient of max_pool(a), 0), as a relu's gradient behind a pool: every cell that is not 0 is a window's
// winner, whose value the pool has. Masked before, dy says the same, and `a` need not be in memory for it.
std::optional<Ref> SimplifySelect(const SimplifyContext& context) {
  const Node &condition = context.producer(0), &gradient = context.producer(1);
  if (condition.op != &ElementwiseOp(ScalarOp::kGreater) || gradient.op != &MaxPoolGradientOp()) return std::nullopt;
  if (!IsNumber(context, 2, 0.0)) return std::nullopt;
  if (context.graph.type(context.inputs[1]) != context.node.outputs[0]) return std::nullopt;
  const Ref dy = gradient.inputs[0], index = gradient.inputs[1], a = condition.inputs[0];
  const Node& pool = context.graph.node(index.node);
  if (pool.op != &MaxPoolOp() || pool.inputs[0] != a) return std::nullopt;
  const Node& bound = context.graph.node(condition.inputs[1].node);
  if (!IsConstant(bound)) return std::nullopt;
  const auto number = [&](const Node& constant) {
    AttrMap attrs = constant.attrs;
    attrs.Set(kShape, Dims());
    return Ref{context.graph.Append(ConstantOp(), {}, std::move(attrs)), 0};
  };
  const Ref compared[] = {{index.node, 0}, number(bound)};
  const Ref mask{context.graph.Append(*condition.op, compared, condition.attrs), 0};
  const Ref chosen[] = {mask, dy, number(context.producer(2))};
  const Ref masked{context.graph.Append(*context.node.op, chosen, context.node.attrs), 0};
  const Ref spread[] = {masked, index};
  return Ref{context.graph.Append(*gradient.op, spread, gradient.attrs), 0};
}

bool AllZero(const Dims& dims) {
  return std::all_of(dims.begin(), dims.end(), [](int64_t d) { return d == 0; });
}

}  // namespace

std::optional<Ref> SimplifyReshape(const SimplifyContext& context) {
  if (const std::optional<Ref> same = Input(context, 0)) return same;
  if (const std::optional<Ref> constant = ConstantOfOutputShape(context)) return constant;
  const Node& inner = context.producer(0);
  if (inner.op != context.node.op) return std::nullopt;
  const Ref source = inner.inputs[0];
  if (context.graph.type(source) == context.node.outputs[0]) return source;
  return Ref{context.graph.Append(*context.node.op, {&source, 1}, context.node.attrs), 0};
}

std::optional<Ref> SimplifyTranspose(const SimplifyContext& context) {
  const Dims& outer = context.node.attrs.Ints(kPermutation);
  if (std::is_sorted(outer.begin(), outer.end())) return Input(context, 0);
  const Node& inner = context.producer(0);
  if (inner.op != context.node.op) return std::nullopt;
  const Dims inner_permutation = inner.attrs.Ints(kPermutation);
  Dims composed;
  for (int64_t axis : outer) composed.push_back(inner_permutation[static_cast<size_t>(axis)]);
  const Ref source = inner.inputs[0];
  if (std::is_sorted(composed.begin(), composed.end())) return source;
  return Ref{context.graph.Append(*context.node.op, {&source, 1}, {{kPermutation, composed}}), 0};
}

std::optional<Ref> SimplifySlice(const SimplifyContext& context) { return Input(context, 0); }

std::optional<Ref> SimplifyPad(const SimplifyContext& context) {
  const AttrMap& attrs = context.node.attrs;
  if (!AllZero(attrs.Ints(kBefore)) || !AllZero(attrs.Ints(kAfter)) || !AllZero(attrs.Ints(kInterior))) return std::nullopt;
  return Input(context, 0);
}

std::optional<Ref> SimplifyConcatenate(const SimplifyContext& context) {
  return context.inputs.size() == 1 ? Input(context, 0) : std::nullopt;
}

SimplifyFn ElementwiseSimplify(ScalarOp op) {
  switch (op) {
    case ScalarOp::kMul: return SimplifyMul;
    case ScalarOp::kDiv: return SimplifyDiv;
    case ScalarOp::kSub: return SimplifySub;
    case ScalarOp::kNeg: return SimplifyNeg;
    case ScalarOp::kSelect: return SimplifySelect;
    case ScalarOp::kCast:
    case ScalarOp::kStopGradient: return SimplifySame;
    case ScalarOp::kBroadcastTo: return SimplifyBroadcast;
    default: return nullptr;
  }
}

}  // namespace weir
