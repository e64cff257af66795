// Callbacks: what happens between the steps and epochs of Fit. Derive from Callback, or use the functions below:
//
//   model.Fit(data, {.epochs = 100, .callbacks = {EarlyStopping({.patience = 5}), CSVLogger("log.csv")}});
//
// What can be known before the first epoch is refused before it: a monitor or a path that names a value that no epoch
// will have, a path that can't be written, a rate that can't be set.
//
// A callback's own counters are part of the model's training state: they are saved with it and go on with
// Fit({.initial_epoch = ...}) or Fit({.resume = true}). If a callback throws, the others are still told of the step or
// the epoch; then Fit throws, and Fit({.resume = true}) goes on behind it, with the same bits as if nothing had failed.
#ifndef WEIR_FRONTEND_CALLBACKS_H_
#define WEIR_FRONTEND_CALLBACKS_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "weir/core/tensor.h"
#include "weir/frontend/history.h"

namespace weir {

class Model;

class FitLoop;

// What a callback sees of the training it is part of, and may change. Valid while Fit runs.
class FitContext {
 public:
  explicit FitContext(FitLoop& loop) : loop_(loop) {}

  Model model() const;
  int64_t first_epoch() const;  // of this Fit, from 0
  int64_t epochs() const;
  int64_t steps_per_epoch() const;
  bool has_validation() const;
  int64_t validation_freq() const;
  bool validates(int64_t epoch) const;  // whether the epoch ends with a validation
  // Keys that Fit itself puts into an epoch's logs, in order: fixed from the start.
  const std::vector<std::string>& keys() const;
  // keys(), and those that callbacks say they add.
  std::vector<std::string> log_keys() const;
  // Whether there is a callback that doesn't say what it adds.
  bool may_add_keys() const;
  // Of a loss or metric the model was compiled with, or its val_ value; nothing if that is unknown.
  std::optional<bool> larger_is_better(const std::string& key) const;
  // Ends the training after the running step, or epoch.
  void StopTraining();
  bool stopping() const;
  bool interrupted() const;  // SIGINT ended the training before its time
  double learning_rate() const;
  void set_learning_rate(double learning_rate);  // throws Error if it is a schedule
  // A line for the user, shown unless Fit is silent.
  void Print(const std::string& line);
  // A line that matters: on standard error if Fit is silent.
  void Warn(const std::string& line);
  // The first value of the last step, in the order of computation, that holds a NaN or an infinity, with their counts:
  // the batch is run again, in inference, to find out. Empty if all are finite. Costs a run and memory for all values.
  std::string FirstNonFinite();

 private:
  FitLoop& loop_;
};

class Callback {
 public:
  virtual ~Callback() = default;

  // Before anything has begun: throws Error for what can't work in this Fit.
  virtual void CheckFit(const FitContext& /*fit*/) const {}
  virtual void OnTrainBegin(FitContext& /*fit*/) {}
  virtual void OnTrainEnd(FitContext& /*fit*/) {}
  virtual void OnEpochBegin(FitContext& /*fit*/, int64_t /*epoch*/) {}
  // With loss, metrics and their val_ values; what is added appears in the history.
  virtual void OnEpochEnd(FitContext& /*fit*/, int64_t /*epoch*/, Logs& /*logs*/) {}
  virtual void OnBatchBegin(FitContext& /*fit*/, int64_t /*batch*/) {}
  // With the means so far in this epoch.
  virtual void OnBatchEnd(FitContext& /*fit*/, int64_t /*batch*/, const Logs& /*logs*/) {}

  // Kind, and counters, for going on later. JSON objects; empty for none.
  virtual std::string class_name() const = 0;
  virtual nlohmann::json State() const;
  virtual void SetState(const nlohmann::json& state);
  // Tensors that belong to the state (the best weights so far). They must not be written to afterwards.
  virtual std::vector<Tensor> StateTensors() const { return {}; }
  virtual void SetStateTensors(const std::vector<Tensor>& /*tensors*/) {}
  // What OnEpochEnd adds to the logs; nothing if that isn't known. Then a monitor of another callback that names a value
  // which never comes is not refused before the first epoch, but told of after it.
  virtual std::optional<std::vector<std::string>> log_keys() const { return std::nullopt; }
  // Whether a step whose loss is not finite must leave the weights as they were.
  virtual bool guards_weights() const { return false; }
  // Whether it saves the model: it is then called after the others when an epoch ends, so that their counters and the
  // epoch's logs are in what it saves.
  virtual bool saves_model() const { return false; }
  // Of a callback that saves the model: when all have been told of the end of the epoch.
  virtual void OnSave(FitContext& /*fit*/) {}
};
using CallbackPtr = std::shared_ptr<Callback>;

// A text or a path given by position. A list in braces is none, and so always means options.
template <class T>
concept TextLike = std::is_convertible_v<const T&, std::string>;

// mode: "min", "max", or "auto": as the monitored loss or metric has it ("max" for accuracies, top-k accuracies and the
// cosine similarity, "min" for losses); of other names, "max" if they end in acc, accuracy or auc, "min" if they end in
// loss. For any other, Fit asks for the mode. A NaN is never better.
struct EarlyStoppingOptions {
  std::string monitor = "val_loss";
  double min_delta = 0;
  int64_t patience = 0;  // epochs without improvement before it stops
  int verbose = 0;
  std::string mode = "auto";
  std::optional<double> baseline = {};
  // When the training ends, unless it was interrupted: then it can go on where it stopped.
  bool restore_best_weights = false;
  int64_t start_from_epoch = 0;
};
CallbackPtr EarlyStopping(const EarlyStoppingOptions& options = {});
// What Keras's users give by position comes first: EarlyStopping("val_loss", {.patience = 3}).
template <TextLike Text>
CallbackPtr EarlyStopping(const Text& monitor, EarlyStoppingOptions options = {}) {
  options.monitor = monitor;
  return EarlyStopping(options);
}

// Saves the model (or its weights) to `path`, in which {epoch}, {epoch:02d} and {val_loss:.4f} are replaced. A file is
// whole or not there. Throws Error for a failure to write. With save_best_only, epochs without the monitored value save
// nothing, and the best value counts as long as the callback is used, in one Fit or several.
struct ModelCheckpointOptions {
  std::string path = {};
  std::string monitor = "val_loss";
  int verbose = 0;
  bool save_best_only = false;
  bool save_weights_only = false;
  std::string mode = "auto";
};
CallbackPtr ModelCheckpoint(const ModelCheckpointOptions& options);
template <TextLike Text>
CallbackPtr ModelCheckpoint(const Text& path, ModelCheckpointOptions options = {}) {
  options.path = path;
  return ModelCheckpoint(options);
}

// One row an epoch, with columns fixed from the start; cells without a value stay empty.
struct CSVLoggerOptions {
  std::string path = {};
  std::string separator = ",";
  bool append = false;
};
CallbackPtr CSVLogger(const CSVLoggerOptions& options);
template <TextLike Text>
CallbackPtr CSVLogger(const Text& path, CSVLoggerOptions options = {}) {
  options.path = path;
  return CSVLogger(options);
}

// Stops at the first loss that is not finite, saying in which batch and, with find_origin, which value was the first;
// the weights stay those of the step before.
struct TerminateOnNaNOptions {
  bool find_origin = true;
};
CallbackPtr TerminateOnNaN(const TerminateOnNaNOptions& options = {});

// The rate for each epoch from its number and the rate so far.
CallbackPtr LearningRateScheduler(std::function<double(int64_t epoch, double learning_rate)> schedule, int verbose = 0);

struct ReduceLROnPlateauOptions {
  std::string monitor = "val_loss";
  double factor = 0.1;  // below 1
  int64_t patience = 10;
  int verbose = 0;
  std::string mode = "auto";
  double min_delta = 1e-4;
  int64_t cooldown = 0;
  double min_lr = 0;
};
CallbackPtr ReduceLROnPlateau(const ReduceLROnPlateauOptions& options = {});
template <TextLike Text>
CallbackPtr ReduceLROnPlateau(const Text& monitor, ReduceLROnPlateauOptions options = {}) {
  options.monitor = monitor;
  return ReduceLROnPlateau(options);
}

// Functions in place of a class.
struct LambdaCallbackOptions {
  std::function<void(FitContext& fit)> on_train_begin = {};
  std::function<void(FitContext& fit)> on_train_end = {};
  std::function<void(FitContext& fit, int64_t epoch)> on_epoch_begin = {};
  std::function<void(FitContext& fit, int64_t epoch, Logs& logs)> on_epoch_end = {};
  std::function<void(FitContext& fit, int64_t batch)> on_batch_begin = {};
  std::function<void(FitContext& fit, int64_t batch, const Logs& logs)> on_batch_end = {};
};
CallbackPtr LambdaCallback(LambdaCallbackOptions options);

}  // namespace weir

#endif  // WEIR_FRONTEND_CALLBACKS_H_
