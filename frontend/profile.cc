#include "weir/frontend/profile.h"

#include <algorithm>
#include <cstdio>

#include "weir/core/error.h"
#include "weir/core/explain.h"
#include "weir/core/machine_peak.h"
#include "weir/core/runtime.h"
#include "weir/frontend/layers/input.h"
#include "weir/frontend/trainer.h"
#include "weir/frontend/variable_locks.h"

namespace weir {
namespace {

// Puts back what steps change, and the profiler that was there.
class Restore {
 public:
  Restore(ModelBase& model, Runtime& runtime)
      : model_(model),
        runtime_(runtime),
        profiler_(runtime.profiler()),
        variables_(model.weights()),
        values_(SnapshotOf(variables_)),
        state_(model.trainer().state()),
        class_names_(model.class_names()) {
    for (const auto& input : model.network().input_calls) scales_.push_back(InputScaleOf(*input->layer));
  }
  ~Restore() {
    runtime_.SetProfiler(profiler_);
    for (size_t i = 0; i < variables_.size(); ++i) variables_[i].Adopt(values_[i]);
    model_.trainer().mutable_state() = state_;
    model_.SetClassNames(class_names_);
    const auto& inputs = model_.network().input_calls;
    for (size_t i = 0; i < scales_.size(); ++i) SetInputScale(*inputs[i]->layer, scales_[i]);
  }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  ModelBase& model_;
  Runtime& runtime_;
  std::shared_ptr<Profiler> profiler_;
  std::vector<Variable> variables_;
  std::vector<Tensor> values_;
  TrainingState state_;
  std::vector<std::string> class_names_;
  std::vector<std::optional<double>> scales_;
};

Examples FirstOf(const Examples& data, int64_t count) {
  Examples first = data;
  for (Tensor& x : first.x) x = x.Rows(0, count);
  for (auto& [name, y] : first.y) y = y.Rows(0, count);
  for (Tensor& weight : first.sample_weights) weight = weight.Rows(0, count);
  return first;
}

std::string Fixed(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

}  // namespace

std::string ProfileModel(ModelBase& model, const Examples& data, const ProfileOptions& options) {
  if (options.batch_size <= 0 || options.steps <= 0) {
    ThrowInvalidArgument("Profile: batch_size ", options.batch_size, " and steps ", options.steps,
                         ", expected at least 1 of each");
  }
  if (data.x.empty() || !data.x[0].defined() || data.x[0].shape().rank() == 0 || data.x[0].shape()[0] == 0) {
    ThrowInvalidArgument("Profile: there are no examples");
  }
  Trainer& trainer = model.trainer();
  const bool training = !data.y.empty();
  const int64_t count = std::min(options.batch_size, data.x[0].shape()[0]);
  for (const auto* tensors : {&data.x, &data.sample_weights}) {
    for (const Tensor& tensor : *tensors) {
      if (!tensor.defined() || tensor.shape().rank() == 0 || tensor.shape()[0] < count) {
        ThrowInvalidArgument("Profile: ", tensor.type(), " is given beside ", data.x[0].shape()[0], " examples");
      }
    }
  }
  for (const auto& [name, y] : data.y) {
    if (!y.defined() || y.shape().rank() == 0 || y.shape()[0] < count) {
      ThrowInvalidArgument("Profile: ", y.type(), " as target of ", data.x[0].shape()[0], " examples");
    }
  }
  const Examples batch = FirstOf(data, count);
  Runtime& runtime = model.runtime();
  const auto step = [&] {
    if (training) {
      trainer.TrainOnBatch(batch, {.scale = options.scale});
    } else {
      trainer.Predict(batch.x, {.batch_size = count, .scale = options.scale});
    }
  };
  if (!model.built()) trainer.Predict(batch.x, {.batch_size = count, .scale = options.scale});
  MachinePeak peak;
  if (options.ceilings) peak = MeasurePeak(runtime.threads());

  Restore restore(model, runtime);
  const auto profiler = std::make_shared<Profiler>();
  runtime.SetProfiler(profiler);
  step();
  profiler->Clear();
  for (int i = 0; i < options.steps; ++i) step();
  const std::vector<ProfileEvent> events = profiler->events();
  if (events.empty()) return StrCat("Model \"", model.name(), "\" computes nothing: no kernel runs.\n");
  // The one last used.
  const std::shared_ptr<const Executable> executable = runtime.cache().Executables().front();

  double seconds = 0;
  for (const ProfileEvent& event : events) seconds += std::chrono::duration<double>(event.duration).count();
  std::string text = StrCat("Model \"", model.name(), "\": ", training ? "a training step" : "a prediction", " of ", count,
                            count == 1 ? " example, " : " examples, ", executable->plan().steps.size(), " kernels, ",
                            Fixed("%.3f ms", seconds / options.steps * 1e3), " on ", runtime.threads(), " thread(s)\n");
  if (options.ceilings) {
    text += StrCat("Ceilings: ", Fixed("%.1f GFLOP/s, ", peak.flops * 1e-9),
                   Fixed("%.1f GB/s", peak.triad_bytes * 1e-9), "\n");
  }
  text += "\n" + profiler->Table() + "\n";
  const std::string kernels =
      Explain(*executable, runtime.backends(),
              {.code = options.code, .events = events, .peak_flops = peak.flops, .peak_bytes = peak.triad_bytes});
  text += kernels;
  if (kernels.find("inograd") != std::string::npos) {
    text +=
        "Work is counted as that of the direct sum. A convolution by Winograd's algorithm (\"winograd\" above) does fewer "
        "operations than are counted, so that its rate may exceed the ceiling.\n";
  }
  return text;
}

}  // namespace weir
