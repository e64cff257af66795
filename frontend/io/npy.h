// NumPy's .npy format: one array a file, so that anything computed here can be looked at there and back. Format:
// numpy.lib.format, versions 1 to 3.
#ifndef WEIR_FRONTEND_IO_NPY_H_
#define WEIR_FRONTEND_IO_NPY_H_

#include <string>

#include "weir/core/error.h"
#include "weir/core/tensor.h"

namespace weir {

// Writes `tensor` in C order, little-endian, atomically. Throws Error for a tensor that holds nothing or is complex.
absl::Status SaveNpy(const Tensor& tensor, const std::string& path);

// Reads an array of type bool, uint8, int32, int64, float32 or float64, and float16 as float32, int8, int16 and uint16
// as int32, uint32 and uint64 as int64 (kOutOfRange for a value beyond), in either byte order and of up to 64
// dimensions; Fortran order is converted to C order. The header is checked against the file's real size before anything is allocated: kDataLoss with expected
// and found size for a file that is cut or too long, kInvalidArgument for a malformed header, kUnimplemented for an
// element type that weir has not (objects are never unpickled).
absl::StatusOr<Tensor> LoadNpy(const std::string& path);

}  // namespace weir

#endif  // WEIR_FRONTEND_IO_NPY_H_
