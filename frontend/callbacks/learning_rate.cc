// LearningRateScheduler and ReduceLROnPlateau: callbacks that set the learning rate.
#include <cmath>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/callbacks/monitor.h"
#include "weir/frontend/model.h"
#include "weir/frontend/parts/keras_config.h"

namespace weir {
namespace {

constexpr char kRateKey[] = "lr";

void CheckRateCanBeSet(const FitContext& fit, std::string_view callback) {
  if (!fit.model().optimizer().learning_rate().is_schedule()) return;
  ThrowFailedPrecondition(callback, ": the learning rate of ", fit.model().optimizer().name(),
                          " follows a schedule and can't be set; compile with a number as learning_rate");
}

class ReduceLROnPlateauCallback : public Callback {
 public:
  explicit ReduceLROnPlateauCallback(const ReduceLROnPlateauOptions& options)
      : options_(options), monitor_("ReduceLROnPlateau", options.monitor, options.mode, options.min_delta) {
    if (!(options.factor < 1)) {
      ThrowInvalidArgument("ReduceLROnPlateau does not support a factor >= 1.0. Received factor=", options.factor);
    }
    if (options.factor < 0) ThrowInvalidArgument("ReduceLROnPlateau: factor is ", options.factor, ", expected 0 to 1");
    if (!(options.min_lr >= 0)) ThrowInvalidArgument("ReduceLROnPlateau: min_lr is ", options.min_lr);
    if (options.patience < 0) ThrowInvalidArgument("ReduceLROnPlateau: patience is ", options.patience);
    if (options.cooldown < 0) ThrowInvalidArgument("ReduceLROnPlateau: cooldown is ", options.cooldown);
  }

  std::string class_name() const override { return "ReduceLROnPlateau"; }
  std::optional<std::vector<std::string>> log_keys() const override { return std::vector<std::string>{kRateKey}; }
  void CheckFit(const FitContext& fit) const override {
    CheckRateCanBeSet(fit, "ReduceLROnPlateau");
    monitor_.Check(fit);
  }

  void OnTrainBegin(FitContext& fit) override {
    monitor_.Begin(fit);
    if (!restored_) {
      monitor_.Reset();
      wait_ = cooldown_ = 0;
    }
    restored_ = false;
  }

  void OnEpochEnd(FitContext& fit, int64_t epoch, Logs& logs) override {
    const double rate = fit.learning_rate();
    logs.Set(kRateKey, rate);
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
    wait_ = StateCount(state, "wait");
    cooldown_ = StateCount(state, "cooldown");
    monitor_.SetState(state.at("best"));
    restored_ = true;
  }

 private:
  ReduceLROnPlateauOptions options_;
  Monitor monitor_;
  int64_t wait_ = 0, cooldown_ = 0;
  bool restored_ = false;
};

class LearningRateSchedulerCallback : public Callback {
 public:
  LearningRateSchedulerCallback(std::function<double(int64_t, double)> schedule, int verbose)
      : schedule_(std::move(schedule)), verbose_(verbose) {
    if (!schedule_) ThrowInvalidArgument("LearningRateScheduler: there is no function");
  }

  std::string class_name() const override { return "LearningRateScheduler"; }
  std::optional<std::vector<std::string>> log_keys() const override { return std::vector<std::string>{kRateKey}; }
  void CheckFit(const FitContext& fit) const override { CheckRateCanBeSet(fit, "LearningRateScheduler"); }

  void OnTrainBegin(FitContext& /*fit*/) override {
    if (!restored_) begun_ = -1;
    restored_ = false;
  }

  void OnEpochBegin(FitContext& fit, int64_t epoch) override {
    // An epoch that was interrupted begins again; its rate is set already, and may depend on the one before.
    if (epoch == begun_) return;
    const double rate = schedule_(epoch, fit.learning_rate());
    if (!std::isfinite(rate)) {
      ThrowInvalidArgument("LearningRateScheduler: the function gives ", rate, " for epoch ", epoch);
    }
    fit.set_learning_rate(rate);
    begun_ = epoch;
    if (verbose_ > 0)
      fit.Print(StrCat("Epoch ", epoch + 1, ": LearningRateScheduler setting learning rate to ", rate, "."));
  }
  void OnEpochEnd(FitContext& fit, int64_t /*epoch*/, Logs& logs) override {
    logs.Set(kRateKey, fit.learning_rate());
    begun_ = -1;
  }

  nlohmann::json State() const override { return {{"begun", begun_}}; }
  void SetState(const nlohmann::json& state) override {
    begun_ = state.contains("begun") ? StateCount(state, "begun", -1) : -1;
    restored_ = true;
  }

 private:
  std::function<double(int64_t, double)> schedule_;
  int verbose_;
  int64_t begun_ = -1;  // the epoch whose rate is set, until it ends
  bool restored_ = false;
};

}  // namespace

CallbackPtr LearningRateScheduler(std::function<double(int64_t epoch, double learning_rate)> schedule, int verbose) {
  return std::make_shared<LearningRateSchedulerCallback>(std::move(schedule), verbose);
}
CallbackPtr ReduceLROnPlateau(const ReduceLROnPlateauOptions& options) {
  return std::make_shared<ReduceLROnPlateauCallback>(options);
}

}  // namespace weir
