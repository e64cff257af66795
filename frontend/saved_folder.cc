#include "weir/frontend/saved_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <tuple>

#include "weir/frontend/io/checksum.h"
#include "weir/frontend/io/folder.h"
#include "weir/frontend/io/json_text.h"
#include "weir/frontend/io/temporary.h"

namespace weir {
namespace {

constexpr char kConfigName[] = "config.json";
constexpr char kWeightsName[] = "weights.safetensors";
constexpr std::string_view kWeightsBegin = "weights.weir-", kWeightsEnd = ".safetensors";
constexpr int64_t kMaxConfigBytes = int64_t{64} << 20;
// Models within models nest a few levels each.
constexpr int kMaxConfigDepth = 512;

// weights.safetensors, or weights.weir-<6 letters or digits>.safetensors: no path leads out of the folder.
bool IsWeightsName(std::string_view name) {
  if (name == kWeightsName) return true;
  if (name.size() != kWeightsBegin.size() + 6 + kWeightsEnd.size()) return false;
  if (!name.starts_with(kWeightsBegin) || !name.ends_with(kWeightsEnd)) return false;
  for (const char c : name.substr(kWeightsBegin.size(), 6)) {
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) return false;
  }
  return true;
}

// Whether a file is part of a saved model, or what a killed save left of one.
bool IsPart(const std::string& name) {
  if (name == kConfigName || IsWeightsName(name)) return true;
  const size_t end = name.rfind(".weir-");
  if (end == std::string::npos || !IsTemporaryOf(name, name.substr(0, end))) return false;
  return name.substr(0, end) == kConfigName || IsWeightsName(name.substr(0, end));
}

void KeepMode(const std::string& from, const std::string& to) {
  struct stat info;
  // A new file has the mode that the process gives: no failure.
  if (::stat(from.c_str(), &info) == 0 && S_ISREG(info.st_mode)) (void)::chmod(to.c_str(), info.st_mode & 07777);
}

absl::Status WritePair(const std::string& folder, const std::string& weights_name, const SavedFiles& saved) {
  nlohmann::json config = saved.config;
  if (weights_name != kWeightsName) config["weights_file"] = weights_name;
  const std::string text = config.dump(1);
  WEIR_RETURN_IF_ERROR(SaveSafetensors(saved.weights.tensors,
                                       {{"format", "weir"},
                                        {"config_bytes", StrCat(text.size())},
                                        {"config_checksum", ChecksumOf(text)}},
                                       folder + "/" + weights_name));
  return WriteFileAtomically(folder + "/" + kConfigName, text);
}

absl::StatusOr<nlohmann::json> ParseConfig(const std::string& path, const std::string& text) {
  if (const absl::Status sound = CheckJsonText(text, kMaxConfigDepth); !sound.ok()) {
    return absl::Status(sound.code(), StrCat(path, ": ", sound.message()));
  }
  nlohmann::json config = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (config.is_discarded()) {
    return absl::DataLossError(StrCat(path, ": is no JSON (", text.size(), " bytes): cut or changed"));
  }
  if (!config.is_object()) {
    return absl::InvalidArgumentError(StrCat(path, ": is ", config.type_name(), ", expected an object"));
  }
  return config;
}

absl::StatusOr<std::string> WeightsNameIn(const nlohmann::json& config, const std::string& path) {
  const auto named = config.find("weights_file");
  if (named == config.end()) return kWeightsName;
  if (!named->is_string() || !IsWeightsName(named->get_ref<const std::string&>())) {
    return absl::InvalidArgumentError(StrCat(path, ": \"weights_file\" is no name of a file of weights"));
  }
  return named->get<std::string>();
}

// The configuration must be the one that was saved with these weights. Earlier versions knew its size alone, or nothing.
absl::Status CheckPair(SavedFiles& saved, const std::string& text) {
  const auto known = [&](const char* key) {
    const auto found = saved.weights.metadata.find(key);
    return found == saved.weights.metadata.end() ? nullptr : &found->second;
  };
  if (const std::string* bytes = known("config_bytes"); bytes != nullptr && *bytes != StrCat(text.size())) {
    return absl::DataLossError(StrCat(saved.config_path, ": has ", text.size(), " bytes, expected ", *bytes));
  }
  const std::string* checksum = known("config_checksum");
  if (checksum != nullptr && *checksum != ChecksumOf(text)) {
    return absl::DataLossError(
        StrCat(saved.config_path, ": is not as it was saved with the weights beside it: its checksum differs"));
  }
  saved.has_checksums = saved.weights.has_checksums && checksum != nullptr;
  return absl::OkStatus();
}

absl::StatusOr<SavedFiles> ReadOnce(const std::string& path,
                                    const std::function<bool(const std::string& name)>& wanted) {
  const auto none = [&](const std::string& why) { return StrCat("No saved model at ", path, ": ", why); };
  const absl::StatusOr<InputFolder> folder = InputFolder::Open(path);
  if (absl::IsNotFound(folder.status())) return absl::NotFoundError(none("there is no such folder"));
  if (absl::IsFailedPrecondition(folder.status())) {
    return absl::FailedPreconditionError(none("it is a file, expected a folder"));
  }
  WEIR_RETURN_IF_ERROR(folder.status());
  const absl::StatusOr<InputFile> file = folder->OpenFile(kConfigName);
  if (absl::IsNotFound(file.status())) {
    return absl::NotFoundError(none(StrCat("the folder has no ", kConfigName)));
  }
  WEIR_RETURN_IF_ERROR(file.status());
  SavedFiles saved;
  saved.config_path = file->path();
  WEIR_ASSIGN_OR_RETURN(const std::string text, ReadFile(*file, kMaxConfigBytes));
  WEIR_ASSIGN_OR_RETURN(saved.config, ParseConfig(saved.config_path, text));
  WEIR_ASSIGN_OR_RETURN(const std::string weights_name, WeightsNameIn(saved.config, saved.config_path));
  WEIR_ASSIGN_OR_RETURN(const InputFile weights, folder->OpenFile(weights_name));
  saved.weights_path = weights.path();
  WEIR_ASSIGN_OR_RETURN(saved.weights, LoadSafetensors(weights, wanted));
  WEIR_RETURN_IF_ERROR(CheckPair(saved, text));
  return saved;
}

// Which folder and which configuration is at the path now: a save changes one or the other.
using Identity = std::tuple<uint64_t, uint64_t, uint64_t, uint64_t, int64_t, int64_t>;
Identity IdentityOf(const std::string& path) {
  struct stat folder = {}, config = {};
  if (::stat(path.c_str(), &folder) != 0) folder = {};
  if (::stat((path + "/" + kConfigName).c_str(), &config) != 0) config = {};
  return {folder.st_dev, folder.st_ino, config.st_dev, config.st_ino, config.st_mtim.tv_sec, config.st_mtim.tv_nsec};
}

// The weights first, under a name that nothing refers to yet, then the configuration that names them.
absl::Status WriteInPlace(const std::string& folder, const SavedFiles& saved) {
  WEIR_ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::Acquire(folder));
  std::error_code error;
  std::string old_name;
  if (const absl::StatusOr<std::string> text = ReadFile(folder + "/" + kConfigName, kMaxConfigBytes); text.ok()) {
    const absl::StatusOr<nlohmann::json> config = ParseConfig(folder, *text);
    const absl::StatusOr<std::string> name =
        config.ok() ? WeightsNameIn(*config, folder) : absl::StatusOr<std::string>(config.status());
    old_name = name.ok() ? *name : kWeightsName;
  }
  std::string name = kWeightsName;
  while (name == old_name) name = StrCat(kWeightsBegin, RandomLetters(), kWeightsEnd);
  const absl::Status status = WritePair(folder, name, saved);
  if (status.ok() && !old_name.empty()) KeepMode(folder + "/" + old_name, folder + "/" + name);
  if (!status.ok()) {
    if (name != kWeightsName) std::filesystem::remove(folder + "/" + name, error);
    return status;
  }
  // Nobody else writes here while we have the lock: what is left is the old weights, or of a save that was killed.
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string found = entry->path().filename().string();
    if (found == kConfigName || found == name || !IsPart(found)) continue;
    std::error_code ignored;
    std::filesystem::remove(entry->path(), ignored);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckReplaceable(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return absl::OkStatus();
  if (!std::filesystem::is_directory(path, error)) {
    return absl::FailedPreconditionError(StrCat(path, ": is a file, expected a folder or nothing"));
  }
  for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!IsPart(name)) {
      return absl::FailedPreconditionError(
          StrCat(path, ": holds ", name, ", which is no part of a saved model: not replaced"));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteSaved(const std::string& path, const SavedFiles& saved) {
  std::string folder = path;
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  WEIR_RETURN_IF_ERROR(CheckReplaceable(folder));
  const absl::Status replaced = ReplaceFolder(folder, [&](const std::string& temporary) {
    const absl::Status written = WritePair(temporary, kWeightsName, saved);
    for (const char* name : {kConfigName, kWeightsName}) KeepMode(folder + "/" + name, temporary + "/" + name);
    return written;
  });
  return absl::IsUnimplemented(replaced) ? WriteInPlace(folder, saved) : replaced;
}

absl::StatusOr<SavedFiles> ReadSaved(const std::string& path,
                                     const std::function<bool(const std::string& name)>& wanted) {
  constexpr int kMostAttempts = 1000;
  for (int attempt = 1;; ++attempt) {
    const Identity before = IdentityOf(path);
    absl::StatusOr<SavedFiles> saved = ReadOnce(path, wanted);
    if (saved.ok() || attempt == kMostAttempts || IdentityOf(path) == before) return saved;
  }
}

}  // namespace weir
