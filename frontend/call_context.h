// CallContext: what a layer records its ops with. It knows the graph, the mode of the run (training or inference is
// an argument of the run, never state of a layer), the leaves of weights met so far, and the names under which values
// can be tapped. Made by whoever records a model; layers only use it.
#ifndef WEIR_FRONTEND_CALL_CONTEXT_H_
#define WEIR_FRONTEND_CALL_CONTEXT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weir/core/graph.h"
#include "weir/frontend/parts/activations.h"
#include "weir/frontend/variable.h"

namespace weir {

class LayerBase;

// A value under a full path: "sequential/conv2d/pre_activation", "sequential/conv2d/kernel".
struct NamedValue {
  std::string path;
  Value value;
};

class CallContext {
 public:
  // `seed` is that of the model: the key of all its dropout masks.
  CallContext(std::shared_ptr<Graph> graph, bool training, uint64_t seed)
      : graph_(std::move(graph)), training_(training), seed_(seed) {}
  CallContext(const CallContext&) = delete;
  CallContext& operator=(const CallContext&) = delete;

  const std::shared_ptr<Graph>& graph() const { return graph_; }
  bool training() const { return training_; }

  // ---- For layers --------------------------------------------------------------------------------------------
  // A variable's value at this point of the run: the leaf that stands for it, the same one for each call, until
  // something is assigned to it; from then on that, through which no gradient flows.
  Value Weight(const Variable& variable);
  // A training step gives a variable that is not trainable this value: how a layer keeps a moving mean or counts
  // batches. It is stored when all of the step is done, unless the step changes nothing (a loss that is not finite,
  // where a callback guards the weights). Of several assignments, also by other uses of a layer, the last is stored,
  // and each sees those before. Throws Error outside of training (ask training() first), for a trainable variable, and
  // for a value of another type.
  void Assign(const Variable& variable, const Value& value);
  // Applies an activation and names its argument "pre_activation".
  Value Activate(const Activation& activation, const Value& x);
  // Dropout in training, the same values otherwise. Each use has its own stream of random numbers; `seed` replaces
  // the model's.
  Value Drop(const Value& x, double rate, std::optional<uint64_t> seed, std::optional<Shape> noise_shape);
  // The same values as another node of the graph, so that a tap of this layer is not the layer's before.
  Value Identity(const Value& x);
  // Adds the penalty of a layer's output, divided by the batch size, to the loss of training; nothing without a
  // regularizer.
  void Regularize(const Regularizer& regularizer, const Value& output);
  // Names a value inside the current layer.
  void Name(const Value& value, std::string_view name);

  // ---- For models and trainers -------------------------------------------------------------------------------------
  // Calls a layer under `scope` ("conv2d", or "dense#1" for the second use) and names its outputs.
  std::vector<Value> CallLayer(const LayerBase& layer, std::string_view scope, std::span<const Value> inputs);

  // What layers assigned: the variable's leaf, and the value it gets.
  struct Assignment {
    Variable variable;
    Value leaf;
    Value value;
  };
  const std::vector<Assignment>& assignments() const { return assignments_; }

  const std::vector<std::pair<Variable, Value>>& weights() const { return weights_; }
  const std::vector<NamedValue>& named() const { return named_; }
  const std::vector<Value>& losses() const { return losses_; }
  // The scalar int64 leaf that counts steps, if anything random was recorded.
  const Value& step() const { return step_; }

 private:
  std::shared_ptr<Graph> graph_;
  bool training_;
  uint64_t seed_;
  uint64_t next_stream_ = 0;
  std::string path_;  // of the layer that is recording
  Value step_;
  std::vector<std::pair<Variable, Value>> weights_;
  absl::flat_hash_map<const void*, size_t> weight_index_;
  std::vector<NamedValue> named_;
  std::vector<Value> losses_;
  std::vector<Assignment> assignments_;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_CALL_CONTEXT_H_
