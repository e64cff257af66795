// Inside the JIT: trains the tutorial's model for a few steps and lists every kernel of a training step: which nodes it
// computes, why it ends where it does, what it costs, and on request its loops, LLVM IR or assembly.
#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>

#include "absl/flags/flag.h"
#include "weir/core/explain.h"
#include "weir/core/machine_peak.h"
#include "weir/core/rng.h"
#include "weir/core/runtime.h"
#include "weir/examples/common.h"
#include "weir/frontend/layers/layers.h"
#include "weir/frontend/sequential.h"
#include "weir/frontend/session.h"

ABSL_FLAG(std::string, code, "", "what to show of each compiled kernel: loops, ir or assembly; empty: nothing");

namespace {

using namespace weir;  // a program may; a header may not

std::optional<CodeView> ViewOf(const std::string& name) {
  if (name.empty()) return std::nullopt;
  if (name == "loops") return CodeView::kLoops;
  if (name == "ir") return CodeView::kLlvmIr;
  if (name == "assembly") return CodeView::kAssembly;
  std::cerr << "error: --code=" << name << ": expected loops, ir or assembly\n";
  std::exit(1);
}

Sequential MakeModel() {
  Sequential model({Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu",
                            .kernel_constraint = MaxNorm(3), .input_shape = {32, 32, 3}}),
                    Dropout(0.3),
                    Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu",
                            .kernel_constraint = MaxNorm(3)}),
                    MaxPooling2D(), Flatten(),
                    Dense({.units = 512, .activation = "relu", .kernel_constraint = MaxNorm(3)}), Dropout(0.5),
                    Dense({.units = 10, .activation = "sigmoid"})});
  model.Compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy", .metrics = "sparse_categorical_accuracy"});
  return model;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> backends = BackendNames();
  const bool jit = std::find(backends.begin(), backends.end(), "llvm") != backends.end();
  examples::Start(argc, argv, "Lists the kernels of a training step, with work, time and code.", jit ? "llvm" : "");
  const std::optional<CodeView> view = ViewOf(absl::GetFlag(FLAGS_code));
  const int64_t batch = examples::Quick() ? 4 : 32;
  const int steps = examples::Quick() ? 2 : 20;

  Tensor x(DType::kFloat32, {batch, 32, 32, 3}), y(DType::kInt32, {batch});
  RandomStream random(/*seed=*/1, /*stream=*/0);
  for (float& value : x.data<float>()) value = static_cast<float>(random.Uniform());
  for (int64_t i = 0; i < batch; ++i) y.data<int32_t>()[static_cast<size_t>(i)] = static_cast<int32_t>(i % 10);

  // What this machine can do at best; a step's time is compared to what its work would take at that.
  MachinePeak peak;
  if (!examples::Quick()) {
    peak = MeasurePeak(DefaultRuntime().threads());
    std::cout << "ceilings: " << peak.flops * 1e-9 << " GFLOP/s, " << peak.triad_bytes * 1e-9 << " GB/s on " << peak.threads
              << " threads\n";
  }

  // The first step compiles: what that took is in the profile, as the step named "compile".
  Runtime& runtime = DefaultRuntime();
  const auto profiler = std::make_shared<Profiler>();
  runtime.SetProfiler(profiler);
  const Sequential model = MakeModel();
  model.TrainOnBatch({x, y});
  for (const ProfileEvent& event : profiler->events()) {
    if (event.ops == "compile") {
      std::cout << "compiled " << event.kernel << " in " << static_cast<double>(event.duration.count()) * 1e-6 << " ms\n";
    }
  }
  profiler->Clear();
  for (int step = 0; step < steps; ++step) model.TrainOnBatch({x, y});
  const std::vector<ProfileEvent> events = profiler->events();

  // The plan last used is the training step's.
  const std::shared_ptr<const Executable> executable = runtime.cache().Executables().front();
  std::cout << Explain(*executable, runtime.backends(),
                       {.code = view,
                        .events = events,
                        .peak_flops = peak.flops,
                        .peak_bytes = peak.triad_bytes});
} catch (const std::exception& error) {
  return examples::Failed(error);
}
