// Shapes: dimensions of dense row-major tensors, 64 bits each. A shape whose element count does not fit 63 bits
// can't be made: the constructor throws Error(kOutOfRange).
#ifndef WEIR_CORE_SHAPE_H_
#define WEIR_CORE_SHAPE_H_

#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>
#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "weir/core/dtype.h"

namespace weir {

using Dims = absl::InlinedVector<int64_t, 6>;

class Shape {
 public:
  Shape() = default;  // rank 0: a scalar
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);
  explicit Shape(const Dims& dims) : Shape(std::span<const int64_t>(dims.data(), dims.size())) {}

  int rank() const { return static_cast<int>(dims_.size()); }
  int64_t size() const { return size_; }  // number of elements; 1 for a scalar
  int64_t dim(int axis) const { return dims_[axis < 0 ? axis + rank() : axis]; }
  int64_t operator[](int axis) const { return dim(axis); }
  std::span<const int64_t> dims() const { return {dims_.data(), dims_.size()}; }
  auto begin() const { return dims_.begin(); }
  auto end() const { return dims_.end(); }

  // Elements between neighbours along each axis, row-major.
  Dims Strides() const;

  friend bool operator==(const Shape& a, const Shape& b) { return a.dims_ == b.dims_; }
  template <class H>
  friend H AbslHashValue(H h, const Shape& shape) {
    return H::combine(std::move(h), shape.dims_);
  }

 private:
  Dims dims_;
  int64_t size_ = 1;
};

// "[8,32,32,3]", as in graphs and messages.
std::ostream& operator<<(std::ostream& out, const Shape& shape);
// "(8, 32, 32, 3)", "(8,)", "()": as Python prints tuples.
std::string PythonTuple(const Shape& shape);

// Dtype and shape: all that is known of a value when it is recorded.
struct TensorType {
  DType dtype = DType::kFloat32;
  Shape shape;

  int64_t bytes() const { return shape.size() * SizeOf(dtype); }
  friend bool operator==(const TensorType&, const TensorType&) = default;
  template <class H>
  friend H AbslHashValue(H h, const TensorType& type) {
    return H::combine(std::move(h), type.dtype, type.shape);
  }
};
// "f32[8,32,32,3]".
std::ostream& operator<<(std::ostream& out, const TensorType& type);

// a * b for sizes; throws Error(kOutOfRange) naming `what` when it does not fit 63 bits.
int64_t CheckedMultiply(int64_t a, int64_t b, std::string_view what);

// `axis` counted from the front, for one that may count from the back; throws Error naming `op` if out of range.
int NormalizeAxis(int64_t axis, int rank, std::string_view op);

// The common shape of two under NumPy's broadcasting rule; throws Error naming `op` if there is none.
Shape BroadcastShapes(const Shape& a, const Shape& b, std::string_view op);

// Strides with which a tensor of shape `from` is read as if it had shape `to` (0 along broadcast axes). `from` must
// broadcast to `to`.
Dims BroadcastStrides(const Shape& from, const Shape& to);

}  // namespace weir

#endif  // WEIR_CORE_SHAPE_H_
