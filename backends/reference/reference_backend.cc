#include "weir/backends/reference/reference_backend.h"

#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weir/core/error.h"

namespace weir {
namespace {

constexpr int64_t kAlignment = 64;  // bytes, as all buffers have it

// Where a value lies while a cluster runs.
struct Place {
  enum Kind { kInput, kOutput, kWorkspace } kind;
  int64_t at;  // index, or offset in bytes
};

struct Step {
  const OpDef* op;
  AttrMap attrs;
  std::vector<TensorType> input_types, output_types;
  std::vector<Place> inputs, outputs;
};

struct Steps {
  std::vector<Step> steps;
};

std::byte* Writable(const KernelCall& call, Place place) {
  return place.kind == Place::kOutput ? call.outputs[place.at] : call.workspace + place.at;
}

void Run(const KernelCall& call) noexcept {
  for (const Step& step : static_cast<const Steps*>(call.state)->steps) {
    std::vector<const std::byte*> inputs;
    std::vector<std::byte*> outputs;
    for (Place place : step.inputs) {
      inputs.push_back(place.kind == Place::kInput ? call.inputs[place.at] : Writable(call, place));
    }
    for (Place place : step.outputs) outputs.push_back(Writable(call, place));
    step.op->reference({step.attrs, step.input_types, step.output_types, inputs, outputs, *call.errors});
  }
}

class ReferenceBackend : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  std::string config_key() const override { return ""; }

  std::optional<Decline> MayJoin(const Cluster& cluster, const Node&) const override {
    if (cluster.nodes.empty()) return std::nullopt;
    return Decline{"one kernel a node"};
  }

  // Inner values live in the workspace; outputs are written where they belong and read from there.
  std::variant<Lowering, Decline> Lower(const Cluster& cluster) const override {
    auto state = std::make_shared<Steps>();
    absl::flat_hash_map<Ref, Place> places;
    for (size_t i = 0; i < cluster.inputs.size(); ++i) {
      places[cluster.inputs[i]] = {Place::kInput, static_cast<int64_t>(i)};
    }
    for (size_t i = 0; i < cluster.outputs.size(); ++i) {
      places[cluster.outputs[i]] = {Place::kOutput, static_cast<int64_t>(i)};
    }
    Lowering lowering;
    int computing = 0;
    for (NodeId id : cluster.nodes) {
      const Node& node = cluster.node(id);
      if (node.op->reference == nullptr) return Decline{StrCat(node.op->name, " has no reference")};
      Step& step = state->steps.emplace_back(Step{node.op, node.attrs, {}, {}, {}, {}});
      for (Ref ref : node.inputs) {
        const auto place = places.find(ref);
        WEIR_CHECK(place != places.end(), "operand ", ref, " of ", node.op->name, " is neither inside nor an input");
        step.inputs.push_back(place->second);
        step.input_types.push_back(cluster.type(ref));
      }
      for (int output = 0; output < static_cast<int>(node.outputs.size()); ++output) {
        const Ref ref{id, output};
        const auto [place, inner] = places.try_emplace(ref, Place{Place::kWorkspace, lowering.workspace_bytes});
        if (inner) {
          const int64_t bytes = cluster.type(ref).bytes();
          lowering.workspace_bytes += (bytes + kAlignment - 1) / kAlignment * kAlignment;
        }
        step.outputs.push_back(place->second);
        step.output_types.push_back(cluster.type(ref));
      }
      if (node.op->kind != OpKind::kConstant && node.op->kind != OpKind::kCounter) ++computing;
    }
    // The reference of one elementwise node may write over an operand; a chain might read it again later.
    if (computing == 1 && !cluster.anchor && cluster.node(cluster.nodes.back()).op->kind == OpKind::kElementwise) {
      lowering.in_place = PointwisePairs(cluster);
    }
    lowering.kernel = "reference";
    lowering.stages.push_back({.run = Run, .state = std::move(state), .tasks = 1});
    return lowering;
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace weir
