#include "weir/frontend/data/archive.h"
#include "weir/frontend/data/checksum.h"
#include "weir/frontend/data/cifar10.h"
#include "weir/tests/fuzz/scratch.h"
#include "weir/tests/fuzz/targets.h"

namespace weir::fuzz {

bool Archive(std::string_view bytes) {
  static const Scratch scratch;
  constexpr int64_t kMemberBytes = 1 << 16, kTotalBytes = 1 << 20;
  const std::string path = scratch.Write("x.tar.gz", bytes);
  int64_t member = 0, total = 0;
  const absl::Status read = ReadArchive(path, {.total_bytes = kTotalBytes, .members = 50},
                                        {.wanted = [&](const std::string& name) -> absl::StatusOr<int64_t> {
                                           Require(!name.empty() && name[0] != '/', "names are relative");
                                           member = 0;
                                           return name.size() % 4 == 0 ? -1 : kMemberBytes;
                                         },
                                         .data =
                                             [&](const std::string&, std::string_view piece) {
                                               member += static_cast<int64_t>(piece.size());
                                               total += static_cast<int64_t>(piece.size());
                                               Require(member <= kMemberBytes, "a member keeps to its limit");
                                               Require(total <= kTotalBytes + kMemberBytes, "members keep to theirs");
                                               return absl::OkStatus();
                                             }});
  // The checksum is that of these bytes, so that they are looked at.
  const auto data = datasets::LoadCifar10({.folder = path,
                                           .archive_bytes = static_cast<int64_t>(bytes.size()),
                                           .archive_md5 = *Md5OfFile(path),
                                           .archive_sha256 = {},
                                           .show_progress = false});
  Require(!data.ok(), "six files of 30 MB are not in so few bytes");
  return read.ok();
}

}  // namespace weir::fuzz
