// How far the training of a model has come: what Fit goes on from, and what a saved model carries of it.
#ifndef WEIR_FRONTEND_FIT_PROGRESS_H_
#define WEIR_FRONTEND_FIT_PROGRESS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "weir/core/tensor.h"
#include "weir/frontend/history.h"
#include "weir/frontend/trainer.h"

namespace weir {

struct CallbackState {
  std::string class_name;
  nlohmann::json state;
  std::vector<Tensor> tensors;
};

struct FitProgress {
  // Where a training stopped before its time.
  struct Position {
    int64_t epoch = 0;
    int64_t step = 0;       // the next one; that behind the last where only the epoch's end is missing
    bool stopping = false;  // a callback has asked for the end of the training
    nlohmann::json means;   // of the epoch's steps so far
  };

  History history;
  std::vector<CallbackState> callbacks;
  std::optional<Position> stopped_at;
};

struct Trainer::Published {
  FitProgress progress;  // without the position that follows, if there is one
  Optimizer optimizer;   // its learning rate is changed by callbacks
  // Of a Fit that runs: the next step, if that is not an epoch's first, with the means of those before.
  int64_t epoch = 0, step = 0;
  bool stopping = false;
  std::optional<EpochMeans> means;

  FitProgress Progress() const;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_FIT_PROGRESS_H_
