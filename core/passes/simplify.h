// Simplification: replaces nodes by values that equal them bit for bit, by each op's own rule (OpDef::simplify). It
// never changes a number: x + 0 stays, since it turns -0 into 0.
#ifndef WEIR_CORE_PASSES_SIMPLIFY_H_
#define WEIR_CORE_PASSES_SIMPLIFY_H_

#include "weir/core/program.h"

namespace weir {

Program Simplify(const Program& program);

}  // namespace weir

#endif  // WEIR_CORE_PASSES_SIMPLIFY_H_
