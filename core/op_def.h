// OpDef: an op as a row of data. Everything generic (printing, hashing, saving, fusing, verifying, differentiating)
// reads these fields; core knows no op by name. Rows are defined in ops/, one function returning the row per op.
#ifndef WEIR_CORE_OP_DEF_H_
#define WEIR_CORE_OP_DEF_H_

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/graph.h"

namespace weir {

// How an op takes part in fusion and planning.
enum class OpKind : uint8_t {
  kLeaf,         // data from outside: no kernel
  kConstant,     // one number, any shape; computed in registers wherever it is used
  kElementwise,  // output element i depends on input elements i (under broadcasting) alone
  kCounter,      // output element i depends on i and scalar inputs (random bits): recomputed by each cluster that uses it
  kAlias,        // output is input 0 under another shape, same bytes in the same order (reshape): no kernel
  kAssign,       // output is input 1, stored in the buffer of leaf input 0
  kAnchor,       // convolution, product, pooling, reduction, softmax: may head a cluster with an elementwise epilogue
  kOpaque,       // a kernel of its own; never fused
};

struct InferContext {
  const OpDef& op;
  const AttrMap& attrs;
  std::span<const TensorType> inputs;
};

// Output types, or throws Error: "Op: what was given, what was expected". The graph adds layer path and source line.
using InferFn = std::vector<TensorType> (*)(const InferContext& context);

struct GradientContext {
  Graph& graph;
  NodeId id;
  const Node& node;
  // One cotangent an output; undefined where nothing depends on that output.
  std::span<const Value> cotangents;

  Value input(int i) const { return graph.value(node.inputs[static_cast<size_t>(i)]); }
  Value output(int i = 0) const { return graph.value({id, i}); }
  const Value& cotangent(int i = 0) const { return cotangents[static_cast<size_t>(i)]; }
};

// One cotangent an input, as new nodes of the graph; undefined for an input without a gradient (integer, or constant
// almost everywhere). Null for an op none of whose outputs depends smoothly on its inputs.
using GradientFn = std::vector<Value> (*)(const GradientContext& context);

// A failure found while computing (a label out of range): the first one by element index wins, whatever the number of
// threads. Recording is safe from several threads.
class KernelErrors;

struct ReferenceCall {
  const AttrMap& attrs;
  std::span<const TensorType> input_types;
  std::span<const TensorType> output_types;
  std::span<const std::byte* const> inputs;
  std::span<std::byte* const> outputs;
  KernelErrors& errors;

  template <class T>
  const T* in(int i) const {
    return reinterpret_cast<const T*>(inputs[static_cast<size_t>(i)]);
  }
  template <class T>
  T* out(int i = 0) const {
    return reinterpret_cast<T*>(outputs[static_cast<size_t>(i)]);
  }
  const Shape& in_shape(int i) const { return input_types[static_cast<size_t>(i)].shape; }
  const Shape& out_shape(int i = 0) const { return output_types[static_cast<size_t>(i)].shape; }
};

// Computes all outputs on one thread, in the op's canonical order of operations: the definition that every backend
// equals bit for bit in float32. No exceptions.
using ReferenceFn = void (*)(const ReferenceCall& call);

// Floating-point operations of one node (an fma counts 2): for profiles and benchmarks.
using FlopsFn = double (*)(const AttrMap& attrs, std::span<const TensorType> inputs, std::span<const TensorType> outputs);

// A node about to be copied from one graph to the next by the simplify pass. Its inputs are already in the new graph.
struct SimplifyContext {
  Graph& graph;
  const Node& node;
  std::span<const Ref> inputs;

  const Node& producer(int i) const { return graph.node(inputs[static_cast<size_t>(i)].node); }
};

// A value of the new graph that equals the node's only output bit for bit and takes its place (x * 1, a reshape of a
// reshape), or nothing. It may append nodes.
using SimplifyFn = std::optional<Ref> (*)(const SimplifyContext& context);

struct OpDef {
  std::string_view name;  // "conv": lower_snake
  OpKind kind = OpKind::kOpaque;
  InferFn infer = nullptr;
  GradientFn gradient = nullptr;  // null: gradients stop here
  ReferenceFn reference = nullptr;
  FlopsFn flops = nullptr;  // null: one operation an output element
  bool differentiable = true;   // false: asking for a gradient through it is an error, not a stop
  SimplifyFn simplify = nullptr;
};

double Flops(const OpDef& op, const AttrMap& attrs, std::span<const TensorType> inputs,
             std::span<const TensorType> outputs);

// All ops a runtime knows, by name. Filled by an explicit list (ops/registry.h).
class OpRegistry {
 public:
  void Register(const OpDef& op);
  const OpDef* Find(std::string_view name) const;  // null if unknown
  std::span<const OpDef* const> all() const { return ops_; }

 private:
  std::vector<const OpDef*> ops_;
};

// The leaf op of Graph::Input and Graph::Data.
const OpDef& InputOp();

}  // namespace weir

#endif  // WEIR_CORE_OP_DEF_H_
