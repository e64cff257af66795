#include "weir/backends/llvm/kernel_names.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "weir/backends/llvm/lowering.h"

namespace weir::jit {
namespace {

// The addition of one number a channel is what people call a bias; a pool's kind is its layer's business.
std::string ShortName(const Cluster& cluster, NodeId id) {
  const Node& node = cluster.node(id);
  const std::string_view op = node.op->name;
  if (op == "max_pool" || op == "average_pool") return "pool";
  if (op == "add" && cluster.anchor) {
    for (Ref input : node.inputs) {
      if (!cluster.contains(input.node) && cluster.type(input).shape.rank() <= 1 && cluster.shape.rank() > 1) return "bias";
    }
  }
  return std::string(op);
}

// The layer that the cluster's heart was recorded in, without those around it.
std::string LayerOf(const Cluster& cluster) {
  const NodeId heart = cluster.anchor.value_or(cluster.nodes.back());
  const std::string& path = cluster.graph->LayerPath(cluster.node(heart).origin.layer);
  return path.substr(path.rfind('/') + 1);
}

std::string NameOf(const Cluster& cluster) {
  constexpr size_t kMost = 8;
  std::vector<std::string> names;
  for (NodeId id : cluster.nodes) {
    if (cluster.node(id).op->kind != OpKind::kConstant || cluster.nodes.size() == 1) names.push_back(ShortName(cluster, id));
  }
  if (names.size() > kMost) {
    const size_t more = names.size() - kMost;
    names.resize(kMost);
    names.push_back(StrCat(more, "_more"));
  }
  const std::string layer = LayerOf(cluster);
  return StrCat(layer, layer.empty() ? "" : ".", StrJoin(names, "+"));
}

}  // namespace

void NameKernels(const Cluster& cluster, std::span<Stage> stages) {
  const std::string name = NameOf(cluster), described = Describe(cluster);
  for (Stage& stage : stages) {
    // Stages were made by this lowering a moment ago, and are nobody else's yet.
    auto& state = *std::const_pointer_cast<KernelState>(std::static_pointer_cast<const KernelState>(stage.state));
    std::string_view part = state.kernel.name;
    if (part.starts_with(described)) part.remove_prefix(described.size());
    while (part.starts_with(',') || part.starts_with(' ')) part.remove_prefix(1);
    state.symbol = StrCat(name, part.empty() ? "" : "/", part);
    std::replace(state.symbol.begin(), state.symbol.end(), ' ', '_');
  }
}

}  // namespace weir::jit
