#include "weir/core/passes/fuse.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
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

  // How many clusters the searches for what needs what have looked at.
  int64_t looked_at() const { return looked_at_; }

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
    place_.push_back(index);
    at_.push_back(index);
    FusedCluster& fused = clusters_.emplace_back();
    fused.cluster.graph = &graph_;
    fused.cluster.shape = node.outputs[0].shape;
    if (node.op->kind == OpKind::kAnchor) {
      fused.cluster.anchor = id;
      if (fuse_) TakePrologue(index, id);
    }
    AddNode(index, id);
    SourcesBefore(id, index);
    AddToTree(index);
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
    SwapPlaces(from, index);
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

  // Calls visit(cluster) for the clusters that compute what a node needs to read `ref`: several if it is recomputed.
  template <class Visit>
  void ForEachSource(Ref ref, Visit&& visit) const {
    absl::InlinedVector<Ref, 4> stack{ref};
    while (!stack.empty()) {
      const Ref top = ResolveAlias(graph_, stack.back());
      stack.pop_back();
      const Node& node = graph_.node(top.node);
      if (IsRecomputed(node.op->kind) && !materialized_.contains(top.node)) {
        stack.insert(stack.end(), node.inputs.begin(), node.inputs.end());
      } else if (const int cluster = ClusterOf(top); cluster != kNone) {
        visit(cluster);
      }
    }
  }

  // Likewise, for what all nodes of a cluster read of others.
  template <class Visit>
  void ForEachSourceOf(int cluster, Visit&& visit) const {
    for (NodeId member : clusters_[static_cast<size_t>(cluster)].cluster.nodes) {
      for (Ref input : graph_.node(member).inputs) {
        if (ClusterOf(input) != cluster) ForEachSource(input, visit);
      }
    }
  }

  int Place(int cluster) const { return place_[static_cast<size_t>(cluster)]; }

  // Whether a search meets the cluster for the first time.
  bool Meet(int cluster) {
    visited_.resize(clusters_.size(), 0);
    return std::exchange(visited_[static_cast<size_t>(cluster)], stamp_) != stamp_;
  }

  // The clusters that compute `ref` or are needed by what does: whether `target` is among them, other than as itself.
  // What comes before the target in the order of `place_` can't need it, and much of what does is known to from the tree,
  // so that few clusters are looked at: some between the two, those next to the target first.
  bool DependsOn(Ref ref, int target) {
    ++stamp_;
    bool found = false;
    std::vector<int> waiting;  // a heap by place, the first on top
    const auto later = [&](int a, int b) { return Place(a) > Place(b); };
    const auto add = [&](int cluster) {
      found |= cluster == target;
      if (Place(cluster) <= Place(target) || !Meet(cluster)) return;
      waiting.push_back(cluster);
      std::push_heap(waiting.begin(), waiting.end(), later);
    };
    ForEachSource(ref, [&](int source) {
      found |= Place(source) > Place(target) && KnownToNeed(source, target);
      add(source);
    });
    while (!found && !waiting.empty()) {
      std::pop_heap(waiting.begin(), waiting.end(), later);
      const int cluster = waiting.back();
      waiting.pop_back();
      ++looked_at_;
      ForEachSourceOf(cluster, add);
    }
    return found;
  }

  // A new cluster becomes the child of the one it needs that has the longest way to a root: the long ways through a deep
  // graph are ways up this tree. `jump` leads further up, in such steps that any ancestor is few of them away.
  void AddToTree(int index) {
    TreeNode node{.parent = index, .jump = index};
    ForEachSourceOf(index, [&](int source) {
      const TreeNode& parent = tree_[static_cast<size_t>(source)];
      if (first_user_[static_cast<size_t>(source)] == kNone) first_user_[static_cast<size_t>(source)] = index;
      if (parent.depth < node.depth) return;
      const TreeNode& jump = tree_[static_cast<size_t>(parent.jump)];
      const bool equal_steps = parent.depth - jump.depth == jump.depth - tree_[static_cast<size_t>(jump.jump)].depth;
      node = {.parent = source, .jump = equal_steps ? jump.jump : source, .depth = parent.depth + 1};
    });
    tree_.push_back(node);
    first_user_.push_back(kNone);
  }

  bool IsAbove(int ancestor, int cluster) const {
    const int depth = tree_[static_cast<size_t>(ancestor)].depth;
    while (tree_[static_cast<size_t>(cluster)].depth > depth) {
      const TreeNode& node = tree_[static_cast<size_t>(cluster)];
      cluster = tree_[static_cast<size_t>(node.jump)].depth >= depth ? node.jump : node.parent;
    }
    return cluster == ancestor;
  }

  // Whether the tree says that `cluster` needs `target`, or something that needs it. No is no answer. Clusters only come
  // to need more, also when their nodes move to another, so that a yes stays true.
  bool KnownToNeed(int cluster, int target) const {
    constexpr int kMostUsers = 8;
    for (int user = 0; user < kMostUsers && target != kNone; ++user) {
      if (IsAbove(target, cluster)) return true;
      target = first_user_[static_cast<size_t>(target)];
    }
    return false;
  }

  void SwapPlaces(int a, int b) {
    std::swap(place_[static_cast<size_t>(a)], place_[static_cast<size_t>(b)]);
    at_[static_cast<size_t>(Place(a))] = a;
    at_[static_cast<size_t>(Place(b))] = b;
  }

  // Restores the order of `place_` for what node `id` of cluster `index` reads: the cluster is needed by none of it.
  void SourcesBefore(NodeId id, int index) {
    for (Ref ref : graph_.node(id).inputs) {
      if (ClusterOf(ref) == index) continue;
      ForEachSource(ref, [&](int source) {
        if (Place(source) > Place(index)) MoveBefore(source, index);
      });
    }
  }

  // Moves `source`, and what it needs, from behind `index` to the places before it.
  void MoveBefore(int source, int index) {
    const int low = Place(index), high = Place(source);
    ++stamp_;
    std::vector<int> needed{source};
    Meet(source);
    for (size_t next = 0; next < needed.size(); ++next) {
      ForEachSourceOf(needed[next], [&](int cluster) {
        if (Place(cluster) > low && Meet(cluster)) needed.push_back(cluster);
      });
    }
    looked_at_ += high - low;
    const auto first = at_.begin() + low, last = at_.begin() + high + 1;
    std::stable_partition(first, last, [&](int cluster) { return visited_[static_cast<size_t>(cluster)] == stamp_; });
    for (int place = low; place <= high; ++place) place_[static_cast<size_t>(at_[static_cast<size_t>(place)])] = place;
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
      SourcesBefore(id, index);
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
    // Users of either are behind the earlier place; what either needs may be behind it too.
    if (Place(from) < Place(into)) SwapPlaces(from, into);
    for (NodeId id : clusters_[static_cast<size_t>(into)].cluster.nodes) SourcesBefore(id, into);
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
  // An order of the clusters in which each comes behind those whose values it needs: places of the clusters, and the
  // clusters at the places. An empty cluster, whose nodes have moved to another, keeps a place that means nothing.
  std::vector<int> place_, at_;
  struct TreeNode {
    int parent, jump;
    int depth = 0;
  };
  std::vector<TreeNode> tree_;   // of clusters, each below one it needs
  std::vector<int> first_user_;  // of each cluster, or kNone
  std::vector<uint32_t> visited_;
  uint32_t stamp_ = 0;
  int64_t looked_at_ = 0;
};

}  // namespace

std::vector<FusedCluster> FormClusters(const Program& program, const Backend& preferred, bool fuse,
                                       int64_t* looked_at) {
  Fuser fuser(program, preferred, fuse);
  std::vector<FusedCluster> clusters = fuser.Run();
  if (looked_at != nullptr) *looked_at = fuser.looked_at();
  return clusters;
}

}  // namespace weir
