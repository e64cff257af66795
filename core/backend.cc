#include "weir/core/backend.h"

#include <algorithm>

namespace weir {

bool Cluster::contains(NodeId id) const { return std::find(nodes.begin(), nodes.end(), id) != nodes.end(); }

bool Cluster::in_prologue(NodeId id) const {
  const auto end = nodes.begin() + static_cast<ptrdiff_t>(prologue);
  return std::find(nodes.begin(), end, id) != end;
}

int Cluster::input_index(Ref ref) const {
  const auto found = std::find(inputs.begin(), inputs.end(), ref);
  return found == inputs.end() ? -1 : static_cast<int>(found - inputs.begin());
}

int Cluster::output_index(Ref ref) const {
  const auto found = std::find(outputs.begin(), outputs.end(), ref);
  return found == outputs.end() ? -1 : static_cast<int>(found - outputs.begin());
}

std::string Describe(const Cluster& cluster) {
  // Constants and counters are operands, not steps, unless they are all there is.
  std::vector<std::string> names;
  for (NodeId id : cluster.nodes) {
    const OpDef& op = *cluster.node(id).op;
    if (op.kind == OpKind::kConstant && cluster.nodes.size() > 1) continue;
    names.emplace_back(op.name);
  }
  constexpr size_t kMost = 8;
  if (names.size() > kMost) {
    const size_t more = names.size() - kMost;
    names.resize(kMost);
    names.push_back(StrCat(more, " more"));
  }
  return StrJoin(names, "+");
}

bool HasNoWork(const Cluster& cluster) {
  const auto is_empty = [&](Ref ref) { return cluster.type(ref).shape.size() == 0; };
  if (!std::all_of(cluster.outputs.begin(), cluster.outputs.end(), is_empty)) return false;
  if (cluster.node(cluster.nodes.front()).op->kind != OpKind::kOpaque) return true;
  return std::all_of(cluster.inputs.begin(), cluster.inputs.end(),
                     [&](Ref ref) { return is_empty(ref) || IsFloating(cluster.type(ref).dtype); });
}

size_t CountOperands(const Cluster& cluster, const Node& node) {
  std::vector<Ref> refs;
  const auto add = [&](const Node& user) {
    for (Ref ref : user.inputs) {
      if (!cluster.contains(ref.node) && std::find(refs.begin(), refs.end(), ref) == refs.end()) refs.push_back(ref);
    }
  };
  for (NodeId id : cluster.nodes) add(cluster.node(id));
  add(node);
  return refs.size();
}

double ClusterFlops(const Cluster& cluster) {
  double flops = 0;
  for (NodeId id : cluster.nodes) {
    const Node& node = cluster.node(id);
    std::vector<TensorType> inputs;
    for (Ref ref : node.inputs) inputs.push_back(cluster.type(ref));
    flops += Flops(*node.op, node.attrs, inputs, {node.outputs.data(), node.outputs.size()});
  }
  return flops;
}

double ClusterBytes(const Cluster& cluster) {
  double bytes = 0;
  for (Ref ref : cluster.inputs) bytes += static_cast<double>(cluster.type(ref).bytes());
  for (Ref ref : cluster.outputs) bytes += static_cast<double>(cluster.type(ref).bytes());
  return bytes;
}

std::vector<InPlacePair> PointwisePairs(const Cluster& cluster) {
  std::vector<InPlacePair> pairs;
  for (size_t i = 0; i < cluster.inputs.size(); ++i) {
    const Ref input = cluster.inputs[i];
    const TensorType& type = cluster.type(input);
    if (type.shape != cluster.shape) continue;
    // Read by the anchor or its prologue, an element may be needed again after others have been computed.
    const bool read_before = std::any_of(cluster.nodes.begin(), cluster.nodes.end(), [&](NodeId id) {
      const auto& operands = cluster.node(id).inputs;
      return (cluster.anchor == id || cluster.in_prologue(id)) &&
             std::find(operands.begin(), operands.end(), input) != operands.end();
    });
    if (read_before) continue;
    for (size_t o = 0; o < cluster.outputs.size(); ++o) {
      const TensorType& out = cluster.type(cluster.outputs[o]);
      if (cluster.in_prologue(cluster.outputs[o].node) || cluster.tail == cluster.outputs[o].node) continue;
      if (out.shape == type.shape && SizeOf(out.dtype) == SizeOf(type.dtype)) {
        pairs.push_back({static_cast<int>(i), static_cast<int>(o)});
      }
    }
  }
  return pairs;
}

}  // namespace weir
