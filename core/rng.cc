#include "weir/core/rng.h"

#include <cmath>
#include <numbers>

namespace weir {

double RandomStream::Normal() {
  const double u = 1.0 - Uniform();  // in (0, 1], so that the logarithm is finite
  const double v = Uniform();
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

uint64_t RandomStream::Below(uint64_t bound) {
  // Numbers beyond the largest multiple of `bound` are drawn again.
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  while (true) {
    const uint64_t high = Bits();
    const uint64_t draw = high << 32 | Bits();
    if (draw < limit) return draw % bound;
  }
}

}  // namespace weir
