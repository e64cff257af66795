// A heat map laid over a picture: where in it something is large, such as a gradient or the mean of feature maps.
#ifndef WEIR_FRONTEND_PLOT_HEAT_MAP_H_
#define WEIR_FRONTEND_PLOT_HEAT_MAP_H_

#include <string>

#include "weir/core/error.h"
#include "weir/core/tensor.h"
#include "weir/frontend/pictures/colormap.h"
#include "weir/frontend/plot/images.h"

namespace weir::plot {

struct HeatMapOptions {
  Colormap colormap = Colormap::kViridis;  // kDiverging, for values of both signs, scales around 0
  double opacity = 0.5;                    // of the map: 0 leaves the picture as it is, 1 hides it
  int picture_pixels = 0;                  // longer side of the picture; 0: 384 at least, in whole multiples
  bool legend = true;                      // whether the colour bar with the least and greatest value is drawn
  std::string title = {};
  PixelRange range = PixelRange::kAuto;  // of the picture
};

// The picture (see ToRgb), enlarged with sharp pixels to (height, width), under `map`, (h, w), (h, w, 1) or
// (1, h, w, 1) float32, which is scaled to its own range and enlarged smoothly: uint8 (height, width, 3). NaN is drawn
// red. Throws Error for other tensors, an opacity outside 0..1 and sizes below 1.
Tensor Overlay(const Tensor& image, const Tensor& map, int64_t height, int64_t width, const HeatMapOptions& options = {});

// Overlay as a PNG file, with title and colour bar.
absl::Status SaveHeatMap(const Tensor& image, const Tensor& map, const std::string& path,
                         const HeatMapOptions& options = {});

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_HEAT_MAP_H_
