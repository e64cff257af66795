// MD5 of a file, for comparing a download with its published checksum; no protection against forgery. Private to the
// data library.
#ifndef WEIR_FRONTEND_DATA_CHECKSUM_H_
#define WEIR_FRONTEND_DATA_CHECKSUM_H_

#include <string>

#include "weir/core/error.h"

namespace weir {

// 32 lower-case hexadecimal digits.
absl::StatusOr<std::string> Md5OfFile(const std::string& path);

}  // namespace weir

#endif  // WEIR_FRONTEND_DATA_CHECKSUM_H_
