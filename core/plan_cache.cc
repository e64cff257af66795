#include "weir/core/plan_cache.h"

namespace weir {

std::shared_ptr<const Executable> PlanCache::Find(const Fingerprint& key) {
  absl::MutexLock lock(&mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) {
    ++misses_;
    return nullptr;
  }
  ++hits_;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->executable;
}

void PlanCache::Insert(const Fingerprint& key, std::shared_ptr<const Executable> executable) {
  std::shared_ptr<const Executable> evicted;  // destroyed outside of the lock
  absl::MutexLock lock(&mutex_);
  if (const auto found = index_.find(key); found != index_.end()) {
    found->second->executable = std::move(executable);
    entries_.splice(entries_.begin(), entries_, found->second);
    return;
  }
  entries_.push_front({key, std::move(executable)});
  index_[key] = entries_.begin();
  if (entries_.size() > capacity_) {
    evicted = std::move(entries_.back().executable);
    index_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

void PlanCache::Clear() {
  std::list<Entry> dropped;
  absl::MutexLock lock(&mutex_);
  dropped.swap(entries_);
  index_.clear();
}

size_t PlanCache::size() const {
  absl::MutexLock lock(&mutex_);
  return entries_.size();
}

int64_t PlanCache::hits() const {
  absl::MutexLock lock(&mutex_);
  return hits_;
}

int64_t PlanCache::misses() const {
  absl::MutexLock lock(&mutex_);
  return misses_;
}

std::vector<std::shared_ptr<const Executable>> PlanCache::Executables() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<const Executable>> executables;
  for (const Entry& entry : entries_) executables.push_back(entry.executable);
  return executables;
}

}  // namespace weir
