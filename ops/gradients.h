// Gradients: reverse-mode differentiation of recorded values, to any order.
#ifndef WEIR_OPS_GRADIENTS_H_
#define WEIR_OPS_GRADIENTS_H_

#include <span>
#include <vector>

#include "weir/core/graph.h"

namespace weir {

// d(sum of seed * y) / dx for each x, as new nodes of the same graph. `seeds`, one a y and of its type, default to
// ones; an x on which no y depends gets zeros. Throws Error where core/autodiff.h says.
//
//   auto [dw, db] = ...: auto g = Gradients({loss}, {w, b}); Evaluate({g[0], g[1]});
std::vector<Value> Gradients(std::span<const Value> ys, std::span<const Value> xs, std::span<const Value> seeds = {});
inline std::vector<Value> Gradients(std::initializer_list<Value> ys, std::initializer_list<Value> xs) {
  return Gradients(std::span<const Value>(ys.begin(), ys.size()), std::span<const Value>(xs.begin(), xs.size()));
}

}  // namespace weir

#endif  // WEIR_OPS_GRADIENTS_H_
