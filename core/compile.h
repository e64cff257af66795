// Compilation: program -> plan. The one place that knows the order of the passes.
#ifndef WEIR_CORE_COMPILE_H_
#define WEIR_CORE_COMPILE_H_

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "weir/core/backend.h"
#include "weir/core/plan.h"

namespace weir {

struct CompileOptions {
  bool optimize = true;  // simplify and cse
  bool fuse = true;      // false: one cluster a node
  enum class Memory : uint8_t {
    kReuse,    // the smallest arena
    kNoReuse,  // every value has its own place; nothing in place: to find out whether planning is at fault
    kPoison,   // as kReuse, and bytes that hold no live value are filled with NaNs before each step
  } memory = Memory::kReuse;
  // Names of backends that must not take a cluster: compiling is an error where one would ("reference", to make sure
  // that nothing falls back to it).
  std::vector<std::string> forbid = {};

  std::string Key() const;  // part of the plan cache's key
  friend bool operator==(const CompileOptions&, const CompileOptions&) = default;
};

// `backends` in order of preference; the first one's MayJoin decides on fusion, the first that does not decline takes
// a cluster. `pool` is for backends that compile. kResourceExhausted if there is no memory to make the plan.
absl::StatusOr<Plan> CompileProgram(const Program& program, std::span<const Backend* const> backends,
                                    const CompileOptions& options, ThreadPool& pool);

}  // namespace weir

#endif  // WEIR_CORE_COMPILE_H_
