// Loss functions, one value a row of the last axis; composed of other ops.
#include "weir/ops/op_rows.h"
#include "weir/ops/ops.h"

namespace weir {

Value SparseSoftmaxCrossEntropy(const Operand& logits, const Operand& labels) {
  const Value x = FloatingOf(logits, "SparseSoftmaxCrossEntropy");
  Value y = ValueOf(labels, "SparseSoftmaxCrossEntropy");
  if (y.dtype() == DType::kUint8 || y.dtype() == DType::kBool) y = CastTo(y, DType::kInt32, labels.where);
  return Record(SparseCrossEntropyOp(), {x, y}, {}, logits.where);
}

Value SoftmaxCrossEntropy(const Operand& logits, const Operand& targets) {
  const std::source_location where = logits.where;
  const std::vector<Value> values = Common("SoftmaxCrossEntropy", {&logits, &targets}, /*floating=*/true);
  // What has no share counts 0 where its logit is minus infinity too (a class that is masked).
  const Value product = Operand(values[1], where) * Operand(LogSoftmax({values[0], where}), where);
  const Value terms = Where({Equal({values[1], where}, {0, where}), where}, {0, where}, {product, where});
  return Elementwise(ScalarOp::kNeg, {Sum({terms, where}, {-1})}, where);
}

Value SigmoidCrossEntropy(const Operand& logits, const Operand& targets) {
  const std::source_location where = logits.where;
  const std::vector<Value> values = Common("SigmoidCrossEntropy", {&logits, &targets}, /*floating=*/true);
  const Value &z = values[0], &y = values[1];
  const Value product = Elementwise(ScalarOp::kMul, {z, y}, where);
  const Value linear = Elementwise(ScalarOp::kSub, {Maximum({z, where}, {0, where}), product}, where);
  const Value decay = Exp({Elementwise(ScalarOp::kNeg, {Abs({z, where})}, where), where});
  return Elementwise(ScalarOp::kAdd, {linear, Log1p({decay, where})}, where);
}

}  // namespace weir
