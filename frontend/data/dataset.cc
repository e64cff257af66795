#include "weir/frontend/data/dataset.h"

#include <algorithm>

#include "weir/core/error.h"
#include "weir/core/float_state.h"

namespace weir {
namespace {

void CheckIndex(const Dataset& dataset, int64_t i) {
  if (i < 0 || i >= dataset.size()) {
    ThrowOutOfRange("dataset '", dataset.name, "': picture ", i, " of ", dataset.size());
  }
}

}  // namespace

Tensor Dataset::image(int64_t i) const {
  CheckIndex(*this, i);
  const Tensor row = images.Rows(i, i + 1);
  return row.dtype() == DType::kFloat32 ? row : row.Cast(DType::kFloat32);
}

int32_t Dataset::label(int64_t i) const {
  CheckIndex(*this, i);
  return labels.data<int32_t>()[i];
}

std::string Dataset::class_name(int64_t i) const {
  const int32_t index = label(i);
  if (index < 0 || index >= static_cast<int64_t>(class_names.size())) return StrCat(index);
  return class_names[index];
}

Dataset Dataset::Scaled(double factor) const {
  if (!images.defined()) ThrowFailedPrecondition("dataset '", name, "' holds no pictures to scale");
  const ScopedFloatState state(ScopedFloatState::Subnormals::kKept);
  Dataset scaled = *this;
  scaled.images = Tensor::Uninitialized({DType::kFloat32, images.shape()});
  const std::span<float> dst = scaled.images.data<float>();
  const auto scale = [&](auto src) {
    for (size_t i = 0; i < dst.size(); ++i) dst[i] = static_cast<float>(src[i] * factor);
  };
  if (images.dtype() == DType::kUint8) {
    scale(images.data<uint8_t>());
  } else {
    scale(images.data<float>());
  }
  return scaled;
}

Dataset Dataset::Slice(int64_t begin, int64_t end) const {
  if (begin < 0 || end < begin || end > size()) {
    ThrowOutOfRange("dataset '", name, "': slice [", begin, ", ", end, ") of ", size(), " pictures");
  }
  Dataset slice = *this;
  if (!images.defined()) return slice;
  slice.images = images.Rows(begin, end);
  slice.labels = labels.Rows(begin, end);
  return slice;
}

Dataset Dataset::Take(int64_t count) const { return Slice(0, std::min(std::max<int64_t>(count, 0), size())); }

}  // namespace weir
