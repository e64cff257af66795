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

Value ClassNumbers(std::string_view who, const Value& y_true, const Value& y_pred, std::string_view categorical) {
  CheckPredictions(who, y_pred);
  const Shape wanted = WithoutLast(y_pred.shape());
  Value labels = y_true;
  if (labels.shape() != wanted) {
    if (IsColumn(labels.shape()) && WithoutLast(labels.shape()) == wanted) {
      labels = Reshape(labels, wanted.dims());
    } else if (labels.shape() == y_pred.shape()) {
      ThrowInvalidArgument(who, ": labels ", labels.type(),
                           " have the shape of the predictions, expected class numbers of shape ", wanted,
                           "; for one-hot rows use the categorical form (", categorical, ")");
    } else {
      ThrowInvalidArgument(who, ": labels are ", labels.type(), ", expected class numbers of shape ", wanted,
                           " for predictions ", y_pred.type());
    }
  }
  if (labels.dtype() == DType::kInt32 || labels.dtype() == DType::kInt64) return labels;
  if (!IsFloating(labels.dtype())) return Cast(labels, DType::kInt32);
  const Value numbers = Cast(labels, DType::kInt64);
  return Where(Equal(Cast(numbers, labels.dtype()), labels), numbers, -0x1p63);
}

Value MatchingLabels(std::string_view who, const Value& y_true, const Value& y_pred, std::string_view sparse_form) {
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
          sparse && !sparse_form.empty() ? StrCat("; for class numbers use the sparse form (", sparse_form, ")") : "");
    }
  }
  return labels.dtype() == y_pred.dtype() ? labels : Cast(labels, y_pred.dtype());
}

}  // namespace weir
