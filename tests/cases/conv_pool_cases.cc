// Pooling behind a convolution, as backends fuse it: windows that tile what the convolution computes.
#include "weir/ops/ops.h"
#include "weir/tests/cases/conv_problem.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

struct Problem {
  ConvProblem conv;
  std::vector<int64_t> window;
};

std::vector<Problem> Problems() {
  const ConvOptions same = {.padding = "same"};
  return {
      {{.batch = 2, .in = {6, 8}, .ic = 3, .oc = 18, .window = {3, 3}, .options = same}, {2, 2}},
      {{.batch = 1, .in = {9, 6}, .ic = 2, .oc = 3, .window = {3, 3}, .options = same}, {3, 3}},
      {{.batch = 3, .in = {8, 11}, .ic = 4, .oc = 16, .window = {3, 3}, .options = same}, {2, 1}},
      {{.batch = 2, .in = {10, 9}, .ic = 3, .oc = 32, .window = {3, 4}}, {1, 3}},
      // Windows that leave cells out; of one cell.
      {{.batch = 1, .in = {7, 9}, .ic = 3, .oc = 5, .window = {3, 3}, .options = same}, {2, 2}},
      {{.batch = 1, .in = {5, 4}, .ic = 3, .oc = 5, .window = {3, 3}, .options = same}, {1, 1}},
      // One image, cut by rows; by channels; by both.
      {{.batch = 1, .in = {24, 24}, .ic = 16, .oc = 32, .window = {3, 3}, .options = same}, {3, 3}},
      {{.batch = 1, .in = {6, 6}, .ic = 128, .oc = 144, .window = {3, 3}, .options = same}, {2, 2}},
      {{.batch = 1, .in = {12, 10}, .ic = 64, .oc = 72, .window = {3, 3}, .options = same}, {4, 2}},
      {{.batch = 2,
        .in = {8, 12},
        .ic = 32,
        .oc = 32,
        .window = {3, 3},
        .options = {.padding = "same", .algorithm = ConvAlgorithm::kWinograd}},
       {2, 2}},
      {{.batch = 1,
        .in = {12, 9},
        .ic = 16,
        .oc = 18,
        .window = {3, 3},
        .options = {.padding = "same", .algorithm = ConvAlgorithm::kWinograd}},
       {3, 3}},
      {{.batch = 5,
        .in = {4, 4},
        .ic = 48,
        .oc = 40,
        .window = {3, 3},
        .options = {.padding = "same", .algorithm = ConvAlgorithm::kWinograd}},
       {4, 2}},
      {{.batch = 3,
        .in = {8, 6},
        .ic = 72,
        .oc = 120,
        .window = {3, 3},
        .options = {.padding = "same", .algorithm = ConvAlgorithm::kWinograd}},
       {2, 2}},
      // Images that are done together, in tiles of pixels or of images.
      {{.batch = 9, .in = {4, 6}, .ic = 8, .oc = 20, .window = {3, 3}, .options = same}, {2, 2}},
      {{.batch = 37, .in = {2, 2}, .ic = 8, .oc = 80, .window = {3, 3}, .options = same}, {2, 2}},
      // Tiles of whole rows.
      {{.batch = 1, .in = {14, 3}, .ic = 3, .oc = 7, .window = {3, 3}, .options = same}, {2, 3}},
      {{.batch = 1, .in = {1, 40}, .ic = 8, .oc = 8, .window = {1, 7}, .options = same}, {1, 4}},
      {{.batch = 1, .in = {40, 1}, .ic = 8, .oc = 8, .window = {7, 1}, .options = same}, {5, 1}},
      // Nothing to copy.
      {{.batch = 2, .in = {12, 10}, .ic = 16, .oc = 33, .window = {1, 1}}, {2, 2}},
      {{.batch = 2, .in = {13, 9}, .ic = 3, .oc = 17, .window = {3, 3}, .options = {.strides = {2, 2}}}, {3, 2}},
      // Groups.
      {{.batch = 2, .in = {6, 4}, .ic = 4, .oc = 6, .window = {3, 3}, .options = {.padding = "same", .groups = 2}},
       {2, 2}},
      {{.batch = 1, .in = {6, 8}, .ic = 36, .oc = 36, .window = {3, 3}, .options = {.padding = "same", .groups = 36}},
       {2, 2}},
      {{.batch = 1, .in = {6, 8}, .ic = 5, .oc = 10, .window = {3, 3}, .options = {.padding = "same", .groups = 5}},
       {2, 4}},
      // One and three spatial axes; windows larger than a tile.
      {{.batch = 2, .in = {30}, .ic = 3, .oc = 5, .window = {3}, .options = same}, {3}},
      {{.batch = 1, .in = {1500}, .ic = 32, .oc = 16, .window = {4}, .options = {.strides = {2}, .padding = "same"}},
       {2}},
      {{.batch = 2, .in = {45}, .ic = 3, .oc = 18, .window = {3}, .options = same}, {15}},
      {{.batch = 2, .in = {4, 4, 6}, .ic = 2, .oc = 3, .window = {3, 3, 3}, .options = same}, {2, 2, 2}},
      {{.batch = 1, .in = {6, 4, 9}, .ic = 3, .oc = 18, .window = {2, 3, 3}, .options = same}, {3, 1, 3}},
  };
}

// What comes between the two, and whether somebody else wants it.
enum class Between : uint8_t { kNothing, kBiasRelu, kDropout };

OpCase Case(const Problem& problem, std::string pool, Between between, bool tapped) {
  OpCase c = problem.conv.Case(ConvPartial::kForward);
  const char* names[] = {"", "bias_relu_", "gelu_dropout_"};
  std::string window;
  for (int64_t w : problem.window) window = StrCat(window, window.empty() ? "" : "x", w);
  c.name = StrCat(pool, "/conv_", names[static_cast<int>(between)], tapped ? "tapped_" : "", problem.conv.Name(), "_",
                  window);
  c.op = pool;
  c.gradient = false;
  if (between != Between::kNothing) c.inputs.push_back({{problem.conv.oc}});
  if (between == Between::kDropout) c.inputs.push_back({DType::kInt64, {}, Fill::kStep});
  c.build = [inner = c.build, max = pool == "max_pool", between, tapped,
             options = PoolOptions{.window = problem.window}](Graph& graph, std::span<const Value> v) {
    Value y = inner(graph, v.first(2))[0];
    if (between == Between::kBiasRelu) y = Relu(y + v[2]);
    if (between == Between::kDropout) y = Dropout(Gelu(y + v[2]), 0.3, v[3], 7, 1);
    std::vector<Value> outputs;
    if (max) {
      // With the index, as in training, or without.
      const auto [values, index] = MaxPoolWithIndex(y, options);
      outputs = {values};
      if (!tapped) outputs.push_back(index);
    } else {
      outputs = {AveragePool(y, options)};
    }
    if (tapped) outputs.push_back(y);
    return outputs;
  };
  return c;
}

}  // namespace

void AddConvPoolCases(OpCases& cases) {
  int turn = 0;
  for (const Problem& problem : Problems()) {
    // A maximum and an average of each problem: one with its inner value wanted too, one of a long epilogue.
    const bool even = turn++ % 2 == 0;
    const Between epilogue = turn % 5 == 0 ? Between::kNothing : Between::kBiasRelu;
    cases.push_back(Case(problem, "max_pool", even ? epilogue : Between::kDropout, turn % 4 < 2));
    cases.push_back(Case(problem, "average_pool", even ? Between::kDropout : epilogue, turn % 4 >= 2));
  }
  OpCase special = Case(Problems()[0], "max_pool", Between::kNothing, false);
  special.name += "_specials";
  special.inputs[0].fill = Fill::kSpecials;
  cases.push_back(std::move(special));
}

}  // namespace weir
