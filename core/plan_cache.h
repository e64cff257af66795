// Plan cache: executables by fingerprint of the program and configuration. Bounded; the one unused for longest goes
// first (whoever still runs it keeps it alive).
#ifndef WEIR_CORE_PLAN_CACHE_H_
#define WEIR_CORE_PLAN_CACHE_H_

#include <list>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "weir/core/executable.h"
#include "weir/core/fingerprint.h"

namespace weir {

class PlanCache {
 public:
  explicit PlanCache(size_t capacity = 64) : capacity_(capacity) {}

  std::shared_ptr<const Executable> Find(const Fingerprint& key);
  void Insert(const Fingerprint& key, std::shared_ptr<const Executable> executable);
  void Clear();
  // What is cached, last used first.
  std::vector<std::shared_ptr<const Executable>> Executables() const;

  size_t size() const;
  int64_t hits() const;
  int64_t misses() const;

 private:
  struct Entry {
    Fingerprint key;
    std::shared_ptr<const Executable> executable;
  };

  const size_t capacity_;
  mutable absl::Mutex mutex_;
  std::list<Entry> entries_;  // last used first
  absl::flat_hash_map<Fingerprint, std::list<Entry>::iterator> index_;
  int64_t hits_ = 0, misses_ = 0;
};

}  // namespace weir

#endif  // WEIR_CORE_PLAN_CACHE_H_
