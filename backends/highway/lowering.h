// What the lowerings share: their signature, the epilogue behind an anchor, sizes of scratch and the split into tasks.
// Internal to the backend.
#ifndef WEIR_BACKENDS_HIGHWAY_LOWERING_H_
#define WEIR_BACKENDS_HIGHWAY_LOWERING_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "weir/backends/highway/block_program.h"
#include "weir/backends/highway/kernels/kernels.h"
#include "weir/core/backend.h"

namespace weir::highway {

using LowerResult = std::variant<Lowering, Decline>;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// Byte offsets of parts of a scratch or workspace buffer, each 64-byte aligned.
class Arena {
 public:
  int64_t Take(int64_t bytes) {
    const int64_t at = bytes_;
    bytes_ += RoundUp(std::max<int64_t>(bytes, 0), 64);
    return at;
  }
  int64_t TakeFloats(int64_t count) { return Take(count * static_cast<int64_t>(sizeof(float))); }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

// Where an anchor's task computes, and what then happens to it. `range` is the largest contiguous range of the output
// that the task wants to hold before the rest of the cluster runs over it.
class Epilogue {
 public:
  Epilogue(std::shared_ptr<const BlockProgram> program, int64_t range, Arena& scratch) : program_(std::move(program)) {
    if (program_->anchor_output() < 0) buffer_ = scratch.TakeFloats(range);
    program_scratch_ = scratch.Take(program_->scratch_bytes());
  }

  // Memory for elements [begin, begin + range) of the anchor's output: the output itself if it is wanted, else scratch.
  float* Buffer(const KernelCall& call, int64_t begin) const {
    if (program_->anchor_output() >= 0) {
      return reinterpret_cast<float*>(call.outputs[program_->anchor_output()]) + begin;
    }
    return reinterpret_cast<float*>(call.scratch + buffer_);
  }
  // Runs the program over elements that have been computed.
  void Finish(const KernelCall& call, int64_t begin, int64_t count, const float* anchor) const {
    if (!program_->empty()) program_->Run(call, begin, count, anchor, call.scratch + program_scratch_);
  }
  bool direct() const { return program_->anchor_output() >= 0; }
  // Where the program will write its first output from element `begin` on; null if that is the anchor's own or has
  // another size. Worth fetching before it is written.
  const float* Written(const KernelCall& call, int64_t begin) const {
    if (direct() || program_->first_output() < 0) return nullptr;
    return reinterpret_cast<const float*>(call.outputs[program_->first_output()]) + begin;
  }
  const BlockProgram& program() const { return *program_; }

 private:
  std::shared_ptr<const BlockProgram> program_;
  int64_t buffer_ = 0;
  int64_t program_scratch_ = 0;
};

inline const float* FloatInput(const KernelCall& call, int input) {
  return reinterpret_cast<const float*>(call.inputs[input]);
}
inline float* FloatsAt(std::byte* buffer, int64_t offset) { return reinterpret_cast<float*>(buffer + offset); }

// A stage that runs State::Run(call) const for each task.
template <class State>
Stage MakeStage(std::shared_ptr<const State> state, int64_t tasks, int64_t scratch_bytes) {
  return {.run = [](const KernelCall& call) noexcept { static_cast<const State*>(call.state)->Run(call); },
          .state = std::move(state),
          .tasks = tasks,
          .scratch_bytes = scratch_bytes};
}

// Elements (of about equal cost) a task: about `per_task` of them, but enough tasks for many threads when there is work
// for them. Multiples of `multiple`.
int64_t TaskSize(int64_t total, int64_t per_task, int64_t multiple);

// One a kind of cluster; `program` is the compiled epilogue.
struct LowerContext {
  const Cluster& cluster;
  const KernelTable& kernels;
  std::shared_ptr<const BlockProgram> program;

  const Node& anchor() const { return cluster.node(*cluster.anchor); }
  // Cluster input that is operand i of the anchor.
  int anchor_input(int i) const { return cluster.input_index(anchor().inputs[static_cast<size_t>(i)]); }
  const TensorType& anchor_input_type(int i) const { return cluster.type(anchor().inputs[static_cast<size_t>(i)]); }
};
LowerResult LowerElementwise(const LowerContext& context);
LowerResult LowerConv(const LowerContext& context);
LowerResult LowerConvInputGradient(const LowerContext& context);
LowerResult LowerConvFilterGradient(const LowerContext& context);
LowerResult LowerMatMul(const LowerContext& context);
LowerResult LowerPool(const LowerContext& context);          // max_pool, max_pool_gather, average_pool
LowerResult LowerPoolGradient(const LowerContext& context);  // max_pool_gradient, average_pool_gradient
LowerResult LowerReduce(const LowerContext& context);
LowerResult LowerArgMax(const LowerContext& context);
LowerResult LowerSoftmax(const LowerContext& context);  // softmax, log_softmax, sparse_cross_entropy

// Data movement: clusters of one opaque node.
LowerResult LowerMove(const Cluster& cluster, const KernelTable& kernels);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_LOWERING_H_
