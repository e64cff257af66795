#include "weir/core/dtype.h"

#include <algorithm>
#include <vector>

#include "weir/core/error.h"

namespace weir {

const char* Name(DType dtype) {
  static constexpr const char* kNames[] = {"bool", "uint8", "int32", "int64", "float32", "float64", "complex128"};
  return kNames[static_cast<int>(dtype)];
}

const char* ShortName(DType dtype) {
  static constexpr const char* kNames[] = {"bool", "u8", "i32", "i64", "f32", "f64", "c128"};
  return kNames[static_cast<int>(dtype)];
}

DType ParseDType(const std::string& name) {
  std::vector<std::string> known;
  for (DType dtype : kAllDTypes) {
    if (name == Name(dtype) || name == ShortName(dtype)) return dtype;
    known.push_back(Name(dtype));
  }
  ThrowInvalidArgument(UnknownNameMessage("dtype", name, known));
}

// The enum's order is the order of promotion: bool < uint8 < int32 < int64 < float32 < float64 < complex128.
DType Promote(DType a, DType b) { return std::max(a, b); }

std::ostream& operator<<(std::ostream& out, DType dtype) { return out << ShortName(dtype); }

}  // namespace weir
