#include "weir/frontend/layers/int_list.h"

#include "weir/core/error.h"
#include "weir/frontend/symbolic.h"

namespace weir {

std::vector<int64_t> IntList::Resolve(int rank, std::string_view layer, std::string_view argument) const {
  std::vector<int64_t> values =
      values_.size() == 1 ? std::vector<int64_t>(static_cast<size_t>(rank), values_[0]) : values_;
  if (static_cast<int>(values.size()) != rank) {
    ThrowInvalidArgument(layer, ": the `", argument, "` argument must be a tuple of ", rank,
                         " integers. Received: ", ShapeText(values_));
  }
  for (int64_t value : values) {
    if (value <= 0) {
      ThrowInvalidArgument(layer, ": the `", argument, "` argument must be a tuple of ", rank,
                           " integers > 0. Received: (", StrJoin(values, ", "), ")");
    }
  }
  return values;
}

}  // namespace weir
