// Convolutions and their two partials over shapes that hurt: odd sizes, one pixel, windows larger than the input,
// strides with dilation, groups, depthwise, empty batches, channels below and above a vector.
#include <utility>
#include <vector>

#include "weir/ops/conv_geometry.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/conv_problem.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

ConvProblem Depthwise(int64_t batch, std::vector<int64_t> in, int64_t channels, std::vector<int64_t> window,
                      ConvOptions options = {}) {
  options.groups = channels;
  return {.batch = batch,
          .in = std::move(in),
          .ic = channels,
          .oc = channels,
          .window = std::move(window),
          .options = std::move(options)};
}

// Of ordinary numbers, and of special ones. Gradients are checked with smaller problems.
void AddWithSpecials(const ConvProblem& problem, ConvPartial partial, OpCases& cases) {
  cases.push_back(problem.Case(partial));
  cases.back().gradient = false;
  cases.push_back(problem.OfSpecials(partial));
}

std::vector<ConvProblem> Problems() {
  std::vector<ConvProblem> p = {
      {.batch = 2, .in = {5, 4}, .ic = 3, .oc = 4, .window = {3, 3}, .options = {.padding = "same"}},
      {.batch = 2, .in = {5, 4}, .ic = 3, .oc = 4, .window = {3, 3}},
      {.batch = 1, .in = {1, 1}, .ic = 3, .oc = 5, .window = {3, 3}, .options = {.padding = "same"}},
      {.batch = 1, .in = {1, 1}, .ic = 1, .oc = 1, .window = {1, 1}},
      {.batch = 2, .in = {3, 3}, .ic = 2, .oc = 3, .window = {5, 5}, .options = {.padding = "same"}},
      {.batch = 1, .in = {4, 4}, .ic = 1, .oc = 1, .window = {3, 3}, .options = {.strides = {2, 2}, .padding = "same"}},
      {.batch = 1, .in = {4, 4}, .ic = 2, .oc = 2, .window = {1, 1}, .options = {.strides = {2, 2}, .padding = "same"}},
      {.batch = 1, .in = {3, 3}, .ic = 1, .oc = 1, .window = {2, 2}, .options = {.padding = "same"}},
      {.batch = 2, .in = {7, 6}, .ic = 3, .oc = 5, .window = {4, 2}, .options = {.strides = {3, 2}, .padding = "same"}},
      {.batch = 2, .in = {9, 10}, .ic = 3, .oc = 4, .window = {3, 2}, .options = {.dilations = {2, 3}}},
      {.batch = 1,
       .in = {9, 10},
       .ic = 3,
       .oc = 4,
       .window = {3, 3},
       .options = {.strides = {2, 3}, .padding = "same", .dilations = {2, 2}}},
      {.batch = 1, .in = {8, 7}, .ic = 2, .oc = 3, .window = {2, 2}, .options = {.strides = {3, 4}}},
      {.batch = 2, .in = {6, 5}, .ic = 4, .oc = 6, .window = {3, 3}, .options = {.padding = "same", .groups = 2}},
      {.batch = 2, .in = {6, 5}, .ic = 7, .oc = 7, .window = {3, 3}, .options = {.padding = "same", .groups = 7}},
      {.batch = 1, .in = {6, 5}, .ic = 5, .oc = 10, .window = {3, 3}, .options = {.strides = {2, 2}, .groups = 5}},
      {.batch = 2, .in = {5, 6}, .ic = 36, .oc = 36, .window = {3, 3}, .options = {.padding = "same", .groups = 36}},
      {.batch = 1, .in = {5, 6}, .ic = 66, .oc = 34, .window = {1, 1}, .options = {.groups = 2}},
      {.batch = 0, .in = {5, 4}, .ic = 3, .oc = 4, .window = {3, 3}, .options = {.padding = "same"}},
      {.batch = 2,
       .in = {4, 6},
       .ic = 2,
       .oc = 3,
       .window = {3, 3},
       .options = {.padding_before = {4, 4}, .padding_after = {4, 4}}},
      {.batch = 1,
       .in = {4, 5},
       .ic = 2,
       .oc = 3,
       .window = {3, 3},
       .options = {.strides = {2, 2}, .padding_before = {0, 3}, .padding_after = {2, 1}}},
      {.batch = 3, .in = {8, 8}, .ic = 3, .oc = 32, .window = {3, 3}, .options = {.padding = "same"}},
      {.batch = 2, .in = {8, 9}, .ic = 32, .oc = 32, .window = {3, 3}, .options = {.padding = "same"}},
      {.batch = 1, .in = {17, 13}, .ic = 16, .oc = 33, .window = {5, 3}, .options = {.strides = {2, 1}}},
      {.batch = 5, .in = {16, 16}, .ic = 4, .oc = 20, .window = {3, 3}, .options = {.padding = "same"}},  // chunks of 2
      {.batch = 2, .in = {24, 24}, .ic = 2, .oc = 3, .window = {3, 3}, .options = {.padding = "same"}},   // chunks of 1
      {.batch = 1, .in = {1, 40}, .ic = 8, .oc = 8, .window = {1, 7}, .options = {.padding = "same"}},
      {.batch = 1, .in = {40, 1}, .ic = 8, .oc = 8, .window = {7, 1}, .options = {.padding = "same"}},
      // One and three spatial axes.
      {.batch = 2, .in = {9}, .ic = 3, .oc = 5, .window = {4}, .options = {.padding = "same"}},
      {.batch = 2, .in = {11}, .ic = 3, .oc = 17, .window = {3}, .options = {.strides = {2}, .padding = "causal"}},
      {.batch = 1,
       .in = {12},
       .ic = 4,
       .oc = 6,
       .window = {3},
       .options = {.padding = "causal", .dilations = {3}, .groups = 2}},
      {.batch = 2, .in = {3, 4, 5}, .ic = 2, .oc = 3, .window = {2, 3, 3}, .options = {.padding = "same"}},
      {.batch = 1, .in = {5, 4, 6}, .ic = 3, .oc = 18, .window = {3, 2, 2}, .options = {.strides = {2, 1, 3}}},
      {.batch = 1,
       .in = {6, 5, 5},
       .ic = 4,
       .oc = 4,
       .window = {3, 3, 3},
       .options = {.padding = "same", .dilations = {2, 1, 2}, .groups = 4}},
      {.batch = 1, .in = {3, 3, 3}, .ic = 1, .oc = 1, .window = {5, 5, 5}, .options = {.padding = "same"}},
      {.batch = 2, .in = {4, 6, 5}, .ic = 2, .oc = 3, .window = {3, 1, 2}},
      // Small images, done together; channels of three and of five vectors.
      {.batch = 9, .in = {3, 4}, .ic = 32, .oc = 48, .window = {3, 3}, .options = {.padding = "same"}},
      {.batch = 21, .in = {2, 2}, .ic = 8, .oc = 80, .window = {3, 3}, .options = {.padding = "same"}},
      {.batch = 37, .in = {1, 1}, .ic = 12, .oc = 80, .window = {1, 1}},
      // Few images, cut by rows or columns, and by channels.
      {.batch = 1, .in = {7, 7}, .ic = 128, .oc = 144, .window = {3, 3}, .options = {.padding = "same"}},
      {.batch = 1, .in = {1500}, .ic = 32, .oc = 16, .window = {4}, .options = {.strides = {2}, .padding = "same"}},
      {.batch = 1, .in = {40, 50}, .ic = 32, .oc = 32, .window = {1, 1}},
      {.batch = 1,
       .in = {40, 30},
       .ic = 8,
       .oc = 16,
       .window = {3, 3},
       .options = {.padding = "same"}},  // halos are few
      // A filter beyond the second-level cache.
      {.batch = 5, .in = {2, 3}, .ic = 256, .oc = 97, .window = {3, 3}, .options = {.padding = "same"}},
      {.batch = 2, .in = {5, 5}, .ic = 450, .oc = 450, .window = {1, 1}},
  };
  // Tails of channels, on both sides.
  for (int64_t oc : {1, 2, 7, 8, 9, 15, 16, 17, 23, 31, 33}) {
    p.push_back({.batch = 1, .in = {3, 5}, .ic = 2, .oc = oc, .window = {3, 3}, .options = {.padding = "same"}});
    if (oc != 2)
      p.push_back({.batch = 1, .in = {3, 5}, .ic = oc, .oc = 2, .window = {3, 3}, .options = {.padding = "same"}});
  }
  // Tails of pixels.
  for (int64_t width : {2, 3, 6, 7, 8, 10, 11, 13}) {
    p.push_back({.batch = 1, .in = {2, width}, .ic = 3, .oc = 18, .window = {3, 3}, .options = {.padding = "same"}});
  }
  return p;
}

}  // namespace

void AddConvCases(OpCases& cases) {
  for (const ConvProblem& problem : Problems()) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient, ConvPartial::kFilterGradient}) {
      cases.push_back(problem.Case(partial));
    }
  }
  // Filter gradients with many rows and panels of columns, by chunks and by rows, and with many taps.
  for (const ConvProblem& problem : std::vector<ConvProblem>{
           {.batch = 3, .in = {6, 7}, .ic = 12, .oc = 130, .window = {3, 3}, .options = {.padding = "same"}},
           {.batch = 2, .in = {5, 20}, .ic = 12, .oc = 130, .window = {3, 3}},
           {.batch = 23, .in = {7, 7}, .ic = 12, .oc = 70, .window = {3, 3}, .options = {.padding = "same"}},
           {.batch = 3, .in = {24, 24}, .ic = 20, .oc = 32, .window = {3, 3}, .options = {.padding = "same"}},
           {.batch = 2,
           .in = {23, 24},
           .ic = 24,
           .oc = 50,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 2}},
           {.batch = 2, .in = {28, 28}, .ic = 50, .oc = 80, .window = {1, 1}},
           {.batch = 4, .in = {24, 24}, .ic = 112, .oc = 80, .window = {1, 1}},
           // Positions whose rows share few sets of a cache: packed.
           {.batch = 4, .in = {23, 25}, .ic = 256, .oc = 128, .window = {1, 1}},
           {.batch = 4, .in = {23, 25}, .ic = 228, .oc = 128, .window = {1, 1}},
           {.batch = 2,
           .in = {9, 9},
           .ic = 20,
           .oc = 20,
           .window = {7, 7},
           .options = {.padding = "same", .groups = 20}},
           {.batch = 1,
           .in = {168, 170},
           .ic = 16,
           .oc = 16,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 16}},
           {.batch = 2,
           .in = {1, 40},
           .ic = 3,
           .oc = 6,
           .window = {1, 31},
           .options = {.padding = "same", .groups = 3}},
           // Operands that no near cache holds: a tile in one piece and in several, channels that leave lanes, x in
           // place and copied.
           {.batch = 2, .in = {70, 71}, .ic = 3, .oc = 32, .window = {3, 3}, .options = {.padding = "same"}},
           {.batch = 3,
           .in = {131, 97},
           .ic = 3,
           .oc = 20,
           .window = {3, 3},
           .options = {.strides = {2, 2}, .padding = "same"}},
           {.batch = 1, .in = {117, 119}, .ic = 8, .oc = 13, .window = {1, 1}},
           {.batch = 4, .in = {30, 29}, .ic = 40, .oc = 72, .window = {1, 1}},
           {.batch = 5, .in = {27, 31}, .ic = 34, .oc = 72, .window = {1, 1}, .options = {.groups = 2}},
           // A small gradient of several panels.
           {.batch = 32, .in = {8, 8}, .ic = 64, .oc = 100, .window = {1, 1}, .options = {.strides = {2, 2}}}}) {
    cases.push_back(problem.Case(ConvPartial::kFilterGradient));
    cases.back().gradient = false;  // they are slow, and checked with smaller problems
  }
  // A filter that the second-level cache does not hold, whose parts take turns; rows of 7 pixels, two of them a tile.
  const ConvOptions steps = {.strides = {2, 2}, .padding = "same"};
  for (const ConvProblem& problem : std::vector<ConvProblem>{
           {.batch = 3, .in = {14, 13}, .ic = 120, .oc = 200, .window = {3, 3}, .options = steps},
           {.batch = 2, .in = {7, 7}, .ic = 30, .oc = 40, .window = {3, 3}, .options = {.padding = "same"}}}) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient, ConvPartial::kFilterGradient}) {
      cases.push_back(problem.Case(partial));
      cases.back().gradient = false;
    }
  }
  // Long sums of one tap: of four vectors of output channels with a rest of pixels and of lanes, of pixels that share a
  // set of a cache, of the largest tiles.
  for (const ConvProblem& problem :
       std::vector<ConvProblem>{{.batch = 1, .in = {14, 14}, .ic = 520, .oc = 60, .window = {1, 1}},
                                {.batch = 1, .in = {13, 15}, .ic = 1024, .oc = 40, .window = {1, 1}},
                                {.batch = 1, .in = {7, 8}, .ic = 264, .oc = 260, .window = {1, 1}}}) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient}) {
      cases.push_back(problem.Case(partial));
      cases.back().gradient = false;
    }
  }
  // Tasks that pack the panels of the filter that they need: of one tap, of both directions with and without steps, of
  // a copied source.
  const ConvOptions apart = {.strides = {2, 2}};
  for (const ConvProblem& problem : std::vector<ConvProblem>{
           {.batch = 3, .in = {7, 9}, .ic = 130, .oc = 256, .window = {1, 1}},
           {.batch = 3, .in = {7, 9}, .ic = 256, .oc = 130, .window = {1, 1}},
           {.batch = 2, .in = {13, 14}, .ic = 256, .oc = 200, .window = {1, 1}, .options = apart},
           {.batch = 2, .in = {14, 14}, .ic = 60, .oc = 512, .window = {3, 3}, .options = steps}}) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient}) {
      cases.push_back(problem.Case(partial));
      cases.back().gradient = false;
    }
  }
  // Depthwise, in place: rows of several tiles and of one, windows of several groups of rows, steps, taps apart, no
  // padding, more of it than an image, chunks of several images, many channels, one and three axes.
  for (const ConvProblem& problem : std::vector<ConvProblem>{
           {.batch = 2,
         .in = {5, 40},
         .ic = 16,
         .oc = 16,
         .window = {3, 3},
         .options = {.padding = "same", .groups = 16}},
           {.batch = 1,
           .in = {9, 43},
           .ic = 20,
           .oc = 20,
           .window = {5, 5},
           .options = {.padding = "same", .groups = 20}},
           {.batch = 3,
           .in = {12, 31},
           .ic = 33,
           .oc = 33,
           .window = {3, 3},
           .options = {.strides = {2, 2}, .padding = "same", .groups = 33}},
           {.batch = 2,
           .in = {9, 25},
           .ic = 8,
           .oc = 8,
           .window = {3, 2},
           .options = {.strides = {1, 3}, .dilations = {2, 2}, .groups = 8}},
           {.batch = 1,
           .in = {3, 4},
           .ic = 17,
           .oc = 17,
           .window = {3, 3},
           .options = {.groups = 17, .padding_before = {4, 3}, .padding_after = {4, 5}}},
           {.batch = 6,
           .in = {16, 16},
           .ic = 48,
           .oc = 48,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 48}},
           {.batch = 70,
           .in = {3, 3},
           .ic = 64,
           .oc = 64,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 64}},
           {.batch = 5,
           .in = {1, 1},
           .ic = 272,
           .oc = 272,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 272}},
           {.batch = 2,
           .in = {24, 30},
           .ic = 260,
           .oc = 260,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 260}},
           {.batch = 3,
           .in = {11, 9},
           .ic = 20,
           .oc = 20,
           .window = {2, 3},
           .options = {.strides = {3, 1}, .padding = "same", .groups = 20}},
           {.batch = 2,
           .in = {13, 8},
           .ic = 18,
           .oc = 18,
           .window = {3, 3},
           .options = {.strides = {2, 1}, .dilations = {2, 1}, .groups = 18}},
           {.batch = 0,
           .in = {6, 6},
           .ic = 16,
           .oc = 16,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 16}},
           {.batch = 2, .in = {50}, .ic = 18, .oc = 18, .window = {4}, .options = {.padding = "causal", .groups = 18}},
           {.batch = 1,
           .in = {5, 6, 20},
           .ic = 16,
           .oc = 16,
           .window = {3, 3, 3},
           .options = {.strides = {2, 1, 2}, .padding = "same", .groups = 16}}}) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient, ConvPartial::kFilterGradient}) {
      AddWithSpecials(problem, partial, cases);
    }
  }
  // Depthwise ones on images of one tile: several vectors of channels at a time, one, and a rest.
  for (const ConvProblem& problem : {
           Depthwise(5, {1, 1}, 128, {3, 3}, {.padding = "same"}),
           Depthwise(9, {1, 1}, 80, {3, 3}, {.padding = "same"}),
           Depthwise(3, {2, 2}, 64, {3, 3}, {.strides = {2, 2}, .padding = "same"}),
           Depthwise(4, {1, 3}, 21, {3, 3}, {.padding = "same"}),
           Depthwise(7, {3, 5}, 192, {3, 2}),
           // Of two rows, and of three: a pair and a rest.
           Depthwise(3, {2, 5}, 48, {3, 3}, {.padding = "same"}),
           Depthwise(2, {5, 9}, 33, {3, 3}, {.strides = {2, 1}, .padding = "same"}),
           Depthwise(2, {9, 9}, 33, {3, 3}, {.padding = "same", .dilations = {2, 3}}),
           // Pixels that share few sets of a cache, with strides: several vectors of channels at a time.
           Depthwise(2, {5, 19}, 256, {3, 3}, {.strides = {2, 2}, .padding = "same"}),
           Depthwise(20, {6}, 64, {4}, {.padding = "same"}),
           // Those that share one or two, without strides: several rows whose outputs are staged, of one tile and of
           // several, all of an image, a rest, not the last axis alone.
           Depthwise(2, {7, 7}, 512, {3, 3}, {.padding = "same"}),
           Depthwise(1, {9, 17}, 1024, {3, 3}, {.padding = "same"}),
           Depthwise(2, {8, 6}, 512, {2, 4}, {.padding_before = {2, 1}, .padding_after = {1, 3}}),
           Depthwise(1, {15, 8}, 512, {3, 1}),
       }) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient})
      AddWithSpecials(problem, partial, cases);
  }
  // Filter gradients of depthwise convolutions that read each row once: rows of one tile and of several, steps, also
  // beyond the window, taps apart, more padding than image, one axis, rests of channels, chunks within tasks and as
  // tasks.
  for (const ConvProblem& problem : {
           Depthwise(3, {5, 6}, 512, {3, 3}, {.padding = "same"}),
           Depthwise(2, {4, 24}, 512, {3, 3}, {.padding = "same"}),
           Depthwise(2, {7, 9}, 512, {3, 3}, {.strides = {2, 2}, .padding = "same"}),
           Depthwise(1, {12, 11}, 512, {3, 3}, {.strides = {2, 1}, .dilations = {3, 2}}),
           Depthwise(11, {8, 7}, 512, {3, 4}, {.padding = "same", .dilations = {2, 1}}),
           Depthwise(1, {12, 6}, 1024, {2, 2}, {.strides = {5, 1}}),
           Depthwise(20, {30}, 1024, {3}, {.padding = "same"}),
           Depthwise(7, {17, 18}, 20, {5, 5}, {.strides = {2, 2}, .padding = "same"}),
           Depthwise(10, {17, 16}, 200, {5, 5}, {.strides = {2, 2}, .padding = "same"}),
           Depthwise(1, {2, 3}, 1024, {3, 3}, {.padding_before = {4, 3}, .padding_after = {4, 5}}),
           // Rows long enough for sums that are held: a rest of rows, fewer than the window's, steps, taps apart.
           Depthwise(2, {7, 14}, 512, {3, 3}, {.padding = "same"}),
           Depthwise(3, {2, 12}, 512, {3, 3}, {.padding = "same"}),
           Depthwise(1, {9, 23}, 512, {3, 3}, {.strides = {2, 2}, .padding = "same"}),
           Depthwise(1, {13, 14}, 512, {2, 3}, {.strides = {2, 1}, .dilations = {3, 2}}),
           Depthwise(1, {3, 12}, 1024, {3, 3}, {.padding_before = {4, 3}, .padding_after = {4, 5}}),
       }) {
    AddWithSpecials(problem, ConvPartial::kFilterGradient, cases);
  }
  // Depthwise ones that no near cache holds: fetched ahead.
  for (const ConvProblem& problem : {
           Depthwise(2, {131, 130}, 128, {3, 3}, {.padding = "same"}),
           Depthwise(1, {130, 131}, 132, {3, 3}, {.strides = {2, 2}, .padding = "same"}),
           Depthwise(1, {66, 65}, 512, {3, 3}, {.padding = "same"}),
       }) {
    for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient, ConvPartial::kFilterGradient}) {
      cases.push_back(problem.Case(partial));
      cases.back().gradient = false;
    }
  }
  // An update of weights behind one.
  OpCase update =
      ConvProblem{.batch = 3, .in = {5, 6}, .ic = 3, .oc = 18, .window = {3, 3}}.Case(ConvPartial::kFilterGradient);
  update.name += "_adam_update";
  for (Fill fill : {Fill::kUniform, Fill::kUniform, Fill::kPositive}) update.inputs.push_back({{3, 3, 3, 18}, fill});
  update.build = [gradient = update.build](Graph& graph, std::span<const Value> v) {
    const Value g = gradient(graph, v.first(2))[0];
    const Value m = v[3] + (g - v[3]) * 0.1, s = v[4] + (g * g - v[4]) * 0.001;
    return std::vector<Value>{v[2] - 0.001 * m / (Sqrt(s) + 1e-7), m, s};
  };
  cases.push_back(std::move(update));
  for (ConvPartial partial : {ConvPartial::kForward, ConvPartial::kInputGradient, ConvPartial::kFilterGradient}) {
    cases.push_back(
        ConvProblem{.batch = 2, .in = {5, 6}, .ic = 4, .oc = 18, .window = {3, 3}, .options = {.padding = "same"}}
            .OfSpecials(partial));
  }
  cases.push_back({.name = "conv/bias_relu_mb2ic3ih6iw5oc18kh3kw3_same",
                   .op = "conv",
                   .inputs = {{{2, 6, 5, 3}}, {{3, 3, 3, 18}}, {{18}}},
                   .build = [](Graph&, std::span<const Value> v) {
                     return std::vector<Value>{Relu(Conv2D(v[0], v[1], {.padding = "same"}) + v[2])};
                   }});
  // Long epilogues: random numbers and polynomials, over channels of whole vectors, of any number, of a few.
  struct Long {
    ConvProblem problem;
    ConvPartial partial = ConvPartial::kForward;
  };
  const ConvOptions same = {.padding = "same"}, strided = {.strides = {2, 2}, .padding = "same"};
  for (const Long& c : {
           Long{{.batch = 3, .in = {6, 8}, .ic = 3, .oc = 32, .window = {3, 3}, .options = same}},
           Long{{.batch = 2, .in = {5, 7}, .ic = 5, .oc = 16, .window = {3, 3}, .options = same}},
           Long{{.batch = 2, .in = {5, 7}, .ic = 5, .oc = 18, .window = {3, 3}, .options = same}},
           Long{{.batch = 2, .in = {5, 7}, .ic = 5, .oc = 3, .window = {3, 3}, .options = same}},
           Long{{.batch = 2,
           .in = {5, 4},
           .ic = 4,
           .oc = 12,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 2}}},
           Long{{.batch = 1, .in = {7, 7}, .ic = 128, .oc = 136, .window = {3, 3}, .options = same}},
           Long{{.batch = 2, .in = {9, 7}, .ic = 16, .oc = 20, .window = {3, 3}, .options = strided},
                ConvPartial::kInputGradient},
           Long{{.batch = 3, .in = {7, 9}, .ic = 130, .oc = 256, .window = {1, 1}}},
           Long{{.batch = 6, .in = {3, 3}, .ic = 64, .oc = 4, .window = {2, 2}, .options = same},
                ConvPartial::kInputGradient},
           Long{{.batch = 2,
           .in = {6, 11},
           .ic = 64,
           .oc = 64,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 64}}},
           Long{{.batch = 2,
           .in = {7, 9},
           .ic = 20,
           .oc = 20,
           .window = {3, 3},
           .options = {.strides = {2, 2}, .padding = "same", .groups = 20}}},
           Long{{.batch = 2,
           .in = {5, 5},
           .ic = 256,
           .oc = 256,
           .window = {3, 3},
           .options = {.strides = {2, 2}, .padding = "same", .groups = 256}}},
           Long{{.batch = 2,
           .in = {7, 10},
           .ic = 32,
           .oc = 32,
           .window = {3, 3},
           .options = {.strides = {2, 2}, .padding = "same", .groups = 32}},
                ConvPartial::kInputGradient},
           Long{{.batch = 3,
           .in = {5, 5},
           .ic = 6,
           .oc = 6,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 6}},
                ConvPartial::kInputGradient},
       }) {
    OpCase built = c.problem.Case(c.partial);
    built.name.insert(built.name.find('/') + 1, "dropout_gelu_");
    const int64_t channels = c.partial == ConvPartial::kForward ? c.problem.oc : c.problem.ic;
    built.inputs.push_back({{channels}});
    built.inputs.push_back({DType::kInt64, {}, Fill::kStep});
    built.build = [inner = built.build](Graph& graph, std::span<const Value> v) {
      const Value sum = inner(graph, v.first(2))[0];
      return std::vector<Value>{sum, Dropout(Gelu(sum + v[2]), 0.3, v[3], 7, 1)};
    };
    built.gradient = false;
    cases.push_back(std::move(built));
  }
  // Random numbers ahead: rows of whole blocks, channels of whole blocks, of neither; of one image that tasks share.
  for (const Long& c : {
           Long{{.batch = 2, .in = {5, 8}, .ic = 16, .oc = 5, .window = {3, 3}, .options = same}},
           Long{{.batch = 2, .in = {3, 5}, .ic = 64, .oc = 18, .window = {3, 3}, .options = same}},
           Long{{.batch = 2, .in = {5, 5}, .ic = 6, .oc = 18, .window = {3, 3}, .options = same}},
           Long{{.batch = 1, .in = {40, 32}, .ic = 8, .oc = 16, .window = {3, 3}, .options = same}},
           Long{{.batch = 1, .in = {1500}, .ic = 64, .oc = 16, .window = {4}, .options = same}},
           Long{{.batch = 2,
           .in = {6, 8},
           .ic = 64,
           .oc = 64,
           .window = {3, 3},
           .options = {.padding = "same", .groups = 64}}},
           Long{{.batch = 2, .in = {8, 8}, .ic = 16, .oc = 16, .window = {3, 3}, .options = strided},
                ConvPartial::kInputGradient},
       }) {
    for (const bool tapped : {false, true}) cases.push_back(c.problem.AfterDropout(c.partial, tapped));
  }
  cases.push_back({.name = "conv/u8_mb1ic3ih5iw5oc2kh3kw3",
                   .op = "conv",
                   .inputs = {{DType::kUint8, {1, 5, 5, 3}, Fill::kBytes}, {DType::kInt32, {3, 3, 3, 2}, Fill::kBytes}},
                   .build = [](Graph&, std::span<const Value> v) { return std::vector<Value>{Conv2D(v[0], v[1])}; },
                   .gradient = false});
}

}  // namespace weir
