#include "weir/frontend/model_probe.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "weir/core/op_def.h"
#include "weir/core/rng.h"
#include "weir/core/runtime.h"
#include "weir/frontend/call_context.h"
#include "weir/frontend/variable_locks.h"

namespace weir {
namespace {

// Layer names hold no '/', so these never meet a weight's.
constexpr char kProbeInput[] = "/probe/input/";
constexpr char kProbeOutput[] = "/probe/output/";
constexpr double kProbeTolerance = 1e-5;

constexpr int64_t kMaxProbeNodes = 10'000;
constexpr double kMaxProbeBytes = 0x1p30;
constexpr double kMaxProbeFlops = 1e11;

// An input of the model's shape.
std::vector<TensorType> ProbeTypes(const ModelBase& model) {
  std::vector<TensorType> types;
  for (const SymbolicTensor& input : model.network().inputs) {
    Dims dims(input.shape().begin(), input.shape().end());
    for (size_t i = 0; i < dims.size(); ++i) dims[i] = dims[i] != kNone ? dims[i] : i == 0 ? 1 : 64;
    types.push_back({input.spec().dtype, Shape(dims)});
  }
  return types;
}

// The same values for all time.
std::vector<Tensor> ProbeInputs(const std::vector<TensorType>& types) {
  std::vector<Tensor> inputs;
  RandomStream random(1, 0);
  for (const TensorType& type : types) {
    Tensor tensor(type.dtype, type.shape);
    if (tensor.dtype() == DType::kFloat32) {
      for (float& value : tensor.data<float>()) value = static_cast<float>(random.Uniform());
    }
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

// A prediction of the model for inputs of some types, recorded. Recording works out shapes and computes nothing.
class Recorded {
 public:
  Recorded(const ModelBase& model, const std::vector<TensorType>& types)
      : runtime_(model.runtime()), context_(Graph::Create(), /*training=*/false, model.seed()) {
    for (const TensorType& type : types) leaves_.push_back(context_.graph()->Input(type));
    outputs_ = context_.CallLayer(model, model.name(), leaves_);
  }

  bool IsLittleWork() const {
    const Graph& graph = *context_.graph();
    if (graph.size() > kMaxProbeNodes) return false;
    double bytes = 0, flops = 0;
    for (NodeId id = 0; id < graph.size(); ++id) {
      const Node& node = graph.node(id);
      for (const TensorType& type : node.outputs) bytes += static_cast<double>(type.bytes());
      std::vector<TensorType> in;
      for (const Ref& ref : node.inputs) in.push_back(graph.type(ref));
      flops += Flops(*node.op, node.attrs, in, node.outputs);
    }
    return bytes <= kMaxProbeBytes && flops <= kMaxProbeFlops;
  }

  // Apart from the trainer: no tap sees it, and no counter counts it.
  std::vector<Tensor> Run(std::vector<Tensor> inputs, const WeightSnapshot& weights) {
    std::vector<Value> roots = outputs_;
    for (const auto& [variable, leaf] : context_.weights()) {
      leaves_.push_back(leaf);
      const auto found = std::find(weights.variables.begin(), weights.variables.end(), variable);
      WEIR_CHECK(found != weights.variables.end(), "the probe has no value of ", variable.path());
      inputs.push_back(weights.values[static_cast<size_t>(found - weights.variables.begin())]);
    }
    // An output may be an input, or another output: each value is asked for once, under a node of its own.
    for (Value& root : roots) root = context_.Identity(root);
    const absl::StatusOr<std::shared_ptr<const Executable>> executable = runtime_.Compile(leaves_, roots);
    ThrowIfError(executable.status());
    std::vector<Tensor> outputs(roots.size());
    ThrowIfError(runtime_.Run(**executable, inputs, outputs));
    return outputs;
  }

 private:
  Runtime& runtime_;
  CallContext context_;
  std::vector<Value> leaves_, outputs_;
};

// How far `have` is from `want`, and the largest finite magnitude of `want`; NaN where one has a NaN the other has not.
struct Distance {
  double largest = 0;
  double difference = 0;
};
Distance DistanceOf(std::span<const float> want, std::span<const float> have) {
  Distance distance;
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isfinite(want[i])) distance.largest = std::max(distance.largest, std::fabs(double{want[i]}));
    if (std::isnan(want[i]) && std::isnan(have[i])) continue;
    if (want[i] == have[i]) continue;
    const double difference = std::fabs(double{want[i]} - double{have[i]});
    // max() would drop a NaN.
    if (std::isnan(difference)) distance.difference = std::numeric_limits<double>::infinity();
    distance.difference = std::max(distance.difference, difference);
  }
  return distance;
}

}  // namespace

NamedTensors MakeProbe(const ModelBase& model, const WeightSnapshot& weights) {
  NamedTensors tensors;
  try {
    const std::vector<TensorType> types = ProbeTypes(model);
    if (model.call_count() > kMaxProbeNodes) return {};
    Recorded recorded(model, types);
    if (!recorded.IsLittleWork()) return {};
    const std::vector<Tensor> inputs = ProbeInputs(types), outputs = recorded.Run(inputs, weights);
    for (size_t i = 0; i < inputs.size(); ++i) tensors.emplace_back(StrCat(kProbeInput, i), inputs[i]);
    for (size_t i = 0; i < outputs.size(); ++i) tensors.emplace_back(StrCat(kProbeOutput, i), outputs[i]);
  } catch (const Error&) {
    return {};
  }
  return tensors;
}

absl::Status CheckProbe(const ModelBase& model, const SafetensorsFile& file, const std::string& path) {
  std::vector<Tensor> inputs;
  std::vector<TensorType> types;
  for (const Tensor* input; (input = file.Find(StrCat(kProbeInput, inputs.size()))) != nullptr;) {
    inputs.push_back(*input);
    types.push_back(input->type());
  }
  if (inputs.empty()) return absl::OkStatus();
  const std::vector<SymbolicTensor>& expected = model.network().inputs;
  bool fit = inputs.size() == expected.size();
  for (size_t i = 0; fit && i < inputs.size(); ++i) {
    fit = Fits(types[i].shape, expected[i].spec()) && types[i].dtype == expected[i].spec().dtype;
  }
  if (!fit) {
    return absl::DataLossError(StrCat(path, ": the stored probe's inputs (", StrJoin(types, ", "),
                                      ") are none of the model's"));
  }
  if (model.call_count() > kMaxProbeNodes) return absl::OkStatus();
  Recorded recorded(model, types);
  if (!recorded.IsLittleWork()) return absl::OkStatus();
  const std::vector<Variable> variables = model.weights();
  const std::vector<Tensor> outputs = recorded.Run(inputs, {variables, SnapshotOf(variables)});
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor* want = file.Find(StrCat(kProbeOutput, i));
    if (want == nullptr || want->type() != outputs[i].type()) {
      return absl::DataLossError(StrCat(path, ": the stored probe has no output ", i, " of type ", outputs[i].type()));
    }
    if (want->dtype() != DType::kFloat32) continue;
    const Distance distance = DistanceOf(want->data<float>(), outputs[i].data<float>());
    if (!(distance.difference <= kProbeTolerance * distance.largest)) {
      return absl::DataLossError(StrCat(path, ": the model computes something else than when it was saved: output ", i,
                                        " of the stored probe differs by ", distance.difference, " (largest value ",
                                        distance.largest, ")"));
    }
  }
  return absl::OkStatus();
}

}  // namespace weir
