#include "weir/frontend/model_files.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "weir/core/rng.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/io/safetensors.h"
#include "weir/frontend/model_config.h"
#include "weir/frontend/trainer.h"

namespace weir {
namespace {

constexpr char kConfigFile[] = "/config.json";
constexpr char kWeightsFile[] = "/weights.safetensors";
constexpr int kFormatVersion = 1;
constexpr double kProbeTolerance = 1e-5;
// Layer names hold no '/', so these never meet a weight's.
constexpr char kOptimizerPrefix[] = "/optimizer/";
constexpr char kProbeInput[] = "/probe/input/";
constexpr char kProbeOutput[] = "/probe/output/";

// Each weight once, under layer paths that are unique in nested models too.
void CollectWeights(const ModelBase& model, const std::string& prefix, std::set<const void*>& seen,
                    std::vector<std::pair<std::string, Variable>>& found) {
  for (const Layer& layer : model.layers()) {
    if (layer.base().is_model()) {
      CollectWeights(AsModel(layer), prefix + layer.name() + "/", seen, found);
      continue;
    }
    for (const Variable& variable : layer.weights()) {
      if (seen.insert(variable.id()).second) found.emplace_back(prefix + variable.path(), variable);
    }
  }
}

std::vector<std::pair<std::string, Variable>> NamedWeights(const ModelBase& model) {
  model.network();  // throws if not built
  std::set<const void*> seen;
  std::vector<std::pair<std::string, Variable>> found;
  CollectWeights(model, "", seen, found);
  return found;
}

NamedTensors WeightTensors(const ModelBase& model) {
  NamedTensors tensors;
  for (const auto& [name, variable] : NamedWeights(model)) tensors.emplace_back(name, variable.value());
  return tensors;
}

// An input of the model's shape, the same for all time.
std::vector<Tensor> ProbeInputs(const ModelBase& model) {
  std::vector<Tensor> inputs;
  RandomStream random(1, 0);
  for (const SymbolicTensor& input : model.network().inputs) {
    Dims dims(input.shape().begin(), input.shape().end());
    for (size_t i = 0; i < dims.size(); ++i) dims[i] = dims[i] != kNone ? dims[i] : i == 0 ? 1 : 64;
    Tensor tensor(input.spec().dtype, Shape(dims));
    if (tensor.dtype() == DType::kFloat32) {
      for (float& value : tensor.data<float>()) value = static_cast<float>(random.Uniform());
    }
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

// Inputs and outputs, or nothing if the model can't run on what ProbeInputs made (a dimension left open).
NamedTensors Probe(ModelBase& model) {
  NamedTensors tensors;
  try {
    const std::vector<Tensor> inputs = ProbeInputs(model);
    const std::vector<Tensor> outputs = model.trainer().Predict(inputs, {});
    for (size_t i = 0; i < inputs.size(); ++i) tensors.emplace_back(StrCat(kProbeInput, i), inputs[i]);
    for (size_t i = 0; i < outputs.size(); ++i) tensors.emplace_back(StrCat(kProbeOutput, i), outputs[i]);
  } catch (const Error&) {
    return {};
  }
  return tensors;
}

absl::Status CheckProbe(ModelBase& model, const SafetensorsFile& file, const std::string& path) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; file.Find(StrCat(kProbeInput, i)) != nullptr; ++i)
    inputs.push_back(*file.Find(StrCat(kProbeInput, i)));
  if (inputs.empty()) return absl::OkStatus();
  const std::vector<Tensor> outputs = model.trainer().Predict(inputs, {});
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor* expected = file.Find(StrCat(kProbeOutput, i));
    if (expected == nullptr || expected->type() != outputs[i].type()) {
      return absl::DataLossError(StrCat(path, ": the stored probe has no output ", i, " of type ", outputs[i].type()));
    }
    if (expected->dtype() != DType::kFloat32) continue;
    const std::span<const float> want = expected->data<float>(), have = outputs[i].data<float>();
    double largest = 0, difference = 0;
    bool same_nans = true;
    for (size_t k = 0; k < want.size(); ++k) {
      same_nans = same_nans && std::isnan(want[k]) == std::isnan(have[k]);
      if (std::isnan(want[k]) || want[k] == have[k]) continue;
      largest = std::max(largest, std::fabs(static_cast<double>(want[k])));
      difference = std::max(difference, std::fabs(static_cast<double>(want[k]) - have[k]));
    }
    for (float value : want) {
      if (std::isfinite(value)) largest = std::max(largest, std::fabs(static_cast<double>(value)));
    }
    if (!same_nans || !(difference <= kProbeTolerance * largest)) {
      return absl::DataLossError(StrCat(path, ": the model computes something else than when it was saved: output ", i,
                                        " of the stored probe differs by ", difference, " (largest value ", largest,
                                        ")"));
    }
  }
  return absl::OkStatus();
}

// Puts the folder `temporary` in the place of `path`. What was there is removed.
absl::Status SwapIn(const std::string& temporary, const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    if (std::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, path, "rename");
    return absl::OkStatus();
  }
  constexpr unsigned kExchange = 2;  // RENAME_EXCHANGE
  if (syscall(SYS_renameat2, AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), kExchange) != 0) {
    // A file system without exchange: the old folder steps aside first.
    const std::string aside = temporary + ".old";
    if (std::rename(path.c_str(), aside.c_str()) != 0) return ErrnoStatus(errno, path, "rename");
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
      const absl::Status status = ErrnoStatus(errno, path, "rename");
      std::rename(aside.c_str(), path.c_str());
      return status;
    }
    std::filesystem::remove_all(aside, error);
    return absl::OkStatus();
  }
  std::filesystem::remove_all(temporary, error);
  return absl::OkStatus();
}

absl::Status CheckReplaceable(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return absl::OkStatus();
  if (!std::filesystem::is_directory(path, error)) {
    return absl::FailedPreconditionError(StrCat(path, ": is a file, expected a folder or nothing"));
  }
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = "/" + entry.path().filename().string();
    if (name != kConfigFile && name != kWeightsFile) {
      return absl::FailedPreconditionError(
          StrCat(path, ": holds ", name.substr(1), ", which is no part of a saved model: not replaced"));
    }
  }
  return absl::OkStatus();
}

// Depth of brackets outside of strings: a hostile file must not overflow the stack of whoever walks it.
bool NestedDeeper(const std::string& text, int limit) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > limit) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

absl::StatusOr<nlohmann::json> ReadConfig(const std::string& path, const SafetensorsFile& weights) {
  WEIR_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, int64_t{64} << 20));
  const auto bytes = weights.metadata.find("config_bytes");
  if (bytes != weights.metadata.end() && bytes->second != std::to_string(text.size())) {
    return absl::DataLossError(StrCat(path, ": has ", text.size(), " bytes, expected ", bytes->second));
  }
  if (NestedDeeper(text, 512)) return absl::InvalidArgumentError(StrCat(path, ": nested too deep"));
  nlohmann::json config = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (config.is_discarded())
    return absl::DataLossError(StrCat(path, ": is no JSON (", text.size(), " bytes): cut or changed"));
  return config;
}

struct WeightMatch {
  std::vector<std::pair<Variable, Tensor>> fitting;
  std::vector<std::string> skipped;
};

WeightMatch MatchWeights(const ModelBase& model, const SafetensorsFile& file) {
  WeightMatch match;
  std::set<std::string> known;
  for (const auto& [name, variable] : NamedWeights(model)) {
    known.insert(name);
    const Tensor* tensor = file.Find(name);
    if (tensor == nullptr) {
      match.skipped.push_back(StrCat("missing: ", name, " ", PythonTuple(variable.shape())));
    } else if (tensor->type() != variable.type()) {
      match.skipped.push_back(StrCat("mismatched: ", name, ": file ", tensor->type(), ", model ", variable.type()));
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

absl::Status Restore(ModelBase& model, const nlohmann::json& config, const SafetensorsFile& file,
                     const std::string& path, bool compile) {
  Trainer& trainer = model.trainer();
  if (compile) trainer.CompileFrom(config.value("compile_config", nlohmann::json()));
  const WeightMatch match = MatchWeights(model, file);
  if (!match.skipped.empty()) {
    return absl::DataLossError(
        StrCat(path, kWeightsFile, " does not fit ", kConfigFile + 1, ": ", StrJoin(match.skipped, "; ")));
  }
  for (auto [variable, tensor] : match.fitting) variable.Adopt(tensor);
  if (compile && config.contains("training_state")) trainer.SetProgressState(config["training_state"]);
  if (trainer.compiled()) {
    const std::vector<SlotSpec> specs = trainer.optimizer().slots();
    for (const auto& [name, variable] : NamedWeights(model)) {
      std::vector<Tensor> slots;
      for (const SlotSpec& spec : specs) {
        const Tensor* slot = file.Find(StrCat(kOptimizerPrefix, name, "/", spec.name));
        if (slot == nullptr) break;
        if (slot->type() != variable.type()) {
          return absl::DataLossError(StrCat(path, kWeightsFile, ": optimizer state ", spec.name, " of ", name, " is ",
                                            slot->type(), ", expected ", variable.type()));
        }
        slots.push_back(*slot);
      }
      if (!slots.empty()) trainer.mutable_state().slots[variable.id()] = std::move(slots);
    }
  }
  return CheckProbe(model, file, path);
}

}  // namespace

absl::Status SaveModel(ModelBase& model, const std::string& path) {
  NamedTensors tensors = WeightTensors(model);
  Trainer& trainer = model.trainer();
  nlohmann::json config = model.ToJson();
  config["weir_format"] = kFormatVersion;
  config["seed"] = model.seed();
  config["compile_config"] = trainer.CompileConfig();
  config["training_state"] = trainer.ProgressState();
  if (trainer.compiled()) {
    const std::vector<SlotSpec> specs = trainer.optimizer().slots();
    for (const auto& [name, variable] : NamedWeights(model)) {
      const auto slots = trainer.state().slots.find(variable.id());
      if (slots == trainer.state().slots.end()) continue;
      for (size_t i = 0; i < specs.size(); ++i)
        tensors.emplace_back(StrCat(kOptimizerPrefix, name, "/", specs[i].name), slots->second[i]);
    }
  }
  for (auto& entry : Probe(model)) tensors.push_back(std::move(entry));
  const std::string text = config.dump(1);

  std::string folder = path;
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  WEIR_RETURN_IF_ERROR(CheckReplaceable(folder));
  if (const std::string parent = std::filesystem::path(folder).parent_path().string(); !parent.empty()) {
    WEIR_RETURN_IF_ERROR(EnsureDirectory(parent));
  }
  const std::string temporary = StrCat(folder, ".", getpid(), ".tmp");
  std::error_code error;
  std::filesystem::remove_all(temporary, error);
  absl::Status status = EnsureDirectory(temporary);
  if (status.ok())
    status = SaveSafetensors(tensors, {{"format", "weir"}, {"config_bytes", std::to_string(text.size())}},
                             temporary + kWeightsFile);
  if (status.ok()) status = WriteFileAtomically(temporary + kConfigFile, text);
  if (status.ok()) status = SwapIn(temporary, folder);
  if (!status.ok()) std::filesystem::remove_all(temporary, error);
  return status;
}

absl::StatusOr<Model> LoadModel(const std::string& path, const ModelOptions& options, bool compile) {
  const auto wanted = [compile](const std::string& name) { return compile || !name.starts_with(kOptimizerPrefix); };
  WEIR_ASSIGN_OR_RETURN(const SafetensorsFile file, LoadSafetensors(path + kWeightsFile, wanted));
  WEIR_ASSIGN_OR_RETURN(const nlohmann::json config, ReadConfig(path + kConfigFile, file));
  try {
    const int version = config.at("weir_format").get<int>();
    if (version != kFormatVersion) {
      return absl::UnimplementedError(
          StrCat(path, kConfigFile, ": format ", version, ", this weir reads ", kFormatVersion));
    }
    ModelOptions made = options;
    if (made.seed == 0) made.seed = config.at("seed").get<uint64_t>();
    const std::shared_ptr<ModelBase> model = ModelFromJson(config, made);
    if (!model->built()) return absl::DataLossError(StrCat(path, kConfigFile, ": the model has no input shape"));
    WEIR_RETURN_IF_ERROR(Restore(*model, config, file, path, compile));
    return Model(model);
  } catch (const Error& error) {
    return absl::Status(error.code(), StrCat(path, kConfigFile, ": ", error.message()));
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(StrCat(path, kConfigFile, ": ", error.what()));
  }
}

absl::Status SaveWeights(const ModelBase& model, const std::string& path) {
  return SaveSafetensors(WeightTensors(model), {{"format", "weir"}}, path);
}

absl::StatusOr<std::vector<std::string>> LoadWeights(ModelBase& model, const std::string& path, bool partial) {
  std::error_code error;
  const std::string file_path = std::filesystem::is_directory(path, error) ? path + kWeightsFile : path;
  WEIR_ASSIGN_OR_RETURN(const SafetensorsFile file, LoadSafetensors(file_path));
  const WeightMatch match = MatchWeights(model, file);
  if (!match.skipped.empty() && !partial) {
    return absl::InvalidArgumentError(
        StrCat(file_path, " does not fit model \"", model.name(), "\": ", StrJoin(match.skipped, "; ")));
  }
  for (auto [variable, tensor] : match.fitting) variable.Adopt(tensor);
  return match.skipped;
}

}  // namespace weir
