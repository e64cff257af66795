// Model: what users build, train, look into and save. A shared handle: copies are the same model. A model is a layer
// too, so it can be part of another.
//
//   Model extractor(model.inputs(), OutputsOf(model.layers()));   // every layer's output, same weights
//   std::vector<Tensor> features = extractor.Predict(image);
//
// Any number of threads may call Predict, Evaluate and Tap of one model at once, and of others that share its weights, also
// while one thread trains it: results have the bits that a single thread gets, from the weights as they were before or
// after a training step, the same for all batches of a call. One thread trains a model at a time: TrainOnBatch waits for
// another's, Fit beside another's Fit is an error. Compile, LoadWeights, set_runtime and Sequential's Add are for a moment
// at which no other thread uses the model. Callers with many threads gain most with a runtime of one thread
// (MakeRuntime({.threads = 1})), in which they never wait for one another. After fork() the child may go on if no other
// thread was computing at that moment; otherwise its calls throw.
#ifndef WEIR_FRONTEND_MODEL_H_
#define WEIR_FRONTEND_MODEL_H_

#include <initializer_list>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "weir/core/error.h"
#include "weir/frontend/model_base.h"
#include "weir/frontend/profile.h"
#include "weir/frontend/summary.h"
#include "weir/frontend/tap.h"
#include "weir/frontend/training_options.h"

namespace weir {

// One symbolic tensor or several.
class SymbolicList {
 public:
  SymbolicList(const SymbolicTensor& tensor) : tensors_{tensor} {}                     // NOLINT
  SymbolicList(std::vector<SymbolicTensor> tensors) : tensors_(std::move(tensors)) {}  // NOLINT
  SymbolicList(std::initializer_list<SymbolicTensor> tensors) : tensors_(tensors) {}
  const std::vector<SymbolicTensor>& tensors() const { return tensors_; }

 private:
  std::vector<SymbolicTensor> tensors_;
};

// A functional model's parts by name: Model({.inputs = x, .outputs = y, .name = "net"}).
struct FunctionalOptions {
  SymbolicList inputs;
  SymbolicList outputs;
  std::string name = {};
  uint64_t seed = 0;
  Runtime* runtime = nullptr;
};

class Model : public Layer {
 public:
  Model() = default;
  // The function from inputs to outputs. Inputs may be values anywhere in the layer graph, not only Input(...). The
  // layers are those between them, the same objects with the same weights. Throws Error if an output depends on
  // anything else ("Graph disconnected").
  Model(const SymbolicList& inputs, const SymbolicList& outputs, const ModelOptions& options = {});
  explicit Model(const FunctionalOptions& options)
      : Model(options.inputs, options.outputs,
              {.name = options.name, .seed = options.seed, .runtime = options.runtime}) {}
  explicit Model(std::shared_ptr<ModelBase> base) : Layer(std::move(base)) {}

  // ---- What it consists of
  // --------------------------------------------------------------------------------------------
  std::vector<Layer> layers() const { return model().layers(); }
  Layer layer(int index) const;                // from the end if negative; throws Error if out of range
  Layer layer(const std::string& name) const;  // throws Error listing the known ones
  std::vector<SymbolicTensor> inputs() const { return model().network().inputs; }
  std::vector<SymbolicTensor> outputs() const { return model().network().outputs; }
  std::vector<std::string> output_names() const { return model().OutputNames(); }
  // Names of the classes, of the data the model was trained on (also if it was saved and loaded), or as set here.
  const std::vector<std::string>& class_names() const { return model().class_names(); }
  void set_class_names(std::vector<std::string> names) const { model().SetClassNames(std::move(names)); }
  // What bytes (uint8) are multiplied with before the first input takes them, as in training; 1 if the model begins with
  // a Rescaling; nothing if nobody has said. Bytes given to Predict and Evaluate without a scale are multiplied with it.
  std::optional<double> input_scale() const { return model().InputScale(); }
  uint64_t seed() const { return model().seed(); }
  void set_runtime(Runtime* runtime) const { model().SetRuntime(runtime); }

  // Prints layers, output shapes and parameter counts as Keras 2 does.
  void Summary(std::ostream& out = std::cout, const SummaryOptions& options = {}) const;
  std::string SummaryText(const SummaryOptions& options = {}) const;

  // ---- Training (trainer.h)

  // Chooses optimizer, loss and metrics; throws Error for unknown names. State of an earlier optimizer is dropped.
  // What losses, metrics and the optimizer record is said to come from `where`.
  void Compile(const ModelCompileOptions& options, Here where = Here::current()) const;
  void Compile(const Optimizer& optimizer, const PerOutput<Loss>& loss, const OutputMetrics& metrics = {},
               Here where = Here::current()) const {
    Compile({.optimizer = optimizer, .loss = loss, .metrics = metrics}, where);
  }
  History Fit(const Examples& data, const FitOptions& options = {}) const;
  History Fit(const Tensor& x, const Tensor& y, const FitOptions& options = {}) const {
    return Fit(Examples(x, y), options);
  }
  // Loss and metrics over all examples, in the order of history's keys.
  Logs Evaluate(const Examples& data, const EvaluateOptions& options = {}) const;
  Logs Evaluate(const Tensor& x, const Tensor& y, const EvaluateOptions& options = {}) const {
    return Evaluate(Examples(x, y), options);
  }
  // One tensor an output, all batches joined. x has a batch axis, which may be empty.
  std::vector<Tensor> Predict(const Tensor& x, const PredictOptions& options = {}) const;
  std::vector<Tensor> Predict(const std::vector<Tensor>& x, const PredictOptions& options = {}) const;
  // Of a model with one output.
  Tensor PredictOne(const Tensor& x, const PredictOptions& options = {}) const;
  // One step on one batch; loss and metrics before the update.
  Logs TrainOnBatch(const Examples& batch, const BatchOptions& options = {}) const;
  // All epochs trained so far, also by earlier runs if the model was saved and loaded.
  const History& history() const;
  int64_t iterations() const;  // steps trained
  Optimizer optimizer() const;
  void set_learning_rate(double learning_rate) const;

  // ---- Looking inside (tap.h, profile.h)

  // Where the time of a training step goes, or of a prediction, as text: see ProfileModel.
  std::string Profile(const Tensor& x, const Tensor& y, const ProfileOptions& options = {}) const {
    return ProfileModel(model(), Examples(x, y), options);
  }
  std::string Profile(const Tensor& x, const ProfileOptions& options = {}) const {
    return ProfileModel(model(), Examples(x, Tensor()), options);
  }
  std::string Profile(const Examples& data, const ProfileOptions& options = {}) const {
    return ProfileModel(model(), data, options);
  }

  // Watches values in every run as long as the handle lives. Throws Error if nothing matches.
  TapHandle Tap(const std::string& pattern, const TapOptions& options = {}) const;

  // ---- Files (model_files.h)

  // Everything needed to use the model or go on training it, in the folder `path`.
  [[nodiscard]] absl::Status Save(const std::string& path) const;
  [[nodiscard]] absl::Status SaveWeights(const std::string& path) const;
  // All or nothing. With `partial`, what does not fit is skipped and listed.
  absl::StatusOr<std::vector<std::string>> LoadWeights(const std::string& path, bool partial = false) const;

  ModelBase& model() const;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_MODEL_H_
