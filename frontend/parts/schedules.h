// Learning rates that change with the step, computed on the host: the step's graph sees a number.
//
//   Adam({.learning_rate = CosineDecay({.initial_learning_rate = 1e-3, .decay_steps = 39075})})
#ifndef WEIR_FRONTEND_PARTS_SCHEDULES_H_
#define WEIR_FRONTEND_PARTS_SCHEDULES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace weir {

class Schedule {
 public:
  using Function = std::function<double(int64_t step)>;

  Schedule() = default;                           // none
  Schedule(std::string name, Function function);  // one's own

  bool defined() const { return state_ != nullptr; }
  const std::string& class_name() const;  // "CosineDecay"; "" for none

  // The rate of a step; the first step is 0. Throws Error if there is no schedule.
  double At(int64_t step) const;

  nlohmann::json ToJson() const;  // null for none
  static Schedule FromJson(const nlohmann::json& json);

 private:
  struct State;
  friend Schedule MakeSchedule(const std::string& class_name, nlohmann::json config, Function function);

  std::shared_ptr<const State> state_;
};

// A constant or a schedule.
class LearningRate {
 public:
  LearningRate(double value) : value_(value) {}                        // NOLINT
  LearningRate(Schedule schedule) : schedule_(std::move(schedule)) {}  // NOLINT

  bool is_schedule() const { return schedule_.defined(); }
  double At(int64_t step) const { return is_schedule() ? schedule_.At(step) : value_; }

  nlohmann::json ToJson() const;
  static LearningRate FromJson(const nlohmann::json& json);

 private:
  double value_ = 0;
  Schedule schedule_;
};

// In the formulas s is the step, s0 the initial rate, D = decay_steps. decay_steps must be positive.

// s0 * decay_rate ^ (s / D), of the whole part of s / D with staircase.
struct ExponentialDecayOptions {
  double initial_learning_rate = 0.1;
  int64_t decay_steps = 1;
  double decay_rate = 0.96;
  bool staircase = false;
};
Schedule ExponentialDecay(const ExponentialDecayOptions& options);
// As Keras's users write them: ExponentialDecay(0.1, 1000, 0.96).
inline Schedule ExponentialDecay(double rate, int64_t decay_steps, double decay_rate, bool staircase = false) {
  return ExponentialDecay({rate, decay_steps, decay_rate, staircase});
}

// s0 / (1 + decay_rate * s / D).
Schedule InverseTimeDecay(const ExponentialDecayOptions& options);
inline Schedule InverseTimeDecay(double rate, int64_t decay_steps, double decay_rate, bool staircase = false) {
  return InverseTimeDecay({rate, decay_steps, decay_rate, staircase});
}

// (s0 - end) * (1 - min(s, D) / D) ^ power + end; with cycle, D is the multiple of D at or above s.
struct PolynomialDecayOptions {
  double initial_learning_rate = 0.1;
  int64_t decay_steps = 1;
  double end_learning_rate = 0.0001;
  double power = 1;
  bool cycle = false;
};
Schedule PolynomialDecay(const PolynomialDecayOptions& options);
inline Schedule PolynomialDecay(double rate, int64_t decay_steps, double end_learning_rate = 0.0001, double power = 1) {
  return PolynomialDecay({rate, decay_steps, end_learning_rate, power});
}

// top * ((1 - alpha) * (1 + cos(pi * s / D)) / 2 + alpha), from s = D on top * alpha; top is s0 or, if there is one,
// the warm-up's target, to which the rate rises linearly from s0 over warmup_steps before the decay begins.
struct CosineDecayOptions {
  double initial_learning_rate = 0.1;
  int64_t decay_steps = 1;
  double alpha = 0;
  std::optional<double> warmup_target = {};
  int64_t warmup_steps = 0;
};
Schedule CosineDecay(const CosineDecayOptions& options);
inline Schedule CosineDecay(double rate, int64_t decay_steps, double alpha = 0) {
  return CosineDecay({rate, decay_steps, alpha});
}

// Cosine decays one after the other: the first takes first_decay_steps, each next t_mul times the steps and m_mul
// times the rate of the one before.
struct CosineDecayRestartsOptions {
  double initial_learning_rate = 0.1;
  int64_t first_decay_steps = 1;
  double t_mul = 2;
  double m_mul = 1;
  double alpha = 0;
};
Schedule CosineDecayRestarts(const CosineDecayRestartsOptions& options);
inline Schedule CosineDecayRestarts(double rate, int64_t first_decay_steps, double t_mul = 2, double m_mul = 1) {
  return CosineDecayRestarts({rate, first_decay_steps, t_mul, m_mul});
}

// values[i] while s <= boundaries[i], then the last value: one value more than boundaries.
struct PiecewiseConstantDecayOptions {
  std::vector<int64_t> boundaries;
  std::vector<double> values;
};
Schedule PiecewiseConstantDecay(const PiecewiseConstantDecayOptions& options);
inline Schedule PiecewiseConstantDecay(std::vector<int64_t> boundaries, std::vector<double> values) {
  return PiecewiseConstantDecay(PiecewiseConstantDecayOptions{std::move(boundaries), std::move(values)});
}

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_SCHEDULES_H_
