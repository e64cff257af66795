// The copy of x that a filter gradient reads where windows leave the image: the box that they cover, zeros around the
// image, each channel as often as the plan says. For lower_conv_filter.cc.
#ifndef WEIR_BACKENDS_LLVM_FILTER_COPY_H_
#define WEIR_BACKENDS_LLVM_FILTER_COPY_H_

#include <cstdint>

#include "weir/backends/llvm/filter_plan.h"

namespace weir::jit {

class FilterCopy {
 public:
  // From buffer `x`, for a plan with `copy_x`.
  FilterCopy(KernelBuilder& builder, const FilterPlan& plan, int x) : b_(builder), p_(plan), x_(x) {}

  // Copies an image to element `at` of buffer `dst`, with FilterPlan::x_image floats of room.
  void Image(Val image, int dst, Val at);

 private:
  // Of the box, coordinates [-low, -low + InsideOf) of an axis lie inside of the image.
  int64_t InsideOf(int axis) const;
  // Zeros from element `at` + `begin` to `at` + `end`, and up to a vector behind them.
  void Fill(int dst, Val at, int64_t begin, int64_t end);
  // Zeros, the pixels of a row from element `src` on, zeros, in this order: each may write a vector too far.
  void Row(Val src, int dst, Val at);

  KernelBuilder& b_;
  const FilterPlan& p_;
  const int x_;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_FILTER_COPY_H_
