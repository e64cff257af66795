// Plan cache: executables by fingerprint of the program and configuration. Bounded in number and, by whoever calls
// DropOldest, in bytes; what was run or found longest ago goes first (whoever still holds it keeps it alive).
#ifndef WEIR_CORE_PLAN_CACHE_H_
#define WEIR_CORE_PLAN_CACHE_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "weir/core/executable.h"
#include "weir/core/fingerprint.h"

namespace weir {

class PlanCache {
 public:
  using Make = std::function<absl::StatusOr<std::shared_ptr<const Executable>>()>;

  explicit PlanCache(size_t capacity = 1024) : capacity_(capacity) {}

  // What is cached, else what `make` makes: by one thread, while others that want the same wait for it. A failure is
  // not kept.
  absl::StatusOr<std::shared_ptr<const Executable>> FindOrMake(const Fingerprint& key, const Make& make);
  std::shared_ptr<const Executable> Find(const Fingerprint& key);
  void Insert(const Fingerprint& key, std::shared_ptr<const Executable> executable);
  void Clear();
  // Drops one, if nobody else holds it; false if not.
  bool Drop(const Executable& executable);
  // Drops what was used longest ago of those that nobody else holds; false if there is none.
  bool DropOldest();
  // What is cached, last used first.
  std::vector<std::shared_ptr<const Executable>> Executables() const;

  size_t size() const;
  int64_t hits() const;
  int64_t misses() const;

 private:
  using Entries = absl::flat_hash_map<Fingerprint, std::shared_ptr<const Executable>>;
  std::shared_ptr<const Executable> FindLocked(const Fingerprint& key);
  Entries::iterator Oldest(bool held_alone);

  const size_t capacity_;
  mutable std::mutex mutex_;
  Entries entries_;
  absl::flat_hash_set<Fingerprint> making_;
  std::condition_variable made_;
  int64_t hits_ = 0, misses_ = 0;
};

}  // namespace weir

#endif  // WEIR_CORE_PLAN_CACHE_H_
