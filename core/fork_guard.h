// What becomes of the library in a child process made by fork(): only the thread that forked is there. Worker threads are
// made anew when first needed. If another thread was inside the library at that moment, what it was changing is half
// changed for ever and its locks stay held: in such a child every call is an error, at once.
#ifndef WEIR_CORE_FORK_GUARD_H_
#define WEIR_CORE_FORK_GUARD_H_

#include <cstdint>

#include "absl/status/status.h"

namespace weir {

// So many forks lie between the process that loaded the library and this one.
uint64_t ForkGeneration();

// kFailedPrecondition in a child that was forked while another thread was inside a LibraryCall.
absl::Status CheckFork();

// While alive, its thread is inside the library. Made by the functions that users call; they may call one another.
class [[nodiscard]] LibraryCall {
 public:
  LibraryCall();
  ~LibraryCall();
  LibraryCall(const LibraryCall&) = delete;
  LibraryCall& operator=(const LibraryCall&) = delete;
};

}  // namespace weir

#endif  // WEIR_CORE_FORK_GUARD_H_
