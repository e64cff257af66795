// What an executable is made of, for people: each step with its cluster, why the cluster ended where it did, who
// declined it, its work, and on request its loops, its generated code and its share of the machine's roofline.
#ifndef WEIR_CORE_EXPLAIN_H_
#define WEIR_CORE_EXPLAIN_H_

#include <optional>
#include <span>
#include <string>

#include "weir/core/backend.h"
#include "weir/core/executable.h"
#include "weir/core/profiler.h"

namespace weir {

struct ExplainOptions {
  std::optional<CodeView> code = {};  // shown under each step, where its backend has any
  // Events of whole runs of this executable, one after the other, as its profiler recorded them: steps get their mean
  // time. Events of compilation among them are passed over.
  std::span<const ProfileEvent> events = {};
  // The machine's ceilings, FLOP/s and B/s: with them and events, a step's share of what its work allows.
  double peak_flops = 0, peak_bytes = 0;
};

// `backends` are those the executable was compiled with (Runtime::backends()).
std::string Explain(const Executable& executable, std::span<const Backend* const> backends,
                    const ExplainOptions& options = {});

// Writes plan and explanation of a new executable to a numbered file in `folder`, which is made if it is missing; a
// failure is reported on standard error, since nothing depends on it.
void DumpExecutable(const std::string& folder, const Executable& executable, std::span<const Backend* const> backends);

}  // namespace weir

#endif  // WEIR_CORE_EXPLAIN_H_
