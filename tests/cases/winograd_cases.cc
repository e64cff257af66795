// Winograd's convolution and its partials: images smaller than a tile and not of whole tiles, padding on both sides of a
// tile's reach, channels below and above a vector, several chunks of images, and what backends fuse with them.
#include "weir/ops/ops.h"
#include "weir/tests/cases/conv_problem.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

ConvProblem Problem(int64_t batch, int64_t rows, int64_t columns, int64_t ic, int64_t oc,
                    ConvOptions options = {.padding = "same"}) {
  options.algorithm = ConvAlgorithm::kWinograd;
  return {.batch = batch, .in = {rows, columns}, .ic = ic, .oc = oc, .window = {3, 3}, .options = std::move(options)};
}

constexpr ConvPartial kPartials[] = {ConvPartial::kForward, ConvPartial::kInputGradient, ConvPartial::kFilterGradient};

std::vector<ConvProblem> SmallProblems() {
  std::vector<ConvProblem> p = {
      Problem(2, 8, 8, 3, 4),
      Problem(2, 5, 7, 2, 3),
      Problem(1, 1, 1, 2, 3),
      Problem(2, 2, 3, 1, 1),
      Problem(1, 3, 9, 4, 2, {}),  // without padding
      Problem(2, 6, 6, 3, 18, {}),
      Problem(0, 5, 4, 3, 4),
      Problem(1, 4, 6, 2, 3, {.padding_before = {4, 5}, .padding_after = {5, 4}}),
      Problem(1, 6, 4, 2, 3, {.padding_before = {0, 2}, .padding_after = {1, 0}}),
      Problem(1, 9, 10, 16, 16),
      Problem(2, 4, 12, 17, 15),
      Problem(3, 4, 4, 8, 33),  // images of one tile
  };
  return p;
}

std::vector<ConvProblem> LargeProblems() {
  return {
      Problem(1, 12, 17, 33, 18), Problem(2, 13, 11, 66, 50),   Problem(5, 32, 32, 2, 3),  // chunks of 4
      Problem(3, 32, 32, 32, 32), Problem(260, 3, 3, 2, 2),                                // chunks of 256
      Problem(37, 2, 2, 8, 80),   Problem(1, 14, 14, 128, 144),  // few images, several panels and blocks of channels
      Problem(9, 8, 8, 72, 136),  Problem(1, 40, 70, 16, 32),   Problem(1, 56, 52, 24, 20, {}),
      Problem(2, 7, 6, 300, 32),  Problem(3, 7, 6, 116, 120),   Problem(5, 4, 6, 96, 100, {}),  // by panels
  };
}

}  // namespace

void AddWinogradCases(OpCases& cases) {
  for (const ConvProblem& problem : SmallProblems()) {
    for (ConvPartial partial : kPartials) cases.push_back(problem.Case(partial));
  }
  for (const ConvProblem& problem : LargeProblems()) {
    for (ConvPartial partial : kPartials) {
      cases.push_back(problem.Case(partial));
      cases.back().gradient = false;  // slow, and checked with smaller problems
    }
  }
  for (ConvPartial partial : kPartials) cases.push_back(Problem(2, 9, 6, 4, 18).OfSpecials(partial));
  // Epilogues: short ones, and long ones with random numbers over channels of whole vectors and of any number.
  struct Fused {
    ConvProblem problem;
    ConvPartial partial = ConvPartial::kForward;
  };
  for (const Fused& c : {
           Fused{Problem(3, 6, 8, 3, 32)},
           Fused{Problem(2, 5, 7, 16, 18)},
           Fused{Problem(2, 5, 7, 5, 3)},
           Fused{Problem(1, 14, 14, 128, 136)},
           Fused{Problem(5, 4, 6, 100, 120)},
           Fused{Problem(2, 8, 8, 64, 128)},
           Fused{Problem(2, 9, 7, 16, 20), ConvPartial::kInputGradient},
           Fused{Problem(2, 12, 8, 32, 32), ConvPartial::kInputGradient},
           Fused{Problem(2, 5, 7, 128, 112), ConvPartial::kInputGradient},
       }) {
    for (const bool is_long : {false, true}) {
      OpCase built = c.problem.Case(c.partial);
      built.name.insert(built.name.find('/') + 1, is_long ? "dropout_gelu_" : "bias_relu_");
      built.inputs.push_back({{c.partial == ConvPartial::kForward ? c.problem.oc : c.problem.ic}});
      if (is_long) built.inputs.push_back({DType::kInt64, {}, Fill::kStep});
      built.build = [inner = built.build, is_long](Graph& graph, std::span<const Value> v) {
        const Value sum = inner(graph, v.first(2))[0] + v[2];
        if (is_long) return std::vector<Value>{sum, Dropout(Gelu(sum), 0.3, v[3], 7, 1)};
        return std::vector<Value>{Relu(sum)};
      };
      built.gradient = false;
      cases.push_back(std::move(built));
    }
  }
  // What comes before: computed as it is read, and wanted by somebody else too.
  for (const Fused& c : {
           Fused{Problem(2, 5, 8, 16, 5)},
           Fused{Problem(2, 8, 8, 32, 32)},
           Fused{Problem(2, 3, 5, 6, 18)},
           Fused{Problem(1, 40, 32, 16, 16)},
           Fused{Problem(2, 8, 8, 16, 16), ConvPartial::kInputGradient},
       }) {
    for (const bool tapped : {false, true}) cases.push_back(c.problem.AfterDropout(c.partial, tapped));
  }
  // An update of weights behind a gradient.
  OpCase update = Problem(3, 9, 6, 20, 18).Case(ConvPartial::kFilterGradient);
  update.name += "_adam_update";
  for (Fill fill : {Fill::kUniform, Fill::kUniform, Fill::kPositive}) update.inputs.push_back({{3, 3, 20, 18}, fill});
  update.build = [gradient = update.build](Graph& graph, std::span<const Value> v) {
    const Value g = gradient(graph, v.first(2))[0];
    const Value m = v[3] + (g - v[3]) * 0.1, s = v[4] + (g * g - v[4]) * 0.001;
    return std::vector<Value>{v[2] - 0.001 * m / (Sqrt(s) + 1e-7), m, s};
  };
  update.gradient = false;
  cases.push_back(std::move(update));
}

}  // namespace weir
