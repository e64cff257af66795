// Bar charts: numbers that belong to names, such as how many times as fast one thing is as another.
#ifndef WEIR_FRONTEND_PLOT_BARS_H_
#define WEIR_FRONTEND_PLOT_BARS_H_

#include <string>
#include <vector>

#include "weir/core/error.h"

namespace weir::plot {

struct BarGroup {
  std::string label;
  std::vector<double> values;  // one a series; NaN: no bar
};

struct BarOptions {
  std::string title = {};
  std::string x_label = {};
  double reference = 0;   // a line across all bars; bars below it are drawn in a warning colour; 0: none
  double limit = 0;       // longer bars are cut here, with their number; 0: the largest value
  int width = 900;        // pixels; the height follows from the groups
};

// Horizontal bars from 0, a group below the other, each with its number. `series` names the values of a group; with
// one series there is no legend. Throws Error if there is no group, no series, or a group has another number of
// values than there are series.
absl::Status SaveBars(const std::vector<std::string>& series, const std::vector<BarGroup>& groups,
                      const std::string& path, const BarOptions& options = {});

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_BARS_H_
