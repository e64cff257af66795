// Pooling over channels: one vector of channels at a time, all cells of a window in registers' reach.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "weir/backends/highway/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "weir/backends/highway/kernels/pool.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "weir/backends/highway/kernels/common-inl.h"
#include "weir/backends/highway/kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {
namespace {

using DB = hn::Rebind<uint8_t, DI>;

// Loads and stores of whole vectors, or of the last `count` channels; of indices.
struct Whole {
  HWY_INLINE explicit Whole(size_t) {}
  HWY_INLINE VF Load(const float* p) const { return hn::LoadU(DF(), p); }
  HWY_INLINE void Store(VF v, float* p) const { hn::StoreU(v, DF(), p); }
  HWY_INLINE VI LoadIndex(const PoolArgs& args, int64_t at) const {
    if (args.index_bytes != 1) return hn::LoadU(DI(), reinterpret_cast<const int32_t*>(args.index) + at);
    return hn::PromoteTo(DI(), hn::LoadU(DB(), reinterpret_cast<const uint8_t*>(args.index) + at));
  }
  HWY_INLINE void StoreIndex(VI v, const PoolArgs& args, int64_t at) const {
    if (args.index_bytes != 1) return hn::StoreU(v, DI(), reinterpret_cast<int32_t*>(args.index_out) + at);
    hn::StoreU(hn::DemoteTo(DB(), v), DB(), reinterpret_cast<uint8_t*>(args.index_out) + at);
  }
};
struct Part {
  size_t count;
  HWY_INLINE explicit Part(size_t n) : count(n) {}
  HWY_INLINE VF Load(const float* p) const { return LoadFirst(DF(), p, count); }
  HWY_INLINE void Store(VF v, float* p) const { StoreFirst(v, DF(), p, count); }
  HWY_INLINE VI LoadIndex(const PoolArgs& args, int64_t at) const {
    if (args.index_bytes != 1) return LoadFirst(DI(), reinterpret_cast<const int32_t*>(args.index) + at, count);
    HWY_ALIGN uint8_t bytes[kLanes] = {};
    std::memcpy(bytes, args.index + at, count);
    return hn::PromoteTo(DI(), hn::Load(DB(), bytes));
  }
  HWY_INLINE void StoreIndex(VI v, const PoolArgs& args, int64_t at) const {
    if (args.index_bytes != 1) return StoreFirst(v, DI(), reinterpret_cast<int32_t*>(args.index_out) + at, count);
    HWY_ALIGN uint8_t bytes[kLanes];
    hn::Store(hn::DemoteTo(DB(), v), DB(), bytes);
    std::memcpy(args.index_out + at, bytes, count);
  }
};

// Whether x beats the best so far: larger, or the first NaN.
HWY_INLINE MF Beats(VF x, VF best) { return hn::Or(hn::Lt(best, x), hn::And(hn::IsNaN(x), hn::Not(hn::IsNaN(best)))); }

template <bool kWithIndex>
struct Max {
  template <class Access>
  HWY_INLINE static void Run(const PoolArgs& args, const Access& access, int64_t p, int64_t c) {
    const float* x = args.x + p * args.x_step + c;
    VF best = access.Load(x + args.cells[0].offset);
    VI winner = hn::Set(DI(), args.cells[0].index);
    for (int64_t k = 1; k < args.cell_count; ++k) {
      const VF v = access.Load(x + args.cells[k].offset);
      const MF beats = Beats(v, best);
      best = hn::IfThenElse(beats, v, best);
      if (kWithIndex) winner = hn::IfThenElse(hn::RebindMask(DI(), beats), hn::Set(DI(), args.cells[k].index), winner);
    }
    access.Store(best, args.y + p * args.y_step + c);
    if (kWithIndex) access.StoreIndex(winner, args, p * args.y_step + c);
  }
};

// Where the index names cell k.
HWY_INLINE MF Names(VI index, const PoolCell& cell) {
  return hn::RebindMask(DF(), hn::Eq(index, hn::Set(DI(), cell.index)));
}

struct Gather {
  template <class Access>
  HWY_INLINE static void Run(const PoolArgs& args, const Access& access, int64_t p, int64_t c) {
    const float* x = args.x + p * args.x_step + c;
    const VI index = access.LoadIndex(args, p * args.y_step + c);
    VF taken = hn::Zero(DF());
    for (int64_t k = 0; k < args.cell_count; ++k) {
      taken = hn::IfThenElse(Names(index, args.cells[k]), access.Load(x + args.cells[k].offset), taken);
    }
    access.Store(taken, args.y + p * args.y_step + c);
  }
};

struct Average {
  template <class Access>
  HWY_INLINE static void Run(const PoolArgs& args, const Access& access, int64_t p, int64_t c) {
    const float* x = args.x + p * args.x_step + c;
    VF sum = hn::Zero(DF());
    for (int64_t k = 0; k < args.cell_count; ++k) sum = hn::Add(sum, access.Load(x + args.cells[k].offset));
    access.Store(hn::Div(sum, hn::Set(DF(), args.divisor)), args.y + p * args.y_step + c);
  }
};

struct MaxGradient {
  template <class Access>
  HWY_INLINE static void Run(const PoolArgs& args, const Access& access, int64_t p, int64_t c) {
    const int64_t from = p * args.y_step + c;
    const VF dy = access.Load(args.dy + from);
    const VI index = access.LoadIndex(args, from);
    for (int64_t k = 0; k < args.cell_count; ++k) {
      float* dx = args.dx + p * args.x_step + c + args.cells[k].offset;
      const MF won = Names(index, args.cells[k]);
      if (args.disjoint) {
        access.Store(hn::IfThenElseZero(won, hn::Add(hn::Zero(DF()), dy)), dx);
      } else {
        const VF old = access.Load(dx);
        access.Store(hn::IfThenElse(won, hn::Add(old, dy), old), dx);
      }
    }
  }
};

struct AverageGradient {
  template <class Access>
  HWY_INLINE static void Run(const PoolArgs& args, const Access& access, int64_t p, int64_t c) {
    const VF dy = access.Load(args.dy + p * args.y_step + c);
    const VF share = hn::Div(dy, hn::Set(DF(), args.divisor));
    for (int64_t k = 0; k < args.cell_count; ++k) {
      float* dx = args.dx + p * args.x_step + c + args.cells[k].offset;
      access.Store(hn::Add(args.disjoint ? hn::Zero(DF()) : access.Load(dx), share), dx);
    }
  }
};

template <class Body>
void ForPositions(const PoolArgs& args) noexcept {
  for (int64_t p = 0; p < args.positions; ++p) {
    int64_t c = 0;
    for (; c + static_cast<int64_t>(kLanes) <= args.channels; c += kLanes) Body::Run(args, Whole(0), p, c);
    if (c < args.channels) Body::Run(args, Part(static_cast<size_t>(args.channels - c)), p, c);
  }
}

}  // namespace

PoolKernels GetPoolKernels() {
  return {.max = &ForPositions<Max<false>>,
          .max_with_index = &ForPositions<Max<true>>,
          .gather = &ForPositions<Gather>,
          .average = &ForPositions<Average>,
          .max_gradient = &ForPositions<MaxGradient>,
          .average_gradient = &ForPositions<AverageGradient>};
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::highway {

HWY_EXPORT(GetPoolKernels);

PoolKernels PoolKernelsFor(int64_t target) { return ForTarget(HWY_DISPATCH_TABLE(GetPoolKernels), target)(); }

}  // namespace weir::highway
#endif  // HWY_ONCE
