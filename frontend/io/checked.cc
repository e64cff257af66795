#include "weir/frontend/io/checked.h"

namespace weir {

absl::StatusOr<Shape> CheckedShape(std::span<const int64_t> dims) {
  if (dims.size() > kMaxFileRank) {
    return absl::InvalidArgumentError(StrCat(dims.size(), " dimensions, at most ", kMaxFileRank, " are allowed"));
  }
  try {
    return Shape(dims);
  } catch (const Error& error) {
    return error.ToStatus();
  }
}

absl::StatusOr<Tensor> CheckedTensor(const TensorType& type) {
  try {
    return Tensor::Uninitialized(type);
  } catch (const Error& error) {
    return error.ToStatus();
  }
}

absl::Status CheckBools(const Tensor& tensor) {
  if (tensor.dtype() != DType::kBool) return absl::OkStatus();
  for (int64_t i = 0; i < tensor.bytes(); ++i) {
    const int value = std::to_integer<int>(tensor.raw()[i]);
    if (value > 1) return absl::DataLossError(StrCat("bool element ", i, " is ", value, ", expected 0 or 1"));
  }
  return absl::OkStatus();
}

}  // namespace weir
