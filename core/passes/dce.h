// Dead code elimination: keeps what the roots need, and the bound leaves.
#ifndef WEIR_CORE_PASSES_DCE_H_
#define WEIR_CORE_PASSES_DCE_H_

#include "weir/core/program.h"

namespace weir {

Program EliminateDeadCode(const Program& program);

}  // namespace weir

#endif  // WEIR_CORE_PASSES_DCE_H_
