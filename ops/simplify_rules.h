// Rules by which nodes are replaced by values that equal them bit for bit (OpDef::simplify). Internal to ops/.
#ifndef WEIR_OPS_SIMPLIFY_RULES_H_
#define WEIR_OPS_SIMPLIFY_RULES_H_

#include <optional>

#include "weir/core/op_def.h"
#include "weir/ops/scalar_math.h"

namespace weir {

std::optional<Ref> SimplifyReshape(const SimplifyContext& context);
std::optional<Ref> SimplifyTranspose(const SimplifyContext& context);
std::optional<Ref> SimplifySlice(const SimplifyContext& context);
std::optional<Ref> SimplifyPad(const SimplifyContext& context);
std::optional<Ref> SimplifyConcatenate(const SimplifyContext& context);
// The rule of an elementwise op; null if it has none.
SimplifyFn ElementwiseSimplify(ScalarOp op);

}  // namespace weir

#endif  // WEIR_OPS_SIMPLIFY_RULES_H_
