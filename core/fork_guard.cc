#include "weir/core/fork_guard.h"

#include <pthread.h>

#include <atomic>

namespace weir {
namespace {

// A handler of fork can reach nothing but globals.
std::atomic<uint64_t> generation{0};
std::atomic<int64_t> inside{0};  // threads
std::atomic<bool> left_behind{false};
thread_local int depth = 0;

void InChild() {
  const int64_t self = depth > 0 ? 1 : 0;
  if (inside.load(std::memory_order_relaxed) > self) left_behind.store(true, std::memory_order_relaxed);
  inside.store(self, std::memory_order_relaxed);
  generation.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

uint64_t ForkGeneration() { return generation.load(std::memory_order_relaxed); }

absl::Status CheckFork() {
  if (!left_behind.load(std::memory_order_relaxed)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "this process was forked while another thread was computing with weir, and can't compute itself: fork when no "
      "other thread does, or start a program (exec) in the child");
}

LibraryCall::LibraryCall() {
  static const bool registered = pthread_atfork(nullptr, nullptr, InChild) == 0;
  (void)registered;
  if (depth++ == 0) inside.fetch_add(1, std::memory_order_relaxed);
}

LibraryCall::~LibraryCall() {
  if (--depth == 0) inside.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace weir
