// The three kinds of failure. A wrong program (shape, type, name) throws weir::Error at the line that made it. A
// fault of the environment (file, network, memory) is a returned absl::Status or absl::StatusOr. A broken invariant
// of weir's own aborts through WEIR_CHECK.
#ifndef WEIR_CORE_ERROR_H_
#define WEIR_CORE_ERROR_H_

#include <exception>
#include <source_location>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weir/core/strings.h"

namespace weir {

// Thrown for misuse of the library. what() names the op or layer, what was given, what was expected and where.
class Error : public std::exception {
 public:
  Error(absl::StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  const char* what() const noexcept override { return message_.c_str(); }
  absl::StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  absl::Status ToStatus() const { return absl::Status(code_, message_); }

 private:
  absl::StatusCode code_;
  std::string message_;
};

// Throw an Error with the concatenated arguments as its message.
template <class... Args>
[[noreturn]] void ThrowInvalidArgument(const Args&... args) {
  throw Error(absl::StatusCode::kInvalidArgument, StrCat(args...));
}
template <class... Args>
[[noreturn]] void ThrowOutOfRange(const Args&... args) {
  throw Error(absl::StatusCode::kOutOfRange, StrCat(args...));
}
template <class... Args>
[[noreturn]] void ThrowNotFound(const Args&... args) {
  throw Error(absl::StatusCode::kNotFound, StrCat(args...));
}
template <class... Args>
[[noreturn]] void ThrowFailedPrecondition(const Args&... args) {
  throw Error(absl::StatusCode::kFailedPrecondition, StrCat(args...));
}

// Turns a failed status into an Error: for call chains that end in a user's mistake.
void ThrowIfError(const absl::Status& status);

// "model.cc:41": file name without folders, and line.
std::string ShortLocation(std::string_view file, int line);

namespace internal {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line, const std::string& detail);
}  // namespace internal

}  // namespace weir

// Aborts with the condition, the place and a detail text if `condition` is false: for invariants of weir itself.
#define WEIR_CHECK(condition, ...)                                                                        \
  do {                                                                                                    \
    if (!(condition)) [[unlikely]] {                                                                      \
      ::weir::internal::CheckFailed(#condition, __FILE__, __LINE__, ::weir::StrCat("" __VA_OPT__(, ) __VA_ARGS__)); \
    }                                                                                                     \
  } while (false)

#define WEIR_RETURN_IF_ERROR(expression)                            \
  do {                                                              \
    if (absl::Status weir_status = (expression); !weir_status.ok()) \
      return weir_status;                                           \
  } while (false)

#define WEIR_CONCAT_INNER(a, b) a##b
#define WEIR_CONCAT(a, b) WEIR_CONCAT_INNER(a, b)
#define WEIR_ASSIGN_OR_RETURN(declaration, expression) \
  WEIR_ASSIGN_OR_RETURN_IMPL(WEIR_CONCAT(weir_status_or_, __LINE__), declaration, expression)
#define WEIR_ASSIGN_OR_RETURN_IMPL(name, declaration, expression) \
  auto name = (expression);                                       \
  if (!name.ok()) return name.status();                           \
  declaration = *std::move(name)

#endif  // WEIR_CORE_ERROR_H_
