// The safetensors format: named tensors and string metadata in one file; nothing in it is code. Layout: 8 bytes
// header length, a JSON header, then the elements, little-endian, without gaps.
#ifndef WEIR_FRONTEND_IO_SAFETENSORS_H_
#define WEIR_FRONTEND_IO_SAFETENSORS_H_

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/tensor.h"
#include "weir/frontend/io/file.h"

namespace weir {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

struct SafetensorsFile {
  NamedTensors tensors;  // in the header's order, which is the order they were saved in
  std::map<std::string, std::string> metadata;  // without the checksums
  bool has_checksums = false;                   // files of others, and of earlier versions, have none

  // The tensor of that name, or nullptr.
  const Tensor* Find(const std::string& name) const;
};

// Writes the tensors (float32, float64, int32, int64, uint8, bool), atomically. Checksums are part of the metadata: one
// of the header ("header_checksum", computed with zeros in its own place) and one of each tensor in the header's order
// ("tensor_checksums"); whoever writes such a file anew with other contents leaves both out. Throws Error for a tensor that holds
// nothing or has another type, a name given twice, the reserved name "__metadata__" and names that are not UTF-8.
absl::Status SaveSafetensors(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata,
                             const std::string& path);

// Reads all tensors: F32, F64, I32, I64, U8 and BOOL as they are, F16 and BF16 as float32, I8, I16 and U16 as int32,
// U32 and U64 as int64 (kOutOfRange for a value beyond). Everything is checked before a tensor is allocated: header length against the file, nesting of
// the JSON, names (unique), types, shapes (product fits, agrees with the byte range) and ranges (adjacent, covering
// the rest of the file exactly). kDataLoss with expected and found size for a file that is cut or too long,
// kInvalidArgument for a malformed header, kUnimplemented for an unknown element type. With `wanted`, only tensors
// whose names it takes are read and in the result; ranges of all are checked, types of others may be unknown.
// Where the file has checksums, those of the header and of all tensors that are read are checked too: kDataLoss names
// what changed.
absl::StatusOr<SafetensorsFile> LoadSafetensors(const std::string& path,
                                                const std::function<bool(const std::string& name)>& wanted = {});
// Likewise from a file that is open already.
absl::StatusOr<SafetensorsFile> LoadSafetensors(const InputFile& file,
                                                const std::function<bool(const std::string& name)>& wanted = {});

}  // namespace weir

#endif  // WEIR_FRONTEND_IO_SAFETENSORS_H_
