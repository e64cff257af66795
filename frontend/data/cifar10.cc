#include "weir/frontend/data/cifar10.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <vector>

#include "weir/frontend/data/archive.h"
#include "weir/frontend/data/download.h"
#include "weir/frontend/io/file.h"

namespace weir::datasets {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSide = 32;
constexpr int64_t kPixels = kSide * kSide;
constexpr int64_t kChannels = 3;
constexpr int64_t kRecordBytes = 1 + kPixels * kChannels;  // label, then the planes
constexpr int64_t kRecords = 10'000;                       // a file
constexpr int64_t kFileBytes = kRecords * kRecordBytes;
constexpr int kLabels = 10;
constexpr int kTrainFiles = 5;
constexpr const char* kFiles[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                  "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};
constexpr const char* kNamesFile = "batches.meta.txt";
constexpr int64_t kMaxNamesBytes = 64 << 10;
constexpr const char* kFolder = "cifar-10-batches-bin";
constexpr const char* kPythonFolder = "cifar-10-batches-py";
constexpr const char* kArchive = "cifar-10-binary.tar.gz";

// Contents of the six files by name: how an archive is read that is not unpacked to the disk.
using Batches = std::map<std::string, std::string>;

bool IsFile(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}
bool IsFolder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

absl::Status PythonVersion(const fs::path& path) {
  return absl::FailedPreconditionError(StrCat(path.string(),
                                              ": is the Python version of CIFAR-10 (pickles); the binary version (",
                                              kArchive, ", ", kFolder, ") is needed"));
}

absl::Status NotFound(const std::string& looked_in) {
  return absl::NotFoundError(StrCat("CIFAR-10 not found: looked in ", looked_in));
}

// The place below `path` that holds the data: the folder of the .bin files or the archive.
absl::StatusOr<fs::path> Locate(const fs::path& path) {
  if (IsFile(path)) return path;
  if (!IsFolder(path)) return NotFound(StrCat(path.string(), " (does not exist)"));
  for (const fs::path& folder : {path, path / kFolder, path / kFolder / kFolder}) {
    for (const char* file : kFiles) {
      if (IsFile(folder / file)) return folder;
    }
  }
  for (const fs::path& folder : {path, path / kPythonFolder}) {
    if (IsFile(folder / "data_batch_1") || IsFile(folder / "test_batch")) return PythonVersion(folder);
  }
  if (IsFile(path / kArchive)) return path / kArchive;
  return NotFound(StrCat(path.string(), " (neither ", kFiles[0], " nor ", kFolder, " nor ", kArchive, " there)"));
}

// The six files' presence and sizes.
absl::Status CheckFiles(const fs::path& folder) {
  for (const char* file : kFiles) {
    const fs::path path = folder / file;
    std::error_code error;
    const auto size = static_cast<int64_t>(fs::file_size(path, error));
    if (error)
      return absl::NotFoundError(StrCat(path.string(), ": not found, though other files of CIFAR-10 are there"));
    if (size < kFileBytes) {
      return absl::DataLossError(StrCat(path.string(), ": incomplete (", size, " of ", kFileBytes, " bytes)"));
    }
    if (size > kFileBytes) {
      return absl::DataLossError(StrCat(path.string(), ": too long (", size, " bytes, expected ", kFileBytes, ")"));
    }
  }
  return absl::OkStatus();
}

// A member's file name if it is one of the seven expected, else "". The Python version's members are an error.
absl::StatusOr<std::string> ExpectedMember(const fs::path& archive, const std::string& member) {
  const fs::path path = fs::path(member).lexically_normal();
  if (path.has_parent_path() && path.parent_path() == kPythonFolder) return PythonVersion(archive);
  if (path.has_parent_path() && path.parent_path() != kFolder) return "";
  const std::string name = path.filename().string();
  for (const char* file : kFiles) {
    if (name == file) return name;
  }
  return name == kNamesFile ? name : "";
}

int64_t MemberLimit(const std::string& name) {
  if (name.empty()) return -1;
  return name == kNamesFile ? kMaxNamesBytes : kFileBytes;
}

// Verifies the archive and unpacks its files into memory.
absl::StatusOr<Batches> ReadBatches(const fs::path& archive, const Cifar10Options& options) {
  // The common mistake is told apart by the archive's own contents, so those are looked at before its checksum.
  Batches batches;
  const absl::Status verified = VerifyFile(archive.string(), options.archive_bytes, options.archive_md5, options.archive_sha256);
  const absl::Status read =
      ReadArchive(archive.string(), {},
                  {.wanted = [&](const std::string& member) -> absl::StatusOr<int64_t> {
                     WEIR_ASSIGN_OR_RETURN(const std::string name, ExpectedMember(archive, member));
                     if (!verified.ok()) return -1;
                     if (!name.empty() && !batches.emplace(name, "").second) {
                       return absl::InvalidArgumentError(StrCat(archive.string(), ": has ", name, " twice"));
                     }
                     return MemberLimit(name);
                   },
                   .data =
                       [&](const std::string& member, std::string_view piece) {
                         batches[fs::path(member).filename().string()].append(piece);
                         return absl::OkStatus();
                       }});
  if (read.code() == absl::StatusCode::kFailedPrecondition) return read;
  WEIR_RETURN_IF_ERROR(verified);
  WEIR_RETURN_IF_ERROR(read);
  for (const char* file : kFiles) {
    const auto found = batches.find(file);
    if (found == batches.end()) return absl::NotFoundError(StrCat(archive.string(), ": has no ", file));
    const auto size = static_cast<int64_t>(found->second.size());
    if (size != kFileBytes) {
      return absl::DataLossError(
          StrCat(archive.string(), ": ", file, " incomplete (", size, " of ", kFileBytes, " bytes)"));
    }
  }
  return batches;
}

// Unpacks a verified archive into `folder`, by way of a temporary folder beside it.
absl::Status Unpack(const fs::path& archive, const fs::path& folder) {
  const fs::path temporary = StrCat(folder.string(), ".tmp-", ::getpid());
  std::error_code error;
  fs::remove_all(temporary, error);
  WEIR_RETURN_IF_ERROR(EnsureDirectory(temporary.string()));
  std::ofstream out;
  absl::Status status =
      ReadArchive(archive.string(), {},
                  {.wanted = [&](const std::string& member) -> absl::StatusOr<int64_t> {
                     WEIR_ASSIGN_OR_RETURN(const std::string name, ExpectedMember(archive, member));
                     if (name.empty()) return -1;
                     if (fs::exists(temporary / name)) {
                       return absl::InvalidArgumentError(StrCat(archive.string(), ": has ", name, " twice"));
                     }
                     out.close();
                     out.clear();
                     out.open(temporary / name, std::ios::binary);
                     return MemberLimit(name);
                   },
                   .data =
                       [&](const std::string& member, std::string_view piece) {
                         errno = 0;
                         if (!out.write(piece.data(), static_cast<std::streamsize>(piece.size())).flush()) {
                           return ErrnoStatus(errno != 0 ? errno : EIO,
                                              (temporary / fs::path(member).filename()).string(), "write failed");
                         }
                         return absl::OkStatus();
                       }});
  out.close();
  if (status.ok()) status = CheckFiles(temporary);
  if (status.ok()) {
    fs::remove_all(folder, error);
    fs::rename(temporary, folder, error);
    if (error) status = ErrnoStatus(error.value(), folder.string(), "rename failed");
  }
  if (!status.ok()) fs::remove_all(temporary, error);
  return status;
}

absl::StatusOr<fs::path> CacheFolder(const Cifar10Options& options) {
  if (!options.cache_folder.empty()) return fs::path(options.cache_folder);
  // The specification has relative paths ignored.
  if (const char* cache = secure_getenv("XDG_CACHE_HOME"); cache != nullptr && cache[0] == '/') {
    return fs::path(cache) / "weir";
  }
  if (const char* home = secure_getenv("HOME"); home != nullptr && home[0] == '/') return fs::path(home) / ".cache/weir";
  return NotFound("no folder: none was given, and neither WEIR_CIFAR10, XDG_CACHE_HOME nor HOME is set");
}

// Keeps other processes from downloading into the same folder while it lives.
class FolderLock {
 public:
  static absl::StatusOr<FolderLock> Take(const fs::path& folder) {
    const std::string path = (folder / "cifar-10.lock").string();
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return ErrnoStatus(errno, path, "open for writing failed");
    FolderLock lock(fd);
    while (::flock(fd, LOCK_EX) != 0) {
      if (errno != EINTR) return ErrnoStatus(errno, path, "locking failed");
    }
    return lock;
  }
  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

// The folder in the cache, made by a download if it is not whole there.
absl::StatusOr<fs::path> FetchIntoCache(const fs::path& cache, const Cifar10Options& options) {
  const fs::path folder = cache / kFolder;
  if (CheckFiles(folder).ok()) return folder;
  if (!options.download) {
    if (IsFolder(folder)) WEIR_RETURN_IF_ERROR(CheckFiles(folder));
    return NotFound(StrCat(folder.string(), " (downloading is turned off)"));
  }
  const auto with_place = [&](const absl::Status& status) {
    return absl::Status(status.code(), StrCat("CIFAR-10 not found: looked in ", folder.string(),
                                              "; fetching it failed: ", status.message()));
  };
  if (const absl::Status made = EnsureDirectory(cache.string()); !made.ok()) return with_place(made);
  WEIR_ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::Take(cache));
  if (CheckFiles(folder).ok()) return folder;  // another process was faster
  const fs::path archive = cache / kArchive;
  if (!VerifyFile(archive.string(), options.archive_bytes, options.archive_md5, options.archive_sha256).ok()) {
    const absl::Status fetched = Download({.url = options.url,
                                           .path = archive.string(),
                                           .bytes = options.archive_bytes,
                                           .md5 = options.archive_md5,
                                           .sha256 = options.archive_sha256,
                                           .show_progress = options.show_progress});
    if (!fetched.ok()) return with_place(fetched);
  }
  const absl::Status unpacked = Unpack(archive, folder);
  if (!unpacked.ok()) return with_place(unpacked);
  std::error_code ignored;
  fs::remove(archive, ignored);  // the unpacked files are what later runs read
  return folder;
}

// Copies the records of a file: planes of red, green and blue become triples.
absl::Status Decode(std::string_view records, const std::string& path, uint8_t* images, int32_t* labels) {
  for (int64_t r = 0; r < kRecords; ++r) {
    const auto* record = reinterpret_cast<const uint8_t*>(records.data()) + r * kRecordBytes;
    if (record[0] >= kLabels) {
      return absl::DataLossError(
          StrCat(path, ": record ", r, " has label ", static_cast<int>(record[0]), ", expected 0..9"));
    }
    labels[r] = record[0];
    uint8_t* image = images + r * kPixels * kChannels;
    for (int64_t p = 0; p < kPixels; ++p) {
      for (int64_t c = 0; c < kChannels; ++c) image[p * kChannels + c] = record[1 + c * kPixels + p];
    }
  }
  return absl::OkStatus();
}

Dataset EmptySplit(int64_t files) {
  Dataset split;
  split.images = Tensor::Uninitialized({DType::kUint8, {files * kRecords, kSide, kSide, kChannels}});
  split.labels = Tensor::Uninitialized({DType::kInt32, {files * kRecords}});
  split.class_names = Cifar10ClassNames();
  split.name = "CIFAR-10";
  return split;
}

absl::StatusOr<DatasetPair> DecodeAll(const fs::path& place, const Batches* batches) {
  DatasetPair pair{EmptySplit(kTrainFiles), EmptySplit(1)};
  for (int i = 0; i <= kTrainFiles; ++i) {
    Dataset& split = i < kTrainFiles ? pair.train : pair.test;
    const int64_t first = i < kTrainFiles ? i * kRecords : 0;
    const std::string path = (place / kFiles[i]).string();
    std::string contents;
    if (batches == nullptr) {
      WEIR_ASSIGN_OR_RETURN(contents, ReadFile(path, kFileBytes));
      if (static_cast<int64_t>(contents.size()) != kFileBytes) {
        return absl::DataLossError(StrCat(path, ": incomplete (", contents.size(), " of ", kFileBytes, " bytes)"));
      }
    }
    WEIR_RETURN_IF_ERROR(Decode(batches == nullptr ? contents : batches->at(kFiles[i]), path,
                                split.images.data<uint8_t>().data() + first * kPixels * kChannels,
                                split.labels.data<int32_t>().data() + first));
  }
  return pair;
}

}  // namespace

const std::vector<std::string>& Cifar10ClassNames() {
  static const auto& names = *new std::vector<std::string>{"airplane", "automobile", "bird",  "cat",  "deer",
                                                           "dog",      "frog",       "horse", "ship", "truck"};
  return names;
}

absl::StatusOr<DatasetPair> LoadCifar10(const Cifar10Options& options) {
  std::string named = options.folder;
  if (const char* variable = secure_getenv("WEIR_CIFAR10"); named.empty() && variable != nullptr) named = variable;
  fs::path place;
  if (named.empty()) {
    WEIR_ASSIGN_OR_RETURN(const fs::path cache, CacheFolder(options));
    WEIR_ASSIGN_OR_RETURN(place, FetchIntoCache(cache, options));
  } else {
    WEIR_ASSIGN_OR_RETURN(place, Locate(named));
  }
  if (IsFile(place)) {
    WEIR_ASSIGN_OR_RETURN(const Batches batches, ReadBatches(place, options));
    return DecodeAll(place, &batches);
  }
  WEIR_RETURN_IF_ERROR(CheckFiles(place));
  return DecodeAll(place, nullptr);
}

}  // namespace weir::datasets
