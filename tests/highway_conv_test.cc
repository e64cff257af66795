// Highway's convolutions and their gradients, direct and by Winograd's algorithm; see highway_lowering.h.
#include <utility>
#include <vector>

#include "highway_lowering.h"
#include "weir/ops/conv_geometry.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

struct ConvShape {
  Shape x, w;
  ConvOptions options = {};
  bool large = false;
};

std::vector<ConvShape> ConvShapes() {
  std::vector<ConvShape> shapes;
  // Channel counts around vectors and panels of every target.
  for (int64_t in : {1, 3, 5, 16}) {
    for (int64_t out : {1, 4, 7, 8, 15, 17, 31, 33, 65}) {
      shapes.push_back({{2, 5, 6, in}, {3, 3, in, out}, {.padding = "same"}});
    }
  }
  // Widths around tiles; windows, strides, dilations, paddings.
  for (int64_t width : {1, 2, 3, 11, 12, 13, 25})
    shapes.push_back({{3, 2, width, 4}, {1, 2, 4, 32}, {.padding = "same"}});
  shapes.push_back({{2, 9, 8, 6}, {3, 3, 6, 18}, {.strides = {2, 2}, .padding = "same"}});
  shapes.push_back({{2, 9, 10, 6}, {2, 3, 6, 18}, {.strides = {3, 2}, .padding = "valid"}});
  shapes.push_back({{1, 7, 7, 4}, {1, 1, 4, 9}, {.strides = {2, 3}, .padding = "valid"}});
  shapes.push_back({{2, 11, 12, 5}, {3, 2, 5, 19}, {.padding = "same", .dilations = {2, 3}}});
  shapes.push_back({{1, 6, 5, 3}, {3, 3, 3, 8}, {.padding_before = {4, 0}, .padding_after = {1, 5}}});
  shapes.push_back({{2, 4, 4, 3}, {5, 5, 3, 8}, {.padding = "same"}});
  shapes.push_back({{4, 20, 6}, {3, 6, 20}, {.strides = {2}, .padding = "same"}});
  shapes.push_back({{2, 17, 4}, {3, 4, 33}, {.padding = "causal", .dilations = {4}}});
  shapes.push_back({{2, 4, 5, 6, 3}, {2, 3, 3, 3, 17}, {.padding = "same"}});
  shapes.push_back({{1, 5, 6, 5, 3}, {2, 2, 3, 3, 9}, {.strides = {2, 1, 2}, .padding = "same"}});
  // Groups; depthwise with multipliers.
  shapes.push_back({{2, 6, 6, 12}, {3, 3, 4, 15}, {.padding = "same", .groups = 3}});
  shapes.push_back({{2, 6, 6, 33}, {3, 3, 1, 33}, {.padding = "same", .groups = 33}});
  shapes.push_back({{2, 7, 6, 16}, {3, 3, 1, 16}, {.strides = {2, 2}, .padding = "valid", .groups = 16}});
  shapes.push_back({{2, 5, 6, 7}, {3, 2, 1, 21}, {.padding = "same", .groups = 7}});
  shapes.push_back({{1, 9, 6, 4}, {3, 3, 1, 8}, {.strides = {2, 1}, .padding = "same", .groups = 4}});
  // Many images in a chunk, no images between tasks' boundaries.
  shapes.push_back({{37, 3, 3, 5}, {2, 2, 5, 6}, {.padding = "same"}});
  // Sizes at which lowerings change: cut images, several panels, huge filters, filter gradients by rows.
  shapes.push_back({{1, 40, 40, 32}, {3, 3, 32, 32}, {.padding = "same"}, true});
  shapes.push_back({{2, 33, 31, 16}, {3, 3, 16, 80}, {.padding = "same"}, true});
  shapes.push_back({{20, 4, 4, 64}, {3, 3, 64, 400}, {.padding = "same"}, true});
  shapes.push_back({{1, 2, 3, 256}, {3, 3, 256, 200}, {.padding = "same"}, true});
  shapes.push_back({{33, 8, 8, 96}, {3, 3, 96, 160}, {.padding = "same"}, true});
  shapes.push_back({{1, 30000, 8}, {5, 8, 32}, {.padding = "same"}, true});
  shapes.push_back({{1, 8, 24, 24, 16}, {3, 3, 3, 16, 32}, {.padding = "same"}, true});
  return shapes;
}

// Shapes for Winograd's algorithm, likewise.
std::vector<ConvShape> WinogradShapes() {
  const ConvOptions same{.padding = "same", .algorithm = ConvAlgorithm::kWinograd};
  const ConvOptions padded{.padding_before = {4, 0}, .padding_after = {1, 5}, .algorithm = ConvAlgorithm::kWinograd};
  std::vector<ConvShape> shapes;
  for (int64_t in : {1, 5, 17}) {
    for (int64_t out : {1, 8, 16, 33}) shapes.push_back({{2, 5, 6, in}, {3, 3, in, out}, same});
  }
  shapes.push_back({{1, 6, 5, 3}, {3, 3, 3, 8}, padded});
  // Blocks of parts of a row, of rows, and of several images; output channels cut among tasks.
  shapes.push_back({{1, 6, 190, 4}, {3, 3, 4, 9}, same});
  shapes.push_back({{2, 13, 70, 4}, {3, 3, 4, 9}, same});
  shapes.push_back({{37, 3, 3, 5}, {3, 3, 5, 6}, same});
  shapes.push_back({{1, 8, 9, 40}, {3, 3, 40, 100}, same});
  // Tasks of several blocks, large filters, filter gradients by blocks of channels with one chunk and with two.
  shapes.push_back({{17, 32, 32, 32}, {3, 3, 32, 32}, same, true});
  shapes.push_back({{3, 9, 8, 200}, {3, 3, 200, 72}, same, true});
  shapes.push_back({{5, 6, 5, 300}, {3, 3, 300, 200}, same, true});
  shapes.push_back({{66, 7, 7, 260}, {3, 3, 260, 260}, same, true});
  return shapes;
}

// kAuto stands for the direct sum here.
Value RecordConv(const Value& x, const Value& w, ConvOptions options) {
  if (options.algorithm == ConvAlgorithm::kAuto) options.algorithm = ConvAlgorithm::kDirect;
  return Conv(x, w, options);
}
// The attributes and the output's shape of a convolution.
std::pair<AttrMap, Shape> ConvRecord(const ConvShape& shape) {
  auto graph = Graph::Create();
  const Value y =
      RecordConv(graph->Input({DType::kFloat32, shape.x}), graph->Input({DType::kFloat32, shape.w}), shape.options);
  return {graph->node(y.ref.node).attrs, y.shape()};
}

class HighwayConv : public HighwayKernels {
 protected:
  void CheckForward(const std::vector<ConvShape>& shapes) {
    for (const ConvShape& shape : shapes) {
      if (shape.large && slow()) continue;
      CheckWithEpilogues(StrCat("conv ", shape.x, " * ", shape.w), [&](Problem& problem) {
        return RecordConv(problem.Floats(shape.x), problem.Floats(shape.w), shape.options);
      });
      if (HasFailure()) return;
    }
  }
  void CheckInputGradient(const std::vector<ConvShape>& shapes) {
    for (const ConvShape& shape : shapes) {
      if (shape.large && slow()) continue;
      const auto [attrs, y] = ConvRecord(shape);
      CheckWithEpilogues(StrCat("input gradient ", shape.x, " * ", shape.w),
                         [&, attrs = attrs, y = y](Problem& problem) {
                           return ConvInputGradient(problem.Floats(y), problem.Floats(shape.w), attrs, shape.x);
                         });
      if (HasFailure()) return;
    }
  }
  void CheckFilterGradient(const std::vector<ConvShape>& shapes) {
    for (const ConvShape& shape : shapes) {
      if (shape.large && slow()) continue;
      const auto [attrs, y] = ConvRecord(shape);
      CheckWithEpilogues(StrCat("filter gradient ", shape.x, " * ", shape.w),
                         [&, attrs = attrs, y = y](Problem& problem) {
                           return ConvFilterGradient(problem.Floats(shape.x), problem.Floats(y), attrs, shape.w);
                         });
      if (HasFailure()) return;
    }
  }
};

TEST_P(HighwayConv, Forward) { CheckForward(ConvShapes()); }
TEST_P(HighwayConv, InputGradient) { CheckInputGradient(ConvShapes()); }
TEST_P(HighwayConv, FilterGradient) { CheckFilterGradient(ConvShapes()); }
TEST_P(HighwayConv, FilterGradientWithoutImages) {
  Problem problem("filter gradient without images");
  const auto [attrs, y] = ConvRecord({{0, 5, 5, 3}, {3, 3, 3, 8}, {.padding = "same"}});
  problem.outputs = {ConvFilterGradient(problem.Floats({0, 5, 5, 3}), problem.Floats(y), attrs, {3, 3, 3, 8})};
  Check(problem);
}
TEST_P(HighwayConv, WinogradForward) { CheckForward(WinogradShapes()); }
TEST_P(HighwayConv, WinogradInputGradient) { CheckInputGradient(WinogradShapes()); }
TEST_P(HighwayConv, WinogradFilterGradient) { CheckFilterGradient(WinogradShapes()); }

INSTANTIATE_TEST_SUITE_P(Targets, HighwayConv, ::testing::ValuesIn(HighwayTestTargets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace weir
