// What core and a backend say to each other. Core forms clusters of nodes; a backend says what may join a cluster
// and turns a finished cluster into kernels, or declines with a reason. A kernel sees buffers and a task index, never
// threads, graphs or allocators.
#ifndef WEIR_CORE_BACKEND_H_
#define WEIR_CORE_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "weir/core/graph.h"
#include "weir/core/kernel_errors.h"
#include "weir/core/op_def.h"
#include "weir/core/strings.h"
#include "weir/core/thread_pool.h"

namespace weir {

// A group of nodes that one backend computes as a unit: at most one anchor, behind it elementwise nodes over the
// anchor's output shape (the epilogue), before it elementwise nodes over the shape of its operand 0, which the last of
// them is (the prologue), and behind the epilogue another anchor that reads one value of it (the tail: a pool), with any
// number of extra inputs and outputs. An anchor or a tail may have more outputs than the one that the cluster goes on
// with (a pool's index); like others they are computed if they are among `outputs`.
//
// Constants and counter ops that the nodes use are members too (recomputed in every cluster that uses them); they
// come before their users. `nodes` is in topological order: prologue, anchor, epilogue with the tail among it. Values of
// the epilogue have shape `shape`, and its inputs broadcast to it; those of the prologue have the operand's. No node of
// the epilogue reads a value of the prologue, other than constants and counters, or the tail's, or of the anchor's any
// but the first.
struct Cluster {
  const Graph* graph = nullptr;
  std::vector<NodeId> nodes;
  std::optional<NodeId> anchor;
  size_t prologue = 0;       // so many of `nodes` come before the anchor
  std::optional<NodeId> tail;
  std::vector<Ref> inputs;   // distinct values computed outside, in order of first use
  std::vector<Ref> outputs;  // values used outside: roots, taps, operands of other clusters
  Shape shape;               // the iteration space of the epilogue

  const Node& node(NodeId id) const { return graph->node(id); }
  const TensorType& type(Ref ref) const { return graph->type(ref); }
  bool contains(NodeId id) const;
  bool in_prologue(NodeId id) const;
  // Position of a value among the inputs, or -1.
  int input_index(Ref ref) const;
  int output_index(Ref ref) const;
};

// "conv+add+relu", for plans and profiles.
std::string Describe(const Cluster& cluster);

// Why a backend will not take a node or a cluster; printed in the plan.
struct Decline {
  std::string reason;
};

struct KernelCall {
  const void* state;                 // Stage::state
  const std::byte* const* inputs;    // one a cluster input
  std::byte* const* outputs;         // one a cluster output
  std::byte* workspace;              // Lowering::workspace_bytes, shared by all tasks and stages; 64-byte aligned
  std::byte* scratch;                // Stage::scratch_bytes, private to the running task; 64-byte aligned
  int64_t task;                      // 0 .. Stage::tasks - 1
  KernelErrors* errors;
};
using KernelFn = void (*)(const KernelCall& call) noexcept;

// One parallel pass: `tasks` independent calls, with a barrier behind the last.
struct Stage {
  KernelFn run = nullptr;
  std::shared_ptr<const void> state;
  int64_t tasks = 1;  // cut by shapes alone, never by the number of threads
  int64_t scratch_bytes = 0;
};

// Output `output` may be written over input `input`: same bytes, and every task has read an element before it writes
// it, and no other task reads it.
struct InPlacePair {
  int input = 0;
  int output = 0;
};

struct Lowering {
  std::string kernel;  // short text for plans and profiles: "direct 8x2, 32 tasks"
  std::vector<Stage> stages;
  int64_t workspace_bytes = 0;
  // The cluster input that alone the first stage reads, if what it makes of it in the workspace is written by no other
  // stage: a filter's panels, or its transform. Where a run finds it made from the same data, it need not be made again.
  std::optional<int> prepared_input = {};
  std::vector<InPlacePair> in_place;
};

// The pairs that are safe for any kernel that computes the epilogue element by element (or block by block, loading
// all inputs of a block before storing its outputs): inputs of the cluster's full shape that only epilogue nodes
// read, with outputs of the epilogue of equal element size.
std::vector<InPlacePair> PointwisePairs(const Cluster& cluster);

// Whether there is nothing to do: no output has elements, and no indices are to be checked.
bool HasNoWork(const Cluster& cluster);

// Values from outside that the cluster would read, with those of `node` besides its own.
size_t CountOperands(const Cluster& cluster, const Node& node);

// Work of one run of a cluster: floating-point operations, and bytes that must move (inputs and outputs once each).
double ClusterFlops(const Cluster& cluster);
double ClusterBytes(const Cluster& cluster);

// What a backend can show of a lowering's insides.
enum class CodeView : uint8_t { kLoops, kLlvmIr, kAssembly };

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;
  // All that changes what Lower makes (target, options): part of the plan cache's key.
  virtual std::string config_key() const = 0;
  // Whether `node` (elementwise, or the cluster's first node) may be part of `cluster`; nullopt means yes. An empty
  // cluster asks whether the node may start one.
  virtual std::optional<Decline> MayJoin(const Cluster& cluster, const Node& node) const = 0;
  // Whether the elementwise `cluster` may become the prologue of `anchor`, whose operand 0 it computes; what is not
  // refused here must not be declined later.
  virtual std::optional<Decline> MayPrecede(const Cluster& cluster, const Node& anchor) const {
    (void)cluster, (void)anchor;
    return Decline{StrCat(name(), " has no prologues")};
  }
  // Likewise, whether the anchor `node`, whose only operand the cluster computes, may become its tail.
  virtual std::optional<Decline> MayFollow(const Cluster& cluster, const Node& node) const {
    (void)cluster, (void)node;
    return Decline{StrCat(name(), " computes nothing behind an epilogue")};
  }
  virtual std::variant<Lowering, Decline> Lower(const Cluster& cluster) const = 0;
  // Whether this machine lets the backend work, as far as that is known by now: asked before every compilation, and
  // again when Finalize has failed. One that may not work is passed over by a runtime.
  virtual absl::Status Usable() const { return absl::OkStatus(); }
  // Called once a plan with all lowerings this backend made for it, before the first run: where a JIT compiles, on the
  // threads of `pool`.
  virtual absl::Status Finalize(std::span<Lowering* const> lowerings, ThreadPool& pool) const {
    (void)lowerings, (void)pool;
    return absl::OkStatus();
  }
  // Text of the code behind a lowering that this backend made, for people; "" if there is none to see.
  virtual std::string Show(const Lowering& lowering, CodeView view) const {
    (void)lowering, (void)view;
    return "";
  }
};

}  // namespace weir

#endif  // WEIR_CORE_BACKEND_H_
