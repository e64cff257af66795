#include "weir/backends/llvm/llvm_backend.h"

#include <algorithm>
#include <mutex>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "weir/backends/llvm/jit.h"
#include "weir/backends/llvm/kernel_interpreter.h"
#include "weir/backends/llvm/kernel_names.h"
#include "weir/backends/llvm/lowering.h"

namespace weir {
namespace jit {
namespace {

// Code grows with a cluster, and compiling with the square of it: long chains become several kernels.
constexpr size_t kMaxNodes = 48;
constexpr size_t kMaxOperands = 20;

// The prologue of an anchor that asks for the elements of its operand once each, vector by vector.
std::optional<Decline> PrologueByVectors(const Cluster& cluster, const Node& anchor, const TileLimits&) {
  for (NodeId id : cluster.nodes) {
    const Node& node = cluster.node(id);
    if (node.op->kind == OpKind::kCounter &&
        node.outputs[0].shape.size() == cluster.type(anchor.inputs[0]).shape.size()) {
      return Decline{"random numbers are drawn fastest in a pass of their own"};
    }
  }
  return std::nullopt;
}
std::optional<Decline> PrologueOfPool(const Cluster& cluster, const Node& anchor, const TileLimits& limits) {
  if (!PoolReadsOnce(anchor, cluster.type(anchor.inputs[0]).shape))
    return Decline{"windows would compute it more than once"};
  return PrologueByVectors(cluster, anchor, limits);
}

struct AnchorRow {
  std::string_view op;
  LowerResult (*lower)(const Cluster& cluster, const TileLimits& limits);
  // Why `cluster` can't be the prologue of `anchor`; null: nothing can.
  std::optional<Decline> (*prologue)(const Cluster& cluster, const Node& anchor, const TileLimits& limits) = nullptr;
  // Why `node` can't be the tail; null: none can.
  std::optional<Decline> (*tail)(const Cluster& cluster, const Node& node, const TileLimits& limits) = nullptr;
};
constexpr AnchorRow kAnchors[] = {
    {"conv", LowerConv, ConvPrologueDecline, ConvTailDecline},
    {"conv_input_gradient", LowerConv, ConvPrologueDecline},
    {"conv_filter_gradient", LowerConvFilterGradient},
    {"matmul", LowerMatMul},
    {"reduce_sum", LowerReduce, PrologueByVectors},
    {"reduce_sum_squares", LowerReduce, PrologueByVectors},
    {"reduce_max", LowerReduce, PrologueByVectors},
    {"reduce_min", LowerReduce, PrologueByVectors},
    {"argmax", LowerArgMax, PrologueByVectors},
    {"softmax", LowerSoftmax, PrologueByVectors},
    {"log_softmax", LowerSoftmax, PrologueByVectors},
    {"sparse_cross_entropy", LowerSoftmax, PrologueByVectors},
    {"max_pool", LowerPool, PrologueOfPool},
    {"max_pool_gather", LowerPool, PrologueOfPool},
    {"average_pool", LowerPool, PrologueOfPool},
    {"max_pool_gradient", LowerPoolGradient, PrologueByVectors},
    {"average_pool_gradient", LowerPoolGradient, PrologueByVectors},
};

const AnchorRow* FindAnchor(std::string_view op) {
  for (const AnchorRow& row : kAnchors) {
    if (row.op == op) return &row;
  }
  return nullptr;
}

bool IsByte(DType dtype) { return SizeOf(dtype) == 1; }

// An epilogue must stay one that the backend behind this one takes too, in case the anchor is declined.
std::optional<Decline> EpilogueDecline(const Cluster& cluster, const Node& node) {
  const DType anchor = cluster.graph->type(cluster.node(*cluster.anchor).inputs[0]).dtype;
  if (anchor != DType::kFloat32)
    return Decline{StrCat(cluster.node(*cluster.anchor).op->name, " of ", anchor, " is the reference's")};
  const auto common = [](DType dtype) { return dtype != DType::kInt64; };
  const std::optional<ScalarOp> op = ScalarOpFromName(node.op->name);
  const bool number = op && (Info(*op).form == ScalarForm::kUnary || Info(*op).form == ScalarForm::kBinary);
  if (!common(node.outputs[0].dtype)) return Decline{"64-bit integers behind an anchor"};
  for (Ref input : node.inputs) {
    const TensorType& type = cluster.type(input);
    if (!common(type.dtype)) return Decline{"64-bit integers behind an anchor"};
    if (number && IsByte(type.dtype)) return Decline{"arithmetic of bytes behind an anchor"};
    if (cluster.node(input.node).op->kind == OpKind::kCounter && type.shape != cluster.shape) {
      return Decline{"random numbers of another shape behind an anchor"};
    }
  }
  return std::nullopt;
}

class LlvmBackend : public Backend {
 public:
  LlvmBackend(std::unique_ptr<const Jit> jit, bool interpret) : jit_(std::move(jit)), interpret_(interpret) {}

  std::string_view name() const override { return "llvm"; }
  std::string config_key() const override { return StrCat("llvm:", jit_->cpu()); }

  absl::Status Usable() const override {
    WEIR_RETURN_IF_ERROR(jit_->target().status());
    std::lock_guard lock(mutex_);
    return refused_;
  }

  std::optional<Decline> MayJoin(const Cluster& cluster, const Node& node) const override {
    if (cluster.nodes.empty()) return std::nullopt;
    if (cluster.nodes.size() >= kMaxNodes) return Decline{"the cluster is full"};
    if (CountOperands(cluster, node) > kMaxOperands) return Decline{"the cluster has too many operands"};
    if (cluster.anchor) {
      if (auto decline = EpilogueDecline(cluster, node)) return decline;
    }
    return ClusterIr::NodeDecline(cluster, node);
  }

  std::optional<Decline> MayPrecede(const Cluster& cluster, const Node& anchor) const override {
    const TensorType& operand = cluster.type(anchor.inputs[0]);
    if (operand.dtype != DType::kFloat32)
      return Decline{StrCat(anchor.op->name, " of ", operand.dtype, " is the reference's")};
    const AnchorRow* row = FindAnchor(anchor.op->name);
    if (row == nullptr || row->prologue == nullptr) {
      return Decline{StrCat("what ", anchor.op->name, " reads has to be whole before it starts")};
    }
    if (operand.shape.size() == 0 || anchor.outputs[0].shape.size() == 0) return Decline{"no elements"};
    if (auto decline = row->prologue(cluster, anchor, limits())) return decline;
    for (NodeId id : cluster.nodes) {
      if (auto decline = ClusterIr::NodeDecline(cluster, cluster.node(id))) return decline;
    }
    return std::nullopt;
  }

  std::optional<Decline> MayFollow(const Cluster& cluster, const Node& node) const override {
    const std::string_view anchor = cluster.node(*cluster.anchor).op->name;
    const AnchorRow* row = FindAnchor(anchor);
    if (row == nullptr || row->tail == nullptr) return Decline{StrCat("no ", node.op->name, " behind a ", anchor)};
    return row->tail(cluster, node, limits());
  }

  std::variant<Lowering, Decline> Lower(const Cluster& cluster) const override {
    LowerResult result = LowerUnnamed(cluster);
    if (Lowering* lowering = std::get_if<Lowering>(&result)) NameKernels(cluster, lowering->stages);
    return result;
  }

  absl::Status Finalize(std::span<Lowering* const> lowerings, ThreadPool& pool) const override {
    // Steps that are alike share what they were lowered to, and share it compiled.
    std::vector<std::vector<Stage*>> users;  // of each kernel
    std::vector<NamedKernel> kernels;
    absl::flat_hash_map<const void*, size_t> known;
    for (Lowering* lowering : lowerings) {
      for (Stage& stage : lowering->stages) {
        const auto [at, fresh] = known.try_emplace(stage.state.get(), kernels.size());
        if (fresh) {
          users.emplace_back();
          kernels.push_back({&StateOf(stage).kernel, StateOf(stage).symbol});
        }
        users[at->second].push_back(&stage);
      }
    }
    if (kernels.empty()) return absl::OkStatus();
    if (interpret_) {
      for (size_t i = 0; i < users.size(); ++i) {
        WEIR_RETURN_IF_ERROR(Verify(*kernels[i].kernel));
        for (Stage* stage : users[i]) {
          stage->run = [](const KernelCall& call) noexcept {
            Interpret(static_cast<const KernelState*>(call.state)->kernel, call);
          };
        }
      }
      return absl::OkStatus();
    }
    const absl::StatusOr<Compiled> compiled = jit_->Compile(kernels, pool);
    if (absl::IsUnavailable(compiled.status())) {
      std::lock_guard lock(mutex_);
      refused_ = compiled.status();
    }
    WEIR_RETURN_IF_ERROR(compiled.status());
    for (size_t i = 0; i < users.size(); ++i) {
      auto state = std::make_shared<KernelState>(StateOf(*users[i].front()));
      state->code = compiled->code;
      for (Stage* stage : users[i]) {
        stage->state = state;
        stage->run = compiled->functions[i];
      }
    }
    return absl::OkStatus();
  }

  std::string Show(const Lowering& lowering, CodeView view) const override {
    std::string text;
    for (const Stage& stage : lowering.stages) {
      const Kernel& kernel = StateOf(stage).kernel;
      text += StrCat("; ", kernel.name, ", ", stage.tasks, " tasks\n");
      if (view == CodeView::kLoops) {
        text += ToText(kernel);
        continue;
      }
      const NamedKernel kernels[] = {{&kernel, StateOf(stage).symbol}};
      const auto code = jit_->Show(kernels, view == CodeView::kLlvmIr ? CodeForm::kLlvmIr : CodeForm::kAssembly);
      text += code.ok() ? *code : std::string(code.status().message());
    }
    return text;
  }

 private:
  LowerResult LowerUnnamed(const Cluster& cluster) const {
    if (HasNoWork(cluster)) return Lowering{.kernel = "no elements", .stages = {}, .workspace_bytes = 0, .in_place = {}};
    if (cluster.type(cluster.outputs[0]).shape.size() == 0 &&
        cluster.node(cluster.nodes[0]).op->kind == OpKind::kOpaque) {
      return Decline{"indices are to be checked, for nothing to be made of them"};
    }
    const Node& first = cluster.node(cluster.anchor ? *cluster.anchor : cluster.nodes[0]);
    if (first.op->kind == OpKind::kOpaque) return LowerMove(cluster);
    if (auto decline = ClusterIr::ClusterDecline(cluster)) return *std::move(decline);
    if (!cluster.anchor) return LowerElementwise(cluster, limits());
    const AnchorRow* row = FindAnchor(first.op->name);
    if (row == nullptr) return Decline{StrCat("no lowering for ", first.op->name)};
    const DType dtype = cluster.type(first.inputs[0]).dtype;
    if (dtype != DType::kFloat32) return Decline{StrCat(first.op->name, " of ", dtype, " is the reference's")};
    return row->lower(cluster, limits());
  }

  TileLimits limits() const {
    if (!jit_->target().ok()) return {};  // never run: see Usable
    const jit::Target& target = *jit_->target();
    return {.vector_registers = target.vector_registers,
            .vector_parts = target.vector_parts,
            .fetches_far = target.fetches_far,
            .far_bytes = target.far_bytes};
  }

  const std::unique_ptr<const Jit> jit_;
  const bool interpret_;
  mutable std::mutex mutex_;  // guards refused_
  mutable absl::Status refused_;  // why this machine lets no kernel be linked, once that is known
};

}  // namespace
}  // namespace jit

absl::StatusOr<std::unique_ptr<Backend>> MakeLlvmBackend(const LlvmOptions& options) {
  WEIR_RETURN_IF_ERROR(jit::CheckThisProcessor());
  WEIR_RETURN_IF_ERROR(jit::FindPlugin());
  std::shared_ptr<const jit::ObjectCache> cache;
  if (!options.cache_folder.empty()) {
    cache = std::make_shared<const jit::ObjectCache>(options.cache_folder, options.cache_bytes);
  }
  auto jit = std::make_unique<const jit::Jit>(options.cpu, std::move(cache));
  // Whether a processor of that name can be had only LLVM knows.
  if (!options.cpu.empty()) WEIR_RETURN_IF_ERROR(jit->target().status());
  return std::make_unique<jit::LlvmBackend>(std::move(jit), options.interpret);
}

}  // namespace weir
