// Shapes of labels: see labels.h.
#include "weir/frontend/parts/labels.h"

#include "weir/core/error.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

Shape WithoutLast(const Shape& shape) { return Shape(shape.dims().first(shape.dims().size() - 1)); }

bool IsColumn(const Shape& shape) { return shape.rank() > 0 && shape[-1] == 1; }

void CheckPredictions(std::string_view who, const Value& y_pred) {
  if (!IsFloating(y_pred.dtype())) {
    ThrowInvalidArgument(who, ": predictions are ", y_pred.type(), ", expected a floating type");
  }
  if (y_pred.shape().rank() == 0) {
    ThrowInvalidArgument(who, ": predictions are a scalar, expected one row a sample");
  }
}

}  // namespace

Value ClassNumbers(std::string_view who, const Value& y_true, const Value& y_pred) {
  CheckPredictions(who, y_pred);
  const Shape wanted = WithoutLast(y_pred.shape());
  Value labels = y_true;
  if (labels.shape() != wanted) {
    if (IsColumn(labels.shape()) && WithoutLast(labels.shape()) == wanted) {
      labels = Reshape(labels, wanted.dims());
    } else if (labels.shape() == y_pred.shape()) {
      ThrowInvalidArgument(who, ": labels ", labels.type(),
                           " have the shape of the predictions, expected class numbers of shape ", wanted,
                           "; for one-hot rows use the categorical form (categorical_crossentropy)");
    } else {
      ThrowInvalidArgument(who, ": labels are ", labels.type(), ", expected class numbers of shape ", wanted,
                           " for predictions ", y_pred.type());
    }
  }
  if (labels.dtype() == DType::kInt32 || labels.dtype() == DType::kInt64) return labels;
  return Cast(labels, IsFloating(labels.dtype()) ? DType::kInt64 : DType::kInt32);
}

Value MatchingLabels(std::string_view who, const Value& y_true, const Value& y_pred, bool classes) {
  CheckPredictions(who, y_pred);
  Value labels = y_true;
  const Shape& wanted = y_pred.shape();
  if (labels.shape() != wanted) {
    const bool drop = IsColumn(labels.shape()) && WithoutLast(labels.shape()) == wanted;
    const bool add = IsColumn(wanted) && WithoutLast(wanted) == labels.shape();
    if (drop || add) {
      labels = Reshape(labels, wanted.dims());
    } else {
      const Shape numbers = WithoutLast(wanted);
      const bool sparse =
          labels.shape() == numbers || (IsColumn(labels.shape()) && WithoutLast(labels.shape()) == numbers);
      ThrowInvalidArgument(
          who, ": labels are ", labels.type(), ", expected the predictions' shape ", wanted,
          classes && sparse ? "; for class numbers use the sparse form (sparse_categorical_crossentropy)" : "");
    }
  }
  return labels.dtype() == y_pred.dtype() ? labels : Cast(labels, y_pred.dtype());
}

}  // namespace weir
