// Pooling, forward and the ops of its gradients.
#include "weir/ops/conv_geometry.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

struct Problem {
  Shape input;
  PoolOptions options;
  const char* name;
};
const Problem kProblems[] = {
    {{2, 4, 6, 3}, {}, "2x2"},
    {{1, 5, 7, 5}, {}, "2x2"},
    {{1, 3, 3, 1}, {.padding = "same"}, "2x2_same"},
    {{1, 13, 13, 2}, {.strides = {1, 1}, .padding = "same"}, "2x2s1_same"},
    {{2, 5, 4, 17}, {.window = {3, 3}, .strides = {2, 2}, .padding = "same"}, "3x3s2_same"},
    {{1, 7, 8, 33}, {.window = {3, 2}, .strides = {1, 2}}, "3x2s1,2"},
    {{1, 6, 6, 4}, {.window = {2, 2}, .strides = {3, 3}}, "2x2s3"},
    {{2, 3, 3, 2}, {.window = {5, 5}, .padding = "same"}, "5x5_same"},
    {{1, 1, 1, 3}, {.window = {1, 1}}, "1x1"},
    {{1, 6, 5, 3},
     {.window = {3, 3}, .strides = {2, 1}, .padding_before = {1, 2}, .padding_after = {2, 0}},
     "3x3s2,1_pad1,2-2,0"},
    {{0, 4, 4, 3}, {}, "2x2"},
    {{2, 4, 4, 16}, {.window = {4, 4}}, "4x4"},
    {{2, 9, 3}, {.window = {3}, .strides = {2}}, "3s2"},
    {{2, 9, 3}, {.window = {2}, .padding = "same"}, "2_same"},
    {{1, 4, 5, 6, 2}, {}, "2x2x2"},
    {{1, 3, 4, 5, 3}, {.window = {2, 3, 2}, .strides = {1, 2, 2}, .padding = "same"}, "2x3x2s1,2,2_same"},
    // More cells than a byte counts.
    {{1, 20, 18, 19}, {.window = {17, 16}, .strides = {3, 2}}, "17x16s3,2"},
};

void Add(OpCases& cases, const Problem& problem, Fill fill, const char* suffix) {
  const auto graph = Graph::Create();
  const auto [y, index] = MaxPoolWithIndex(graph->Input({DType::kFloat32, problem.input}), problem.options);
  const AttrMap attrs = graph->node(y.ref.node).attrs;
  int64_t cells = 1;
  for (int64_t size : attrs.Ints(kWindow)) cells *= size;
  const std::string name = StrCat(ShapeName(problem.input), "_", problem.name, suffix);
  const Shape x = problem.input, out = y.shape();
  const auto add = [&](std::string op, std::vector<CaseInput> inputs, BuildFn build) {
    cases.push_back({.name = StrCat(op, "/", name),
                     .op = op,
                     .inputs = std::move(inputs),
                     .build = std::move(build),
                     .gradient = fill == Fill::kUniform});
  };
  add("max_pool", {{x, fill}},
      [o = problem.options](Graph&, std::span<const Value> v) { return std::vector<Value>{MaxPool(v[0], o)}; });
  add("max_pool", {{x, fill}}, [o = problem.options](Graph&, std::span<const Value> v) {
    const auto [values, found] = MaxPoolWithIndex(v[0], o);
    return std::vector<Value>{values, found};
  });
  cases.back().name += "_index";
  cases.back().gradient = false;
  // Any index, of cells in the padding too.
  const CaseInput any(index.dtype(), out, Fill::kIndices, cells);
  add("max_pool_gradient", {{out, fill}, any}, [attrs, x](Graph&, std::span<const Value> v) {
    return std::vector<Value>{MaxPoolGradient(v[0], v[1], attrs, x)};
  });
  add("max_pool_gather", {{x, fill}, any},
      [attrs](Graph&, std::span<const Value> v) { return std::vector<Value>{MaxPoolGather(v[0], v[1], attrs)}; });
  add("average_pool", {{x, fill}},
      [o = problem.options](Graph&, std::span<const Value> v) { return std::vector<Value>{AveragePool(v[0], o)}; });
  add("average_pool_gradient", {{out, fill}},
      [attrs, x](Graph&, std::span<const Value> v) { return std::vector<Value>{AveragePoolGradient(v[0], attrs, x)}; });
}

}  // namespace

void AddPoolCases(OpCases& cases) {
  for (const Problem& problem : kProblems) Add(cases, problem, Fill::kUniform, "");
  for (int i : {2, 3, 4}) Add(cases, kProblems[i], Fill::kTies, "_ties");
  for (int i : {1, 4, 5}) Add(cases, kProblems[i], Fill::kSpecials, "_specials");
  cases.push_back({.name = "max_pool/i32_1x4x4x3_2x2",
                   .op = "max_pool",
                   .inputs = {{DType::kInt32, {1, 4, 4, 3}, Fill::kBytes}},
                   .build = [](Graph&, std::span<const Value> v) { return std::vector<Value>{MaxPool(v[0])}; },
                   .gradient = false});
}

}  // namespace weir
