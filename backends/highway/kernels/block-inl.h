// The loops of block instructions: one functor over vectors, one pass over a block. An operand with step 0 is one
// number, of which memory holds a vector's worth of copies.
#if defined(WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_
#undef WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_
#else
#define WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_
#endif

#include "hwy/cache_control.h"
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

template <class Op, int kArity>
struct BlockOperands {
  using T = typename Op::T;
  Source<T> a, b, c;

  HWY_INLINE explicit BlockOperands(const BlockArgs& args)
      : a(args, 0), b(args, kArity > 1 ? 1 : 0), c(args, kArity > 2 ? 2 : 0) {}
  HWY_INLINE auto Next(const ScalarParams& params) {
    if constexpr (kArity == 1) {
      return Op::Run(params, a.Next());
    } else if constexpr (kArity == 2) {
      return Op::Run(params, a.Next(), b.Next());
    } else {
      return Op::Run(params, a.Next(), b.Next(), c.Next());
    }
  }
  HWY_INLINE auto Rest(const ScalarParams& params, size_t count) const {
    if constexpr (kArity == 1) {
      return Op::Run(params, a.Rest(count));
    } else if constexpr (kArity == 2) {
      return Op::Run(params, a.Rest(count), b.Rest(count));
    } else {
      return Op::Run(params, a.Rest(count), b.Rest(count), c.Rest(count));
    }
  }
};

// Op::Run(params, vectors...) -> vector, all of Op::T.
template <class Op, int kArity>
void BlockLoop(const BlockArgs& args) noexcept {
  using T = typename Op::T;
  const hn::CappedTag<T, 16> d;
  T* HWY_RESTRICT dst = static_cast<T*>(args.dst);
  const size_t count = static_cast<size_t>(args.count);
  size_t i = 0;
  BlockOperands<Op, kArity> operands(args);
  if (args.fetch != nullptr) {
    const T* fetch = static_cast<const T*>(args.fetch);
    for (; i + kLanes <= count; i += kLanes) {
      hwy::Prefetch(fetch + i);
      hn::StoreU(operands.Next(args.params), d, dst + i);
    }
  } else {
    for (; i + kLanes <= count; i += kLanes) hn::StoreU(operands.Next(args.params), d, dst + i);
  }
  const size_t rest = count - i;
  if (rest != 0) StoreFirst(operands.Rest(args.params, rest), d, dst + i, rest);
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#endif  // WEIR_BACKENDS_HIGHWAY_KERNELS_BLOCK_INL_H_
