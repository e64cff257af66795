// Block instructions that are no function of scalar_math.h: conversions (between slots, and from and to bytes in
// memory), pairs of arithmetic instructions, and random numbers.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "weir/backends/highway/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "weir/backends/highway/kernels/block_convert.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "weir/backends/highway/kernels/block-inl.h"
#include "weir/backends/highway/kernels/dispatch.h"
#include "weir/core/rng.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {
namespace {

using DB = hn::Rebind<uint8_t, DF>;

// ---- Between slots. Sources and results are bits, read as float or int32 where the functor says so. ----
struct Copy {
  using T = int32_t;
  HWY_INLINE static VI Run(const ScalarParams&, VI a) { return a; }
};
struct IntToFloat {
  using T = int32_t;
  HWY_INLINE static VI Run(const ScalarParams&, VI a) { return hn::BitCast(DI(), hn::ConvertTo(DF(), a)); }
};
// Towards zero; the nearest int32 for numbers outside; 0 for NaN.
HWY_INLINE VI Saturated(VF x) {
  const VF limit = hn::Set(DF(), 0x1p31f);
  const VI inside = hn::ConvertTo(DI(), hn::IfThenElseZero(hn::Lt(hn::Abs(x), limit), x));
  const VI high = hn::Set(DI(), std::numeric_limits<int32_t>::max());
  const VI low = hn::Set(DI(), std::numeric_limits<int32_t>::min());
  const VI upper = hn::IfThenElse(hn::RebindMask(DI(), hn::Ge(x, limit)), high, inside);
  return hn::IfThenElse(hn::RebindMask(DI(), hn::Le(x, hn::Neg(limit))), low, upper);
}
struct FloatToInt {
  using T = float;
  HWY_INLINE static VF Run(const ScalarParams&, VF a) { return hn::BitCast(DF(), Saturated(a)); }
};
// As FloatToInt, to [0, 255].
struct FloatToByte {
  using T = float;
  HWY_INLINE static VF Run(const ScalarParams&, VF a) {
    const VI x = Saturated(a);
    return hn::BitCast(DF(), hn::Max(hn::Min(x, hn::Set(DI(), 255)), hn::Zero(DI())));
  }
};
struct MaskToInt {
  using T = int32_t;
  HWY_INLINE static VI Run(const ScalarParams&, VI a) { return hn::And(a, hn::Set(DI(), 1)); }
};
struct MaskToFloat {
  using T = float;
  HWY_INLINE static VF Run(const ScalarParams&, VF a) { return hn::And(a, hn::Set(DF(), 1.0f)); }
};
struct FloatToMask {
  using T = float;
  HWY_INLINE static VF Run(const ScalarParams&, VF a) { return FloatVector::Bits(hn::Not(hn::Eq(a, hn::Zero(DF())))); }
};
struct IntToMask {
  using T = int32_t;
  HWY_INLINE static VI Run(const ScalarParams&, VI a) { return IntVector::Bits(hn::Not(hn::Eq(a, hn::Zero(DI())))); }
};
struct LowByte {
  using T = int32_t;
  HWY_INLINE static VI Run(const ScalarParams&, VI a) { return hn::And(a, hn::Set(DI(), 255)); }
};

// ---- From and to bytes in memory ----------------------------------------------------------------
template <bool kMask>
void LoadBytes(const BlockArgs& args) noexcept {
  const DI di;
  const DB db;
  const uint8_t* src = static_cast<const uint8_t*>(args.src[0]);
  int32_t* dst = static_cast<int32_t*>(args.dst);
  const size_t count = static_cast<size_t>(args.count);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    VI v = hn::PromoteTo(di, hn::LoadU(db, src + i));
    if (kMask) v = IntToMask::Run(args.params, v);
    hn::StoreU(v, di, dst + i);
  }
  for (; i < count; ++i) dst[i] = kMask ? -static_cast<int32_t>(src[i] != 0) : src[i];
}
template <bool kMask>
void StoreBytes(const BlockArgs& args) noexcept {
  const DI di;
  const DB db;
  const int32_t* src = static_cast<const int32_t*>(args.src[0]);
  uint8_t* dst = static_cast<uint8_t*>(args.dst);
  const size_t count = static_cast<size_t>(args.count);
  const VI keep = hn::Set(di, kMask ? 1 : 255);
  size_t i = 0;
  if (args.step[0] != 0) {
    for (; i + kLanes <= count; i += kLanes) {
      hn::StoreU(hn::DemoteTo(db, hn::And(hn::LoadU(di, src + i), keep)), db, dst + i);
    }
  }
  for (; i < count; ++i) dst[i] = static_cast<uint8_t>(src[args.step[0] == 0 ? 0 : i] & (kMask ? 1 : 255));
}

// ---- Pairs --------------------------------------------------------------------------------------
template <FusedFirst kFirst, FusedSecond kSecond>
struct Fused {
  using T = float;
  HWY_INLINE static VF Run(const ScalarParams&, VF a, VF b, VF c) {
    const VF x = kFirst == FusedFirst::kAdd   ? hn::Add(a, b)
                 : kFirst == FusedFirst::kSub ? hn::Sub(a, b)
                                              : hn::Mul(a, b);
    return kSecond == FusedSecond::kAdd    ? hn::Add(x, c)
           : kSecond == FusedSecond::kSub  ? hn::Sub(x, c)
           : kSecond == FusedSecond::kRsub ? hn::Sub(c, x)
           : kSecond == FusedSecond::kMul  ? hn::Mul(x, c)
                                           : ScalarMath<FloatVector>::Max(FloatVector(), x, c);
  }
};
template <FusedFirst kFirst>
void FillFused(BlockFn (&row)[kFusedSeconds]) {
  row[0] = &BlockLoop<Fused<kFirst, FusedSecond::kAdd>, 3>;
  row[1] = &BlockLoop<Fused<kFirst, FusedSecond::kSub>, 3>;
  row[2] = &BlockLoop<Fused<kFirst, FusedSecond::kRsub>, 3>;
  row[3] = &BlockLoop<Fused<kFirst, FusedSecond::kMul>, 3>;
  row[4] = &BlockLoop<Fused<kFirst, FusedSecond::kMaximum>, 3>;
}

// ---- Random numbers -----------------------------------------------------------------------------
// High and low
// words of the products of all lanes with one number.
HWY_INLINE void WideMul(VU a, uint32_t m, VU& high, VU& low) {
  const DU du;
#if HWY_TARGET == HWY_SCALAR
  const uint64_t product = static_cast<uint64_t>(hn::GetLane(a)) * m;
  high = hn::Set(du, static_cast<uint32_t>(product >> 32));
  low = hn::Set(du, static_cast<uint32_t>(product));
#else
  const hn::RepartitionToWide<DU> dw;
  const VU b = hn::Set(du, m);
  const auto even = hn::MulEven(a, b);
  const auto odd = hn::MulEven(hn::BitCast(du, hn::ShiftRight<32>(hn::BitCast(dw, a))), b);
  high = hn::OddEven(hn::BitCast(du, odd), hn::BitCast(du, hn::ShiftRight<32>(even)));
  low = hn::OddEven(hn::BitCast(du, hn::ShiftLeft<32>(odd)), hn::BitCast(du, even));
#endif
}

// The 64 elements of a group.
HWY_INLINE void RandomGroup(const BlockArgs& args, uint64_t group, float* HWY_RESTRICT dst) {
  const DU du;
  const uint64_t first = group * kPhiloxLanes;
  for (size_t lane = 0; lane < static_cast<size_t>(kPhiloxLanes); lane += kLanes) {
    // 16 neighbouring counters starting at a multiple of 16: no carry into the high word.
    VU c0 = hn::Iota(du, static_cast<uint32_t>(first) + static_cast<uint32_t>(lane));
    VU c1 = hn::Set(du, static_cast<uint32_t>(first >> 32));
    VU c2 = hn::Set(du, static_cast<uint32_t>(args.counter_step));
    VU c3 = hn::Set(du, static_cast<uint32_t>(args.counter_step >> 32));
    uint32_t k0 = args.key[0], k1 = args.key[1];
    for (int round = 0; round < kPhiloxRounds; ++round) {
      VU high0, low0, high1, low1;
      WideMul(c0, kPhiloxM0, high0, low0);
      WideMul(c2, kPhiloxM1, high1, low1);
      c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(du, k0));
      c1 = low1;
      c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(du, k1));
      c3 = low0;
      k0 += kPhiloxW0;
      k1 += kPhiloxW1;
    }
    const VU words[4] = {c0, c1, c2, c3};
    for (int word = 0; word < 4; ++word) {
      const VF number = hn::ConvertTo(DF(), hn::BitCast(DI(), hn::ShiftRight<8>(words[word])));
      hn::StoreU(hn::Mul(number, hn::Set(DF(), 0x1p-24f)), DF(), dst + word * kPhiloxLanes + lane);
    }
  }
}

void RandomUniform(const BlockArgs& args) noexcept {
  float* dst = static_cast<float*>(args.dst);
  const int64_t end = args.position + args.count;
  for (int64_t i = args.position; i < end;) {
    const int64_t group = i / kPhiloxGroup, within = i % kPhiloxGroup;
    const int64_t count = std::min(kPhiloxGroup - within, end - i);
    if (count == kPhiloxGroup) {
      RandomGroup(args, static_cast<uint64_t>(group), dst);
    } else {
      float whole[kPhiloxGroup];
      RandomGroup(args, static_cast<uint64_t>(group), whole);
      std::memcpy(dst, whole + within, static_cast<size_t>(count) * sizeof(float));
    }
    dst += count;
    i += count;
  }
}

}  // namespace

// Everything of BlockKernels but the scalar functions.
BlockKernels GetBlockConversions() {
  BlockKernels kernels;
  FillFused<FusedFirst::kAdd>(kernels.fused[0]);
  FillFused<FusedFirst::kSub>(kernels.fused[1]);
  FillFused<FusedFirst::kMul>(kernels.fused[2]);
  kernels.copy = &BlockLoop<Copy, 1>;
  kernels.i32_to_f32 = &BlockLoop<IntToFloat, 1>;
  kernels.f32_to_i32 = &BlockLoop<FloatToInt, 1>;
  kernels.f32_to_byte = &BlockLoop<FloatToByte, 1>;
  kernels.mask_to_f32 = &BlockLoop<MaskToFloat, 1>;
  kernels.mask_to_i32 = &BlockLoop<MaskToInt, 1>;
  kernels.f32_to_mask = &BlockLoop<FloatToMask, 1>;
  kernels.i32_to_mask = &BlockLoop<IntToMask, 1>;
  kernels.low_byte = &BlockLoop<LowByte, 1>;
  kernels.u8_to_i32 = &LoadBytes<false>;
  kernels.u8_to_mask = &LoadBytes<true>;
  kernels.i32_to_u8 = &StoreBytes<false>;
  kernels.mask_to_u8 = &StoreBytes<true>;
  kernels.random_uniform = &RandomUniform;
  return kernels;
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::highway {

HWY_EXPORT(GetBlockConversions);

BlockKernels BlockKernelsFor(int64_t target) {
  BlockKernels kernels = ForTarget(HWY_DISPATCH_TABLE(GetBlockConversions), target)();
  const BlockKernels functions = BlockFunctionsFor(target);
  std::copy(std::begin(functions.f32), std::end(functions.f32), kernels.f32);
  std::copy(std::begin(functions.i32), std::end(functions.i32), kernels.i32);
  return kernels;
}

}  // namespace weir::highway
#endif  // HWY_ONCE
