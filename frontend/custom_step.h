// TrainStep: a training step of one's own, for loops that Fit doesn't know (two models, a loss of several terms). What a
// step computes is a function that records it; leaves, gradients, the optimizer and its state, dropout's step numbers,
// layers' state and the compiled program are the TrainStep's business.
//
//   TrainStep step(Adam(1e-3), [&](StepRecorder& record, std::span<const Value> batch) {
//     const Value y = record(model, batch[0]);
//     return Loss("mse")(batch[1], y);
//   });
//   for (...) std::cout << step({x, y}) << "\n";  // "loss: 0.1234"
//
// One step is the same as Model::TrainOnBatch to the bit if it records the same loss.
#ifndef WEIR_FRONTEND_CUSTOM_STEP_H_
#define WEIR_FRONTEND_CUSTOM_STEP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <source_location>
#include <string>
#include <vector>

#include "weir/frontend/call_context.h"
#include "weir/frontend/history.h"
#include "weir/frontend/layer.h"
#include "weir/frontend/parts/optimizers.h"

namespace weir {

class Runtime;

// What the function of a step records with. Valid while the function runs.
class StepRecorder {
 public:
  // A model or layer on values of the step, in training: dropout is active, layers' state is stored when the step is
  // done, penalties of regularizers belong to the loss. One that is not built yet is built for these values. Throws
  // Error for another number of outputs than one (Outputs gives all).
  Value operator()(const Layer& model, const Value& x);
  std::vector<Value> Outputs(const Layer& model, const std::vector<Value>& inputs);
  // A value of one element that each step's logs tell, besides the loss.
  void Report(const std::string& name, const Value& value);
  const std::shared_ptr<Graph>& graph() const { return graph_; }

 private:
  friend class TrainStep;
  StepRecorder(std::shared_ptr<Graph> graph, std::optional<uint64_t> seed) : graph_(std::move(graph)), seed_(seed) {}
  CallContext& Context(const Layer& model);

  std::shared_ptr<Graph> graph_;
  std::optional<uint64_t> seed_;
  std::unique_ptr<CallContext> context_;  // made by the first model, whose seed it may take
  std::vector<Layer> called_;
  std::vector<std::pair<std::string, Value>> reports_;
};

struct TrainStepOptions {
  Optimizer optimizer = "rmsprop";
  // What the step trains; default: the trainable weights of all that it calls.
  std::vector<Variable> weights = {};
  std::optional<uint64_t> seed = {};  // of dropout; default: that of the first model called
  Runtime* runtime = nullptr;         // not owned; null: DefaultRuntime()
};

class TrainStep {
 public:
  // Records the step for a batch and returns its loss, a scalar. Called again for batches of other types, and when a
  // layer was frozen or set free.
  using Function = std::function<Value(StepRecorder& record, std::span<const Value> batch)>;

  // A template only so that {.optimizer = "adam"} means the options.
  template <class = void>
  TrainStep(const Optimizer& optimizer, Function function,
            std::source_location where = std::source_location::current())
      : TrainStep(TrainStepOptions{.optimizer = optimizer}, std::move(function), where) {}
  // Throws Error without an optimizer or a function. What the optimizer records is said to come from `where`.
  TrainStep(TrainStepOptions options, Function function,
            std::source_location where = std::source_location::current());
  ~TrainStep();

  // One step: "loss", with penalties, before the update, then what was reported. Throws Error where the function does,
  // for a loss that is no scalar or depends on nothing that is trained, and for what the data causes. For one thread at
  // a time.
  Logs operator()(const std::vector<Tensor>& batch);

  int64_t iterations() const { return iterations_; }
  const Optimizer& optimizer() const { return options_.optimizer; }
  void set_learning_rate(double learning_rate) { options_.optimizer.set_learning_rate(learning_rate); }

 private:
  struct Program;
  struct Slots {
    Variable variable;
    std::vector<Tensor> tensors;
  };

  Program& ProgramFor(const std::vector<Tensor>& batch);
  std::unique_ptr<Program> Record(const std::vector<TensorType>& types);
  void RecordUpdate(Program& program, const CallContext& context, const std::vector<Value>& gradients);
  std::vector<Tensor>& SlotsOf(const Variable& variable);

  TrainStepOptions options_;
  Function function_;
  std::source_location where_;
  int64_t iterations_ = 0;
  std::vector<Slots> slots_;
  std::vector<std::unique_ptr<Program>> programs_;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_CUSTOM_STEP_H_
