// The loops of block instructions: one functor over vectors, one pass over a block. An operand with step 0 is one
// number, of which memory holds a vector's worth of copies.
#if defined(WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_
#undef WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_
#else
#define WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_
#endif

#include "weir/backends/highway/kernels/kernels.h"
#include "weir/backends/highway/kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {

template <class T>
struct Source {
  using D = hn::CappedTag<T, 16>;
  const T* p;
  size_t step;  // 0 or a vector

  HWY_INLINE Source(const BlockArgs& args, int i)
      : p(static_cast<const T*>(args.src[i])), step(args.step[i] == 0 ? 0 : kLanes) {}
  HWY_INLINE hn::Vec<D> Next() {
    const auto v = hn::LoadU(D(), p);
    p += step;
    return v;
  }
  HWY_INLINE hn::Vec<D> Rest(size_t count) const { return step == 0 ? hn::LoadU(D(), p) : LoadFirst(D(), p, count); }
};

// Op::Run(params, vectors...) -> vector, all of Op::T.
template <class Op, int kArity>
void BlockLoop(const BlockArgs& args) noexcept {
  using T = typename Op::T;
  const hn::CappedTag<T, 16> d;
  T* HWY_RESTRICT dst = static_cast<T*>(args.dst);
  const size_t count = static_cast<size_t>(args.count);
  size_t i = 0;
  Source<T> a(args, 0), b(args, kArity > 1 ? 1 : 0), c(args, kArity > 2 ? 2 : 0);
  for (; i + kLanes <= count; i += kLanes) {
    if constexpr (kArity == 1) {
      hn::StoreU(Op::Run(args.params, a.Next()), d, dst + i);
    } else if constexpr (kArity == 2) {
      hn::StoreU(Op::Run(args.params, a.Next(), b.Next()), d, dst + i);
    } else {
      hn::StoreU(Op::Run(args.params, a.Next(), b.Next(), c.Next()), d, dst + i);
    }
  }
  const size_t rest = count - i;
  if (rest == 0) return;
  if constexpr (kArity == 1) {
    StoreFirst(Op::Run(args.params, a.Rest(rest)), d, dst + i, rest);
  } else if constexpr (kArity == 2) {
    StoreFirst(Op::Run(args.params, a.Rest(rest), b.Rest(rest)), d, dst + i, rest);
  } else {
    StoreFirst(Op::Run(args.params, a.Rest(rest), b.Rest(rest), c.Rest(rest)), d, dst + i, rest);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#endif  // WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_
