// What README.md says is true: its C++ blocks stand word for word in the files they claim to come from, the ones of
// this file run, and the files it links to exist.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include "weir/frontend/custom_step.h"
#include "weir/frontend/layers/layers.h"
#include "weir/frontend/sequential.h"
#include "weir/frontend/session.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

namespace fs = std::filesystem;

std::string ReadSource(const std::string& path) {
  std::ifstream file(fs::path(WEIR_SOURCE_DIR) / path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Readme, BlocksStandInTheirFiles) {
  const std::string readme = ReadSource("README.md");
  static const std::regex kBlock(R"(<!-- from: ([^ ]+) -->\n```cpp\n([\s\S]*?)```)");
  int blocks = 0;
  for (std::sregex_iterator it(readme.begin(), readme.end(), kBlock), end; it != end; ++it, ++blocks) {
    const std::string path = (*it)[1], block = (*it)[2];
    EXPECT_NE(ReadSource(path).find(block), std::string::npos) << "README.md shows other code than " << path << ":\n" << block;
  }
  EXPECT_GE(blocks, 4);
  size_t fences = 0;
  for (size_t at = readme.find("```cpp"); at != std::string::npos; at = readme.find("```cpp", at + 1)) ++fences;
  EXPECT_EQ(static_cast<size_t>(blocks), fences) << "a C++ block does not say where it comes from";
}

TEST(Readme, LinksLeadSomewhere) {
  // Code has brackets in front of parentheses that are no links.
  static const std::regex kCode("```[^`]*```");
  const std::string readme = std::regex_replace(ReadSource("README.md"), kCode, "");
  static const std::regex kLink(R"(\]\(([^)]+)\))");
  int links = 0;
  for (std::sregex_iterator it(readme.begin(), readme.end(), kLink), end; it != end; ++it) {
    const std::string target = (*it)[1];
    if (target.rfind("http", 0) == 0) continue;
    ++links;
    EXPECT_TRUE(fs::exists(fs::path(WEIR_SOURCE_DIR) / target)) << target;
  }
  EXPECT_GE(links, 10);
}

TEST(Readme, TheTutorialIsShort) {
  const std::string tutorial = ReadSource("examples/02_cifar10.cc");
  EXPECT_LE(std::count(tutorial.begin(), tutorial.end(), '\n'), 60);
}

TEST(Readme, TapsRun) {
  const Sequential model({Conv2D({.filters = 4, .kernel_size = 3, .activation = "relu", .input_shape = {8, 8, 3}}), Flatten(),
                          Dense({.units = 10, .activation = "softmax"})});
  model.Compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy"});
  const Tensor x = Tensor::Full(DType::kFloat32, {2, 8, 8, 3}, 0.5);
  const Tensor y = Tensor::Of<int32_t>({2}, {3, 4});
  TapHandle before = model.Tap("conv2d/pre_activation");
  TapHandle gradients = model.Tap("**/kernel", {.gradient = true, .statistics_only = true});
  model.TrainOnBatch({x, y});
  std::cout << before.value().shape() << "\n";
  for (const TapReading& reading : gradients.readings()) {
    std::cout << reading.path << ": " << reading.statistics << "\n";
  }
  EXPECT_EQ(before.value().shape(), (Shape{2, 6, 6, 4}));
  EXPECT_EQ(gradients.readings().size(), 2u);
}

TEST(Readme, OwnStepRuns) {
  const SymbolicTensor input = Input({8, 8, 3});
  const SymbolicTensor x = Conv2D(4, 3, {.padding = "same", .activation = "relu"})(input);
  const Model model(input, Dense(10, "softmax")(Flatten()(x * 2 + 1)));
  const Tensor images = Tensor::Full(DType::kFloat32, {2, 8, 8, 3}, 0.5), labels = Tensor::Of<int32_t>({2}, {3, 4});
  TrainStep step(Adam(1e-3), [&](StepRecorder& record, std::span<const Value> batch) {
    const Value y = record(model, batch[0]);
    return Loss("sparse_categorical_crossentropy")(batch[1], y, FindLogits(y));
  });
  for (int i = 0; i < 10; ++i) std::cout << step({images, labels}) << "\n";  // loss: 2.3026
  EXPECT_EQ(step.iterations(), 10);
}

TEST(Readme, GraphRuns) {
  const auto graph = Graph::Create();
  const Value x = graph->Data(Tensor::Full(DType::kFloat32, {1, 4, 4, 1}, 1)), w = graph->Data(Tensor::Full(DType::kFloat32, {3, 3, 1, 2}, 0.1));
  const Value b = graph->Data(Tensor::Full(DType::kFloat32, {2}, 0.5));
  const Value y = Relu(Conv2D(x, w, {.padding = "same"}) + b);
  const Value loss = Mean(Square(y));
  const std::vector<Value> g = Gradients({loss}, {w, b});
  const std::vector<Tensor> values = Evaluate({y, g[0], g[1]});
  EXPECT_EQ(values[1].shape(), w.shape());
  EXPECT_GT(values[2].at<float>({0}), 0);
}

}  // namespace
}  // namespace weir
