// Assign: the new value of a leaf, stored in the leaf's buffer at the end of a run.
#include <algorithm>

#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

std::vector<TensorType> Infer(const InferContext& context) {
  if (context.inputs[0] != context.inputs[1]) {
    ThrowInvalidArgument("Assign: a variable of type ", context.inputs[0], " can't hold ", context.inputs[1]);
  }
  return {context.inputs[0]};
}

void Reference(const ReferenceCall& call) {
  if (call.outputs[0] != call.inputs[1]) std::copy_n(call.inputs[1], call.output_types[0].bytes(), call.outputs[0]);
}

double NoFlops(const AttrMap&, std::span<const TensorType>, std::span<const TensorType>) { return 0; }

}  // namespace

const OpDef& AssignOp() {
  static constexpr OpDef kOp = {
      .name = "assign", .kind = OpKind::kAssign, .infer = Infer, .reference = Reference, .flops = NoFlops};
  return kOp;
}

Value Assign(const Value& variable, const Operand& new_value) {
  const Value leaf = ValueOf({variable, new_value.where}, "Assign");
  if (leaf.graph->node(leaf.ref.node).op->kind != OpKind::kLeaf) {
    ThrowAt(*leaf.graph, new_value.where, absl::StatusCode::kInvalidArgument,
            StrCat("Assign: ", leaf.graph->Path(leaf.ref.node), " is computed; only an input or data can be assigned"));
  }
  const Value value = IsValue(new_value, "Assign")
                          ? new_value.value
                          : Constant(*leaf.graph, new_value.number, leaf.dtype(), leaf.shape(), new_value.where);
  return Record(AssignOp(), {leaf, value}, {}, new_value.where);
}

}  // namespace weir
