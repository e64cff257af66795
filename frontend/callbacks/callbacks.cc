// Callbacks of few lines, and what all callbacks have in common.
#include "weir/frontend/callbacks.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/core/strings.h"

namespace weir {
namespace {

class TerminateOnNaNCallback : public Callback {
 public:
  explicit TerminateOnNaNCallback(const TerminateOnNaNOptions& options) : options_(options) {}

  std::string class_name() const override { return "TerminateOnNaN"; }
  std::optional<std::vector<std::string>> log_keys() const override { return std::vector<std::string>{}; }
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

class LambdaCallbackCallback : public Callback {
 public:
  explicit LambdaCallbackCallback(LambdaCallbackOptions options) : options_(std::move(options)) {}

  std::string class_name() const override { return "LambdaCallback"; }
  std::optional<std::vector<std::string>> log_keys() const override {
    if (options_.on_epoch_end) return std::nullopt;
    return std::vector<std::string>{};
  }
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

}  // namespace

nlohmann::json Callback::State() const { return nlohmann::json::object(); }
void Callback::SetState(const nlohmann::json& /*state*/) {}

CallbackPtr TerminateOnNaN(const TerminateOnNaNOptions& options) {
  return std::make_shared<TerminateOnNaNCallback>(options);
}
CallbackPtr LambdaCallback(LambdaCallbackOptions options) {
  return std::make_shared<LambdaCallbackCallback>(std::move(options));
}

}  // namespace weir
