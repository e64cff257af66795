// Tensor: data. Dense, row-major, 64-byte aligned, shared by copies (copying a Tensor copies a pointer; Clone copies
// the elements). Not a symbol: that is Value (graph.h).
#ifndef WEIR_CORE_TENSOR_H_
#define WEIR_CORE_TENSOR_H_

#include <cstddef>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "weir/core/dtype.h"
#include "weir/core/shape.h"

namespace weir {

class Tensor {
 public:
  // Holds nothing: defined() is false.
  Tensor() = default;

  // Elements of the given type, all zero. Throws Error(kResourceExhausted) if there is no memory for them.
  explicit Tensor(TensorType type);
  Tensor(DType dtype, Shape shape) : Tensor(TensorType{dtype, std::move(shape)}) {}

  // The values copied, with their shape; throws Error if the counts differ.
  template <class T>
  static Tensor Of(Shape shape, std::span<const T> values) {
    Tensor tensor(DTypeOf<T>::value, std::move(shape));
    tensor.CheckCount(values.size());
    std::copy(values.begin(), values.end(), tensor.data<T>().begin());
    return tensor;
  }
  template <class T>
  static Tensor Of(Shape shape, std::initializer_list<T> values) {
    return Of<T>(std::move(shape), std::span<const T>(values.begin(), values.size()));
  }
  template <class T>
  static Tensor Of(Shape shape, const std::vector<T>& values) {
    return Of<T>(std::move(shape), std::span<const T>(values));
  }
  template <class T>
  static Tensor Scalar(T value) {
    return Of<T>(Shape{}, {value});
  }
  // All elements `value`, converted to `dtype`.
  static Tensor Full(DType dtype, Shape shape, double value);
  // Elements without a defined value: for a caller that writes all of them.
  static Tensor Uninitialized(TensorType type);

  // Elements that somebody else owns: of another library's array, or a part of a tensor with strides. They are shared
  // where they lie as a tensor's do (row-major without gaps, each where its type may lie), and copied otherwise.
  // `byte_strides`: from one element to the next along each axis, in bytes, of any sign; none: without gaps. Shared
  // elements must stay, and stay unchanged, as long as a tensor has them: `owner` is held until the last one goes (null:
  // the caller sees to it). Throws Error if there is no data, or a number of strides that is not the rank.
  static Tensor Borrow(const void* data, TensorType type, std::shared_ptr<const void> owner = nullptr,
                       std::span<const int64_t> byte_strides = {});
  static Tensor Borrow(const void* data, TensorType type, std::shared_ptr<const void> owner,
                       std::initializer_list<int64_t> byte_strides) {
    return Borrow(data, std::move(type), std::move(owner), std::span(byte_strides.begin(), byte_strides.size()));
  }

  bool defined() const { return storage_ != nullptr; }
  const TensorType& type() const { return type_; }
  DType dtype() const { return type_.dtype; }
  const Shape& shape() const { return type_.shape; }
  int64_t size() const { return type_.shape.size(); }
  int64_t bytes() const { return type_.bytes(); }

  std::byte* raw() { return data_; }
  const std::byte* raw() const { return data_; }

  // The elements, row-major; throws Error if T is not the dtype's type.
  template <class T>
  std::span<T> data() & {
    CheckDType(DTypeOf<T>::value);
    return {reinterpret_cast<T*>(data_), static_cast<size_t>(size())};
  }
  template <class T>
  std::span<const T> data() const& {
    CheckDType(DTypeOf<T>::value);
    return {reinterpret_cast<const T*>(data_), static_cast<size_t>(size())};
  }
  template <class T>
  void data() const&& = delete;  // the elements end with a temporary tensor: keep it in a variable first

  // The element at an index, one number an axis; throws Error if out of range or of another type.
  template <class T>
  T at(std::initializer_list<int64_t> index) const {
    return data<T>()[Offset({index.begin(), index.size()})];
  }
  // The only element, converted to T; throws Error if there is not exactly one.
  template <class T>
  T item() const {
    CheckOne();
    return VisitDType(dtype(), [&]<class E>(E) -> T {
      if constexpr (std::is_same_v<E, std::complex<double>>) {
        return static_cast<T>(data<E>()[0].real());
      } else {
        return static_cast<T>(data<E>()[0]);
      }
    });
  }

  Tensor Clone() const;
  // The same elements under another shape of equal size, sharing the data; one dimension may be -1.
  Tensor Reshaped(std::span<const int64_t> dims) const;
  Tensor Reshaped(std::initializer_list<int64_t> dims) const { return Reshaped({dims.begin(), dims.size()}); }
  // Rows [begin, end) of the first axis, sharing the data.
  Tensor Rows(int64_t begin, int64_t end) const;
  // Row `index` of the first axis without that axis, sharing the data: features[0][0].
  Tensor operator[](int64_t index) const;
  // Copy converted to another dtype.
  Tensor Cast(DType dtype) const;

  // How many tensors share the data; 1 means that nobody else sees it.
  long use_count() const { return storage_.use_count(); }

 private:
  void CheckDType(DType dtype) const;
  void CheckCount(size_t count) const;
  void CheckOne() const;
  int64_t Offset(std::span<const int64_t> index) const;

  TensorType type_;
  std::shared_ptr<std::byte> storage_;
  std::byte* data_ = nullptr;
};

// Whether two tensors have the same type and the same bits.
bool BitEqual(const Tensor& a, const Tensor& b);

struct TensorFormat {
  int precision = 8;       // digits after the point, at most
  int64_t threshold = 1000;  // more elements than this are summarised
  int64_t edge_items = 3;  // elements kept at each end of a summarised axis
  int line_width = 75;
};

// The values as NumPy's array2string writes them: nested brackets, aligned columns, "..." for what is left out.
// `indent` blanks start each continuation line.
std::string FormatValues(const Tensor& tensor, int indent = 0, const TensorFormat& format = {});

// array([[...]], dtype=float32)-like text: values, shape and dtype.
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

}  // namespace weir

#endif  // WEIR_CORE_TENSOR_H_
