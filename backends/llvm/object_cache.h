// Compiled kernels on disk, by the text of what they were made from: a program that starts again does not compile
// again. Entries are written to a temporary name and renamed, so that many processes and threads may share a folder;
// an entry that is cut, damaged or of something else is as good as none. A folder that can't be written is read only.
//
// Entries are code that will run, so nobody else may have written one: the folder is made for the user alone, and a folder
// or an entry that is another user's, or that group or others may write, is not used. Entries are regular files of a
// bounded size, opened without following links.
#ifndef WEIR_BACKENDS_LLVM_OBJECT_CACHE_H_
#define WEIR_BACKENDS_LLVM_OBJECT_CACHE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace weir::jit {

class ObjectCache {
 public:
  // The folder is made when something is first stored. Beyond `max_bytes` entries unused for longest are removed.
  ObjectCache(std::string folder, int64_t max_bytes)
      : folder_(std::move(folder)), max_bytes_(max_bytes), unchecked_(max_bytes) {}

  // What was stored under `key`, which is the whole text that the object depends on. An entry that is there and can't be
  // used is reported on standard error with the reason, once a process, and is nothing.
  std::optional<std::string> Find(const std::string& key) const;
  // A failure is silent: the next process compiles again.
  void Store(const std::string& key, const std::string& object) const;

  std::string PathOf(const std::string& key) const;

 private:
  void RemoveOldest(int folder) const;

  const std::string folder_;
  const int64_t max_bytes_;
  mutable std::atomic<int64_t> unchecked_;  // bytes stored since the folder was last looked through
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_OBJECT_CACHE_H_
