// Common subexpression elimination: nodes with equal op, attributes and inputs become one. Random ops with equal seed,
// stream and step are equal too, and are meant to be.
#ifndef WEIR_CORE_PASSES_CSE_H_
#define WEIR_CORE_PASSES_CSE_H_

#include "weir/core/program.h"

namespace weir {

Program EliminateCommonSubexpressions(const Program& program);

}  // namespace weir

#endif  // WEIR_CORE_PASSES_CSE_H_
