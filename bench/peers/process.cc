#include "weir/bench/peers/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "weir/core/error.h"

extern char** environ;

namespace weir::peers {
namespace {

absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& command, const posix_spawn_file_actions_t& actions) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t id = -1;
  const int error = posix_spawnp(&id, arguments[0], &actions, nullptr, arguments.data(), environ);
  if (error != 0) return absl::UnavailableError(StrCat(command[0], ": can't be started: ", std::strerror(error)));
  return id;
}

}  // namespace

absl::StatusOr<LineProcess> LineProcess::Start(const std::vector<std::string>& command) {
  // A process that died is found out by what it does not answer.
  std::signal(SIGPIPE, SIG_IGN);
  int to[2], from[2];
  if (pipe2(to, O_CLOEXEC) != 0) return absl::UnavailableError(StrCat("no pipe: ", std::strerror(errno)));
  if (pipe2(from, O_CLOEXEC) != 0) {
    const int error = errno;
    close(to[0]);
    close(to[1]);
    return absl::UnavailableError(StrCat("no pipe: ", std::strerror(error)));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
  const absl::StatusOr<pid_t> id = Spawn(command, actions);
  posix_spawn_file_actions_destroy(&actions);
  close(to[0]);
  close(from[1]);
  if (!id.ok()) {
    close(to[1]);
    close(from[0]);
    return id.status();
  }
  return LineProcess(*id, fdopen(to[1], "w"), fdopen(from[0], "r"));
}

LineProcess::LineProcess(LineProcess&& other) noexcept
    : id_(std::exchange(other.id_, -1)),
      in_(std::exchange(other.in_, nullptr)),
      out_(std::exchange(other.out_, nullptr)) {}

LineProcess::~LineProcess() {
  if (in_ != nullptr) std::fclose(in_);  // the end of its input ends it
  if (out_ != nullptr) std::fclose(out_);
  if (id_ > 0) waitpid(id_, nullptr, 0);
}

absl::StatusOr<std::string> LineProcess::Ask(const std::string& line) {
  if (!line.empty() && (std::fputs((line + "\n").c_str(), in_) < 0 || std::fflush(in_) != 0)) {
    return absl::UnavailableError("the process is gone");
  }
  std::string answer;
  for (int c = std::getc(out_); c != '\n'; c = std::getc(out_)) {
    if (c == EOF) return absl::UnavailableError("the process is gone");
    answer.push_back(static_cast<char>(c));
  }
  return answer;
}

absl::StatusOr<double> RunSeconds(const std::vector<std::string>& command) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  const auto begin = std::chrono::steady_clock::now();
  const absl::StatusOr<pid_t> id = Spawn(command, actions);
  posix_spawn_file_actions_destroy(&actions);
  if (!id.ok()) return id.status();
  int status = 0;
  if (waitpid(*id, &status, 0) != *id || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::UnavailableError(StrCat(command[0], " failed"));
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double CpuSeconds(pid_t process) {
  clockid_t clock;
  timespec time;
  if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double WaitingSeconds(pid_t process) {
  double seconds = 0;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator(StrCat("/proc/", process, "/task"), error)) {
    std::ifstream file(task.path() / "schedstat");
    double running = 0, waiting = 0;  // nanoseconds
    if (file >> running >> waiting) seconds += 1e-9 * waiting;
  }
  return seconds;
}

double BusyStep() { return 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK)); }

double BusySeconds() {
  // user, nice, system, idle, waiting for disks, interrupts, soft interrupts, taken by the host
  std::ifstream file("/proc/stat");
  std::string cpu;
  double steps[8] = {};
  file >> cpu;
  for (double& step : steps) file >> step;
  if (!file) return 0;
  return (steps[0] + steps[1] + steps[2] + steps[5] + steps[6] + steps[7]) * BusyStep();
}

// Not from getrusage, whose maximum a program takes over from whoever started it.
double PeakBytes(pid_t process) {
  std::ifstream file(StrCat("/proc/", process, "/status"));
  for (std::string word; file >> word;) {
    double kilobytes = 0;
    if (word == "VmHWM:" && file >> kilobytes) return 1024 * kilobytes;
  }
  return 0;
}

}  // namespace weir::peers
