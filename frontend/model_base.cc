#include "weir/frontend/model_base.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "weir/core/error.h"
#include "weir/frontend/layers/input.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/frontend/session.h"
#include "weir/frontend/trainer.h"

namespace weir {
namespace {

std::string UniqueName(const std::string& name, std::set<std::string>& taken) {
  std::string unique = name;
  for (int i = 1; !taken.insert(unique).second; ++i) unique = StrCat(name, "_", i);
  return unique;
}

// Each variable once, in order of first appearance.
std::vector<Variable> Unique(std::vector<Variable> variables) {
  std::set<const void*> seen;
  std::erase_if(variables, [&](const Variable& v) { return !seen.insert(v.id()).second; });
  return variables;
}

}  // namespace

ModelBase::ModelBase(std::vector<Layer> layers, const ModelOptions& options)
    : LayerBase("Sequential", {.name = options.name}),
      sequential_(true),
      seed_(options.seed),
      runtime_(options.runtime) {
  std::set<const LayerBase*> given;
  const DescriptionLock lock;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].defined() && layers[i].base().is_input() && i == 0) {
      given_input_.push_back(layers[i].output());
      continue;
    }
    if (!given.insert(&layers[i].base()).second) {
      ThrowInvalidArgument("Sequential: layer \"", layers[i].name(),
                           "\" is given twice. All layer names should be unique.");
    }
    given_.push_back(layers[i]);
  }
  NameOwnLayers();
  if (const std::vector<TensorSpec> input = KnownInput(); !input.empty()) EnsureBuilt(input);
}

ModelBase::ModelBase(std::vector<SymbolicTensor> inputs, std::vector<SymbolicTensor> outputs,
                     const ModelOptions& options)
    : LayerBase("Model", {.name = options.name}), sequential_(false), seed_(options.seed), runtime_(options.runtime) {
  const DescriptionLock lock;
  Network network = MapNetwork(std::move(inputs), std::move(outputs));
  names_.Add(network.layers);
  std::vector<TensorSpec> specs;
  for (const SymbolicTensor& input : network.inputs) specs.push_back(input.spec());
  Finish(std::move(network));
  SetBuilt(specs);
}

ModelBase::~ModelBase() = default;

void ModelBase::AddLayer(const Layer& layer) {
  const DescriptionLock lock;
  if (!sequential_) ThrowFailedPrecondition("Add: model \"", name(), "\" is no Sequential");
  if (layer.base().is_input() && given_.empty() && given_input_.empty()) {
    given_input_.push_back(layer.output());
    return;
  }
  if (std::find(given_.begin(), given_.end(), layer) != given_.end()) {
    ThrowInvalidArgument("Sequential: layer \"", layer.name(), "\" is added twice. All layer names should be unique.");
  }
  given_.push_back(layer);
  try {
    NameOwnLayers();
    if (built()) {
      const SymbolicTensor output = layer(network_->outputs[0]);
      if (network_->chain) {
        network_->Extend(output.call());
        CountCall(*output.call());
        listed_.push_back(network_->layers.back());
        SeedLayer(listed_.back(), /*override_earlier=*/false);
        if (Trainer* trainer = trainer_) trainer->Forget();
      } else {
        Finish(MapNetwork(network_->inputs, {output}));
      }
    } else if (const std::vector<TensorSpec> input = KnownInput(); !input.empty()) {
      EnsureBuilt(input);
    }
  } catch (...) {
    given_.pop_back();
    names_ = {};
    named_ = 0;
    input_named_ = false;
    throw;
  }
}

void ModelBase::NameOwnLayers() {
  std::vector<Layer> fresh(given_.begin() + static_cast<ptrdiff_t>(named_), given_.end());
  for (const Layer& layer : fresh) layer.base();  // throws for an undefined one
  const bool has_input = !given_input_.empty() && !given_.empty() && !input_named_;
  const bool input_unnamed = has_input && !given_input_[0].layer().base().has_name();
  if (has_input && !input_unnamed) fresh.push_back(given_input_[0].layer());
  names_.Add(fresh);
  input_named_ |= has_input && !input_unnamed;
  named_ = given_.size();
  if (input_unnamed) given_input_[0].layer().base().SetName(given_[0].name() + "_input");
}

// Of a Sequential: the input its first layer tells, if any.
std::vector<TensorSpec> ModelBase::KnownInput() const {
  if (given_.empty()) return {};
  if (!given_input_.empty()) return {given_input_[0].spec()};
  const LayerBase& first = given_[0].base();
  if (!first.input_shape_option().empty()) {
    TensorSpec spec{DType::kFloat32, {kNone}};
    spec.dims.insert(spec.dims.end(), first.input_shape_option().begin(), first.input_shape_option().end());
    return {spec};
  }
  if (first.is_model() && first.built() && first.built_for().size() == 1) return {first.built_for()[0]};
  return {};
}

void ModelBase::Build(std::span<const TensorSpec> inputs) {
  if (given_.empty()) ThrowFailedPrecondition("Sequential model \"", name(), "\" has no layers");
  if (!given_input_.empty()) {
    ConnectSequential(given_input_[0]);
    return;
  }
  TensorSpec spec = inputs[0];
  spec.dims[0] = kNone;
  ConnectSequential(
      Input({spec.dims.begin() + 1, spec.dims.end()}, {.dtype = spec.dtype, .name = given_[0].name() + "_input"}));
}

void ModelBase::ConnectSequential(const SymbolicTensor& input) {
  SymbolicTensor value = input;
  for (const Layer& layer : given_) value = layer(value);
  Finish(MapNetwork({input}, {value}));
}

void ModelBase::Finish(Network network) {
  network_ = std::make_unique<Network>(std::move(network));
  listed_.clear();
  if (sequential_) {
    absl::flat_hash_map<const LayerBase*, const Layer*> known;
    for (const Layer& layer : network_->layers) known[&layer.base()] = &layer;
    for (const Layer& given : given_) listed_.push_back(*known.at(&given.base()));
  }
  call_count_ = 0;
  for (const auto& call : network_->calls) CountCall(*call);
  SeedWeights(/*override_earlier=*/false);
  if (Trainer* trainer = trainer_) trainer->Forget();
}

void ModelBase::CountCall(const LayerCall& call) {
  constexpr int64_t kMost = int64_t{1} << 62;
  const int64_t count = call.layer->is_model() ? static_cast<const ModelBase&>(*call.layer).call_count_ : 1;
  call_count_ = count < kMost - call_count_ ? call_count_ + count : kMost;
}

void ModelBase::SeedWeights(bool override_earlier) {
  seeded_ = 0;
  for (const Layer& layer : network_->layers) SeedLayer(layer, override_earlier);
}

void ModelBase::SeedLayer(const Layer& layer, bool override_earlier) {
  for (Variable variable : layer.weights()) {
    variable.Seed(seed_, seeded_++, override_earlier || layer.base().is_model());
  }
}

void ModelBase::SetSeed(uint64_t seed) {
  seed_ = seed;
  if (network_ != nullptr) SeedWeights(/*override_earlier=*/true);
}

const Network& ModelBase::network() const {
  if (network_ == nullptr) {
    ThrowFailedPrecondition(
        "This model has not yet been built. Build the model first by calling `Build()` or by calling "
        "the model on a batch of data (model \"",
        name(), "\").");
  }
  return *network_;
}

std::vector<Layer> ModelBase::layers() const {
  if (!sequential_) return network().layers;
  return network_ == nullptr ? given_ : listed_;
}

std::vector<std::string> ModelBase::OutputNames() const {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const SymbolicTensor& output : network().outputs) {
    names.push_back(UniqueName(network().CallOf(output).layer->name(), taken));
  }
  return names;
}

std::vector<std::string> ModelBase::InputNames() const {
  std::vector<std::string> names;
  for (const auto& call : network().input_calls) names.push_back(call->layer->name());
  return names;
}

std::optional<double> ModelBase::InputScale() const {
  if (const std::optional<double> trained = InputScaleOf(*network().input_calls[0]->layer)) return trained;
  for (const auto& call : network().calls) {
    if (std::find(call->inputs.begin(), call->inputs.end(), network().inputs[0]) == call->inputs.end()) continue;
    if (call->layer->class_name() == "Rescaling") return 1;
    if (call->layer->is_model()) return static_cast<const ModelBase&>(*call->layer).InputScale();
  }
  return std::nullopt;
}

Runtime& ModelBase::runtime() const { return runtime_ != nullptr ? *runtime_ : DefaultRuntime(); }

void ModelBase::SetRuntime(Runtime* runtime) {
  runtime_ = runtime;
  if (Trainer* trainer = trainer_) trainer->Forget();
}

Trainer& ModelBase::trainer() {
  if (Trainer* trainer = trainer_) return *trainer;
  const DescriptionLock lock;
  if (owned_trainer_ == nullptr) {
    owned_trainer_ = std::make_unique<Trainer>(*this);
    trainer_ = owned_trainer_.get();
  }
  return *trainer_;
}

void ModelBase::Check(std::span<const TensorSpec> inputs) const {
  if (network_ == nullptr) {
    CheckCount(inputs, 1);
    CheckMinRank(inputs[0], 1);
    return;
  }
  CheckCount(inputs, static_cast<int>(network_->inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorSpec& expected = network_->inputs[i].spec();
    bool fits = expected.rank() == inputs[i].rank();
    for (int axis = 1; fits && axis < expected.rank(); ++axis) {
      const int64_t a = expected.dims[static_cast<size_t>(axis)], b = inputs[i].dims[static_cast<size_t>(axis)];
      fits = a == b || a == kNone || b == kNone;
    }
    if (!fits) {
      ThrowInvalidArgument("Input ", i, " of model \"", name(), "\" is incompatible with the model: expected shape ",
                           ShapeText(expected.dims), ", found shape ", ShapeText(inputs[i].dims));
    }
  }
}

std::vector<Value> ModelBase::Call(CallContext& context, std::span<const Value> inputs) const {
  const Network& net = network();
  std::map<SymbolicTensor, Value> values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    values[net.inputs[i]] = inputs[i];
    // Outputs may be asked for at the input layer too.
    values[SymbolicTensor(net.input_calls[i], 0)] = inputs[i];
    context.Name(inputs[i], net.input_calls[i]->layer->name() + "/output");
  }
  for (const auto& call : net.calls) {
    std::vector<Value> arguments;
    for (const SymbolicTensor& input : call->inputs) arguments.push_back(values.at(input));
    const std::vector<Value> results = context.CallLayer(*call->layer, net.ScopeOf(*call), arguments);
    // try_emplace: a value inside another model that this one is given is not computed again.
    for (size_t i = 0; i < results.size(); ++i)
      values.try_emplace(SymbolicTensor(call, static_cast<int>(i)), results[i]);
  }
  std::vector<Value> outputs;
  for (const SymbolicTensor& output : net.outputs) outputs.push_back(values.at(output));
  return outputs;
}

std::vector<TensorSpec> ModelBase::OutputSpecs(std::span<const TensorSpec> inputs) const {
  bool same = true;
  for (size_t i = 0; i < inputs.size(); ++i) same = same && inputs[i] == network().inputs[i].spec();
  if (!same) return LayerBase::OutputSpecs(inputs);
  std::vector<TensorSpec> specs;
  for (const SymbolicTensor& output : network().outputs) specs.push_back(output.spec());
  return specs;
}

std::vector<Variable> ModelBase::weights() const {
  std::vector<Variable> trainable, other;
  for (const Layer& layer : layers()) {
    for (const Variable& variable : layer.weights()) (variable.trainable() ? trainable : other).push_back(variable);
  }
  trainable.insert(trainable.end(), other.begin(), other.end());
  return Unique(std::move(trainable));
}

std::vector<Variable> ModelBase::trainable_weights() const {
  std::vector<Variable> all;
  if (!trainable()) return all;
  for (const Layer& layer : layers()) {
    for (const Variable& variable : layer.trainable_weights()) all.push_back(variable);
  }
  return Unique(std::move(all));
}

std::vector<const void*> ModelBase::Trained() const {
  std::vector<const void*> ids;
  for (const Variable& variable : trainable_weights()) ids.push_back(variable.id());
  AddTrainableStates(ids);
  return ids;
}

void ModelBase::AddTrainableStates(std::vector<const void*>& ids) const {
  for (const Layer& layer : network().layers) {
    const LayerBase& base = layer.base();
    if (base.is_model()) {
      AsModel(layer).AddTrainableStates(ids);
    } else if (base.has_state() && base.trainable()) {
      ids.push_back(&base);
    }
  }
}

bool ModelBase::SameInBatches(std::span<const int64_t> sizes) const {
  const std::vector<Layer>& all = network().layers;
  return std::all_of(all.begin(), all.end(), [&](const Layer& layer) { return layer.base().SameInBatches(sizes); });
}

void ModelBase::SetTrainable(bool trainable) {
  LayerBase::SetTrainable(trainable);
  for (const Layer& layer : layers()) layer.set_trainable(trainable);
}

ModelBase& AsModel(const Layer& layer) {
  if (!layer.base().is_model()) ThrowInvalidArgument("layer \"", layer.name(), "\" is no model");
  return static_cast<ModelBase&>(layer.base());
}

}  // namespace weir
