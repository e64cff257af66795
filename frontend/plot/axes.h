// Ticks and numbers as people write them. Private to the plot library.
#ifndef WEIR_FRONTEND_PLOT_AXES_H_
#define WEIR_FRONTEND_PLOT_AXES_H_

#include <cstdint>
#include <string>
#include <vector>

namespace weir::plot {

struct Ticks {
  std::vector<double> values;  // multiples of `step` in [low, high], ascending
  double step = 1;             // 1, 2 or 5 times a power of ten
};

// At most about `count` ticks; `whole` allows whole numbers only. high > low.
Ticks NiceTicks(double low, double high, int count, bool whole = false);

// The value with as many digits after the point as `step` needs: 0.25, 10, 1e-06.
std::string FormatTick(double value, double step);

// The value with three significant digits: 0, 1.23, -0.5, 12300, 1.2e-05, inf, nan.
std::string FormatShort(double value);

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_AXES_H_
