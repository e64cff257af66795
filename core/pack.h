// Packing: places in one arena for values that live from one step to another.
#ifndef WEIR_CORE_PACK_H_
#define WEIR_CORE_PACK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weir {

// A place in the arena while steps [begin, end] run.
struct Slot {
  int64_t bytes = 0;
  int begin = 0, end = 0;
  int64_t offset = -1;
};

inline constexpr int64_t kSlotAlignment = 64;
inline int64_t AlignSlot(int64_t bytes) { return (bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment; }

// From so many slots on, they are placed in the order of time rather than of their size.
inline constexpr size_t kManySlots = 8192;

// Gives each slot an offset, a multiple of the alignment, such that slots alive at one step don't overlap; returns the
// bytes of the arena. The largest first, each in the smallest gap that holds it, which takes the square of their number;
// of `many` or more, in the order of time forwards or backwards, whichever needs less, in near-linear time.
int64_t PackSlots(std::vector<Slot>& slots, size_t many = kManySlots);

// The most bytes that are alive at one step: no arena can be smaller.
int64_t LargestLiveSet(const std::vector<Slot>& slots);

}  // namespace weir

#endif  // WEIR_CORE_PACK_H_
