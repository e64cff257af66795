// KernelErrors: failures found by kernels in the data itself (a label out of range), collected without locks or
// exceptions and turned into one absl::Status after the step.
#ifndef WEIR_CORE_KERNEL_ERRORS_H_
#define WEIR_CORE_KERNEL_ERRORS_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "weir/core/strings.h"

namespace weir {

class KernelErrors {
 public:
  // Records that element `value` at flat position `position` is outside [low, high). `what` is a literal naming op
  // and operand. Of several, the one with the lowest position is kept.
  void OutOfRange(const char* what, int64_t position, int64_t value, int64_t low, int64_t high) noexcept {
    std::lock_guard lock(mutex_);
    if (any_.load(std::memory_order_relaxed) && position_ <= position) return;
    what_ = what;
    position_ = position;
    value_ = value;
    low_ = low;
    high_ = high;
    any_.store(true, std::memory_order_release);
  }

  bool any() const { return any_.load(std::memory_order_acquire); }

  // "SparseCrossEntropy: label 2 at row 1 is outside [0, 2)".
  absl::Status ToStatus() const {
    std::lock_guard lock(mutex_);
    return absl::OutOfRangeError(
        StrCat(what_, " ", value_, " at row ", position_, " is outside [", low_, ", ", high_, ")"));
  }

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> any_{false};
  const char* what_ = "";
  int64_t position_ = 0, value_ = 0, low_ = 0, high_ = 0;
};

}  // namespace weir

#endif  // WEIR_CORE_KERNEL_ERRORS_H_
