// The graph: an append-only arena of nodes. Recording an op appends a node and infers its output types at once, so
// misuse is reported at the line that made it; node order is a topological order, which makes the graph its own tape
// for differentiation. Nothing here computes.
#ifndef WEIR_CORE_GRAPH_H_
#define WEIR_CORE_GRAPH_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "weir/core/attrs.h"
#include "weir/core/shape.h"
#include "weir/core/tensor.h"

namespace weir {

struct OpDef;
class Graph;

using NodeId = int32_t;

// One output of one node of a known graph.
struct Ref {
  NodeId node = -1;
  int32_t output = 0;

  friend bool operator==(const Ref&, const Ref&) = default;
  friend auto operator<=>(const Ref&, const Ref&) = default;
  template <class H>
  friend H AbslHashValue(H h, const Ref& ref) {
    return H::combine(std::move(h), ref.node, ref.output);
  }
};
std::ostream& operator<<(std::ostream& out, const Ref& ref);  // "%12" or "%12.1"

// Where a node comes from: for messages, profiles and taps.
struct Origin {
  int32_t layer = 0;            // index into the graph's layer paths; 0 is the empty path
  bool backward = false;        // recorded by Gradients
  uint32_t line = 0;            // source line that recorded the op
  const char* file = "";
};

// A symbol: a value of a graph, not data. Operators and the functions of ops/ops.h work on it. Cheap to copy.
struct Value {
  std::shared_ptr<Graph> graph;
  Ref ref;

  bool defined() const { return graph != nullptr; }
  const TensorType& type() const;
  const Shape& shape() const { return type().shape; }
  DType dtype() const { return type().dtype; }
};

// What the functions of ops/ops.h take: a Value or a plain number, with the line that wrote it. Made implicitly.
struct Operand {
  Operand(const Value& v, std::source_location l = std::source_location::current()) : value(v), where(l) {}  // NOLINT
  Operand(double n, std::source_location l = std::source_location::current())  // NOLINT
      : number(n), is_number(true), where(l) {}

  Value value;  // undefined for a number
  double number = 0;
  bool is_number = false;  // if neither, the Value that was given is undefined
  std::source_location where;
};

struct Node {
  const OpDef* op = nullptr;
  AttrMap attrs;
  absl::InlinedVector<Ref, 3> inputs;
  absl::InlinedVector<TensorType, 1> outputs;
  Origin origin;
  std::string name;  // "" unless Named() was called: the last part of the node's path for taps
};

class Graph : public std::enable_shared_from_this<Graph> {
 public:
  static std::shared_ptr<Graph> Create();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Appends a node. Throws Error if the op rejects its inputs or attributes; the graph is then unchanged. The inputs
  // must be of this graph.
  NodeId Append(const OpDef& op, std::span<const Ref> inputs, AttrMap attrs,
                std::source_location where = std::source_location::current());

  // Appends a copy of a node of another graph (or this one) with other inputs of the same types: for passes, which
  // build a new graph from an old one. Nothing is inferred again.
  NodeId AppendCopy(const Graph& from, NodeId id, std::span<const Ref> inputs);

  // Gives node `to` layer, line, direction and name of a node of another graph.
  void CopyOrigin(const Graph& from, NodeId id, NodeId to);

  // A leaf whose data is given when the graph is run: by position, in the order of an Executable's inputs.
  Value Input(TensorType type, std::string name = "", std::source_location where = std::source_location::current());
  // A leaf that carries its data; the data is no part of the structure, so recording it anew with other elements of
  // the same type hits the plan cache.
  Value Data(Tensor tensor, std::string name = "", std::source_location where = std::source_location::current());

  const Node& node(NodeId id) const { return nodes_[static_cast<size_t>(id)]; }
  int32_t size() const { return static_cast<int32_t>(nodes_.size()); }
  const TensorType& type(Ref ref) const { return node(ref.node).outputs[static_cast<size_t>(ref.output)]; }
  Value value(Ref ref) { return {shared_from_this(), ref}; }

  // The tensor a value has: of a Data leaf, or of any value once Evaluate has computed it (it is then a leaf to later
  // evaluations). Undefined if it has none.
  Tensor data(Ref ref) const;
  void SetData(Ref ref, Tensor tensor);

  // Names a node, for taps, printing and messages.
  void SetName(NodeId id, std::string name) { nodes_[static_cast<size_t>(id)].name = std::move(name); }
  // "sequential/conv2d/pre_activation": the layer path, then the name or, without one, op name and id ("relu_12").
  std::string Path(NodeId id) const;
  const std::string& LayerPath(int32_t layer) const { return layer_paths_[static_cast<size_t>(layer)]; }

  // While alive, new nodes belong to the layer path extended by `part`.
  class [[nodiscard]] LayerScope {
   public:
    LayerScope(Graph& graph, std::string_view part);
    ~LayerScope() { graph_.current_layer_ = previous_; }
    LayerScope(const LayerScope&) = delete;
    LayerScope& operator=(const LayerScope&) = delete;

   private:
    Graph& graph_;
    int32_t previous_;
  };
  // While alive, new nodes are said to come from this line, whichever line records them: the user's, where a library
  // records for him. Of a location without a line (line 0) each node has its own.
  class [[nodiscard]] SourceScope {
   public:
    SourceScope(Graph& graph, std::source_location where)
        : graph_(graph), previous_(std::exchange(graph.current_source_, where)) {}
    ~SourceScope() { graph_.current_source_ = previous_; }
    SourceScope(const SourceScope&) = delete;
    SourceScope& operator=(const SourceScope&) = delete;

   private:
    Graph& graph_;
    std::source_location previous_;
  };
  // While alive, new nodes are marked backward and take the layer and line of a given forward node.
  class [[nodiscard]] BackwardScope {
   public:
    BackwardScope(Graph& graph, NodeId forward);
    ~BackwardScope();
    BackwardScope(const BackwardScope&) = delete;
    BackwardScope& operator=(const BackwardScope&) = delete;

   private:
    Graph& graph_;
    std::optional<Origin> previous_;
  };

 private:
  Graph() = default;

  // A deque: references to nodes stay valid while gradient functions append.
  std::deque<Node> nodes_;
  mutable std::mutex data_mutex_;  // guards data_
  absl::flat_hash_map<Ref, Tensor> data_;
  int32_t InternLayer(std::string path);

  std::vector<std::string> layer_paths_{""};
  absl::flat_hash_map<std::string, int32_t> layer_index_;
  int32_t current_layer_ = 0;
  std::source_location current_source_ = {};
  std::optional<Origin> forced_origin_;
};

inline const TensorType& Value::type() const { return graph->type(ref); }

}  // namespace weir

#endif  // WEIR_CORE_GRAPH_H_
