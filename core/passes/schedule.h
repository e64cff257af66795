// Scheduling: an order of the steps that respects who needs what and lets variables be updated in place, by putting
// every reader of a variable's old value before the step that overwrites it where that is possible.
#ifndef WEIR_CORE_PASSES_SCHEDULE_H_
#define WEIR_CORE_PASSES_SCHEDULE_H_

#include <vector>

#include "weir/core/plan.h"

namespace weir {

// `looked_at` gets the number of steps that searches for circles have met.
std::vector<PlanStep> Schedule(const Program& program, std::vector<PlanStep> steps, int64_t* looked_at = nullptr);

}  // namespace weir

#endif  // WEIR_CORE_PASSES_SCHEDULE_H_
