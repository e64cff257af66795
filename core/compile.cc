#include "weir/core/compile.h"

#include <chrono>
#include <cstdio>
#include <new>
#include <stdexcept>

#include "weir/core/error.h"
#include "weir/core/passes/cse.h"
#include "weir/core/passes/dce.h"
#include "weir/core/passes/fuse.h"
#include "weir/core/passes/lower.h"
#include "weir/core/passes/memory.h"
#include "weir/core/passes/schedule.h"
#include "weir/core/passes/simplify.h"
#include "weir/core/verify.h"

namespace weir {
namespace {

// Collects one line a pass, with its time.
class PassLog {
 public:
  explicit PassLog(std::vector<std::string>& lines) : lines_(lines) {}

  void Done(std::string_view pass, const std::string& what) {
    const auto now = std::chrono::steady_clock::now();
    char time[32];
    std::snprintf(time, sizeof(time), "%8.3f ms", std::chrono::duration<double, std::milli>(now - last_).count());
    lines_.push_back(StrCat(time, "  ", pass, ": ", what));
    last_ = std::chrono::steady_clock::now();
  }

 private:
  std::vector<std::string>& lines_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

Program RunRewrite(std::string_view name, Program (*pass)(const Program&), const Program& program, PassLog& log) {
  Program result = pass(program);
  if (result.graph->size() != program.graph->size()) {
    log.Done(name, StrCat(program.graph->size(), " -> ", result.graph->size(), " nodes"));
  }
  return result;
}

}  // namespace

std::string CompileOptions::Key() const {
  return StrCat("optimize=", optimize, " fuse=", fuse, " memory=", static_cast<int>(memory), " forbid=", StrJoin(forbid, ","));
}

absl::StatusOr<Plan> CompileProgram(const Program& request, std::span<const Backend* const> backends,
                                    const CompileOptions& options, ThreadPool& pool) try {
  WEIR_CHECK(!backends.empty());
  Plan plan;
  PassLog log(plan.log);
  WEIR_RETURN_IF_ERROR(VerifyProgram(request));

  plan.program = RunRewrite("dce", EliminateDeadCode, request, log);
  if (options.optimize) {
    plan.program = RunRewrite("simplify", Simplify, plan.program, log);
    plan.program = RunRewrite("cse", EliminateCommonSubexpressions, plan.program, log);
    plan.program = RunRewrite("dce", EliminateDeadCode, plan.program, log);
  }
  WEIR_RETURN_IF_ERROR(VerifyProgram(plan.program));
  log.Done("verify", StrCat(plan.program.graph->size(), " nodes"));

  int64_t looked_at = 0;
  std::vector<FusedCluster> clusters = FormClusters(plan.program, *backends[0], options.fuse, &looked_at);
  log.Done("fuse", StrCat(clusters.size(), " clusters, ", looked_at, " looked at"));
  WEIR_ASSIGN_OR_RETURN(plan.steps, LowerClusters(std::move(clusters), backends, options.forbid));
  log.Done("lower", StrCat(plan.steps.size(), " steps"));
  plan.steps = Schedule(plan.program, std::move(plan.steps), &looked_at);
  log.Done("schedule", StrCat(plan.steps.size(), " steps, ", looked_at, " looked at"));
  PlanMemory(plan, options.memory != CompileOptions::Memory::kNoReuse);
  log.Done("memory", StrCat(HumanBytes(plan.arena_bytes), " arena, largest live set ", HumanBytes(plan.live_bytes)));

  const absl::Status verified = VerifyPlan(plan);
  WEIR_CHECK(verified.ok(), verified.message(), "\n", ToText(plan));
  log.Done("verify plan", "ok");

  for (const Backend* backend : backends) {
    std::vector<Lowering*> own;
    for (PlanStep& step : plan.steps) {
      if (step.backend == backend->name()) own.push_back(&step.lowering);
    }
    if (!own.empty()) WEIR_RETURN_IF_ERROR(backend->Finalize(own, pool));
  }
  log.Done("finalize", "kernels ready");
  return plan;
} catch (const std::bad_alloc&) {
  // Backends prepare tables as long as an axis.
  return absl::ResourceExhaustedError(StrCat("compile: no memory to plan ", request.graph->size(), " nodes"));
} catch (const std::length_error&) {
  return absl::ResourceExhaustedError(StrCat("compile: no memory to plan ", request.graph->size(), " nodes"));
}

}  // namespace weir
