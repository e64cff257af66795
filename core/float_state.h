// The floating-point state of a thread: what results depend on besides the program. Whatever a host has set, weir computes
// with rounding to nearest and without traps.
#ifndef WEIR_CORE_FLOAT_STATE_H_
#define WEIR_CORE_FLOAT_STATE_H_

#include <cstdint>

namespace weir {

// While alive, the calling thread rounds to nearest and masks all exceptions; kernels run with subnormal numbers flushed
// to zero, in and out, everything around them without. Restores what the host had, its exception flags too.
class [[nodiscard]] ScopedFloatState {
 public:
  enum class Subnormals { kKept, kFlushed };
  explicit ScopedFloatState(Subnormals subnormals);
  ~ScopedFloatState();
  ScopedFloatState(const ScopedFloatState&) = delete;
  ScopedFloatState& operator=(const ScopedFloatState&) = delete;

 private:
  uint64_t previous_ = 0;
  uint16_t previous_x87_ = 0;
};

}  // namespace weir

#endif  // WEIR_CORE_FLOAT_STATE_H_
