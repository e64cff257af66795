// The list of all ops. The composition root registers them with its runtime.
#ifndef WEIR_OPS_REGISTRY_H_
#define WEIR_OPS_REGISTRY_H_

#include "weir/core/op_def.h"

namespace weir {

void RegisterAllOps(OpRegistry& registry);

}  // namespace weir

#endif  // WEIR_OPS_REGISTRY_H_
