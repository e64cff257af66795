// EarlyStopping: ends a training that doesn't get better.
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/callbacks/monitor.h"
#include "weir/frontend/model.h"
#include "weir/frontend/parts/keras_config.h"
#include "weir/frontend/variable_locks.h"

namespace weir {
namespace {

class EarlyStoppingCallback : public Callback {
 public:
  explicit EarlyStoppingCallback(const EarlyStoppingOptions& options)
      : options_(options), monitor_("EarlyStopping", options.monitor, options.mode, options.min_delta) {
    if (options.patience < 0) ThrowInvalidArgument("EarlyStopping: patience is ", options.patience);
  }

  std::string class_name() const override { return "EarlyStopping"; }
  std::optional<std::vector<std::string>> log_keys() const override { return std::vector<std::string>{}; }
  void CheckFit(const FitContext& fit) const override { monitor_.Check(fit); }

  void OnTrainBegin(FitContext& fit) override {
    monitor_.Begin(fit);
    stopped_epoch_ = -1;
    if (restored_) {
      restored_ = false;
      CheckRestoredWeights(fit);
      // The last Fit has left the model with them.
      if (in_model_ && options_.restore_best_weights) KeepWeights(fit, best_epoch_);
      in_model_ = false;
      return;
    }
    in_model_ = false;
    best_weights_.clear();
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
    // A training that was interrupted goes on from the weights that it had then.
    if (!options_.restore_best_weights || best_weights_.empty() || fit.interrupted()) return;
    if (options_.verbose > 0)
      fit.Print(StrCat("Restoring model weights from the end of the best epoch: ", best_epoch_ + 1, "."));
    const std::vector<Variable> weights = fit.model().weights();
    std::vector<std::pair<Variable, Tensor>> values;
    for (size_t i = 0; i < weights.size(); ++i) values.emplace_back(weights[i], best_weights_[i].Clone());
    AdoptAll(values);
    best_weights_.clear();
    in_model_ = true;
  }

  nlohmann::json State() const override {
    return {{"wait", wait_}, {"best", monitor_.State()}, {"best_epoch", best_epoch_}, {"best_in_model", in_model_}};
  }
  void SetState(const nlohmann::json& state) override {
    wait_ = StateCount(state, "wait");
    monitor_.SetState(state.at("best"));
    best_epoch_ = state.contains("best_epoch") ? StateCount(state, "best_epoch") : 0;
    in_model_ = state.contains("best_in_model") && JsonBool(state["best_in_model"], "best_in_model");
    restored_ = true;
  }
  std::vector<Tensor> StateTensors() const override { return best_weights_; }
  void SetStateTensors(const std::vector<Tensor>& tensors) override { best_weights_ = tensors; }

 private:
  void KeepWeights(FitContext& fit, int64_t epoch) {
    best_epoch_ = epoch;
    best_weights_ = SnapshotOf(fit.model().weights());
  }

  void CheckRestoredWeights(FitContext& fit) const {
    if (best_weights_.empty()) return;
    const std::vector<Variable> weights = fit.model().weights();
    bool fits = weights.size() == best_weights_.size();
    for (size_t i = 0; fits && i < weights.size(); ++i) fits = weights[i].type() == best_weights_[i].type();
    if (!fits) ThrowInvalidArgument("EarlyStopping: the best weights so far are not this model's");
  }

  EarlyStoppingOptions options_;
  Monitor monitor_;
  int64_t wait_ = 0, stopped_epoch_ = -1, best_epoch_ = 0;
  bool restored_ = false;
  bool in_model_ = false;  // the best weights are the model's
  std::vector<Tensor> best_weights_;
};

}  // namespace

CallbackPtr EarlyStopping(const EarlyStoppingOptions& options) {
  return std::make_shared<EarlyStoppingCallback>(options);
}

}  // namespace weir
