// Taps: looking at any value of a model, or the loss's gradient with respect to it, while it runs. A tapped value is
// one more result of the run's program; it never changes what the run computes, not by a bit.
//
// A value is named by layer, path or pattern:
//   "conv2d"                        the layer's output; "dense#1" for the second use of a layer
//   "conv2d/pre_activation"         before the activation; also "conv2d/output", "conv2d/kernel", "conv2d/bias"
//   "**/conv2d*/pre_activation"     all that match: * within one part of the path, ** across parts
//   "sequential/conv2d/conv_5"      any other node of the graph, by its path
//   "dropout/mask"                  what exists in training only is read in training; an inference leaves its readings
//   "loss", "adam/**"               also the loss, and what the optimizer computes, once the model is compiled
// The path may leave out the model's name and whatever outer models there are, as long as one value remains.
#ifndef WEIR_FRONTEND_TAP_H_
#define WEIR_FRONTEND_TAP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "weir/core/graph.h"
#include "weir/frontend/call_context.h"

namespace weir {

// Over all elements; mean and deviation (population) in double precision over the finite ones.
struct TapStatistics {
  double mean = 0;
  double std = 0;
  double min = 0;
  double max = 0;
  int64_t count = 0;
  int64_t zeros = 0;
  int64_t nans = 0;
  int64_t infinities = 0;
};
TapStatistics ComputeStatistics(const Tensor& tensor);
std::ostream& operator<<(std::ostream& out, const TapStatistics& statistics);

// One value, as one run of one batch had it.
struct TapReading {
  std::string path;       // "sequential/conv2d/pre_activation"
  bool gradient = false;  // of the loss with respect to the value
  int64_t step = 0;       // training: steps done before this one; else the batch's number
  Tensor value;           // its own storage; undefined if only statistics were asked for
  TapStatistics statistics;
};
using TapReceiver = std::function<void(const TapReading& reading)>;

struct TapOptions {
  bool gradient = false;         // needs a loss: not for Predict
  bool statistics_only = false;  // no tensor is kept
  TapReceiver receive = {};      // called after each run, besides what a handle keeps
};

// What a run is asked to show: in Fit's, Predict's, ... option `taps`, or with Model::Tap for all runs.
struct TapRequest {
  TapRequest(const char* p, TapOptions o = {}) : pattern(p), options(std::move(o)) {}             // NOLINT
  TapRequest(std::string p, TapOptions o = {}) : pattern(std::move(p)), options(std::move(o)) {}  // NOLINT

  std::string pattern;
  TapOptions options;
};

// Keeps a tap of a model alive, and the readings of the latest run, of whichever thread. Runs in other threads are no
// matter to a handle, but each thread needs a handle of its own (a copy).
class TapHandle {
 public:
  using Readings = std::shared_ptr<const std::vector<TapReading>>;
  struct State {
    explicit State(TapRequest r) : request(std::move(r)) {}

    void Set(std::vector<TapReading> latest);
    Readings Get() const;

    const TapRequest request;

   private:
    mutable std::mutex mutex_;  // guards readings_
    Readings readings_ = std::make_shared<const std::vector<TapReading>>();
  };

  TapHandle() = default;
  explicit TapHandle(std::shared_ptr<State> state) : state_(std::move(state)) {}

  // One for each value that matches, of the last batch that ran and had such values. Empty before. The reference is good
  // until this handle is asked again.
  const std::vector<TapReading>& readings() const;
  // The only one; throws Error if there is none, or more.
  const TapReading& reading() const;
  const Tensor& value() const { return reading().value; }

 private:
  std::shared_ptr<State> state_;
  mutable Readings shown_;
};

// The values of a recorded model that `pattern` means, with their paths. Throws Error if there is none (naming the
// nearest), or if a plain name means several (listing them).
std::vector<NamedValue> ResolveTap(const std::string& pattern, std::span<const NamedValue> named,
                                   const std::shared_ptr<Graph>& graph);

}  // namespace weir

#endif  // WEIR_FRONTEND_TAP_H_
