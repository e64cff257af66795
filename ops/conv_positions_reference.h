// References of direct convolutions that leave padding out (canonical_order.h): one position at a time, with the taps
// that meet a cell there, for all images. Internal to ops/; those of conv_reference.h call them.
#ifndef WEIR_OPS_CONV_POSITIONS_REFERENCE_H_
#define WEIR_OPS_CONV_POSITIONS_REFERENCE_H_

#include "weir/core/op_def.h"
#include "weir/ops/conv_geometry.h"

namespace weir {

void ConvByPositions(const ReferenceCall& call, const ConvGeometry& geometry);
void ConvInputGradientByPositions(const ReferenceCall& call, const ConvGeometry& geometry);

}  // namespace weir

#endif  // WEIR_OPS_CONV_POSITIONS_REFERENCE_H_
