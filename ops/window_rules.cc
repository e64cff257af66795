#include "weir/ops/window_rules.h"

#include <algorithm>

#include "weir/core/error.h"
#include "weir/ops/conv_geometry.h"

namespace weir {
namespace {

bool InRange(std::span<const int64_t> numbers, int64_t low) {
  return std::ranges::all_of(numbers, [&](int64_t n) { return n >= low && n <= kLargestWindowNumber; });
}

void CheckList(std::string_view op, std::string_view what, std::span<const int64_t> list, size_t axes, int64_t low,
               std::string_view operands) {
  if (list.size() != axes) {
    ThrowInvalidArgument(op, ": ", what, " [", StrJoin(list, ","), "] needs ", axes, axes == 1 ? " number" : " numbers",
                         ", one a spatial axis ", operands);
  }
  for (int64_t n : list) {
    if (n < low || n > kLargestWindowNumber) {
      ThrowInvalidArgument(op, ": ", what, " ", n, " is outside [", low, ", ", kLargestWindowNumber, "] ", operands);
    }
  }
}

}  // namespace

std::string Times(std::span<const int64_t> sizes) { return StrJoin(sizes, "x"); }

Dims CheckWindows(std::string_view op, const AttrMap& attrs, const Shape& shape, std::span<const int64_t> windows,
                  std::string_view operands) {
  const size_t axes = static_cast<size_t>(shape.rank() - 2);
  const std::span<const int64_t> input = shape.dims().subspan(1, axes);
  CheckList(op, "window", windows, axes, 1, operands);
  CheckList(op, "stride", attrs.Ints(kStrides), axes, 1, operands);
  if (attrs.Find(kDilations) != nullptr) CheckList(op, "dilation", attrs.Ints(kDilations), axes, 1, operands);
  CheckList(op, "padding", attrs.Ints(kPadBefore), axes, 0, operands);
  CheckList(op, "padding", attrs.Ints(kPadAfter), axes, 0, operands);
  Dims output, padded, extents;
  for (size_t i = 0; i < axes; ++i) {
    const int64_t dilation = attrs.Find(kDilations) != nullptr ? attrs.Ints(kDilations)[i] : 1;
    int64_t size = input[i];
    if (__builtin_add_overflow(size, attrs.Ints(kPadBefore)[i] + attrs.Ints(kPadAfter)[i], &size)) {
      ThrowOutOfRange(op, ": the padded input does not fit 63 bits ", operands);
    }
    padded.push_back(size);
    extents.push_back((windows[i] - 1) * dilation + 1);
    output.push_back((padded[i] - extents[i]) / attrs.Ints(kStrides)[i] + 1);
  }
  for (size_t i = 0; i < axes; ++i) {
    if (input[i] < 1 || padded[i] < extents[i]) {
      const bool dilated = !std::ranges::equal(extents, windows);
      ThrowInvalidArgument(op, ": the output would be empty: window ", Times(windows),
                           dilated ? StrCat(" (", Times(extents), " dilated)") : "", " is larger than the ",
                           std::ranges::equal(padded, input) ? "" : "padded ", "input ", Times(padded), " ", operands);
    }
  }
  int64_t elements = shape.dim(0) * shape.dim(-1);
  for (int64_t size : padded) {
    if (std::ranges::equal(padded, input)) break;
    if (!__builtin_mul_overflow(elements, size, &elements) && elements <= kMostPaddedElements) continue;
    ThrowInvalidArgument(op, ": the padded input ", Times(padded), " has more than ", kMostPaddedElements,
                         " elements over batch and channels ", operands);
  }
  return output;
}

ResolvedPadding ResolveWindows(std::string_view op, std::string_view padding, std::span<const int64_t> input,
                               std::span<const int64_t> windows, const Dims& strides, const Dims& dilations,
                               std::span<const int64_t> explicit_before, std::span<const int64_t> explicit_after) {
  const size_t axes = input.size();
  if (!explicit_before.empty() || !explicit_after.empty()) {
    // One side alone stands for both.
    const std::span<const int64_t> before = explicit_before.empty() ? explicit_after : explicit_before;
    const std::span<const int64_t> after = explicit_after.empty() ? explicit_before : explicit_after;
    return {Dims(before.begin(), before.end()), Dims(after.begin(), after.end())};
  }
  ResolvedPadding resolved{Dims(axes, 0), Dims(axes, 0)};
  if (padding == "causal" && axes != 1)
    ThrowInvalidArgument(op, ": padding 'causal' needs one spatial axis, not ", axes);
  if (padding == "valid") return resolved;
  if (padding != "same" && padding != "causal") ResolvePadding(op, padding, 1, 1, 1, 1);  // throws
  const bool sizes_fit = windows.size() == axes && strides.size() == axes && dilations.size() == axes;
  if (!sizes_fit || !InRange(windows, 1) || !InRange(strides, 1) || !InRange(dilations, 1)) return resolved;
  for (size_t i = 0; i < axes; ++i) {
    if (input[i] < 1) continue;
    const AxisPadding axis = ResolvePadding(op, padding, input[i], windows[i], strides[i], dilations[i]);
    resolved.before[i] = axis.before;
    resolved.after[i] = axis.after;
  }
  return resolved;
}

}  // namespace weir
