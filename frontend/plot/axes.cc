#include "weir/frontend/plot/axes.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace weir::plot {
namespace {

// Beyond these, numbers are written with an exponent.
constexpr double kLargePlain = 1e6;
constexpr double kSmallPlain = 1e-4;

std::string Format(double value, std::chars_format format, int precision) {
  char buffer[64];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value, format, precision);
  return error == std::errc() ? std::string(buffer, end) : "?";
}

std::string WithoutTrailingZeros(std::string text) {
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

}  // namespace

Ticks NiceTicks(double low, double high, int count, bool whole) {
  const double rough = (high - low) / std::max(1, count);
  if (!(rough > 0) || !std::isfinite(rough)) return {{low}, 1};
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) {
      step = factor * power;
      break;
    }
  }
  if (whole) step = std::max(1.0, step);
  Ticks ticks{{}, step};
  // Indices, not sums: ten times 0.1 is to be 1.
  const double first = std::ceil(low / step - 1e-9);
  const double last = std::floor(high / step + 1e-9);
  for (double i = first; i <= last && ticks.values.size() < 1000; ++i) ticks.values.push_back(i == 0 ? 0 : i * step);
  return ticks;
}

std::string FormatTick(double value, double step) {
  if (value == 0) return "0";
  const double size = std::max(std::abs(value), step);
  if (size >= kLargePlain || step < kSmallPlain) {
    const int digits =
        static_cast<int>(std::max(0.0, std::floor(std::log10(size)) - std::floor(std::log10(step) + 1e-9)));
    return Format(value, std::chars_format::scientific, std::min(digits, 15));
  }
  const int digits = static_cast<int>(std::max(0.0, -std::floor(std::log10(step) + 1e-9)));
  return Format(value, std::chars_format::fixed, digits);
}

std::string FormatShort(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size >= kLargePlain || size < kSmallPlain) return Format(value, std::chars_format::scientific, 1);
  const int digits = std::clamp(2 - static_cast<int>(std::floor(std::log10(size))), 0, 6);
  return WithoutTrailingZeros(Format(value, std::chars_format::fixed, digits));
}

}  // namespace weir::plot
