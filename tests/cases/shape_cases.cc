// Ops that move elements, and assignment.
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

std::vector<Value> One(const Value& value) { return {value}; }

}  // namespace

void AddShapeCases(OpCases& cases) {
  const auto add = [&](std::string op, std::string problem, std::vector<CaseInput> inputs, BuildFn build) {
    cases.push_back(
        {.name = StrCat(op, "/", problem), .op = op, .inputs = std::move(inputs), .build = std::move(build)});
  };
  for (const Axes& dims : {Axes{24}, Axes{6, 4}, Axes{-1}, Axes{2, -1, 2}, Axes{1, 24, 1}}) {
    add("reshape", StrCat("2x3x4_", StrJoin(dims, "x")), {{{2, 3, 4}}},
        [dims](Graph&, std::span<const Value> v) { return One(Exp(Reshape(v[0], dims))); });
  }
  // Every permutation of three axes, some of four, and of small element types.
  for (const Axes& p : {Axes{0, 1, 2}, Axes{0, 2, 1}, Axes{1, 0, 2}, Axes{1, 2, 0}, Axes{2, 0, 1}, Axes{2, 1, 0}}) {
    add("transpose", StrCat("3x5x17_", StrJoin(p, "")), {{{3, 5, 17}}},
        [p](Graph&, std::span<const Value> v) { return One(Transpose(v[0], p)); });
  }
  for (const Axes& p : {Axes{0, 3, 1, 2}, Axes{0, 2, 3, 1}, Axes{3, 2, 1, 0}}) {
    add("transpose", StrCat("2x3x4x5_", StrJoin(p, "")), {{{2, 3, 4, 5}}},
        [p](Graph&, std::span<const Value> v) { return One(Transpose(v[0], p)); });
  }
  add("transpose", "u8_6x35", {{DType::kUint8, {6, 35}, Fill::kBytes}},
      [](Graph&, std::span<const Value> v) { return One(Transpose(v[0])); });
  add("transpose", "i64_0x4", {{DType::kInt64, {0, 4}, Fill::kBytes}},
      [](Graph&, std::span<const Value> v) { return One(Transpose(v[0])); });

  const SliceOptions slices[] = {
      {.begin = {0, 0}, .end = {7, 9}},
      {.begin = {1, 2}, .end = {6, 9}},
      {.begin = {1, 0}, .end = {7, 9}, .strides = {2, 3}},
      {.begin = {0, -4}, .end = {-1, 100}, .strides = {3, 1}},
      {.begin = {3, 0}, .end = {4, 9}, .strides = {5, 8}},
      {.begin = {3, 0}, .end = {3, 9}},
  };
  for (const SliceOptions& options : slices) {
    add("slice",
        StrCat("7x9_b", StrJoin(options.begin, ","), "_e", StrJoin(options.end, ","), "_s",
               StrJoin(options.strides, ",")),
        {{{7, 9}}}, [options](Graph&, std::span<const Value> v) { return One(Slice(v[0], options)); });
  }
  add("slice", "u8_5x4x3", {{DType::kUint8, {5, 4, 3}, Fill::kBytes}}, [](Graph&, std::span<const Value> v) {
    return One(Slice(v[0], {.begin = {1, 0, 1}, .end = {4, 4, 3}, .strides = {1, 3, 1}}));
  });
  add("pad", "3x5_zeros", {{{3, 5}}}, [](Graph&, std::span<const Value> v) { return One(Pad(v[0], {1, 2}, {0, 3})); });
  add("pad", "3x5_value", {{{3, 5}}}, [](Graph&, std::span<const Value> v) {
    return One(Pad(v[0], {0, 1}, {2, 0}, -1.5));
  });
  add("pad", "2x4x4x3_nhwc", {{{2, 4, 4, 3}}}, [](Graph&, std::span<const Value> v) {
    return One(Pad(v[0], {0, 1, 1, 0}, {0, 1, 1, 0}));
  });
  add("pad", "0x5", {{{0, 5}}}, [](Graph&, std::span<const Value> v) { return One(Pad(v[0], {1, 1}, {1, 1}, 2)); });
  add("pad", "i32_4", {{DType::kInt32, {4}, Fill::kBytes}},
      [](Graph&, std::span<const Value> v) { return One(Pad(v[0], {2}, {1}, 9)); });
  for (int axis : {0, 1, 2, -1}) {
    const auto shape = [&](int64_t size) {
      Dims dims = {2, 3, 5};
      dims[axis < 0 ? 2 : axis] = size;
      return Shape(dims);
    };
    add("concatenate", StrCat("3inputs_axis", axis), {{shape(1)}, {shape(4)}, {shape(2)}},
        [axis](Graph&, std::span<const Value> v) { return One(Concatenate(v, axis)); });
  }
  add("concatenate", "empty_part", {{{0, 3}}, {{2, 3}}},
      [](Graph&, std::span<const Value> v) { return One(Concatenate(v, 0)); });
  add("concatenate", "one_input", {{{4, 3}}}, [](Graph&, std::span<const Value> v) { return One(Concatenate(v, 1)); });
  for (const Axes& axes : {Axes{0}, Axes{1}, Axes{0, 1}, Axes{-1, 0}, Axes{}}) {
    add("reverse", StrCat("4x7_axes", StrJoin(axes, ",")), {{{4, 7}}},
        [axes](Graph&, std::span<const Value> v) { return One(Reverse(v[0], axes)); });
  }
  cases.push_back({.name = "assign/5x3",
                   .op = "assign",
                   .inputs = {{{5, 3}}, {{5, 3}}},
                   .build = [](Graph&, std::span<const Value> v) { return One(Assign(v[0], v[0] * 0.9 + v[1])); },
                   .gradient = false});
}

void AddIndexCases(OpCases& cases) {
  const auto add = [&](std::string op, std::string problem, std::vector<CaseInput> inputs, BuildFn build) {
    cases.push_back(
        {.name = StrCat(op, "/", problem), .op = op, .inputs = std::move(inputs), .build = std::move(build)});
  };
  for (DType dtype : {DType::kInt32, DType::kInt64}) {
    const std::string type = ShortName(dtype);
    add("one_hot", StrCat(type, "_9_depth5"), {{dtype, {9}, Fill::kIndices, 7}, {{9, 5}}},
        [](Graph&, std::span<const Value> v) { return One(OneHot(v[0], 5, v[1].dtype()) * v[1]); });
    add("gather", StrCat(type, "_6x5_by_7_axis0"), {{{6, 5}}, {dtype, {7}, Fill::kIndices, 6}},
        [](Graph&, std::span<const Value> v) { return One(Gather(v[0], v[1], 0)); });
    add("gather", StrCat(type, "_4x6x3_by_2x3_axis1"), {{{4, 6, 3}}, {dtype, {2, 3}, Fill::kIndices, 6}},
        [](Graph&, std::span<const Value> v) { return One(Gather(v[0], v[1], 1)); });
    add("gather", StrCat(type, "_4x6_by_scalar_axis-1"), {{{4, 6}}, {dtype, {}, Fill::kIndices, 6}},
        [](Graph&, std::span<const Value> v) { return One(Gather(v[0], v[1], -1)); });
    add("scatter_add", StrCat(type, "_40_to_6x5"), {{dtype, {40}, Fill::kIndices, 6}, {{40, 5}}},
        [](Graph&, std::span<const Value> v) {
          return One(ScatterAdd(v[0], v[1], {6, 5}));
        });
    add("scatter_add", StrCat(type, "_3x4_to_5"), {{dtype, {3, 4}, Fill::kIndices, 5}, {{3, 4}}},
        [](Graph&, std::span<const Value> v) { return One(ScatterAdd(v[0], v[1], {5})); });
    add("take_along_last", StrCat(type, "_4x3x10"), {{{4, 3, 10}}, {dtype, {4, 3}, Fill::kIndices, 10}},
        [](Graph&, std::span<const Value> v) { return One(TakeAlongLast(v[0], v[1])); });
  }
  add("gather", "images_9x4x4x3_by_5", {{{9, 4, 4, 3}}, {DType::kInt32, {5}, Fill::kIndices, 9}},
      [](Graph&, std::span<const Value> v) { return One(Gather(v[0], v[1])); });
  add("gather", "u8_9x12_by_5", {{DType::kUint8, {9, 12}, Fill::kBytes}, {DType::kInt64, {5}, Fill::kIndices, 9}},
      [](Graph&, std::span<const Value> v) { return One(Gather(v[0], v[1])); });
  add("gather", "3x4_by_0", {{{3, 4}}, {DType::kInt32, {0}, Fill::kIndices, 3}},
      [](Graph&, std::span<const Value> v) { return One(Gather(v[0], v[1])); });
}

}  // namespace weir
