#include "weir/core/tensor.h"

#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "weir/core/error.h"
#include "weir/core/memory_block.h"

namespace weir {
namespace {

std::shared_ptr<std::byte> Allocate(const TensorType& type, bool zero) {
  std::shared_ptr<std::byte> block = AllocateBlock(static_cast<size_t>(type.bytes()), zero);
  if (block == nullptr) {
    throw Error(absl::StatusCode::kResourceExhausted, StrCat("no memory for tensor ", type, " (", type.bytes(), " bytes)"));
  }
  return block;
}

// Of a complex number other types have the real part.
template <class D, class S>
D CastElement(const S& value) {
  if constexpr (std::is_same_v<S, std::complex<double>> && !std::is_same_v<D, std::complex<double>>) {
    return static_cast<D>(value.real());
  } else {
    return static_cast<D>(value);
  }
}

}  // namespace

Tensor::Tensor(TensorType type) : type_(std::move(type)), storage_(Allocate(type_, true)), data_(storage_.get()) {}

Tensor Tensor::Uninitialized(TensorType type) {
  Tensor tensor;
  tensor.type_ = std::move(type);
  tensor.storage_ = Allocate(tensor.type_, false);
  tensor.data_ = tensor.storage_.get();
  return tensor;
}

Tensor Tensor::Full(DType dtype, Shape shape, double value) {
  Tensor tensor(dtype, std::move(shape));
  VisitDType(dtype, [&]<class T>(T) {
    for (T& element : tensor.data<T>()) element = static_cast<T>(value);
  });
  return tensor;
}

Tensor Tensor::Borrow(const void* data, TensorType type, std::shared_ptr<const void> owner,
                      std::span<const int64_t> byte_strides) {
  const Shape& shape = type.shape;
  if (!byte_strides.empty() && static_cast<int>(byte_strides.size()) != shape.rank()) {
    ThrowInvalidArgument("Borrow: ", byte_strides.size(), " strides for a tensor of rank ", shape.rank());
  }
  if (data == nullptr && shape.size() > 0) ThrowInvalidArgument("Borrow: there is no data for ", type);
  const int64_t element = SizeOf(type.dtype);
  bool dense = reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(element) == 0;
  std::vector<int64_t> strides(static_cast<size_t>(shape.rank()));
  int64_t step = element;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    const auto i = static_cast<size_t>(axis);
    strides[i] = byte_strides.empty() ? step : byte_strides[i];
    // Along an axis of one element nothing is ever added.
    if (strides[i] != step && shape[axis] > 1) dense = false;
    step *= shape[axis];
  }
  if (shape.size() == 0) return Tensor(std::move(type));
  if (dense) {
    Tensor tensor;
    tensor.data_ = const_cast<std::byte*>(static_cast<const std::byte*>(data));
    tensor.storage_ = std::shared_ptr<std::byte>(tensor.data_, [keep = std::move(owner)](std::byte*) {});
    tensor.type_ = std::move(type);
    return tensor;
  }
  Tensor copy = Uninitialized(type);
  std::byte* out = copy.raw();
  std::vector<int64_t> index(strides.size(), 0);
  const std::byte* at = static_cast<const std::byte*>(data);
  for (int64_t i = 0; i < shape.size(); ++i, out += element) {
    std::memcpy(out, at, static_cast<size_t>(element));
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const auto k = static_cast<size_t>(axis);
      at += strides[k];
      if (++index[k] < shape[axis]) break;
      at -= strides[k] * shape[axis];
      index[k] = 0;
    }
  }
  return copy;
}

Tensor Tensor::Clone() const {
  if (!defined()) return {};
  Tensor copy = Uninitialized(type_);
  std::memcpy(copy.data_, data_, static_cast<size_t>(bytes()));
  return copy;
}

Tensor Tensor::Reshaped(std::span<const int64_t> dims) const {
  Dims resolved(dims.begin(), dims.end());
  int64_t known = 1;
  int unknown = -1;
  for (size_t i = 0; i < resolved.size(); ++i) {
    if (resolved[i] != -1) {
      known = CheckedMultiply(known, resolved[i], "Reshaped");
      continue;
    }
    if (unknown >= 0) ThrowInvalidArgument("Reshaped: more than one -1 in ", StrJoin(dims, ","));
    unknown = static_cast<int>(i);
  }
  if (unknown >= 0 && known > 0) resolved[unknown] = size() / known;
  if (unknown >= 0 && known == 0) resolved[unknown] = 0;
  const Shape shape(resolved);
  if (shape.size() != size()) {
    ThrowInvalidArgument("Reshaped: ", type_, " has ", size(), " elements, (", StrJoin(dims, ", "), ") needs ", shape.size());
  }
  Tensor view = *this;
  view.type_.shape = shape;
  return view;
}

Tensor Tensor::Rows(int64_t begin, int64_t end) const {
  if (shape().rank() == 0 || begin < 0 || end < begin || end > shape()[0]) {
    ThrowOutOfRange("Rows: [", begin, ", ", end, ") of ", type_);
  }
  Dims dims(shape().begin(), shape().end());
  const int64_t row_bytes = dims[0] == 0 ? 0 : bytes() / dims[0];
  dims[0] = end - begin;
  Tensor view = *this;
  view.type_.shape = Shape(dims);
  view.data_ = data_ + begin * row_bytes;
  return view;
}

Tensor Tensor::operator[](int64_t index) const {
  if (shape().rank() == 0 || index < 0 || index >= shape()[0]) ThrowOutOfRange("index ", index, " of ", type_);
  Tensor view = Rows(index, index + 1);
  view.type_.shape = Shape(shape().dims().subspan(1));
  return view;
}

Tensor Tensor::Cast(DType dtype) const {
  if (!defined()) return {};
  Tensor result = Uninitialized({dtype, shape()});
  VisitDType(this->dtype(), [&]<class S>(S) {
    VisitDType(dtype, [&]<class D>(D) {
      const std::span<const S> src = data<S>();
      const std::span<D> dst = result.data<D>();
      for (size_t i = 0; i < src.size(); ++i) dst[i] = CastElement<D>(src[i]);
    });
  });
  return result;
}

void Tensor::CheckDType(DType dtype) const {
  if (!defined()) ThrowFailedPrecondition("tensor holds nothing (", Name(dtype), " elements asked for)");
  if (dtype != type_.dtype) ThrowInvalidArgument("tensor ", type_, " asked for elements of type ", Name(dtype));
}

void Tensor::CheckCount(size_t count) const {
  if (static_cast<int64_t>(count) != size()) {
    ThrowInvalidArgument("tensor ", type_, " has ", size(), " elements, ", count, " values given");
  }
}

void Tensor::CheckOne() const {
  if (!defined() || size() != 1) ThrowInvalidArgument("item: tensor ", type_, " has not exactly one element");
}

int64_t Tensor::Offset(std::span<const int64_t> index) const {
  if (static_cast<int>(index.size()) != shape().rank()) {
    ThrowInvalidArgument("at: ", index.size(), " indices for tensor ", type_);
  }
  int64_t offset = 0;
  for (size_t i = 0; i < index.size(); ++i) {
    const int64_t dim = shape()[static_cast<int>(i)];
    if (index[i] < 0 || index[i] >= dim) ThrowOutOfRange("at: index ", index[i], " on axis ", i, " of ", type_);
    offset = offset * dim + index[i];
  }
  return offset;
}

bool BitEqual(const Tensor& a, const Tensor& b) {
  if (a.defined() != b.defined()) return false;
  return !a.defined() || (a.type() == b.type() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0);
}

}  // namespace weir
