// Elementwise clusters: one loop over the flat index space, every value in a register.
#include "weir/backends/llvm/lowering.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kCostPerTask = int64_t{1} << 19;  // of an operand or operation of an element; some 30 us
// Outputs of a kernel that moves more than this in all are gone from the caches before anybody reads them, and a line
// that is written past the caches need not be fetched first.
constexpr int64_t kStreamBytes = int64_t{64} << 20;
// Blocks of random numbers at a time where registers have room for their counters: the rounds of one alone wait for
// each other.
constexpr int64_t kRandomBlocks = 3;
constexpr int kManyRegisters = 32;  // vectors; with fewer, draws are packed and one block of them is at work
constexpr int64_t kFewNodes = 8;    // short bodies are unrolled to hide their latency

bool Streams(const Cluster& cluster) {
  int64_t bytes = 0;
  for (Ref ref : cluster.inputs) bytes += cluster.type(ref).bytes();
  for (Ref ref : cluster.outputs) {
    if (SizeOf(cluster.type(ref).dtype) != 4) return false;
    bytes += cluster.type(ref).bytes();
  }
  return bytes >= kStreamBytes;
}

}  // namespace

LowerResult LowerElementwise(const Cluster& cluster, const TileLimits& limits) {
  const int64_t count = cluster.shape.size();
  KernelBuilder b(Describe(cluster));
  const Val task = b.Task();
  ClusterIr body(b, cluster);
  const bool packed = limits.vector_registers < kManyRegisters;
  body.SetPackedDraws(packed);
  const int64_t cost = body.elementwise_nodes() + static_cast<int64_t>(cluster.inputs.size() + cluster.outputs.size()) +
                       (body.has_counter() ? 4 : 0);
  const int64_t many = body.has_counter() && !packed ? kRandomBlocks * kRandomBlock : kRandomBlock;
  const int64_t per_task = TaskSize(count, kCostPerTask / std::max<int64_t>(1, cost), many);
  const int64_t tasks = CeilDiv(count, per_task);
  if (count == 1) {
    const Point point{.flat = b.I64(0), .lanes = 1};
    body.Emit({&point, 1}, {});
  } else {
    // Whole blocks first; what is left is the last task's.
    const bool unroll = body.has_counter() || body.elementwise_nodes() <= kFewNodes;
    const int64_t block = unroll ? kRandomBlock : kLanes, whole = count / block * block;
    const int64_t together = unroll ? count / many * many : 0;
    const Val begin = b.Mul(task, per_task), end = b.Add(begin, b.I64(per_task));
    const auto loop = [&](Val from, int64_t to, int64_t step) {
      b.Loop(from, b.Min(end, b.I64(to)), step, [&](Val flat) {
        std::vector<Point> points;
        for (int64_t i = 0; i < step; i += kLanes) points.push_back({.flat = b.Add(flat, b.I64(i)), .aligned = true});
        body.Emit(points, {}, /*block=*/unroll);
      });
    };
    const auto blocks = [&] {
      if (together > 0) loop(begin, together, many);
      if (together < whole) loop(unroll ? b.I64(together) : begin, whole, block);
    };
    if (whole > 0 && Streams(cluster)) {
      const Val may = body.MayStream();
      b.If(may, [&] {
        body.SetStreaming(true);
        blocks();
        b.Fence();
        body.SetStreaming(false);
      });
      b.If(b.Unary(IrOp::kNot, may), blocks);
    } else if (whole > 0) {
      blocks();
    }
    if (whole < count) {
      b.Loop(b.I64(whole), b.Min(end, b.I64(count)), kLanes, [&](Val flat) {
        Point point{.flat = flat, .aligned = true};
        if (count % kLanes != 0) point.count = b.Binary(IrOp::kSub, b.I64(count), flat);
        body.Emit({&point, 1}, {});
      });
    }
  }
  Lowering lowering;
  lowering.kernel = StrCat("jit, one pass over ", cluster.shape, ", ", tasks, " tasks");
  lowering.in_place = PointwisePairs(cluster);
  lowering.stages.push_back(MakeStage(b.Take(), tasks));
  return lowering;
}

}  // namespace weir::jit
