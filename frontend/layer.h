// Layers. LayerBase is what a kind of layer implements: which weights it needs, which ops it records. Layer is the
// handle that users hold: copies are the same layer, with the same weights, in however many models it is used.
//
//   Layer conv = Conv2D({.filters = 32, .kernel_size = 3});
//   SymbolicTensor y = conv(Input({32, 32, 3}));   // builds the layer and adds a call to the layer graph
//
// A layer without a name of its own gets one from the first model it joins ("conv2d", "conv2d_1"), counted per model.
#ifndef WEIR_FRONTEND_LAYER_H_
#define WEIR_FRONTEND_LAYER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/core/fork_guard.h"
#include "weir/frontend/call_context.h"
#include "weir/frontend/layer_config.h"
#include "weir/frontend/symbolic.h"
#include "weir/frontend/variable.h"

namespace weir {

// The line that calls, as the default of a last parameter: where a layer was made.
using Here = std::source_location;

// Options that every layer has; each layer's own struct repeats them.
struct LayerOptions {
  std::string name = {};  // "": the model chooses one
  bool trainable = true;
  std::vector<int64_t> input_shape = {};  // without the batch axis; for the first layer of a Sequential
};

// Held by whoever changes the layer graph: calls a layer, builds or names it, makes a model of it. Threads may describe
// models of the same layers at once, and use them; a thread may hold it more than once.
class [[nodiscard]] DescriptionLock {
 public:
  DescriptionLock();

 private:
  LibraryCall call_;
  std::unique_lock<std::recursive_mutex> lock_;
};

// How often layers, any of this process, have changed in a way that programs recorded before don't know of.
int64_t LayerChanges();

class LayerBase : public std::enable_shared_from_this<LayerBase> {
 public:
  LayerBase(std::string class_name, LayerOptions options);
  virtual ~LayerBase() = default;
  LayerBase(const LayerBase&) = delete;
  LayerBase& operator=(const LayerBase&) = delete;

  // ---- What a kind of layer implements

  // Throws Error if the layer can't take such inputs: called before Build and before each call. The default wants one
  // input.
  virtual void Check(std::span<const TensorSpec> inputs) const;
  // Makes the weights (AddWeight) for inputs of these types. Called once, before the first call.
  virtual void Build(std::span<const TensorSpec> inputs);
  // Records the layer's ops. Inputs have the rank and channels that Check has seen. What a training step is to keep for
  // the next (a moving mean) is a weight that is not trainable, read with context.Weight and set with context.Assign.
  virtual std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const = 0;
  // What a layer of one's own is made again from when a model with it is loaded (layers/custom.h). The default: nothing.
  virtual LayerConfig Options() const { return {}; }
  // The options in Keras's spelling, without name, trainable and dtype. The default has those of Options().
  virtual nlohmann::json Config() const;
  // Types of the outputs. The default records Call with sample sizes in place of unknown dimensions.
  virtual std::vector<TensorSpec> OutputSpecs(std::span<const TensorSpec> inputs) const;
  // All weights, the trainable ones first.
  virtual std::vector<Variable> weights() const;
  // Those that training changes: none of a layer that is not trainable.
  virtual std::vector<Variable> trainable_weights() const;
  // Whether, when the layer predicts, a sample's result has the same bits in batches of all these sizes, whatever the
  // others of the batch are. A layer of one's own that says so lets Predict answer batches of ever new sizes from
  // programs it has (PredictOptions).
  virtual bool SameInBatches(std::span<const int64_t> /*sizes*/) const { return false; }
  virtual bool is_input() const { return false; }
  virtual bool is_model() const { return false; }

  // ---- What all have in common
  // ------------------------------------------------------------------------------------------
  const std::string& class_name() const { return class_name_; }
  // The name, or while there is none what names are counted from.
  std::string name() const;
  bool has_name() const { return !name_.empty(); }
  // The class name in snake case, unless a kind of layer knows better.
  virtual std::string DefaultName() const;
  virtual void SetName(std::string name);
  bool trainable() const { return trainable_; }
  virtual void SetTrainable(bool trainable) { trainable_ = trainable; }
  bool built() const { return built_; }
  // Whether it has weights that are not trainable: state that its own training steps may change.
  bool has_state() const { return !other_weights_.empty(); }
  const std::vector<int64_t>& input_shape_option() const { return input_shape_; }
  // The user's line that made the layer, for messages and profiles: all its ops are said to come from there. Of a layer
  // that was not told (line 0) each op names its own line.
  const Here& where() const { return where_; }
  void SetWhere(const Here& where) { where_ = where; }
  // Order of creation in this process: what names are counted by.
  int64_t serial() const { return serial_; }

  // Checks, and builds if that has not happened yet.
  void EnsureBuilt(std::span<const TensorSpec> inputs);
  // The calls that are still part of some model or expression.
  std::vector<std::shared_ptr<const LayerCall>> Calls() const;
  std::shared_ptr<const LayerCall> AddCall(std::vector<SymbolicTensor> inputs);
  // {"module", "class_name", "config", "registered_name", "build_config"}.
  virtual nlohmann::json ToJson() const;
  const std::vector<TensorSpec>& built_for() const { return built_for_; }

 protected:
  Variable AddWeight(VariableOptions options);
  // "Conv2D layer "conv2d": ": how messages of a layer start.
  std::string Where() const;
  // Throws Error unless there are `count` inputs.
  void CheckCount(std::span<const TensorSpec> inputs, int count) const;
  // Throws Error, in Keras's words, unless input 0 has this rank, or at least so many axes.
  void CheckRank(const TensorSpec& input, int rank) const;
  void CheckMinRank(const TensorSpec& input, int rank) const;
  // Throws Error unless the last axis has the size the layer was built for, which must be known.
  void CheckChannels(const TensorSpec& input) const;
  void SetBuilt(std::span<const TensorSpec> inputs);
  // What is recorded from now on differs: models and steps with this layer record anew.
  static void Changed();

 private:
  std::string class_name_;
  std::string name_;
  bool trainable_;
  std::vector<int64_t> input_shape_;
  int64_t serial_;
  Here where_;
  std::atomic<bool> built_{false};  // set when all that building makes is there
  std::vector<TensorSpec> built_for_;
  std::vector<Variable> trainable_weights_, other_weights_;
  mutable std::vector<std::weak_ptr<const LayerCall>> calls_;
  size_t prune_calls_at_ = 16;
  int next_call_ = 0;
};

// "MaxPooling2D" -> "max_pooling2d".
std::string SnakeCase(const std::string& class_name);

class Layer {
 public:
  Layer() = default;
  explicit Layer(std::shared_ptr<LayerBase> base, std::vector<std::shared_ptr<const LayerCall>> uses = {})
      : base_(std::move(base)), uses_(std::move(uses)) {}
  // A new layer, made at this line.
  Layer(std::shared_ptr<LayerBase> base, const Here& where);
  Layer(const Activation& activation, Here where = Here::current());  // NOLINT: Activation("relu") where a layer is wanted
  Layer(const SymbolicTensor& input);   // NOLINT: Input({32, 32, 3}) as the first layer of a Sequential

  // Calls the layer on outputs of others. Throws Error if the layer can't take them, or has more than one output
  // (Outputs gives all).
  SymbolicTensor operator()(const SymbolicTensor& input) const;
  SymbolicTensor operator()(const std::vector<SymbolicTensor>& inputs) const;
  std::vector<SymbolicTensor> Outputs(const std::vector<SymbolicTensor>& inputs) const;

  // Records the layer, or all of a model, on values of a graph: a model as a function. Weights are leaves that carry
  // their values of now, so that Evaluate computes the result; one that is not built yet is built for these values. In
  // training dropout draws as in step `step`; layers' state stays as it is, and what trains is a TrainStep
  // (custom_step.h). Throws Error as the layer does.
  Value operator()(const Value& x, bool training = false, int64_t step = 0) const;
  std::vector<Value> Outputs(const std::vector<Value>& inputs, bool training = false, int64_t step = 0) const;

  bool defined() const { return base_ != nullptr; }
  std::string name() const { return base().name(); }
  const std::string& class_name() const { return base().class_name(); }
  bool built() const { return base().built(); }
  bool trainable() const { return base().trainable(); }
  void set_trainable(bool trainable) const { base().SetTrainable(trainable); }

  // Weights, the trainable ones first. The layer must be built for `kernel` and `bias`; a layer that has none throws.
  std::vector<Variable> weights() const { return base().weights(); }
  std::vector<Variable> trainable_weights() const { return base().trainable_weights(); }
  std::vector<Variable> non_trainable_weights() const;
  Variable weight(const std::string& name) const;
  Variable kernel() const { return weight("kernel"); }
  Variable bias() const { return weight("bias"); }
  int64_t count_params() const;

  // What the layer takes and gives in the model it was taken from (model.layer(0)), or in its only call. Throws Error
  // if it has not been called, or several times: then output(i) says which.
  SymbolicTensor input() const;
  SymbolicTensor output() const;
  SymbolicTensor output(int use) const;
  const std::vector<int64_t>& output_shape() const { return output().shape(); }

  // Configuration as Keras writes it.
  std::string ConfigText() const;

  LayerBase& base() const;
  const std::shared_ptr<LayerBase>& shared() const { return base_; }
  const std::vector<std::shared_ptr<const LayerCall>>& uses() const { return uses_; }
  friend bool operator==(const Layer& a, const Layer& b) { return a.base_ == b.base_; }

 protected:
  std::shared_ptr<LayerBase> base_;

 private:
  std::shared_ptr<const LayerCall> OnlyCall() const;

  std::vector<std::shared_ptr<const LayerCall>> uses_;
};

// Outputs of each layer, in order: what an extractor model is made of. Input layers are included.
std::vector<SymbolicTensor> OutputsOf(std::span<const Layer> layers);

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYER_H_
