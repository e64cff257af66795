// Checksums of a file, for comparing a download with what is published. MD5 is no protection against forgery. Private
// to the data library.
#ifndef WEIR_FRONTEND_DATA_CHECKSUM_H_
#define WEIR_FRONTEND_DATA_CHECKSUM_H_

#include <string>

#include "weir/core/error.h"

namespace weir {

// 32 lower-case hexadecimal digits.
absl::StatusOr<std::string> Md5OfFile(const std::string& path);

// 64 of them.
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

}  // namespace weir

#endif  // WEIR_FRONTEND_DATA_CHECKSUM_H_
