// Memory planning: a place for every value that crosses steps. Roots lie in the outputs, new values of variables in
// the variables' own buffers where nobody needs the old ones any more, the rest in an arena: largest first, each in
// the smallest gap that fits while it lives. An output may take over the place of an input that dies at its step.
#ifndef WEIR_CORE_PASSES_MEMORY_H_
#define WEIR_CORE_PASSES_MEMORY_H_

#include "weir/core/plan.h"

namespace weir {

// Fills in all places of a plan whose program and steps are set. Without `reuse` every value has its own place and
// nothing is computed in place.
void PlanMemory(Plan& plan, bool reuse);

}  // namespace weir

#endif  // WEIR_CORE_PASSES_MEMORY_H_
