// The tutorial's model: training steps and inference on each backend.
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "benchmark/benchmark.h"
#include "weir/bench/bench.h"
#include "weir/bench/tutorial_model.h"
#include "weir/core/error.h"
#include "weir/frontend/session.h"

namespace weir::bench {
namespace {

// Forward work of one picture, 2 FLOPs an fma: both convolutions and both dense layers.
constexpr double kForwardFlops = 2.0 * (1024 * 9 * 3 * 32 + 1024 * 9 * 32 * 32 + 8192 * 512 + 512 * 10);
// Backward: a filter gradient of every layer, and an input gradient of all but the first.
constexpr double kTrainingFlops = 3 * kForwardFlops - 2.0 * 1024 * 9 * 3 * 32;

void TrainingStep(benchmark::State& state, Runtime* runtime, int64_t batch, const MachinePeak& peak) {
  const Sequential model = TutorialModel(runtime);
  const Examples data = TutorialBatch(batch);
  model.TrainOnBatch(data);
  Measure(state, {.flops = kTrainingFlops * static_cast<double>(batch)}, peak, [&] { model.TrainOnBatch(data); });
}

void Inference(benchmark::State& state, Runtime* runtime, int64_t batch, const MachinePeak& peak) {
  const Sequential model = TutorialModel(runtime);
  const Tensor x = TutorialPictures(batch);
  model.PredictOne(x, {.batch_size = batch});
  Measure(state, {.flops = kForwardFlops * static_cast<double>(batch)}, peak,
          [&] { benchmark::DoNotOptimize(model.PredictOne(x, {.batch_size = batch})); });
}

// Threads that ask one model at once, each computing alone: with enough processors predictions a second (items) grow as
// their number.
void Callers(benchmark::State& state, const std::string& backend) {
  struct Asked {
    std::unique_ptr<Runtime> runtime;
    Sequential model;
    Tensor x;
  };
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<const Asked>> made;
  std::shared_ptr<const Asked> asked;
  {
    const std::lock_guard lock(mutex);
    std::shared_ptr<const Asked>& shared = made[backend];
    if (shared == nullptr) {
      absl::StatusOr<std::unique_ptr<Runtime>> runtime = MakeRuntime({.backend = backend, .threads = 1});
      ThrowIfError(runtime.status());
      const Sequential model = TutorialModel(runtime->get());
      model.PredictOne(TutorialPictures(1));
      shared = std::make_shared<const Asked>(Asked{*std::move(runtime), model, TutorialPictures(1)});
    }
    asked = shared;
  }
  for (auto _ : state) benchmark::DoNotOptimize(asked->model.PredictOne(asked->x));
  state.SetItemsProcessed(state.iterations());
}

}  // namespace

void RegisterModelBenchmarks(std::span<const NamedRuntime> runtimes, const MachinePeak& peak) {
  const auto add = [&](const std::string& name, auto body, int64_t batch) {
    for (const NamedRuntime& named : runtimes) {
      if (named.slow() && batch > 32) continue;
      auto* bench = benchmark::RegisterBenchmark(
          StrCat("model/", name, "_batch", batch, "/", named.name).c_str(),
          [=, runtime = named.runtime](benchmark::State& state) { body(state, runtime, batch, peak); });
      bench->UseRealTime()->Unit(benchmark::kMillisecond);
      if (named.slow()) bench->Iterations(1)->Repetitions(1);
    }
  };
  for (int64_t batch : {32, 128}) add("training_step", TrainingStep, batch);
  for (int64_t batch : {1, 32, 256}) add("inference", Inference, batch);
  for (const NamedRuntime& named : runtimes) {
    if (named.slow()) continue;
    benchmark::RegisterBenchmark(StrCat("model/inference_by_callers/", named.name).c_str(),
                                 [name = named.name](benchmark::State& state) { Callers(state, name); })
        ->ThreadRange(1, 2)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace weir::bench
