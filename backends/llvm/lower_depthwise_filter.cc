// Filter gradients of depthwise convolutions, one output channel a channel. x and dy are read in place, in one of three
// ways: tile by tile of dy (depthwise_filter_tiles.cc), each row of x once (depthwise_filter_walk.cc), or, with few
// registers, row by row of dy (depthwise_filter_rows.cc).
//
// Tasks are channels, which pass over all chunks; or, of large problems, chunks, whose sums a second kernel adds.
// Memory is to be read in order: what lies far apart comes slowly.
#include <string>
#include <utility>

#include "weir/backends/llvm/depthwise_filter_ir.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

using Place = DepthwiseFilterIr::Place;

class DepthwiseFilter {
 public:
  DepthwiseFilter(const Cluster& cluster, const DepthwiseFilterPlan& plan)
      : cluster_(cluster),
        p_(plan),
        b_(StrCat(Describe(cluster), ", depthwise")),
        task_(b_, p_, Input(0), Input(1)),
        sums_(Sums()) {}

  Lowering Lower() {
    Lowering lowering;
    lowering.in_place = PointwisePairs(cluster_);
    lowering.kernel = StrCat("jit, depthwise filter gradient in place, ", OrderText(), ", ",
                             p_.by_chunks ? StrCat("by ", p_.chunks, " chunks, ") : "", p_.tasks(), " tasks");
    EmitKernel();
    lowering.stages.push_back(MakeStage(b_.Take(), p_.tasks(), task_.scratch().bytes()));
    if (p_.by_chunks) {
      lowering.workspace_bytes = p_.chunks * p_.dw_floats() * BytesOf(Elem::kF32);
      lowering.stages.push_back(CombineParts(cluster_, p_.chunks, p_.dw_floats()));
    }
    return lowering;
  }

 private:
  std::unique_ptr<DepthwiseFilterSums> Sums() {
    switch (p_.order) {
      case DepthwiseFilterPlan::Order::kWalk: return SumsByWalk(b_, p_, task_);
      case DepthwiseFilterPlan::Order::kRows: return SumsByRows(b_, p_, task_);
      case DepthwiseFilterPlan::Order::kTiles: break;
    }
    return SumsByTiles(b_, p_, task_);
  }
  std::string OrderText() const {
    if (p_.order == DepthwiseFilterPlan::Order::kWalk) return "by rows of x";
    const std::string taps = StrCat(p_.group_rows, "x", p_.columns, " taps");
    return p_.order == DepthwiseFilterPlan::Order::kRows ? StrCat("by rows of dy, ", taps) : taps;
  }
  int Input(size_t operand) const { return cluster_.input_index(cluster_.node(*cluster_.anchor).inputs[operand]); }

  void EmitKernel() {
    if (p_.by_chunks) {
      const int workspace = b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
      const Val at = b_.Add(b_.Mul(task_.chunk(), p_.dw_floats()), task_.first());
      Chunk(task_.chunk(), {workspace, at, p_.g.out_channels});
      return;
    }
    ClusterIr epilogue(b_, cluster_);
    const int64_t width = task_.most_channels();
    const Place totals{task_.scratch().Take(p_.taps() * width), b_.I64(0), width};
    if (p_.chunks == 0) {
      task_.Clear(totals);
    } else {
      Chunk(b_.I64(0), totals);
    }
    if (p_.chunks > 1) {
      const Place later{task_.scratch().Take(p_.taps() * width), b_.I64(0), width};
      b_.Loop(b_.I64(1), b_.I64(p_.chunks), 1, [&](Val chunk) {
        Chunk(chunk, later);
        Add(totals, later);
      });
    }
    Finish(epilogue, totals);
  }

  void Chunk(Val chunk, const Place& sums) {
    const Val first = b_.Mul(chunk, p_.chunk_images);
    Val images = b_.I64(p_.chunk_images);
    if (p_.g.batch % p_.chunk_images != 0) images = b_.Min(images, task_.Sub(b_.I64(p_.g.batch), first));
    sums_->Emit(first, images, sums);
  }

  // Both in scratch, where there is room for whole vectors.
  void Add(const Place& totals, const Place& later) {
    task_.EachTap([&](Val tap) {
      b_.Loop(b_.I64(0), task_.channels(), kLanes, [&](Val c) {
        const Val at = b_.Add(b_.Mul(tap, totals.pitch), c);
        const Val total = b_.Load(totals.buffer, at, kLanes), add = b_.Load(later.buffer, at, kLanes);
        b_.Store(totals.buffer, b_.Binary(IrOp::kAdd, total, add), at);
      });
    });
  }

  void Finish(ClusterIr& epilogue, const Place& totals) {
    const auto multiple = [&](int64_t n) { return p_.g.out_channels % n == 0 && totals.pitch % n == 0; };
    task_.EachTap([&](Val tap) {
      EmitRange(b_, epilogue,
                {.buffer = totals.buffer,
                 .base = b_.Mul(tap, totals.pitch),
                 .flat = b_.Add(b_.Mul(tap, p_.g.out_channels), task_.first()),
                 .count = task_.channels(),
                 .whole = multiple(kLanes),
                 .aligned = multiple(kLanes),
                 .blocks = multiple(kRandomBlock),
                 .column = task_.first()});
    });
  }

  const Cluster& cluster_;
  const DepthwiseFilterPlan& p_;
  KernelBuilder b_;
  DepthwiseFilterIr task_;
  const std::unique_ptr<DepthwiseFilterSums> sums_;
};

}  // namespace

std::optional<Lowering> LowerDepthwiseFilterGradient(const Cluster& cluster, const TileLimits& limits) {
  const Node& anchor = cluster.node(*cluster.anchor);
  const ConvGeometry g = ConvGeometryOf(anchor.attrs, cluster.type(anchor.inputs[0]).shape, anchor.outputs[0].shape);
  if (g.groups == 1 || g.group_in() != 1 || g.group_out() != 1) return std::nullopt;
  const std::optional<DepthwiseFilterPlan> plan = PlanDepthwiseFilter(g, limits);
  if (!plan) return std::nullopt;
  return DepthwiseFilter(cluster, *plan).Lower();
}

}  // namespace weir::jit
