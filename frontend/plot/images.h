// Pictures, grids of pictures and convolution filters as PNG files.
#ifndef WEIR_FRONTEND_PLOT_IMAGES_H_
#define WEIR_FRONTEND_PLOT_IMAGES_H_

#include <string>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/tensor.h"
#include "weir/frontend/pictures/colormap.h"

namespace weir::plot {

// What the numbers of a float32 picture mean. Values outside are cut off, NaN is drawn red.
enum class PixelRange {
  // kUnit if no value is above 2, else kByte: what sharpening or rounding lifts above 1 makes no picture of bytes.
  kAuto,
  kUnit,  // 0..1
  kByte,  // 0..255, as in uint8 pictures
};

// uint8 (height, width, 3), halves rounded up, from uint8 or float32 (H, W), (H, W, 1|3|4) or the same with a batch
// axis of 1 in front; alpha is dropped. Throws Error for any other tensor.
Tensor ToRgb(const Tensor& image, PixelRange range = PixelRange::kAuto);

// One picture, without any decoration, each pixel `scale` x `scale` large.
absl::Status SaveImage(const Tensor& image, const std::string& path, int scale = 1,
                       PixelRange range = PixelRange::kAuto);

struct ImageGridOptions {
  int columns = 0;      // 0: such that few places are empty
  int cell_pixels = 0;  // longer side of a picture; 0: 96 at least, in whole multiples
  std::string title = {};
  PixelRange range = PixelRange::kAuto;  // kAuto looks at all pictures together
};

// Pictures (N, H, W, 1|3|4) in a grid, row by row, with a label under each: `labels` is empty or has N texts.
absl::Status SaveImageGrid(const Tensor& images, const std::vector<std::string>& labels, const std::string& path,
                           const ImageGridOptions& options = {});

struct FilterOptions {
  Colormap colormap = Colormap::kDiverging;  // around 0: weights have signs
  // Draws filters over three input channels as one colour picture each, all channels on one scale.
  bool rgb = false;
  int cell_pixels = 0;   // longer side of a slice; 0: about 40, in whole multiples
  int max_inputs = 64;   // further input channels and
  int max_outputs = 64;  // filters are left out, which the caption says
  std::string title = {};
};

// The slices k[:, :, c, n] of a float32 kernel (height, width, inputs, outputs): row c, column n, each filter n scaled
// by itself over all drawn channels: around 0, or in grey, viridis and colour between its least and greatest value. Throws Error for any other tensor.
absl::Status SaveFilters(const Tensor& kernel, const std::string& path, const FilterOptions& options = {});

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_IMAGES_H_
