// What a block program takes: which nodes, and how their operands from outside are read.
#include "weir/backends/highway/block_program.h"
#include "weir/ops/scalar_math.h"

namespace weir::highway {

bool IsBlockType(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kInt32 || dtype == DType::kBool || dtype == DType::kUint8;
}

std::optional<Decline> BlockNodeDecline(const Cluster& cluster, const Node& node) {
  const OpDef& op = *node.op;
  const TensorType& type = node.outputs[0];
  if (!IsBlockType(type.dtype)) return Decline{StrCat(op.name, " of ", type.dtype, " is the reference's")};
  if (op.kind == OpKind::kConstant) return std::nullopt;
  if (type.shape != cluster.shape) {
    return Decline{StrCat(op.name, ": shape ", type.shape, " in a cluster of shape ", cluster.shape)};
  }
  if (op.kind == OpKind::kCounter) {
    if (op.name == "random_uniform") return std::nullopt;
    return Decline{StrCat("no lowering for ", op.name)};
  }
  const std::optional<ScalarOp> scalar = ScalarOpFromName(op.name);
  if (!scalar) return Decline{StrCat("no lowering for ", op.name)};
  const ScalarForm form = Info(*scalar).form;
  for (Ref input : node.inputs) {
    const Node& from = cluster.node(input.node);
    const DType dtype = from.outputs[static_cast<size_t>(input.output)].dtype;
    if (!IsBlockType(dtype)) return Decline{StrCat(op.name, " of ", dtype, " is the reference's")};
    if (IsByte(dtype) && (form == ScalarForm::kUnary || form == ScalarForm::kBinary)) {
      return Decline{StrCat(op.name, " of ", dtype, " is the reference's")};
    }
    if (from.op->kind == OpKind::kCounter && cluster.contains(input.node) && type.shape != from.outputs[0].shape) {
      return Decline{StrCat("random numbers of shape ", from.outputs[0].shape, " broadcast to ", type.shape)};
    }
  }
  return std::nullopt;
}

BlockProgram::Base BlockProgram::ClassifyOperand(const Cluster& cluster, int input) {
  using Kind = BaseKind;
  const TensorType& type = cluster.type(cluster.inputs[static_cast<size_t>(input)]);
  Base base{.kind = Kind::kInput, .index = input, .dtype = type.dtype};
  const int64_t size = SizeOf(type.dtype);
  if (type.shape.size() == cluster.shape.size()) {
    base.advance = size;
    return base;
  }
  if (type.shape.size() == 1) {
    base.kind = Kind::kSplat;
    return base;
  }
  const Dims strides = BroadcastStrides(type.shape, cluster.shape);
  for (size_t axis = 0; axis < strides.size(); ++axis) {
    const int64_t dim = cluster.shape.dim(static_cast<int>(axis)), stride = strides[axis];
    if (dim == 1) continue;
    if (!base.dims.empty() && base.strides.back() == stride * dim) {
      base.dims.back() *= dim;
      base.strides.back() = stride;
    } else {
      base.dims.push_back(dim);
      base.strides.push_back(stride);
    }
  }
  if (size == 4 && base.dims.size() == 2 && base.strides[0] == 0 && base.strides[1] == 1) {
    base.period = base.dims[1];
    base.kind = base.period <= kShortBlockElements ? Kind::kTile : Kind::kPeriodic;
  } else {
    base.kind = Kind::kExpand;
  }
  return base;
}

}  // namespace weir::highway
