#include "weir/frontend/interrupt.h"

#include <signal.h>

#include <atomic>

namespace weir {
namespace {

// A signal handler can reach nothing but globals.
std::atomic<int> scopes{0};
std::atomic<bool> seen{false};
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
  if (!enabled || scopes.fetch_add(1) > 0) {
    if (enabled) scopes.fetch_sub(1);
    return;
  }
  owner_ = true;
  seen = false;
  struct sigaction action {};
  action.sa_handler = OnInterrupt;
  action.sa_flags = SA_RESTART;  // writes to the terminal go on
  sigaction(SIGINT, &action, &previous);
}

InterruptScope::~InterruptScope() {
  if (!owner_) return;
  sigaction(SIGINT, &previous, nullptr);
  scopes.fetch_sub(1);
}

bool InterruptScope::interrupted() const { return owner_ && seen; }

}  // namespace weir
