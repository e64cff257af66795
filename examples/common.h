// What the example programs share: the flags --backend, --threads and --quick, --help, and the runtime they choose.
#ifndef WEIR_EXAMPLES_COMMON_H_
#define WEIR_EXAMPLES_COMMON_H_

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "weir/frontend/model.h"

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

// Keeps what was trained: the model is saved in `folder` (unless that is empty) by Save, or at the end of the scope if
// an error comes before that and there were steps of training.
class SavedAtEnd {
 public:
  SavedAtEnd(const Model& model, std::string folder) : model_(model), folder_(std::move(folder)) {}
  ~SavedAtEnd();
  SavedAtEnd(const SavedAtEnd&) = delete;
  SavedAtEnd& operator=(const SavedAtEnd&) = delete;

  // Ends the program with a message if the model can't be saved.
  void Save();

 private:
  Model model_;
  std::string folder_;  // empty when there is nothing left to do
};

// What main's handler of exceptions does: prints the message; the exit code to return.
int Failed(const std::exception& error);

}  // namespace weir::examples

#endif  // WEIR_EXAMPLES_COMMON_H_
