// One integer for all spatial axes, or one an axis: `.kernel_size = 3` or `.kernel_size = {3, 3}`.
#ifndef WEIR_FRONTEND_LAYERS_INT_LIST_H_
#define WEIR_FRONTEND_LAYERS_INT_LIST_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

// The first field of options that are to be named: keeps {3, 3}, which means a window, from meaning two options.
struct NamedOnly {
  explicit NamedOnly() = default;
};

class IntList {
 public:
  IntList() = default;
  IntList(int64_t value) : values_{value} {}  // NOLINT
  IntList(int value) : values_{value} {}      // NOLINT
  IntList(std::initializer_list<int64_t> values) : values_(values) {}
  IntList(std::vector<int64_t> values) : values_(std::move(values)) {}  // NOLINT

  bool empty() const { return values_.empty(); }
  // `rank` positive numbers. Throws Error, in Keras's words, if there are neither one nor `rank`, or one is not
  // positive: "Conv2D: the `strides` argument must be a tuple of 2 integers. Received: (1, 2, 3)".
  std::vector<int64_t> Resolve(int rank, std::string_view layer, std::string_view argument) const;

 private:
  std::vector<int64_t> values_;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_LAYERS_INT_LIST_H_
