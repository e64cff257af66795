// Where progress goes: a file descriptor, whose reader may leave at any time (`program | head`).
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iostream>
#include <string_view>

#include "weir/frontend/parts/progress.h"

namespace weir {
namespace {

constexpr int kUnknownColumns = 80;  // what terminals that don't tell their size usually have
constexpr int kPatienceMs = 1000;    // for a reader of a non-blocking descriptor that doesn't keep up

// While alive, a write to a pipe without a reader fails with EPIPE and leaves no signal behind. Only this thread is
// affected, and a SIGPIPE that was pending before stays.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~SigpipeGuard() {
    const int error = errno;
    if (!was_pending_) {
      const timespec no_time = {0, 0};
      while (sigtimedwait(&pipe_, nullptr, &no_time) == -1 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t pipe_;
  sigset_t before_;
  bool was_pending_ = false;
};

bool WriteAll(int descriptor, std::string_view text) {
  const SigpipeGuard guard;
  if (descriptor == STDOUT_FILENO) {
    std::cout.flush();
    std::fflush(stdout);
  }
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd ready = {descriptor, POLLOUT, 0};
      if (poll(&ready, 1, kPatienceMs) <= 0) return true;  // this text is lost; the next may pass
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool IsTerminal(int descriptor) {
  const char* type = std::getenv("TERM");
  return isatty(descriptor) == 1 && !(type != nullptr && std::string_view(type) == "dumb");
}

int Columns(int descriptor) {
  winsize size = {};
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  if (columns == nullptr) return kUnknownColumns;
  const char* const end = columns + std::strlen(columns);
  int number = 0;
  const auto [rest, error] = std::from_chars(columns, end, number);
  return error == std::errc() && rest == end && number > 0 ? number : kUnknownColumns;
}

}  // namespace

ProgressOutput DescriptorOutput(int descriptor) {
  return {.write = [descriptor](std::string_view text) { return WriteAll(descriptor, text); },
          .terminal = IsTerminal(descriptor),
          .columns = [descriptor] { return Columns(descriptor); }};
}

ProgressOutput StandardOutput() { return DescriptorOutput(STDOUT_FILENO); }

}  // namespace weir
