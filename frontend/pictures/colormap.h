// Colours for numbers: viridis (van der Walt, Smith, Firing; public domain), which runs evenly from dark to light for
// every eye, plain grey, and for numbers of both signs purple over white to orange (Brewer, "PuOr").
#ifndef WEIR_FRONTEND_PICTURES_COLORMAP_H_
#define WEIR_FRONTEND_PICTURES_COLORMAP_H_

#include <array>
#include <cstdint>

namespace weir {

using Rgb = std::array<uint8_t, 3>;

enum class Colormap {
  kViridis,
  kGrey,
  kDiverging,  // for scales around 0: 128 is almost white, the ends are as dark as each other
};

// The colour of `index`, 0 (lowest) to 255 (highest).
Rgb MapColor(Colormap map, uint8_t index);

}  // namespace weir

#endif  // WEIR_FRONTEND_PICTURES_COLORMAP_H_
