#include "weir/frontend/call_context.h"

#include <algorithm>

#include "weir/core/error.h"
#include "weir/frontend/layer.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

// Streams of dropout lie far above those of initial weights, which are counted from 0.
constexpr uint64_t kDropoutStreams = uint64_t{1} << 32;

}  // namespace

Value CallContext::Weight(const Variable& variable) {
  const auto [found, added] = weight_index_.try_emplace(variable.id(), weights_.size());
  if (added) {
    const Value leaf = graph_->Input(variable.type(), variable.leaf_name());
    weights_.emplace_back(variable, leaf);
    named_.push_back({path_.empty() ? variable.leaf_name() : StrCat(path_, "/", variable.leaf_name()), leaf});
  }
  for (const Assignment& assigned : assignments_) {
    if (assigned.variable == variable) return StopGradient(assigned.value);
  }
  return weights_[found->second].second;
}

void CallContext::Assign(const Variable& variable, const Value& value) {
  const auto where = [&] { return StrCat("Assign: variable ", variable.path(), " at ", path_); };
  if (!training_) {
    ThrowFailedPrecondition(where(), ": only a training step changes variables, ask context.training() first");
  }
  if (variable.trainable()) {
    ThrowInvalidArgument(where(), " is trainable, what changes it is the optimizer: make it with .trainable = false");
  }
  if (!value.defined() || value.type() != variable.type()) {
    ThrowInvalidArgument(where(), " is ", variable.type(), ", cannot be assigned ",
                         value.defined() ? StrCat(value.type()) : "an undefined value");
  }
  Weight(variable);  // there is a leaf to store it in, though nobody may have read it
  Name(value, StrCat(variable.leaf_name(), "/assigned"));
  for (Assignment& assigned : assignments_) {
    if (assigned.variable != variable) continue;
    assigned.value = value;
    return;
  }
  assignments_.push_back({variable, weights_[weight_index_.at(variable.id())].second, value});
}

Value CallContext::Activate(const Activation& activation, const Value& x) {
  Name(x, "pre_activation");
  return activation(x);
}

Value CallContext::Drop(const Value& x, double rate, std::optional<uint64_t> seed, std::optional<Shape> noise_shape) {
  const uint64_t stream = kDropoutStreams + next_stream_++;
  if (!training_ || rate == 0) return Identity(x);
  if (!step_.defined()) step_ = graph_->Input({DType::kInt64, Shape{}}, "step");
  return Dropout(x, rate, step_, seed.value_or(seed_), stream, std::move(noise_shape));
}

Value CallContext::Identity(const Value& x) { return Reshape(x, x.shape().dims()); }

void CallContext::Regularize(const Regularizer& regularizer, const Value& output) {
  if (!regularizer.defined()) return;
  losses_.push_back(regularizer.Penalty(output) / static_cast<double>(std::max<int64_t>(output.shape()[0], 1)));
}

void CallContext::Name(const Value& value, std::string_view name) {
  if (graph_->node(value.ref.node).name.empty()) graph_->SetName(value.ref.node, std::string(name));
  named_.push_back({path_.empty() ? std::string(name) : StrCat(path_, "/", name), value});
}

std::vector<Value> CallContext::CallLayer(const LayerBase& layer, std::string_view scope,
                                          std::span<const Value> inputs) {
  const std::string outer = path_;
  path_ = outer.empty() ? std::string(scope) : StrCat(outer, "/", scope);
  Graph::LayerScope layer_scope(*graph_, scope);
  Graph::SourceScope source_scope(*graph_, layer.where());
  std::vector<Value> outputs = layer.Call(*this, inputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    Name(outputs[i], outputs.size() == 1 ? "output" : StrCat("output_", i));
  }
  path_ = outer;
  return outputs;
}

}  // namespace weir
