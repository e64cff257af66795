// Block instructions for the scalar functions of scalar_math.h, over float32 and int32.
#include <cstddef>
#include <cstdint>
#include <utility>

#include "weir/backends/highway/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "weir/backends/highway/kernels/block.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "weir/backends/highway/kernels/block-inl.h"
#include "weir/backends/highway/kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {
namespace {

// The function of a ScalarOp on vectors; truth values as 0 or ~0.
template <class M, ScalarOp kOp>
struct ScalarFunction {
  using T = typename M::T;
  using V = typename M::V;
  using Math = ScalarMath<M>;
  static constexpr ScalarOpInfo kInfo = Info(kOp);

  HWY_INLINE static V Run(const ScalarParams& params, V a) {
    if constexpr (kInfo.form == ScalarForm::kLogicalUnary) {
      return M::Bits(Math::template Apply<kOp>(M(), params, M::Truth(a)));
    } else {
      return Math::template Apply<kOp>(M(), params, a);
    }
  }
  HWY_INLINE static V Run(const ScalarParams& params, V a, V b) {
    if constexpr (kInfo.form == ScalarForm::kLogicalBinary) {
      return M::Bits(Math::template Apply<kOp>(M(), params, M::Truth(a), M::Truth(b)));
    } else if constexpr (kInfo.form == ScalarForm::kCompare) {
      return M::Bits(Math::template Apply<kOp>(M(), params, a, b));
    } else {
      return Math::template Apply<kOp>(M(), params, a, b);
    }
  }
  HWY_INLINE static V Run(const ScalarParams& params, V a, V b, V c) {
    return Math::template Apply<kOp>(M(), params, M::Truth(a), b, c);
  }
};

// Identities are copies or conversions (block_convert.cc); logic has one version, on int32.
template <class M, ScalarOp kOp>
constexpr BlockFn FunctionOf() {
  constexpr ScalarOpInfo kInfo = Info(kOp);
  constexpr bool kLogical = kInfo.form == ScalarForm::kLogicalUnary || kInfo.form == ScalarForm::kLogicalBinary;
  constexpr bool kInteger = std::is_same_v<typename M::T, int32_t>;
  if constexpr (kInfo.form == ScalarForm::kIdentity || (kInteger && !kInfo.integers) || (!kInteger && kLogical)) {
    return nullptr;
  } else {
    return &BlockLoop<ScalarFunction<M, kOp>, kInfo.arity()>;
  }
}

template <size_t... kIndex>
void Fill(BlockKernels& kernels, std::index_sequence<kIndex...>) {
  ((kernels.f32[kIndex] = FunctionOf<FloatVector, static_cast<ScalarOp>(kIndex)>()), ...);
  ((kernels.i32[kIndex] = FunctionOf<IntVector, static_cast<ScalarOp>(kIndex)>()), ...);
}

}  // namespace

BlockKernels GetBlockFunctions() {
  BlockKernels kernels;
  Fill(kernels, std::make_index_sequence<kScalarOps>());
  return kernels;
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::highway {

HWY_EXPORT(GetBlockFunctions);

BlockKernels BlockFunctionsFor(int64_t target) { return ForTarget(HWY_DISPATCH_TABLE(GetBlockFunctions), target)(); }

}  // namespace weir::highway
#endif  // HWY_ONCE
