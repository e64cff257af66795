// A written model of what Keras's fit and its callbacks do, for a model of one weight: numbers in, numbers out, none of
// weir's code. Where Keras says nothing, because its fit can't be resumed, weir's own rules are marked so.
#ifndef WEIR_TESTS_KERAS_RULES_H_
#define WEIR_TESTS_KERAS_RULES_H_

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace weir::keras_rules {

// Whether a value is better than another, and the best so far.
struct Watch {
  bool larger = false;
  double min_delta = 0;
  std::optional<double> best = {};

  bool Better(double value, double than) const {
    return larger ? value - min_delta > than : value + min_delta < than;
  }
  bool Better(double value) const { return Better(value, best.value_or(larger ? -INFINITY : INFINITY)); }
};

struct EarlyStopping {
  Watch watch;
  int64_t patience = 0, start_from_epoch = 0;
  std::optional<double> baseline = {};
  bool restore = false;

  int64_t wait = 0;
  std::optional<double> best_weight = {};
  bool best_in_model = false;  // weir's: the last fit has put it there
};

struct ReduceLROnPlateau {
  Watch watch;
  double factor = 0.5, min_lr = 0;
  int64_t patience = 0, cooldown = 0;

  int64_t wait = 0, cooldown_left = 0;
};

struct ModelCheckpoint {
  Watch watch;
  bool save_best_only = false;
  std::map<std::string, double> files = {};  // by path, the weight in it; "best" with save_best_only, else the epoch from 1
};

struct Problem {
  std::vector<double> x, y;      // of training
  std::vector<double> weights;   // sample weight times class weight
  std::vector<double> val_x, val_y, val_weights;
  int64_t batch_size = 1, validation_freq = 1;
  double learning_rate = 0.5;
  bool use_ema = false;
  double ema_momentum = 0.5;
  int64_t ema_overwrite_frequency = 0;  // 0: never
  bool terminate_on_nan = false;
  std::function<double(int64_t epoch, double rate)> schedule = {};
  std::function<double(int64_t epoch)> dictated = {};  // what is monitored
};

struct Epoch {
  int64_t number = 0;
  double loss = 0;  // mean of weight * |y - w x|
  std::optional<double> val_loss = {}, val_mae = {};  // val_mae: divided by the sum of weights
  double rate = 0;                                    // while it was trained
};

// prediction = weight * x, loss = mean of weight_i * |y_i - prediction|, SGD.
class Trainer {
 public:
  explicit Trainer(Problem problem, double weight)
      : problem_(std::move(problem)), weight_(weight), rate_(problem_.learning_rate) {}

  std::optional<EarlyStopping> early;
  std::optional<ReduceLROnPlateau> plateau;
  std::optional<ModelCheckpoint> checkpoint;

  double weight() const { return weight_; }
  double rate() const { return rate_; }
  const std::vector<Epoch>& epochs() const { return epochs_; }

  // `goes_on`, weir's: callbacks keep their counters, and weights that averages have replaced come back.
  void Fit(int64_t first, int64_t epochs, bool goes_on) {
    Begin(goes_on);
    stop_ = false;
    for (int64_t epoch = first; epoch < epochs && !stop_; ++epoch) RunEpoch(epoch);
    if (problem_.use_ema && average_) {
      unaveraged_ = weight_;
      weight_ = *average_;
    }
    if (early && early->restore && early->best_weight) {
      weight_ = *early->best_weight;
      early->best_weight.reset();
      early->best_in_model = true;
    }
  }

 private:
  void Begin(bool goes_on) {
    if (early && goes_on && early->best_in_model) early->best_weight = weight_;
    if (early && !goes_on) {
      early->wait = 0;
      early->watch.best.reset();
      early->best_weight.reset();
    }
    if (early) early->best_in_model = false;
    if (plateau && !goes_on) {
      plateau->wait = plateau->cooldown_left = 0;
      plateau->watch.best.reset();
    }
    if (goes_on && unaveraged_ && weight_ == *average_) weight_ = *unaveraged_;
    unaveraged_.reset();
  }

  double Loss(size_t i) const { return problem_.weights[i] * std::fabs(problem_.y[i] - weight_ * problem_.x[i]); }

  void RunEpoch(int64_t number) {
    if (problem_.schedule) rate_ = problem_.schedule(number, rate_);
    double total = 0, count = 0;
    const size_t n = problem_.x.size(), batch = static_cast<size_t>(problem_.batch_size);
    for (size_t begin = 0; begin < n && !stop_; begin += batch) {
      const size_t end = std::min(begin + batch, n);
      double sum = 0, gradient = 0;
      for (size_t i = begin; i < end; ++i) {
        sum += Loss(i);
        const double prediction = weight_ * problem_.x[i];
        gradient += problem_.weights[i] * problem_.x[i] * (prediction > problem_.y[i] ? 1 : -1);
      }
      total += sum;
      count += static_cast<double>(end - begin);
      if (problem_.terminate_on_nan && !std::isfinite(sum)) {
        stop_ = true;  // weir's: the step changes nothing
      } else {
        Step(gradient / static_cast<double>(end - begin));
      }
    }
    Epoch epoch{.number = number, .loss = total / count, .rate = rate_};
    const bool validates = !problem_.val_x.empty() && (number + 1) % problem_.validation_freq == 0;
    if (validates) Validate(epoch);
    epochs_.push_back(epoch);
    if (validates || problem_.val_x.empty()) EndEpoch(number, problem_.dictated(number));
    if (checkpoint && !checkpoint->save_best_only) checkpoint->files[std::to_string(number + 1)] = weight_;
  }

  void Step(double gradient) {
    weight_ -= rate_ * gradient;
    if (problem_.use_ema) {
      const double m = problem_.ema_momentum;
      average_ = average_ ? m * *average_ + (1 - m) * weight_ : weight_;
      const int64_t f = problem_.ema_overwrite_frequency;
      if (f > 0 && (iterations_ + 1) % f == 0) weight_ = *average_;
    }
    ++iterations_;
  }

  void Validate(Epoch& epoch) const {
    double sum = 0, weights = 0;
    for (size_t i = 0; i < problem_.val_x.size(); ++i) {
      sum += problem_.val_weights[i] * std::fabs(problem_.val_y[i] - weight_ * problem_.val_x[i]);
      weights += problem_.val_weights[i];
    }
    epoch.val_loss = sum / static_cast<double>(problem_.val_x.size());
    epoch.val_mae = weights == 0 ? 0 : sum / weights;
  }

  void EndEpoch(int64_t number, double value) {
    if (early) Tell(*early, number, value);
    if (plateau) Tell(*plateau, value);
    if (checkpoint && checkpoint->save_best_only && checkpoint->watch.Better(value)) {
      checkpoint->watch.best = value;
      checkpoint->files["best"] = weight_;
    }
  }

  void Tell(EarlyStopping& c, int64_t number, double value) {
    if (number < c.start_from_epoch) return;
    if (c.restore && !c.best_weight) c.best_weight = weight_;
    ++c.wait;
    if (c.watch.Better(value)) {
      c.watch.best = value;
      if (c.restore) c.best_weight = weight_;
      if (!c.baseline || c.watch.Better(value, *c.baseline)) c.wait = 0;
      return;
    }
    if (c.wait >= c.patience && number > 0) stop_ = true;
  }

  void Tell(ReduceLROnPlateau& c, double value) {
    if (c.cooldown_left > 0) {
      --c.cooldown_left;
      c.wait = 0;
    }
    if (c.watch.Better(value)) {
      c.watch.best = value;
      c.wait = 0;
    } else if (c.cooldown_left == 0) {
      ++c.wait;
      if (c.wait >= c.patience && rate_ > c.min_lr) {
        rate_ = std::max(rate_ * c.factor, c.min_lr);
        c.cooldown_left = c.cooldown;
        c.wait = 0;
      }
    }
  }

  Problem problem_;
  double weight_ = 0, rate_ = 0;
  std::optional<double> average_, unaveraged_;
  int64_t iterations_ = 0;
  bool stop_ = false;
  std::vector<Epoch> epochs_;
};

}  // namespace weir::keras_rules

#endif  // WEIR_TESTS_KERAS_RULES_H_
