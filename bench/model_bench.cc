// The tutorial's model: training steps and inference on each backend.
#include <memory>
#include <string>

#include "benchmark/benchmark.h"
#include "weir/bench/bench.h"
#include "weir/core/rng.h"
#include "weir/frontend/layers/layers.h"
#include "weir/frontend/sequential.h"

namespace weir::bench {
namespace {

Sequential TutorialModel(Runtime* runtime) {
  Sequential model({Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu",
                            .kernel_constraint = MaxNorm(3), .input_shape = {32, 32, 3}}),
                    Dropout(0.3),
                    Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu",
                            .kernel_constraint = MaxNorm(3)}),
                    MaxPooling2D(), Flatten(),
                    Dense({.units = 512, .activation = "relu", .kernel_constraint = MaxNorm(3)}), Dropout(0.5),
                    Dense({.units = 10, .activation = "sigmoid"})});
  model.Compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy", .metrics = "sparse_categorical_accuracy",
                 .runtime = runtime});
  return model;
}

// Forward work of one picture, 2 FLOPs an fma: both convolutions and both dense layers.
constexpr double kForwardFlops = 2.0 * (1024 * 9 * 3 * 32 + 1024 * 9 * 32 * 32 + 8192 * 512 + 512 * 10);
// Backward: a filter gradient of every layer, and an input gradient of all but the first.
constexpr double kTrainingFlops = 3 * kForwardFlops - 2.0 * 1024 * 9 * 3 * 32;

Tensor Pictures(int64_t batch) {
  Tensor x(DType::kFloat32, {batch, 32, 32, 3});
  RandomStream random(1, 0);
  for (float& value : x.data<float>()) value = static_cast<float>(random.Uniform());
  return x;
}

void TrainingStep(benchmark::State& state, Runtime* runtime, int64_t batch, const MachinePeak& peak) {
  const Sequential model = TutorialModel(runtime);
  const Tensor x = Pictures(batch);
  Tensor y(DType::kInt32, {batch});
  for (int64_t i = 0; i < batch; ++i) y.data<int32_t>()[static_cast<size_t>(i)] = static_cast<int32_t>(i % 10);
  model.TrainOnBatch({x, y});
  Measure(state, {.flops = kTrainingFlops * static_cast<double>(batch)}, peak, [&] { model.TrainOnBatch({x, y}); });
}

void Inference(benchmark::State& state, Runtime* runtime, int64_t batch, const MachinePeak& peak) {
  const Sequential model = TutorialModel(runtime);
  const Tensor x = Pictures(batch);
  model.PredictOne(x, {.batch_size = batch});
  Measure(state, {.flops = kForwardFlops * static_cast<double>(batch)}, peak,
          [&] { benchmark::DoNotOptimize(model.PredictOne(x, {.batch_size = batch})); });
}

}  // namespace

void RegisterModelBenchmarks(std::span<const NamedRuntime> runtimes, const MachinePeak& peak) {
  const auto add = [&](const std::string& name, auto body, int64_t batch) {
    for (const NamedRuntime& named : runtimes) {
      benchmark::RegisterBenchmark(StrCat("model/", name, "_batch", batch, "/", named.name).c_str(),
                                   [=, runtime = named.runtime](benchmark::State& state) { body(state, runtime, batch, peak); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  };
  for (int64_t batch : {32, 128}) add("training_step", TrainingStep, batch);
  for (int64_t batch : {1, 32, 256}) add("inference", Inference, batch);
}

}  // namespace weir::bench
