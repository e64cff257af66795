// ModelBase: a network of layers as a layer: how models are built, named, seeded, recorded and nested. What users
// hold is Model (model.h); how a model is trained is in trainer.h.
#ifndef WEIR_FRONTEND_MODEL_BASE_H_
#define WEIR_FRONTEND_MODEL_BASE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weir/frontend/network.h"

namespace weir {

class Runtime;
class Trainer;

struct ModelOptions {
  std::string name = {};       // default: "sequential", "model"
  uint64_t seed = 0;           // of initial weights, dropout and shuffling
  Runtime* runtime = nullptr;  // not owned; null: DefaultRuntime()
};

class ModelBase : public LayerBase {
 public:
  // A Sequential: built once an input shape is known.
  ModelBase(std::vector<Layer> layers, const ModelOptions& options);
  // A functional model.
  ModelBase(std::vector<SymbolicTensor> inputs, std::vector<SymbolicTensor> outputs, const ModelOptions& options);
  ~ModelBase() override;

  // Adds a layer to a Sequential. Throws Error for a functional model.
  void AddLayer(const Layer& layer);

  bool sequential() const { return sequential_; }
  // Sequential: the layers as given; functional: with the input layers, in Keras's order.
  std::vector<Layer> layers() const;
  // Throws Error if the model is not built.
  const Network& network() const;
  // Of each output, the name losses, metrics and history know it by: its layer's, made unique.
  std::vector<std::string> OutputNames() const;
  std::vector<std::string> InputNames() const;
  // Calls of layers that one call of the model records, those inside of nested models counted each time these are
  // called; 0 if not built, at most 2^62.
  int64_t call_count() const { return call_count_; }

  // What the recording of a training step depends on besides types: the ids of the weights to train, and the layers
  // with state that are trainable, since a frozen one may keep its state.
  std::vector<const void*> Trained() const;

  // Names of the classes that labels count, of the data it was trained on; none if the data had none.
  const std::vector<std::string>& class_names() const { return class_names_; }
  void SetClassNames(std::vector<std::string> names) { class_names_ = std::move(names); }
  // What bytes are multiplied with before input 0 takes them: as in training, or 1 for a model whose first layer is a
  // Rescaling. Nothing if neither is so: then nobody has said.
  std::optional<double> InputScale() const;
  // True once: who is told it says what is to be said once of a model.
  bool FirstWarning() const { return !warned_.exchange(true); }
  bool warned() const { return warned_.load(); }

  uint64_t seed() const { return seed_; }
  // Weights that have no value yet will come from this seed.
  void SetSeed(uint64_t seed);
  Runtime& runtime() const;
  void SetRuntime(Runtime* runtime);
  Trainer& trainer();

  // As a layer.
  void Check(std::span<const TensorSpec> inputs) const override;
  void Build(std::span<const TensorSpec> inputs) override;
  std::vector<Value> Call(CallContext& context, std::span<const Value> inputs) const override;
  std::vector<TensorSpec> OutputSpecs(std::span<const TensorSpec> inputs) const override;
  std::vector<Variable> weights() const override;
  std::vector<Variable> trainable_weights() const override;
  void SetTrainable(bool trainable) override;
  bool SameInBatches(std::span<const int64_t> sizes) const override;
  bool is_model() const override { return true; }
  nlohmann::json Config() const override;
  nlohmann::json ToJson() const override;

 private:
  void AddTrainableStates(std::vector<const void*>& ids) const;
  std::vector<TensorSpec> KnownInput() const;
  void NameOwnLayers();
  void ConnectSequential(const SymbolicTensor& input);
  void Finish(Network network);
  void CountCall(const LayerCall& call);
  void SeedWeights(bool override_earlier);
  void SeedLayer(const Layer& layer, bool override_earlier);

  mutable std::atomic<bool> warned_{false};
  bool sequential_;
  uint64_t seed_;
  Runtime* runtime_;
  std::vector<Layer> given_;                 // of a Sequential, without input layers
  std::vector<SymbolicTensor> given_input_;  // of a Sequential: Input(...) in front, if there was one
  // Of a Sequential: its names, of so many of the given layers, and whether its input's is among them.
  LayerNames names_;
  size_t named_ = 0;
  bool input_named_ = false;
  std::unique_ptr<Network> network_;
  std::vector<Layer> listed_;  // of a Sequential: as given, but each knowing its use in the network
  uint64_t seeded_ = 0;        // weights of the network's layers: the next one's stream
  std::unique_ptr<Trainer> owned_trainer_;
  std::atomic<Trainer*> trainer_{nullptr};  // the same, once it is made
  int64_t call_count_ = 0;
  std::vector<std::string> class_names_;
};

// The model a handle stands for. Throws Error if it is no model.
ModelBase& AsModel(const Layer& layer);

}  // namespace weir

#endif  // WEIR_FRONTEND_MODEL_BASE_H_
