// Feature maps as a picture: every channel of a layer's output as one tile of a grid, as in the textbooks.
#ifndef WEIR_FRONTEND_PLOT_FEATURE_MAPS_H_
#define WEIR_FRONTEND_PLOT_FEATURE_MAPS_H_

#include <string>

#include "weir/core/error.h"
#include "weir/core/tensor.h"
#include "weir/frontend/pictures/colormap.h"
#include "weir/frontend/plot/scale.h"

namespace weir::plot {

struct FeatureMapOptions {
  // The grid. One that is 0 follows from the other; both 0 give one that leaves few places empty (32 maps 8 x 4). Columns
  // beyond the number of maps are left out.
  int rows = 0;
  int columns = 0;
  enum class Scale {
    kPerMap,  // each map between its own minimum and maximum, as matplotlib's imshow does
    kCommon,  // all maps between the least and the greatest of all
  };
  Scale scale = Scale::kPerMap;
  // kDiverging, for values of both signs such as gradients and weights, scales around 0.
  Colormap colormap = Colormap::kViridis;
  // Longer side of a map in the picture; 0: such that the picture is about 1600 pixels wide.
  int cell_pixels = 0;
  // Whether numbers and ranges of the maps, ticks and the colour bar are drawn.
  bool legend = true;
  std::string title = {};
  // A picture shown to the left of the maps, (height, width, 1|3) or (1, height, width, 1|3), uint8 or float32 (0..1
  // or 0..255): what the maps were computed from.
  Tensor input = {};
  // Whether the maps are written as they are, unscaled, to a .npy file beside the picture (the path with its ".png"
  // replaced), for whoever wants the numbers.
  bool save_values = false;
};

// Draws float32 maps (height, width, channels) or (1, height, width, channels) into a PNG file: map i in row
// i / columns. Ticks are labelled in the left column and the bottom row only. NaN is drawn red and counted in the
// text. Throws Error for other tensors, an empty one and a grid that is too small.
absl::Status SaveFeatureMaps(const Tensor& maps, const std::string& path, const FeatureMapOptions& options = {});

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_FEATURE_MAPS_H_
