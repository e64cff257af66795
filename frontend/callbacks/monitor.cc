#include "weir/frontend/callbacks/monitor.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "weir/core/error.h"
#include "weir/frontend/parts/keras_config.h"

namespace weir {

Monitor::Monitor(std::string callback, std::string key, const std::string& mode, double min_delta)
    : callback_(std::move(callback)), key_(std::move(key)), min_delta_(std::fabs(min_delta)) {
  if (mode == "min") {
    mode_ = Mode::kMin;
  } else if (mode == "max") {
    mode_ = Mode::kMax;
  } else if (mode != "auto") {
    ThrowInvalidArgument(callback_, ": unknown mode '", mode, "'; known: auto, min, max");
  }
  if (std::isnan(min_delta)) ThrowInvalidArgument(callback_, ": min_delta is not a number");
}

double Monitor::best() const { return best_.value_or(larger_ ? -INFINITY : INFINITY); }

bool Monitor::Better(double value, double than) const {
  return larger_ ? value - min_delta_ > than : value + min_delta_ < than;
}

std::optional<bool> Monitor::LargerIsBetter(const FitContext& fit) const {
  if (mode_ != Mode::kAuto) return mode_ == Mode::kMax;
  if (const std::optional<bool> larger = fit.larger_is_better(key_)) return larger;
  for (const char* end : {"acc", "accuracy", "auc"}) {
    if (key_.ends_with(end)) return true;
  }
  if (key_.ends_with("loss")) return false;
  return std::nullopt;
}

std::string Monitor::Unknown(const FitContext& fit) const {
  const bool no_validation = key_.starts_with("val_") && !fit.has_validation();
  return StrCat(callback_, ": monitor: ", UnknownNameMessage("metric", key_, fit.log_keys()),
                no_validation ? "; there is no validation: give validation_data or validation_split" : "");
}

void Monitor::Check(const FitContext& fit) const {
  const std::vector<std::string> known = fit.log_keys();
  if (std::find(known.begin(), known.end(), key_) == known.end() && !fit.may_add_keys()) ThrowNotFound(Unknown(fit));
  if (key_.starts_with("val_") && !fit.may_add_keys() && fit.first_epoch() < fit.epochs()) {
    bool validated = false;
    for (int64_t epoch = fit.first_epoch(); epoch < fit.epochs() && !validated; ++epoch) {
      validated = fit.validates(epoch);
    }
    if (!validated) {
      ThrowInvalidArgument(callback_, ": monitor '", key_, "' has no value in epochs ", fit.first_epoch() + 1, " to ",
                           fit.epochs(), ": validation_freq is ", fit.validation_freq());
    }
  }
  if (!LargerIsBetter(fit)) {
    ThrowInvalidArgument(callback_, ": whether a larger '", key_,
                         "' is better can't be told from its name: say .mode = \"max\" or .mode = \"min\"");
  }
}

void Monitor::Begin(const FitContext& fit) {
  larger_ = LargerIsBetter(fit).value_or(false);
  told_ = false;
}

std::optional<double> Monitor::Find(FitContext& fit, const Logs& logs) {
  if (const double* value = logs.Find(key_)) return *value;
  const std::vector<std::string> known = fit.log_keys();
  // Missing because of validation_freq is no mistake.
  if (!told_ && std::find(known.begin(), known.end(), key_) == known.end()) fit.Warn(Unknown(fit));
  told_ = true;
  return std::nullopt;
}

nlohmann::json Monitor::State() const {
  if (!best_) return nullptr;
  // JSON has no infinity.
  if (std::isinf(*best_)) return *best_ < 0 ? "-inf" : "inf";
  return *best_;
}

void Monitor::SetState(const nlohmann::json& state) {
  if (state.is_null()) {
    best_.reset();
  } else if (state == "inf" || state == "-inf") {
    best_ = state == "inf" ? INFINITY : -INFINITY;
  } else {
    best_ = JsonDouble(state, "best");
  }
}

int64_t StateCount(const nlohmann::json& state, const char* key, int64_t least) {
  // More than this nobody has counted, and sums of it and an epoch are no problem.
  constexpr int64_t kMost = int64_t{1} << 53;
  return JsonInt(JsonMember(state, key, "state"), key, least, kMost);
}

}  // namespace weir
