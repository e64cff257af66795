// Convolutions that leave padding out (ops/canonical_order.h), by positions: all images at one output position meet the
// same taps, so that they are the rows of an outer product over the taps inside. Nothing is padded or copied.
#ifndef WEIR_BACKENDS_HIGHWAY_CONV_POSITIONS_H_
#define WEIR_BACKENDS_HIGHWAY_CONV_POSITIONS_H_

#include "weir/backends/highway/conv_engine.h"
#include "weir/backends/highway/lowering.h"

namespace weir::highway {

// For a problem that does not read padding.
Lowering LowerConvByPositions(const LowerContext& context, ConvProblem problem);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_CONV_POSITIONS_H_
