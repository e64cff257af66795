#include "weir/core/passes/lower.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "weir/core/fingerprint.h"

namespace weir {
namespace {

// A value as a cluster knows it: the output of the node at a place among its own, or one of its inputs.
Ref LocalRef(const Cluster& cluster, const absl::flat_hash_map<NodeId, int>& places, Ref ref) {
  const auto place = places.find(ref.node);
  return place != places.end() ? Ref{place->second, ref.output} : Ref{-1 - cluster.input_index(ref), 0};
}

// All that a backend can know of a cluster but where in the graph it is: two clusters that agree are lowered alike.
struct Signature {
  std::vector<Ref> refs;  // what the nodes read, one after another, then the outputs
  std::vector<int> places;  // of anchor and tail, or -1; the size of the prologue

  explicit Signature(const Cluster& cluster) {
    absl::flat_hash_map<NodeId, int> place_of;
    for (NodeId id : cluster.nodes) place_of[id] = static_cast<int>(place_of.size());
    for (NodeId id : cluster.nodes) {
      for (Ref ref : cluster.node(id).inputs) refs.push_back(LocalRef(cluster, place_of, ref));
    }
    for (Ref ref : cluster.outputs) refs.push_back(LocalRef(cluster, place_of, ref));
    for (const std::optional<NodeId>& id : {cluster.anchor, cluster.tail}) places.push_back(id ? place_of.at(*id) : -1);
    places.push_back(static_cast<int>(cluster.prologue));
  }
};

uint64_t HashOf(const Cluster& cluster, const Signature& signature) {
  uint64_t hash = absl::HashOf(signature.refs, signature.places, cluster.shape);
  for (NodeId id : cluster.nodes) {
    const Node& node = cluster.node(id);
    hash = absl::HashOf(hash, HashNode(*node.op, node.attrs, {}), node.outputs);
  }
  for (Ref ref : cluster.inputs) hash = absl::HashOf(hash, cluster.type(ref), cluster.node(ref.node).op);
  return hash;
}

bool Alike(const Cluster& a, const Signature& of_a, const Cluster& b, const Signature& of_b) {
  const auto same_node = [&](NodeId x, NodeId y) {
    const Node &m = a.node(x), &n = b.node(y);
    return m.op == n.op && m.inputs.size() == n.inputs.size() && m.outputs == n.outputs && m.attrs == n.attrs;
  };
  const auto same_input = [&](Ref x, Ref y) {
    return a.type(x) == b.type(y) && a.node(x.node).op == b.node(y.node).op;
  };
  return of_a.refs == of_b.refs && of_a.places == of_b.places && a.shape == b.shape &&
         a.outputs.size() == b.outputs.size() && std::ranges::equal(a.nodes, b.nodes, same_node) &&
         std::ranges::equal(a.inputs, b.inputs, same_input);
}

// The steps lowered so far, by what they are.
class LoweredSteps {
 public:
  // The index of a step whose cluster is like this one; if there is none, `next` is from now on.
  std::optional<size_t> FindOrAdd(const Cluster& cluster, std::span<const PlanStep> steps, size_t next) {
    Signature signature(cluster);
    std::vector<Entry>& alike = entries_[HashOf(cluster, signature)];
    for (const Entry& entry : alike) {
      if (Alike(cluster, signature, steps[entry.step].cluster, entry.signature)) return entry.step;
    }
    alike.push_back({next, std::move(signature)});
    return std::nullopt;
  }

 private:
  struct Entry {
    size_t step;
    Signature signature;
  };
  absl::flat_hash_map<uint64_t, std::vector<Entry>> entries_;
};

}  // namespace

absl::StatusOr<std::vector<PlanStep>> LowerClusters(std::vector<FusedCluster> clusters,
                                                    std::span<const Backend* const> backends,
                                                    std::span<const std::string> forbid) {
  std::vector<PlanStep> steps;
  steps.reserve(clusters.size());
  LoweredSteps lowered;
  for (FusedCluster& fused : clusters) {
    PlanStep step;
    step.not_joined = std::move(fused.not_joined);
    if (const std::optional<size_t> like = lowered.FindOrAdd(fused.cluster, steps, steps.size())) {
      step.backend = steps[*like].backend;
      step.lowering = steps[*like].lowering;
      step.declined = steps[*like].declined;
      step.cluster = std::move(fused.cluster);
      steps.push_back(std::move(step));
      continue;
    }
    for (const Backend* backend : backends) {
      std::variant<Lowering, Decline> answer = backend->Lower(fused.cluster);
      if (const Decline* decline = std::get_if<Decline>(&answer)) {
        step.declined.push_back(StrCat(backend->name(), ": ", decline->reason));
        continue;
      }
      step.backend = backend->name();
      step.lowering = std::get<Lowering>(std::move(answer));
      break;
    }
    if (step.backend.empty()) {
      return absl::UnimplementedError(
          StrCat("no backend takes ", Describe(fused.cluster), ": ", StrJoin(step.declined, "; ")));
    }
    if (std::find(forbid.begin(), forbid.end(), step.backend) != forbid.end()) {
      return absl::FailedPreconditionError(StrCat(Describe(fused.cluster), " falls back to ", step.backend,
                                                  ", which is forbidden: ", StrJoin(step.declined, "; ")));
    }
    step.cluster = std::move(fused.cluster);
    steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace weir
