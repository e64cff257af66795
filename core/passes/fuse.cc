#include "weir/core/passes/fuse.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "weir/core/error.h"
#include "weir/core/passes/rewrite.h"
#include "weir/core/plan.h"

namespace weir {
namespace {

constexpr int kNone = -1;

bool IsRecomputed(OpKind kind) { return kind == OpKind::kConstant || kind == OpKind::kCounter; }
bool IsPlaced(OpKind kind) { return kind != OpKind::kLeaf && kind != OpKind::kAlias && kind != OpKind::kAssign; }

class Fuser {
 public:
  Fuser(const Program& program, const Backend& preferred, bool fuse)
      : graph_(*program.graph),
        program_(program),
        preferred_(preferred),
        fuse_(fuse),
        needed_(Reachable(program)),
        cluster_of_(static_cast<size_t>(graph_.size()), kNone) {}

  std::vector<FusedCluster> Run() {
    MarkMaterialized();
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const OpKind kind = graph_.node(id).op->kind;
      if (!needed_[static_cast<size_t>(id)] || !IsPlaced(kind)) continue;
      if (IsRecomputed(kind) && !materialized_.contains(id)) continue;
      const bool joined =
          fuse_ && (kind == OpKind::kElementwise ? TryJoin(id) : kind == OpKind::kAnchor && TryFollow(id));
      if (!joined) Start(id);
    }
    return Finish();
  }

 private:
  // Constants and counters that somebody needs in memory: roots, and operands of nodes that are not elementwise.
  void MarkMaterialized() {
    const auto mark = [&](Ref ref) {
      ref = ResolveAlias(graph_, ref);
      if (IsRecomputed(graph_.node(ref.node).op->kind)) materialized_.insert(ref.node);
    };
    for (Ref root : program_.roots) mark(root);
    for (NodeId id = 0; id < graph_.size(); ++id) {
      if (!needed_[static_cast<size_t>(id)]) continue;
      const Node& node = graph_.node(id);
      const bool in_registers = fuse_ && (node.op->kind == OpKind::kElementwise || node.op->kind == OpKind::kCounter);
      for (Ref ref : node.inputs) {
        // Read through a reshape, a value is needed in memory whoever reads it.
        if (!in_registers || ResolveAlias(graph_, ref) != ref) mark(ref);
      }
    }
  }

  int ClusterOf(Ref ref) const { return cluster_of_[static_cast<size_t>(ref.node)]; }

  void Start(NodeId id) {
    const Node& node = graph_.node(id);
    const int index = static_cast<int>(clusters_.size());
    FusedCluster& fused = clusters_.emplace_back();
    fused.cluster.graph = &graph_;
    fused.cluster.shape = node.outputs[0].shape;
    if (node.op->kind == OpKind::kAnchor) {
      fused.cluster.anchor = id;
      if (fuse_) TakePrologue(index, id);
    }
    AddNode(index, id);
  }

  // The cluster that computes the operand of the new anchor cluster `index` becomes its prologue, if nothing else that
  // the anchor needs depends on it and the backend can.
  void TakePrologue(int index, NodeId anchor) {
    const Node& node = graph_.node(anchor);
    const Ref operand = node.inputs[0];
    const int from = ClusterOf(operand);
    if (from == kNone || graph_.node(operand.node).op->kind != OpKind::kElementwise) return;
    FusedCluster& source = clusters_[static_cast<size_t>(from)];
    if (source.cluster.anchor || source.cluster.shape != graph_.type(operand).shape) return;
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      if (DependsOn(node.inputs[i], from)) {
        Refuse(from, anchor, "another operand needs the cluster's result first");
        return;
      }
    }
    if (const auto decline = preferred_.MayPrecede(source.cluster, node)) {
      Refuse(from, anchor, decline->reason);
      return;
    }
    FusedCluster& target = clusters_[static_cast<size_t>(index)];
    target.cluster.nodes = std::move(source.cluster.nodes);
    target.cluster.prologue = target.cluster.nodes.size();
    target.not_joined = std::move(source.not_joined);
    source.cluster.nodes.clear();
    for (NodeId id : target.cluster.nodes) {
      if (cluster_of_[static_cast<size_t>(id)] == from) cluster_of_[static_cast<size_t>(id)] = index;
    }
  }

  // The anchor becomes the tail of the anchor cluster that computes its only operand.
  bool TryFollow(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.inputs.size() != 1) return false;
    const Ref operand = node.inputs[0];
    const int index = ClusterOf(operand);
    if (index == kNone || graph_.node(operand.node).op->kind == OpKind::kAlias || IsApart(operand)) return false;
    Cluster& cluster = clusters_[static_cast<size_t>(index)].cluster;
    if (!cluster.anchor || cluster.tail) return false;
    if (const auto decline = preferred_.MayFollow(cluster, node)) {
      Refuse(index, id, decline->reason);
      return false;
    }
    cluster.tail = id;
    cluster.nodes.push_back(id);
    cluster_of_[static_cast<size_t>(id)] = index;
    return true;
  }

  // A value that its cluster's epilogue does not have at hand: computed before the anchor, beside its first output, or
  // by the tail.
  bool IsApart(Ref ref) const {
    const int index = ClusterOf(ref);
    if (index == kNone || IsRecomputed(graph_.node(ref.node).op->kind)) return false;
    const Cluster& cluster = clusters_[static_cast<size_t>(index)].cluster;
    return ref.output > 0 || cluster.tail == ref.node || cluster.in_prologue(ref.node);
  }

  void AddNode(int index, NodeId id) {
    Cluster& cluster = clusters_[static_cast<size_t>(index)].cluster;
    const bool elementwise = graph_.node(id).op->kind == OpKind::kElementwise;
    if (fuse_ && elementwise) AddRecomputed(cluster, id);
    cluster.nodes.push_back(id);
    cluster_of_[static_cast<size_t>(id)] = index;
  }

  // The constants and counters that node `id` reads become members.
  void AddRecomputed(Cluster& cluster, NodeId id) const {
    for (Ref ref : graph_.node(id).inputs) {
      if (!IsRecomputed(graph_.node(ref.node).op->kind) || cluster.contains(ref.node)) continue;
      AddRecomputed(cluster, ref.node);
      cluster.nodes.push_back(ref.node);
    }
  }

  // The clusters that compute `ref` or are needed by what does: whether `target` is among them, other than as itself.
  bool DependsOn(Ref ref, int target) {
    ++stamp_;
    visited_.resize(clusters_.size(), 0);
    std::vector<Ref> stack{ref};
    while (!stack.empty()) {
      const Ref top = ResolveAlias(graph_, stack.back());
      stack.pop_back();
      const Node& node = graph_.node(top.node);
      if (IsRecomputed(node.op->kind) && !materialized_.contains(top.node)) {
        stack.insert(stack.end(), node.inputs.begin(), node.inputs.end());
        continue;
      }
      const int cluster = ClusterOf(top);
      if (cluster == kNone) continue;
      if (cluster == target) return true;
      if (visited_[static_cast<size_t>(cluster)] == stamp_) continue;
      visited_[static_cast<size_t>(cluster)] = stamp_;
      for (NodeId member : clusters_[static_cast<size_t>(cluster)].cluster.nodes) {
        for (Ref input : graph_.node(member).inputs) {
          if (ClusterOf(input) != cluster) stack.push_back(input);
        }
      }
    }
    return false;
  }

  // Whether all operands of `id` outside of the cluster can be had before the cluster runs.
  bool OperandsComeBefore(NodeId id, int index) {
    for (Ref ref : graph_.node(id).inputs) {
      // A member read directly is at hand; read through a reshape, or of another part of the cluster, it is not.
      if (ClusterOf(ref) == index && graph_.node(ref.node).op->kind != OpKind::kAlias && !IsApart(ref)) continue;
      if (IsRecomputed(graph_.node(ref.node).op->kind)) {
        for (Ref inner : graph_.node(ref.node).inputs) {
          if (DependsOn(inner, index)) return false;
        }
        continue;
      }
      if (DependsOn(ref, index)) return false;
    }
    return true;
  }

  void Refuse(int index, NodeId id, const std::string& reason) {
    clusters_[static_cast<size_t>(index)].not_joined.push_back(StrCat(graph_.node(id).op->name, "_", id, ": ", reason));
  }

  bool TryJoin(NodeId id) {
    const Node& node = graph_.node(id);
    // Candidates: clusters that compute an operand. One with an anchor first (its value is then still in cache), then
    // the latest.
    std::vector<int> candidates;
    for (Ref ref : node.inputs) {
      const int index = ClusterOf(ref);
      if (index == kNone) continue;
      if (IsApart(ref)) {
        Refuse(index, id, "reads a value that the epilogue does not have");
        continue;
      }
      if (std::find(candidates.begin(), candidates.end(), index) != candidates.end()) continue;
      const Cluster& cluster = clusters_[static_cast<size_t>(index)].cluster;
      const OpDef& first = *graph_.node(cluster.nodes.front()).op;
      if (first.kind == OpKind::kOpaque) continue;
      if (cluster.shape != node.outputs[0].shape) {
        Refuse(index, id, StrCat("shape ", node.outputs[0].shape, ", cluster ", cluster.shape));
        continue;
      }
      candidates.push_back(index);
    }
    std::sort(candidates.begin(), candidates.end(), [&](int a, int b) {
      const bool anchor_a = clusters_[static_cast<size_t>(a)].cluster.anchor.has_value();
      const bool anchor_b = clusters_[static_cast<size_t>(b)].cluster.anchor.has_value();
      return anchor_a != anchor_b ? anchor_a : a > b;
    });
    for (int index : candidates) {
      if (!OperandsComeBefore(id, index)) {
        Refuse(index, id, "an operand needs the cluster's own result first");
        continue;
      }
      if (const auto decline = preferred_.MayJoin(clusters_[static_cast<size_t>(index)].cluster, node)) {
        Refuse(index, id, decline->reason);
        continue;
      }
      AddNode(index, id);
      for (int other : candidates) {
        if (other != index) TryMerge(other, index);
      }
      return true;
    }
    return false;
  }

  // Moves all nodes of elementwise cluster `from` into `into`, if neither needs the other through a third.
  void TryMerge(int from, int into) {
    Cluster& source = clusters_[static_cast<size_t>(from)].cluster;
    if (source.anchor.has_value() || source.nodes.empty()) return;
    for (NodeId id : source.nodes) {
      for (Ref ref : graph_.node(id).inputs) {
        if (ClusterOf(ref) == into && IsApart(ref)) return;
        if (ClusterOf(ref) != from && ClusterOf(ref) != into && DependsOn(ref, into)) return;
      }
    }
    const Cluster& target = clusters_[static_cast<size_t>(into)].cluster;
    for (NodeId id : target.nodes) {
      const bool before = graph_.node(id).op->kind == OpKind::kAnchor || target.in_prologue(id);
      for (Ref ref : graph_.node(id).inputs) {
        if (before && ClusterOf(ref) == from) return;  // what an anchor needs must be whole before it starts
        if (ClusterOf(ref) != from && ClusterOf(ref) != into && DependsOn(ref, from)) return;
      }
    }
    // The backend is asked for each node, as if it came one by one.
    Cluster merged = clusters_[static_cast<size_t>(into)].cluster;
    for (NodeId id : source.nodes) {
      if (merged.contains(id)) continue;
      if (graph_.node(id).op->kind == OpKind::kElementwise) {
        if (const auto decline = preferred_.MayJoin(merged, graph_.node(id))) {
          Refuse(into, id, decline->reason);
          return;
        }
      }
      merged.nodes.push_back(id);
    }
    // Prologue and anchor stay first: nothing in the epilogue comes before them in execution.
    const auto epilogue = merged.nodes.begin() + static_cast<ptrdiff_t>(merged.prologue + (merged.anchor ? 1 : 0));
    std::sort(epilogue, merged.nodes.end());
    for (NodeId id : source.nodes) {
      if (cluster_of_[static_cast<size_t>(id)] == from) cluster_of_[static_cast<size_t>(id)] = into;
    }
    clusters_[static_cast<size_t>(into)].cluster = std::move(merged);
    source.nodes.clear();
  }

  std::vector<FusedCluster> Finish() {
    // Values that somebody outside of their own cluster reads.
    absl::flat_hash_set<Ref> wanted;
    for (Ref root : program_.roots) wanted.insert(ResolveAlias(graph_, root));
    for (const FusedCluster& fused : clusters_) {
      for (NodeId id : fused.cluster.nodes) {
        for (Ref ref : graph_.node(id).inputs) {
          const Ref resolved = ResolveAlias(graph_, ref);
          if (resolved != ref || !fused.cluster.contains(ref.node)) wanted.insert(resolved);
        }
      }
    }
    std::vector<FusedCluster> result;
    for (int index = 0; index < static_cast<int>(clusters_.size()); ++index) {
      FusedCluster& fused = clusters_[static_cast<size_t>(index)];
      Cluster& cluster = fused.cluster;
      if (cluster.nodes.empty()) continue;
      for (NodeId id : cluster.nodes) {
        for (Ref ref : graph_.node(id).inputs) {
          const Ref resolved = ResolveAlias(graph_, ref);
          if (resolved == ref && cluster.contains(ref.node)) continue;
          // A reshaped operand is bound as the value under the reader's own shape.
          if (cluster.input_index(ref) < 0) cluster.inputs.push_back(ref);
        }
        // A constant that is a member only to be read is no output, even if another cluster stores it.
        if (cluster_of_[static_cast<size_t>(id)] != index) continue;
        for (int output = 0; output < static_cast<int>(graph_.node(id).outputs.size()); ++output) {
          if (wanted.contains({id, output})) cluster.outputs.push_back({id, output});
        }
      }
      result.push_back(std::move(fused));
    }
    return result;
  }

  const Graph& graph_;
  const Program& program_;
  const Backend& preferred_;
  const bool fuse_;
  const std::vector<bool> needed_;
  std::vector<int> cluster_of_;
  std::vector<FusedCluster> clusters_;
  absl::flat_hash_set<NodeId> materialized_;
  std::vector<uint32_t> visited_;
  uint32_t stamp_ = 0;
};

}  // namespace

std::vector<FusedCluster> FormClusters(const Program& program, const Backend& preferred, bool fuse) {
  return Fuser(program, preferred, fuse).Run();
}

}  // namespace weir
