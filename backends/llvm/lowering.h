// What the lowerings share: the state of a stage, its size in tasks, and their signatures. Internal to the backend.
#ifndef WEIR_BACKENDS_LLVM_LOWERING_H_
#define WEIR_BACKENDS_LLVM_LOWERING_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "weir/backends/llvm/cluster_ir.h"
#include "weir/backends/llvm/kernel_ir.h"
#include "weir/core/backend.h"

namespace weir::jit {

using LowerResult = std::variant<Lowering, Decline>;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// A stage before and after it is compiled. The kernel is kept to be looked at, the code for as long as it may run.
struct KernelState {
  Kernel kernel;
  std::string symbol;  // what debuggers and profiles call it, see kernel_names.h
  std::shared_ptr<const void> code;
};
inline Stage MakeStage(Kernel kernel, int64_t tasks, int64_t scratch_bytes = 0) {
  auto state = std::make_shared<KernelState>();
  state->kernel = std::move(kernel);
  return {.run = nullptr, .state = std::move(state), .tasks = tasks, .scratch_bytes = scratch_bytes};
}
inline const KernelState& StateOf(const Stage& stage) { return *static_cast<const KernelState*>(stage.state.get()); }

// Elements of about equal cost a task: about `per_task` of them, but enough tasks for eight threads where there is
// work for them. Multiples of `multiple`.
inline int64_t TaskSize(int64_t total, int64_t per_task, int64_t multiple) {
  constexpr int64_t kTasks = 16, kLeast = 4;
  const int64_t size = std::max(std::min(per_task, CeilDiv(total, kTasks)), per_task / kLeast);
  return RoundUp(std::max<int64_t>(size, 1), multiple);
}

// A kernel's scratch, taken piece by piece.
class ScratchSpace {
 public:
  explicit ScratchSpace(KernelBuilder& builder) : b_(builder) {}
  // A buffer of so many floats.
  int Take(int64_t floats) {
    const int buffer = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, bytes_});
    bytes_ += RoundUp(floats * BytesOf(Elem::kF32), 64);
    return buffer;
  }
  int64_t bytes() const { return bytes_; }

 private:
  KernelBuilder& b_;
  int64_t bytes_ = 0;
};

struct ConvProblem;

// What a processor has for tiles of sums in registers; it changes tiles, never bits.
struct TileLimits {
  int vector_registers = 32;  // vectors of kLanes floats that the registers hold: 8 with AVX2
  int vector_parts = 1;       // registers of such a vector: 2 with AVX2
  bool fetches_far = false;   // long ahead and to the second-level cache is how memory comes fastest: AMD's cores
  int64_t far_bytes = 4 << 20;  // of operands together that are fetched: fewer come fast enough from the last-level cache
};

LowerResult LowerElementwise(const Cluster& cluster, const TileLimits& limits);
LowerResult LowerMove(const Cluster& cluster);  // transpose, slice, pad, concatenate, reverse

// By anchor.
LowerResult LowerConv(const Cluster& cluster, const TileLimits& limits);  // conv, conv_input_gradient
// Those of small images, see positions_plan.h; no prologue, no tail.
Lowering LowerConvByPositions(const Cluster& cluster, const ConvProblem& problem, const TileLimits& limits);
LowerResult LowerWinograd(const Cluster& cluster, const TileLimits& limits);  // those two by Winograd's algorithm
// Why the elementwise `cluster` can't be the prologue of `anchor`, a conv or conv_input_gradient; nullopt if LowerConv
// will compute it.
std::optional<Decline> ConvPrologueDecline(const Cluster& cluster, const Node& anchor, const TileLimits& limits);
// Why `tail` can't be computed behind the epilogue of a cluster whose anchor is a conv; nullopt if LowerConv will do it.
std::optional<Decline> ConvTailDecline(const Cluster& cluster, const Node& tail, const TileLimits& limits);
LowerResult LowerConvFilterGradient(const Cluster& cluster, const TileLimits& limits);
// Those of depthwise convolutions that read their source in place; nullopt where the general kernel is to do it.
std::optional<Lowering> LowerDepthwiseConv(const Cluster& cluster, const TileLimits& limits);
std::optional<Lowering> LowerDepthwiseFilterGradient(const Cluster& cluster, const TileLimits& limits);
LowerResult LowerWinogradFilterGradient(const Cluster& cluster, const TileLimits& limits);
LowerResult LowerMatMul(const Cluster& cluster, const TileLimits& limits);
LowerResult LowerReduce(const Cluster& cluster, const TileLimits& limits);  // reduce_*
LowerResult LowerArgMax(const Cluster& cluster, const TileLimits& limits);
LowerResult LowerSoftmax(const Cluster& cluster, const TileLimits& limits);  // and log_softmax, sparse_cross_entropy
LowerResult LowerPool(const Cluster& cluster, const TileLimits& limits);     // max_pool, max_pool_gather, average_pool
LowerResult LowerPoolGradient(const Cluster& cluster, const TileLimits& limits);  // of max_pool, average_pool

// Every element of the input is read for one window, and so may be computed when it is asked for.
bool PoolReadsOnce(const Node& anchor, const Shape& input);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_LOWERING_H_
