// Softmax, log-softmax and sparse cross-entropy on rows: m = max, s = sum of exp(x - m), both in the canonical order of
// row reductions.
#include <cstddef>
#include <cstdint>
#include <limits>

#include "weir/backends/highway/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "weir/backends/highway/kernels/softmax.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "weir/backends/highway/kernels/dispatch.h"
#include "weir/backends/highway/kernels/reduce-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weir::highway {
namespace HWY_NAMESPACE {
namespace {

using Math = ScalarMath<FloatVector>;

// exp(x - m), also stored in y unless that is null.
struct ExpOfDifference {
  VF m;
  float* y;

  HWY_INLINE VF Of(VF x) const { return Math::Exp(FloatVector(), hn::Sub(x, m)); }
  HWY_INLINE VF Whole(VF x, size_t j) const {
    const VF e = Of(x);
    if (y != nullptr) hn::StoreU(e, DF(), y + j);
    return e;
  }
  HWY_INLINE VF Part(VF x, size_t j, size_t count) const {
    const VF e = Of(x);
    if (y != nullptr) StoreFirst(e, DF(), y + j, count);
    return e;
  }
  HWY_INLINE ExpOfDifference From(int64_t begin) const { return {m, y == nullptr ? nullptr : y + begin}; }
};

struct RowSums {
  float max, sum;
};
HWY_INLINE RowSums SumsOf(const float* x, int64_t classes, float* exponentials) {
  const float max = RowValue<MaxOp>(AsIs(), x, classes);
  const float sum = RowValue<SumOp>(ExpOfDifference{hn::Set(DF(), max), exponentials}, x, classes);
  return {max, sum};
}

HWY_INLINE float LogOf(float x) { return hn::GetLane(Math::Log(FloatVector(), hn::Set(DF(), x))); }

void Softmax(const float* x, int64_t rows, int64_t classes, float* y) noexcept {
  const DF d;
  for (int64_t row = 0; row < rows; ++row, x += classes, y += classes) {
    const VF sum = hn::Set(d, SumsOf(x, classes, y).sum);
    int64_t c = 0;
    for (; c + static_cast<int64_t>(kLanes) <= classes; c += kLanes) {
      hn::StoreU(hn::Div(hn::LoadU(d, y + c), sum), d, y + c);
    }
    const size_t rest = static_cast<size_t>(classes - c);
    if (rest != 0) StoreFirst(hn::Div(LoadFirst(d, y + c, rest), sum), d, y + c, rest);
  }
}

void LogSoftmax(const float* x, int64_t rows, int64_t classes, float* y) noexcept {
  const DF d;
  for (int64_t row = 0; row < rows; ++row, x += classes, y += classes) {
    const RowSums sums = SumsOf(x, classes, nullptr);
    const VF max = hn::Set(d, sums.max), log = hn::Set(d, LogOf(sums.sum));
    int64_t c = 0;
    for (; c + static_cast<int64_t>(kLanes) <= classes; c += kLanes) {
      hn::StoreU(hn::Sub(hn::Sub(hn::LoadU(d, x + c), max), log), d, y + c);
    }
    const size_t rest = static_cast<size_t>(classes - c);
    if (rest != 0) StoreFirst(hn::Sub(hn::Sub(LoadFirst(d, x + c, rest), max), log), d, y + c, rest);
  }
}

template <class Label>
void CrossEntropy(const float* x, const Label* labels, int64_t rows, int64_t classes, int64_t first_row, float* y,
                  KernelErrors* errors) noexcept {
  for (int64_t row = 0; row < rows; ++row, x += classes) {
    const int64_t label = labels[row];
    if (label < 0 || label >= classes) {
      errors->OutOfRange(kCrossEntropyLabel, first_row + row, label, 0, classes);
      y[row] = std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    const RowSums sums = SumsOf(x, classes, nullptr);
    const float log = LogOf(sums.sum);
    y[row] = log - (x[label] - sums.max);
  }
}

}  // namespace

SoftmaxKernels GetSoftmaxKernels() {
  return {.softmax = &Softmax,
          .log_softmax = &LogSoftmax,
          .cross_entropy_i32 = &CrossEntropy<int32_t>,
          .cross_entropy_i64 = &CrossEntropy<int64_t>};
}

}  // namespace HWY_NAMESPACE
}  // namespace weir::highway
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::highway {

HWY_EXPORT(GetSoftmaxKernels);

SoftmaxKernels SoftmaxKernelsFor(int64_t target) { return ForTarget(HWY_DISPATCH_TABLE(GetSoftmaxKernels), target)(); }

}  // namespace weir::highway
#endif  // HWY_ONCE
