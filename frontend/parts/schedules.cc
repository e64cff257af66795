// Learning rate schedules: see schedules.h. Computed in float64; the optimizer rounds the result to float32.
#include "weir/frontend/parts/schedules.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "weir/core/error.h"
#include "weir/frontend/parts/custom.h"
#include "weir/frontend/parts/keras_config.h"

namespace weir {

using nlohmann::json;

struct Schedule::State {
  std::string class_name;
  json config;
  Function function;
  bool built_in = true;
};

Schedule MakeSchedule(const std::string& class_name, json config, Schedule::Function function) {
  config["name"] = class_name;
  Schedule schedule;
  schedule.state_ =
      std::make_shared<Schedule::State>(Schedule::State{class_name, std::move(config), std::move(function)});
  return schedule;
}

namespace {

void CheckSteps(std::string_view who, std::string_view option, int64_t steps) {
  if (steps < 1) ThrowInvalidArgument(who, ": ", option, " is ", steps, ", expected at least 1");
}

// The cosine from 1 at fraction 0 to alpha at fraction 1.
double CosineFactor(double fraction, double alpha) {
  return (1 - alpha) * 0.5 * (1 + std::cos(std::numbers::pi * fraction)) + alpha;
}

ExponentialDecayOptions DecayOptions(const KerasConfig& config) {
  return {.initial_learning_rate = config.Number("initial_learning_rate", 0.1),
          .decay_steps = config.Int("decay_steps", 1),
          .decay_rate = config.Number("decay_rate", 0.96),
          .staircase = config.Bool("staircase", false)};
}

json DecayConfig(const ExponentialDecayOptions& options) {
  return {{"initial_learning_rate", options.initial_learning_rate},
          {"decay_steps", options.decay_steps},
          {"decay_rate", options.decay_rate},
          {"staircase", options.staircase}};
}

double Fraction(const ExponentialDecayOptions& options, int64_t step) {
  const double fraction = static_cast<double>(step) / static_cast<double>(options.decay_steps);
  return options.staircase ? std::floor(fraction) : fraction;
}

Schedule PolynomialFromConfig(const KerasConfig& config) {
  return PolynomialDecay({.initial_learning_rate = config.Number("initial_learning_rate", 0.1),
                          .decay_steps = config.Int("decay_steps", 1),
                          .end_learning_rate = config.Number("end_learning_rate", 0.0001),
                          .power = config.Number("power", 1),
                          .cycle = config.Bool("cycle", false)});
}

Schedule CosineFromConfig(const KerasConfig& config) {
  return CosineDecay({.initial_learning_rate = config.Number("initial_learning_rate", 0.1),
                      .decay_steps = config.Int("decay_steps", 1),
                      .alpha = config.Number("alpha", 0),
                      .warmup_target = config.OptionalNumber("warmup_target"),
                      .warmup_steps = config.Int("warmup_steps", 0)});
}

Schedule RestartsFromConfig(const KerasConfig& config) {
  return CosineDecayRestarts({.initial_learning_rate = config.Number("initial_learning_rate", 0.1),
                              .first_decay_steps = config.Int("first_decay_steps", 1),
                              .t_mul = config.Number("t_mul", 2),
                              .m_mul = config.Number("m_mul", 1),
                              .alpha = config.Number("alpha", 0)});
}

std::span<const KnownPart<Schedule>> KnownSchedules() {
  using Config = KerasConfig;
  static const std::vector<KnownPart<Schedule>>& known = *new std::vector<KnownPart<Schedule>>{
      {"CosineDecay", "", CosineFromConfig},
      {"CosineDecayRestarts", "", RestartsFromConfig},
      {"ExponentialDecay", "", [](const Config& c) { return ExponentialDecay(DecayOptions(c)); }},
      {"InverseTimeDecay", "", [](const Config& c) { return InverseTimeDecay(DecayOptions(c)); }},
      {"PiecewiseConstantDecay", "",
       [](const Config& c) {
         return PiecewiseConstantDecay({.boundaries = c.Ints("boundaries", {}), .values = c.Numbers("values")});
       }},
      {"PolynomialDecay", "", PolynomialFromConfig},
  };
  return known;
}

}  // namespace

Schedule::Schedule(std::string name, Function function)
    : state_(std::make_shared<State>(State{std::move(name), json::object(), std::move(function), false})) {}

void RegisterSchedule(const std::string& name, Schedule::Function function) {
  CheckOwnName("RegisterSchedule", name, FindKnownPart(KnownSchedules(), name) != nullptr, function != nullptr);
  OwnParts<Schedule>::Add(name, [name, function = std::move(function)](const KerasConfig&) {
    return Schedule(name, function);
  });
}

const std::string& Schedule::class_name() const {
  static const std::string& none = *new std::string;
  return defined() ? state_->class_name : none;
}

double Schedule::At(int64_t step) const {
  if (!defined()) ThrowInvalidArgument("there is no learning rate schedule");
  return state_->function(step);
}

json Schedule::ToJson() const {
  if (!defined()) return nullptr;
  if (!state_->built_in) {
    NoteUnlessRegistered<Schedule>("learning rate schedule", state_->class_name, "RegisterSchedule");
    return state_->class_name;
  }
  return MakeKerasObject("keras.optimizers.schedules", state_->class_name, state_->config);
}

Schedule Schedule::FromJson(const json& json) {
  const std::optional<KerasConfig> config = ParseKerasObject("learning rate schedule", json);
  if (!config.has_value()) return {};
  return MakeKnownPart<Schedule>("learning rate schedule", "RegisterSchedule", KnownSchedules(), *config);
}

json LearningRate::ToJson() const { return is_schedule() ? schedule_.ToJson() : JsonFloat32(value_); }

LearningRate LearningRate::FromJson(const json& json) {
  if (json.is_number()) return json.get<double>();
  Schedule schedule = Schedule::FromJson(json);
  if (!schedule.defined()) ThrowInvalidArgument("learning_rate is null, expected a number or a schedule");
  return schedule;
}

Schedule ExponentialDecay(const ExponentialDecayOptions& options) {
  CheckSteps("ExponentialDecay", "decay_steps", options.decay_steps);
  return MakeSchedule("ExponentialDecay", DecayConfig(options), [options](int64_t step) {
    return options.initial_learning_rate * std::pow(options.decay_rate, Fraction(options, step));
  });
}

Schedule InverseTimeDecay(const ExponentialDecayOptions& options) {
  CheckSteps("InverseTimeDecay", "decay_steps", options.decay_steps);
  return MakeSchedule("InverseTimeDecay", DecayConfig(options), [options](int64_t step) {
    return options.initial_learning_rate / (1 + options.decay_rate * Fraction(options, step));
  });
}

Schedule PolynomialDecay(const PolynomialDecayOptions& options) {
  CheckSteps("PolynomialDecay", "decay_steps", options.decay_steps);
  json config = {{"initial_learning_rate", options.initial_learning_rate},
                 {"decay_steps", options.decay_steps},
                 {"end_learning_rate", options.end_learning_rate},
                 {"power", options.power},
                 {"cycle", options.cycle}};
  return MakeSchedule("PolynomialDecay", std::move(config), [options](int64_t at) {
    double steps = static_cast<double>(options.decay_steps);
    double step = static_cast<double>(at);
    if (options.cycle) {
      steps *= std::max(1.0, std::ceil(step / steps));
    } else {
      step = std::min(step, steps);
    }
    return (options.initial_learning_rate - options.end_learning_rate) * std::pow(1 - step / steps, options.power) +
           options.end_learning_rate;
  });
}

Schedule CosineDecay(const CosineDecayOptions& options) {
  CheckSteps("CosineDecay", "decay_steps", options.decay_steps);
  if (options.warmup_steps < 0) {
    ThrowInvalidArgument("CosineDecay: warmup_steps is ", options.warmup_steps, ", expected at least 0");
  }
  json config = {{"initial_learning_rate", options.initial_learning_rate},
                 {"decay_steps", options.decay_steps},
                 {"alpha", options.alpha},
                 {"warmup_target", JsonOptional(options.warmup_target)},
                 {"warmup_steps", options.warmup_steps}};
  return MakeSchedule("CosineDecay", std::move(config), [options](int64_t step) {
    double top = options.initial_learning_rate;
    if (options.warmup_target.has_value()) {
      if (step < options.warmup_steps) {
        const double fraction = static_cast<double>(step) / static_cast<double>(options.warmup_steps);
        return top + (*options.warmup_target - top) * fraction;
      }
      top = *options.warmup_target;
      step -= options.warmup_steps;
    }
    const double fraction =
        static_cast<double>(std::min(step, options.decay_steps)) / static_cast<double>(options.decay_steps);
    return top * CosineFactor(fraction, options.alpha);
  });
}

Schedule CosineDecayRestarts(const CosineDecayRestartsOptions& options) {
  CheckSteps("CosineDecayRestarts", "first_decay_steps", options.first_decay_steps);
  if (!(options.t_mul >= 1)) {
    ThrowInvalidArgument("CosineDecayRestarts: t_mul is ", options.t_mul, ", expected at least 1");
  }
  json config = {{"initial_learning_rate", options.initial_learning_rate},
                 {"first_decay_steps", options.first_decay_steps},
                 {"t_mul", options.t_mul},
                 {"m_mul", options.m_mul},
                 {"alpha", options.alpha}};
  return MakeSchedule("CosineDecayRestarts", std::move(config), [options](int64_t at) {
    double step = static_cast<double>(at);
    double period = static_cast<double>(options.first_decay_steps);
    double top = 1;
    if (options.t_mul == 1) {
      const double restarts = std::floor(step / period);
      step -= restarts * period;
      top = std::pow(options.m_mul, restarts);
    } else {
      while (step >= period) {
        step -= period;
        period *= options.t_mul;
        top *= options.m_mul;
      }
    }
    const double cosine = 0.5 * top * (1 + std::cos(std::numbers::pi * (step / period)));
    return options.initial_learning_rate * ((1 - options.alpha) * cosine + options.alpha);
  });
}

Schedule PiecewiseConstantDecay(const PiecewiseConstantDecayOptions& options) {
  if (options.values.size() != options.boundaries.size() + 1) {
    ThrowInvalidArgument("PiecewiseConstantDecay: ", options.boundaries.size(), " boundaries and ",
                         options.values.size(), " values, expected one value more than boundaries");
  }
  if (!std::is_sorted(options.boundaries.begin(), options.boundaries.end())) {
    ThrowInvalidArgument("PiecewiseConstantDecay: boundaries are not in ascending order");
  }
  json config = {{"boundaries", options.boundaries}, {"values", options.values}};
  return MakeSchedule("PiecewiseConstantDecay", std::move(config), [options](int64_t step) {
    const auto at = std::lower_bound(options.boundaries.begin(), options.boundaries.end(), step);
    return options.values[static_cast<size_t>(at - options.boundaries.begin())];
  });
}

}  // namespace weir
