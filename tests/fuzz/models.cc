// Saved models: configurations beside weights that fit them, and files of weights beside a configuration. What loads is
// trained on, saved and loaded again.
#include <nlohmann/json.hpp>

#include "weir/frontend/io/checksum.h"
#include "weir/frontend/io/json_text.h"
#include "weir/frontend/layers/layers.h"
#include "weir/frontend/model_config.h"
#include "weir/frontend/model_files.h"
#include "weir/frontend/model_probe.h"
#include "weir/frontend/sequential.h"
#include "weir/frontend/trainer.h"
#include "weir/frontend/variable_locks.h"
#include "weir/tests/fuzz/runtime.h"
#include "weir/tests/fuzz/scratch.h"
#include "weir/tests/fuzz/targets.h"

namespace weir::fuzz {
namespace {

using Json = nlohmann::json;

// Beyond these a model is loaded, but neither has weights nor is trained: that takes longer than it finds.
constexpr int64_t kMaxElements = 1 << 12, kMaxCalls = 64;
constexpr int64_t kExamples = 3;

// An open dimension is the batch's, or some size.
Dims Closed(const TensorSpec& spec) {
  Dims dims(spec.dims.begin(), spec.dims.end());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == kNone) dims[i] = i == 0 ? kExamples : 4;
  }
  return dims;
}

bool IsSmall(const TensorSpec& spec) {
  int64_t elements = 1;
  for (const int64_t dim : Closed(spec)) {
    if (dim < 0 || dim > kMaxElements || (elements *= dim) > kMaxElements) return false;
  }
  return true;
}

bool IsSmall(const ModelBase& model) {
  if (!model.built() || model.call_count() > kMaxCalls) return false;
  for (const Layer& layer : model.layers()) {
    for (const Variable& weight : layer.weights()) {
      if (weight.shape().size() > kMaxElements) return false;
    }
    for (const auto& use : layer.uses()) {
      for (const TensorSpec& spec : use->outputs) {
        if (!IsSmall(spec)) return false;
      }
    }
    if (layer.base().is_model() && !IsSmall(AsModel(layer))) return false;
  }
  return true;
}

// What the file of weights must hold for the model that a configuration describes, as far as it describes one: else
// almost nothing would be looked at after the weights.
NamedTensors TensorsFor(const Json& config, const std::string& folder) {
  NamedTensors tensors;
  try {
    const std::shared_ptr<ModelBase> model = ModelFromJson(config, {.runtime = &SmallRuntime()});
    if (!IsSmall(*model)) return {};
    const std::string path = folder + "/initial.safetensors";
    if (!SaveWeights(*model, path).ok()) return {};
    const NamedTensors weights = LoadSafetensors(path)->tensors;
    tensors = weights;
    const std::vector<Variable> variables = model->weights();
    for (auto& entry : MakeProbe(*model, {variables, SnapshotOf(variables)})) tensors.push_back(std::move(entry));
    if (!config.contains("compile_config")) return tensors;
    model->trainer().CompileFrom(config["compile_config"], std::source_location::current());
    if (!model->trainer().compiled()) return tensors;
    for (const SlotSpec& slot : model->trainer().optimizer().slots()) {
      for (const auto& [name, weight] : weights) {
        tensors.emplace_back(StrCat("/optimizer/", name, "/", slot.name), Tensor(weight.type()));
      }
    }
    // The first callback's are weights, as EarlyStopping keeps them.
    for (size_t i = 0; i < weights.size(); ++i) tensors.emplace_back(StrCat("/callbacks/0/", i), weights[i].second);
  } catch (const Error&) {
  } catch (const Json::exception&) {
  }
  return tensors;
}

void WriteFolder(const Scratch& scratch, std::string_view config, const NamedTensors& tensors) {
  scratch.Write("model/config.json", config);
  const std::map<std::string, std::string> metadata = {
      {"format", "weir"}, {"config_bytes", StrCat(config.size())}, {"config_checksum", ChecksumOf(config)}};
  const std::string path = scratch.path() + "/model/weights.safetensors";
  try {
    Require(SaveSafetensors(tensors, metadata, path).ok(), "weights can be saved");
  } catch (const Error&) {
    // Names that no file can have: these weights don't belong to the configuration.
    Require(SaveSafetensors({}, metadata, path).ok(), "no weights can be saved");
  }
}

std::vector<CallbackPtr> CallbacksOf(const Model& model) {
  std::vector<CallbackPtr> callbacks = {
      EarlyStopping({.monitor = "loss", .patience = 1, .restore_best_weights = true})};
  if (model.optimizer().learning_rate().is_schedule()) return callbacks;
  callbacks.push_back(ReduceLROnPlateau({.monitor = "loss", .patience = 1, .cooldown = 1}));
  callbacks.push_back(LearningRateScheduler([](int64_t, double rate) { return rate; }));
  return callbacks;
}

// What a file says of the training besides its tensors.
Json StateOf(ModelBase& model) {
  const TrainingMoment moment = model.trainer().Moment({});
  return {{"choices", model.trainer().CompileConfig(moment)}, {"progress", Trainer::ProgressState(moment)}};
}

// Goes on with the training for the rest of an epoch of two steps. What doesn't fit may be refused.
void Resume(const Model& model, const Json& state) {
  try {
    int64_t epoch = model.history().epoch.empty() ? 0 : model.history().epoch.back() + 1;
    if (state.contains("interrupted")) epoch = state["interrupted"]["epoch"].get<int64_t>();
    std::vector<Tensor> x, y;
    for (const SymbolicTensor& input : model.inputs()) {
      Dims dims = Closed(input.spec());
      dims[0] = kExamples;
      x.push_back(Tensor::Full(input.spec().dtype, Shape(dims), 0.5));
    }
    const bool sparse = StateOf(model.model()).dump().find("Sparse") != std::string::npos;
    for (const SymbolicTensor& output : model.outputs()) {
      Dims dims = Closed(output.spec());
      dims[0] = kExamples;
      if (sparse && dims.size() > 1) dims.pop_back();
      y.emplace_back(sparse ? DType::kInt32 : DType::kFloat32, Shape(dims));
    }
    const History history = model.Fit(Examples(x, y), {.batch_size = 2,
                                                       .epochs = epoch + 1,
                                                       .verbose = 0,
                                                       .callbacks = CallbacksOf(model),
                                                       .resume = true,
                                                       .handle_interrupt = false});
    Require(history.epoch.size() <= 1, "an epoch is trained, or none");
  } catch (const Error&) {
  }
}

// What a model that was loaded promises.
void UseModel(const Model& model, const Scratch& scratch) {
  ModelBase& base = model.model();
  if (!IsSmall(base)) return;
  const std::string again_path = scratch.path() + "/again";
  const absl::Status saved = model.Save(again_path);
  Require(saved.ok(), "what was loaded can be saved");
  const absl::StatusOr<Model> again = LoadModel(again_path, {.runtime = &SmallRuntime()});
  Require(again.ok(), "what was saved can be loaded");
  // As text: a NaN is not the same as another.
  const auto same = [](const Json& a, const Json& b) { return a.dump() == b.dump(); };
  Require(same(again->model().ToJson(), base.ToJson()), "a model stays the same in a file");
  const Json state = StateOf(base);
  Require(same(StateOf(again->model()), state), "choices and the state of a training stay the same in a file");
  if (base.trainer().compiled()) Resume(model, state["progress"]);
}

}  // namespace

bool SavedModel(std::string_view bytes) {
  static const Scratch scratch;
  std::filesystem::create_directories(scratch.path() + "/model");
  Json config;
  if (CheckJsonText(bytes, 512).ok()) config = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  WriteFolder(scratch, bytes, config.is_object() ? TensorsFor(config, scratch.path()) : NamedTensors{});
  const std::string path = scratch.path() + "/model";
  const absl::StatusOr<Model> model = LoadModel(path, {.runtime = &SmallRuntime()});
  if (!model.ok()) return false;
  const absl::StatusOr<Model> untrained = LoadModel(path, {.runtime = &SmallRuntime()}, /*compile=*/false);
  Require(untrained.ok(), "what loads to be trained loads to predict");
  UseModel(*model, scratch);
  return true;
}

bool SavedWeights(std::string_view bytes) {
  static const Scratch scratch;
  static const bool made = [] {
    const Sequential model({Dense({.units = 2, .input_shape = {3}, .name = "dense"})},
                           {.name = "m", .seed = 1, .runtime = &SmallRuntime()});
    model.Compile({.optimizer = "adam", .loss = "mse"});
    const Tensor x(DType::kFloat32, {2, 3}), y(DType::kFloat32, {2, 2});
    model.Fit(x, y, {.epochs = 2, .verbose = 0, .callbacks = CallbacksOf(model), .handle_interrupt = false});
    Require(model.Save(scratch.path() + "/model").ok(), "a model can be saved");
    // Files of format 1 need no checksums, at which nearly all changes would end.
    std::ifstream file(scratch.path() + "/model/config.json");
    Json config = Json::parse(file);
    config["weir_format"] = 1;
    scratch.Write("model/config.json", config.dump());
    return true;
  }();
  Require(made, "there is a configuration");
  scratch.Write("model/weights.safetensors", bytes);
  const std::string path = scratch.path() + "/model";
  const absl::StatusOr<Model> model = LoadModel(path, {.runtime = &SmallRuntime()});
  if (!model.ok()) return false;
  UseModel(*model, scratch);
  const absl::StatusOr<std::vector<std::string>> skipped = model->LoadWeights(path, /*partial=*/true);
  Require(skipped.ok() && skipped->empty(), "weights of a model that loads are all its own");
  return true;
}

}  // namespace weir::fuzz
