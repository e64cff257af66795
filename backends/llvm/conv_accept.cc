#include "weir/backends/llvm/conv_accept.h"

#include <limits>

#include "weir/backends/llvm/conv_filter.h"
#include "weir/backends/llvm/conv_plan.h"
#include "weir/backends/llvm/conv_source.h"
#include "weir/backends/llvm/winograd_plan.h"
#include "weir/core/strings.h"
#include "weir/ops/winograd.h"

namespace weir::jit {
namespace {

constexpr int64_t kPooledUnit = 512 * 1024;  // bytes; of larger units a pool finds nothing in the cache

// What a plan means for the rest of a cluster.
struct Units {
  ConvSource source;      // what tasks read
  int64_t parts, blocks;  // tasks that compute the same outputs' channels, that share an image
  int64_t floats;         // of a unit of outputs
};
template <class Decide>
auto WithUnits(const ConvProblem& problem, const Node& anchor, const TileLimits& limits, const Decide& decide) {
  if (UsesWinograd(anchor.attrs)) {
    const WinogradPlan plan(problem, limits);
    return decide(Units{plan.Source(), plan.parts, plan.by_images ? 1 : plan.blocks, plan.unit_floats()});
  }
  const ConvPlan plan(problem, LayoutFilter(problem, limits), limits);
  return decide(Units{SourceOf(problem, plan), plan.parts, plan.unit_level == 0 ? 1 : plan.blocks, plan.UnitFloats()});
}

// Of the first `count` nodes, as the prologue of `anchor`.
std::optional<Decline> PrologueDecline(const Cluster& cluster, size_t count, const Node& anchor, const Units& units) {
  if (units.parts > 1 || !units.source.TakesPrologue(units.blocks)) {
    return Decline{"tasks would compute too much of it more than once, or too little"};
  }
  const int64_t size = cluster.type(anchor.inputs[0]).shape.size();
  for (size_t i = 0; i < count; ++i) {
    const Node& node = cluster.node(cluster.nodes[i]);
    const bool drawn = node.op->kind == OpKind::kCounter && node.outputs[0].shape.size() == size;
    if (drawn && units.source.granularity() % kRandomBlock != 0)
      return Decline{"random numbers would not be drawn in blocks"};
  }
  return std::nullopt;
}

// Of a prologue or a tail: by positions, tasks read all of the source each and compute some channels of some positions.
std::optional<Decline> PositionsDecline(const ConvProblem& problem, const Node& anchor) {
  if (UsesWinograd(anchor.attrs) || problem.reads_padding) return std::nullopt;
  return Decline{"the convolution goes by positions: padding is left out"};
}

}  // namespace

ConvProblem ConvProblemOf(const Graph& graph, const Node& node, const Node* tail) {
  const bool forward = node.op->name == "conv";
  const Shape& filter = graph.type(node.inputs[1]).shape;
  const Shape& input = forward ? graph.type(node.inputs[0]).shape : node.outputs[0].shape;
  const ConvGeometry geometry = ConvGeometryOf(node.attrs, input, filter);
  if (!forward) return InputGradientProblem(geometry);
  if (tail == nullptr) return ForwardProblem(geometry);
  const ConvGeometry pool = PoolGeometryOf(tail->attrs, node.outputs[0].shape);
  return ForwardProblem(geometry, &pool);
}

std::optional<Decline> ConvDecline(const Graph& graph, const Node& node) {
  if (graph.type(node.inputs[1]).shape.size() <= std::numeric_limits<int32_t>::max()) return std::nullopt;
  return Decline{"a filter beyond 32 bits of index"};
}

std::optional<Decline> ConvPrologueDecline(const Cluster& cluster, const Node& anchor, const TileLimits& limits) {
  if (auto decline = ConvDecline(*cluster.graph, anchor)) return decline;
  const ConvProblem problem = ConvProblemOf(*cluster.graph, anchor, nullptr);
  if (auto decline = PositionsDecline(problem, anchor)) return decline;
  return WithUnits(problem, anchor, limits,
                   [&](const Units& units) { return PrologueDecline(cluster, cluster.nodes.size(), anchor, units); });
}

std::optional<Decline> ConvTailDecline(const Cluster& cluster, const Node& tail, const TileLimits& limits) {
  const Node& anchor = cluster.node(*cluster.anchor);
  if (auto decline = ConvDecline(*cluster.graph, anchor)) return decline;
  const std::string_view op = tail.op->name;
  if (op != "max_pool" && op != "average_pool") return Decline{StrCat("no ", op, " behind a convolution")};
  const TensorType& operand = cluster.type(tail.inputs[0]);
  if (operand.dtype != DType::kFloat32) return Decline{StrCat(op, " of ", operand.dtype, " is the reference's")};
  if (operand.shape.size() == 0) return Decline{"no elements"};
  if (!PoolReadsOnce(tail, operand.shape)) return Decline{"windows that don't tile what the convolution computes"};
  const ConvProblem problem = ConvProblemOf(*cluster.graph, anchor, &tail);
  if (auto decline = PositionsDecline(problem, anchor)) return decline;
  return WithUnits(problem, anchor, limits, [&](const Units& units) -> std::optional<Decline> {
    if (units.floats * BytesOf(Elem::kF32) > kPooledUnit) return Decline{"windows of more than a cache holds"};
    if (cluster.prologue == 0) return std::nullopt;
    return PrologueDecline(cluster, cluster.prologue, anchor, units);
  });
}

}  // namespace weir::jit
