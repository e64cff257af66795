#include "weir/frontend/custom_step.h"

#include <algorithm>

#include "weir/core/error.h"
#include "weir/core/runtime.h"
#include "weir/frontend/model_base.h"
#include "weir/frontend/session.h"
#include "weir/frontend/variable_locks.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

// Programs kept for batches of different types.
constexpr size_t kPrograms = 8;

// Of what a step calls, all that its recording depends on: see ModelBase::Trained.
std::vector<const void*> TrainedBy(const std::vector<Layer>& called) {
  std::vector<const void*> ids;
  for (const Layer& layer : called) {
    if (layer.base().is_model()) {
      const std::vector<const void*> inner = AsModel(layer).Trained();
      ids.insert(ids.end(), inner.begin(), inner.end());
      continue;
    }
    for (const Variable& variable : layer.trainable_weights()) ids.push_back(variable.id());
    if (layer.base().has_state() && layer.trainable()) ids.push_back(&layer.base());
  }
  return ids;
}

bool Contains(const std::vector<Variable>& variables, const Variable& variable) {
  return std::find(variables.begin(), variables.end(), variable) != variables.end();
}

}  // namespace

CallContext& StepRecorder::Context(const Layer& model) {
  if (context_ == nullptr) {
    const uint64_t own = model.base().is_model() ? AsModel(model).seed() : 0;
    context_ = std::make_unique<CallContext>(graph_, /*training=*/true, seed_.value_or(own));
  }
  return *context_;
}

std::vector<Value> StepRecorder::Outputs(const Layer& model, const std::vector<Value>& inputs) {
  CallContext& context = Context(model);
  std::vector<TensorSpec> specs;
  for (const Value& input : inputs) {
    if (!input.defined() || input.graph != graph_) {
      ThrowInvalidArgument("TrainStep: an input of \"", model.name(), "\" is no value of the step");
    }
    specs.push_back({input.dtype(), {input.shape().begin(), input.shape().end()}});
    if (!specs.back().dims.empty()) specs.back().dims[0] = kNone;
  }
  model.base().EnsureBuilt(specs);
  called_.push_back(model);
  return context.CallLayer(model.base(), model.name(), inputs);
}

Value StepRecorder::operator()(const Layer& model, const Value& x) {
  std::vector<Value> outputs = Outputs(model, {x});
  if (outputs.size() != 1) {
    ThrowInvalidArgument("TrainStep: \"", model.name(), "\" has ", outputs.size(), " outputs: use Outputs");
  }
  return outputs[0];
}

void StepRecorder::Report(const std::string& name, const Value& value) {
  if (!value.defined() || value.graph != graph_ || value.shape().size() != 1) {
    ThrowInvalidArgument("TrainStep: what is reported as '", name, "' is no value of one element of the step");
  }
  reports_.emplace_back(name, value);
}

// A recorded step. Leaves in order: the batch, variables, the step's number, scalars, slots.
struct TrainStep::Program {
  std::vector<TensorType> types;
  std::vector<Layer> called;
  std::vector<const void*> trained_ids;

  std::vector<Value> leaves;
  std::vector<Variable> variables;
  std::vector<Variable> locked;  // the same, in the order of variable_locks.h
  std::vector<bool> written;     // of the variables
  bool has_step = false;
  size_t scalars = 0;
  std::vector<Variable> trained;  // one with slots each

  std::vector<Value> roots;  // the loss, what is reported, what is assigned
  std::vector<std::string> reports;
  std::shared_ptr<const Executable> executable;
};

TrainStep::TrainStep(TrainStepOptions options, Function function, std::source_location where)
    : options_(std::move(options)), function_(std::move(function)), where_(where) {
  if (!options_.optimizer.defined()) ThrowInvalidArgument("TrainStep: there is no optimizer");
  if (!function_) ThrowInvalidArgument("TrainStep: there is no function that records the step");
}

TrainStep::~TrainStep() = default;

std::vector<Tensor>& TrainStep::SlotsOf(const Variable& variable) {
  for (Slots& slots : slots_) {
    if (slots.variable == variable) return slots.tensors;
  }
  Slots made{variable, {}};
  for (const SlotSpec& spec : options_.optimizer.slots()) {
    made.tensors.push_back(Tensor::Full(DType::kFloat32, variable.shape(), spec.initial));
  }
  return slots_.emplace_back(std::move(made)).tensors;
}

TrainStep::Program& TrainStep::ProgramFor(const std::vector<Tensor>& batch) {
  std::vector<TensorType> types;
  for (const Tensor& tensor : batch) {
    if (!tensor.defined()) ThrowInvalidArgument("TrainStep: tensor ", types.size(), " of the batch is undefined");
    types.push_back(tensor.type());
  }
  const auto fits = [&](const std::unique_ptr<Program>& program) {
    return program->types == types && program->trained_ids == TrainedBy(program->called);
  };
  const auto found = std::find_if(programs_.begin(), programs_.end(), fits);
  if (found != programs_.end()) {
    std::rotate(programs_.begin(), found, found + 1);  // the last used first
    return *programs_.front();
  }
  programs_.insert(programs_.begin(), Record(types));
  if (programs_.size() > kPrograms) programs_.pop_back();
  return *programs_.front();
}

std::unique_ptr<TrainStep::Program> TrainStep::Record(const std::vector<TensorType>& types) {
  auto program = std::make_unique<Program>();
  const auto graph = Graph::Create();
  StepRecorder record(graph, options_.seed);
  for (const TensorType& type : types) {
    program->leaves.push_back(graph->Input(type, StrCat("batch_", program->leaves.size())));
  }
  Value loss = function_(record, program->leaves);
  if (!loss.defined() || loss.graph != graph || loss.shape().rank() != 0) {
    ThrowInvalidArgument("TrainStep: the function must return the loss, a scalar of the step",
                         loss.defined() ? StrCat(", returned ", loss.type()) : "");
  }
  if (record.context_ == nullptr) ThrowInvalidArgument("TrainStep: the function calls no model: nothing is trained");
  const CallContext& context = *record.context_;
  // What follows is not the function's.
  const Graph::SourceScope source(*graph, where_);
  for (const auto& [variable, leaf] : context.weights()) {
    if (variable.regularizer().defined()) loss = loss + variable.regularizer().Penalty(leaf);
  }
  for (const Value& penalty : context.losses()) loss = loss + penalty;
  program->types = types;
  program->called = record.called_;
  program->trained_ids = TrainedBy(record.called_);
  program->roots.push_back(loss);
  for (const auto& [name, value] : record.reports_) {
    program->reports.push_back(name);
    program->roots.push_back(value);
  }
  // What is trained, in the order of use.
  std::vector<Variable> wanted = options_.weights;
  for (const Layer& layer : record.called_) {
    if (!options_.weights.empty()) break;
    for (const Variable& variable : layer.trainable_weights()) wanted.push_back(variable);
  }
  std::vector<Value> xs;
  for (const auto& [variable, leaf] : context.weights()) {
    program->leaves.push_back(leaf);
    program->variables.push_back(variable);
    if (!Contains(wanted, variable)) continue;
    program->trained.push_back(variable);
    xs.push_back(leaf);
  }
  for (const Variable& variable : options_.weights) {
    if (!Contains(program->variables, variable)) {
      ThrowInvalidArgument("TrainStep: weight ", variable.path(), " is to be trained, but no model of the step has it");
    }
  }
  if (xs.empty()) ThrowFailedPrecondition("TrainStep: nothing that the step calls is trainable");
  RecordUpdate(*program, context, options_.optimizer.Clip(Gradients({&loss, 1}, xs)));
  program->locked = InLockOrder(program->variables);
  Runtime& runtime = options_.runtime != nullptr ? *options_.runtime : DefaultRuntime();
  absl::StatusOr<std::shared_ptr<const Executable>> made = runtime.Compile(program->leaves, program->roots);
  ThrowIfError(made.status());
  program->executable = *std::move(made);
  return program;
}

void TrainStep::RecordUpdate(Program& program, const CallContext& context, const std::vector<Value>& gradients) {
  const Optimizer& optimizer = options_.optimizer;
  Graph& graph = *context.graph();
  const auto leaf = [&](TensorType type, std::string name) {
    return program.leaves.emplace_back(graph.Input(std::move(type), std::move(name)));
  };
  program.written.assign(program.variables.size(), false);
  const auto assign = [&](const Variable& variable, const Value& old, const Value& value) {
    const auto at = std::find(program.variables.begin(), program.variables.end(), variable);
    program.written[static_cast<size_t>(at - program.variables.begin())] = true;
    program.roots.push_back(Assign(old, value));
  };
  program.has_step = context.step().defined();
  if (program.has_step) program.leaves.push_back(context.step());
  Graph::LayerScope scope(graph, optimizer.name());
  std::vector<Value> scalars;
  for (const std::string& name : optimizer.scalar_names()) scalars.push_back(leaf({DType::kFloat32, Shape{}}, name));
  program.scalars = scalars.size();
  size_t next = 0;
  for (const auto& [variable, weight] : context.weights()) {
    if (!Contains(program.trained, variable)) continue;
    std::vector<Value> slots;
    for (const SlotSpec& spec : optimizer.slots()) {
      slots.push_back(leaf(weight.type(), StrCat(variable.path(), "_", spec.name)));
    }
    const UpdateResult result = optimizer.Update(weight, gradients[next++], slots, scalars);
    assign(variable, weight, variable.constraint().Apply(result.weight));
    for (size_t s = 0; s < slots.size(); ++s) program.roots.push_back(Assign(slots[s], result.slots[s]));
  }
  for (const CallContext::Assignment& state : context.assignments()) assign(state.variable, state.leaf, state.value);
}

Logs TrainStep::operator()(const std::vector<Tensor>& batch) {
  Program& program = ProgramFor(batch);
  // Other threads read the weights before this step or after it.
  const VariableLocks locks(program.locked);
  std::vector<Tensor> inputs = batch;
  for (size_t i = 0; i < program.variables.size(); ++i) {
    Variable& variable = program.variables[i];
    inputs.push_back(program.written[i] ? variable.LockedExclusive() : variable.LockedValue());
  }
  if (program.has_step) inputs.push_back(Tensor::Scalar(iterations_));
  for (float scalar : options_.optimizer.Scalars(iterations_)) inputs.push_back(Tensor::Scalar(scalar));
  for (const Variable& variable : program.trained) {
    for (Tensor& slot : SlotsOf(variable)) inputs.push_back(slot);
  }
  std::vector<Tensor> outputs(program.roots.size());
  Runtime& runtime = options_.runtime != nullptr ? *options_.runtime : DefaultRuntime();
  ThrowIfError(runtime.Run(*program.executable, inputs, outputs));
  ++iterations_;
  Logs logs;
  logs.Set("loss", outputs[0].item<double>());
  for (size_t i = 0; i < program.reports.size(); ++i) logs.Set(program.reports[i], outputs[i + 1].item<double>());
  return logs;
}

}  // namespace weir
