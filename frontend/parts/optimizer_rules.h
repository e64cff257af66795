// The optimizers weir has, by name; not for users.
#ifndef WEIR_FRONTEND_PARTS_OPTIMIZER_RULES_H_
#define WEIR_FRONTEND_PARTS_OPTIMIZER_RULES_H_

#include <span>

#include "weir/frontend/parts/keras_config.h"
#include "weir/frontend/parts/optimizers.h"

namespace weir {

std::span<const KnownPart<Optimizer>> KnownOptimizers();

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_OPTIMIZER_RULES_H_
