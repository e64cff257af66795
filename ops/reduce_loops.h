// The canonical order of reductions (canonical_order.h) as loops over any element type: used by the reductions' and
// softmax's references. Internal to ops/.
#ifndef WEIR_OPS_REDUCE_LOOPS_H_
#define WEIR_OPS_REDUCE_LOOPS_H_

#include <algorithm>
#include <complex>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "weir/ops/canonical_order.h"
#include "weir/ops/fma.h"
#include "weir/ops/scalar_float.h"

namespace weir {

template <class T>
struct SumReducer {
  static T Init() { return T(0); }
  [[gnu::always_inline]] static T Op(T acc, T x) { return MathOf<T>::Add(acc, x); }
  [[gnu::always_inline]] static T Combine(T a, T b) { return MathOf<T>::Add(a, b); }
};
template <class T>
struct SumSquaresReducer : SumReducer<T> {
  [[gnu::always_inline]] static T Op(T acc, T x) { return MathOf<T>::Fma(x, x, acc); }
};
template <class T>
struct MaxReducer {
  static T Init() { return MathOf<T>::Const(-std::numeric_limits<double>::infinity()); }
  [[gnu::always_inline]] static T Op(T acc, T x) { return ScalarMath<MathOf<T>>::Max(MathOf<T>(), acc, x); }
  [[gnu::always_inline]] static T Combine(T a, T b) { return Op(a, b); }
};
template <class T>
struct MinReducer {
  static T Init() { return MathOf<T>::Const(std::numeric_limits<double>::infinity()); }
  [[gnu::always_inline]] static T Op(T acc, T x) { return ScalarMath<MathOf<T>>::Min(MathOf<T>(), acc, x); }
  [[gnu::always_inline]] static T Combine(T a, T b) { return Op(a, b); }
};

// One block of row mode: at most kReduceRowBlock contiguous elements into 16 lanes, then the lanes into one.
template <class Reducer, class T>
[[gnu::always_inline]] inline T ReduceRowBlock(const T* x, int64_t count) {
  T lanes[kReduceLanes];
  for (T& lane : lanes) lane = Reducer::Init();
  int64_t j = 0;
  for (; j + kReduceLanes <= count; j += kReduceLanes) {
    for (int64_t i = 0; i < kReduceLanes; ++i) lanes[i] = Reducer::Op(lanes[i], x[j + i]);
  }
  for (int64_t i = 0; j + i < count; ++i) lanes[i] = Reducer::Op(lanes[i], x[j + i]);
  for (int64_t w = kReduceLanes / 2; w > 0; w /= 2) {
    for (int64_t i = 0; i < w; ++i) lanes[i] = Reducer::Combine(lanes[i], lanes[i + w]);
  }
  return lanes[0];
}

// Row mode over one contiguous run.
template <class Reducer, class T>
[[gnu::always_inline]] inline T ReduceRow(const T* x, int64_t count) {
  T total = Reducer::Init();
  for (int64_t begin = 0; begin < count; begin += kReduceRowBlock) {
    const T block = ReduceRowBlock<Reducer>(x + begin, std::min(kReduceRowBlock, count - begin));
    total = begin == 0 ? block : Reducer::Combine(total, block);
  }
  return total;
}

}  // namespace weir

#endif  // WEIR_OPS_REDUCE_LOOPS_H_
