// Shapes and tensors of sizes that came from a file: what the core throws for a caller's mistake is here a returned
// status. For readers of file formats.
#ifndef WEIR_FRONTEND_IO_CHECKED_H_
#define WEIR_FRONTEND_IO_CHECKED_H_

#include <cstdint>
#include <span>

#include "weir/core/error.h"
#include "weir/core/tensor.h"

namespace weir {

// Dimensions beyond this are no array of anybody's (NumPy has the same limit).
inline constexpr size_t kMaxFileRank = 64;

// kInvalidArgument or kOutOfRange if a dimension is negative, there are too many or the size does not fit.
absl::StatusOr<Shape> CheckedShape(std::span<const int64_t> dims);

// Uninitialised elements; kResourceExhausted if there is no memory.
absl::StatusOr<Tensor> CheckedTensor(const TensorType& type);

// kDataLoss unless every byte of a bool tensor is 0 or 1; other types pass.
absl::Status CheckBools(const Tensor& tensor);

}  // namespace weir

#endif  // WEIR_FRONTEND_IO_CHECKED_H_
