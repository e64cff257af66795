// Plan: what running a program will do. Steps in order, each one cluster lowered by one backend; where each value
// lies; how large the arena is. Fixed at compile time, so peak memory is known before the run.
#ifndef WEIR_CORE_PLAN_H_
#define WEIR_CORE_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "weir/core/backend.h"
#include "weir/core/program.h"

namespace weir {

// Where a value's bytes are.
struct Location {
  // kKept: memory that runs with one context find as the run before left it.
  enum class Kind : uint8_t { kNone, kInput, kOutput, kArena, kKept };
  Kind kind = Kind::kNone;
  int64_t index = 0;  // which input or output; for kArena and kKept the byte offset

  friend bool operator==(const Location&, const Location&) = default;
};
std::ostream& operator<<(std::ostream& out, const Location& location);

struct PlanStep {
  Cluster cluster;
  std::string backend;
  Lowering lowering;
  std::vector<Location> inputs;   // of the cluster's inputs and outputs, in its order
  std::vector<Location> outputs;
  // In the arena; or kept, if the first stage's work may be left out: see Lowering::prepared_input. A copy of that input,
  // to tell by, lies at `prepared_from`, kept too.
  Location workspace;
  Location prepared_from;
  std::vector<std::string> declined;  // "llvm: no lowering for gather": who would not take it, and why
  std::vector<std::string> not_joined;  // "relu_12: other shape": why neighbours are not part of the cluster
};

// A copy after the last step: a root that has its bytes elsewhere, or the new value of a variable that could not be
// computed in place.
struct PlanCopy {
  Location from;
  Location to;
  int64_t bytes = 0;
};

struct Plan {
  Program program;                 // optimised; its roots are in the order of the request
  std::vector<PlanStep> steps;
  std::vector<PlanCopy> copies;
  // Of each root: where it is found after the run. For an assigned variable, its input.
  std::vector<Location> roots;
  std::vector<bool> input_written;  // inputs that are variables: the run stores their new value in them
  int64_t arena_bytes = 0;         // intermediate values and workspaces at their planned places
  int64_t live_bytes = 0;          // the largest set of them alive at one step: no plan can be smaller
  int64_t kept_bytes = 0;          // workspaces that are kept from run to run, and what they were made from
  int64_t scratch_bytes = 0;       // a thread
  std::vector<std::string> log;    // what each pass did, and its time
};

// A node outside of every cluster (reshape, assign) lies where its input lies: the value that stands for it.
Ref ResolveAlias(const Graph& graph, Ref ref);

// Human-readable: program (one line a node), steps with clusters, backends, kernels, places and refusals, memory.
std::string ToText(const Program& program);
std::string ToText(const Plan& plan);
// Graphviz: nodes, or nodes boxed by cluster.
std::string ToDot(const Program& program);
std::string ToDot(const Plan& plan);

// Checks a plan independently of the planner, by walking it and tracking which value owns each byte: every step finds
// its inputs intact, writes no byte that somebody still needs, and every root is where the plan says. A failure names
// the step and both values.
absl::Status VerifyPlan(const Plan& plan);

}  // namespace weir

#endif  // WEIR_CORE_PLAN_H_
