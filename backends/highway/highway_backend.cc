#include "weir/backends/highway/highway_backend.h"

#include <algorithm>
#include <utility>

#include "weir/backends/highway/block_program.h"
#include "weir/backends/highway/lowering.h"

namespace weir {
namespace highway {
namespace {

using LowerFn = LowerResult (*)(const LowerContext& context);

struct AnchorRow {
  std::string_view op;
  LowerFn lower;
};
constexpr AnchorRow kAnchors[] = {
    {"conv", LowerConv},
    {"conv_input_gradient", LowerConvInputGradient},
    {"conv_filter_gradient", LowerConvFilterGradient},
    {"matmul", LowerMatMul},
    {"max_pool", LowerPool},
    {"max_pool_gather", LowerPool},
    {"average_pool", LowerPool},
    {"max_pool_gradient", LowerPoolGradient},
    {"average_pool_gradient", LowerPoolGradient},
    {"reduce_sum", LowerReduce},
    {"reduce_sum_squares", LowerReduce},
    {"reduce_max", LowerReduce},
    {"reduce_min", LowerReduce},
    {"argmax", LowerArgMax},
    {"softmax", LowerSoftmax},
    {"log_softmax", LowerSoftmax},
    {"sparse_cross_entropy", LowerSoftmax},
};

LowerFn FindAnchor(std::string_view op) {
  for (const AnchorRow& row : kAnchors) {
    if (row.op == op) return row.lower;
  }
  return nullptr;
}

// All anchors compute float32; labels of a cross entropy may be integers.
std::optional<Decline> AnchorDecline(const Graph& graph, const Node& node) {
  if (FindAnchor(node.op->name) == nullptr) return Decline{StrCat("no lowering for ", node.op->name)};
  const DType dtype = graph.type(node.inputs[0]).dtype;
  if (dtype != DType::kFloat32) return Decline{StrCat(node.op->name, " of ", dtype, " is the reference's")};
  return std::nullopt;
}

class HighwayBackend : public Backend {
 public:
  explicit HighwayBackend(const KernelTable& kernels) : kernels_(kernels) {}

  std::string_view name() const override { return "highway"; }
  std::string config_key() const override { return StrCat("highway:", kernels_.target); }

  std::optional<Decline> MayJoin(const Cluster& cluster, const Node& node) const override {
    if (cluster.nodes.empty()) return StartDecline(cluster, node);
    if (cluster.nodes.size() >= kMaxBlockNodes / 2) return Decline{"the cluster is full"};
    if (cluster.anchor) {
      if (auto decline = AnchorDecline(*cluster.graph, cluster.node(*cluster.anchor))) return decline;
    }
    if (CountOperands(cluster, node) > kMaxBlockOperands / 2) return Decline{"the cluster has too many operands"};
    return BlockNodeDecline(cluster, node);
  }

  std::variant<Lowering, Decline> Lower(const Cluster& cluster) const override {
    if (cluster.prologue > 0 || cluster.tail) return Decline{"a kernel with more than an anchor and an epilogue"};
    if (HasNoWork(cluster)) return Lowering{.kernel = "no elements", .stages = {}, .workspace_bytes = 0, .in_place = {}};
    if (cluster.type(cluster.outputs[0]).shape.size() == 0 &&
        cluster.node(cluster.nodes[0]).op->kind == OpKind::kOpaque) {
      return Decline{"indices are to be checked, for nothing to be made of them"};
    }
    if (!cluster.anchor && cluster.node(cluster.nodes[0]).op->kind == OpKind::kOpaque) {
      return LowerMove(cluster, kernels_);
    }
    if (cluster.anchor) {
      if (auto decline = AnchorDecline(*cluster.graph, cluster.node(*cluster.anchor))) return *std::move(decline);
    }
    auto program = BlockProgram::Compile(cluster, kernels_);
    if (Decline* decline = std::get_if<Decline>(&program)) return std::move(*decline);
    const LowerContext context{cluster, kernels_, std::get<0>(std::move(program))};
    if (!cluster.anchor) return LowerElementwise(context);
    LowerResult result = FindAnchor(context.anchor().op->name)(context);
    if (Lowering* lowering = std::get_if<Lowering>(&result)) {
      lowering->in_place = context.program->in_place();
      if (!context.program->empty()) {
        lowering->kernel += StrCat(", epilogue of ", context.program->instructions(), " passes");
      }
    }
    return result;
  }

 private:
  std::optional<Decline> StartDecline(const Cluster& cluster, const Node& node) const {
    switch (node.op->kind) {
      case OpKind::kAnchor: return cluster.graph == nullptr ? std::nullopt : AnchorDecline(*cluster.graph, node);
      case OpKind::kElementwise:
      case OpKind::kConstant:
      case OpKind::kCounter:
      case OpKind::kOpaque: return std::nullopt;
      default: return Decline{StrCat("no lowering for ", node.op->name)};
    }
  }

  const KernelTable& kernels_;
};

}  // namespace
}  // namespace highway

absl::StatusOr<std::unique_ptr<Backend>> MakeHighwayBackend(const HighwayOptions& options) {
  const std::vector<std::string> targets = HighwayTargets();
  const std::string target = options.target.empty() ? targets.front() : options.target;
  const highway::KernelTable* kernels = highway::FindKernels(target);
  if (kernels == nullptr) {
    return absl::InvalidArgumentError(
        StrCat("MakeHighwayBackend: ", UnknownNameMessage("or unavailable target", target, targets)));
  }
  return std::make_unique<highway::HighwayBackend>(*kernels);
}

std::vector<std::string> HighwayTargets() { return highway::SupportedTargets(); }

}  // namespace weir
