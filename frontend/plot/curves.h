// Line charts: losses and accuracies over epochs, and any other numbers in a row.
#ifndef WEIR_FRONTEND_PLOT_CURVES_H_
#define WEIR_FRONTEND_PLOT_CURVES_H_

#include <string>
#include <vector>

#include "weir/core/error.h"

namespace weir::plot {

// Value i is drawn at xs[i] or, without any, at x = CurveOptions::first_x + i. NaN and infinities leave a gap.
struct Series {
  std::string name;
  std::vector<double> values;
  std::vector<double> xs = {};  // ascending, as many as values
};

struct CurveOptions {
  std::string title = {};
  std::string x_label = "epoch";
  double first_x = 1;
  int width = 900;  // pixels
  int height = 540;
};

// All series in one chart with axes, a legend and a colour each. Throws Error if there is no series; a series without
// finite values is named in the legend and not drawn, one with other than as many xs as values is an error.
absl::Status SaveCurves(const std::vector<Series>& series, const std::string& path, const CurveOptions& options = {});

// The history of a training: a panel for each metric, side by side, "val_x" in the panel of "x". Width and height in
// `options` are those of one panel.
absl::Status SaveHistory(const std::vector<Series>& history, const std::string& path,
                         const CurveOptions& options = {.width = 640});

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_CURVES_H_
