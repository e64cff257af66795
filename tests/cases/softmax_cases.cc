// Softmax, log-softmax and losses.
#include "weir/ops/canonical_order.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

std::vector<Value> One(const Value& value) { return {value}; }

}  // namespace

void AddSoftmaxCases(OpCases& cases) {
  const auto add = [&](std::string op, std::string problem, std::vector<CaseInput> inputs, BuildFn build,
                       bool gradient = true) {
    cases.push_back({.name = StrCat(op, "/", problem),
                     .op = op,
                     .inputs = std::move(inputs),
                     .build = std::move(build),
                     .gradient = gradient});
  };
  const BuildFn softmax = [](Graph&, std::span<const Value> v) { return One(Softmax(v[0])); };
  const BuildFn log_softmax = [](Graph&, std::span<const Value> v) { return One(LogSoftmax(v[0])); };
  const BuildFn loss = [](Graph&, std::span<const Value> v) { return One(SparseSoftmaxCrossEntropy(v[0], v[1])); };
  for (const Shape& shape : {Shape{10}, Shape{32, 10}, Shape{3, 1}, Shape{2, 3, 17}, Shape{5, 33}, Shape{0, 10},
                             Shape{4, 0}, Shape{2, kReduceRowBlock + 7}}) {
    add("softmax", ShapeName(shape), {{shape}}, softmax);
    add("log_softmax", ShapeName(shape), {{shape}}, log_softmax);
    if (shape.dim(-1) == 0) continue;
    const Shape rows(shape.dims().first(static_cast<size_t>(shape.rank() - 1)));
    for (DType dtype : {DType::kInt32, DType::kInt64}) {
      add("sparse_cross_entropy", StrCat(ShapeName(shape), "_", ShortName(dtype)),
          {{shape}, {dtype, rows, Fill::kIndices, shape.dim(-1)}}, loss);
    }
  }
  add("softmax", "4x5x6_axis1", {{{4, 5, 6}}}, [](Graph&, std::span<const Value> v) { return One(Softmax(v[0], 1)); });
  add("log_softmax", "4x5_axis0", {{{4, 5}}},
      [](Graph&, std::span<const Value> v) { return One(LogSoftmax(v[0], 0)); });
  for (const auto& [fill, name] :
       {std::pair{Fill::kLarge, "large"}, {Fill::kSpecials, "specials"}, {Fill::kTies, "ties"}}) {
    add("softmax", StrCat("40x10_", name), {{{40, 10}, fill}}, softmax, false);
    add("log_softmax", StrCat("40x10_", name), {{{40, 10}, fill}}, log_softmax, false);
    add("sparse_cross_entropy", StrCat("40x10_", name), {{{40, 10}, fill}, {DType::kInt32, {40}, Fill::kIndices, 10}},
        loss, false);
  }
  add("sparse_cross_entropy", "mean_32x10", {{{32, 10}}, {DType::kUint8, {32}, Fill::kIndices, 10}},
      [](Graph&, std::span<const Value> v) { return One(Mean(SparseSoftmaxCrossEntropy(v[0], v[1]))); });
  add("log_softmax", "soft_targets_6x5", {{{6, 5}}, {{6, 5}, Fill::kProbability}},
      [](Graph&, std::span<const Value> v) { return One(SoftmaxCrossEntropy(v[0], v[1])); });
  add("softplus", "sigmoid_cross_entropy_6x5", {{{6, 5}, Fill::kNonzero}, {{6, 5}, Fill::kProbability}},
      [](Graph&, std::span<const Value> v) { return One(SigmoidCrossEntropy(v[0], v[1])); });
  add("softplus", "sigmoid_cross_entropy_40_large", {{{40}, Fill::kLarge}, {{40}, Fill::kProbability}},
      [](Graph&, std::span<const Value> v) { return One(SigmoidCrossEntropy(v[0], v[1])); });
}

}  // namespace weir
