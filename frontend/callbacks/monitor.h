// Monitor: watches whether a value of the epochs' logs gets better, for callbacks that wait for it.
#ifndef WEIR_FRONTEND_CALLBACKS_MONITOR_H_
#define WEIR_FRONTEND_CALLBACKS_MONITOR_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "weir/frontend/callbacks.h"

namespace weir {

class Monitor {
 public:
  // `callback` is the name that messages begin with. Throws Error for an unknown mode or a min_delta that is no number.
  Monitor(std::string callback, std::string key, const std::string& mode, double min_delta);

  // Throws Error if no epoch of the Fit can have the value, or if mode is "auto" and nothing tells which way is better.
  void Check(const FitContext& fit) const;
  // At the start of a Fit that Check has passed.
  void Begin(const FitContext& fit);
  // Forgets the best value.
  void Reset() { best_.reset(); }

  const std::string& key() const { return key_; }
  double best() const;  // an infinity if there is none yet
  void set_best(double best) { best_ = best; }
  // By more than min_delta; a NaN never is.
  bool Better(double value) const { return Better(value, best()); }
  bool Better(double value, double than) const;

  // The epoch's value, or nothing. Says once a Fit if the key is one that nobody has named.
  std::optional<double> Find(FitContext& fit, const Logs& logs);

  nlohmann::json State() const;
  void SetState(const nlohmann::json& state);

 private:
  enum class Mode { kAuto, kMin, kMax };

  std::optional<bool> LargerIsBetter(const FitContext& fit) const;
  std::string Unknown(const FitContext& fit) const;

  std::string callback_, key_;
  Mode mode_ = Mode::kAuto;
  double min_delta_ = 0;
  bool larger_ = false;
  bool told_ = false;
  std::optional<double> best_;
};

// An integer of a callback's saved state, at least `least`. Throws Error naming the key for anything that no counter
// has.
int64_t StateCount(const nlohmann::json& state, const char* key, int64_t least = 0);

}  // namespace weir

#endif  // WEIR_FRONTEND_CALLBACKS_MONITOR_H_
