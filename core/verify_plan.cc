// The independent checker of plans: knows nothing of how a plan was made, only what its steps read and write.
#include <algorithm>
#include <map>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "weir/core/error.h"
#include "weir/core/op_def.h"
#include "weir/core/passes/rewrite.h"
#include "weir/core/plan.h"

namespace weir {
namespace {

// Bytes of one space: an input, an output, the arena, or what is kept.
struct Range {
  Location::Kind kind = Location::Kind::kNone;
  int64_t space = 0;
  int64_t begin = 0, end = 0;

  bool Overlaps(const Range& other) const {
    return kind == other.kind && space == other.space && begin < other.end && other.begin < end;
  }
  friend bool operator==(const Range&, const Range&) = default;
};

Range RangeOf(const Location& location, int64_t bytes) {
  if (location.kind == Location::Kind::kArena || location.kind == Location::Kind::kKept)
    return {location.kind, 0, location.index, location.index + bytes};
  return {location.kind, location.index, 0, bytes};
}

class Checker {
 public:
  explicit Checker(const Plan& plan) : plan_(plan), graph_(*plan.program.graph) {}

  absl::Status Run() {
    for (size_t i = 0; i < plan_.program.inputs.size(); ++i) {
      const Ref leaf = plan_.program.inputs[i];
      Take(RangeOf({Location::Kind::kInput, static_cast<int64_t>(i)}, graph_.type(leaf).bytes()), leaf);
    }
    for (size_t s = 0; s < plan_.steps.size(); ++s) WEIR_RETURN_IF_ERROR(CheckStep(s));
    for (const PlanCopy& copy : plan_.copies) WEIR_RETURN_IF_ERROR(CheckCopy(copy));
    return CheckResults();
  }

 private:
  // Where the bytes of a value begin, so that ranges of one space lie next to each other.
  using Begin = std::tuple<Location::Kind, int64_t, int64_t>;
  static Begin BeginOf(const Range& range) { return {range.kind, range.space, range.begin}; }

  struct Owned {
    Range range;
    Ref value;
  };
  // Ranges that don't overlap, each with the value that owns it; none of them is empty.
  using Ownership = std::map<Begin, Owned>;

  // The first range that overlaps `range`, or the first behind it.
  static Ownership::const_iterator FirstAt(const Ownership& owned, const Range& range) {
    auto at = owned.lower_bound(BeginOf(range));
    if (at != owned.begin() && std::prev(at)->second.range.Overlaps(range)) --at;
    return at;
  }

  std::string StepName(size_t s) const { return StrCat("step ", s, " (", Describe(plan_.steps[s].cluster), ")"); }

  bool Intact(const Range& range, Ref value) const {
    if (range.begin == range.end) return true;
    const auto found = owned_.find(BeginOf(range));
    return found != owned_.end() && found->second.range == range && found->second.value == value;
  }

  // The bytes of `range` now belong to `value`; whatever lay there is lost.
  void Take(const Range& range, Ref value) {
    Lose(range);
    if (range.begin != range.end) owned_[BeginOf(range)] = {range, value};
  }
  void Lose(const Range& range) {
    if (range.begin == range.end) return;
    auto at = FirstAt(owned_, range);
    while (at != owned_.end() && at->second.range.Overlaps(range)) at = owned_.erase(at);
  }

  absl::Status CheckBounds(const Range& range, const std::string& who) const {
    if (range.kind == Location::Kind::kNone) return absl::InternalError(StrCat(who, " has no place"));
    if (range.kind != Location::Kind::kArena && range.kind != Location::Kind::kKept) return absl::OkStatus();
    const bool arena = range.kind == Location::Kind::kArena;
    const int64_t bytes = arena ? plan_.arena_bytes : plan_.kept_bytes;
    if (range.begin < 0 || range.end > bytes) {
      return absl::InternalError(StrCat(who, " lies outside of ", arena ? "the arena" : "what is kept", ": [",
                                        range.begin, ", ", range.end, ") of ", bytes, " bytes"));
    }
    if (range.begin % 64 != 0) {
      return absl::InternalError(StrCat(who, " is not aligned: ", arena ? "arena+" : "kept+", range.begin));
    }
    return absl::OkStatus();
  }

  absl::Status CheckMayWrite(const Range& range, const std::string& who) const {
    if (range.kind == Location::Kind::kInput && !plan_.input_written[static_cast<size_t>(range.space)]) {
      return absl::InternalError(StrCat(who, " is written over input ", range.space, ", which is no variable"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckStep(size_t s) {
    const PlanStep& step = plan_.steps[s];
    const std::string name = StepName(s);
    if (step.inputs.size() != step.cluster.inputs.size() || step.outputs.size() != step.cluster.outputs.size()) {
      return absl::InternalError(StrCat(name, " does not place all of its operands"));
    }
    std::vector<Range> reads, writes;
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const Ref value = ResolveAlias(graph_, step.cluster.inputs[i]);
      const Range range = RangeOf(step.inputs[i], graph_.type(value).bytes());
      WEIR_RETURN_IF_ERROR(CheckBounds(range, StrCat("input ", i, " of ", name)));
      if (!Intact(range, value)) {
        return absl::InternalError(StrCat(name, " reads ", graph_.Path(value.node), " at ", step.inputs[i],
                                          ", where it is not (any more)"));
      }
      reads.push_back(range);
    }
    for (size_t o = 0; o < step.outputs.size(); ++o) {
      const Range range = RangeOf(step.outputs[o], graph_.type(step.cluster.outputs[o]).bytes());
      const std::string who = StrCat("output ", o, " of ", name);
      WEIR_RETURN_IF_ERROR(CheckBounds(range, who));
      WEIR_RETURN_IF_ERROR(CheckMayWrite(range, who));
      for (size_t i = 0; i < reads.size(); ++i) {
        if (!range.Overlaps(reads[i])) continue;
        const bool paired = std::any_of(step.lowering.in_place.begin(), step.lowering.in_place.end(), [&](InPlacePair p) {
          return p.input == static_cast<int>(i) && p.output == static_cast<int>(o);
        });
        if (!paired || range != reads[i]) {
          return absl::InternalError(StrCat(who, " overwrites input ", i, " (", graph_.Path(step.cluster.inputs[i].node),
                                            ") while it is read"));
        }
      }
      for (const Range& other : writes) {
        if (range.Overlaps(other)) return absl::InternalError(StrCat(who, " overlaps another output"));
      }
      writes.push_back(range);
    }
    if (step.lowering.workspace_bytes > 0) {
      const Range workspace = RangeOf(step.workspace, step.lowering.workspace_bytes);
      WEIR_RETURN_IF_ERROR(CheckBounds(workspace, StrCat("workspace of ", name)));
      WEIR_RETURN_IF_ERROR(CheckKept(step, workspace, name));
      for (const std::vector<Range>* ranges : {&reads, &writes}) {
        for (const Range& range : *ranges) {
          if (workspace.Overlaps(range)) return absl::InternalError(StrCat("workspace of ", name, " overlaps an operand"));
        }
      }
      Lose(workspace);
    }
    for (size_t o = 0; o < writes.size(); ++o) Take(writes[o], step.cluster.outputs[o]);
    return absl::OkStatus();
  }

  // What is kept belongs to one step alone, all through the run and the next, and is made from a leaf that stays.
  absl::Status CheckKept(const PlanStep& step, const Range& workspace, const std::string& name) {
    const bool kept = workspace.kind == Location::Kind::kKept;
    if (kept != (step.prepared_from.kind == Location::Kind::kKept))
      return absl::InternalError(StrCat("workspace of ", name, " is kept without what it is made from, or the reverse"));
    if (!kept) return absl::OkStatus();
    if (!step.lowering.prepared_input) return absl::InternalError(StrCat(name, " prepares nothing, but is kept"));
    const auto input = static_cast<size_t>(*step.lowering.prepared_input);
    const Location& place = step.inputs[input];
    if (place.kind != Location::Kind::kInput || plan_.input_written[static_cast<size_t>(place.index)])
      return absl::InternalError(StrCat(name, " is prepared from ", place, ", which does not stay"));
    const Range from = RangeOf(step.prepared_from, graph_.type(step.cluster.inputs[input]).bytes());
    WEIR_RETURN_IF_ERROR(CheckBounds(from, StrCat("what ", name, " is prepared from")));
    for (const Range& range : {workspace, from}) {
      const auto next = FirstAt(kept_, range);
      if (next != kept_.end() && next->second.range.Overlaps(range))
        return absl::InternalError(StrCat("what ", name, " keeps overlaps what is kept"));
      kept_[BeginOf(range)] = {range, {}};
    }
    return absl::OkStatus();
  }

  absl::Status CheckCopy(const PlanCopy& copy) {
    const Range from = RangeOf(copy.from, copy.bytes), to = RangeOf(copy.to, copy.bytes);
    WEIR_RETURN_IF_ERROR(CheckBounds(from, "source of a final copy"));
    WEIR_RETURN_IF_ERROR(CheckBounds(to, "target of a final copy"));
    WEIR_RETURN_IF_ERROR(CheckMayWrite(to, "target of a final copy"));
    if (from.begin == from.end) return absl::OkStatus();
    const auto source = owned_.find(BeginOf(from));
    if (source == owned_.end() || source->second.range != from)
      return absl::InternalError(StrCat("a final copy reads ", copy.from, ", where no value is"));
    const Ref value = source->second.value;
    if (from.Overlaps(to)) return absl::InternalError(StrCat("a final copy overlaps itself at ", copy.from));
    Take(to, value);
    return absl::OkStatus();
  }

  absl::Status CheckResults() const {
    if (plan_.roots.size() != plan_.program.roots.size()) return absl::InternalError("not every root has a place");
    for (size_t r = 0; r < plan_.roots.size(); ++r) {
      const Ref root = plan_.program.roots[r];
      const Ref value = ResolveAlias(graph_, root);
      if (!Intact(RangeOf(plan_.roots[r], graph_.type(value).bytes()), value)) {
        return absl::InternalError(StrCat("root ", r, " (", graph_.Path(root.node), ") is not at ", plan_.roots[r]));
      }
    }
    absl::flat_hash_map<Ref, int64_t> input_of;
    for (size_t i = 0; i < plan_.program.inputs.size(); ++i) {
      input_of.try_emplace(plan_.program.inputs[i], static_cast<int64_t>(i));
    }
    const std::vector<bool> needed = Reachable(plan_.program);
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node& node = graph_.node(id);
      if (!needed[static_cast<size_t>(id)] || node.op->kind != OpKind::kAssign) continue;
      const auto variable = input_of.find(node.inputs[0]);
      if (variable == input_of.end())
        return absl::InternalError(StrCat("variable ", graph_.Path(node.inputs[0].node), " is no input"));
      const int64_t index = variable->second;
      const Ref value = ResolveAlias(graph_, node.inputs[1]);
      if (!Intact(RangeOf({Location::Kind::kInput, index}, graph_.type(value).bytes()), value)) {
        return absl::InternalError(StrCat("variable ", graph_.Path(node.inputs[0].node), " does not end with its new value"));
      }
    }
    return absl::OkStatus();
  }

  const Plan& plan_;
  const Graph& graph_;
  Ownership kept_;  // by steps; the values don't matter
  Ownership owned_;
};

}  // namespace

absl::Status VerifyPlan(const Plan& plan) { return Checker(plan).Run(); }

}  // namespace weir
