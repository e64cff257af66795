// Reverse-mode differentiation, graph to graph: the gradient is ordinary nodes appended to the same graph, which are
// fused, planned, tapped and differentiated again like any others. Core knows no op, so the few it needs are passed
// in; users call Gradients of ops/gradients.h.
#ifndef WEIR_CORE_AUTODIFF_H_
#define WEIR_CORE_AUTODIFF_H_

#include <span>
#include <vector>

#include "weir/core/graph.h"

namespace weir {

struct AutodiffOps {
  Value (*add)(const Value& a, const Value& b);
  Value (*ones_like)(const Value& value);
  Value (*zeros_like)(const Value& value);
};

// d(sum over ys of seed * y) / dx for each x. `seeds` (one a y, of y's type) default to ones. An x that no y depends
// on gets zeros. Throws Error if a y or x is not of a floating type, if seeds do not fit, or if the way from an x to
// a y leads through an op that has no gradient.
std::vector<Value> Differentiate(const AutodiffOps& ops, std::span<const Value> ys, std::span<const Value> xs,
                                 std::span<const Value> seeds);

}  // namespace weir

#endif  // WEIR_CORE_AUTODIFF_H_
