// The canonical order of reductions along a row: 16 accumulators, element j to accumulator j mod 16, folded in halves.
#if defined(WEIR_BACKENDS_HIGHWAY_KERNELS_REDUCE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEIR_BACKENDS_HIGHWAY_KERNELS_REDUCE_INL_H_
#undef WEIR_BACKENDS_HIGHWAY_KERNELS_REDUCE_INL_H_
#else
#define WEIR_BACKENDS_HIGHWAY_KERNELS_REDUCE_INL_H_
#endif

#include <limits>

#include "weir/backends/highway/kernels/math-inl.h"
#include "weir/ops/canonical_order.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {

// Op and combine of each kind, and the number that changes nothing: kInit.
struct SumOp {
  static constexpr float kInit = 0;
  HWY_INLINE static VF Op(VF acc, VF x) { return hn::Add(acc, x); }
  HWY_INLINE static VF Combine(VF a, VF b) { return hn::Add(a, b); }
};
struct SumSquaresOp : SumOp {
  HWY_INLINE static VF Op(VF acc, VF x) { return Fma(DF(), x, x, acc); }
};
struct MaxOp {
  static constexpr float kInit = -std::numeric_limits<float>::infinity();
  HWY_INLINE static VF Op(VF acc, VF x) { return ScalarMath<FloatVector>::Max(FloatVector(), acc, x); }
  HWY_INLINE static VF Combine(VF a, VF b) { return Op(a, b); }
};
struct MinOp {
  static constexpr float kInit = std::numeric_limits<float>::infinity();
  HWY_INLINE static VF Op(VF acc, VF x) { return ScalarMath<FloatVector>::Min(FloatVector(), acc, x); }
  HWY_INLINE static VF Combine(VF a, VF b) { return Op(a, b); }
};

inline constexpr size_t kRowVectors = static_cast<size_t>(kReduceLanes) / kLanes;

template <class R>
struct RowLanes {
  VF acc[kRowVectors];

  HWY_INLINE RowLanes() {
    for (size_t i = 0; i < kRowVectors; ++i) acc[i] = hn::Set(DF(), R::kInit);
  }
  // accumulator i = combine(i, i + w) for w = 8, 4, 2, 1; the result is accumulator 0.
  HWY_INLINE float Fold() const {
    const DF d;
    alignas(64) float lanes[kReduceLanes];
    for (size_t i = 0; i < kRowVectors; ++i) hn::StoreU(acc[i], d, lanes + i * kLanes);
    for (size_t w = kReduceLanes / 2; w > 0; w /= 2) {
      if (w >= kLanes) {
        for (size_t i = 0; i < w; i += kLanes) {
          hn::StoreU(R::Combine(hn::LoadU(d, lanes + i), hn::LoadU(d, lanes + i + w)), d, lanes + i);
        }
      } else {
        // Fewer than a vector: the lanes behind the first w are computed in vain (and lie inside the array).
        alignas(64) float upper[kReduceLanes] = {};
        for (size_t i = 0; i < w; ++i) upper[i] = lanes[i + w];
        hn::StoreU(R::Combine(hn::LoadU(d, lanes), hn::LoadU(d, upper)), d, lanes);
      }
    }
    return lanes[0];
  }
};

template <class R>
HWY_INLINE float CombineOne(float a, float b) {
  return hn::GetLane(R::Combine(hn::Set(DF(), a), hn::Set(DF(), b)));
}

// Calls f.Add(i, vector) for the vectors of a block of count <= kReduceRowBlock elements, i = accumulator; the last
// is padded with `pad`.
template <class R, class Map>
HWY_INLINE float RowBlock(const Map& map, const float* src, size_t count) {
  const DF d;
  RowLanes<R> lanes;
  size_t j = 0;
  for (; j + kReduceLanes <= count; j += kReduceLanes) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kRowVectors; ++i) {
      lanes.acc[i] = R::Op(lanes.acc[i], map.Whole(hn::LoadU(d, src + j + i * kLanes), j + i * kLanes));
    }
  }
  for (size_t i = 0; j < count; ++i, j += kLanes) {
    const size_t rest = HWY_MIN(count - j, kLanes);
    if (rest == kLanes) {
      lanes.acc[i] = R::Op(lanes.acc[i], map.Whole(hn::LoadU(d, src + j), j));
    } else {
      // Lanes without an element get the number that changes nothing.
      const VF v = map.Part(LoadFirst(d, src + j, rest), j, rest);
      lanes.acc[i] = R::Op(lanes.acc[i], hn::IfThenElse(hn::FirstN(d, rest), v, hn::Set(d, R::kInit)));
    }
  }
  return lanes.Fold();
}

// A row of any length.
template <class R, class Map>
HWY_INLINE float RowValue(Map map, const float* src, int64_t count) {
  float total = R::kInit;
  for (int64_t begin = 0; begin < count; begin += kReduceRowBlock) {
    const float value =
        RowBlock<R>(map.From(begin), src + begin, static_cast<size_t>(HWY_MIN(kReduceRowBlock, count - begin)));
    total = begin == 0 ? value : CombineOne<R>(total, value);
  }
  return total;
}

struct AsIs {
  HWY_INLINE VF Whole(VF v, size_t) const { return v; }
  HWY_INLINE VF Part(VF v, size_t, size_t) const { return v; }
  HWY_INLINE AsIs From(int64_t) const { return *this; }
};

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#endif  // WEIR_BACKENDS_HIGHWAY_KERNELS_REDUCE_INL_H_
