// A tiny evaluator for tests of the ops alone: runs the references of a graph's nodes one after the other, without
// plans, backends or fusion.
#ifndef WEIR_TESTS_INTERPRET_H_
#define WEIR_TESTS_INTERPRET_H_

#include <span>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weir/core/error.h"
#include "weir/core/graph.h"
#include "weir/core/kernel_errors.h"
#include "weir/core/op_def.h"
#include "weir/core/tensor.h"

namespace weir {

class Interpreter {
 public:
  // Gives a leaf its data; Data leaves have it already.
  void Bind(const Value& leaf, Tensor tensor) {
    WEIR_CHECK(tensor.type() == leaf.type(), tensor.type(), " for ", leaf.type());
    tensors_[leaf.ref] = std::move(tensor);
  }

  Tensor Evaluate(const Value& value) { return EvaluateRef(*value.graph, value.ref); }
  std::vector<Tensor> Evaluate(std::span<const Value> values) {
    std::vector<Tensor> tensors;
    for (const Value& value : values) tensors.push_back(Evaluate(value));
    return tensors;
  }

  const KernelErrors& errors() const { return errors_; }

 private:
  Tensor EvaluateRef(const Graph& graph, Ref ref) {
    if (const auto found = tensors_.find(ref); found != tensors_.end()) return found->second;
    const Node& node = graph.node(ref.node);
    if (node.op->kind == OpKind::kLeaf) {
      Tensor data = graph.data(ref);
      WEIR_CHECK(data.defined(), "leaf ", ref, " has no data");
      return tensors_[ref] = std::move(data);
    }
    std::vector<Tensor> inputs, outputs;
    std::vector<TensorType> input_types, output_types(node.outputs.begin(), node.outputs.end());
    std::vector<const std::byte*> input_data;
    std::vector<std::byte*> output_data;
    for (Ref input : node.inputs) {
      inputs.push_back(EvaluateRef(graph, input));
      input_types.push_back(inputs.back().type());
      input_data.push_back(std::as_const(inputs.back()).raw());
    }
    for (const TensorType& type : output_types) {
      outputs.push_back(Tensor::Uninitialized(type));
      output_data.push_back(outputs.back().raw());
    }
    WEIR_CHECK(node.op->reference != nullptr, node.op->name);
    node.op->reference({node.attrs, input_types, output_types, input_data, output_data, errors_});
    for (int i = 0; i < static_cast<int>(outputs.size()); ++i)
      tensors_[{ref.node, i}] = outputs[static_cast<size_t>(i)];
    return outputs[static_cast<size_t>(ref.output)];
  }

  absl::flat_hash_map<Ref, Tensor> tensors_;
  KernelErrors errors_;
};

// The value of a graph whose leaves carry their data.
inline Tensor Interpret(const Value& value) { return Interpreter().Evaluate(value); }

}  // namespace weir

#endif  // WEIR_TESTS_INTERPRET_H_
