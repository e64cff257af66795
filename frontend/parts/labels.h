// How labels are brought to the shape that predictions ask for, and the messages where they don't fit. Shared by
// losses and metrics; not for users.
#ifndef WEIR_FRONTEND_PARTS_LABELS_H_
#define WEIR_FRONTEND_PARTS_LABELS_H_

#include <string_view>

#include "weir/core/graph.h"

namespace weir {

// Class numbers for predictions [..., classes]: int32 or int64 of shape [...]. A last axis of 1 is dropped; a float
// that is no whole number (0.5, NaN) is no class: it becomes -2^63, which a run refuses as out of range. `who` starts the
// message. Throws Error for other shapes, with a hint for one-hot labels, which `categorical` takes.
Value ClassNumbers(std::string_view who, const Value& y_true, const Value& y_pred,
                   std::string_view categorical = "categorical_crossentropy");

// Labels of y_pred's shape and dtype. If the ranks differ by one, an axis of 1 at the end of y_true is dropped or
// added. Throws Error for other shapes, hinting at `sparse` for class numbers if that is given.
Value MatchingLabels(std::string_view who, const Value& y_true, const Value& y_pred, std::string_view sparse = "");

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_LABELS_H_
