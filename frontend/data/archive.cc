#include "weir/frontend/data/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <filesystem>
#include <memory>

namespace weir {
namespace {

using Reader = std::unique_ptr<::archive, int (*)(::archive*)>;

absl::Status ReadFault(const std::string& path, ::archive* reader) {
  const char* reason = archive_error_string(reader);
  return absl::DataLossError(StrCat(path, ": unpacking failed: ", reason == nullptr ? "no archive" : reason));
}

// Whether a member of this name, unpacked below a folder, stays there.
bool IsSafeName(const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos) return false;
  const std::filesystem::path path(name);
  if (path.is_absolute()) return false;
  for (const auto& element : path) {
    if (element == "..") return false;
  }
  return true;
}

absl::Status ReadMember(const std::string& path, ::archive* reader, const std::string& name, int64_t limit,
                        int64_t& total, const ArchiveVisitor& visitor) {
  int64_t size = 0;
  while (true) {
    const void* data = nullptr;
    size_t count = 0;
    la_int64_t offset = 0;
    const int code = archive_read_data_block(reader, &data, &count, &offset);
    if (code == ARCHIVE_EOF) return absl::OkStatus();
    if (code != ARCHIVE_OK) return ReadFault(path, reader);
    // Blocks of a sparse member leave holes; none of the files expected has any.
    if (offset != size) return absl::InvalidArgumentError(StrCat(path, ": member ", name, " has holes"));
    size += static_cast<int64_t>(count);
    total += static_cast<int64_t>(count);
    if (size > limit) {
      return absl::ResourceExhaustedError(StrCat(path, ": member ", name, " has more than ", limit, " bytes"));
    }
    WEIR_RETURN_IF_ERROR(visitor.data(name, {static_cast<const char*>(data), count}));
  }
}

}  // namespace

absl::Status ReadArchive(const std::string& path, const ArchiveLimits& limits, const ArchiveVisitor& visitor) {
  const Reader reader(archive_read_new(), &archive_read_free);
  if (reader == nullptr) return absl::ResourceExhaustedError("no memory to unpack an archive");
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_bzip2(reader.get());
  archive_read_support_filter_xz(reader.get());
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_filename(reader.get(), path.c_str(), size_t{1} << 18) != ARCHIVE_OK) {
    return ReadFault(path, reader.get());
  }
  int64_t total = 0;
  for (int64_t members = 0;; ++members) {
    archive_entry* entry = nullptr;
    const int code = archive_read_next_header(reader.get(), &entry);
    if (code == ARCHIVE_EOF) return absl::OkStatus();
    if (code != ARCHIVE_OK) return ReadFault(path, reader.get());
    const char* raw_name = archive_entry_pathname(entry);
    const std::string name = raw_name == nullptr ? "" : raw_name;
    if (members >= limits.members) {
      return absl::ResourceExhaustedError(StrCat(path, ": has more than ", limits.members, " members"));
    }
    if (!IsSafeName(name)) {
      return absl::InvalidArgumentError(
          StrCat(path, ": member '", name, "' points out of the folder; nothing unpacked"));
    }
    const bool is_link = archive_entry_hardlink(entry) != nullptr || archive_entry_symlink(entry) != nullptr;
    const auto kind = archive_entry_filetype(entry);
    if (is_link || (kind != AE_IFREG && kind != AE_IFDIR)) {
      return absl::InvalidArgumentError(
          StrCat(path, ": member '", name, "' is a ", is_link ? "link" : "special file", "; nothing unpacked"));
    }
    if (kind == AE_IFDIR) continue;
    // Checked before the data, which a skipped member would be unpacked for as well.
    const int64_t declared = archive_entry_size(entry);
    if (declared < 0 || declared > limits.total_bytes - total) {
      return absl::ResourceExhaustedError(StrCat(path, ": unpacks to more than ", limits.total_bytes, " bytes"));
    }
    WEIR_ASSIGN_OR_RETURN(const int64_t limit, visitor.wanted(name));
    if (limit < 0) {
      total += declared;
      continue;
    }
    WEIR_RETURN_IF_ERROR(ReadMember(path, reader.get(), name, limit, total, visitor));
  }
}

}  // namespace weir
