#include "weir/frontend/plot/grid.h"

#include <algorithm>
#include <cmath>

namespace weir::plot {

int64_t GridColumns(int64_t count) {
  const auto square = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  const auto empty = [count](int64_t columns) { return (count + columns - 1) / columns * columns - count; };
  int64_t best = square;
  for (int64_t columns = square; columns <= std::min(count, 2 * square); ++columns) {
    if (empty(columns) < empty(best)) best = columns;
  }
  return best;
}

}  // namespace weir::plot
