// Checks of our own invariants on a program: run before it is compiled. A failure is a fault of weir (or of an op's
// row), told as a status whose text names the node.
#ifndef WEIR_CORE_VERIFY_H_
#define WEIR_CORE_VERIFY_H_

#include "absl/status/status.h"
#include "weir/core/program.h"

namespace weir {

// Every reference points backwards to an existing output; every node's types are what its op infers; leaves are bound
// once; each variable is assigned at most once; roots exist.
absl::Status VerifyProgram(const Program& program);

}  // namespace weir

#endif  // WEIR_CORE_VERIFY_H_
