// References of the three partials of a convolution, in the direct algorithm. Internal to ops/.
#ifndef WEIR_OPS_CONV_REFERENCE_H_
#define WEIR_OPS_CONV_REFERENCE_H_

#include "weir/core/op_def.h"

namespace weir {

void ConvReference(const ReferenceCall& call);                // inputs x, filter
void ConvInputGradientReference(const ReferenceCall& call);   // inputs dy, filter
void ConvFilterGradientReference(const ReferenceCall& call);  // inputs x, dy

}  // namespace weir

#endif  // WEIR_OPS_CONV_REFERENCE_H_
