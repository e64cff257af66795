#include "weir/frontend/interrupt.h"

#include <signal.h>

#include <atomic>
#include <mutex>

namespace weir {
namespace {

// A signal handler can reach nothing but globals.
std::atomic<bool> seen{false};
// Of the scopes alive; behind `guard`, which no handler takes.
std::mutex guard;
int scopes = 0;
struct sigaction previous;
static_assert(std::atomic<bool>::is_always_lock_free);

void OnInterrupt(int signal) {
  if (!seen.exchange(true)) return;
  // The second one: as if nobody had caught it. The signal is blocked until this handler returns, and then ends
  // the process.
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, nullptr);
  raise(signal);
}

}  // namespace

InterruptScope::InterruptScope(bool enabled) {
  if (!enabled) return;
  const std::lock_guard lock(guard);
  if (scopes == 0) {
    if (sigaction(SIGINT, nullptr, &previous) != 0 || previous.sa_handler == SIG_IGN) return;
    seen = false;
    struct sigaction action {};
    action.sa_handler = OnInterrupt;
    action.sa_flags = SA_RESTART;  // writes to the terminal go on
    sigaction(SIGINT, &action, nullptr);
  }
  enabled_ = true;
  ++scopes;
}

InterruptScope::~InterruptScope() {
  if (!enabled_) return;
  const std::lock_guard lock(guard);
  if (--scopes == 0) sigaction(SIGINT, &previous, nullptr);
}

bool InterruptScope::interrupted() const { return enabled_ && seen; }

}  // namespace weir
