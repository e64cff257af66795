// Loss functions, one value a row of the last axis; composed of other ops.
#include <limits>

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
  // y softplus(-z) + (1 - y) softplus(z): small where the loss is, and with slopes of every order, as softplus has.
  // What has no share counts 0 where its cost is infinite too.
  const double largest =
      z.dtype() == DType::kFloat64 ? std::numeric_limits<double>::max() : std::numeric_limits<float>::max();
  const auto cost = [&](const Value& share, const Value& logit) {
    const Value whole = Softplus({logit, where});
    const Value finite = Clip({whole, where}, -largest, largest);
    const Value none = Equal({share, where}, {0, where});
    return Elementwise(ScalarOp::kMul, {share, Where({none, where}, {finite, where}, {whole, where})}, where);
  };
  const Value rest = Operand(1, where) - Operand(y, where);
  return Elementwise(ScalarOp::kAdd, {cost(y, Elementwise(ScalarOp::kNeg, {z}, where)), cost(rest, z)}, where);
}

}  // namespace weir
