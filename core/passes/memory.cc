#include "weir/core/passes/memory.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "weir/core/error.h"
#include "weir/core/op_def.h"
#include "weir/core/pack.h"
#include "weir/core/passes/rewrite.h"

namespace weir {
namespace {

// What is kept from run to run, of a step. A larger operand takes longer to be compared than a few threads take to
// prepare it again.
constexpr int64_t kMostPreparedFrom = int64_t{256} << 10;
constexpr int64_t kMostKept = int64_t{1} << 20;

class Planner {
 public:
  Planner(Plan& plan, bool reuse)
      : plan_(plan), graph_(*plan.program.graph), reuse_(reuse), last_step_(static_cast<int>(plan.steps.size())) {}

  void Run() {
    FindAssigns();
    FindLives();
    PlaceLeaves();
    PlaceAssigned();
    PlaceRoots();
    PlaceIntermediates();
    AssignOffsets();
    Resolve();
  }

 private:
  struct Life {
    int def = -1;       // step that computes it; -1 for a leaf
    int last_use = -1;  // last step that reads it
    bool kept = false;  // needed when all steps are done: a root, or what an assignment stores
    Location location;
    int slot = -1;
  };

  Ref Base(Ref ref) const { return ResolveAlias(graph_, ref); }

  void FindAssigns() {
    const std::vector<bool> needed = Reachable(plan_.program);
    for (NodeId id = 0; id < graph_.size(); ++id) {
      if (needed[static_cast<size_t>(id)] && graph_.node(id).op->kind == OpKind::kAssign) assigns_.push_back(id);
    }
  }

  void FindLives() {
    for (Ref input : plan_.program.inputs) lives_[input];
    for (int s = 0; s < last_step_; ++s) {
      const Cluster& cluster = plan_.steps[static_cast<size_t>(s)].cluster;
      for (Ref ref : cluster.outputs) lives_[ref].def = s;
    }
    for (int s = 0; s < last_step_; ++s) {
      for (Ref ref : plan_.steps[static_cast<size_t>(s)].cluster.inputs) {
        Life& life = lives_.at(Base(ref));
        life.last_use = std::max(life.last_use, s);
      }
    }
    for (Ref root : plan_.program.roots) {
      if (graph_.node(root.node).op->kind != OpKind::kAssign) lives_.at(Base(root)).kept = true;
    }
    // All of them before any is placed: the new value of one variable may be computed from that of another, or be the
    // old value of a third.
    for (NodeId id : assigns_) lives_.at(Base(graph_.node(id).inputs[1])).kept = true;
  }

  void PlaceLeaves() {
    for (size_t i = 0; i < plan_.program.inputs.size(); ++i) {
      lives_[plan_.program.inputs[i]].location = {Location::Kind::kInput, static_cast<int64_t>(i)};
    }
    plan_.input_written.assign(plan_.program.inputs.size(), false);
  }

  // Whether the pair list lets `output` of a step lie where its input `input` lies.
  bool MayTakeOver(int step, Ref input, Ref output) const {
    const PlanStep& s = plan_.steps[static_cast<size_t>(step)];
    const int o = s.cluster.output_index(output);
    int same_value = 0;
    bool paired = false;
    for (size_t i = 0; i < s.cluster.inputs.size(); ++i) {
      if (Base(s.cluster.inputs[i]) != input) continue;
      ++same_value;
      for (const InPlacePair& pair : s.lowering.in_place) {
        paired |= pair.input == static_cast<int>(i) && pair.output == o;
      }
    }
    // Read under two shapes, only one of the reads would be covered by the pair.
    return paired && same_value == 1;
  }

  // New values of variables: in the variable's own buffer, and with them the stages they were made in place from.
  void PlaceAssigned() {
    for (NodeId id : assigns_) {
      const Ref variable = graph_.node(id).inputs[0];
      const Ref value = Base(graph_.node(id).inputs[1]);
      const Life& old = lives_.at(variable);
      const Location place = old.location;
      plan_.input_written[static_cast<size_t>(place.index)] = true;
      const auto fits = [&](Ref candidate) {
        const Life& life = lives_.at(candidate);
        if (life.location.kind != Location::Kind::kNone || life.def < 0) return false;
        return life.def > old.last_use || (life.def == old.last_use && MayTakeOver(life.def, variable, candidate));
      };
      if (!reuse_ || old.kept || !fits(value)) {
        pending_.push_back({variable, value});
        continue;
      }
      Ref stage = value;
      lives_.at(stage).location = place;
      // Earlier stages: dying inputs that the stage may overwrite.
      while (true) {
        const int step = lives_.at(stage).def;
        Ref previous{};
        for (Ref input : plan_.steps[static_cast<size_t>(step)].cluster.inputs) {
          const Ref base = Base(input);
          const Life& life = lives_.at(base);
          if (life.kept || life.last_use != step || !fits(base) || !MayTakeOver(step, base, stage)) continue;
          previous = base;
          break;
        }
        if (previous.node < 0) break;
        lives_.at(previous).location = place;
        stage = previous;
      }
    }
  }

  void PlaceRoots() {
    plan_.roots.clear();
    for (size_t r = 0; r < plan_.program.roots.size(); ++r) {
      const Ref root = plan_.program.roots[r];
      const Node& node = graph_.node(root.node);
      if (node.op->kind == OpKind::kAssign) {
        plan_.roots.push_back(lives_.at(node.inputs[0]).location);
        continue;
      }
      const Location output{Location::Kind::kOutput, static_cast<int64_t>(r)};
      plan_.roots.push_back(output);
      Life& life = lives_.at(Base(root));
      if (life.location.kind == Location::Kind::kNone) {
        life.location = output;
      } else {
        root_copies_.push_back({Base(root), output});
      }
    }
  }

  void PlaceIntermediates() {
    for (int s = 0; s < last_step_; ++s) {
      PlanStep& step = plan_.steps[static_cast<size_t>(s)];
      std::vector<Ref> taken;  // inputs whose place has been given away at this step
      for (Ref output : step.cluster.outputs) {
        Life& life = lives_.at(output);
        if (life.location.kind != Location::Kind::kNone) continue;
        const int end = life.kept ? last_step_ : std::max(life.last_use, s);
        life.location.kind = Location::Kind::kArena;
        if (const Ref source = reuse_ ? DyingInput(s, output, taken) : Ref{}; source.node >= 0) {
          taken.push_back(source);
          life.slot = lives_.at(source).slot;
          slots_[static_cast<size_t>(life.slot)].end = end;
          continue;
        }
        life.slot = AddSlot(graph_.type(output).bytes(), s, end);
      }
      const bool planned = step.lowering.workspace_bytes > 0 && !Keep(step);
      workspace_slot_.push_back(planned ? AddSlot(step.lowering.workspace_bytes, s, s) : -1);
      for (const Stage& stage : step.lowering.stages) {
        plan_.scratch_bytes = std::max(plan_.scratch_bytes, AlignSlot(stage.scratch_bytes));
      }
    }
    // Copies at the end may need a place in between: see Resolve.
    for (Pending& pending : pending_) {
      if (lives_.at(pending.value).location.kind == Location::Kind::kInput) {
        pending.slot = AddSlot(graph_.type(pending.value).bytes(), last_step_, last_step_);
      }
    }
  }

  // Whether the step's workspace is kept, and where, since it may be prepared: from a leaf that runs do not change.
  bool Keep(PlanStep& step) {
    if (!step.lowering.prepared_input) return false;
    const Ref input = Base(step.cluster.inputs[static_cast<size_t>(*step.lowering.prepared_input)]);
    const Location place = lives_.at(input).location;
    const int64_t from_bytes = graph_.type(input).bytes();
    if (place.kind != Location::Kind::kInput || plan_.input_written[static_cast<size_t>(place.index)]) return false;
    if (from_bytes == 0 || from_bytes > kMostPreparedFrom || step.lowering.workspace_bytes > kMostKept) return false;
    const auto take = [&](int64_t bytes) {
      const Location at{Location::Kind::kKept, plan_.kept_bytes};
      plan_.kept_bytes += AlignSlot(bytes);
      return at;
    };
    step.workspace = take(step.lowering.workspace_bytes);
    step.prepared_from = take(from_bytes);
    return true;
  }

  Ref DyingInput(int step, Ref output, const std::vector<Ref>& taken) const {
    const PlanStep& s = plan_.steps[static_cast<size_t>(step)];
    for (Ref input : s.cluster.inputs) {
      const Ref base = Base(input);
      const Life& life = lives_.at(base);
      if (life.slot < 0 || life.kept || life.last_use != step) continue;
      if (slots_[static_cast<size_t>(life.slot)].bytes != graph_.type(output).bytes()) continue;
      if (std::find(taken.begin(), taken.end(), base) != taken.end()) continue;
      if (MayTakeOver(step, base, output)) return base;
    }
    return {};
  }

  int AddSlot(int64_t bytes, int begin, int end) {
    slots_.push_back({bytes, reuse_ ? begin : 0, reuse_ ? end : last_step_, -1});
    return static_cast<int>(slots_.size()) - 1;
  }

  void AssignOffsets() {
    plan_.arena_bytes = PackSlots(slots_);
    plan_.live_bytes = LargestLiveSet(slots_);
  }

  Location Place(Ref base) const {
    const Life& life = lives_.at(base);
    if (life.location.kind != Location::Kind::kArena) return life.location;
    return {Location::Kind::kArena, slots_[static_cast<size_t>(life.slot)].offset};
  }

  void Resolve() {
    for (int s = 0; s < last_step_; ++s) {
      PlanStep& step = plan_.steps[static_cast<size_t>(s)];
      for (Ref ref : step.cluster.inputs) step.inputs.push_back(Place(Base(ref)));
      for (Ref ref : step.cluster.outputs) step.outputs.push_back(Place(ref));
      const int workspace = workspace_slot_[static_cast<size_t>(s)];
      if (workspace >= 0) step.workspace = {Location::Kind::kArena, slots_[static_cast<size_t>(workspace)].offset};
    }
    // Roots first: they may be old values of variables. Then variables whose new value is a leaf go by way of the
    // arena, since that leaf may be a variable itself (a swap).
    for (const auto& [base, output] : root_copies_) {
      plan_.copies.push_back({Place(base), output, graph_.type(base).bytes()});
    }
    for (const Pending& pending : pending_) {
      if (pending.slot < 0) continue;
      plan_.copies.push_back({Place(pending.value),
                              {Location::Kind::kArena, slots_[static_cast<size_t>(pending.slot)].offset},
                              graph_.type(pending.value).bytes()});
    }
    for (const Pending& pending : pending_) {
      const Location from = pending.slot < 0
                                ? Place(pending.value)
                                : Location{Location::Kind::kArena, slots_[static_cast<size_t>(pending.slot)].offset};
      plan_.copies.push_back({from, Place(pending.variable), graph_.type(pending.value).bytes()});
    }
  }

  struct Pending {
    Ref variable;
    Ref value;
    int slot = -1;
  };

  Plan& plan_;
  const Graph& graph_;
  const bool reuse_;
  const int last_step_;
  std::vector<NodeId> assigns_;
  absl::flat_hash_map<Ref, Life> lives_;
  std::vector<Slot> slots_;
  std::vector<int> workspace_slot_;
  std::vector<Pending> pending_;
  std::vector<std::pair<Ref, Location>> root_copies_;
};

}  // namespace

void PlanMemory(Plan& plan, bool reuse) { Planner(plan, reuse).Run(); }

}  // namespace weir
