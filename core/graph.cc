#include "weir/core/graph.h"

#include "weir/core/error.h"
#include "weir/core/op_def.h"

namespace weir {
namespace {

std::vector<TensorType> InferInput(const InferContext& context) {
  return {{context.attrs.Type("dtype"), Shape(context.attrs.Ints("shape"))}};
}

constexpr OpDef kInputOp = {.name = "input", .kind = OpKind::kLeaf, .infer = InferInput};

}  // namespace

const OpDef& InputOp() { return kInputOp; }

std::ostream& operator<<(std::ostream& out, const Ref& ref) {
  out << '%' << ref.node;
  if (ref.output != 0) out << '.' << ref.output;
  return out;
}

std::shared_ptr<Graph> Graph::Create() { return std::shared_ptr<Graph>(new Graph()); }

NodeId Graph::Append(const OpDef& op, std::span<const Ref> inputs, AttrMap attrs, std::source_location where) {
  if (current_source_.line() != 0) where = current_source_;
  Origin origin{.layer = current_layer_, .backward = false, .line = where.line(), .file = where.file_name()};
  if (forced_origin_) origin = *forced_origin_;
  absl::InlinedVector<TensorType, 4> types;
  for (Ref ref : inputs) {
    WEIR_CHECK(ref.node >= 0 && ref.node < size(), "input ", ref, " of ", op.name, " is not of this graph");
    types.push_back(type(ref));
  }
  std::vector<TensorType> outputs;
  try {
    outputs = op.infer({op, attrs, {types.data(), types.size()}});
  } catch (const Error& error) {
    const std::string& layer = LayerPath(origin.layer);
    // A shape that can't be knows of no op.
    const bool names_op = !std::string_view(error.message()).starts_with("shape ");
    throw Error(error.code(), StrCat(names_op ? "" : op.name, names_op ? "" : ": result of ", error.message(), layer.empty() ? "" : " at ", layer, layer.empty() ? " at " : ", ",
                                     ShortLocation(origin.file, static_cast<int>(origin.line))));
  }
  Node& node = nodes_.emplace_back();
  node.op = &op;
  node.attrs = std::move(attrs);
  node.inputs.assign(inputs.begin(), inputs.end());
  node.outputs.assign(std::make_move_iterator(outputs.begin()), std::make_move_iterator(outputs.end()));
  node.origin = origin;
  return size() - 1;
}

NodeId Graph::AppendCopy(const Graph& from, NodeId id, std::span<const Ref> inputs) {
  Node copy = from.node(id);
  copy.inputs.assign(inputs.begin(), inputs.end());
  copy.origin.layer = InternLayer(from.LayerPath(copy.origin.layer));
  nodes_.push_back(std::move(copy));
  return size() - 1;
}

void Graph::CopyOrigin(const Graph& from, NodeId id, NodeId to) {
  Node& node = nodes_[static_cast<size_t>(to)];
  node.origin = from.node(id).origin;
  node.origin.layer = InternLayer(from.LayerPath(node.origin.layer));
  node.name = from.node(id).name;
}

int32_t Graph::InternLayer(std::string path) {
  if (path.empty()) return 0;
  const auto [found, added] = layer_index_.try_emplace(path, static_cast<int32_t>(layer_paths_.size()));
  if (added) layer_paths_.push_back(std::move(path));
  return found->second;
}

Value Graph::Input(TensorType type, std::string name, std::source_location where) {
  const NodeId id = Append(InputOp(), {}, {{"dtype", type.dtype}, {"shape", Dims(type.shape.begin(), type.shape.end())}}, where);
  SetName(id, std::move(name));
  return value({id, 0});
}

Value Graph::Data(Tensor tensor, std::string name, std::source_location where) {
  if (!tensor.defined()) ThrowInvalidArgument("Data: the tensor holds nothing");
  Value leaf = Input(tensor.type(), std::move(name), where);
  SetData(leaf.ref, std::move(tensor));
  return leaf;
}

Tensor Graph::data(Ref ref) const {
  const std::lock_guard lock(data_mutex_);
  const auto found = data_.find(ref);
  return found == data_.end() ? Tensor() : found->second;
}

void Graph::SetData(Ref ref, Tensor tensor) {
  WEIR_CHECK(tensor.type() == type(ref), "data ", tensor.type(), " for value ", type(ref));
  const std::lock_guard lock(data_mutex_);
  data_[ref] = std::move(tensor);
}

std::string Graph::Path(NodeId id) const {
  const Node& n = node(id);
  const std::string last = n.name.empty() ? StrCat(n.op->name, "_", id) : n.name;
  const std::string& layer = LayerPath(n.origin.layer);
  return layer.empty() ? last : StrCat(layer, "/", last);
}

Graph::LayerScope::LayerScope(Graph& graph, std::string_view part) : graph_(graph), previous_(graph.current_layer_) {
  const std::string& outer = graph.LayerPath(graph.current_layer_);
  graph.current_layer_ = graph.InternLayer(outer.empty() ? std::string(part) : StrCat(outer, "/", part));
}

Graph::BackwardScope::BackwardScope(Graph& graph, NodeId forward) : graph_(graph), previous_(graph.forced_origin_) {
  Origin origin = graph.node(forward).origin;
  origin.backward = true;
  graph.forced_origin_ = origin;
}

Graph::BackwardScope::~BackwardScope() { graph_.forced_origin_ = previous_; }

double Flops(const OpDef& op, const AttrMap& attrs, std::span<const TensorType> inputs,
             std::span<const TensorType> outputs) {
  if (op.flops != nullptr) return op.flops(attrs, inputs, outputs);
  if (op.kind == OpKind::kLeaf || op.kind == OpKind::kConstant || op.kind == OpKind::kAlias) return 0;
  double count = 0;
  for (const TensorType& type : outputs) count += static_cast<double>(type.shape.size());
  return count;
}

void OpRegistry::Register(const OpDef& op) {
  WEIR_CHECK(Find(op.name) == nullptr, "op ", op.name, " registered twice");
  ops_.push_back(&op);
}

const OpDef* OpRegistry::Find(std::string_view name) const {
  for (const OpDef* op : ops_) {
    if (op->name == name) return op;
  }
  return nullptr;
}

}  // namespace weir
