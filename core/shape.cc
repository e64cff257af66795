#include "weir/core/shape.h"

#include <algorithm>

#include "weir/core/error.h"

namespace weir {

int64_t CheckedMultiply(int64_t a, int64_t b, std::string_view what) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    ThrowOutOfRange(what, ": ", a, " * ", b, " does not fit 63 bits");
  }
  return product;
}

Shape::Shape(std::span<const int64_t> dims) : dims_(dims.begin(), dims.end()) {
  // The product of the non-zero sizes must fit, so that every stride does, also when the tensor is empty; and so
  // must its bytes at the widest element type.
  int64_t nonzero = SizeOf(DType::kComplex128);
  for (int64_t dim : dims_) {
    if (dim < 0) ThrowInvalidArgument("shape ", StrJoin(dims_, "x"), ": dimension ", dim, " is negative");
    if (dim > 0 && __builtin_mul_overflow(nonzero, dim, &nonzero)) {
      ThrowOutOfRange("shape ", StrJoin(dims_, "x"), ": more bytes than 63 bits can count");
    }
    size_ = dim == 0 ? 0 : size_ * dim;
  }
}

Dims Shape::Strides() const {
  Dims strides(dims_.size());
  int64_t stride = 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= dims_[axis];
  }
  return strides;
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << '[' << StrJoin(shape, ",") << ']';
}

std::string PythonTuple(const Shape& shape) {
  return StrCat("(", StrJoin(shape, ", "), shape.rank() == 1 ? ",)" : ")");
}

std::ostream& operator<<(std::ostream& out, const TensorType& type) { return out << type.dtype << type.shape; }

int NormalizeAxis(int64_t axis, int rank, std::string_view op) {
  if (axis < -rank || axis >= rank) {
    ThrowInvalidArgument(op, ": axis ", axis, " is out of range for rank ", rank, " (expected ", -rank, "..", rank - 1,
                         ")");
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Shape BroadcastShapes(const Shape& a, const Shape& b, std::string_view op) {
  const int rank = std::max(a.rank(), b.rank());
  Dims dims(rank);
  for (int i = 1; i <= rank; ++i) {
    const int64_t da = i <= a.rank() ? a.dim(-i) : 1;
    const int64_t db = i <= b.rank() ? b.dim(-i) : 1;
    if (da != db && da != 1 && db != 1) {
      ThrowInvalidArgument(op, ": shapes ", a, " and ", b, " do not broadcast (", da, " against ", db, " on axis ", -i,
                           ")");
    }
    dims[rank - i] = da == 1 ? db : da;
  }
  return Shape(dims);
}

Dims BroadcastStrides(const Shape& from, const Shape& to) {
  const Dims own = from.Strides();
  Dims strides(to.rank(), 0);
  for (int i = 1; i <= from.rank(); ++i) {
    if (from.dim(-i) != 1) strides[to.rank() - i] = own[from.rank() - i];
  }
  return strides;
}

}  // namespace weir
