#include "weir/frontend/layer.h"

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <regex>

#include "weir/core/error.h"
#include "weir/frontend/layers/custom.h"
#include "weir/frontend/layers/layers.h"
#include "weir/frontend/layers/registry.h"
#include "weir/frontend/model_base.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/frontend/variable_locks.h"

namespace weir {
namespace {

// Names are chosen in order of creation, which nothing but this counter knows. It has no other effect.
int64_t NextSerial() {
  static std::atomic<int64_t> next{0};
  return next++;
}

// A shape with numbers in place of unknown dimensions. Two rounds with different numbers tell which dimensions of an
// output depend on them. The sizes are far beyond any window, and apart by more than any stride.
std::vector<TensorType> SampleTypes(std::span<const TensorSpec> specs, int round) {
  std::vector<TensorType> types;
  for (const TensorSpec& spec : specs) {
    Dims dims(spec.dims.begin(), spec.dims.end());
    for (size_t i = 0; i < dims.size(); ++i) {
      if (dims[i] == kNone) dims[i] = i == 0 ? 2 + round : 4096 * (1 + round) + static_cast<int64_t>(i);
    }
    types.push_back({spec.dtype, Shape(dims)});
  }
  return types;
}

bool AllKnown(std::span<const TensorSpec> specs) {
  for (const TensorSpec& spec : specs) {
    for (int64_t dim : spec.dims) {
      if (dim == kNone) return false;
    }
  }
  return true;
}

std::vector<TensorType> RecordOnce(const LayerBase& layer, const std::vector<TensorType>& inputs) {
  CallContext context(Graph::Create(), /*training=*/false, /*seed=*/0);
  std::vector<Value> values;
  for (const TensorType& type : inputs) values.push_back(context.graph()->Input(type));
  std::vector<TensorType> types;
  for (const Value& value : context.CallLayer(layer, layer.name(), values)) types.push_back(value.type());
  return types;
}

// The message of a failed recording with None for each number that comes from a sample size: those that another
// recording, with other samples, has otherwise.
std::string WithoutSamples(const LayerBase& layer, std::span<const TensorSpec> inputs, const std::string& message) {
  std::string other;
  try {
    RecordOnce(layer, SampleTypes(inputs, 1));
    return message;
  } catch (const Error& error) {
    other = error.message();
  }
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string text;
  size_t a = 0, b = 0;
  while (a < message.size() && b < other.size()) {
    if (!is_digit(message[a]) || !is_digit(other[b])) {
      if (message[a] != other[b]) return message;  // another message altogether
      text += message[a];
      ++a, ++b;
      continue;
    }
    std::string left, right;
    while (a < message.size() && is_digit(message[a])) left += message[a++];
    while (b < other.size() && is_digit(other[b])) right += other[b++];
    text += left == right ? left : "None";
  }
  return a == message.size() && b == other.size() ? text : message;
}

nlohmann::json ShapeJson(const TensorSpec& spec) {
  nlohmann::json dims = nlohmann::json::array();
  for (int64_t dim : spec.dims) dims.push_back(dim == kNone ? nlohmann::json() : nlohmann::json(dim));
  return dims;
}

}  // namespace

std::string SnakeCase(const std::string& class_name) {
  static const std::regex word("(.)([A-Z][a-z0-9]+)"), hump("([a-z])([A-Z])");
  std::string text = std::regex_replace(std::regex_replace(class_name, word, "$1_$2"), hump, "$1_$2");
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

namespace {
std::atomic<int64_t> layer_changes{0};
}  // namespace

int64_t LayerChanges() { return layer_changes.load(std::memory_order_acquire); }
void LayerBase::Changed() { layer_changes.fetch_add(1, std::memory_order_acq_rel); }

DescriptionLock::DescriptionLock() {
  ThrowIfError(CheckFork());
  // Never destroyed: models may be described while the process ends.
  static std::recursive_mutex& mutex = *new std::recursive_mutex;
  lock_ = std::unique_lock(mutex);
}

LayerBase::LayerBase(std::string class_name, LayerOptions options)
    : class_name_(std::move(class_name)),
      name_(std::move(options.name)),
      trainable_(options.trainable),
      input_shape_(std::move(options.input_shape)),
      serial_(NextSerial()) {
  if (name_.find('/') != std::string::npos) ThrowInvalidArgument("layer name '", name_, "' must not contain '/'");
  for (int64_t dim : input_shape_) {
    if (dim <= 0 && dim != kNone) {
      ThrowInvalidArgument(class_name_, ": input_shape ", ShapeText(input_shape_),
                           " has a dimension that is not positive");
    }
  }
}

std::string LayerBase::DefaultName() const { return SnakeCase(class_name_); }

std::string LayerBase::name() const { return name_.empty() ? DefaultName() : name_; }

void LayerBase::SetName(std::string name) {
  name_ = std::move(name);
  for (Variable& variable : trainable_weights_) variable.SetOwner(name_);
  for (Variable& variable : other_weights_) variable.SetOwner(name_);
}

std::string LayerBase::Where() const { return StrCat(class_name_, " layer \"", name(), "\": "); }

void LayerBase::Check(std::span<const TensorSpec> inputs) const { CheckCount(inputs, 1); }

void LayerBase::Build(std::span<const TensorSpec> /*inputs*/) {}

void LayerBase::CheckCount(std::span<const TensorSpec> inputs, int count) const {
  if (static_cast<int>(inputs.size()) != count) {
    ThrowInvalidArgument("Layer \"", name(), "\" expects ", count, " input(s), but it received ", inputs.size(),
                         " input tensors");
  }
}

void LayerBase::CheckRank(const TensorSpec& input, int rank) const {
  if (input.rank() == rank) return;
  ThrowInvalidArgument("Input 0 of layer \"", name(), "\" is incompatible with the layer: expected ndim=", rank,
                       ", found ndim=", input.rank(), ". Full shape received: ", ShapeText(input.dims));
}

void LayerBase::CheckMinRank(const TensorSpec& input, int rank) const {
  if (input.rank() >= rank) return;
  ThrowInvalidArgument("Input 0 of layer \"", name(), "\" is incompatible with the layer: expected min_ndim=", rank,
                       ", found ndim=", input.rank(), ". Full shape received: ", ShapeText(input.dims));
}

void LayerBase::CheckChannels(const TensorSpec& input) const {
  if (input.dims.back() == kNone) {
    ThrowInvalidArgument(Where(),
                         "the last dimension of the inputs should be defined. Found None. Full input shape received: ",
                         ShapeText(input.dims));
  }
  if (built_ && built_for_[0].dims.back() != input.dims.back()) {
    ThrowInvalidArgument("Input 0 of layer \"", name(),
                         "\" is incompatible with the layer: expected axis -1 of input shape "
                         "to have value ",
                         built_for_[0].dims.back(), ", but received input with shape ", ShapeText(input.dims));
  }
}

void LayerBase::SetBuilt(std::span<const TensorSpec> inputs) {
  built_for_.assign(inputs.begin(), inputs.end());
  built_ = true;
}

void LayerBase::EnsureBuilt(std::span<const TensorSpec> inputs) {
  const DescriptionLock lock;
  Check(inputs);
  if (built_) return;
  Build(inputs);
  SetBuilt(inputs);
}

Variable LayerBase::AddWeight(VariableOptions options) {
  if (!options.initializer.defined()) options.initializer = "zeros";
  (options.trainable ? trainable_weights_ : other_weights_).emplace_back(options, name());
  return options.trainable ? trainable_weights_.back() : other_weights_.back();
}

std::vector<Variable> LayerBase::weights() const {
  std::vector<Variable> all = trainable_weights_;
  all.insert(all.end(), other_weights_.begin(), other_weights_.end());
  return all;
}

std::vector<Variable> LayerBase::trainable_weights() const {
  return trainable_ ? trainable_weights_ : std::vector<Variable>{};
}

std::vector<TensorSpec> LayerBase::OutputSpecs(std::span<const TensorSpec> inputs) const {
  const bool known = AllKnown(inputs);
  std::vector<TensorType> first;
  try {
    first = RecordOnce(*this, SampleTypes(inputs, 0));
  } catch (const Error& error) {
    if (known) throw;
    throw Error(error.code(), WithoutSamples(*this, inputs, error.message()));
  }
  const std::vector<TensorType> second = known ? first : RecordOnce(*this, SampleTypes(inputs, 1));
  std::vector<TensorSpec> specs;
  for (size_t i = 0; i < first.size(); ++i) {
    const Shape& shape = first[i].shape;
    TensorSpec spec{first[i].dtype, {shape.begin(), shape.end()}};
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] != second[i].shape[axis]) spec.dims[static_cast<size_t>(axis)] = kNone;
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

std::vector<std::shared_ptr<const LayerCall>> LayerBase::Calls() const {
  const DescriptionLock lock;
  std::vector<std::shared_ptr<const LayerCall>> alive;
  std::erase_if(calls_, [](const auto& call) { return call.expired(); });
  for (const auto& call : calls_) {
    if (auto shared = call.lock()) alive.push_back(std::move(shared));
  }
  return alive;
}

std::shared_ptr<const LayerCall> LayerBase::AddCall(std::vector<SymbolicTensor> inputs) {
  const DescriptionLock lock;
  std::vector<TensorSpec> specs;
  for (const SymbolicTensor& input : inputs) specs.push_back(input.spec());
  auto call = std::make_shared<LayerCall>();
  call->layer = shared_from_this();
  call->inputs = std::move(inputs);
  NamingLine(where_, [&] {
    EnsureBuilt(specs);
    call->outputs = OutputSpecs(specs);
  });
  // The latest is the likeliest to be alive still; the others are looked through when their number has doubled.
  const bool any_alive = std::any_of(calls_.rbegin(), calls_.rend(), [](const auto& made) { return !made.expired(); });
  call->index = any_alive ? next_call_ : 0;
  next_call_ = call->index + 1;
  if (calls_.size() >= prune_calls_at_) {
    std::erase_if(calls_, [](const auto& made) { return made.expired(); });
    prune_calls_at_ = 2 * calls_.size() + 16;
  }
  calls_.push_back(call);
  return call;
}

nlohmann::json LayerBase::Config() const { return Options().json(); }

nlohmann::json LayerBase::ToJson() const {
  const UnloadableParts::Place place(StrCat("layer \"", name(), "\""));
  nlohmann::json config = Config();
  config["name"] = name();
  config["trainable"] = trainable_;
  config["dtype"] = MakeKerasObject("keras", "DTypePolicy", {{"name", "float32"}});
  nlohmann::json object = MakeKerasObject("keras.layers", class_name_, std::move(config));
  if (const std::string registered = RegisteredName(*this); !registered.empty()) {
    object["module"] = nullptr;
    object["registered_name"] = registered;
  } else if (!IsKnownLayerClass(class_name_)) {
    UnloadableParts::Note("layer class", class_name_, "RegisterLayer");
  }
  if (built_ && built_for_.size() == 1) object["build_config"] = {{"input_shape", ShapeJson(built_for_[0])}};
  return object;
}

// ---- The handle
// -------------------------------------------------------------------------------------------------------

Layer::Layer(std::shared_ptr<LayerBase> base, const Here& where) : base_(std::move(base)) { base_->SetWhere(where); }

Layer::Layer(const Activation& activation, Here where) : Layer(ActivationLayer({.activation = activation}, where)) {}

Layer::Layer(const SymbolicTensor& input) : Layer(input.layer()) {
  if (!base().is_input()) {
    ThrowInvalidArgument("the output of layer \"", name(), "\" is no layer: expected a layer, or Input(...)");
  }
}

LayerBase& Layer::base() const {
  if (base_ == nullptr) ThrowFailedPrecondition("the layer is undefined");
  return *base_;
}

std::vector<SymbolicTensor> Layer::Outputs(const std::vector<SymbolicTensor>& inputs) const {
  if (inputs.empty()) ThrowInvalidArgument("layer \"", name(), "\" is called without inputs");
  const std::shared_ptr<const LayerCall> call = base().AddCall(inputs);
  std::vector<SymbolicTensor> outputs;
  for (size_t i = 0; i < call->outputs.size(); ++i) outputs.emplace_back(call, static_cast<int>(i));
  return outputs;
}

SymbolicTensor Layer::operator()(const std::vector<SymbolicTensor>& inputs) const {
  std::vector<SymbolicTensor> outputs = Outputs(inputs);
  if (outputs.size() != 1) {
    ThrowInvalidArgument("layer \"", name(), "\" has ", outputs.size(), " outputs: use Outputs(inputs)");
  }
  return outputs[0];
}

SymbolicTensor Layer::operator()(const SymbolicTensor& input) const {
  return (*this)(std::vector<SymbolicTensor>{input});
}

std::vector<Value> Layer::Outputs(const std::vector<Value>& inputs, bool training, int64_t step) const {
  if (inputs.empty()) ThrowInvalidArgument("layer \"", name(), "\" is called without inputs");
  std::vector<TensorSpec> specs;
  for (const Value& input : inputs) {
    if (!input.defined() || input.graph != inputs[0].graph) {
      ThrowInvalidArgument("layer \"", name(), "\": an input is undefined, or of another graph");
    }
    specs.push_back({input.dtype(), {input.shape().begin(), input.shape().end()}});
    if (!specs.back().dims.empty()) specs.back().dims[0] = kNone;
  }
  NamingLine(base().where(), [&] { base().EnsureBuilt(specs); });
  const std::shared_ptr<Graph>& graph = inputs[0].graph;
  CallContext context(graph, training, base().is_model() ? AsModel(*this).seed() : 0);
  std::vector<Value> outputs = context.CallLayer(base(), name(), inputs);
  std::vector<Variable> variables;
  for (const auto& [variable, leaf] : context.weights()) variables.push_back(variable);
  const std::vector<Tensor> values = SnapshotOf(variables);
  for (size_t i = 0; i < values.size(); ++i) graph->SetData(context.weights()[i].second.ref, values[i]);
  if (context.step().defined()) graph->SetData(context.step().ref, Tensor::Scalar(step));
  return outputs;
}

Value Layer::operator()(const Value& x, bool training, int64_t step) const {
  std::vector<Value> outputs = Outputs(std::vector<Value>{x}, training, step);
  if (outputs.size() != 1) {
    ThrowInvalidArgument("layer \"", name(), "\" has ", outputs.size(), " outputs: use Outputs(inputs)");
  }
  return outputs[0];
}

std::vector<Variable> Layer::non_trainable_weights() const {
  const std::vector<Variable> trainable = trainable_weights();
  std::vector<Variable> found = weights();
  std::erase_if(found,
                [&](const Variable& v) { return std::find(trainable.begin(), trainable.end(), v) != trainable.end(); });
  return found;
}

Variable Layer::weight(const std::string& name) const {
  std::vector<std::string> known;
  for (const Variable& variable : weights()) {
    if (variable.leaf_name() == name) return variable;
    known.push_back(variable.leaf_name());
  }
  if (!built()) {
    ThrowFailedPrecondition("layer \"", this->name(), "\" has no ", name,
                            " yet: weights are made when the layer first meets an input shape");
  }
  if (known.empty()) ThrowNotFound("layer \"", this->name(), "\" (", class_name(), ") has no weights");
  ThrowNotFound("layer \"", this->name(), "\": ", UnknownNameMessage("weight", name, known));
}

int64_t Layer::count_params() const {
  int64_t count = 0;
  for (const Variable& variable : weights()) count += variable.shape().size();
  return count;
}

std::shared_ptr<const LayerCall> Layer::OnlyCall() const {
  if (uses_.size() == 1) return uses_[0];
  const std::vector<std::shared_ptr<const LayerCall>> calls = uses_.empty() ? base().Calls() : uses_;
  if (calls.empty()) {
    ThrowFailedPrecondition("The layer \"", name(), "\" has never been called and thus has no defined output.");
  }
  if (calls.size() > 1) {
    ThrowInvalidArgument("The layer \"", name(), "\" is called ", calls.size(),
                         " times, hence the notion of \"layer output\" is ill-defined. Use output(i) instead.");
  }
  return calls[0];
}

SymbolicTensor Layer::input() const {
  const std::shared_ptr<const LayerCall> call = OnlyCall();
  if (call->inputs.size() != 1) {
    ThrowInvalidArgument("layer \"", name(), "\" has ", call->inputs.size(), " inputs, expected one");
  }
  return call->inputs[0];
}

SymbolicTensor Layer::output() const {
  OnlyCall();
  return output(0);
}

SymbolicTensor Layer::output(int use) const {
  const std::vector<std::shared_ptr<const LayerCall>> calls = uses_.empty() ? base().Calls() : uses_;
  if (use < 0 || use >= static_cast<int>(calls.size())) {
    ThrowOutOfRange("layer \"", name(), "\" is called ", calls.size(), " times, there is no use ", use);
  }
  const auto& call = calls[static_cast<size_t>(use)];
  if (call->outputs.size() != 1) {
    ThrowInvalidArgument("layer \"", name(), "\" has ", call->outputs.size(),
                         " outputs: the notion of one output is ill-defined");
  }
  return {call, 0};
}

std::string Layer::ConfigText() const { return base().ToJson().dump(); }

std::vector<SymbolicTensor> OutputsOf(std::span<const Layer> layers) {
  std::vector<SymbolicTensor> outputs;
  for (const Layer& layer : layers) outputs.push_back(layer.output());
  return outputs;
}

}  // namespace weir
