// Options of Compile, Fit, Evaluate, Predict and TrainOnBatch.
#ifndef WEIR_FRONTEND_TRAINING_OPTIONS_H_
#define WEIR_FRONTEND_TRAINING_OPTIONS_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/frontend/callbacks.h"
#include "weir/frontend/examples.h"
#include "weir/frontend/history.h"
#include "weir/frontend/parts/losses.h"
#include "weir/frontend/parts/metrics.h"
#include "weir/frontend/parts/optimizers.h"
#include "weir/frontend/parts/progress.h"
#include "weir/frontend/tap.h"

namespace weir {

// One T for the only output, one an output in order, or some by output name: {{"small", "mse"}, {"big", "mae"}}.
template <class T>
class PerOutput {
 public:
  using Named = std::pair<std::string, T>;

  PerOutput() = default;
  PerOutput(const char* name) requires std::is_constructible_v<T, const char*> : values_{{"", T(name)}} {}  // NOLINT
  PerOutput(T value) : values_{{"", std::move(value)}} {}                                                   // NOLINT
  PerOutput(std::initializer_list<T> values) {
    for (const T& value : values) values_.emplace_back("", value);
  }
  PerOutput(std::initializer_list<Named> values) : values_(values) {}
  PerOutput(std::vector<Named> values) : values_(std::move(values)) {}  // NOLINT

  const std::vector<Named>& values() const { return values_; }
  bool empty() const { return values_.empty(); }

 private:
  std::vector<Named> values_;
};

// Metrics of every output: "acc" or {"acc", "mse"}; or by output name: {{"small", {"mse"}}, {"big", {"acc"}}}.
class OutputMetrics {
 public:
  using Named = std::pair<std::string, MetricList>;

  OutputMetrics() = default;
  OutputMetrics(const char* name) : values_{{"", MetricList(name)}} {}        // NOLINT
  OutputMetrics(const Metric& metric) : values_{{"", MetricList(metric)}} {}  // NOLINT
  OutputMetrics(MetricList metrics) : values_{{"", std::move(metrics)}} {}    // NOLINT
  OutputMetrics(std::initializer_list<Metric> metrics) : values_{{"", MetricList(metrics)}} {}
  OutputMetrics(std::initializer_list<Named> values) : values_(values) {}
  OutputMetrics(std::vector<Named> values) : values_(std::move(values)) {}  // NOLINT

  const std::vector<Named>& values() const { return values_; }
  bool empty() const { return values_.empty(); }

 private:
  std::vector<Named> values_;
};

// Keras's sample_weight: a number for each sample, (N), for all outputs, or one such tensor an output. An error where
// the data has sample weights already.
class SampleWeights {
 public:
  SampleWeights() = default;
  SampleWeights(Tensor weights) : tensors_{std::move(weights)} {}               // NOLINT
  SampleWeights(std::vector<Tensor> weights) : tensors_(std::move(weights)) {}  // NOLINT

  const std::vector<Tensor>& tensors() const { return tensors_; }

 private:
  std::vector<Tensor> tensors_;
};

// Fields of these options come in the order of Keras's arguments, which is the order to name them in: C++ wants it.
struct ModelCompileOptions {
  Optimizer optimizer = "rmsprop";
  PerOutput<Loss> loss = {};
  PerOutput<double> loss_weights = {};  // default 1
  OutputMetrics metrics = {};           // every sample counts 1
  OutputMetrics weighted_metrics = {};  // sample weights count
  std::optional<uint64_t> seed = {};    // replaces the model's; without effect on weights that have values
  Runtime* runtime = nullptr;           // replaces the model's
  // Likewise, by name: "llvm", "highway" or "reference". Models that name the same backend share one runtime.
  std::string backend = "";
};

struct FitOptions {
  int64_t batch_size = 32;
  int64_t epochs = 1;  // number of the last epoch
  int verbose = 1;     // 0: silent; 1: progress bar; 2: one line an epoch
  std::vector<std::shared_ptr<Callback>> callbacks = {};
  double validation_split = 0;  // share of the last examples kept for validation; validation_data wins over it
  Examples validation_data = {};
  bool shuffle = true;  // anew each epoch, from the model's seed and the epoch's number
  // By label; 1 for those left out. For training alone: validation_split's examples are not weighted by it.
  std::map<int64_t, double> class_weight = {};
  SampleWeights sample_weight = {};  // split with the data; class_weight multiplies it
  int64_t initial_epoch = 0;  // above 0, callbacks go on from the state they had at the end of the last Fit
  int64_t validation_batch_size = 0;            // 0: batch_size
  int64_t validation_freq = 1;                  // epochs between validations
  // Multiplies every input: 1 / 255. for pictures of bytes. The model remembers what bytes (uint8) were multiplied with;
  // left out, they are multiplied with that, and by 1 the first time, as all other inputs are.
  std::optional<double> scale = {};
  std::vector<TapRequest> taps = {};
  // Go on where the last Fit stopped, within an epoch too, whether it was interrupted, ended with an error or came to its
  // end: with the same bits as a training that never stopped. initial_epoch is ignored.
  bool resume = false;
  bool handle_interrupt = true;  // SIGINT ends training after the running step; a second one ends the process
  ProgressOutput output = {};    // default: standard output
};

struct EvaluateOptions {
  int64_t batch_size = 32;
  int verbose = 0;
  SampleWeights sample_weight = {};
  std::optional<double> scale = {};  // as in FitOptions; throws Error for bytes and another scale than they had in training
  std::vector<TapRequest> taps = {};
  ProgressOutput output = {};
};

// Batches of ever new sizes, the rest that batch_size leaves or what a service was asked for, do not each compile a
// program: after the first eight sizes others are answered in parts of powers of two, where no value is tapped and all
// layers say that the bits are the same (LayerBase::SameInBatches).
struct PredictOptions {
  int64_t batch_size = 32;
  std::optional<double> scale = {};  // as in EvaluateOptions
  std::vector<TapRequest> taps = {};
};

struct BatchOptions {
  SampleWeights sample_weight = {};
  std::map<int64_t, double> class_weight = {};
  std::optional<double> scale = {};  // as in FitOptions
  std::vector<TapRequest> taps = {};
};

}  // namespace weir

#endif  // WEIR_FRONTEND_TRAINING_OPTIONS_H_
