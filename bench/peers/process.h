// Other processes, and what this machine's scheduler says of them.
#ifndef WEIR_BENCH_PEERS_PROCESS_H_
#define WEIR_BENCH_PEERS_PROCESS_H_

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weir::peers {

// A program that answers lines; ended when the object goes.
class LineProcess {
 public:
  // The program is looked for in PATH if its name has no slash. kUnavailable if it can't be started.
  static absl::StatusOr<LineProcess> Start(const std::vector<std::string>& command);
  LineProcess(LineProcess&& other) noexcept;
  LineProcess& operator=(LineProcess&& other) = delete;
  ~LineProcess();

  // Sends a line, if it is not empty, and returns the next one. kUnavailable if the process is gone.
  absl::StatusOr<std::string> Ask(const std::string& line);
  pid_t id() const { return id_; }

 private:
  LineProcess(pid_t id, FILE* in, FILE* out) : id_(id), in_(in), out_(out) {}

  pid_t id_ = -1;
  FILE* in_ = nullptr;
  FILE* out_ = nullptr;
};

// Runs a program to its end without output; the seconds from its start to its exit. kUnavailable if it can't be started
// or fails.
absl::StatusOr<double> RunSeconds(const std::vector<std::string>& command);

// Seconds of processor time that all threads of a process had so far; 0 if it can't be told.
double CpuSeconds(pid_t process);
// Seconds that its threads stood ready and waited for a processor, since somebody else had it; 0 if it can't be told.
double WaitingSeconds(pid_t process);
// Seconds that all processors were busy or taken away by the host, added up, in steps of BusyStep(); 0 if it can't be
// told.
double BusySeconds();
double BusyStep();
// Most memory that a process had resident since its program began, in bytes; 0 if it can't be told.
double PeakBytes(pid_t process);

}  // namespace weir::peers

#endif  // WEIR_BENCH_PEERS_PROCESS_H_
