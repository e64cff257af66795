#include "weir/frontend/callbacks.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/checkpoint_path.h"
#include "weir/frontend/model.h"

namespace weir {
namespace {

// Watches whether a log value gets better.
class Monitor {
 public:
  Monitor(std::string callback, std::string name, const std::string& mode, double min_delta)
      : callback_(std::move(callback)), name_(std::move(name)), min_delta_(std::fabs(min_delta)) {
    if (mode != "auto" && mode != "min" && mode != "max") {
      ThrowInvalidArgument(callback_, ": unknown mode '", mode, "'; known: auto, min, max");
    }
    const auto ends = [&](std::string_view end) { return name_.ends_with(end); };
    larger_ = mode == "max" || (mode == "auto" && (ends("acc") || ends("accuracy") || ends("auc")));
    Reset();
  }

  void Reset() { best_ = larger_ ? -INFINITY : INFINITY; }
  const std::string& name() const { return name_; }
  double best() const { return best_; }
  void set_best(double best) { best_ = best; }
  bool Better(double value) const { return Better(value, best_); }
  bool Better(double value, double than) const {
    return larger_ ? value - min_delta_ > than : value + min_delta_ < than;
  }

  // The value, or nothing, with a message, if the epoch has none.
  std::optional<double> Find(FitContext& fit, const Logs& logs) const {
    const double* value = logs.Find(name_);
    if (value != nullptr) return *value;
    // Missing because of validation_freq is no mistake.
    for (const std::string& key : fit.keys()) {
      if (key == name_) return std::nullopt;
    }
    fit.Print(StrCat(callback_, ": ", UnknownNameMessage("metric", name_, fit.keys())));
    return std::nullopt;
  }

  // JSON has no infinity.
  nlohmann::json State() const { return std::isfinite(best_) ? nlohmann::json(best_) : nlohmann::json(); }
  void SetState(const nlohmann::json& state) {
    Reset();
    if (state.is_number()) best_ = state.get<double>();
  }

 private:
  std::string callback_, name_;
  double min_delta_;
  bool larger_ = false;
  double best_ = 0;
};

class EarlyStoppingCallback : public Callback {
 public:
  explicit EarlyStoppingCallback(const EarlyStoppingOptions& options)
      : options_(options), monitor_("EarlyStopping", options.monitor, options.mode, options.min_delta) {}

  std::string class_name() const override { return "EarlyStopping"; }

  void OnTrainBegin(FitContext& /*fit*/) override {
    stopped_epoch_ = -1;
    best_weights_.clear();
    if (restored_) {
      restored_ = false;
      return;
    }
    wait_ = 0;
    monitor_.Reset();
  }

  void OnEpochEnd(FitContext& fit, int64_t epoch, Logs& logs) override {
    const std::optional<double> value = monitor_.Find(fit, logs);
    if (!value || epoch < options_.start_from_epoch) return;
    if (options_.restore_best_weights && best_weights_.empty()) KeepWeights(fit, epoch);
    ++wait_;
    if (monitor_.Better(*value)) {
      monitor_.set_best(*value);
      if (options_.restore_best_weights) KeepWeights(fit, epoch);
      if (!options_.baseline || monitor_.Better(*value, *options_.baseline)) wait_ = 0;
      return;
    }
    if (wait_ >= options_.patience && epoch > 0) {
      stopped_epoch_ = epoch;
      fit.StopTraining();
    }
  }

  void OnTrainEnd(FitContext& fit) override {
    if (stopped_epoch_ >= 0 && options_.verbose > 0)
      fit.Print(StrCat("Epoch ", stopped_epoch_ + 1, ": early stopping"));
    if (!options_.restore_best_weights || best_weights_.empty()) return;
    if (options_.verbose > 0)
      fit.Print(StrCat("Restoring model weights from the end of the best epoch: ", best_epoch_ + 1, "."));
    std::vector<Variable> weights = fit.model().weights();
    for (size_t i = 0; i < weights.size(); ++i) weights[i].Assign(best_weights_[i]);
  }

  nlohmann::json State() const override { return {{"wait", wait_}, {"best", monitor_.State()}}; }
  void SetState(const nlohmann::json& state) override {
    wait_ = state.at("wait").get<int64_t>();
    monitor_.SetState(state.at("best"));
    restored_ = true;
  }

 private:
  void KeepWeights(FitContext& fit, int64_t epoch) {
    best_epoch_ = epoch;
    best_weights_.clear();
    for (const Variable& variable : fit.model().weights()) best_weights_.push_back(variable.value());
  }

  EarlyStoppingOptions options_;
  Monitor monitor_;
  int64_t wait_ = 0, stopped_epoch_ = -1, best_epoch_ = 0;
  bool restored_ = false;
  std::vector<Tensor> best_weights_;
};

class ModelCheckpointCallback : public Callback {
 public:
  explicit ModelCheckpointCallback(const ModelCheckpointOptions& options)
      : options_(options), monitor_("ModelCheckpoint", options.monitor, options.mode, 0) {
    if (options.path.empty()) ThrowInvalidArgument("ModelCheckpoint: there is no path");
  }

  std::string class_name() const override { return "ModelCheckpoint"; }
  bool saves_model() const override { return true; }

  void OnTrainBegin(FitContext& /*fit*/) override {
    if (!restored_) monitor_.Reset();
    restored_ = false;
  }

  void OnEpochEnd(FitContext& fit, int64_t epoch, Logs& logs) override {
    const std::string path = CheckpointPath(options_.path, epoch + 1, logs);
    if (!options_.save_best_only) {
      if (options_.verbose > 0) fit.Print(StrCat("Epoch ", epoch + 1, ": saving model to ", path));
      Save(fit, path);
      return;
    }
    const std::optional<double> value = monitor_.Find(fit, logs);
    if (!value) return;
    if (!monitor_.Better(*value)) {
      if (options_.verbose > 0) {
        fit.Print(
            StrCat("Epoch ", epoch + 1, ": ", monitor_.name(), " did not improve from ", Fixed5(monitor_.best())));
      }
      return;
    }
    if (options_.verbose > 0) {
      fit.Print(StrCat("Epoch ", epoch + 1, ": ", monitor_.name(), " improved from ", Fixed5(monitor_.best()), " to ",
                       Fixed5(*value), ", saving model to ", path));
    }
    monitor_.set_best(*value);
    Save(fit, path);
  }

  nlohmann::json State() const override { return {{"best", monitor_.State()}}; }
  void SetState(const nlohmann::json& state) override {
    monitor_.SetState(state.at("best"));
    restored_ = true;
  }

 private:
  void Save(FitContext& fit, const std::string& path) const {
    ThrowIfError(options_.save_weights_only ? fit.model().SaveWeights(path) : fit.model().Save(path));
  }

  ModelCheckpointOptions options_;
  Monitor monitor_;
  bool restored_ = false;
};

class TerminateOnNaNCallback : public Callback {
 public:
  explicit TerminateOnNaNCallback(const TerminateOnNaNOptions& options) : options_(options) {}

  std::string class_name() const override { return "TerminateOnNaN"; }
  bool guards_weights() const override { return true; }
  void OnBatchEnd(FitContext& fit, int64_t batch, const Logs& logs) override {
    const double* loss = logs.Find("loss");
    if (loss == nullptr || std::isfinite(*loss)) return;
    fit.Print(StrCat("Batch ", batch, ": Invalid loss, terminating training"));
    const std::string origin = options_.find_origin ? fit.FirstNonFinite() : "";
    if (!origin.empty()) fit.Print("The first value that is not finite is " + origin);
    fit.StopTraining();
  }

 private:
  TerminateOnNaNOptions options_;
};

class ReduceLROnPlateauCallback : public Callback {
 public:
  explicit ReduceLROnPlateauCallback(const ReduceLROnPlateauOptions& options)
      : options_(options), monitor_("ReduceLROnPlateau", options.monitor, options.mode, options.min_delta) {
    if (!(options.factor < 1)) {
      ThrowInvalidArgument("ReduceLROnPlateau does not support a factor >= 1.0. Received factor=", options.factor);
    }
  }

  std::string class_name() const override { return "ReduceLROnPlateau"; }

  void OnTrainBegin(FitContext& /*fit*/) override {
    if (!restored_) {
      monitor_.Reset();
      wait_ = cooldown_ = 0;
    }
    restored_ = false;
  }

  void OnEpochEnd(FitContext& fit, int64_t epoch, Logs& logs) override {
    const double rate = fit.learning_rate();
    logs.Set("lr", rate);
    const std::optional<double> value = monitor_.Find(fit, logs);
    if (!value) return;
    if (cooldown_ > 0) {
      --cooldown_;
      wait_ = 0;
    }
    if (monitor_.Better(*value)) {
      monitor_.set_best(*value);
      wait_ = 0;
      return;
    }
    if (cooldown_ > 0 || ++wait_ < options_.patience || rate <= options_.min_lr) return;
    const double reduced = std::max(rate * options_.factor, options_.min_lr);
    fit.set_learning_rate(reduced);
    if (options_.verbose > 0) {
      fit.Print(StrCat("Epoch ", epoch + 1, ": ReduceLROnPlateau reducing learning rate to ", reduced, "."));
    }
    cooldown_ = options_.cooldown;
    wait_ = 0;
  }

  nlohmann::json State() const override {
    return {{"wait", wait_}, {"cooldown", cooldown_}, {"best", monitor_.State()}};
  }
  void SetState(const nlohmann::json& state) override {
    wait_ = state.at("wait").get<int64_t>();
    cooldown_ = state.at("cooldown").get<int64_t>();
    monitor_.SetState(state.at("best"));
    restored_ = true;
  }

 private:
  ReduceLROnPlateauOptions options_;
  Monitor monitor_;
  int64_t wait_ = 0, cooldown_ = 0;
  bool restored_ = false;
};

class LambdaCallbackCallback : public Callback {
 public:
  explicit LambdaCallbackCallback(LambdaCallbackOptions options) : options_(std::move(options)) {}

  std::string class_name() const override { return "LambdaCallback"; }
  void OnTrainBegin(FitContext& fit) override { Call(options_.on_train_begin, fit); }
  void OnTrainEnd(FitContext& fit) override { Call(options_.on_train_end, fit); }
  void OnEpochBegin(FitContext& fit, int64_t epoch) override { Call(options_.on_epoch_begin, fit, epoch); }
  void OnEpochEnd(FitContext& fit, int64_t epoch, Logs& logs) override {
    Call(options_.on_epoch_end, fit, epoch, logs);
  }
  void OnBatchBegin(FitContext& fit, int64_t batch) override { Call(options_.on_batch_begin, fit, batch); }
  void OnBatchEnd(FitContext& fit, int64_t batch, const Logs& logs) override {
    Call(options_.on_batch_end, fit, batch, logs);
  }

 private:
  template <class F, class... Args>
  static void Call(const F& function, Args&... args) {
    if (function) function(args...);
  }

  LambdaCallbackOptions options_;
};

class LearningRateSchedulerCallback : public Callback {
 public:
  LearningRateSchedulerCallback(std::function<double(int64_t, double)> schedule, int verbose)
      : schedule_(std::move(schedule)), verbose_(verbose) {
    if (!schedule_) ThrowInvalidArgument("LearningRateScheduler: there is no function");
  }

  std::string class_name() const override { return "LearningRateScheduler"; }
  void OnEpochBegin(FitContext& fit, int64_t epoch) override {
    const double rate = schedule_(epoch, fit.learning_rate());
    fit.set_learning_rate(rate);
    if (verbose_ > 0)
      fit.Print(StrCat("Epoch ", epoch + 1, ": LearningRateScheduler setting learning rate to ", rate, "."));
  }
  void OnEpochEnd(FitContext& fit, int64_t /*epoch*/, Logs& logs) override { logs.Set("lr", fit.learning_rate()); }

 private:
  std::function<double(int64_t, double)> schedule_;
  int verbose_;
};

}  // namespace

nlohmann::json Callback::State() const { return nlohmann::json::object(); }
void Callback::SetState(const nlohmann::json& /*state*/) {}

CallbackPtr EarlyStopping(const EarlyStoppingOptions& options) {
  return std::make_shared<EarlyStoppingCallback>(options);
}
CallbackPtr ModelCheckpoint(const ModelCheckpointOptions& options) {
  return std::make_shared<ModelCheckpointCallback>(options);
}
CallbackPtr TerminateOnNaN(const TerminateOnNaNOptions& options) {
  return std::make_shared<TerminateOnNaNCallback>(options);
}
CallbackPtr LearningRateScheduler(std::function<double(int64_t epoch, double learning_rate)> schedule, int verbose) {
  return std::make_shared<LearningRateSchedulerCallback>(std::move(schedule), verbose);
}
CallbackPtr ReduceLROnPlateau(const ReduceLROnPlateauOptions& options) {
  return std::make_shared<ReduceLROnPlateauCallback>(options);
}
CallbackPtr LambdaCallback(LambdaCallbackOptions options) {
  return std::make_shared<LambdaCallbackCallback>(std::move(options));
}

}  // namespace weir
