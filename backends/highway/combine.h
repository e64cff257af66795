// The last stage of an anchor whose sums were computed in parts: adds the parts in order, then runs the epilogue.
#ifndef WEIR_BACKENDS_HIGHWAY_COMBINE_H_
#define WEIR_BACKENDS_HIGHWAY_COMBINE_H_

#include <cstring>
#include <memory>
#include <optional>

#include "weir/backends/highway/lowering.h"

namespace weir::highway {

// Parts are whole images of the output, one after the other in the workspace from `offset` on.
struct CombineState {
  static constexpr int64_t kRange = 1024;  // elements at a time: they stay in the first-level cache

  const KernelTable* kernels = nullptr;
  ReduceKind kind = ReduceKind::kSum;
  std::optional<Epilogue> epilogue;
  int64_t parts = 0, count = 0, per_task = 0, offset = 0;

  void Run(const KernelCall& call) const {
    const int64_t end = std::min(count, (call.task + 1) * per_task);
    for (int64_t begin = call.task * per_task; begin < end; begin += kRange) {
      const int64_t size = std::min(kRange, end - begin);
      float* dst = epilogue->Buffer(call, begin);
      const float* part = FloatsAt(call.workspace, offset) + begin;
      std::memcpy(dst, part, static_cast<size_t>(size) * sizeof(float));
      for (int64_t i = 1; i < parts; ++i) {
        kernels->reduce.combine[static_cast<int>(kind)](part + i * count, size, dst);
      }
      epilogue->Finish(call, begin, size, dst);
    }
  }
};

inline Stage CombineStage(const LowerContext& context, ReduceKind kind, int64_t parts, int64_t count, int64_t offset) {
  auto state = std::make_shared<CombineState>();
  state->kernels = &context.kernels;
  state->kind = kind;
  state->parts = parts;
  state->count = count;
  state->offset = offset;
  state->per_task = TaskSize(count, std::max(CombineState::kRange, (int64_t{1} << 18) / std::max<int64_t>(1, parts)),
                             CombineState::kRange);
  Arena scratch;
  state->epilogue.emplace(context.program, CombineState::kRange, scratch);
  const int64_t tasks = CeilDiv(count, state->per_task);
  return MakeStage<CombineState>(std::move(state), tasks, scratch.bytes());
}

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_COMBINE_H_
