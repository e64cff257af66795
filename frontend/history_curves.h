// A training's history as curves to draw: plot::SaveHistory(CurvesOf(history), "curves.png").
#ifndef WEIR_FRONTEND_HISTORY_CURVES_H_
#define WEIR_FRONTEND_HISTORY_CURVES_H_

#include <vector>

#include "weir/frontend/history.h"
#include "weir/frontend/plot/curves.h"

namespace weir {

inline std::vector<plot::Series> CurvesOf(const History& history) {
  std::vector<plot::Series> curves;
  for (const auto& [name, values] : history.series) {
    curves.push_back({name, values, {}});
    // Epochs count from 1 where people read them. Values of validation_freq lie at the epochs that had one.
    for (const int64_t epoch : history.EpochsOf(name)) curves.back().xs.push_back(static_cast<double>(epoch + 1));
  }
  return curves;
}

}  // namespace weir

#endif  // WEIR_FRONTEND_HISTORY_CURVES_H_
