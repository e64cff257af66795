#include "weir/core/autodiff.h"

#include <algorithm>

#include "weir/core/error.h"
#include "weir/core/op_def.h"

namespace weir {
namespace {

void CheckArguments(std::span<const Value> ys, std::span<const Value> xs, std::span<const Value> seeds) {
  if (ys.empty()) ThrowInvalidArgument("Gradients: no values to differentiate");
  if (!seeds.empty() && seeds.size() != ys.size()) {
    ThrowInvalidArgument("Gradients: ", ys.size(), " values but ", seeds.size(), " seeds");
  }
  const Graph* graph = ys[0].graph.get();
  const auto check = [&](const Value& value, const char* what) {
    if (!value.defined()) ThrowInvalidArgument("Gradients: ", what, " is undefined");
    if (value.graph.get() != graph) ThrowInvalidArgument("Gradients: ", what, " is of another graph");
    if (!IsFloating(value.dtype())) {
      ThrowInvalidArgument("Gradients: ", what, " ", value.graph->Path(value.ref.node), " is ", value.type(),
                           ", expected a floating type");
    }
  };
  for (const Value& y : ys) check(y, "value");
  for (const Value& x : xs) check(x, "variable");
  for (size_t i = 0; i < seeds.size(); ++i) {
    check(seeds[i], "seed");
    if (seeds[i].type() != ys[i].type()) {
      ThrowInvalidArgument("Gradients: seed ", seeds[i].type(), " for value ", ys[i].type());
    }
  }
}

}  // namespace

std::vector<Value> Differentiate(const AutodiffOps& ops, std::span<const Value> ys, std::span<const Value> xs,
                                 std::span<const Value> seeds) {
  CheckArguments(ys, xs, seeds);
  Graph& graph = *ys[0].graph;
  const std::shared_ptr<Graph> shared = ys[0].graph;
  NodeId last = 0;
  for (const Value& y : ys) last = std::max(last, y.ref.node);

  // Which nodes depend on an x: only those pass cotangents on.
  std::vector<bool> depends(static_cast<size_t>(last) + 1, false);
  for (const Value& x : xs) {
    if (x.ref.node <= last) depends[static_cast<size_t>(x.ref.node)] = true;
  }
  for (NodeId id = 0; id <= last; ++id) {
    const Node& node = graph.node(id);
    if (!depends[static_cast<size_t>(id)]) {
      depends[static_cast<size_t>(id)] = std::any_of(node.inputs.begin(), node.inputs.end(), [&](Ref ref) {
        return depends[static_cast<size_t>(ref.node)] && IsFloating(graph.type(ref).dtype);
      });
    }
  }

  // Cotangent so far of each output of each node.
  std::vector<std::vector<Value>> cotangents(static_cast<size_t>(last) + 1);
  const auto accumulate = [&](Ref ref, const Value& cotangent) {
    std::vector<Value>& slots = cotangents[static_cast<size_t>(ref.node)];
    slots.resize(graph.node(ref.node).outputs.size());
    Value& slot = slots[static_cast<size_t>(ref.output)];
    WEIR_CHECK(cotangent.type() == graph.type(ref), "cotangent ", cotangent.type(), " of ", graph.Path(ref.node), " ",
               graph.type(ref));
    slot = slot.defined() ? ops.add(slot, cotangent) : cotangent;
  };
  for (size_t i = 0; i < ys.size(); ++i) {
    Graph::BackwardScope scope(graph, ys[i].ref.node);
    accumulate(ys[i].ref, seeds.empty() ? ops.ones_like(ys[i]) : seeds[i]);
  }

  for (NodeId id = last; id >= 0; --id) {
    std::vector<Value>& own = cotangents[static_cast<size_t>(id)];
    if (own.empty() || !depends[static_cast<size_t>(id)]) continue;
    const Node& node = graph.node(id);
    const bool passes_on = std::any_of(node.inputs.begin(), node.inputs.end(), [&](Ref ref) {
      return depends[static_cast<size_t>(ref.node)] && IsFloating(graph.type(ref).dtype);
    });
    if (!passes_on) continue;
    if (!node.op->differentiable) {
      ThrowInvalidArgument("Gradients: op ", node.op->name, " (", graph.Path(id), ") has no gradient");
    }
    if (node.op->gradient == nullptr) continue;
    Graph::BackwardScope scope(graph, id);
    const std::vector<Value> inputs = node.op->gradient({graph, id, node, own});
    WEIR_CHECK(inputs.size() == node.inputs.size(), "gradient of ", node.op->name, " returned ", inputs.size(),
               " cotangents for ", node.inputs.size(), " inputs");
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Ref ref = graph.node(id).inputs[i];
      if (inputs[i].defined() && depends[static_cast<size_t>(ref.node)]) accumulate(ref, inputs[i]);
    }
  }

  std::vector<Value> result;
  for (const Value& x : xs) {
    const std::vector<Value>* slots = x.ref.node <= last ? &cotangents[static_cast<size_t>(x.ref.node)] : nullptr;
    const bool reached = slots != nullptr && !slots->empty() && (*slots)[static_cast<size_t>(x.ref.output)].defined();
    Graph::BackwardScope scope(graph, x.ref.node);
    result.push_back(reached ? (*slots)[static_cast<size_t>(x.ref.output)] : ops.zeros_like(x));
  }
  return result;
}

}  // namespace weir
