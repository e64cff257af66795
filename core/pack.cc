#include "weir/core/pack.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <queue>
#include <set>
#include <utility>

namespace weir {
namespace {

int64_t BytesOf(const Slot& slot) { return AlignSlot(std::max<int64_t>(slot.bytes, 1)); }

int64_t PackBySize(std::vector<Slot>& slots) {
  std::vector<int> order(slots.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return slots[static_cast<size_t>(a)].bytes > slots[static_cast<size_t>(b)].bytes;
  });
  std::vector<int> placed;  // by offset
  int64_t arena = 0;
  for (int index : order) {
    Slot& slot = slots[static_cast<size_t>(index)];
    const int64_t bytes = BytesOf(slot);
    int64_t cursor = 0, best = -1, best_gap = INT64_MAX;
    for (int other_index : placed) {
      const Slot& other = slots[static_cast<size_t>(other_index)];
      if (other.end < slot.begin || other.begin > slot.end) continue;
      const int64_t gap = other.offset - cursor;
      if (gap >= bytes && gap < best_gap) {
        best = cursor;
        best_gap = gap;
      }
      cursor = std::max(cursor, other.offset + BytesOf(other));
    }
    slot.offset = best >= 0 ? best : cursor;
    arena = std::max(arena, slot.offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), index,
                                   [&](int a, int b) {
                                     return slots[static_cast<size_t>(a)].offset < slots[static_cast<size_t>(b)].offset;
                                   }),
                  index);
  }
  return arena;
}

// Memory that grows at its end: the smallest free block that holds a request is cut, neighbours that are free are one.
class FreeBlocks {
 public:
  int64_t Take(int64_t bytes) {
    const auto fit = by_size_.lower_bound({bytes, 0});
    if (fit == by_size_.end()) return Grow(bytes);
    const auto [size, offset] = *fit;
    Erase(offset);
    if (size > bytes) Add(offset + bytes, size - bytes);
    return offset;
  }

  void Free(int64_t offset, int64_t bytes) {
    auto next = by_offset_.lower_bound(offset);
    if (next != by_offset_.begin()) {
      const auto [before, size] = *std::prev(next);
      if (before + size == offset) {
        Erase(before);
        offset = before;
        bytes += size;
      }
    }
    next = by_offset_.lower_bound(offset);
    if (next != by_offset_.end() && next->first == offset + bytes) {
      bytes += next->second;
      Erase(next->first);
    }
    Add(offset, bytes);
  }

  int64_t size() const { return size_; }

 private:
  int64_t Grow(int64_t bytes) {
    int64_t offset = size_;
    if (!by_offset_.empty()) {
      const auto [last, size] = *by_offset_.rbegin();
      if (last + size == size_) {
        offset = last;
        Erase(last);
      }
    }
    size_ = offset + bytes;
    return offset;
  }
  void Add(int64_t offset, int64_t bytes) {
    by_offset_[offset] = bytes;
    by_size_.insert({bytes, offset});
  }
  void Erase(int64_t offset) {
    const auto block = by_offset_.find(offset);
    by_size_.erase({block->second, offset});
    by_offset_.erase(block);
  }

  std::map<int64_t, int64_t> by_offset_;
  std::set<std::pair<int64_t, int64_t>> by_size_;
  int64_t size_ = 0;
};

// Offsets as a run would ask for them, one step after another: from the last step to the first if `backwards`.
int64_t PackByTime(std::vector<Slot>& slots, bool backwards) {
  const auto first = [&](const Slot& slot) { return backwards ? -slot.end : slot.begin; };
  const auto last = [&](const Slot& slot) { return backwards ? -slot.begin : slot.end; };
  std::vector<int> order(slots.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    const Slot &x = slots[static_cast<size_t>(a)], &y = slots[static_cast<size_t>(b)];
    return first(x) != first(y) ? first(x) < first(y) : x.bytes > y.bytes;
  });
  using Death = std::pair<int, int>;  // the last step, the slot
  std::priority_queue<Death, std::vector<Death>, std::greater<>> alive;
  FreeBlocks blocks;
  for (int index : order) {
    Slot& slot = slots[static_cast<size_t>(index)];
    while (!alive.empty() && alive.top().first < first(slot)) {
      const Slot& dead = slots[static_cast<size_t>(alive.top().second)];
      blocks.Free(dead.offset, BytesOf(dead));
      alive.pop();
    }
    slot.offset = blocks.Take(BytesOf(slot));
    alive.push({last(slot), index});
  }
  return blocks.size();
}

}  // namespace

int64_t PackSlots(std::vector<Slot>& slots, size_t many) {
  if (slots.size() < many) return PackBySize(slots);
  std::vector<Slot> other = slots;
  const int64_t forwards = PackByTime(slots, /*backwards=*/false), backwards = PackByTime(other, /*backwards=*/true);
  if (backwards < forwards) slots.swap(other);
  return std::min(forwards, backwards);
}

int64_t LargestLiveSet(const std::vector<Slot>& slots) {
  std::map<int, int64_t> change;  // of the bytes alive, by step
  for (const Slot& slot : slots) {
    change[slot.begin] += BytesOf(slot);
    change[slot.end + 1] -= BytesOf(slot);
  }
  int64_t live = 0, largest = 0;
  for (const auto& [step, bytes] : change) {
    live += bytes;
    largest = std::max(largest, live);
  }
  return largest;
}

}  // namespace weir
