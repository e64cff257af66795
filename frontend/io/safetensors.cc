#include "weir/frontend/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>

#include "weir/frontend/io/checked.h"
#include "weir/frontend/io/checksum.h"
#include "weir/frontend/io/elements.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/io/json_text.h"

namespace weir {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are written as they lie in memory");

using Json = nlohmann::json;

constexpr int64_t kLengthBytes = 8;
// The limit of the format's own implementation.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
// A valid header nests three deep.
constexpr int kMaxJsonDepth = 64;
constexpr const char* kMetadataKey = "__metadata__";
constexpr const char* kHeaderChecksumKey = "header_checksum";
constexpr const char* kTensorChecksumsKey = "tensor_checksums";

// One tensor of a header: its type and its bytes [begin, end) of the data section. A type that is not known is
// an error where the tensor is wanted.
struct Entry {
  std::string name;
  absl::StatusOr<const FileElement*> element;
  Shape shape;
  int64_t begin = 0;
  int64_t end = 0;
};

struct ParsedHeader {
  Json json;
  std::vector<std::string> names;  // of the outermost object, in the text's order
};

// Parses with duplicate keys refused at every level (the parser alone would keep one of them).
absl::StatusOr<ParsedHeader> ParseHeader(const std::string& text) {
  if (const absl::Status sound = CheckJsonText(text, kMaxJsonDepth); !sound.ok()) {
    const char* const hint = absl::IsDataLoss(sound) ? "; it may be filled up with spaces only" : "";
    return absl::InvalidArgumentError(StrCat("header ", sound.message(), hint));
  }
  if (!text.starts_with('{')) return absl::InvalidArgumentError("header does not begin with '{'");
  ParsedHeader header;
  std::vector<std::set<std::string>> keys;
  absl::Status status;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        status = absl::InvalidArgumentError(StrCat("header has the name '", key, "' twice"));
      }
      if (keys.size() == 1) header.names.push_back(key);
    }
    return true;
  };
  try {
    header.json = Json::parse(text, watch);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(StrCat("header is no JSON: ", error.what()));
  }
  if (!status.ok()) return status;
  return header;
}

// A JSON array of non-negative integers below 2^63.
absl::StatusOr<std::vector<int64_t>> Integers(const Json& json, const std::string& name, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) {
    return absl::InvalidArgumentError(StrCat("tensor '", name, "': '", key, "' is no list"));
  }
  std::vector<int64_t> values;
  for (const Json& element : *found) {
    if (!element.is_number_unsigned() || element.get<uint64_t>() > uint64_t{INT64_MAX}) {
      return absl::InvalidArgumentError(StrCat("tensor '", name, "': '", key, "' has ", element.dump(-1, ' ', true),
                                               ", expected integers of 63 bits"));
    }
    values.push_back(static_cast<int64_t>(element.get<uint64_t>()));
  }
  return values;
}

absl::StatusOr<const FileElement*> FindElement(const std::string& type, const std::string& name) {
  std::vector<std::string_view> known;
  for (const FileElement& element : FileElements()) {
    if (type == element.safetensors) return &element;
    known.push_back(element.safetensors);
  }
  return absl::UnimplementedError(
      StrCat("tensor '", name, "': element type ", type, " is not supported; known: ", StrJoin(known, ", ")));
}

absl::StatusOr<Entry> ParseEntry(const std::string& name, const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError(StrCat("tensor '", name, "': its entry is no object"));
  const auto type = json.find("dtype");
  if (type == json.end() || !type->is_string()) {
    return absl::InvalidArgumentError(StrCat("tensor '", name, "': 'dtype' is no string"));
  }
  WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> dims, Integers(json, name, "shape"));
  WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> range, Integers(json, name, "data_offsets"));
  const absl::StatusOr<Shape> shape = CheckedShape(dims);
  if (!shape.ok()) {
    return absl::Status(shape.status().code(), StrCat("tensor '", name, "': ", shape.status().message()));
  }
  if (range.size() != 2 || range[0] > range[1]) {
    return absl::InvalidArgumentError(StrCat("tensor '", name, "': data_offsets [", StrJoin(range, ", "),
                                             "], expected [begin, end] with begin <= end"));
  }
  Entry entry{name, FindElement(type->get<std::string>(), name), *shape, range[0], range[1]};
  if (!entry.element.ok()) return entry;
  WEIR_ASSIGN_OR_RETURN(const int64_t bytes, BytesInFile(**entry.element, *shape));
  if (bytes != entry.end - entry.begin) {
    return absl::InvalidArgumentError(StrCat("tensor '", name, "': ", (*entry.element)->safetensors, " ",
                                             PythonTuple(*shape), " takes ", bytes, " bytes, its data_offsets span ",
                                             entry.end - entry.begin));
  }
  return entry;
}

absl::Status ParseMetadata(const Json& json, std::map<std::string, std::string>& metadata) {
  if (!json.is_object()) return absl::InvalidArgumentError("__metadata__ is no object");
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) return absl::InvalidArgumentError(StrCat("__metadata__ '", key, "' is no string"));
    metadata[key] = value.get<std::string>();
  }
  return absl::OkStatus();
}

// The ranges must follow each other from 0 to the end of the file.
absl::Status CheckRanges(const std::vector<Entry>& entries, int64_t data_bytes) {
  std::vector<const Entry*> ordered;
  for (const Entry& entry : entries) ordered.push_back(&entry);
  std::stable_sort(ordered.begin(), ordered.end(), [](const Entry* a, const Entry* b) {
    return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
  });
  int64_t at = 0;
  for (const Entry* entry : ordered) {
    if (entry->begin != at) {
      return absl::InvalidArgumentError(StrCat("tensor '", entry->name, "' begins at byte ", entry->begin,
                                               " of the data, expected ", at,
                                               entry->begin < at ? " (tensors overlap)" : " (a gap)"));
    }
    at = entry->end;
  }
  if (at != data_bytes) {
    return absl::DataLossError(StrCat("has ", data_bytes, " bytes of data, expected ", at));
  }
  return absl::OkStatus();
}

// Where the header has its own checksum: between the quotes. The raw sequence can't be part of a name, in which quotes
// are escaped.
size_t HeaderChecksumAt(const std::string& header) {
  const std::string before = StrCat('"', kHeaderChecksumKey, "\":\"");
  const size_t found = header.find(before);
  return found == std::string::npos || header.size() - found - before.size() < kChecksumDigits ? std::string::npos
                                                                                               : found + before.size();
}

std::string HeaderChecksum(std::string header, size_t at) {
  header.replace(at, kChecksumDigits, kChecksumDigits, '0');
  return ChecksumOf(header);
}

// Takes the checksums out of the metadata and compares the header's. Gives those of the tensors, one an entry, or none
// where the file has none. One changed bit may make a key another; that both are gone is no accident.
absl::StatusOr<std::optional<std::vector<std::string>>> TakeChecksums(const std::string& header, size_t entries,
                                                                      std::map<std::string, std::string>& metadata) {
  const auto of_header = metadata.find(kHeaderChecksumKey), of_tensors = metadata.find(kTensorChecksumsKey);
  if (of_header == metadata.end() && of_tensors == metadata.end()) return std::nullopt;
  const size_t at = HeaderChecksumAt(header);
  if (of_header == metadata.end() || of_tensors == metadata.end() || at == std::string::npos ||
      HeaderChecksum(header, at) != of_header->second) {
    return absl::DataLossError("the header is not as it was written: its checksum differs");
  }
  std::vector<std::string> sums;
  for (size_t i = 0; i < of_tensors->second.size(); i += kChecksumDigits + 1) {
    sums.push_back(of_tensors->second.substr(i, kChecksumDigits));
  }
  if (sums.size() != entries) {
    return absl::DataLossError(StrCat("has ", sums.size(), " checksums for ", entries, " tensors"));
  }
  metadata.erase(of_header);
  metadata.erase(kTensorChecksumsKey);
  return sums;
}

absl::StatusOr<SafetensorsFile> Read(const InputFile& file, const std::function<bool(const std::string&)>& wanted) {
  uint64_t header_bytes = 0;
  if (file.size() < kLengthBytes) {
    return absl::DataLossError(StrCat("has ", file.size(), " bytes, expected ", kLengthBytes, " at least"));
  }
  WEIR_RETURN_IF_ERROR(file.ReadAt(0, std::as_writable_bytes(std::span(&header_bytes, 1))));
  if (header_bytes > static_cast<uint64_t>(file.size() - kLengthBytes)) {
    return absl::DataLossError(StrCat("has ", file.size() - kLengthBytes, " bytes after the header's length, expected ",
                                      header_bytes, " for the header alone"));
  }
  if (header_bytes > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        StrCat("header of ", header_bytes, " bytes, at most ", kMaxHeaderBytes, " are allowed"));
  }
  std::string text(header_bytes, '\0');
  WEIR_RETURN_IF_ERROR(file.ReadAt(kLengthBytes, std::as_writable_bytes(std::span(text))));
  WEIR_ASSIGN_OR_RETURN(const ParsedHeader header, ParseHeader(text));

  SafetensorsFile result;
  std::vector<Entry> entries;
  for (const std::string& name : header.names) {
    const Json& value = header.json.at(name);
    if (name == kMetadataKey) {
      WEIR_RETURN_IF_ERROR(ParseMetadata(value, result.metadata));
      continue;
    }
    WEIR_ASSIGN_OR_RETURN(Entry entry, ParseEntry(name, value));
    entries.push_back(std::move(entry));
  }
  WEIR_ASSIGN_OR_RETURN(const std::optional<std::vector<std::string>> checksums,
                        TakeChecksums(text, entries.size(), result.metadata));
  result.has_checksums = checksums.has_value();
  const int64_t data_begin = kLengthBytes + static_cast<int64_t>(header_bytes);
  WEIR_RETURN_IF_ERROR(CheckRanges(entries, file.size() - data_begin));
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    if (wanted && !wanted(entry.name)) continue;
    WEIR_ASSIGN_OR_RETURN(const FileElement* element, entry.element);
    WEIR_ASSIGN_OR_RETURN(Tensor tensor, CheckedTensor({element->dtype, entry.shape}));
    const absl::Status read = ReadElements(file, data_begin + entry.begin, *element, /*big_endian=*/false, tensor);
    if (!read.ok()) return absl::Status(read.code(), StrCat("tensor '", entry.name, "': ", read.message()));
    if (checksums && ChecksumOf({tensor.raw(), static_cast<size_t>(tensor.bytes())}) != (*checksums)[i]) {
      return absl::DataLossError(StrCat("tensor '", entry.name, "' is not as it was written: its checksum differs"));
    }
    result.tensors.emplace_back(entry.name, std::move(tensor));
  }
  return result;
}

std::string_view TypeNameOf(const std::string& name, const Tensor& tensor) {
  if (!tensor.defined()) ThrowInvalidArgument("SaveSafetensors: tensor '", name, "' holds nothing");
  for (const FileElement& element : FileElements()) {
    if (element.dtype == tensor.dtype() && IsStoredAsIs(element)) return element.safetensors;
  }
  ThrowInvalidArgument("SaveSafetensors: tensor '", name, "' is ", tensor.type(), ", a type the format has not");
}

}  // namespace

const Tensor* SafetensorsFile::Find(const std::string& name) const {
  for (const auto& [key, tensor] : tensors) {
    if (key == name) return &tensor;
  }
  return nullptr;
}

namespace {

// The metadata with the tensors' checksums, and room for the header's own.
std::map<std::string, std::string> WithChecksums(std::map<std::string, std::string> metadata,
                                                 const NamedTensors& tensors) {
  for (const char* key : {kHeaderChecksumKey, kTensorChecksumsKey}) {
    if (metadata.contains(key)) ThrowInvalidArgument("SaveSafetensors: the metadata key '", key, "' is reserved");
  }
  std::vector<std::string> sums;
  for (const auto& [name, tensor] : tensors) {
    sums.push_back(ChecksumOf({tensor.raw(), static_cast<size_t>(tensor.bytes())}));
  }
  metadata[kHeaderChecksumKey] = std::string(kChecksumDigits, '0');
  metadata[kTensorChecksumsKey] = StrJoin(sums, " ");
  return metadata;
}

}  // namespace

absl::Status SaveSafetensors(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata,
                             const std::string& path) {
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    TypeNameOf(name, tensor);
    if (name == kMetadataKey) ThrowInvalidArgument("SaveSafetensors: the name '", name, "' is reserved");
    if (!names.insert(name).second) ThrowInvalidArgument("SaveSafetensors: two tensors are named '", name, "'");
  }
  // Wide types first in the data, so that each tensor is aligned to its elements; the header keeps the given order.
  std::vector<size_t> layout(tensors.size());
  std::iota(layout.begin(), layout.end(), size_t{0});
  std::stable_sort(layout.begin(), layout.end(), [&](size_t a, size_t b) {
    return SizeOf(tensors[a].second.dtype()) > SizeOf(tensors[b].second.dtype());
  });
  std::vector<int64_t> begins(tensors.size());
  int64_t at = 0;
  for (size_t i : layout) {
    begins[i] = at;
    at += tensors[i].second.bytes();
  }

  std::string header;
  try {
    std::vector<std::string> members;
    members.push_back(StrCat('"', kMetadataKey, "\":", Json(WithChecksums(metadata, tensors)).dump()));
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto& [name, tensor] = tensors[i];
      members.push_back(StrCat(Json(name).dump(), ":{\"dtype\":\"", TypeNameOf(name, tensor), "\",\"shape\":[",
                               StrJoin(tensor.shape(), ","), "],\"data_offsets\":[", begins[i], ",",
                               begins[i] + tensor.bytes(), "]}"));
    }
    header = StrCat("{", StrJoin(members, ","), "}");
  } catch (const Json::exception& error) {
    ThrowInvalidArgument("SaveSafetensors: a name or metadata is not UTF-8: ", error.what());
  }
  header.append((8 - header.size() % 8) % 8, ' ');
  if (const size_t at_checksum = HeaderChecksumAt(header); at_checksum != std::string::npos) {
    header.replace(at_checksum, kChecksumDigits, HeaderChecksum(header, at_checksum));
  }
  const uint64_t header_bytes = header.size();
  std::string length(sizeof(header_bytes), '\0');
  std::memcpy(length.data(), &header_bytes, sizeof(header_bytes));
  std::vector<std::string_view> parts = {length, header};
  for (size_t i : layout) {
    const Tensor& tensor = tensors[i].second;
    parts.emplace_back(reinterpret_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.bytes()));
  }
  return WriteFileAtomically(path, parts);
}

absl::StatusOr<SafetensorsFile> LoadSafetensors(const std::string& path,
                                                const std::function<bool(const std::string& name)>& wanted) {
  WEIR_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  return LoadSafetensors(file, wanted);
}

absl::StatusOr<SafetensorsFile> LoadSafetensors(const InputFile& file,
                                                const std::function<bool(const std::string& name)>& wanted) {
  absl::StatusOr<SafetensorsFile> result = Read(file, wanted);
  if (!result.ok() && result.status().message().find(file.path()) == absl::string_view::npos) {
    return absl::Status(result.status().code(), StrCat(file.path(), ": ", result.status().message()));
  }
  return result;
}

}  // namespace weir
