// Convolutions that leave padding out (ops/canonical_order.h), tap by tap: the positions of all images that meet a tap
// are the rows of an outer product, which goes on with their sums. Nothing is padded or copied.
#ifndef WEIR_BACKENDS_HIGHWAY_CONV_BY_TAPS_H_
#define WEIR_BACKENDS_HIGHWAY_CONV_BY_TAPS_H_

#include "weir/backends/highway/conv_engine.h"
#include "weir/backends/highway/lowering.h"

namespace weir::highway {

// For a problem that does not read padding.
Lowering LowerConvByTaps(const LowerContext& context, ConvProblem problem);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_CONV_BY_TAPS_H_
