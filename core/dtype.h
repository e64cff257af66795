// Element types of tensors.
#ifndef WEIR_CORE_DTYPE_H_
#define WEIR_CORE_DTYPE_H_

#include <complex>
#include <cstdint>
#include <ostream>
#include <string>

namespace weir {

// kFloat64 runs on the reference backend only (the accuracy oracle); kComplex128 exists for the complex-step check
// of gradients and is no type for models.
enum class DType : uint8_t { kBool, kUint8, kInt32, kInt64, kFloat32, kFloat64, kComplex128 };

inline constexpr DType kAllDTypes[] = {DType::kBool,    DType::kUint8,   DType::kInt32,     DType::kInt64,
                                       DType::kFloat32, DType::kFloat64, DType::kComplex128};

// Bytes an element takes in a tensor (bool: 1, holding 0 or 1).
constexpr int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kUint8: return 1;
    case DType::kInt32:
    case DType::kFloat32: return 4;
    case DType::kInt64:
    case DType::kFloat64: return 8;
    case DType::kComplex128: return 16;
  }
  return 0;
}

constexpr bool IsFloating(DType dtype) { return dtype >= DType::kFloat32; }  // real or complex
constexpr bool IsInteger(DType dtype) { return dtype >= DType::kUint8 && dtype <= DType::kInt64; }

// "float32", as Keras and NumPy spell it.
const char* Name(DType dtype);
// "f32", as printed graphs and messages spell it.
const char* ShortName(DType dtype);
// The dtype of a name in either spelling; throws Error with the known names.
DType ParseDType(const std::string& name);

// The type of a binary operation's result, as users of NumPy-style frameworks expect: the wider of two types of one
// kind; floating wins over integer wins over bool; uint8 with int32 gives int32. Integers meet floating types at
// the floating type.
DType Promote(DType a, DType b);

std::ostream& operator<<(std::ostream& out, DType dtype);

template <class T>
struct DTypeOf;
template <> struct DTypeOf<bool> { static constexpr DType value = DType::kBool; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::kUint8; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::kInt32; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::kInt64; };
template <> struct DTypeOf<float> { static constexpr DType value = DType::kFloat32; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::kFloat64; };
template <> struct DTypeOf<std::complex<double>> { static constexpr DType value = DType::kComplex128; };

// Calls `visitor` with a value of the C++ type that `dtype` stands for: VisitDType(t, [&](auto zero) { ... }).
template <class Visitor>
decltype(auto) VisitDType(DType dtype, Visitor&& visitor) {
  switch (dtype) {
    case DType::kBool: return visitor(bool{});
    case DType::kUint8: return visitor(uint8_t{});
    case DType::kInt32: return visitor(int32_t{});
    case DType::kInt64: return visitor(int64_t{});
    case DType::kFloat64: return visitor(double{});
    case DType::kComplex128: return visitor(std::complex<double>{});
    case DType::kFloat32: break;
  }
  return visitor(float{});
}

}  // namespace weir

#endif  // WEIR_CORE_DTYPE_H_
