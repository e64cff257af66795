// Grids of tiles. Private to the plot library.
#ifndef WEIR_FRONTEND_PLOT_GRID_H_
#define WEIR_FRONTEND_PLOT_GRID_H_

#include <cstdint>

namespace weir::plot {

// Columns of the grid for `count` tiles (1 at least) that leaves the fewest places empty without being more than twice as
// wide as a square one; of those the narrowest: 32 tiles 8 x 4, 3 tiles in a row, 64 tiles 8 x 8.
int64_t GridColumns(int64_t count);

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_GRID_H_
