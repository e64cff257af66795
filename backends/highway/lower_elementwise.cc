// Elementwise clusters: the block program over ranges of the index space.
#include "weir/backends/highway/lowering.h"

namespace weir::highway {
namespace {

struct ElementwiseState {
  std::shared_ptr<const BlockProgram> program;
  int64_t count = 0, per_task = 0;

  void Run(const KernelCall& call) const {
    const int64_t begin = call.task * per_task;
    program->Run(call, begin, std::min(per_task, count - begin), nullptr, call.scratch);
  }
};

}  // namespace

int64_t TaskSize(int64_t total, int64_t per_task, int64_t multiple) {
  // Sixteen tasks keep eight threads busy to the end, if each is still worth the hand-over.
  constexpr int64_t kTasks = 16, kLeast = 4;
  const int64_t size = std::max(std::min(per_task, CeilDiv(total, kTasks)), per_task / kLeast);
  return RoundUp(std::max<int64_t>(size, 1), multiple);
}

LowerResult LowerElementwise(const LowerContext& context) {
  const BlockProgram& program = *context.program;
  // A pass over an element costs about as much as moving four bytes through the cache; 2^19 of them take some 40 us.
  constexpr int64_t kPassesPerTask = int64_t{1} << 19;
  auto state = std::make_shared<ElementwiseState>();
  state->program = context.program;
  state->count = context.cluster.shape.size();
  const int64_t passes = program.instructions() + static_cast<int64_t>(context.cluster.inputs.size());
  state->per_task = TaskSize(state->count, kPassesPerTask / std::max<int64_t>(1, passes), program.block());
  const int64_t tasks = CeilDiv(state->count, state->per_task);
  Lowering lowering;
  lowering.kernel = StrCat("blocks of ", program.block(), ", ", program.instructions(), " passes, ", tasks, " tasks");
  lowering.in_place = program.in_place();
  lowering.stages.push_back(MakeStage<ElementwiseState>(state, tasks, program.scratch_bytes()));
  return lowering;
}

}  // namespace weir::highway
