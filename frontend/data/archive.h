// Members of a tar archive (plain or compressed), for an archive that is not trusted. Private to the data library.
#ifndef WEIR_FRONTEND_DATA_ARCHIVE_H_
#define WEIR_FRONTEND_DATA_ARCHIVE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "weir/core/error.h"

namespace weir {

struct ArchiveLimits {
  int64_t total_bytes = int64_t{1} << 28;  // of all members together, unpacked
  int64_t members = 100;
};

// What to do with a member: `wanted` gives the most bytes it may have, or -1 to skip it; `data` receives its bytes in
// order, a piece at a time.
struct ArchiveVisitor {
  std::function<absl::StatusOr<int64_t>(const std::string& name)> wanted;
  std::function<absl::Status(const std::string& name, std::string_view piece)> data;
};

// Walks through the regular files of the archive at `path`; nothing is written by this function. Names are relative
// and without "..": an archive that has others, or links, devices or more than the limits, is refused
// (kInvalidArgument, kResourceExhausted); one that is cut or not an archive gives kDataLoss.
absl::Status ReadArchive(const std::string& path, const ArchiveLimits& limits, const ArchiveVisitor& visitor);

}  // namespace weir

#endif  // WEIR_FRONTEND_DATA_ARCHIVE_H_
