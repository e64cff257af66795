#include "weir/core/float_state.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace weir {

#if defined(__x86_64__)

namespace {

// Control words after a reset: nearest, everything masked, x87 with its full precision.
constexpr unsigned kMxcsr = 0x1F80;
constexpr uint16_t kX87 = 0x037F;
constexpr unsigned kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;

}  // namespace

ScopedFloatState::ScopedFloatState(Subnormals subnormals) : previous_(_mm_getcsr()) {
  _mm_setcsr(kMxcsr | (subnormals == Subnormals::kFlushed ? kFlushToZero | kDenormalsAreZero : 0));
  asm volatile("fnstcw %0" : "=m"(previous_x87_));
  if (previous_x87_ != kX87) asm volatile("fldcw %0" : : "m"(kX87));
}

ScopedFloatState::~ScopedFloatState() {
  _mm_setcsr(static_cast<unsigned>(previous_));
  if (previous_x87_ != kX87) asm volatile("fldcw %0" : : "m"(previous_x87_));
}

#elif defined(__aarch64__)

ScopedFloatState::ScopedFloatState(Subnormals subnormals) {
  asm volatile("mrs %0, fpcr" : "=r"(previous_));
  asm volatile("msr fpcr, %0" ::"r"(subnormals == Subnormals::kFlushed ? uint64_t{1} << 24 : uint64_t{0}));
}

ScopedFloatState::~ScopedFloatState() { asm volatile("msr fpcr, %0" ::"r"(previous_)); }

#else

ScopedFloatState::ScopedFloatState(Subnormals) {}
ScopedFloatState::~ScopedFloatState() = default;

#endif

}  // namespace weir
