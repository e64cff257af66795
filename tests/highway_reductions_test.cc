// Highway's pooling, reductions, softmax and argmax; see highway_lowering.h.
#include <vector>

#include "highway_lowering.h"
#include "weir/ops/conv_geometry.h"
#include "weir/ops/ops.h"
#include "weir/tests/interpret.h"

namespace weir {
namespace {

class HighwayReductions : public HighwayKernels {};

// ---- Pooling ------------------------------------------------------------------------------------
TEST_P(HighwayReductions, Pooling) {
  struct PoolShape {
    Shape x;
    PoolOptions options;
  };
  const PoolShape all[] = {
      {{2, 6, 8, 5}, {}},
      {{3, 7, 9, 33}, {}},
      {{2, 7, 9, 16}, {.window = {3, 3}, .strides = {2, 2}, .padding = "same"}},
      {{1, 8, 7, 4}, {.window = {2, 3}, .strides = {1, 2}}},
      {{2, 9, 9, 3}, {.window = {2, 2}, .strides = {3, 3}}},
      {{2, 5, 6, 4, 3}, {.window = {2, 2, 2}, .strides = {2, 2, 2}, .padding = "same"}},
      {{4, 15, 7}, {.window = {3}, .strides = {2}, .padding = "same"}},
      {{2, 6, 6, 4}, {.window = {3, 3}, .strides = {3, 3}, .padding_before = {1, 2}, .padding_after = {2, 1}}},
      {{3, 40, 64, 24}, {}},
      {{1, 20, 18, 19}, {.window = {17, 16}, .strides = {3, 2}}},
      {{20, 16, 16, 32}, {}}};
  for (const PoolShape& shape : all) {
    auto record = Graph::Create();
    const Value pooled = MaxPool(record->Input({DType::kFloat32, shape.x}), shape.options);
    const AttrMap& attrs = record->node(pooled.ref.node).attrs;
    const std::string name = StrCat("pool ", shape.x);
    CheckWithEpilogues("max " + name, [&](Problem& p) { return MaxPool(p.Floats(shape.x), shape.options); });
    CheckWithEpilogues("average " + name, [&](Problem& p) { return AveragePool(p.Floats(shape.x), shape.options); });
    // Any index, of cells in the padding too.
    int cells = 1;
    for (int64_t size : attrs.Ints(kWindow)) cells *= static_cast<int>(size);
    const auto any = [&, windows = pooled.shape()](Problem& p) {
      return cells <= 256 ? p.Integers<uint8_t>(windows, 0, cells) : p.Integers<int32_t>(windows, 0, cells);
    };
    CheckWithEpilogues("max gradient " + name, [&, windows = pooled.shape()](Problem& p) {
      return MaxPoolGradient(p.Floats(windows), any(p), attrs, shape.x);
    });
    CheckWithEpilogues("gather " + name, [&](Problem& p) { return MaxPoolGather(p.Floats(shape.x), any(p), attrs); });
    CheckWithEpilogues("average gradient " + name,
                       [&](Problem& p) { return AveragePoolGradient(p.Floats(pooled.shape()), attrs, shape.x); });
    Problem specials("max with specials " + name);
    const auto [values, found] = MaxPoolWithIndex(specials.Patterns(shape.x), shape.options);
    specials.outputs = {values, found};
    Check(specials);
    if (HasFailure()) return;
  }
}

// ---- Reductions and softmax ---------------------------------------------------------------------
TEST_P(HighwayReductions, Reductions) {
  struct ReduceShape {
    Shape x;
    Axes axes;
  };
  const ReduceShape all[] = {{{7}, {0}},
                             {{5, 33}, {1}},
                             {{5, 33}, {0}},
                             {{40, 3, 17}, {0, 2}},
                             {{4, 1, 5}, {1}},
                             {{3, 4, 5, 6}, {1, 3}},
                             {{3, 4, 5, 6}, {0, 2}},
                             {{2, 5000}, {1}},
                             {{1100, 70}, {0}},
                             {{300000}, {0}},
                             {{5000, 64}, {0}},
                             {{3, 2100, 33}, {1}},
                             {{70, 30, 130}, {0, 2}},
                             {{16, 9, 2, 3000}, {0, 1, 3}},
                             {{2000, 3000}, {0}},
                             {{9000, 11}, {1}}};
  for (const ReduceShape& shape : all) {
    if (slow() && shape.x.size() > 1000000) continue;
    for (int kind = 0; kind < 4; ++kind) {
      const auto build = [&](const Value& x) {
        return kind == 0   ? Sum(x, shape.axes, true)
               : kind == 1 ? SumSquares(x, shape.axes, true)
               : kind == 2 ? Max(x, shape.axes, true)
                           : Min(x, shape.axes, true);
      };
      CheckWithEpilogues(StrCat("reduce ", kind, " of ", shape.x),
                         [&](Problem& p) { return build(p.Floats(shape.x)); });
      Problem specials(StrCat("reduce ", kind, " of specials ", shape.x));
      specials.outputs = {build(specials.Patterns(shape.x))};
      Check(specials);
      if (HasFailure()) return;
    }
  }
}

TEST_P(HighwayReductions, EmptyReductions) {
  Problem sum("sum of nothing");
  sum.outputs = {Sum(sum.Floats({0, 5}), {0}) + 1.0};
  Check(sum);
  Problem max("max of nothing");
  max.outputs = {Max(max.Floats({4, 0}), {1})};
  Check(max);
  Problem nothing("no elements");
  nothing.outputs = {Relu(nothing.Floats({0, 5}))};
  Check(nothing);
}

TEST_P(HighwayReductions, Softmax) {
  for (const Shape& shape :
       {Shape{1, 1}, Shape{5, 10}, Shape{3, 17}, Shape{2, 3, 33}, Shape{300, 100}, Shape{3, 9000}}) {
    CheckWithEpilogues(StrCat("softmax ", shape), [&](Problem& p) { return Softmax(p.Floats(shape)); });
    CheckWithEpilogues(StrCat("log softmax ", shape), [&](Problem& p) { return LogSoftmax(p.Floats(shape)); });
    Problem specials(StrCat("softmax of specials ", shape));
    specials.outputs = {Softmax(specials.Patterns(shape))};
    Check(specials);
  }
}

TEST_P(HighwayReductions, SparseCrossEntropy) {
  for (int64_t rows : {1, 7, 300}) {
    for (const int high : {10, 12}) {  // 12: labels out of range
      Problem narrow(StrCat("cross entropy i32 ", rows, " below ", high));
      narrow.outputs = {
          SparseSoftmaxCrossEntropy(narrow.Floats({rows, 10}), narrow.Integers<int32_t>({rows}, 0, high))};
      Check(narrow);
      Problem wide(StrCat("cross entropy i64 ", rows, " below ", high));
      wide.outputs = {SparseSoftmaxCrossEntropy(wide.Floats({rows, 10}),
                                                wide.Integers<int64_t>({rows}, high == 10 ? 0 : -1, high))};
      Check(wide);
    }
  }
}

TEST_P(HighwayReductions, ArgMax) {
  for (const Shape& shape : {Shape{1, 1}, Shape{9, 10}, Shape{700, 33}}) {
    Problem problem(StrCat("argmax ", shape));
    const Value index = ArgMax(problem.Patterns(shape));
    problem.outputs = {index, Equal(index, problem.Integers<int32_t>({shape.dim(0)}, 0, 10))};
    Check(problem);
    Problem last(StrCat("argmax of ties ", shape));
    last.outputs = {
        Cast(ArgMax(last.graph->Data(Interpret(Cast(last.Integers<int32_t>(shape, 0, 3), DType::kFloat32)))),
             DType::kFloat32)};
    Check(last);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, HighwayReductions, ::testing::ValuesIn(HighwayTestTargets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace weir
