#include "weir/backends/llvm/ir_math.h"

namespace weir::jit {

Val ApplyScalarOp(const IrMath& math, ScalarOp op, const ScalarParams& params, const Val* args) {
  return VisitScalarOp(op, [&]<ScalarOp kOp>(ScalarOpConstant<kOp>) -> Val {
    using Math = ScalarMath<IrMath>;
    if constexpr (Info(kOp).arity() == 1) {
      return Math::template Apply<kOp>(math, params, args[0]);
    } else if constexpr (Info(kOp).arity() == 2) {
      return Math::template Apply<kOp>(math, params, args[0], args[1]);
    } else {
      return Math::template Apply<kOp>(math, params, args[0], args[1], args[2]);
    }
  });
}

}  // namespace weir::jit
