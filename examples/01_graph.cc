// The graph by hand: record values, differentiate, evaluate, fit a line; no layers, no model.
#include <cmath>
#include <cstdio>
#include <iostream>
#include <vector>

#include "weir/core/rng.h"
#include "weir/core/runtime.h"
#include "weir/examples/common.h"
#include "weir/frontend/session.h"
#include "weir/ops/gradients.h"
#include "weir/ops/ops.h"

namespace {

using namespace weir;  // a program may; a header may not

// Calling an op records a node; its shape is known at once, its numbers only when they are asked for.
void RecordAndEvaluate() {
  const std::shared_ptr<Graph> graph = Graph::Create();
  const Value image = graph->Data(Tensor::Of<float>({1, 4, 4, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
  const Value filter = graph->Data(Tensor::Full(DType::kFloat32, {3, 3, 1, 1}, 1));
  const Value y = Relu(Conv2D(image, filter, {.strides = {2, 2}, .padding = "same"}) - 50);
  std::cout << "recorded " << y.type() << ", value:\n" << Evaluate(y) << "\n\n";

  // A wrong program is reported at the line that made it.
  try {
    Conv2D(image, graph->Data(Tensor(DType::kFloat32, {3, 3, 4, 16})));
  } catch (const Error& error) {
    std::cout << "a mistake reads: " << error.what() << "\n\n";
  }
}

// Gradients are ordinary values of the same graph, and can be differentiated again.
void DifferentiateTwice() {
  const std::shared_ptr<Graph> graph = Graph::Create();
  const Value x = graph->Data(Tensor::Scalar(2.0f));
  const Value y = x * x * x;
  const Value dy = Gradients({y}, {x})[0];
  const Value d2y = Gradients({dy}, {x})[0];
  const std::vector<Tensor> values = Evaluate({y, dy, d2y});
  std::printf("x = 2: x^3 = %g, first derivative %g, second %g\n\n", values[0].item<float>(), values[1].item<float>(),
              values[2].item<float>());
}

// A loop records its step anew each time, with C++ control flow over computed values; the plan is compiled once.
void FitLine(int steps) {
  RandomStream random(/*seed=*/1, /*stream=*/0);
  Tensor xs(DType::kFloat32, {64, 1}), ys(DType::kFloat32, {64, 1});
  for (int i = 0; i < 64; ++i) {
    const float x = static_cast<float>(2 * random.Uniform() - 1);
    xs.data<float>()[static_cast<size_t>(i)] = x;
    ys.data<float>()[static_cast<size_t>(i)] = 3 * x + 0.5f + 0.01f * static_cast<float>(random.Normal());
  }
  Tensor slope = Tensor::Full(DType::kFloat32, {1, 1}, 0), offset = Tensor::Full(DType::kFloat32, {1}, 0);
  int step = 0;
  for (; step < steps; ++step) {
    const std::shared_ptr<Graph> graph = Graph::Create();
    const Value w = graph->Data(slope), b = graph->Data(offset);
    const Value loss = Mean(Square(MatMul(graph->Data(xs), w) + b - graph->Data(ys)));
    const std::vector<Value> gradient = Gradients({loss}, {w, b});
    const std::vector<Tensor> next = Evaluate({loss, w - 0.5 * gradient[0], b - 0.5 * gradient[1]});
    slope = next[1];
    offset = next[2];
    if (next[0].item<float>() < 2e-4f) break;
  }
  std::printf("fitted y = %.2f x + %.2f after %d steps (3.00 and 0.50 were hidden in the data)\n", slope.item<float>(),
              offset.item<float>(), step);
  PlanCache& cache = DefaultRuntime().cache();
  std::printf("plans compiled: %lld, found in the cache: %lld\n\n", static_cast<long long>(cache.misses()),
              static_cast<long long>(cache.hits()));
}

// What will run can be read before it runs.
void ShowPlan() {
  const std::shared_ptr<Graph> graph = Graph::Create();
  const Value x = graph->Input({DType::kFloat32, {8, 16}}, "x"), w = graph->Input({DType::kFloat32, {16, 4}}, "w");
  const Value loss = Sum(Square(Relu(MatMul(x, w))));
  const Value dw = Gradients({loss}, {w})[0];
  const std::vector<Value> inputs{x, w}, roots{loss, dw};
  const auto executable = DefaultRuntime().Compile(inputs, roots);
  examples::ExitIfError(executable.status());
  std::cout << "the plan of loss and gradient of relu(x w):\n" << ToText((*executable)->plan());
}

}  // namespace

int main(int argc, char** argv) try {
  examples::Start(argc, argv, "Records, differentiates and evaluates values by hand, and prints a compiled plan.");
  RecordAndEvaluate();
  DifferentiateTwice();
  FitLine(examples::Quick() ? 50 : 500);
  ShowPlan();
} catch (const std::exception& error) {
  return examples::Failed(error);
}
