// What the example programs share: the flags --backend, --threads and --quick, --help, and the runtime they choose.
#ifndef WEIR_EXAMPLES_COMMON_H_
#define WEIR_EXAMPLES_COMMON_H_

#include <cstdint>
#include <exception>
#include <string>

#include "absl/status/status.h"

namespace weir::examples {

// Where a reader leaves (`program | head`), the program goes on: what it was asked to compute and to save is worth more
// than its text.
//
// Parses flags (--help prints `usage` and every flag of the program, then exits with 0), and makes the default runtime from
// --backend (without it, `backend`) and --threads; a wrong flag ends the program with its message.
void Start(int argc, char** argv, const std::string& usage, const std::string& backend = "");

// Ends the program with a message unless 0 <= `value` < `count`; `what` says what is counted.
void ExitIfOutside(const std::string& flag, int64_t value, int64_t count, const std::string& what);

// --quick: a few seconds instead of the real thing.
bool Quick();

// Prints the message of a failure and ends the program with exit code 1.
void ExitIfError(const absl::Status& status);

// What main's handler of exceptions does: prints the message; the exit code to return.
int Failed(const std::exception& error);

}  // namespace weir::examples

#endif  // WEIR_EXAMPLES_COMMON_H_
