#include "weir/core/plan_cache.h"

#include <algorithm>

namespace weir {

std::shared_ptr<const Executable> PlanCache::FindLocked(const Fingerprint& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return nullptr;
  found->second->Touch();
  return found->second;
}

absl::StatusOr<std::shared_ptr<const Executable>> PlanCache::FindOrMake(const Fingerprint& key, const Make& make) {
  {
    std::unique_lock lock(mutex_);
    while (true) {
      if (std::shared_ptr<const Executable> found = FindLocked(key)) {
        ++hits_;
        return found;
      }
      if (!making_.contains(key)) break;
      made_.wait(lock);
    }
    ++misses_;
    making_.insert(key);
  }
  // Also when `make` throws.
  struct Done {
    PlanCache& cache;
    const Fingerprint& key;
    ~Done() {
      std::lock_guard lock(cache.mutex_);
      cache.making_.erase(key);
      cache.made_.notify_all();
    }
  } done{*this, key};
  absl::StatusOr<std::shared_ptr<const Executable>> made = make();
  if (made.ok()) Insert(key, *made);
  return made;
}

std::shared_ptr<const Executable> PlanCache::Find(const Fingerprint& key) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<const Executable> found = FindLocked(key);
  ++(found == nullptr ? misses_ : hits_);
  return found;
}

PlanCache::Entries::iterator PlanCache::Oldest(bool held_alone) {
  auto oldest = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (held_alone && entry->second.use_count() > 1) continue;
    if (oldest == entries_.end() || entry->second->last_used() < oldest->second->last_used()) oldest = entry;
  }
  return oldest;
}

void PlanCache::Insert(const Fingerprint& key, std::shared_ptr<const Executable> executable) {
  std::shared_ptr<const Executable> dropped;  // destroyed outside of the lock
  std::lock_guard lock(mutex_);
  executable->Touch();
  entries_[key] = std::move(executable);
  if (entries_.size() <= capacity_) return;
  const auto oldest = Oldest(/*held_alone=*/false);
  dropped = std::move(oldest->second);
  entries_.erase(oldest);
}

bool PlanCache::Drop(const Executable& executable) {
  std::shared_ptr<const Executable> dropped;
  std::lock_guard lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->second.get() != &executable || entry->second.use_count() > 1) continue;
    dropped = std::move(entry->second);
    entries_.erase(entry);
    return true;
  }
  return false;
}

bool PlanCache::DropOldest() {
  std::shared_ptr<const Executable> dropped;
  std::lock_guard lock(mutex_);
  const auto oldest = Oldest(/*held_alone=*/true);
  if (oldest == entries_.end()) return false;
  dropped = std::move(oldest->second);
  entries_.erase(oldest);
  return true;
}

void PlanCache::Clear() {
  Entries dropped;
  std::lock_guard lock(mutex_);
  dropped.swap(entries_);
}

size_t PlanCache::size() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

int64_t PlanCache::hits() const {
  std::lock_guard lock(mutex_);
  return hits_;
}

int64_t PlanCache::misses() const {
  std::lock_guard lock(mutex_);
  return misses_;
}

std::vector<std::shared_ptr<const Executable>> PlanCache::Executables() const {
  std::vector<std::shared_ptr<const Executable>> executables;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [key, executable] : entries_) executables.push_back(executable);
  }
  std::sort(executables.begin(), executables.end(),
            [](const auto& a, const auto& b) { return a->last_used() > b->last_used(); });
  return executables;
}

}  // namespace weir
