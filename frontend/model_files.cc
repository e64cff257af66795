#include "weir/frontend/model_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "weir/core/float_state.h"
#include "weir/core/fork_guard.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/layers/input.h"
#include "weir/frontend/model_config.h"
#include "weir/frontend/model_probe.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/frontend/saved_folder.h"
#include "weir/frontend/trainer.h"
#include "weir/frontend/variable_locks.h"

namespace weir {
namespace {

// 1: without checksums.
constexpr int kFormatVersion = 2;
// Layer names hold no '/', so these never meet a weight's.
constexpr char kOptimizerPrefix[] = "/optimizer/";
constexpr char kUnaveraged[] = "unaveraged";  // beside an optimizer's slots
constexpr char kCallbackPrefix[] = "/callbacks/";

// A weight under the paths that lead to it: the first is what it is saved by.
struct NamedWeight {
  std::vector<std::string> names;
  Variable variable;
  const LayerBase* owner = nullptr;
};

// Each weight of a model once. Paths are unique in nested models too; each of these is walked through once.
class WeightList {
 public:
  explicit WeightList(const ModelBase& model) {
    model.network();  // throws if not built
    Collect(model, "");
  }

  const std::vector<NamedWeight>& weights() const { return weights_; }
  // Weights that are part of more than one layer: no configuration can say that.
  const std::vector<std::string>& shared() const { return shared_; }

 private:
  void Collect(const ModelBase& model, const std::string& prefix) {
    if (!models_.insert(&model).second) return;
    for (const Layer& layer : model.layers()) {
      if (layer.base().is_model()) {
        Collect(AsModel(layer), prefix + layer.name() + "/");
        continue;
      }
      for (const Variable& variable : layer.weights()) {
        const std::string path = prefix + variable.path();
        const auto [found, added] = index_.try_emplace(variable.id(), weights_.size());
        if (added) {
          weights_.push_back({{path}, variable, &layer.base()});
          continue;
        }
        NamedWeight& known = weights_[found->second];
        known.names.push_back(path);
        if (known.owner != &layer.base()) {
          shared_.push_back(StrCat(known.names[0], " of layer \"", known.owner->name(),
                                   "\" is a weight of layer \"", layer.name(), "\" too"));
        }
      }
    }
  }

  std::vector<NamedWeight> weights_;
  std::vector<std::string> shared_;
  std::unordered_map<const void*, size_t> index_;
  std::set<const ModelBase*> models_;
};

std::vector<Variable> VariablesOf(const WeightList& list) {
  std::vector<Variable> variables;
  for (const NamedWeight& weight : list.weights()) variables.push_back(weight.variable);
  return variables;
}

// The values under the names that they are saved by.
NamedTensors Named(const WeightList& list, const std::vector<Tensor>& values) {
  NamedTensors tensors;
  for (size_t i = 0; i < values.size(); ++i) tensors.emplace_back(list.weights()[i].names[0], values[i]);
  return tensors;
}

using TensorIndex = std::unordered_map<std::string, const Tensor*>;

TensorIndex IndexOf(const SafetensorsFile& file) {
  TensorIndex index;
  for (const auto& [name, tensor] : file.tensors) index.emplace(name, &tensor);
  return index;
}

const Tensor* Find(const TensorIndex& index, const std::string& name) {
  const auto found = index.find(name);
  return found == index.end() ? nullptr : found->second;
}

struct WeightMatch {
  std::vector<std::pair<Variable, Tensor>> fitting;
  std::vector<std::string> skipped;
};

WeightMatch MatchWeights(const WeightList& list, const SafetensorsFile& file) {
  const TensorIndex index = IndexOf(file);
  WeightMatch match;
  std::set<std::string> known;
  for (const auto& [names, variable, owner] : list.weights()) {
    known.insert(names.begin(), names.end());
    const Tensor* tensor = nullptr;
    for (const std::string& name : names) tensor = tensor != nullptr ? tensor : Find(index, name);
    if (tensor == nullptr) {
      match.skipped.push_back(StrCat("missing: ", names[0], " ", PythonTuple(variable.shape())));
    } else if (tensor->type() != variable.type()) {
      match.skipped.push_back(
          StrCat("mismatched: ", names[0], ": file ", tensor->type(), ", model ", variable.type()));
    } else {
      match.fitting.emplace_back(variable, *tensor);
    }
  }
  for (const auto& [name, tensor] : file.tensors) {
    if (!name.starts_with('/') && !known.contains(name)) {
      match.skipped.push_back(StrCat("unexpected: ", name, " ", PythonTuple(tensor.shape())));
    }
  }
  return match;
}

// The optimizer's state of one weight; nothing if the file has none.
absl::StatusOr<std::vector<Tensor>> SlotsOf(const NamedWeight& weight, const std::vector<SlotSpec>& specs,
                                            const TensorIndex& index, const std::string& path) {
  std::vector<Tensor> slots;
  for (const SlotSpec& spec : specs) {
    const Tensor* slot = nullptr;
    for (const std::string& name : weight.names) {
      if (slot == nullptr) slot = Find(index, StrCat(kOptimizerPrefix, name, "/", spec.name));
    }
    if (slot == nullptr) continue;
    if (slot->type() != weight.variable.type()) {
      return absl::DataLossError(StrCat(path, ": optimizer state ", spec.name, " of ", weight.names[0], " is ",
                                        slot->type(), ", expected ", weight.variable.type()));
    }
    slots.push_back(*slot);
  }
  if (!slots.empty() && slots.size() != specs.size()) {
    return absl::DataLossError(StrCat(path, ": has ", slots.size(), " of the ", specs.size(),
                                      " tensors of optimizer state of ", weight.names[0]));
  }
  return slots;
}

absl::Status Restore(ModelBase& model, const SavedFiles& saved, bool compile, const Here& where) {
  const nlohmann::json& config = saved.config;
  Trainer& trainer = model.trainer();
  if (compile) trainer.CompileFrom(config.value("compile_config", nlohmann::json()), where);
  const WeightList list(model);
  const WeightMatch match = MatchWeights(list, saved.weights);
  if (!match.skipped.empty()) {
    return absl::DataLossError(
        StrCat(saved.weights_path, " does not fit config.json: ", StrJoin(match.skipped, "; ")));
  }
  AdoptAll(match.fitting);
  if (compile && config.contains("training_state")) trainer.SetProgressState(config["training_state"]);
  if (trainer.compiled()) {
    const TensorIndex index = IndexOf(saved.weights);
    const std::vector<SlotSpec> specs = trainer.optimizer().slots();
    for (const NamedWeight& weight : list.weights()) {
      WEIR_ASSIGN_OR_RETURN(std::vector<Tensor> slots, SlotsOf(weight, specs, index, saved.weights_path));
      if (!slots.empty()) trainer.mutable_state().slots[weight.variable.id()] = std::move(slots);
      for (const std::string& name : weight.names) {
        const Tensor* unaveraged = Find(index, StrCat(kOptimizerPrefix, name, "/", kUnaveraged));
        if (unaveraged == nullptr) continue;
        if (unaveraged->type() != weight.variable.type()) {
          return absl::DataLossError(StrCat(saved.weights_path, ": optimizer state ", kUnaveraged, " of ", name, " is ",
                                            unaveraged->type(), ", expected ", weight.variable.type()));
        }
        trainer.mutable_state().unaveraged[weight.variable.id()] = *unaveraged;
        break;
      }
    }
    trainer.SetCallbackTensors([&](const std::string& name) { return Find(index, kCallbackPrefix + name); });
  }
  return CheckProbe(model, saved.weights, saved.weights_path);
}

// What the model knows of its data: names of classes, scales of bytes. Earlier versions didn't keep them.
void RestoreData(ModelBase& model, const nlohmann::json& config) {
  if (config.contains("class_names")) {
    std::vector<std::string> names;
    for (const nlohmann::json& name : config["class_names"]) names.push_back(JsonString(name, "class_names"));
    model.SetClassNames(std::move(names));
  }
  if (!config.contains("input_scales")) return;
  const std::vector<std::shared_ptr<const LayerCall>>& inputs = model.network().input_calls;
  const nlohmann::json& scales = config["input_scales"];
  if (!scales.is_array() || scales.size() != inputs.size()) {
    ThrowInvalidArgument("\"input_scales\" is no list of ", inputs.size(), " numbers, one an input");
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (scales[i].is_null()) continue;
    const double scale = JsonDouble(scales[i], "input_scales");
    if (scale <= 0) ThrowInvalidArgument("\"input_scales\": number ", i, " is ", scale, ", expected one above 0");
    SetInputScale(*inputs[i]->layer, scale);
  }
}

void AddOptimizerState(const TrainingMoment& moment, const WeightList& list, NamedTensors& tensors) {
  if (!moment.optimizer.defined()) return;
  const std::vector<SlotSpec> specs = moment.optimizer.slots();
  const TrainingState& state = moment.state;
  for (const NamedWeight& weight : list.weights()) {
    const auto slots = state.slots.find(weight.variable.id());
    if (slots == state.slots.end() || slots->second.size() != specs.size()) continue;
    for (size_t i = 0; i < specs.size(); ++i) {
      tensors.emplace_back(StrCat(kOptimizerPrefix, weight.names[0], "/", specs[i].name), slots->second[i]);
    }
    const auto unaveraged = state.unaveraged.find(weight.variable.id());
    if (unaveraged == state.unaveraged.end()) continue;
    tensors.emplace_back(StrCat(kOptimizerPrefix, weight.names[0], "/", kUnaveraged), unaveraged->second);
  }
  for (const auto& [name, tensor] : Trainer::CallbackTensors(moment)) {
    tensors.emplace_back(kCallbackPrefix + name, tensor);
  }
}

absl::Status CannotLoad(const ModelBase& model, const std::string& path, const std::vector<std::string>& why) {
  if (why.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(StrCat(path, ": model \"", model.name(),
                                              "\" can't be saved, because it could not be loaded: ",
                                              StrJoin(why, "; ")));
}

absl::Status Save(ModelBase& model, const std::string& path) {
  const WeightList list(model);
  WEIR_RETURN_IF_ERROR(CannotLoad(model, path, list.shared()));
  const UnloadableParts unloadable;
  SavedFiles saved;
  // All of it as of one moment: another thread may be training the model.
  const std::vector<Variable> variables = VariablesOf(list);
  const TrainingMoment moment = model.trainer().Moment(variables);
  saved.weights.tensors = Named(list, moment.weights);
  AddOptimizerState(moment, list, saved.weights.tensors);
  for (auto& entry : MakeProbe(model, {variables, moment.weights})) saved.weights.tensors.push_back(std::move(entry));
  saved.config = model.ToJson();
  saved.config["weir_format"] = kFormatVersion;
  saved.config["seed"] = model.seed();
  if (!model.class_names().empty()) saved.config["class_names"] = model.class_names();
  nlohmann::json scales = nlohmann::json::array();
  for (const auto& call : model.network().input_calls) scales.push_back(JsonOptional(InputScaleOf(*call->layer)));
  saved.config["input_scales"] = std::move(scales);
  saved.config["compile_config"] = model.trainer().CompileConfig(moment);
  saved.config["training_state"] = Trainer::ProgressState(moment);
  WEIR_RETURN_IF_ERROR(CannotLoad(model, path, unloadable.notes()));
  return WriteSaved(path, saved);
}

void SetLines(const ModelBase& model, const Here& where) {
  for (Layer layer : model.layers()) {
    if (layer.base().where().line() == 0) layer.base().SetWhere(where);
    if (layer.base().is_model()) SetLines(AsModel(layer), where);
  }
}

absl::StatusOr<Model> Load(const SavedFiles& saved, const ModelOptions& options, bool compile, const Here& where) {
  const nlohmann::json& config = saved.config;
  const int64_t version = JsonInt(config.at("weir_format"), "weir_format", 1, INT64_MAX);
  if (version > kFormatVersion) {
    return absl::UnimplementedError(
        StrCat(saved.config_path, ": format ", version, ", this weir reads formats up to ", kFormatVersion));
  }
  if (version > 1 && !saved.has_checksums) {
    return absl::DataLossError(StrCat(saved.weights_path, ": has no checksums, which format ", version, " has"));
  }
  ModelOptions made = options;
  const nlohmann::json& seed = config.at("seed");
  if (!seed.is_number_unsigned()) ThrowInvalidArgument("\"seed\" is ", seed.dump(), ", expected an unsigned integer");
  if (made.seed == 0) made.seed = seed.get<uint64_t>();
  const std::shared_ptr<ModelBase> model = ModelFromJson(config, made);
  if (!model->built()) return absl::DataLossError(StrCat(saved.config_path, ": the model has no input shape"));
  SetLines(*model, where);
  RestoreData(*model, config);
  WEIR_RETURN_IF_ERROR(Restore(*model, saved, compile, where));
  return Model(model);
}

}  // namespace

absl::Status SaveModel(ModelBase& model, const std::string& path) {
  try {
    return Save(model, path);
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(StrCat(path, ": a name of the model is no UTF-8: ", error.what()));
  }
}

absl::Status CheckLoadsAgain(ModelBase& model, const std::string& path) {
  const WeightList list(model);
  WEIR_RETURN_IF_ERROR(CannotLoad(model, path, list.shared()));
  const UnloadableParts unloadable;
  model.ToJson();
  model.trainer().CompileConfig(model.trainer().Moment({}));
  return CannotLoad(model, path, unloadable.notes());
}

absl::Status CheckCanSaveModel(const std::string& path) {
  std::string folder = path;
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  WEIR_RETURN_IF_ERROR(CheckReplaceable(folder));
  return CheckCanWrite(folder);
}

absl::StatusOr<Model> LoadModel(const std::string& path, const ModelOptions& options, bool compile, Here where) {
  const LibraryCall call;
  WEIR_RETURN_IF_ERROR(CheckFork());
  const ScopedFloatState state(ScopedFloatState::Subnormals::kKept);
  const auto wanted = [compile](const std::string& name) {
    return compile || !(name.starts_with(kOptimizerPrefix) || name.starts_with(kCallbackPrefix));
  };
  WEIR_ASSIGN_OR_RETURN(const SavedFiles saved, ReadSaved(path, wanted));
  try {
    return Load(saved, options, compile, where);
  } catch (const Error& error) {
    return absl::Status(error.code(), StrCat(saved.config_path, ": ", error.message()));
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(StrCat(saved.config_path, ": ", error.what()));
  }
}

absl::Status SaveWeights(const ModelBase& model, const std::string& path) {
  RemoveLitterOf(path);
  const WeightList list(model);
  return SaveSafetensors(Named(list, SnapshotOf(VariablesOf(list))), {{"format", "weir"}}, path);
}

absl::StatusOr<std::vector<std::string>> LoadWeights(ModelBase& model, const std::string& path, bool partial) {
  std::error_code error;
  SafetensorsFile file;
  std::string file_path = path;
  const auto wanted = [](const std::string& name) { return !name.starts_with('/'); };
  if (std::filesystem::is_directory(path, error)) {
    WEIR_ASSIGN_OR_RETURN(SavedFiles saved, ReadSaved(path, wanted));
    file = std::move(saved.weights);
    file_path = saved.weights_path;
  } else {
    WEIR_ASSIGN_OR_RETURN(file, LoadSafetensors(path, wanted));
  }
  const WeightMatch match = MatchWeights(WeightList(model), file);
  if (!match.skipped.empty() && !partial) {
    return absl::InvalidArgumentError(
        StrCat(file_path, " does not fit model \"", model.name(), "\": ", StrJoin(match.skipped, "; ")));
  }
  AdoptAll(match.fitting);
  return match.skipped;
}

}  // namespace weir
