// Folders as wholes: a folder of files is replaced such that a reader who opens it sees all old files or all new ones.
#ifndef WEIR_FRONTEND_IO_FOLDER_H_
#define WEIR_FRONTEND_IO_FOLDER_H_

#include <functional>
#include <string>

#include "weir/core/error.h"
#include "weir/frontend/io/file.h"

namespace weir {

// A folder open for reading: its files are those of the folder that was at the path when it was opened, also if
// another one is put there.
class InputFolder {
 public:
  // kNotFound if nothing is there, kFailedPrecondition if it is no folder.
  static absl::StatusOr<InputFolder> Open(const std::string& path);
  InputFolder(InputFolder&& other) noexcept;
  InputFolder& operator=(InputFolder&& other) noexcept;
  ~InputFolder();

  const std::string& path() const { return path_; }
  absl::StatusOr<InputFile> OpenFile(const std::string& name) const;
  // Whether the path still leads to this folder.
  bool IsStillThere() const;

 private:
  InputFolder(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  std::string path_;
  int descriptor_ = -1;
};

// Lets `fill` write files into a new folder beside `path`, then puts that in the place of `path`, at once, with the old
// folder's mode; the old folder and its files are removed. A symbolic link at `path` stays, where it leads is replaced.
// Of several that do so at once each succeeds, and the last one's folder stays. On a failure the old folder is as it
// was and the new one gone. What killed calls left beside the path is removed.
//
// kUnimplemented if this folder can't be exchanged for another (it is a mount point or the working folder, its parent
// can't be written, or the file system can't exchange two folders): then nothing was changed.
absl::Status ReplaceFolder(const std::string& path, const std::function<absl::Status(const std::string& folder)>& fill);

// The folder `path`, locked against others that lock it, as long as this lives. It is made if it is missing. Waits for
// another's lock, at most a minute: kUnavailable. File systems without locks give none.
class FolderLock {
 public:
  static absl::StatusOr<FolderLock> Acquire(const std::string& path);
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&& other) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int descriptor) : descriptor_(descriptor) {}

  int descriptor_ = -1;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_IO_FOLDER_H_
