#include "weir/core/passes/schedule.h"

#include <algorithm>
#include <queue>

#include "absl/container/flat_hash_map.h"
#include "weir/core/error.h"
#include "weir/core/op_def.h"
#include "weir/core/passes/rewrite.h"

namespace weir {
namespace {

class Scheduler {
 public:
  Scheduler(const Program& program, const std::vector<PlanStep>& steps)
      : graph_(*program.graph), program_(program), steps_(steps), after_(steps.size()), before_(steps.size()), seen_(steps.size(), 0) {
    for (size_t s = 0; s < steps_.size(); ++s) {
      for (Ref output : steps_[s].cluster.outputs) producer_[output] = static_cast<int>(s);
    }
    for (size_t s = 0; s < steps_.size(); ++s) {
      for (Ref input : steps_[s].cluster.inputs) {
        const Ref base = ResolveAlias(graph_, input);
        readers_[base].push_back(static_cast<int>(s));
        if (const int from = Producer(base); from >= 0 && from != static_cast<int>(s)) AddEdge(from, static_cast<int>(s));
      }
    }
  }

  int64_t looked_at() const { return looked_at_; }

  std::vector<int> Run() {
    const std::vector<int> order = TopologicalOrder();
    WEIR_CHECK(order.size() == steps_.size(), "clusters need each other in a circle");
    place_.resize(order.size());
    for (size_t i = 0; i < order.size(); ++i) place_[static_cast<size_t>(order[i])] = static_cast<int>(i);
    const std::vector<bool> needed = Reachable(program_);
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node& node = graph_.node(id);
      if (!needed[static_cast<size_t>(id)] || node.op->kind != OpKind::kAssign) continue;
      const Ref variable = node.inputs[0];
      const int last = Producer(ResolveAlias(graph_, node.inputs[1]));
      if (last < 0) continue;
      for (int writer : {FirstWriter(last, ResolveAlias(graph_, node.inputs[1]), variable), last}) {
        if (TryReadersBefore(variable, writer)) break;
      }
    }
    return TopologicalOrder();
  }

 private:
  int Producer(Ref ref) const {
    const auto found = producer_.find(ref);
    return found == producer_.end() ? -1 : found->second;
  }

  bool Reads(int step, Ref base) const {
    const std::vector<Ref>& inputs = steps_[static_cast<size_t>(step)].cluster.inputs;
    return std::any_of(inputs.begin(), inputs.end(), [&](Ref ref) { return ResolveAlias(graph_, ref) == base; });
  }

  // The new value may be made in several in-place stages (update, then projection onto a constraint), of which the
  // first reads the variable: the step that can be the first to overwrite it.
  int FirstWriter(int step, Ref value, Ref variable) const {
    constexpr int kMostStages = 4;
    for (int stage = 0; stage < kMostStages && !Reads(step, variable); ++stage) {
      const PlanStep& current = steps_[static_cast<size_t>(step)];
      const int output = current.cluster.output_index(value);
      int previous = -1;
      for (const InPlacePair& pair : current.lowering.in_place) {
        const Ref input = ResolveAlias(graph_, current.cluster.inputs[static_cast<size_t>(pair.input)]);
        if (pair.output != output || Producer(input) < 0 || graph_.type(input).bytes() != graph_.type(value).bytes()) continue;
        previous = Producer(input);
        value = input;
        break;
      }
      if (previous < 0) break;
      step = previous;
    }
    return step;
  }

  // All readers of the variable before its writer, or none of them if that makes a circle.
  bool TryReadersBefore(Ref variable, int writer) {
    std::vector<int> added;
    for (int reader : readers_[variable]) {
      if (reader == writer) continue;
      if (!MakeRoom(reader, writer)) {
        for (auto it = added.rbegin(); it != added.rend(); ++it) {
          after_[static_cast<size_t>(*it)].pop_back();
          before_[static_cast<size_t>(writer)].pop_back();
        }
        return false;
      }
      AddEdge(reader, writer);
      added.push_back(reader);
    }
    return true;
  }

  void AddEdge(int from, int to) {
    after_[static_cast<size_t>(from)].push_back(to);
    before_[static_cast<size_t>(to)].push_back(from);
  }

  // Changes `place_`, an order that respects all edges, so that `from` comes before `to` too; false if `to` is needed
  // for `from`. Only what lies between the two is looked at, after Pearce and Kelly, "A dynamic topological sort
  // algorithm for directed acyclic graphs" (2007): a variable's readers are hardly ever far behind its writer, so that
  // the whole takes about linear time.
  bool MakeRoom(int from, int to) {
    const int low = Place(to), high = Place(from);
    if (high < low) return true;
    const std::vector<int> behind = Collect(to, after_, [&](int s) { return Place(s) <= high; });
    if (std::find(behind.begin(), behind.end(), from) != behind.end()) return false;
    std::vector<int> moved = Collect(from, before_, [&](int s) { return Place(s) >= low; });
    moved.insert(moved.end(), behind.begin(), behind.end());
    std::vector<int> places;
    for (int s : moved) places.push_back(Place(s));
    std::sort(places.begin(), places.end());
    for (size_t i = 0; i < moved.size(); ++i) place_[static_cast<size_t>(moved[i])] = places[i];
    return true;
  }

  // The steps that `edges` lead to from `start` through steps for which `within` holds, in the order of their places.
  template <class Within>
  std::vector<int> Collect(int start, const std::vector<std::vector<int>>& edges, Within&& within) {
    ++stamp_;
    seen_[static_cast<size_t>(start)] = stamp_;
    std::vector<int> found{start};
    for (size_t next = 0; next < found.size(); ++next) {
      for (int s : edges[static_cast<size_t>(found[next])]) {
        if (seen_[static_cast<size_t>(s)] == stamp_ || !within(s)) continue;
        seen_[static_cast<size_t>(s)] = stamp_;
        found.push_back(s);
      }
    }
    looked_at_ += static_cast<int64_t>(found.size());
    std::sort(found.begin(), found.end(), [&](int a, int b) { return Place(a) < Place(b); });
    return found;
  }

  int Place(int step) const { return place_[static_cast<size_t>(step)]; }

  // Kahn's algorithm; of the steps that are ready, the one recorded first.
  std::vector<int> TopologicalOrder() const {
    std::vector<int> waiting(steps_.size(), 0);
    for (const std::vector<int>& successors : after_) {
      for (int s : successors) ++waiting[static_cast<size_t>(s)];
    }
    const auto later = [&](int a, int b) { return Key(a) > Key(b); };
    std::priority_queue<int, std::vector<int>, decltype(later)> ready(later);
    for (size_t s = 0; s < steps_.size(); ++s) {
      if (waiting[s] == 0) ready.push(static_cast<int>(s));
    }
    std::vector<int> order;
    while (!ready.empty()) {
      const int s = ready.top();
      ready.pop();
      order.push_back(s);
      for (int next : after_[static_cast<size_t>(s)]) {
        if (--waiting[static_cast<size_t>(next)] == 0) ready.push(next);
      }
    }
    return order;
  }

  // Recording order of the step's first real node.
  NodeId Key(int step) const {
    const Cluster& cluster = steps_[static_cast<size_t>(step)].cluster;
    if (cluster.anchor) return *cluster.anchor;
    for (NodeId id : cluster.nodes) {
      const OpKind kind = graph_.node(id).op->kind;
      if (kind != OpKind::kConstant && kind != OpKind::kCounter) return id;
    }
    return cluster.nodes.front();
  }

  const Graph& graph_;
  const Program& program_;
  const std::vector<PlanStep>& steps_;
  std::vector<std::vector<int>> after_, before_;
  std::vector<int> place_;  // of each step in an order that respects all edges
  std::vector<uint32_t> seen_;  // the last search that met a step
  uint32_t stamp_ = 0;
  int64_t looked_at_ = 0;
  absl::flat_hash_map<Ref, int> producer_;
  absl::flat_hash_map<Ref, std::vector<int>> readers_;
};

}  // namespace

std::vector<PlanStep> Schedule(const Program& program, std::vector<PlanStep> steps, int64_t* looked_at) {
  Scheduler scheduler(program, steps);
  const std::vector<int> order = scheduler.Run();
  if (looked_at != nullptr) *looked_at = scheduler.looked_at();
  std::vector<PlanStep> sorted;
  sorted.reserve(steps.size());
  for (int s : order) sorted.push_back(std::move(steps[static_cast<size_t>(s)]));
  return sorted;
}

}  // namespace weir
