// The policies of scalar_math.h over vectors: FloatVector (float32) and IntVector (int32, wrapping), and the formulas
// compiled for this target.
#if defined(WEIR_BACKENDS_HIGHWAY_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEIR_BACKENDS_HIGHWAY_KERNELS_MATH_INL_H_
#undef WEIR_BACKENDS_HIGHWAY_KERNELS_MATH_INL_H_
#else
#define WEIR_BACKENDS_HIGHWAY_KERNELS_MATH_INL_H_
#endif

#include <limits>

#include "weir/backends/highway/kernels/common-inl.h"
#include "weir/ops/scalar_math.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {

#include "weir/ops/scalar_math-inl.h"  // NOLINT(build/include): the formulas, as functions of this target

struct FloatVector {
  using V = VF;
  using Mask = MF;
  using T = float;
  static constexpr bool kOwnFunctions = false;

  HWY_INLINE static V Const(double number) { return hn::Set(DF(), static_cast<float>(number)); }
  HWY_INLINE static V Add(V a, V b) { return hn::Add(a, b); }
  HWY_INLINE static V Sub(V a, V b) { return hn::Sub(a, b); }
  HWY_INLINE static V Mul(V a, V b) { return hn::Mul(a, b); }
  HWY_INLINE static V Div(V a, V b) { return hn::Div(a, b); }
  HWY_INLINE static V Sqrt(V a) { return hn::Sqrt(a); }
  HWY_INLINE static V Fma(V a, V b, V c) { return HWY_NAMESPACE::Fma(DF(), a, b, c); }
  HWY_INLINE static V Neg(V a) { return hn::Xor(a, hn::BitCast(DF(), hn::Set(DU(), 0x80000000u))); }
  HWY_INLINE static V Abs(V a) { return hn::Abs(a); }
  HWY_INLINE static V CopySign(V magnitude, V sign) { return hn::CopySign(magnitude, sign); }
  HWY_INLINE static Mask Lt(V a, V b) { return hn::Lt(a, b); }
  HWY_INLINE static Mask Le(V a, V b) { return hn::Le(a, b); }
  HWY_INLINE static Mask Eq(V a, V b) { return hn::Eq(a, b); }
  HWY_INLINE static Mask IsNan(V a) { return hn::IsNaN(a); }
  HWY_INLINE static Mask And(Mask a, Mask b) { return hn::And(a, b); }
  HWY_INLINE static Mask Or(Mask a, Mask b) { return hn::Or(a, b); }
  HWY_INLINE static Mask Not(Mask a) { return hn::Not(a); }
  // Bit by bit where the compiler sees a single number: see FloatMath::Select.
  HWY_INLINE static V Select(Mask mask, V if_true, V if_false) {
#if HWY_TARGET == HWY_SCALAR
    const VU chosen = hn::VecFromMask(DU(), hn::RebindMask(DU(), mask));
    const VU kept = hn::And(hn::BitCast(DU(), if_true), chosen), other = hn::AndNot(chosen, hn::BitCast(DU(), if_false));
    return hn::BitCast(DF(), hn::Or(kept, other));
#else
    return hn::IfThenElse(mask, if_true, if_false);
#endif
  }
  HWY_INLINE static V SelectFlushed(Mask mask, V if_true, V if_false) { return hn::IfThenElse(mask, if_true, if_false); }
  HWY_INLINE static V RoundEven(V a) { return hn::Round(a); }
  // The low bits of n + 1.5 * 2^23 + 127 are the biased exponent.
  HWY_INLINE static V Pow2(V n) {
    return hn::BitCast(DF(), hn::ShiftLeft<23>(hn::BitCast(DU(), hn::Add(n, hn::Set(DF(), 12583039.0f)))));
  }
  HWY_INLINE static V Exponent(V a) {
    const VI biased = hn::BitCast(DI(), hn::ShiftRight<23>(hn::BitCast(DU(), a)));
    return hn::ConvertTo(DF(), hn::Sub(biased, hn::Set(DI(), 127)));
  }
  HWY_INLINE static V Mantissa(V a) {
    const VU bits = hn::And(hn::BitCast(DU(), a), hn::Set(DU(), 0x007FFFFFu));
    return hn::BitCast(DF(), hn::Or(bits, hn::Set(DU(), 0x3F800000u)));
  }

  HWY_INLINE static V Bits(Mask mask) { return hn::VecFromMask(DF(), mask); }
  HWY_INLINE static Mask Truth(V bits) { return hn::MaskFromVec(bits); }
};

struct IntVector {
  using V = VI;
  using Mask = hn::Mask<DI>;
  using T = int32_t;
  static constexpr bool kOwnFunctions = true;

  // Rounded towards 0, and to the nearest int32 if outside, as IntegerMath does.
  HWY_INLINE static V Const(double number) {
    constexpr double kMin = std::numeric_limits<int32_t>::min(), kMax = std::numeric_limits<int32_t>::max();
    const int32_t value = !(number > kMin) ? std::numeric_limits<int32_t>::min()
                          : number >= kMax ? std::numeric_limits<int32_t>::max()
                                           : static_cast<int32_t>(number);
    return hn::Set(DI(), value);
  }
  HWY_INLINE static V Add(V a, V b) { return hn::Add(a, b); }
  HWY_INLINE static V Sub(V a, V b) { return hn::Sub(a, b); }
  HWY_INLINE static V Mul(V a, V b) { return hn::BitCast(DI(), hn::Mul(hn::BitCast(DU(), a), hn::BitCast(DU(), b))); }
  HWY_INLINE static V Neg(V a) { return hn::Sub(hn::Zero(DI()), a); }
  HWY_INLINE static V Abs(V a) { return hn::IfThenElse(hn::Lt(a, hn::Zero(DI())), Neg(a), a); }
  HWY_INLINE static Mask Lt(V a, V b) { return hn::Lt(a, b); }
  HWY_INLINE static Mask Le(V a, V b) { return hn::Not(hn::Lt(b, a)); }
  HWY_INLINE static Mask Eq(V a, V b) { return hn::Eq(a, b); }
  HWY_INLINE static Mask IsNan(V) { return hn::MaskFromVec(hn::Zero(DI())); }
  HWY_INLINE static Mask And(Mask a, Mask b) { return hn::And(a, b); }
  HWY_INLINE static Mask Or(Mask a, Mask b) { return hn::Or(a, b); }
  HWY_INLINE static Mask Not(Mask a) { return hn::Not(a); }
  HWY_INLINE static V Select(Mask mask, V if_true, V if_false) { return hn::IfThenElse(mask, if_true, if_false); }

  HWY_INLINE static V Bits(Mask mask) { return hn::VecFromMask(DI(), mask); }
  HWY_INLINE static Mask Truth(V bits) { return hn::MaskFromVec(bits); }
};

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#endif  // WEIR_BACKENDS_HIGHWAY_KERNELS_MATH_INL_H_
