#include "weir/frontend/plot/scale.h"

#include <algorithm>
#include <cmath>

namespace weir::plot {
namespace {

constexpr uint8_t kFlatGrey = 128;
constexpr uint8_t kMiddle = 128;  // of a diverging colour map

uint8_t Scale(double value, const ValueRange& range, ScaleRule rule) {
  if (rule == ScaleRule::kDiverging) {
    const double limit = range.magnitude();
    if (std::isinf(value)) return value < 0 ? 0 : 255;
    if (limit == 0) return kMiddle;
    return static_cast<uint8_t>(std::clamp((value / limit + 1) * 128, 0.0, 255.0));
  }
  if (range.constant() && std::isfinite(value)) return rule == ScaleRule::kGrey ? kFlatGrey : 0;
  if (value >= range.maximum) return 255;
  if (value <= range.minimum) return 0;
  const double part = (value - range.minimum) / (range.maximum - range.minimum);
  const double level = rule == ScaleRule::kGrey ? part * 255 + 0.5 : part * 256;
  return static_cast<uint8_t>(std::min(level, 255.0));
}

}  // namespace

ScaleRule RuleFor(Colormap map) {
  switch (map) {
    case Colormap::kViridis: return ScaleRule::kColormap;
    case Colormap::kGrey: return ScaleRule::kGrey;
    case Colormap::kDiverging: return ScaleRule::kDiverging;
  }
  return ScaleRule::kColormap;
}

ValueRange RangeOf(std::span<const float> values) {
  ValueRange range;
  for (const float value : values) {
    if (std::isnan(value)) {
      ++range.nans;
    } else if (std::isinf(value)) {
      ++range.infinities;
    } else {
      range.minimum = range.finite == 0 ? value : std::min<double>(range.minimum, value);
      range.maximum = range.finite == 0 ? value : std::max<double>(range.maximum, value);
      ++range.finite;
    }
  }
  return range;
}

ValueRange Union(const ValueRange& a, const ValueRange& b) {
  ValueRange both = a.finite == 0 ? b : a;
  if (a.finite > 0 && b.finite > 0) {
    both.minimum = std::min(a.minimum, b.minimum);
    both.maximum = std::max(a.maximum, b.maximum);
  }
  both.finite = a.finite + b.finite;
  both.nans = a.nans + b.nans;
  both.infinities = a.infinities + b.infinities;
  return both;
}

ScaledBytes ScaleToBytes(std::span<const float> values, ScaleRule rule, const std::optional<ValueRange>& scale) {
  ScaledBytes result;
  result.range = RangeOf(values);
  const ValueRange& range = scale.has_value() ? *scale : result.range;
  result.bytes.resize(values.size());
  result.is_nan.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    result.is_nan[i] = std::isnan(values[i]);
    result.bytes[i] = result.is_nan[i] ? 0 : Scale(values[i], range, rule);
  }
  return result;
}

}  // namespace weir::plot
