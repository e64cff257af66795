// Reductions: every kind of axes, and lengths around the blocks of ops/canonical_order.h.
#include "weir/ops/canonical_order.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

using Reduction = Value (*)(const Value&, const Axes&, bool);
struct Row {
  const char* op;
  Reduction function;
};
const Row kRows[] = {
    {"reduce_sum", [](const Value& x, const Axes& axes, bool keep) { return Sum(x, axes, keep); }},
    {"reduce_sum_squares", [](const Value& x, const Axes& axes, bool keep) { return SumSquares(x, axes, keep); }},
    {"reduce_max", [](const Value& x, const Axes& axes, bool keep) { return Max(x, axes, keep); }},
    {"reduce_min", [](const Value& x, const Axes& axes, bool keep) { return Min(x, axes, keep); }},
};

struct Problem {
  Shape shape;
  Axes axes;
};
const Problem kSmall[] = {
    {{13}, {0}},
    {{5, 7}, {0}},
    {{5, 7}, {1}},
    {{5, 7}, {0, 1}},
    {{3, 4, 5}, {1}},
    {{3, 4, 5}, {0, 2}},
    {{2, 3, 4, 5}, {1, 2}},
    {{2, 3, 4, 5}, {0, 1, 2}},
    {{2, 3, 4, 5}, {1, 3}},
    {{1, 7, 1}, {0, 2}},
    {{4, 1, 3}, {1}},
    {{2, 1, 33}, {0, 2}},
    {{}, {}},
    {{17, 1}, {1}},
    {{3, 16}, {1}},
    {{3, 15}, {1}},
    {{3, 17}, {1}},
    {{2, 100}, {0}},
};
// Just below, at and above one block, and several blocks with a rest.
const Problem kLong[] = {
    {{kReduceRowBlock}, {0}},
    {{kReduceRowBlock + 1}, {0}},
    {{2, 2 * kReduceRowBlock + 5}, {1}},
    {{3, 2, kReduceRowBlock + 3}, {0, 2}},
    {{kReduceColumnBlock, 3}, {0}},
    {{kReduceColumnBlock + 1, 5}, {0}},
    {{2 * kReduceColumnBlock + 7, 18}, {0}},
    {{33, 35, 2, 3}, {0, 1}},
    {{40, 2, 30, 3}, {0, 2}},
};
// Larger than a second-level cache: one block and several, with a rest of rows and of columns.
const Problem kFar[] = {
    {{2 * kReduceColumnBlock + 7, 130}, {0}},
    {{9, 28, 1090}, {0, 1}},
};

void Add(OpCases& cases, const Row& row, const Problem& problem, bool keep_dims, Fill fill, const char* suffix) {
  cases.push_back(
      {.name = StrCat(row.op, "/", ShapeName(problem.shape), "_axes", StrJoin(problem.axes, ","),
                      keep_dims ? "_keep" : "", suffix),
       .op = row.op,
       .inputs = {{problem.shape, fill}},
       .build = [f = row.function, axes = problem.axes, keep_dims](
                    Graph&, std::span<const Value> v) { return std::vector<Value>{f(v[0], axes, keep_dims)}; },
       // The largest of nothing has no slope, not even a second one.
       .gradient = fill == Fill::kUniform && problem.shape.size() > 0});
}

}  // namespace

void AddReduceCases(OpCases& cases) {
  for (const Row& row : kRows) {
    for (const Problem& problem : kSmall) Add(cases, row, problem, false, Fill::kUniform, "");
    for (const Problem& problem : kLong) Add(cases, row, problem, false, Fill::kUniform, "");
    for (const Problem& problem : kFar) {
      Add(cases, row, problem, false, Fill::kUniform, "");
      cases.back().gradient = false;  // as of smaller ones
    }
    Add(cases, row, {{3, 4, 5}, {-1}}, true, Fill::kUniform, "");
    Add(cases, row, {{3, 4, 5}, {0, 1}}, true, Fill::kUniform, "");
    Add(cases, row, {{0, 4}, {0}}, false, Fill::kUniform, "");
    Add(cases, row, {{0, 4}, {1}}, false, Fill::kUniform, "");
    Add(cases, row, {{3, 0}, {1}}, false, Fill::kUniform, "");
    Add(cases, row, {{9, 31}, {1}}, false, Fill::kTies, "_ties");
    Add(cases, row, {{9, 31}, {0}}, false, Fill::kTies, "_ties");
    Add(cases, row, {{29, 31}, {1}}, false, Fill::kSpecials, "_specials");
    Add(cases, row, {{29, 31}, {0}}, false, Fill::kSpecials, "_specials");
    for (DType dtype : {DType::kUint8, DType::kInt32, DType::kInt64}) {
      cases.push_back(
          {.name = StrCat(row.op, "/", ShortName(dtype), "_9x31_axes1"),
           .op = row.op,
           .inputs = {{dtype, {9, 31}, Fill::kBytes}},
           .build = [f = row.function](Graph&,
                                       std::span<const Value> v) { return std::vector<Value>{f(v[0], {1}, false)}; },
           .gradient = false});
    }
  }
  for (const Problem& problem : {Problem{{5, 7}, {1}}, Problem{{5, 7}, {}}, Problem{{2, 6, 5, 3}, {1, 2}}}) {
    cases.push_back({.name = StrCat("reduce_sum/mean_", ShapeName(problem.shape), "_axes", StrJoin(problem.axes, ",")),
                     .op = "reduce_sum",
                     .inputs = {{problem.shape}},
                     .build = [axes = problem.axes](Graph&, std::span<const Value> v) {
                       return std::vector<Value>{Mean(v[0], axes)};
                     }});
  }
  // Mean and variance, as a normalisation layer has them.
  cases.push_back({.name = "reduce_sum/moments_4x5x6x7",
                   .op = "reduce_sum",
                   .inputs = {{{4, 5, 6, 7}}},
                   .build = [](Graph&, std::span<const Value> v) {
                     const Value mean = Mean(v[0], {0, 1, 2}, true);
                     return std::vector<Value>{mean, Mean(Square(v[0] - mean), {0, 1, 2})};
                   }});
  for (const auto& [shape, axis] : {std::pair{Shape{7}, 0},
                                    {Shape{5, 10}, 1},
                                    {Shape{5, 10}, 0},
                                    {Shape{2, 9, 33}, 1},
                                    {Shape{3, 1}, 1},
                                    {Shape{0, 10}, 1}}) {
    for (Fill fill : {Fill::kUniform, Fill::kTies, Fill::kSpecials}) {
      cases.push_back(
          {.name = StrCat("argmax/", ShapeName(shape), "_axis", axis,
                          fill == Fill::kTies       ? "_ties"
                          : fill == Fill::kSpecials ? "_specials"
                                                    : ""),
           .op = "argmax",
           .inputs = {{shape, fill}},
           .build = [axis = axis](Graph&, std::span<const Value> v) { return std::vector<Value>{ArgMax(v[0], axis)}; },
           .gradient = false});
    }
  }
}

}  // namespace weir
