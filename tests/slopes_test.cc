// Values and slopes, to the third order, of elementwise ops, activations and losses where formulas break: zeros, the
// smallest and largest finite numbers, infinities and NaN. Every row says what mathematics has; all backends.
#include <gtest/gtest.h>

#include <limits>

#include "test_runtimes.h"
#include "weir/frontend/parts/activations.h"
#include "weir/frontend/parts/losses.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max(), kMin = std::numeric_limits<float>::min();

// Where a formula leaves open which slope is meant, as that of a hinge at NaN.
constexpr float kAny = -98765.5f;

// A function of one number with its value and first, second, third slope at a point.
struct Row {
  float x, value, slope, second, third;
};
struct Function {
  std::string name;
  std::function<Value(const Value&)> function;
  std::vector<Row> rows;
};

// Limits at the ends of the line: the function is `low` at -inf with slope `low_slope`, at +inf as x * high_slope.
std::vector<Row> Squashed(float low, float high, float at_zero, float slope, float second, float third) {
  std::vector<Row> rows;
  for (const float x : {-kInf, -kMax, -1e20f, -1e4f}) rows.push_back({x, low, 0, 0, 0});
  for (const float x : {1e4f, 1e20f, kMax, kInf}) rows.push_back({x, high, 0, 0, 0});
  for (const float x : {0.0f, -0.0f}) rows.push_back({x, at_zero, slope, second, third});
  rows.push_back({kNan, kNan, kNan, kNan, kNan});
  return rows;
}
// 0 far below, the identity far above.
std::vector<Row> Hinged(float at_zero, float slope, float second, float third, float low = 0) {
  std::vector<Row> rows;
  for (const float x : {-kInf, -kMax, -1e20f, -1e4f}) rows.push_back({x, low, 0, 0, 0});
  for (const float x : {1e4f, 1e20f, kMax, kInf}) rows.push_back({x, x, 1, 0, 0});
  for (const float x : {0.0f, -0.0f, kMin, -kMin}) rows.push_back({x, at_zero, slope, second, third});
  rows.push_back({kNan, kNan, kNan, kNan, kNan});
  return rows;
}

// Of rows (x, other).
std::function<Value(const Value&)> OfRows(float other, std::function<Value(const Value&)> function) {
  return [other, function](const Value& x) {
    const Value column = Reshape(x, {-1, 1});
    return function(Concatenate({{column, Constant(x, other, x.dtype(), column.shape())}}, 1));
  };
}
Value FirstColumn(const Value& rows) {
  const Value one = Constant(rows, 1, rows.dtype(), {rows.shape()[0], 1});
  return Sum(rows * Concatenate({{one, ZerosLike(one)}}, 1), {1});
}

// log(sigmoid(x)), up to a sign, and what it is made of.
std::vector<Row> OfSigmoid(float sign, bool logarithm) {
  std::vector<Row> rows;
  for (const float x : {-3.0f, -0.0f, 0.0f, 1.0f, kMin, -kMin}) {
    const double s = 1 / (1 + std::exp(-double{x})), first = s * (1 - s), second = first * (1 - 2 * s);
    const double third = first * (1 - 6 * s + 6 * s * s);
    const double is[] = {s, first, second, third}, log[] = {std::log(s), 1 - s, -first, -second};
    const double* all = logarithm ? log : is;
    const auto of = [&](int i) { return static_cast<float>(sign * all[i]); };
    rows.push_back({x, of(0), of(1), of(2), of(3)});
  }
  rows.push_back({kMax, sign * (logarithm ? 0.0f : 1.0f), 0, 0, 0});
  rows.push_back({-kMax, logarithm ? -sign * kMax : 0.0f, logarithm ? sign : 0.0f, 0, 0});
  rows.push_back({kNan, kNan, kNan, kNan, kNan});
  return rows;
}

// Ops of two operands in each of them, and reductions.
void AddPairsAndReductions(std::vector<Function>& all) {
  const auto two = [](const Value& x) { return Constant(x, 2, x.dtype()); };
  all.push_back(
      {"x / 2",
       [=](const Value& x) { return x / two(x); },
       {{4, 2, 0.5f, 0, 0}, {-kInf, -kInf, 0.5f, 0, 0}, {kMax, kMax / 2, 0.5f, 0, 0}, {kNan, kNan, 0.5f, 0, 0}}});
  all.push_back({"2 / x",
                 [=](const Value& x) { return two(x) / x; },
                 {{4, 0.5f, -0.125f, 0.0625f, -0.046875f},
                  {kInf, 0, 0, 0, 0},
                  {-kInf, 0, 0, 0, 0},
                  {0, kInf, -kInf, kInf, -kInf},
                  {kNan, kNan, kNan, kNan, kNan}}});
  all.push_back({"x ^ 2.5",
                 [](const Value& x) { return Pow(x, Constant(x, 2.5, x.dtype())); },
                 {{4, 32, 20, 7.5f, 0.9375f}, {kInf, kInf, kInf, kInf, 0}}});
  for (const bool swapped : {false, true}) {
    all.push_back(
        {StrCat("maximum ", swapped),
         [=](const Value& x) { return swapped ? Maximum(two(x), x) : Maximum(x, two(x)); },
         {{3, 3, 1, 0, 0}, {1, 2, 0, 0, 0}, {kInf, kInf, 1, 0, 0}, {-kInf, 2, 0, 0, 0}, {kMax, kMax, 1, 0, 0}}});
    all.push_back(
        {StrCat("minimum ", swapped),
         [=](const Value& x) { return swapped ? Minimum(two(x), x) : Minimum(x, two(x)); },
         {{1, 1, 1, 0, 0}, {3, 2, 0, 0, 0}, {-kInf, -kInf, 1, 0, 0}, {kInf, 2, 0, 0, 0}, {-kMax, -kMax, 1, 0, 0}}});
  }
  all.push_back({"sum",
                 OfRows(3, [](const Value& row) { return Sum(row, {1}); }),
                 {{1, 4, 1, 0, 0}, {kInf, kInf, 1, 0, 0}, {-kMax, -kMax, 1, 0, 0}, {kNan, kNan, 1, 0, 0}}});
  all.push_back({"mean",
                 OfRows(3, [](const Value& row) { return Mean(row, {1}); }),
                 {{1, 2, 0.5f, 0, 0}, {kInf, kInf, 0.5f, 0, 0}, {kNan, kNan, 0.5f, 0, 0}}});
  all.push_back({"sum of squares",
                 OfRows(3, [](const Value& row) { return Sum(Square(row), {1}); }),
                 {{1, 10, 2, 2, 0}, {-0.0f, 9, 0, 2, 0}, {kInf, kInf, kInf, 2, 0}, {1e19f, 1e38f, 2e19f, 2, 0}}});
  all.push_back({"max",
                 OfRows(3, [](const Value& row) { return Max(row, {1}); }),
                 {{5, 5, 1, 0, 0}, {1, 3, 0, 0, 0}, {kInf, kInf, 1, 0, 0}, {-kInf, 3, 0, 0, 0}}});
  all.push_back({"min",
                 OfRows(3, [](const Value& row) { return Min(row, {1}); }),
                 {{1, 1, 1, 0, 0}, {5, 3, 0, 0, 0}, {-kInf, -kInf, 1, 0, 0}, {kInf, 3, 0, 0, 0}}});
  all.push_back(
      {"softmax", OfRows(0, [](const Value& row) { return FirstColumn(Softmax(row)); }), OfSigmoid(1, false)});
  all.push_back(
      {"log_softmax", OfRows(0, [](const Value& row) { return FirstColumn(LogSoftmax(row)); }), OfSigmoid(1, true)});
}

// Losses whose labels are classes, or whose predictions are probabilities: 1e-7 is what they are kept away from 0 and 1.
void AddLossesOfClasses(std::vector<Function>& all) {
  constexpr float kLeast = 16.118095f;  // -log(1e-7)
  const auto sparse = [](const Loss& loss, const Value& rows) {
    return loss.PerSample(Constant(rows, 0, DType::kInt32, Shape{rows.shape()[0]}), rows);
  };
  all.push_back(
      {"sparse_categorical_crossentropy of logits",
       OfRows(0, [=](const Value& rows) { return sparse(SparseCategoricalCrossEntropy({.from_logits = true}), rows); }),
       OfSigmoid(-1, true)});
  const std::vector<Row> of_probability = {
      {0.5f, 0.6931472f, -2, 4, -16}, {0, kLeast, 0, 0, 0}, {-0.0f, kLeast, 0, 0, 0}};
  const auto complement = [](const Value& x) {
    const Value column = Reshape(x, {-1, 1});
    return Concatenate({{column, 1 - column}}, 1);
  };
  all.push_back({"sparse_categorical_crossentropy",
                 [=](const Value& x) { return sparse(SparseCategoricalCrossEntropy(), complement(x)); },
                 of_probability});
  all.push_back({"categorical_crossentropy",
                 [=](const Value& x) {
                   const Value rows = complement(x);
                   const Value one = Constant(x, 1, x.dtype(), {x.shape()[0], 1});
                   return CategoricalCrossEntropy().PerSample(Concatenate({{one, ZerosLike(one)}}, 1), rows);
                 },
                 of_probability});
  const auto column = [&](std::string name, const Loss& loss, float label, std::vector<Row> rows) {
    all.push_back({name + " loss",
                   [loss, label](const Value& x) {
                     const Value p = Reshape(x, {-1, 1});
                     return Reshape(loss.PerSample(Constant(x, label, x.dtype(), p.shape()), p), {-1});
                   },
                   std::move(rows)});
  };
  column("binary_crossentropy, label 1", BinaryCrossEntropy(), 1, of_probability);
  column("binary_crossentropy, label 0", BinaryCrossEntropy(), 0,
         {{0.5f, 0.6931472f, 2, 4, 16}, {0, kAny, 0, 0, 0}});  // 1e-7, as far as 1 - 1e-7 is a float
  column("kl_divergence", KLDivergence(), 1, of_probability);
  column("mean_absolute_percentage_error", MeanAbsolutePercentageError(), 2,
         {{1, 50, -50, 0, 0}, {3, 50, 50, 0, 0}, {kInf, kInf, 50, 0, 0}, {-kInf, kInf, -50, 0, 0}});
  column("mean_squared_logarithmic_error", MeanSquaredLogarithmicError(), 0,
         {{1, 0.4804530f, 0.6931472f, 0.1534264f, -0.4034264f}, {-1, 0, 0, 0, 0}, {-kInf, 0, 0, 0, 0}});
  column("cosine_similarity", CosineSimilarity(), 1, {{2, -1, kAny, kAny, kAny}, {-3, 1, kAny, kAny, kAny}});
}

std::vector<Function> Functions() {
  std::vector<Function> all;
  const auto add = [&](std::string name, std::function<Value(const Value&)> function, std::vector<Row> rows) {
    all.push_back({std::move(name), std::move(function), std::move(rows)});
  };
  AddPairsAndReductions(all);
  AddLossesOfClasses(all);
  // What has a kink hands a NaN on, whatever its slope.
  const std::pair<const char*, std::function<Value(const Value&)>> kinked[] = {
      {"relu", [](const Value& x) { return Relu(x); }},
      {"relu6", Relu6},
      {"selu", Selu},
      {"hard_sigmoid", HardSigmoid},
      {"elu", [](const Value& x) { return Elu(x, 1); }},
      {"leaky_relu", [](const Value& x) { return LeakyRelu(x, 0.1); }},
      {"abs", [](const Value& x) { return Abs(x); }},
      {"clip", [](const Value& x) { return Clip(x, -1, 1); }},
      {"maximum", [](const Value& x) { return Maximum(x, 0); }},
      {"minimum", [](const Value& x) { return Minimum(x, 0); }}};
  for (const auto& [name, function] : kinked) add(StrCat(name, " of NaN"), function, {{kNan, kNan, kAny, kAny, kAny}});
  add("sqrt at 0", [](const Value& x) { return Sqrt(x); }, {{0, 0, kInf, -kInf, kInf}, {-1, kNan, kNan, kNan, kNan}});
  add("rsqrt at 0", [](const Value& x) { return Rsqrt(x); },
      {{0, kInf, -kInf, kInf, -kInf}, {-1, kNan, kNan, kNan, kNan}});
  constexpr float kHalf = 0.5f, kGelu = 0.79788456f;  // 2 phi(0)
  add("tanh", [](const Value& x) { return Tanh(x); }, Squashed(-1, 1, 0, 1, 0, -2));
  add("sigmoid", [](const Value& x) { return Sigmoid(x); }, Squashed(0, 1, kHalf, 0.25f, 0, -0.125f));
  add("erf", [](const Value& x) { return Erf(x); }, Squashed(-1, 1, 0, 1.1283792f, 0, -2.2567583f));
  add("silu", [](const Value& x) { return Silu(x); }, Hinged(0, kHalf, kHalf, 0));
  add("gelu", [](const Value& x) { return Gelu(x); }, Hinged(0, kHalf, kGelu, 0));
  add("gelu_tanh", [](const Value& x) { return Gelu(x, true); }, Hinged(0, kHalf, kGelu, 0));
  add("softplus", [](const Value& x) { return Softplus(x); }, Hinged(0.6931472f, kHalf, 0.25f, 0));
  add("mish", Mish, Hinged(0, 0.6f, 0.64f, -0.096f));
  std::vector<Row> hard_silu = Hinged(0, kHalf, 1.0f / 3, 0);
  hard_silu.back() = {kNan, kNan, kNan, 1.0f / 3, 0};  // of a parabola, whose higher slopes are constants
  add("hard_silu", HardSilu, hard_silu);
  add("softsign", Softsign,
      {{-kInf, -1, 0, 0, 0},
       {-kMax, -1, 0, 0, 0},
       {-1e20f, -1, 0, 0, 0},
       {1e20f, 1, 0, 0, 0},
       {kMax, 1, 0, 0, 0},
       {kInf, 1, 0, 0, 0},
       {1, kHalf, 0.25f, -0.25f, 0.375f},
       {-1, -kHalf, 0.25f, 0.25f, 0.375f},
       {kNan, kNan, kNan, kNan, kNan}});
  add("hard_sigmoid", HardSigmoid,
      {{-kInf, 0, 0, 0, 0},
       {-kMax, 0, 0, 0, 0},
       {0, kHalf, 1.0f / 6, 0, 0},
       {-0.0f, kHalf, 1.0f / 6, 0, 0},
       {kMax, 1, 0, 0, 0},
       {kInf, 1, 0, 0, 0}});
  add("relu", [](const Value& x) { return Relu(x); },
      {{-kInf, 0, 0, 0, 0},
       {-kMax, 0, 0, 0, 0},
       {kMin, kMin, 1, 0, 0},
       {kMax, kMax, 1, 0, 0},
       {kInf, kInf, 1, 0, 0},
       {0, 0, 0, 0, 0},
       {-0.0f, 0, 0, 0, 0}});
  add("relu6", Relu6,
      {{-kInf, 0, 0, 0, 0}, {kMin, kMin, 1, 0, 0}, {5.5f, 5.5f, 1, 0, 0}, {kMax, 6, 0, 0, 0}, {kInf, 6, 0, 0, 0}});
  constexpr float kSelu = 1.0507009873554805f, kSeluLow = 1.0507009873554805f * 1.6732632423543772f;
  add("selu", Selu,
      {{-kInf, -kSeluLow, 0, 0, 0},
       {-kMax, -kSeluLow, 0, 0, 0},
       {1, kSelu, kSelu, 0, 0},
       {1e38f, kSelu * 1e38f, kSelu, 0, 0},
       {kInf, kInf, kSelu, 0, 0},
       {-1e-6f, -kSeluLow * 1e-6f, kSeluLow, kSeluLow, kSeluLow}});
  for (const float alpha : {1.0f, 0.5f, 0.0f, -0.5f, -2.0f}) {
    std::vector<Row> rows = {{-kInf, -alpha, 0, 0, 0}, {-kMax, -alpha, 0, 0, 0}, {0, 0, 1, 0, 0},
                             {kMin, kMin, 1, 0, 0},    {kMax, kMax, 1, 0, 0},    {kInf, kInf, 1, 0, 0}};
    for (const float x : {-2.0f, -1.0f, -0.25f, -1e-6f}) {
      const float slope = alpha * std::exp(x);
      rows.push_back({x, alpha * std::expm1(x), slope, slope, slope});
    }
    // Beside a tiny input the slope is that of the branch, not of the output that vanished.
    rows.push_back({-kMin, 0, alpha, alpha, alpha});
    add(StrCat("elu ", alpha), [alpha](const Value& x) { return Elu(x, alpha); }, rows);
    add(StrCat("leaky_relu ", alpha), [alpha](const Value& x) { return LeakyRelu(x, alpha); },
        {{-2, -2 * alpha, alpha, 0, 0},
         {2, 2, 1, 0, 0},
         {-1e30f, -1e30f * alpha, alpha, 0, 0},
         {kMax, kMax, 1, 0, 0},
         {kInf, kInf, 1, 0, 0},
         {-kMin, -kMin * alpha, alpha, 0, 0}});
  }
  add("exp", [](const Value& x) { return Exp(x); },
      {{-kInf, 0, 0, 0, 0},
       {-kMax, 0, 0, 0, 0},
       {0, 1, 1, 1, 1},
       {-0.0f, 1, 1, 1, 1},
       {kMax, kInf, kInf, kInf, kInf},
       {kInf, kInf, kInf, kInf, kInf}});
  add("log", [](const Value& x) { return Log(x); },
      {{kInf, kInf, 0, 0, 0}, {1, 0, 1, -1, 2}, {0, -kInf, kInf, -kInf, kInf}, {1e30f, 69.077553f, 1e-30f, 0, 0}});
  add("log1p", [](const Value& x) { return Log1p(x); },
      {{kInf, kInf, 0, 0, 0}, {0, 0, 1, -1, 2}, {-1, -kInf, kInf, -kInf, kInf}});
  add("sqrt", [](const Value& x) { return Sqrt(x); }, {{4, 2, 0.25f, -1 / 32.0f, 3 / 256.0f}, {kInf, kInf, 0, 0, 0}});
  add("rsqrt", [](const Value& x) { return Rsqrt(x); },
      {{4, 0.5f, -1 / 16.0f, 3 / 128.0f, -15 / 1024.0f}, {kInf, 0, 0, 0, 0}});
  add("abs", [](const Value& x) { return Abs(x); },
      {{-kInf, kInf, -1, 0, 0},
       {-kMax, kMax, -1, 0, 0},
       {0, 0, 0, 0, 0},
       {kMin, kMin, 1, 0, 0},
       {kInf, kInf, 1, 0, 0}});
  add("square", [](const Value& x) { return Square(x); },
      {{0, 0, 0, 2, 0}, {1e19f, 1e38f, 2e19f, 2, 0}, {kInf, kInf, kInf, 2, 0}});
  add("reciprocal", [](const Value& x) { return 1.0 / x; },
      {{2, 0.5f, -0.25f, 0.25f, -0.375f}, {kInf, 0, 0, 0, 0}, {kMax, 0, 0, 0, 0}});
  add("cube", [](const Value& x) { return Pow(x, 3); },
      {{0, 0, 0, 0, 6}, {-2, -8, 12, -12, 6}, {kInf, kInf, kInf, kInf, 6}});
  add("power of 2", [](const Value& x) { return Pow(Constant(x, 2, x.dtype()), x); },
      {{-kInf, 0, 0, 0, 0}, {1, 2, 1.3862944f, 0.9609060f, 0.6660493f}, {kInf, kInf, kInf, kInf, kInf}});
  add("clip", [](const Value& x) { return Clip(x, -1, 1); },
      {{-kInf, -1, 0, 0, 0}, {-kMax, -1, 0, 0, 0}, {0.5f, 0.5f, 1, 0, 0}, {kInf, 1, 0, 0, 0}});
  // Losses as functions of the prediction, for one label.
  const auto loss = [&](std::string name, const Loss& loss, float label, std::vector<Row> rows) {
    add(
        name + " loss",
        [loss, label](const Value& x) {
          const Value p = Reshape(x, {-1, 1});
          return Reshape(loss.PerSample(Constant(x, label, x.dtype(), p.shape()), p), {-1});
        },
        std::move(rows));
  };
  loss("huber", Huber(), 0,
       {{0, 0, 0, 1, 0},
        {0.5f, 0.125f, 0.5f, 1, 0},
        {2, 1.5f, 1, 0, 0},
        {-2, 1.5f, -1, 0, 0},
        {3e38f, 3e38f, 1, 0, 0},
        {-3e38f, 3e38f, -1, 0, 0},
        {kInf, kInf, 1, 0, 0},
        {-kInf, kInf, -1, 0, 0}});
  loss("log_cosh", LogCosh(), 0,
       {{0, 0, 0, 1, 0},
        {kMax, kMax, 1, 0, 0},
        {-kMax, kMax, -1, 0, 0},
        {3e38f, 3e38f, 1, 0, 0},
        {-3e38f, 3e38f, -1, 0, 0},
        {kInf, kInf, 1, 0, 0},
        {-kInf, kInf, -1, 0, 0}});
  loss("mean_squared_error", MeanSquaredError(), 1,
       {{1, 0, 0, 2, 0}, {1e19f, 1e38f, 2e19f, 2, 0}, {kInf, kInf, kInf, 2, 0}});
  loss("mean_absolute_error", MeanAbsoluteError(), 1,
       {{1, 0, 0, 0, 0}, {kMax, kMax, 1, 0, 0}, {-kInf, kInf, -1, 0, 0}});
  loss("hinge", Hinge(), 1,
       {{0, 1, -1, 0, 0}, {kMax, 0, 0, 0, 0}, {kInf, 0, 0, 0, 0}, {-kMax, kMax, -1, 0, 0}, {-kInf, kInf, -1, 0, 0}});
  loss("poisson", Poisson(), 1, {{2, 1.3068528f, 0.5f, 0.25f, -0.25f}, {kMax, kMax, 1, 0, 0}});
  loss("binary_crossentropy of logits", BinaryCrossEntropy({.from_logits = true}), 1,
       {{1, 0.3132617f, -0.2689414f, 0.1966119f, -0.0908577f},
        {kMax, 0, 0, 0, 0},
        {1e20f, 0, 0, 0, 0},
        {-1e20f, 1e20f, -1, 0, 0},
        {-kMax, kMax, -1, 0, 0}});
  // Infinite logits cost nothing where the label agrees, and everything where it does not; all slopes are finite.
  const Loss of_logits = BinaryCrossEntropy({.from_logits = true});
  loss("binary_crossentropy of logits, again", of_logits, 1,
       {{0, 0.6931472f, -0.5f, 0.25f, 0},
        {-0.0f, 0.6931472f, -0.5f, 0.25f, 0},
        {kInf, 0, 0, 0, 0},
        {-kInf, kInf, -1, 0, 0},
        {-1, 1.3132617f, -0.7310586f, 0.1966119f, 0.0908577f},
        {kNan, kNan, kNan, kNan, kNan}});
  loss("binary_crossentropy of logits, label 0", of_logits, 0,
       {{0, 0.6931472f, 0.5f, 0.25f, 0},
        {-0.0f, 0.6931472f, 0.5f, 0.25f, 0},
        {kInf, kInf, 1, 0, 0},
        {-kInf, 0, 0, 0, 0},
        {kMax, kMax, 1, 0, 0},
        {-kMax, 0, 0, 0, 0},
        {1, 1.3132617f, 0.7310586f, 0.1966119f, -0.0908577f},
        {kNan, kNan, kNan, kNan, kNan}});
  loss("binary_crossentropy of logits, label 0.25", of_logits, 0.25f,
       {{0, 0.6931472f, 0.25f, 0.25f, 0},
        {kInf, kInf, 0.75f, 0, 0},
        {-kInf, kInf, -0.25f, 0, 0},
        {1, 1.0632617f, 0.4810586f, 0.1966119f, -0.0908577f}});
  loss("squared_hinge", SquaredHinge(), 1,
       {{0, 1, -2, 2, 0}, {kInf, 0, 0, 0, 0}, {3, 0, 0, 0, 0}, {-kInf, kInf, -kInf, 2, 0}});
  loss("poisson of infinities", Poisson(), 1, {{kInf, kInf, 1, 0, 0}});
  loss("poisson of label 0", Poisson(), 0, {{kInf, kInf, 1, 0, 0}, {2, 2, 1, 0, 0}});
  loss("hinge of label 0", Hinge(), 0, {{kInf, kInf, 1, 0, 0}, {-kInf, 0, 0, 0, 0}, {0, 1, 1, 0, 0}});
  // Of a row (x, 0) with the label in front, and behind.
  const auto row = [&](std::string name, const Loss& loss, bool front, std::vector<Row> rows) {
    add(
        std::move(name),
        [loss, front](const Value& x) {
          const Value p = Concatenate({{Reshape(x, {-1, 1}), ZerosLike(Reshape(x, {-1, 1}))}}, 1);
          const Value one = Constant(x, 1, x.dtype(), {x.shape()[0], 1}), none = ZerosLike(one);
          return loss.PerSample(front ? Concatenate({{one, none}}, 1) : Concatenate({{none, one}}, 1), p);
        },
        std::move(rows));
  };
  row("categorical_hinge, first", CategoricalHinge(), true,
      {{kInf, 0, 0, 0, 0}, {0.5f, 0.5f, -1, 0, 0}, {-kInf, kInf, -1, 0, 0}});
  row("categorical_hinge, last", CategoricalHinge(), false,
      {{kInf, kInf, 1, 0, 0}, {0.5f, 1.5f, 1, 0, 0}, {-kInf, 1, 0, 0, 0}});
  row("categorical_crossentropy of logits, last", CategoricalCrossEntropy({.from_logits = true}), false,
      {{-kInf, 0, 0, 0, 0}, {0, 0.6931472f, 0.5f, 0.25f, 0}, {kMax, kMax, 1, 0, 0}, {-kMax, 0, 0, 0, 0}});
  row("categorical_crossentropy of logits, first", CategoricalCrossEntropy({.from_logits = true}), true,
      {{0, 0.6931472f, -0.5f, 0.25f, 0}, {kMax, 0, 0, 0, 0}, {-kMax, kMax, -1, 0, 0}});
  return all;
}

::testing::AssertionResult Near(float got, float right) {
  if (right == kAny) return ::testing::AssertionSuccess();
  if (std::isnan(right) ? std::isnan(got) : got == right) return ::testing::AssertionSuccess();
  if (std::isfinite(got) && std::isfinite(right) &&
      std::abs(double{got} - right) <= 1e-5 * std::max(1e-3, std::abs(double{right}))) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "is " << got << ", right is " << right;
}

class Slopes : public ::testing::TestWithParam<std::string> {};

TEST_P(Slopes, AreThoseOfMathematics) {
  const auto runtime = MakeTestRuntime(GetParam(), 1);
  for (const Function& function : Functions()) {
    const auto graph = Graph::Create();
    const int64_t count = static_cast<int64_t>(function.rows.size());
    const Value x = graph->Input({DType::kFloat32, {count}});
    std::vector<Value> orders = {function.function(x)};
    for (int order = 1; order <= 3; ++order) {
      const Value slope = Gradients({orders.back()}, {x})[0];
      orders.push_back(slope.defined() ? slope : ZerosLike(x));
    }
    Tensor points(DType::kFloat32, {count});
    for (int64_t i = 0; i < count; ++i)
      points.data<float>()[static_cast<size_t>(i)] = function.rows[static_cast<size_t>(i)].x;
    const std::vector<Value> inputs = {x};
    const auto made = runtime->Compile(inputs, orders);
    ASSERT_TRUE(made.ok()) << function.name << ": " << made.status().message();
    std::vector<Tensor> data = {points}, got(orders.size());
    ASSERT_TRUE(runtime->Run(**made, data, got).ok());
    const char* const names[] = {"value", "first slope", "second slope", "third slope"};
    for (size_t i = 0; i < function.rows.size(); ++i) {
      const Row& row = function.rows[i];
      const float right[] = {row.value, row.slope, row.second, row.third};
      for (size_t order = 0; order < 4; ++order) {
        EXPECT_TRUE(Near(got[order].data<float>()[i], right[order]))
            << names[order] << " of " << function.name << " at " << row.x << " on '" << GetParam() << "'";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Slopes, ::testing::ValuesIn(TargetsAndReference()),
                         [](const auto& info) { return info.param.empty() ? "reference" : info.param; });

}  // namespace
}  // namespace weir
