// Elementwise ops, constants and random numbers.
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

using Unary = Value (*)(const Value&);
using Binary = Value (*)(const Value&, const Value&);

struct UnaryRow {
  const char* op;
  Unary function;
  Fill fill = Fill::kUniform;
};
const UnaryRow kUnaryRows[] = {
    {"neg", [](const Value& x) { return -x; }},
    {"abs", [](const Value& x) { return Abs(x); }, Fill::kNonzero},
    {"sign", [](const Value& x) { return Sign(x); }, Fill::kNonzero},
    {"square", [](const Value& x) { return Square(x); }},
    {"exp", [](const Value& x) { return Exp(x); }},
    {"log", [](const Value& x) { return Log(x); }, Fill::kPositive},
    {"log1p", [](const Value& x) { return Log1p(x); }, Fill::kPositive},
    {"sqrt", [](const Value& x) { return Sqrt(x); }, Fill::kPositive},
    {"rsqrt", [](const Value& x) { return Rsqrt(x); }, Fill::kPositive},
    {"tanh", [](const Value& x) { return Tanh(x); }},
    {"sigmoid", [](const Value& x) { return Sigmoid(x); }},
    {"erf", [](const Value& x) { return Erf(x); }},
    {"relu", [](const Value& x) { return Relu(x); }, Fill::kNonzero},
    {"leaky_relu", [](const Value& x) { return LeakyRelu(x, 0.3); }, Fill::kNonzero},
    {"elu", [](const Value& x) { return Elu(x, 1.3); }, Fill::kNonzero},
    {"gelu", [](const Value& x) { return Gelu(x); }},
    {"gelu_tanh", [](const Value& x) { return Gelu(x, true); }},
    {"silu", [](const Value& x) { return Silu(x); }},
    {"softplus", [](const Value& x) { return Softplus(x); }},
    {"clip", [](const Value& x) { return Clip(x, -0.7, 1.1); }},
    {"stop_gradient", [](const Value& x) { return StopGradient(x) * x; }},
};

struct BinaryRow {
  const char* op;
  Binary function;
  Fill a = Fill::kUniform, b = Fill::kUniform;
};
const BinaryRow kBinaryRows[] = {
    {"add", [](const Value& a, const Value& b) { return a + b; }},
    {"sub", [](const Value& a, const Value& b) { return a - b; }},
    {"mul", [](const Value& a, const Value& b) { return a * b; }},
    {"div", [](const Value& a, const Value& b) { return a / b; }, Fill::kUniform, Fill::kNonzero},
    {"pow", [](const Value& a, const Value& b) { return Pow(a, b); }, Fill::kPositive, Fill::kUniform},
    {"maximum", [](const Value& a, const Value& b) { return Maximum(a, b); }},
    {"minimum", [](const Value& a, const Value& b) { return Minimum(a, b); }},
    {"equal", [](const Value& a, const Value& b) { return Equal(a, b); }, Fill::kTies, Fill::kTies},
    {"not_equal", [](const Value& a, const Value& b) { return NotEqual(a, b); }, Fill::kTies, Fill::kTies},
    {"less", [](const Value& a, const Value& b) { return Less(a, b); }, Fill::kTies, Fill::kTies},
    {"less_equal", [](const Value& a, const Value& b) { return LessEqual(a, b); }, Fill::kTies, Fill::kTies},
    {"greater", [](const Value& a, const Value& b) { return Greater(a, b); }, Fill::kTies, Fill::kTies},
    {"greater_equal", [](const Value& a, const Value& b) { return GreaterEqual(a, b); }, Fill::kTies, Fill::kTies},
};

// Operands of every kind of broadcasting: none, over rows, columns, inner axes, ranks, scalars, both ways, empty.
struct ShapePair {
  Shape a, b;
};
const ShapePair kShapePairs[] = {
    {{17}, {17}},
    {{3, 5}, {5}},
    {{3, 5}, {3, 1}},
    {{3, 1}, {1, 5}},
    {{4, 7}, {}},
    {{}, {33}},
    {{2, 3, 4, 5}, {3, 1, 5}},
    {{2, 1, 3}, {2, 5, 1}},
    {{0, 4}, {4}},
    {{1}, {1, 1, 1}},
    {{2, 1, 1, 9}, {1, 3, 2, 1}},
    {{5, 600}, {600}},
    {{600, 3}, {600, 1}},
    {{}, {}},
};

OpCase UnaryCase(const UnaryRow& row, const Shape& shape, Fill fill, const char* suffix = "") {
  return {.name = StrCat(row.op, "/", ShapeName(shape), suffix),
          .op = row.op,
          .inputs = {{shape, fill}},
          .build = [f = row.function](Graph&, std::span<const Value> v) { return std::vector<Value>{f(v[0])}; },
          .gradient = fill == row.fill && row.op != std::string("stop_gradient")};
}

OpCase BinaryCase(const BinaryRow& row, const ShapePair& shapes, Fill a, Fill b, const char* suffix = "") {
  return {.name = StrCat(row.op, "/", ShapeName(shapes.a), ",", ShapeName(shapes.b), suffix),
          .op = row.op,
          .inputs = {{shapes.a, a}, {shapes.b, b}},
          .build = [f = row.function](Graph&, std::span<const Value> v) { return std::vector<Value>{f(v[0], v[1])}; },
          .gradient = a == row.a && b == row.b && a != Fill::kTies};
}

void AddInteger(OpCases& cases, const char* op, DType dtype, int arity, BuildFn build) {
  std::vector<CaseInput> inputs;
  for (int i = 0; i < arity; ++i) inputs.emplace_back(dtype, Shape{3, 19}, Fill::kBytes);
  cases.push_back({.name = StrCat(op, "/", ShortName(dtype), "_3x19"),
                   .op = op,
                   .inputs = std::move(inputs),
                   .build = std::move(build),
                   .gradient = false});
}

std::vector<Value> One(const Value& value) { return {value}; }

void AddLogic(OpCases& cases) {
  const CaseInput flags(DType::kBool, {5, 7}, Fill::kFlags), row(DType::kBool, {7}, Fill::kFlags);
  cases.push_back({.name = "logical_not/5x7",
                   .op = "logical_not",
                   .inputs = {flags},
                   .build = [](Graph&, std::span<const Value> v) { return One(LogicalNot(v[0])); },
                   .gradient = false});
  cases.push_back({.name = "logical_and/5x7,7",
                   .op = "logical_and",
                   .inputs = {flags, row},
                   .build = [](Graph&, std::span<const Value> v) { return One(LogicalAnd(v[0], v[1])); },
                   .gradient = false});
  cases.push_back({.name = "logical_or/5x7,7",
                   .op = "logical_or",
                   .inputs = {flags, row},
                   .build = [](Graph&, std::span<const Value> v) { return One(LogicalOr(v[0], v[1])); },
                   .gradient = false});
  const BuildFn select = [](Graph&, std::span<const Value> v) { return One(Where(v[0], v[1], v[2])); };
  cases.push_back(
      {.name = "select/5x7,5x7,5x7", .op = "select", .inputs = {flags, {{5, 7}}, {{5, 7}}}, .build = select});
  cases.push_back({.name = "select/7,5x7,5x1", .op = "select", .inputs = {row, {{5, 7}}, {{5, 1}}}, .build = select});
  cases.push_back(
      {.name = "select/5x7,scalar,7", .op = "select", .inputs = {flags, {Shape{}}, {{7}}}, .build = select});
  cases.push_back({.name = "select/5x7_number",
                   .op = "select",
                   .inputs = {flags, {{5, 7}}},
                   .build = [](Graph&, std::span<const Value> v) { return One(Where(v[0], v[1], 0.25)); }});
  cases.push_back({.name = "select/5x7_specials",
                   .op = "select",
                   .inputs = {flags, {{5, 7}, Fill::kSpecials}, {{5, 7}, Fill::kSpecials}},
                   .build = select,
                   .gradient = false});
  cases.push_back(
      {.name = "select/bool_5x7", .op = "select", .inputs = {flags, row, flags}, .build = select, .gradient = false});
}

void AddTypes(OpCases& cases) {
  for (DType to : {DType::kBool, DType::kUint8, DType::kInt32, DType::kInt64, DType::kFloat32}) {
    for (DType from : {DType::kBool, DType::kUint8, DType::kInt32, DType::kInt64}) {
      if (from == to) continue;
      cases.push_back({.name = StrCat("cast/", ShortName(from), "_", ShortName(to), "_37"),
                       .op = "cast",
                       .inputs = {{from, {37}, from == DType::kBool ? Fill::kFlags : Fill::kBytes}},
                       .build = [to](Graph&, std::span<const Value> v) { return One(Cast(v[0], to)); },
                       .gradient = false});
    }
    if (to == DType::kFloat32) continue;
    cases.push_back({.name = StrCat("cast/f32_", ShortName(to), "_600_specials"),
                     .op = "cast",
                     .inputs = {{{600}, Fill::kSpecials}},
                     .build = [to](Graph&, std::span<const Value> v) { return One(Cast(v[0], to)); },
                     .gradient = false});
  }
  const Shape targets[] = {{4, 3, 5}, {2, 4, 3, 5}, {4, 3, 5}};
  const Shape sources[] = {{3, 1}, {1, 1, 5}, {}};
  for (int i = 0; i < 3; ++i) {
    cases.push_back(
        {.name = StrCat("broadcast_to/", ShapeName(sources[i]), "_", ShapeName(targets[i])),
         .op = "broadcast_to",
         .inputs = {{sources[i]}},
         .build = [t = targets[i]](Graph&, std::span<const Value> v) { return One(BroadcastTo(v[0], t)); }});
  }
  cases.push_back(
      {.name = "constant/3x5", .op = "constant", .inputs = {{Shape{5}}}, .build = [](Graph&, std::span<const Value> v) {
         return std::vector<Value>{Constant(v[0], 0.1, v[0].dtype(), {3, 5}) * v[0],
                                   Constant(v[0], -7, DType::kInt32, {2})};
       }});
}

void AddRandom(OpCases& cases) {
  const CaseInput step(DType::kInt64, {}, Fill::kStep);
  // The last is several tasks', and its end some blocks and a rest.
  for (const Shape& shape :
       {Shape{1}, Shape{63}, Shape{64}, Shape{65}, Shape{192}, Shape{5, 77}, Shape{0, 3}, Shape{3, 70001}}) {
    cases.push_back(
        {.name = StrCat("random_uniform/", ShapeName(shape)),
         .op = "random_uniform",
         .inputs = {step},
         .build = [shape](Graph&, std::span<const Value> v) { return One(RandomUniform(v[0], shape, 7, 11)); },
         .gradient = false});
  }
  for (double rate : {0.0, 0.3, 0.5, 1.0}) {
    cases.push_back(
        {.name = StrCat("random_uniform/dropout_rate", rate, "_9x33"),
         .op = "random_uniform",
         .inputs = {step, {{9, 33}}},
         .build = [rate](Graph&, std::span<const Value> v) { return One(Dropout(v[1], rate, v[0], 7, 5)); }});
  }
  cases.push_back({.name = "random_uniform/dropout_noise_2x6x5",
                   .op = "random_uniform",
                   .inputs = {step, {{2, 6, 5}}},
                   .build = [](Graph&, std::span<const Value> v) {
                     return One(Dropout(v[1], 0.5, v[0], 7, 5, Shape{2, 1, 5}));
                   }});
}

// Chains that fuse: what an optimizer's update and a layer's epilogue look like.
void AddChains(OpCases& cases) {
  cases.push_back({.name = "add/adam_update_37x3",
                   .op = "add",
                   .inputs = {{{37, 3}}, {{37, 3}}, {{37, 3}}, {{37, 3}, Fill::kPositive}},
                   .build = [](Graph&, std::span<const Value> v) {
                     const Value m = v[2] + (v[1] - v[2]) * 0.1;
                     const Value s = v[3] + (v[1] * v[1] - v[3]) * 0.001;
                     return std::vector<Value>{v[0] - 0.001 * m / (Sqrt(s) + 1e-7), m, s};
                   }});
  cases.push_back({.name = "mul/normalise_6x5x9",
                   .op = "mul",
                   .inputs = {{{6, 5, 9}}, {{9}}, {{9}, Fill::kPositive}, {{9}}, {{9}}},
                   .build = [](Graph&, std::span<const Value> v) {
                     return One(Relu((v[0] - v[1]) * Rsqrt(v[2] + 1e-3) * v[3] + v[4]));
                   }});
  cases.push_back({.name = "add/same_operand_twice_50",
                   .op = "add",
                   .inputs = {{Shape{50}}},
                   .build = [](Graph&, std::span<const Value> v) { return One((v[0] + v[0]) * v[0]); }});
}

}  // namespace

void AddElementwiseCases(OpCases& cases) {
  for (const UnaryRow& row : kUnaryRows) {
    for (const Shape& shape : {Shape{1}, Shape{3, 11}, Shape{1037}}) cases.push_back(UnaryCase(row, shape, row.fill));
    cases.push_back(UnaryCase(row, {700}, Fill::kSpecials, "_specials"));
    cases.push_back(UnaryCase(row, {700}, Fill::kLarge, "_large"));
    cases.push_back(UnaryCase(row, {21}, Fill::kTies, "_ties"));
  }
  for (const BinaryRow& row : kBinaryRows) {
    const bool all = row.op == std::string("add") || row.op == std::string("mul");
    for (const ShapePair& pair : kShapePairs) {
      if (all || &pair < kShapePairs + 4) cases.push_back(BinaryCase(row, pair, row.a, row.b));
    }
    cases.push_back(BinaryCase(row, {{1000}, {1000}}, Fill::kSpecials, Fill::kSpecials, "_specials"));
    cases.push_back(BinaryCase(row, {{41}, {41}}, Fill::kTies, Fill::kTies, "_ties"));
    cases.push_back(
        {.name = StrCat(row.op, "/31_number"),
         .op = row.op,
         .inputs = {{{31}, row.a}},
         .build = [f = row.function](
                      Graph&, std::span<const Value> v) { return One(f(v[0], Constant(v[0], 1.7, v[0].dtype()))); },
         .gradient = row.a != Fill::kTies});
  }
  for (DType dtype : {DType::kUint8, DType::kInt32, DType::kInt64}) {
    for (const UnaryRow& row : kUnaryRows) {
      const std::string op = row.op;
      if (op != "neg" && op != "abs" && op != "sign" && op != "square" && op != "relu" && op != "stop_gradient")
        continue;
      AddInteger(cases, row.op, dtype, 1,
                 [f = row.function](Graph&, std::span<const Value> v) { return One(f(v[0])); });
    }
    AddInteger(cases, "clip", dtype, 1, [](Graph&, std::span<const Value> v) { return One(Clip(v[0], 3, 100)); });
    for (const BinaryRow& row : kBinaryRows) {
      if (row.op == std::string("pow") || row.op == std::string("div")) continue;
      AddInteger(cases, row.op, dtype, 2,
                 [f = row.function](Graph&, std::span<const Value> v) { return One(f(v[0], v[1])); });
    }
  }
  AddLogic(cases);
  AddTypes(cases);
  AddRandom(cases);
  AddChains(cases);
}

}  // namespace weir
