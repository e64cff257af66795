// Convolutions of small images by positions: all images at one output position meet the same taps, so that they are the
// rows of an outer product over the taps inside of the source. Nothing is padded or copied.
#ifndef WEIR_BACKENDS_HIGHWAY_CONV_POSITIONS_H_
#define WEIR_BACKENDS_HIGHWAY_CONV_POSITIONS_H_

#include "weir/backends/highway/conv_engine.h"
#include "weir/backends/highway/lowering.h"

namespace weir::highway {

// Whether the problem is to be computed this way: it has to be if padding is left out, and may be where no output reads
// any, which then pays for small images.
bool GoesByPositions(const ConvProblem& problem);

Lowering LowerConvByPositions(const LowerContext& context, ConvProblem problem);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_CONV_POSITIONS_H_
