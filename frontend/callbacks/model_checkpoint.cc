// ModelCheckpoint: saves the model when an epoch ends.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/callbacks/monitor.h"
#include "weir/frontend/checkpoint_path.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/model.h"
#include "weir/frontend/model_files.h"

namespace weir {
namespace {

class ModelCheckpointCallback : public Callback {
 public:
  explicit ModelCheckpointCallback(const ModelCheckpointOptions& options)
      : options_(options), monitor_("ModelCheckpoint", options.monitor, options.mode, 0) {
    if (options.path.empty()) ThrowInvalidArgument("ModelCheckpoint: there is no path");
  }

  std::string class_name() const override { return "ModelCheckpoint"; }
  bool saves_model() const override { return true; }
  std::optional<std::vector<std::string>> log_keys() const override { return std::vector<std::string>{}; }

  void CheckFit(const FitContext& fit) const override {
    if (options_.save_best_only) monitor_.Check(fit);
    CheckPathKeys(fit);
    // A path with placeholders is known as far as the folder before the first.
    const std::string fixed = options_.path.substr(0, options_.path.find('{'));
    if (!options_.save_weights_only) Rethrow(CheckLoadsAgain(fit.model().model(), options_.path));
    if (fixed != options_.path) {
      const size_t slash = fixed.rfind('/');
      Rethrow(CheckCanWrite(slash == std::string::npos ? "weir" : fixed.substr(0, slash) + "/weir"));
    } else if (!options_.save_weights_only) {
      Rethrow(CheckCanSaveModel(fixed));
    } else {
      std::error_code error;
      const bool folder = std::filesystem::is_directory(fixed, error);
      if (folder) ThrowFailedPrecondition("ModelCheckpoint: ", fixed, ": is a folder, expected a file or nothing");
      Rethrow(CheckCanWrite(fixed));
    }
  }

  // As in Keras, the best value of an earlier Fit counts: a worse model doesn't take a better one's place.
  void OnTrainBegin(FitContext& fit) override { monitor_.Begin(fit); }

  void OnEpochEnd(FitContext& fit, int64_t epoch, Logs& logs) override {
    pending_.clear();
    before_ = monitor_;
    const std::string number = StrCat("Epoch ", epoch + 1, ": ");
    if (!options_.save_best_only) {
      pending_ = Path(epoch, logs);
      if (options_.verbose > 0) fit.Print(number + "saving model to " + pending_);
      return;
    }
    const std::optional<double> value = monitor_.Find(fit, logs);
    if (!value) return;
    if (!monitor_.Better(*value)) {
      if (options_.verbose > 0) {
        fit.Print(StrCat(number, monitor_.key(), " did not improve from ", Fixed5(monitor_.best())));
      }
      return;
    }
    pending_ = Path(epoch, logs);
    if (options_.verbose > 0) {
      fit.Print(StrCat(number, monitor_.key(), " improved from ", Fixed5(monitor_.best()), " to ", Fixed5(*value),
                       ", saving model to ", pending_));
    }
    monitor_.set_best(*value);
  }

  void OnSave(FitContext& fit) override {
    if (pending_.empty()) return;
    const std::string path = std::move(pending_);
    pending_.clear();
    const absl::Status status = options_.save_weights_only ? fit.model().SaveWeights(path) : fit.model().Save(path);
    if (status.ok()) return;
    // What is not on the disk is not the best so far.
    monitor_ = before_;
    Rethrow(status);
  }

  nlohmann::json State() const override { return {{"best", monitor_.State()}}; }
  void SetState(const nlohmann::json& state) override { monitor_.SetState(state.at("best")); }

 private:
  static void Rethrow(const absl::Status& status) {
    if (!status.ok()) throw Error(status.code(), StrCat("ModelCheckpoint: ", std::string(status.message())));
  }

  std::string Path(int64_t epoch, const Logs& logs) const {
    try {
      return CheckpointPath(options_.path, epoch + 1, logs);
    } catch (const Error& error) {
      throw Error(error.code(), StrCat("ModelCheckpoint: ", error.message()));
    }
  }

  // Every value that the path names must be there whenever the model is saved.
  void CheckPathKeys(const FitContext& fit) const {
    std::vector<std::string> keys;
    try {
      keys = CheckpointPathKeys(options_.path);
    } catch (const Error& error) {
      throw Error(error.code(), StrCat("ModelCheckpoint: ", error.message()));
    }
    if (fit.may_add_keys()) return;
    const std::vector<std::string> known = fit.log_keys();
    for (const std::string& key : keys) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        ThrowNotFound("ModelCheckpoint: path '", options_.path, "': ", UnknownNameMessage("metric", key, known),
                      key.starts_with("val_") && !fit.has_validation()
                          ? "; there is no validation: give validation_data or validation_split"
                          : "");
      }
      // Where val_ values decide whether to save, the path's are there too.
      if (!key.starts_with("val_") || (options_.save_best_only && monitor_.key().starts_with("val_"))) continue;
      for (int64_t epoch = fit.first_epoch(); epoch < fit.epochs(); ++epoch) {
        if (fit.validates(epoch)) continue;
        ThrowInvalidArgument("ModelCheckpoint: path '", options_.path, "' names ", key, ", which epoch ", epoch + 1,
                             " will not have: validation_freq is ", fit.validation_freq(),
                             "; leave it out of the path, or validate every epoch",
                             options_.save_best_only ? "" : ", or save the best only");
      }
    }
  }

  ModelCheckpointOptions options_;
  Monitor monitor_, before_ = monitor_;  // before the epoch's value
  std::string pending_;                  // where to save in this epoch
};

}  // namespace

CallbackPtr ModelCheckpoint(const ModelCheckpointOptions& options) {
  return std::make_shared<ModelCheckpointCallback>(options);
}

}  // namespace weir
