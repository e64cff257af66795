// Matrix products: all transposes, sizes around tiles and the block of ops/canonical_order.h, batches that broadcast.
#include "weir/ops/canonical_order.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

constexpr int64_t kGradientWork = 1 << 18;  // multiplications: gradient checks repeat them for every input

void AddProduct(OpCases& cases, std::vector<int64_t> batch_a, std::vector<int64_t> batch_b, int64_t m, int64_t k,
                int64_t n, bool ta, bool tb, Fill fill = Fill::kUniform) {
  std::vector<int64_t> a = batch_a, b = batch_b;
  a.insert(a.end(), {ta ? k : m, ta ? m : k});
  b.insert(b.end(), {tb ? n : k, tb ? k : n});
  const Shape sa{std::span<const int64_t>(a)}, sb{std::span<const int64_t>(b)};
  cases.push_back({.name = StrCat("matmul/", ShapeName(sa), ",", ShapeName(sb), ta || tb ? "_" : "", ta ? "ta" : "",
                                  tb ? "tb" : "", fill == Fill::kSpecials ? "_specials" : ""),
                   .op = "matmul",
                   .inputs = {{sa, fill}, {sb, fill}},
                   .build =
                       [ta, tb](Graph&, std::span<const Value> v) {
                         return std::vector<Value>{MatMul(v[0], v[1], {.transpose_a = ta, .transpose_b = tb})};
                       },
                   .gradient = fill == Fill::kUniform && m * k * n <= kGradientWork});
}

}  // namespace

void AddMatMulCases(OpCases& cases) {
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      AddProduct(cases, {}, {}, 5, 7, 3, ta, tb);
      AddProduct(cases, {}, {}, 9, 2 * kMatMulBlock + 1, 17, ta, tb);
      AddProduct(cases, {3}, {3}, 4, 6, 33, ta, tb);
      AddProduct(cases, {}, {}, 37, 20, 41, ta, tb);
      AddProduct(cases, {}, {}, 9, 30, 19, ta, tb, Fill::kSpecials);
    }
  }
  AddProduct(cases, {}, {}, 1, 1, 1, false, false);
  AddProduct(cases, {}, {}, 1, 56, 444, false, false);
  AddProduct(cases, {}, {}, 32, 512, 10, false, false);
  // Pairs of tasks, of rows that tiles divide and others.
  AddProduct(cases, {}, {}, 19, 512, 10, false, false);
  AddProduct(cases, {}, {}, 37, 512, 10, true, false);
  AddProduct(cases, {}, {}, 32, 10, 512, false, true);
  AddProduct(cases, {}, {}, 128, 10, 512, false, true);
  AddProduct(cases, {}, {}, 33, kMatMulBlock, 16, false, false);
  AddProduct(cases, {}, {}, 33, kMatMulBlock + 1, 15, false, false);
  AddProduct(cases, {}, {}, 0, 5, 3, false, false);
  AddProduct(cases, {}, {}, 4, 0, 3, false, false);
  AddProduct(cases, {}, {}, 4, 5, 0, false, false);
  AddProduct(cases, {2, 3}, {3}, 2, 3, 4, false, false);
  AddProduct(cases, {2, 1}, {1, 3}, 2, 3, 4, false, true);
  AddProduct(cases, {}, {2}, 3, 2, 5, true, false);
  for (int64_t n = 1; n <= 33; ++n) AddProduct(cases, {}, {}, 3, 5, n, false, false);
  for (int64_t m : {2, 4, 6, 7, 8, 12, 13, 16, 24, 31, 64}) AddProduct(cases, {}, {}, m, 5, 35, false, false);
  // Shares of rows with packed columns, of columns, of terms; rows of many terms and of few columns.
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      AddProduct(cases, {}, {}, 150, 180, 152, ta, tb);
      AddProduct(cases, {}, {}, 70, kMatMulBlock + 77, 67, ta, tb);
    }
  }
  AddProduct(cases, {}, {2}, 130, 70, 130, true, false);
  // Rows whose terms are apart, in more blocks than tasks alone would make.
  AddProduct(cases, {}, {}, 700, 130, 96, true, false);
  AddProduct(cases, {}, {}, 17, 4096, 300, false, false);
  AddProduct(cases, {}, {}, 2, 8 * kMatMulBlock + 3, 300, true, false);
  AddProduct(cases, {}, {}, 1, 8 * kMatMulBlock + 3, 300, false, false);
  AddProduct(cases, {2}, {}, 20, 8 * kMatMulBlock + 3, 200, false, false);
  AddProduct(cases, {}, {}, 70, 8 * kMatMulBlock + 3, 200, false, false);
  // Rows of one set of the first-level cache, copied, or few a tile.
  for (bool tb : {false, true}) {
    AddProduct(cases, {}, {}, 40, 2 * kMatMulBlock, 160, false, tb);
    AddProduct(cases, {2}, {}, 37, 2 * kMatMulBlock, 197, false, tb);
  }
  AddProduct(cases, {}, {}, 300, 2 * kMatMulBlock, 300, false, false);
  // One row or two over columns that are no whole rounds.
  AddProduct(cases, {}, {}, 1, 8 * kMatMulBlock + 3, 340, false, false);
  AddProduct(cases, {}, {}, 2, 8 * kMatMulBlock, 340, false, false);
  // Terms in order, of which the last ones are fewer; a tile has more to fetch than a vector a term.
  AddProduct(cases, {}, {}, 3, 4 * kMatMulBlock - 5, 530, false, false);
  AddProduct(cases, {}, {}, 7, 4 * kMatMulBlock, 530, true, false);
  AddProduct(cases, {}, {}, 30, 4 * kMatMulBlock - 5, 500, false, false);
  // Blocks of rows and of terms, panel by panel, in place or packed.
  for (bool ta : {false, true}) {
    AddProduct(cases, {}, {}, 33, 4 * kMatMulBlock, 530, ta, false);
    AddProduct(cases, {}, {}, 285, 4 * kMatMulBlock + 5, 90, ta, false);
    AddProduct(cases, {2}, {}, 150, 4 * kMatMulBlock - 5, 83, ta, false);
  }
  AddProduct(cases, {}, {}, 600, kMatMulBlock, 20, false, false);
  AddProduct(cases, {}, {}, 20, 2 * kMatMulBlock, 100, false, false);
  AddProduct(cases, {}, {}, 32, 100, 600, false, true);
  // Dense layers with their epilogues, and integer operands.
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      // Random numbers behind sums that wait for them, and an update of weights.
      cases.push_back({.name = StrCat("matmul/dense_dropout_", ta ? "ta" : "", tb ? "tb" : "", "_24x40,40x128"),
                       .op = "matmul",
                       .inputs = {{ta ? Shape{40, 24} : Shape{24, 40}},
                                  {tb ? Shape{128, 40} : Shape{40, 128}},
                                  {DType::kInt64, {}, Fill::kStep}},
                       .build = [ta, tb](Graph&, std::span<const Value> v) {
                         const Value y = MatMul(v[0], v[1], {.transpose_a = ta, .transpose_b = tb});
                         return std::vector<Value>{Dropout(y, 0.5, v[2], 3, 4)};
                       }});
    }
  }
  // The larger ones' epilogues read what no second-level cache holds: fetched some lines a term, one, or one in some.
  for (const Shape& a : {Shape{20, 70}, Shape{0, 611}, Shape{12, 611}, Shape{36, 611}, Shape{130, 611}}) {
    const Shape b = {a.dim(0), a.dim(1) == 70 ? 33 : 450}, w = {a.dim(1), b.dim(1)};
    cases.push_back({.name = StrCat("matmul/adam_update_", ShapeName(a), ",", ShapeName(b), "_ta"),
                     .op = "matmul",
                     .inputs = {{a}, {b}, {w}, {w}, {w, Fill::kPositive}},
                     .build =
                         [](Graph&, std::span<const Value> v) {
                           const Value g = MatMul(v[0], v[1], {.transpose_a = true});
                           const Value m = v[3] + (g - v[3]) * 0.1, s = v[4] + (g * g - v[4]) * 0.001;
                           return std::vector<Value>{v[2] - 0.001 * m / (Sqrt(s) + 1e-7), m, s};
                         },
                     .gradient = w.size() < 10'000});
  }
  cases.push_back(
      {.name = "matmul/dense_relu_6x20,20x18",
       .op = "matmul",
       .inputs = {{{6, 20}}, {{20, 18}}, {{18}}},
       .build = [](Graph&, std::span<const Value> v) { return std::vector<Value>{Relu(MatMul(v[0], v[1]) + v[2])}; }});
  cases.push_back({.name = "matmul/u8_4x6,i32_6x5",
                   .op = "matmul",
                   .inputs = {{DType::kUint8, {4, 6}, Fill::kBytes}, {DType::kInt32, {6, 5}, Fill::kBytes}},
                   .build = [](Graph&, std::span<const Value> v) { return std::vector<Value>{MatMul(v[0], v[1])}; },
                   .gradient = false});
}

}  // namespace weir
