// How labels are brought to the shape that predictions ask for, and the messages where they don't fit. Shared by
// losses and metrics; not for users.
#ifndef WEIR_FRONTEND_PARTS_LABELS_H_
#define WEIR_FRONTEND_PARTS_LABELS_H_

#include <string_view>

#include "weir/core/graph.h"

namespace weir {

// Class numbers for predictions [..., classes]: int32 or int64 of shape [...]. A last axis of 1 is dropped; floats
// are truncated. `who` starts the message. Throws Error for other shapes, with a hint for one-hot labels.
Value ClassNumbers(std::string_view who, const Value& y_true, const Value& y_pred);

// Labels of y_pred's shape and dtype. If the ranks differ by one, an axis of 1 at the end of y_true is dropped or
// added. Throws Error for other shapes; with `classes`, hinting at the sparse form for class numbers.
Value MatchingLabels(std::string_view who, const Value& y_true, const Value& y_pred, bool classes = false);

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_LABELS_H_
