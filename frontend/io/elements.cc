#include "weir/frontend/io/elements.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "weir/frontend/io/checked.h"

namespace weir {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are read as they lie in memory");

constexpr FileElement kElements[] = {
    {"b1", "BOOL", 1, DType::kBool},    {"u1", "U8", 1, DType::kUint8},    {"i4", "I32", 4, DType::kInt32},
    {"i8", "I64", 8, DType::kInt64},    {"f4", "F32", 4, DType::kFloat32}, {"f8", "F64", 8, DType::kFloat64},
    {"f2", "F16", 2, DType::kFloat32},  {"", "BF16", 2, DType::kFloat32},  {"i1", "I8", 1, DType::kInt32},
    {"i2", "I16", 2, DType::kInt32},    {"u2", "U16", 2, DType::kInt32},   {"u4", "U32", 4, DType::kInt64},
    {"u8", "U64", 8, DType::kInt64}};

// Read in pieces of so many elements where they have to be converted.
constexpr int64_t kPiece = 1 << 15;

// IEEE 754 binary16: every value is one of float32's, payloads of NaN stay.
float FromHalf(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = half >> 10 & 31, mantissa = half & 0x3ffu;
  if (exponent == 0) return std::copysign(std::ldexp(static_cast<float>(mantissa), -24), std::bit_cast<float>(sign));
  const uint32_t widened = exponent == 31 ? 255 : exponent + 127 - 15;
  return std::bit_cast<float>(sign | widened << 23 | mantissa << 13);
}

// The upper half of a float32.
float FromBfloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

template <class From, class To, class Function>
void Convert(std::span<const std::byte> bytes, std::byte* destination, Function function) {
  for (size_t i = 0; i < bytes.size() / sizeof(From); ++i) {
    From from;
    std::memcpy(&from, bytes.data() + i * sizeof(From), sizeof(From));
    const To to = function(from);
    std::memcpy(destination + i * sizeof(To), &to, sizeof(To));
  }
}

template <class From, class To>
void Widen(std::span<const std::byte> bytes, std::byte* destination) {
  Convert<From, To>(bytes, destination, [](From value) { return static_cast<To>(value); });
}

// `first` is the number of the first element.
absl::Status ConvertPiece(const FileElement& element, std::span<const std::byte> bytes, int64_t first,
                          std::byte* destination) {
  if (element.safetensors == "F16") Convert<uint16_t, float>(bytes, destination, FromHalf);
  if (element.safetensors == "BF16") Convert<uint16_t, float>(bytes, destination, FromBfloat16);
  if (element.safetensors == "I8") Widen<int8_t, int32_t>(bytes, destination);
  if (element.safetensors == "I16") Widen<int16_t, int32_t>(bytes, destination);
  if (element.safetensors == "U16") Widen<uint16_t, int32_t>(bytes, destination);
  if (element.safetensors == "U32") Widen<uint32_t, int64_t>(bytes, destination);
  if (element.safetensors != "U64") return absl::OkStatus();
  for (size_t i = 0; i < bytes.size() / sizeof(uint64_t); ++i) {
    uint64_t value = 0;
    std::memcpy(&value, bytes.data() + i * sizeof(value), sizeof(value));
    if (value > static_cast<uint64_t>(INT64_MAX)) {
      return absl::OutOfRangeError(StrCat("element ", first + static_cast<int64_t>(i), " is ", value,
                                          ", more than an int64 holds (the file's type is uint64)"));
    }
  }
  std::memcpy(destination, bytes.data(), bytes.size());
  return absl::OkStatus();
}

void SwapBytes(std::byte* data, int64_t count, int64_t size) {
  for (int64_t i = 0; i < count; ++i) std::reverse(data + i * size, data + (i + 1) * size);
}

}  // namespace

std::span<const FileElement> FileElements() { return kElements; }

bool IsStoredAsIs(const FileElement& element) {
  return std::find_if(std::begin(kElements), std::end(kElements), [&](const FileElement& other) {
           return other.dtype == element.dtype;
         })->safetensors == element.safetensors;
}

absl::StatusOr<int64_t> BytesInFile(const FileElement& element, const Shape& shape) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(shape.size(), element.bytes, &bytes)) {
    return absl::OutOfRangeError(StrCat(shape, " of ", element.bytes, " bytes an element does not fit 63 bits"));
  }
  return bytes;
}

absl::Status ReadElements(const InputFile& file, int64_t offset, const FileElement& element, bool big_endian,
                          Tensor& tensor) {
  if (IsStoredAsIs(element)) {
    WEIR_RETURN_IF_ERROR(file.ReadAt(offset, {tensor.raw(), static_cast<size_t>(tensor.bytes())}));
    if (big_endian) SwapBytes(tensor.raw(), tensor.size(), element.bytes);
    return CheckBools(tensor);
  }
  std::vector<std::byte> piece(static_cast<size_t>(std::min(kPiece, tensor.size()) * element.bytes));
  for (int64_t first = 0; first < tensor.size(); first += kPiece) {
    const int64_t count = std::min(kPiece, tensor.size() - first);
    const std::span<std::byte> bytes = std::span(piece).first(static_cast<size_t>(count * element.bytes));
    WEIR_RETURN_IF_ERROR(file.ReadAt(offset + first * element.bytes, bytes));
    if (big_endian) SwapBytes(bytes.data(), count, element.bytes);
    WEIR_RETURN_IF_ERROR(ConvertPiece(element, bytes, first, tensor.raw() + first * SizeOf(tensor.dtype())));
  }
  return absl::OkStatus();
}

}  // namespace weir
