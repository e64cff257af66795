#include "weir/frontend/io/npy.h"

#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "weir/frontend/io/checked.h"
#include "weir/frontend/io/elements.h"
#include "weir/frontend/io/file.h"

namespace weir {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are written as they lie in memory");

constexpr std::string_view kMagic("\x93NUMPY", 6);
// NumPy itself writes at most a few hundred bytes for a plain array.
constexpr int64_t kMaxHeaderBytes = 1 << 20;
// NumPy aligns the data to this, so that it can be mapped.
constexpr size_t kDataAlignment = 64;

struct Header {
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;
};

// Reads the Python dictionary of a header: "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }". No
// recursion: nothing in it is nested but the tuple of the shape.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  absl::StatusOr<Header> Parse() {
    Header header;
    if (!Take('{')) return Malformed("'{'");
    while (!Take('}')) {
      std::string key;
      if (!TakeString(key)) return Malformed("a key in quotes");
      if (!Take(':')) return Malformed("':'");
      WEIR_RETURN_IF_ERROR(ParseValue(key, header));
      if (!Take(',') && Peek() != '}') return Malformed("',' or '}'");
    }
    if (Peek() != '\0') return Malformed("the end of the header");
    if (!header.descr || !header.fortran_order || !header.shape) {
      return absl::InvalidArgumentError("npy header lacks 'descr', 'fortran_order' or 'shape'");
    }
    return header;
  }

 private:
  absl::Status ParseValue(const std::string& key, Header& header) {
    if (key == "descr") {
      if (header.descr) return Twice(key);
      if (Peek() == '[') return absl::UnimplementedError("npy array of records (structured dtype)");
      header.descr.emplace();
      return TakeString(*header.descr) ? absl::OkStatus() : Malformed("an element type in quotes");
    }
    if (key == "fortran_order") {
      if (header.fortran_order) return Twice(key);
      header.fortran_order = TakeWord("True");
      return *header.fortran_order || TakeWord("False") ? absl::OkStatus() : Malformed("True or False");
    }
    if (key == "shape") {
      if (header.shape) return Twice(key);
      return TakeTuple(header.shape.emplace());
    }
    return absl::InvalidArgumentError(StrCat("npy header has the unknown key '", key, "'"));
  }

  absl::Status TakeTuple(std::vector<int64_t>& dims) {
    if (!Take('(')) return Malformed("'('");
    while (!Take(')')) {
      SkipBlanks();
      int64_t dim = 0;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), dim);
      if (error == std::errc::result_out_of_range) {
        return absl::OutOfRangeError("npy header: a dimension does not fit 63 bits");
      }
      if (error != std::errc()) return Malformed("a dimension");
      at_ = static_cast<size_t>(end - text_.data());
      Take('L');  // long integers of Python 2
      dims.push_back(dim);
      if (dims.size() > kMaxFileRank) {
        return absl::InvalidArgumentError(StrCat("npy header: more than ", kMaxFileRank, " dimensions"));
      }
      if (!Take(',') && Peek() != ')') return Malformed("',' or ')'");
    }
    return absl::OkStatus();
  }

  void SkipBlanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  char Peek() {
    SkipBlanks();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool Take(char c) {
    if (Peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }
  bool TakeWord(std::string_view word) {
    SkipBlanks();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  bool TakeString(std::string& value) {
    const char quote = Peek();
    if (quote != '\'' && quote != '"') return false;
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) return false;
    value = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return true;
  }
  absl::Status Malformed(std::string_view expected) {
    return absl::InvalidArgumentError(StrCat("npy header: expected ", expected, " at byte ", at_));
  }
  static absl::Status Twice(const std::string& key) {
    return absl::InvalidArgumentError(StrCat("npy header has '", key, "' twice"));
  }

  std::string_view text_;
  size_t at_ = 0;
};

struct ElementType {
  const FileElement* element = nullptr;
  bool big_endian = false;
};

// Byte order, kind and size: "<f4". '=' and nothing are the order of the machine, '|' is for bytes, which have none.
absl::StatusOr<ElementType> TypeOfDescr(const std::string& descr) {
  const bool has_order = !descr.empty() && std::string_view("<>=|").find(descr[0]) != std::string_view::npos;
  const std::string_view code = std::string_view(descr).substr(has_order ? 1 : 0);
  std::vector<std::string_view> known;
  for (const FileElement& element : FileElements()) {
    if (element.numpy.empty()) continue;
    known.push_back(element.numpy);
    if (code == element.numpy && (descr[0] != '|' || element.bytes == 1)) return ElementType{&element, descr[0] == '>'};
  }
  const char* hint = descr.find('O') != std::string::npos ? " (objects)" : "";
  return absl::UnimplementedError(StrCat("npy element type '", descr, "'", hint, " is not supported; known, in both byte orders: ",
                                         StrJoin(known, ", ")));
}

// Where the dictionary lies in the file, checked against the file's size.
struct HeaderPlace {
  int64_t begin = 0;
  int64_t size = 0;
};

absl::StatusOr<HeaderPlace> FindHeader(const InputFile& file) {
  std::byte start[12] = {};
  const int64_t have = std::min<int64_t>(file.size(), sizeof(start));
  WEIR_RETURN_IF_ERROR(file.ReadAt(0, std::span(start).first(static_cast<size_t>(have))));
  const auto byte = [&](int i) { return std::to_integer<int64_t>(start[i]); };
  if (std::memcmp(start, kMagic.data(), std::min<size_t>(kMagic.size(), static_cast<size_t>(have))) != 0) {
    return absl::InvalidArgumentError(StrCat(file.path(), ": is no .npy file (does not begin with \\x93NUMPY)"));
  }
  if (have < 10) return absl::DataLossError(StrCat(file.path(), ": ends after ", have, " bytes, expected 10 at least"));
  const int64_t version = byte(6);
  if (version < 1 || version > 3) {
    return absl::UnimplementedError(StrCat(file.path(), ": npy version ", version, ".", byte(7), ", expected 1 to 3"));
  }
  HeaderPlace place{10, byte(8) | byte(9) << 8};
  if (version > 1) {
    if (have < 12)
      return absl::DataLossError(StrCat(file.path(), ": ends after ", have, " bytes, expected 12 at least"));
    place = {12, place.size | byte(10) << 16 | byte(11) << 24};
  }
  if (place.size > file.size() - place.begin) {
    return absl::DataLossError(StrCat(file.path(), ": has ", file.size(), " bytes, expected ", place.begin + place.size,
                                      " for the header alone"));
  }
  if (place.size > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        StrCat(file.path(), ": npy header of ", place.size, " bytes, at most ", kMaxHeaderBytes, " are allowed"));
  }
  return place;
}

// `tensor` holds Fortran order of its shape (the first index runs fastest); the result is C order.
Tensor FromFortranOrder(const Tensor& tensor, Tensor result) {
  const int rank = tensor.shape().rank();
  const auto element = static_cast<size_t>(SizeOf(tensor.dtype()));
  Dims strides(rank);
  int64_t stride = 1;
  for (int axis = 0; axis < rank; ++axis) {
    strides[axis] = stride;
    stride *= tensor.shape()[axis];
  }
  Dims index(rank, 0);
  int64_t source = 0;
  for (int64_t i = 0; i < result.size(); ++i) {
    std::memcpy(result.raw() + i * static_cast<int64_t>(element), tensor.raw() + source * static_cast<int64_t>(element),
                element);
    for (int axis = rank - 1; axis >= 0; --axis) {
      source += strides[axis];
      if (++index[axis] < tensor.shape()[axis]) break;
      source -= strides[axis] * tensor.shape()[axis];
      index[axis] = 0;
    }
  }
  return result;
}

absl::StatusOr<Tensor> ReadArray(const InputFile& file, const HeaderPlace& place) {
  std::string text(static_cast<size_t>(place.size), '\0');
  WEIR_RETURN_IF_ERROR(file.ReadAt(place.begin, std::as_writable_bytes(std::span(text))));
  WEIR_ASSIGN_OR_RETURN(const Header header, HeaderParser(text).Parse());
  WEIR_ASSIGN_OR_RETURN(const ElementType type, TypeOfDescr(*header.descr));
  WEIR_ASSIGN_OR_RETURN(const Shape shape, CheckedShape(*header.shape));
  const TensorType result_type{type.element->dtype, shape};
  WEIR_ASSIGN_OR_RETURN(const int64_t bytes, BytesInFile(*type.element, shape));
  const int64_t data_begin = place.begin + place.size;
  if (bytes != file.size() - data_begin) {
    return absl::DataLossError(StrCat("has ", file.size() - data_begin, " bytes of elements, expected ", bytes, " for '",
                                      *header.descr, "' ", PythonTuple(shape)));
  }
  WEIR_ASSIGN_OR_RETURN(Tensor tensor, CheckedTensor(result_type));
  WEIR_RETURN_IF_ERROR(ReadElements(file, data_begin, *type.element, type.big_endian, tensor));
  if (*header.fortran_order && shape.rank() > 1) {
    WEIR_ASSIGN_OR_RETURN(Tensor result, CheckedTensor(result_type));
    return FromFortranOrder(tensor, std::move(result));
  }
  return tensor;
}

}  // namespace

absl::Status SaveNpy(const Tensor& tensor, const std::string& path) {
  if (!tensor.defined()) ThrowInvalidArgument("SaveNpy: the tensor holds nothing (", path, ")");
  std::string code;
  for (const FileElement& element : FileElements()) {
    if (element.dtype != tensor.dtype() || !IsStoredAsIs(element)) continue;
    code = StrCat(element.bytes == 1 ? '|' : '<', element.numpy);
  }
  if (code.empty()) ThrowInvalidArgument("SaveNpy: ", tensor.type(), " can't be written (", path, ")");
  std::string header =
      StrCat("{'descr': '", code, "', 'fortran_order': False, 'shape': ", PythonTuple(tensor.shape()), ", }");
  const size_t prefix = kMagic.size() + 4;
  header.append(kDataAlignment - (prefix + header.size() + 1) % kDataAlignment, ' ');
  header.push_back('\n');
  WEIR_CHECK(header.size() < 65536, "npy header of ", header.size(), " bytes");
  const std::string start = StrCat(kMagic, '\x01', '\0', static_cast<char>(header.size() & 255),
                                   static_cast<char>(header.size() >> 8), header);
  const std::string_view parts[] = {start,
                                    {reinterpret_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.bytes())}};
  return WriteFileAtomically(path, parts);
}

absl::StatusOr<Tensor> LoadNpy(const std::string& path) {
  WEIR_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  WEIR_ASSIGN_OR_RETURN(const HeaderPlace place, FindHeader(file));
  absl::StatusOr<Tensor> tensor = ReadArray(file, place);
  if (!tensor.ok() && tensor.status().message().find(path) == absl::string_view::npos) {
    return absl::Status(tensor.status().code(), StrCat(path, ": ", tensor.status().message()));
  }
  return tensor;
}

}  // namespace weir
