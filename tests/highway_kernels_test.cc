// Highway's products, elementwise and moving kernels, what the backend declines, and its targets; see
// highway_lowering.h.
#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "highway_lowering.h"
#include "weir/backends/highway/highway_backend.h"
#include "weir/ops/ops.h"
#include "weir/tests/interpret.h"

namespace weir {
namespace {

// ---- Products -----------------------------------------------------------------------------------
TEST_P(HighwayKernels, MatMul) {
  struct Sizes {
    int64_t m, k, n;
    bool large = false;
  };
  const Sizes all[] = {{1, 1, 1},
                       {2, 3, 4},
                       {5, 7, 17},
                       {13, 16, 33},
                       {12, 40, 64},
                       {1, 600, 20},
                       {32, 33, 10},
                       {3, 1025, 5},
                       {30, 513, 40},
                       {64, 64, 64},
                       {200, 3, 31},
                       {7, 0, 9},
                       {32, 4500, 80, true},
                       {32, 200, 1500, true},
                       {1500, 32, 200, true},
                       {700, 1100, 300, true},
                       {260, 520, 700, true},
                       {1, 5000, 300, true},
                       {100, 9000, 64, true}};
  for (const Sizes& s : all) {
    if (s.large && slow()) continue;
    for (int transposes = 0; transposes < 4; ++transposes) {
      const bool ta = (transposes & 1) != 0, tb = (transposes & 2) != 0;
      CheckWithEpilogues(StrCat("matmul ", s.m, "x", s.k, "x", s.n, ta ? " ta" : "", tb ? " tb" : ""),
                         [&](Problem& problem) {
                           const Value a = problem.Floats(ta ? Shape{s.k, s.m} : Shape{s.m, s.k});
                           const Value b = problem.Floats(tb ? Shape{s.n, s.k} : Shape{s.k, s.n});
                           return MatMul(a, b, {.transpose_a = ta, .transpose_b = tb});
                         });
      if (HasFailure()) return;
    }
  }
}

TEST_P(HighwayKernels, MatMulBatches) {
  struct Shapes {
    Shape a, b;
  };
  const Shapes all[] = {{{3, 4, 5}, {3, 5, 6}}, {{4, 5}, {7, 5, 6}}, {{2, 1, 4, 5}, {3, 5, 33}}, {{40, 9, 8}, {8, 17}}};
  for (const Shapes& s : all) {
    CheckWithEpilogues(StrCat("matmul ", s.a, " x ", s.b),
                       [&](Problem& problem) { return MatMul(problem.Floats(s.a), problem.Floats(s.b)); });
  }
}

// Sums of two products of any magnitude: every rounding of the fused multiply-add shows.
TEST_P(HighwayKernels, FmaIsRoundedOnce) {
  for (int i = 0; i < 4; ++i) {
    Problem problem("fma");
    problem.random.seed(static_cast<uint32_t>(i));
    problem.outputs = {MatMul(problem.Patterns({60, 2}), problem.Patterns({2, 70}))};
    Check(problem);
    // Close magnitudes and few bits: halfway cases.
    Problem ties("fma ties");
    const Value a = Cast(ties.Integers<int32_t>({60, 3}, -4097, 4097), DType::kFloat32) * (1.0 + 0x1p-12);
    const Value b = Cast(ties.Integers<int32_t>({3, 70}, -4097, 4097), DType::kFloat32) * (1.0 + 0x1p-12);
    const Tensor left = Interpret(a), right = Interpret(b);
    ties.outputs = {MatMul(ties.graph->Data(left), ties.graph->Data(right))};
    Check(ties);
  }
}

// ---- Elementwise --------------------------------------------------------------------------------
TEST_P(HighwayKernels, BroadcastOperands) {
  for (const Shape& shape :
       {Shape{1}, Shape{3, 5}, Shape{7, 4, 6}, Shape{40, 33}, Shape{3, 700}, Shape{5, 3, 1100}, Shape{64, 8, 8, 16}}) {
    const int64_t last = shape.dim(-1);
    Dims column(shape.begin(), shape.end()), inner(static_cast<size_t>(shape.rank()), 1);
    column.back() = 1;
    inner.front() = shape.dim(0);
    Problem problem(StrCat("broadcast to ", shape));
    const Value x = problem.Floats(shape);
    const Value a = x + problem.Floats({last});
    const Value b = a * problem.Floats(Shape(column)) - problem.Floats({});
    const Value c = Maximum(b, problem.Floats(Shape(inner)));
    problem.outputs = {a, b, Where(problem.Integers<bool>(Shape(column), 0, 2), c, x)};
    Check(problem);
  }
}

TEST_P(HighwayKernels, TypesAndConversions) {
  for (const int64_t count : {1, 15, 16, 17, 1000, 70000}) {
    const Shape shape{count};
    Problem problem(StrCat("types ", count));
    const Value f = problem.Patterns(shape), i = problem.Integers<int32_t>(shape, -3, 3);
    const Value u = problem.Integers<uint8_t>(shape, 0, 256), b = problem.Integers<bool>(shape, 0, 2);
    const Value pixel = Cast(u, DType::kFloat32) * (1 / 255.0);
    problem.outputs = {pixel,
                       Cast(f, DType::kInt32),
                       Cast(f, DType::kUint8),
                       Cast(f, DType::kBool),
                       Cast(i, DType::kUint8),
                       Cast(i, DType::kBool),
                       Cast(b, DType::kInt32),
                       Cast(b, DType::kUint8),
                       Cast(u, DType::kInt32),
                       Cast(i, DType::kFloat32),
                       Where(b, f, pixel),
                       Where(LogicalAnd(b, LogicalNot(Less(i, 1))), i, i * i - 7),
                       LogicalOr(b, Greater(f, 0.5)),
                       Where(b, u, Cast(i, DType::kUint8)),
                       Maximum(i, 1)};
    Check(problem);
  }
}

TEST_P(HighwayKernels, AdamInPlace) {
  for (const int64_t count : {5, 1024, 5000, 300000}) {
    if (slow() && count > 10000) continue;
    Problem problem(StrCat("adam ", count));
    const Shape shape{count};
    const Value g = problem.Floats(shape), m = problem.Floats(shape), w = problem.Floats(shape);
    const Value v = problem.graph->Data(Interpret(Square(problem.Floats(shape))));
    const Value rate = problem.Floats({});
    const Value m2 = m * 0.9 + g * 0.1, v2 = v * 0.999 + Square(g) * 0.001;
    problem.outputs = {m2, v2, w - m2 * rate / (Sqrt(v2) + 1e-7)};
    Check(problem);
  }
}

// An output may not lie over an input that a later instruction still reads.
TEST_P(HighwayKernels, InPlaceOnlyBehindTheLastRead) {
  Problem problem("late read");
  const Value x = problem.Floats({3000});
  const Value early = Exp(x);
  problem.outputs = {early, early + x};
  Check(problem);
  auto backend = MakeHighwayBackend({.target = GetParam()});
  const auto lowered = (*backend)->Lower(ClusterOf(problem));
  for (const InPlacePair& pair : std::get<Lowering>(lowered).in_place) EXPECT_EQ(pair.output, 1);
}

TEST_P(HighwayKernels, RandomNumbers) {
  for (const Shape& shape : {Shape{1}, Shape{63}, Shape{64, 3}, Shape{1000, 77}}) {
    Problem problem(StrCat("dropout ", shape));
    const Value step = problem.Integers<int64_t>({}, 3, 4);
    const Value draw = RandomUniform(step, shape, 11, 5);
    const Value x = problem.Floats(shape);
    problem.outputs = {Where(GreaterEqual(draw, 0.3), x * (1 / 0.7), 0.0), draw};
    Check(problem);
  }
}

TEST_P(HighwayKernels, ConstantsAlone) {
  for (const DType dtype : {DType::kFloat32, DType::kInt32, DType::kBool, DType::kUint8}) {
    Problem problem(StrCat("constant ", dtype));
    problem.outputs = {Constant(*problem.graph, 3, dtype, {5, 301})};
    Check(problem);
  }
}

// ---- Data movement ------------------------------------------------------------------------------
TEST_P(HighwayKernels, Movement) {
  const auto check = [&](const std::string& name, const auto& build) {
    Problem problem(name);
    problem.outputs = {build(problem)};
    Check(problem);
  };
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 5}, Shape{64, 64}, Shape{100, 37}, Shape{700, 300}}) {
    check(StrCat("transpose ", shape), [&](Problem& p) { return Transpose(p.Floats(shape)); });
    check(StrCat("transpose bytes ", shape), [&](Problem& p) { return Transpose(p.Integers<uint8_t>(shape, 0, 256)); });
    check(StrCat("transpose i64 ", shape), [&](Problem& p) { return Transpose(p.Integers<int64_t>(shape, 0, 256)); });
  }
  check("nhwc to nchw", [&](Problem& p) { return Transpose(p.Floats({3, 17, 9, 20}), {0, 3, 1, 2}); });
  check("nchw to nhwc", [&](Problem& p) { return Transpose(p.Floats({3, 20, 17, 9}), {0, 2, 3, 1}); });
  check("permute outer", [&](Problem& p) { return Transpose(p.Floats({5, 4, 33}), {1, 0, 2}); });
  check("permute four", [&](Problem& p) { return Transpose(p.Floats({5, 4, 6, 7}), {3, 1, 0, 2}); });
  check("slice", [&](Problem& p) {
    return Slice(p.Floats({9, 8, 7}), {.begin = {1, 0, 2}, .end = {8, 8, 6}, .strides = {2, 1, 3}});
  });
  check("slice rows", [&](Problem& p) { return Slice(p.Floats({90, 800}), {.begin = {10, 0}, .end = {80, 800}}); });
  check("pad", [&](Problem& p) { return Pad(p.Floats({3, 4, 5}), {1, 0, 2}, {0, 3, 1}, -1.5); });
  check("pad bytes", [&](Problem& p) { return Pad(p.Integers<uint8_t>({30, 40}, 0, 256), {1, 2}, {3, 4}, 7); });
  check("concatenate", [&](Problem& p) {
    const Value parts[] = {p.Floats({3, 4, 5}), p.Floats({3, 0, 5}), p.Floats({3, 7, 5})};
    return Concatenate(parts, 1);
  });
  check("concatenate last", [&](Problem& p) {
    const Value parts[] = {p.Floats({30, 4}), p.Floats({30, 7})};
    return Concatenate(parts, 1);
  });
  check("reverse", [&](Problem& p) { return Reverse(p.Floats({3, 40, 5}), {1, 2}); });
}

// ---- Declines -----------------------------------------------------------------------------------
TEST_P(HighwayKernels, DeclinesWithReasons) {
  auto backend = MakeHighwayBackend({.target = GetParam()});
  const auto reason = [&](Problem& problem) {
    const auto lowered = (*backend)->Lower(ClusterOf(problem));
    const Decline* decline = std::get_if<Decline>(&lowered);
    return decline == nullptr ? std::string() : decline->reason;
  };
  Problem wide("f64");
  wide.outputs = {Exp(Cast(wide.Floats({4}), DType::kFloat64))};
  EXPECT_NE(reason(wide).find("f64"), std::string::npos) << reason(wide);
  Problem product("f64 product");
  const Tensor a(DType::kFloat64, {3, 3});
  product.outputs = {MatMul(product.graph->Data(a), product.graph->Data(a))};
  EXPECT_NE(reason(product).find("f64"), std::string::npos) << reason(product);
}

INSTANTIATE_TEST_SUITE_P(Targets, HighwayKernels, ::testing::ValuesIn(HighwayTestTargets()),
                         [](const auto& info) { return info.param; });

TEST(HighwayBackend, NamesItsTargets) {
  ASSERT_FALSE(HighwayTargets().empty());
  const auto best = MakeHighwayBackend();
  ASSERT_TRUE(best.ok());
  EXPECT_EQ((*best)->name(), "highway");
  EXPECT_EQ((*best)->config_key(), "highway:" + HighwayTargets().front());
  const auto unknown = MakeHighwayBackend({.target = "MMX"});
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  for (const std::string& target : HighwayTargets()) {
    EXPECT_NE(std::string(unknown.status().message()).find(target), std::string::npos) << unknown.status().message();
  }
}


}  // namespace
}  // namespace weir
