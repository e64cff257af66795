// Elements of files and how they become a tensor's: types that weir has not are read as the smallest of its types that
// holds every one of their values. For readers of file formats.
#ifndef WEIR_FRONTEND_IO_ELEMENTS_H_
#define WEIR_FRONTEND_IO_ELEMENTS_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "weir/core/error.h"
#include "weir/core/tensor.h"
#include "weir/frontend/io/file.h"

namespace weir {

// One type of element. Halves and bfloat16 become float32; int8, int16 and uint16 int32; uint32 and uint64 int64.
struct FileElement {
  std::string_view numpy;        // kind and size as NumPy has them; empty: it has no such type
  std::string_view safetensors;  // the name in that format
  int64_t bytes;                 // of an element in the file
  DType dtype;                   // what it is read as
};
std::span<const FileElement> FileElements();

// Whether elements of this type in the file are those of its dtype in memory: what weir writes.
bool IsStoredAsIs(const FileElement& element);

// Bytes that elements of `shape` take in the file; kOutOfRange if that does not fit 63 bits.
absl::StatusOr<int64_t> BytesInFile(const FileElement& element, const Shape& shape);

// `tensor.size()` elements from byte `offset` on, their bytes in either order. `tensor` is of element.dtype. kOutOfRange
// for a uint64 beyond int64, kDataLoss for a bool that is neither 0 nor 1; both name the element.
absl::Status ReadElements(const InputFile& file, int64_t offset, const FileElement& element, bool big_endian,
                          Tensor& tensor);

}  // namespace weir

#endif  // WEIR_FRONTEND_IO_ELEMENTS_H_
