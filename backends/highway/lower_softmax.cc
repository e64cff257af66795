// Softmax, log-softmax and sparse cross-entropy: rows of the last axis.
#include <optional>

#include "weir/backends/highway/lowering.h"

namespace weir::highway {
namespace {

constexpr int64_t kTaskFloats = 32 * 1024;  // an exponential costs a few cycles a lane
constexpr int64_t kChunkFloats = 4096;      // outputs that wait for the epilogue

struct SoftmaxState {
  SoftmaxKernels kernels;
  std::optional<Epilogue> epilogue;
  int x_input = 0, label_input = -1;
  bool log = false, wide_labels = false;
  int64_t rows = 0, classes = 0, row_outputs = 0, rows_per_task = 1, rows_per_chunk = 1;

  void Run(const KernelCall& call) const {
    const int64_t end = std::min(rows, (call.task + 1) * rows_per_task);
    for (int64_t row = call.task * rows_per_task; row < end; row += rows_per_chunk) {
      const int64_t count = std::min(rows_per_chunk, end - row);
      const float* x = FloatInput(call, x_input) + row * classes;
      float* y = epilogue->Buffer(call, row * row_outputs);
      if (label_input < 0) {
        (log ? kernels.log_softmax : kernels.softmax)(x, count, classes, y);
      } else if (wide_labels) {
        const int64_t* labels = reinterpret_cast<const int64_t*>(call.inputs[label_input]) + row;
        kernels.cross_entropy_i64(x, labels, count, classes, row, y, call.errors);
      } else {
        const int32_t* labels = reinterpret_cast<const int32_t*>(call.inputs[label_input]) + row;
        kernels.cross_entropy_i32(x, labels, count, classes, row, y, call.errors);
      }
      epilogue->Finish(call, row * row_outputs, count * row_outputs, y);
    }
  }
};

}  // namespace

LowerResult LowerSoftmax(const LowerContext& context) {
  auto state = std::make_shared<SoftmaxState>();
  const Shape& shape = context.anchor_input_type(0).shape;
  const std::string_view op = context.anchor().op->name;
  state->kernels = context.kernels.softmax;
  state->x_input = context.anchor_input(0);
  state->log = op == "log_softmax";
  state->classes = shape.dim(-1);
  state->rows = shape.size() / std::max<int64_t>(1, state->classes);
  state->row_outputs = state->classes;
  if (op == "sparse_cross_entropy") {
    state->label_input = context.anchor_input(1);
    state->wide_labels = context.anchor_input_type(1).dtype == DType::kInt64;
    state->row_outputs = 1;
  }
  // Short rows still cost a vector or two.
  const int64_t cost = std::max<int64_t>(state->classes, 32);
  state->rows_per_task = TaskSize(state->rows, std::max<int64_t>(1, kTaskFloats / cost), 1);
  state->rows_per_chunk = std::min(state->rows_per_task, std::max<int64_t>(1, kChunkFloats / state->row_outputs));
  Arena scratch;
  state->epilogue.emplace(context.program, state->rows_per_chunk * state->row_outputs, scratch);
  const int64_t tasks = CeilDiv(state->rows, state->rows_per_task);
  Lowering lowering;
  lowering.kernel = StrCat(op, " of ", state->classes, " classes, ", tasks, " tasks");
  lowering.stages.push_back(MakeStage<SoftmaxState>(std::move(state), tasks, scratch.bytes()));
  return lowering;
}

}  // namespace weir::highway
