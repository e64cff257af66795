// Convolutions of small images and their input gradients, whose sums leave padding out (ops/canonical_order.h) or whose
// kernels may go by positions anyway: one pixel and a few, any number of images, strides, dilations, groups, one to
// three axes, taps that nothing meets, positions without taps, and what backends fuse with them.
#include "weir/ops/ops.h"
#include "weir/tests/cases/conv_problem.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

const ConvOptions kSame = {.padding = "same"};

ConvOptions Strided(std::vector<int64_t> strides, std::vector<int64_t> before, std::vector<int64_t> after) {
  return {.strides = std::move(strides), .padding_before = std::move(before), .padding_after = std::move(after)};
}
ConvOptions Dilated(std::vector<int64_t> dilations, std::vector<int64_t> strides = {}) {
  return {.strides = std::move(strides), .padding = "same", .dilations = std::move(dilations)};
}
ConvOptions Grouped(int64_t groups) { return {.padding = "same", .groups = groups}; }

// Few enough terms for a check of gradients.
std::vector<ConvProblem> SmallProblems() {
  return {
      {.batch = 2, .in = {1, 1}, .ic = 5, .oc = 7, .window = {3, 3}, .options = kSame},
      {.batch = 5, .in = {2, 2}, .ic = 3, .oc = 4, .window = {3, 3}, .options = kSame},
      {.batch = 3, .in = {4, 4}, .ic = 2, .oc = 3, .window = {3, 3}, .options = kSame},  // just enough is outside
      {.batch = 3, .in = {4, 5}, .ic = 2, .oc = 3, .window = {3, 3}, .options = kSame},  // just not
      {.batch = 3, .in = {4, 4}, .ic = 3, .oc = 2, .window = {3, 3}, .options = Strided({2, 2}, {1, 1}, {1, 1})},
      {.batch = 2, .in = {2, 2}, .ic = 3, .oc = 4, .window = {3, 3}, .options = Strided({2, 2}, {1, 1}, {1, 1})},
      {.batch = 9, .in = {3, 4}, .ic = 2, .oc = 3, .window = {1, 1}, .options = {.strides = {2, 2}}},
      {.batch = 8, .in = {5, 5}, .ic = 2, .oc = 1, .window = {1, 1}, .options = {.strides = {3, 4}}},
      // Without padding, which their input gradients have.
      {.batch = 9, .in = {3, 3}, .ic = 2, .oc = 3, .window = {3, 3}},
      {.batch = 2, .in = {5, 4}, .ic = 2, .oc = 3, .window = {3, 2}, .options = {.strides = {2, 1}}},
      {.batch = 2, .in = {4, 4}, .ic = 2, .oc = 3, .window = {3, 3}, .options = Dilated({2, 2})},
      {.batch = 1, .in = {5, 3}, .ic = 2, .oc = 3, .window = {3, 3}, .options = Dilated({3, 2}, {2, 3})},
      {.batch = 2, .in = {3, 3}, .ic = 1, .oc = 2, .window = {5, 5}, .options = Strided({3, 2}, {3, 1}, {2, 4})},
      {.batch = 3, .in = {2, 2}, .ic = 6, .oc = 10, .window = {3, 3}, .options = Grouped(2)},
      {.batch = 2, .in = {2, 2}, .ic = 4, .oc = 4, .window = {3, 3}, .options = Grouped(4)},  // reads its padding
      {.batch = 3, .in = {4}, .ic = 3, .oc = 5, .window = {5}, .options = kSame},
      {.batch = 2, .in = {6}, .ic = 2, .oc = 3, .window = {4}, .options = {.padding = "causal", .dilations = {2}}},
      {.batch = 2, .in = {5}, .ic = 2, .oc = 3, .window = {7}, .options = Strided({3}, {4}, {2})},
      {.batch = 2, .in = {2, 2, 2}, .ic = 2, .oc = 3, .window = {3, 3, 3}, .options = kSame},
      {.batch = 2, .in = {3, 2, 4}, .ic = 2, .oc = 2, .window = {3, 2, 3}, .options = Dilated({1, 2, 1}, {2, 1, 2})},
      // Taps on both sides of the only cell.
      {.batch = 2,
       .in = {1},
       .ic = 2,
       .oc = 3,
       .window = {2},
       .options = {.dilations = {2}, .padding_before = {1}, .padding_after = {1}}},
      {.batch = 0, .in = {2, 2}, .ic = 2, .oc = 3, .window = {3, 3}, .options = kSame},
  };
}

// Several tiles of images, panels of channels and tasks; whole vectors and not.
std::vector<ConvProblem> LargeProblems() {
  return {
      {.batch = 33, .in = {1, 1}, .ic = 20, .oc = 40, .window = {3, 3}, .options = kSame},
      {.batch = 300, .in = {1, 1}, .ic = 3, .oc = 2, .window = {3, 3}, .options = kSame},
      {.batch = 13, .in = {2, 2}, .ic = 17, .oc = 33, .window = {3, 3}, .options = kSame},
      {.batch = 32, .in = {2, 2}, .ic = 128, .oc = 160, .window = {3, 3}, .options = kSame},
      {.batch = 1, .in = {4, 4}, .ic = 64, .oc = 64, .window = {3, 3}, .options = kSame},
      {.batch = 32, .in = {4, 4}, .ic = 16, .oc = 48, .window = {3, 3}, .options = kSame},
      {.batch = 21, .in = {2, 2}, .ic = 48, .oc = 80, .window = {3, 3}, .options = Strided({2, 2}, {1, 1}, {1, 1})},
      {.batch = 35, .in = {4, 4}, .ic = 34, .oc = 64, .window = {3, 3}, .options = Strided({2, 2}, {1, 1}, {1, 1})},
      {.batch = 17, .in = {8, 8}, .ic = 24, .oc = 32, .window = {1, 1}, .options = {.strides = {2, 2}}},
      {.batch = 16, .in = {2, 2}, .ic = 256, .oc = 96, .window = {1, 1}, .options = {.strides = {2, 2}}},
      {.batch = 9, .in = {2, 2}, .ic = 64, .oc = 128, .window = {3, 3}, .options = Grouped(4)},
      {.batch = 11, .in = {3, 2}, .ic = 54, .oc = 42, .window = {3, 3}, .options = Grouped(3)},
      {.batch = 10, .in = {4}, .ic = 40, .oc = 36, .window = {7}, .options = kSame},
      {.batch = 9, .in = {2, 3, 2}, .ic = 18, .oc = 32, .window = {3, 3, 3}, .options = kSame},
  };
}

}  // namespace

void AddSmallConvCases(OpCases& cases) {
  constexpr ConvPartial kPartials[] = {ConvPartial::kForward, ConvPartial::kInputGradient};
  for (const ConvProblem& problem : SmallProblems()) {
    for (ConvPartial partial : kPartials) cases.push_back(problem.Case(partial));
  }
  for (const ConvProblem& problem : LargeProblems()) {
    for (ConvPartial partial : kPartials) {
      cases.push_back(problem.Case(partial));
      cases.back().gradient = false;  // checked with smaller problems
    }
  }
  // Zeros of both signs, infinities and NaN: what takes part shows.
  for (const ConvProblem& problem : std::vector<ConvProblem>{
           {.batch = 3, .in = {2, 2}, .ic = 4, .oc = 18, .window = {3, 3}, .options = kSame},
           {.batch = 9, .in = {4, 4}, .ic = 3, .oc = 16, .window = {3, 3}, .options = Strided({2, 2}, {1, 1}, {1, 1})},
           {.batch = 9, .in = {3, 3}, .ic = 2, .oc = 16, .window = {1, 1}, .options = {.strides = {2, 2}}},
           {.batch = 2, .in = {3}, .ic = 2, .oc = 5, .window = {5}, .options = kSame}}) {
    for (ConvPartial partial : kPartials) cases.push_back(problem.OfSpecials(partial));
  }
  // Long epilogues, of random numbers in blocks and not; the same ahead.
  struct Long {
    ConvProblem problem;
    ConvPartial partial = ConvPartial::kForward;
  };
  for (const Long& c : {
           Long{{.batch = 13, .in = {2, 2}, .ic = 12, .oc = 128, .window = {3, 3}, .options = kSame}},
           Long{{.batch = 5, .in = {2, 2}, .ic = 5, .oc = 18, .window = {3, 3}, .options = kSame}},
           Long{{.batch = 9, .in = {2, 2}, .ic = 8, .oc = 96, .window = {3, 3}, .options = Grouped(2)}},
           Long{{.batch = 9,
           .in = {4, 4},
           .ic = 64,
           .oc = 6,
           .window = {3, 3},
           .options = Strided({2, 2}, {1, 1}, {1, 1})},
                ConvPartial::kInputGradient},
           Long{{.batch = 9, .in = {4, 4}, .ic = 20, .oc = 64, .window = {1, 1}, .options = {.strides = {2, 2}}},
                ConvPartial::kInputGradient},
       }) {
    OpCase behind = c.problem.Case(c.partial);
    behind.gradient = false;
    behind.name.insert(behind.name.find('/') + 1, "dropout_gelu_");
    behind.inputs.push_back({{c.partial == ConvPartial::kForward ? c.problem.oc : c.problem.ic}});
    behind.inputs.push_back({DType::kInt64, {}, Fill::kStep});
    behind.build = [inner = behind.build](Graph& graph, std::span<const Value> v) {
      const Value sum = inner(graph, v.first(2))[0];
      return std::vector<Value>{sum, Dropout(Gelu(sum + v[2]), 0.3, v[3], 7, 1)};
    };
    cases.push_back(std::move(behind));
    cases.push_back(c.problem.AfterDropout(c.partial));
  }
}

}  // namespace weir
