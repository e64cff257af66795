// From numbers to bytes for a picture: min-max scaling that survives constants, NaN and infinities and says what it
// did. Public, because the scale is part of what a picture says.
#ifndef WEIR_FRONTEND_PLOT_SCALE_H_
#define WEIR_FRONTEND_PLOT_SCALE_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "weir/frontend/pictures/colormap.h"

namespace weir::plot {

enum class ScaleRule {
  // Index into a colour map of 256 entries, matplotlib's rule: floor((v - min) / (max - min) * 256), at most 255.
  kColormap,
  // Grey byte: floor((v - min) / (max - min) * 255 + 0.5), halves rounded up. [[-1,0],[1,3]] -> [[0,64],[128,255]].
  kGrey,
  // Index into a diverging colour map: 0 is 128, the value farthest from 0 is one of the ends: floor((v / m + 1) * 128),
  // at most 255, where m is the largest magnitude.
  kDiverging,
};

// The rule that goes with a colour map.
ScaleRule RuleFor(Colormap map);

// Smallest and largest finite value, and how many there are that are not. Both 0 if there is no finite value.
struct ValueRange {
  double minimum = 0;
  double maximum = 0;
  int64_t finite = 0;
  int64_t nans = 0;
  int64_t infinities = 0;

  bool constant() const { return minimum == maximum; }
  double magnitude() const { return std::max(-minimum, maximum); }  // largest, of a range that holds a value
};
ValueRange RangeOf(std::span<const float> values);
// The range of both together.
ValueRange Union(const ValueRange& a, const ValueRange& b);

struct ScaledBytes {
  std::vector<uint8_t> bytes;  // one a value; 0 where `is_nan`
  std::vector<bool> is_nan;
  ValueRange range;  // of the values themselves, also where another scale was given
};

// Scales `values` by their own range or by `scale`. A constant gives one flat byte: 0 under kColormap (as matplotlib
// has it), 128 under kGrey; under kDiverging it is a value as any other. Infinities and values beyond `scale` go to the nearer end.
ScaledBytes ScaleToBytes(std::span<const float> values, ScaleRule rule,
                         const std::optional<ValueRange>& scale = std::nullopt);

}  // namespace weir::plot

#endif  // WEIR_FRONTEND_PLOT_SCALE_H_
