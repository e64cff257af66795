// What all kernels share, once per target: vector types, a correctly rounded Fma on every target, and loads and
// stores of part of a vector that touch no byte outside of it. Included after hwy/foreach_target.h by kernel files.
#if defined(WEIR_BACKENDS_HIGHWAY_KERNELS_COMMON_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEIR_BACKENDS_HIGHWAY_KERNELS_COMMON_INL_H_
#undef WEIR_BACKENDS_HIGHWAY_KERNELS_COMMON_INL_H_
#else
#define WEIR_BACKENDS_HIGHWAY_KERNELS_COMMON_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// No kernel needs more than 16 lanes, and canonical row sums are made of 16.
using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using VU = hn::Vec<DU>;
using MF = hn::Mask<DF>;

inline constexpr size_t kLanes = HWY_LANES(float) < 16 ? HWY_LANES(float) : 16;

// a * b is exact in double. s = a * b + c is rounded to double, with error e known exactly (Knuth's two-sum). Rounding
// s to odd (the last bit set if anything was lost) instead makes the second rounding, to float, as if it were the
// first (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008). No finite sum of floats
// overflows a double; for infinities and NaNs e is NaN and s is left alone.
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
// Lane by lane: these targets' conversions saturate where rounding should give infinity.
HWY_INLINE float FmaOfLane(float a, float b, float c) {
  const double p = static_cast<double>(a) * b;
  const double s = p + c;
  const double c_part = s - p;
  const double e = (p - (s - c_part)) + (c - c_part);
  int64_t bits;
  std::memcpy(&bits, &s, sizeof(bits));
  if ((e < 0 || e > 0) && (bits & 1) == 0) bits += (e < 0) == (s < 0) ? 1 : -1;
  double odd;
  std::memcpy(&odd, &bits, sizeof(odd));
  return static_cast<float>(odd);
}
#elif !HWY_NATIVE_FMA
template <class DD, class VD = hn::Vec<DD>>
HWY_INLINE VD FmaToOdd(DD dd, VD a, VD b, VD c) {
  const hn::RebindToSigned<DD> di;
  const VD p = hn::Mul(a, b);
  const VD s = hn::Add(p, c);
  const VD c_part = hn::Sub(s, p);
  const VD e = hn::Add(hn::Sub(p, hn::Sub(s, c_part)), hn::Sub(c, c_part));
  const auto bits = hn::BitCast(di, s);
  const auto one = hn::Set(di, 1);
  // +1 away from zero if the error has the sum's sign, else -1 towards it; only for an even last bit.
  const auto zero = hn::Zero(dd);
  const auto inexact = hn::Or(hn::Lt(e, zero), hn::Gt(e, zero));
  const auto even = hn::RebindMask(dd, hn::Eq(hn::And(bits, one), hn::Zero(di)));
  const auto differ = hn::BroadcastSignBit(hn::BitCast(di, hn::Xor(e, s)));  // 0 or -1
  const auto step = hn::Or(hn::Add(differ, differ), one);                    // 1 or -1
  const auto adjust = hn::IfThenElseZero(hn::RebindMask(di, hn::And(inexact, even)), step);
  return hn::BitCast(dd, hn::Add(bits, adjust));
}
#endif

// a * b + c, rounded once, on every target.
HWY_INLINE VF Fma(DF d, VF a, VF b, VF c) {
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
  HWY_ALIGN float x[kLanes], y[kLanes], z[kLanes];
  hn::Store(a, d, x);
  hn::Store(b, d, y);
  hn::Store(c, d, z);
  for (size_t i = 0; i < kLanes; ++i) z[i] = FmaOfLane(x[i], y[i], z[i]);
  return hn::Load(d, z);
#elif HWY_NATIVE_FMA
  (void)d;
  return hn::MulAdd(a, b, c);
#else
  const hn::RepartitionToWide<DF> dd;
  const hn::Half<DF> dh;
  const auto low =
      hn::DemoteTo(dh, FmaToOdd(dd, hn::PromoteTo(dd, hn::LowerHalf(dh, a)), hn::PromoteTo(dd, hn::LowerHalf(dh, b)),
                                hn::PromoteTo(dd, hn::LowerHalf(dh, c))));
  const auto high =
      hn::DemoteTo(dh, FmaToOdd(dd, hn::PromoteTo(dd, hn::UpperHalf(dh, a)), hn::PromoteTo(dd, hn::UpperHalf(dh, b)),
                                hn::PromoteTo(dd, hn::UpperHalf(dh, c))));
  return hn::Combine(d, high, low);
#endif
}

// The first `count` <= lanes elements; the rest are 0.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadFirst(D d, const T* p, size_t count) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  return hn::MaskedLoad(hn::FirstN(d, count), d, p);
#else
  HWY_ALIGN T lanes[HWY_LANES(T)] = {};
  std::memcpy(lanes, p, count * sizeof(T));
  return hn::Load(d, lanes);
#endif
}

template <class D, class V, class T = hn::TFromD<D>>
HWY_INLINE void StoreFirst(V v, D d, T* p, size_t count) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  hn::BlendedStore(v, hn::FirstN(d, count), d, p);
#else
  HWY_ALIGN T lanes[HWY_LANES(T)];
  hn::Store(v, d, lanes);
  std::memcpy(p, lanes, count * sizeof(T));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#endif  // WEIR_BACKENDS_HIGHWAY_KERNELS_COMMON_INL_H_
