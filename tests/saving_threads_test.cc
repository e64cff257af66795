// Models saved while they are trained: what is saved is the state between two steps, whoever saves it.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "frontend_test_util.h"

namespace weir {
namespace {

constexpr int64_t kEpochs = 25;

Examples FewExamples() { return {UniformTensor({40, 8, 8, 3}, 3), Labels(40, 5)}; }

Sequential Compiled(const std::string& backend) {
  Sequential model = SmallModel({.seed = 7, .runtime = &TestRuntime(backend, 2)});
  model.Compile({.optimizer = Adam({.learning_rate = 0.01, .use_ema = true, .ema_overwrite_frequency = 7}),
                 .loss = "sparse_categorical_crossentropy",
                 .metrics = "acc"});
  return model;
}

// The rate is cut again and again, and best weights are kept: states of callbacks that decide what comes next.
FitOptions OptionsWith(const std::vector<CallbackPtr>& more) {
  FitOptions options{.batch_size = 4, .epochs = kEpochs, .verbose = 0};
  options.callbacks = {ReduceLROnPlateau({.monitor = "loss", .factor = 0.9, .patience = 1, .min_delta = 1}),
                       EarlyStopping({.monitor = "loss", .patience = 1000, .restore_best_weights = true})};
  options.callbacks.insert(options.callbacks.end(), more.begin(), more.end());
  options.handle_interrupt = false;
  return options;
}

std::vector<Tensor> ValuesOf(const Model& model) {
  std::vector<Tensor> values;
  for (const Variable& weight : model.weights()) values.push_back(weight.value());
  return values;
}

bool SameValues(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  bool same = a.size() == b.size();
  for (size_t i = 0; same && i < a.size(); ++i) same = BitEqual(a[i], b[i]);
  return same;
}

// A training that nobody disturbs: its weights after each step, and when it ends: first the averages take their place,
// then the best ones.
struct Course {
  std::vector<std::vector<Tensor>> steps;
  std::vector<Tensor> averages, end;

  // Whether the model has these weights after so many steps.
  bool Has(size_t step, const std::vector<Tensor>& values) const;
};
bool Course::Has(size_t step, const std::vector<Tensor>& values) const {
  if (step >= steps.size()) return false;
  const bool last = step + 1 == steps.size();
  return SameValues(values, steps[step]) || (last && (SameValues(values, averages) || SameValues(values, end)));
}
Course CourseOf(const std::string& backend) {
  Course course;
  const Sequential model = Compiled(backend);
  course.steps.push_back(ValuesOf(model));
  const auto note = LambdaCallback(
      {.on_train_end = [&](FitContext& fit) { course.averages = ValuesOf(fit.model()); },
       .on_batch_end = [&](FitContext& fit, int64_t, const Logs&) { course.steps.push_back(ValuesOf(fit.model())); }});
  FitOptions options = OptionsWith({});
  options.callbacks.insert(options.callbacks.begin(), note);
  model.Fit(FewExamples(), options);
  course.end = ValuesOf(model);
  return course;
}

// Empty if the folder has the state after a step: weights and counters that belong together, and all that is needed to
// come to the same end.
std::string FaultOf(const std::string& folder, const std::string& backend, const Course& course, bool to_the_end) {
  const absl::StatusOr<Model> loaded = LoadModel(folder, {.runtime = &TestRuntime(backend, 2)});
  if (!loaded.ok()) return StrCat(loaded.status());
  const size_t step = static_cast<size_t>(loaded->iterations());
  if (!course.Has(step, ValuesOf(*loaded))) return StrCat("the weights are not those of step ", step);
  if (!to_the_end && step + 1 < course.steps.size()) return "";
  FitOptions options = OptionsWith({});
  options.resume = true;
  loaded->Fit(FewExamples(), options);
  return SameValues(ValuesOf(*loaded), course.end) ? "" : StrCat("goes on otherwise from step ", step);
}

class SavingThreads : public testing::TestWithParam<std::string> {};

TEST_P(SavingThreads, SavesBesideFitAreOfWholeSteps) {
  const Course course = CourseOf(GetParam());
  const TempFolder folder;
  const Sequential model = Compiled(GetParam());
  model.PredictOne(UniformTensor({1, 8, 8, 3}, 1));
  std::atomic<bool> done{false};
  std::atomic<int64_t> saves{0};
  // Steps are faster than files: each epoch ends behind another save.
  const auto wait = LambdaCallback({.on_epoch_end = [&](FitContext&, int64_t epoch, Logs&) {
    while (saves <= epoch) std::this_thread::yield();
  }});
  std::thread training([&] {
    model.Fit(FewExamples(), OptionsWith({wait}));
    done = true;
  });
  std::vector<std::string> saved;
  std::vector<std::string> weights;
  for (bool once_more = true; once_more;) {
    once_more = !done;
    saved.push_back(folder / StrCat("model_", saved.size()));
    const absl::Status status = model.Save(saved.back());
    EXPECT_TRUE(status.ok()) << status;
    weights.push_back(folder / StrCat("weights_", weights.size()));
    const absl::Status alone = model.SaveWeights(weights.back());
    EXPECT_TRUE(alone.ok()) << alone;
    ++saves;
  }
  training.join();
  EXPECT_GE(saved.size(), static_cast<size_t>(kEpochs));
  for (size_t i = 0; i < saved.size(); ++i) {
    const bool to_the_end = saved.size() < 20 || i % (saved.size() / 20) == 0 || i + 1 == saved.size();
    EXPECT_EQ(FaultOf(saved[i], GetParam(), course, to_the_end), "") << i;
  }
  for (const std::string& path : weights) {
    const Sequential loaded = Compiled(GetParam());
    ASSERT_TRUE(loaded.LoadWeights(path).ok());
    const std::vector<Tensor> values = ValuesOf(loaded);
    bool known = false;
    for (size_t step = 0; step < course.steps.size() && !known; ++step) known = course.Has(step, values);
    EXPECT_TRUE(known) << path;
  }
}

TEST_P(SavingThreads, CallbacksTapsAndTheirThreadsMaySave) {
  const Course course = CourseOf(GetParam());
  const TempFolder folder;
  const Sequential model = Compiled(GetParam());
  std::vector<std::string> saved;
  const auto save = [&] {
    saved.push_back(folder / StrCat("model_", saved.size()));
    EXPECT_TRUE(model.Save(saved.back()).ok());
  };
  const auto save_here_and_there = [&] {
    save();
    std::thread(save).join();
  };
  const auto look = LambdaCallback({.on_epoch_begin =
                                        [&](FitContext&, int64_t epoch) {
                                          if (epoch == 2) save_here_and_there();
                                        },
                                    .on_epoch_end =
                                        [&](FitContext&, int64_t epoch, Logs&) {
                                          if (epoch == 4) std::thread(save).join();
                                        },
                                    .on_batch_begin =
                                        [&](FitContext&, int64_t batch) {
                                          if (batch == 5 && saved.size() < 8) save_here_and_there();
                                        },
                                    .on_batch_end =
                                        [&](FitContext&, int64_t batch, const Logs&) {
                                          if (batch == 3 && saved.size() < 12) save_here_and_there();
                                        }});
  FitOptions options = OptionsWith({look});
  options.taps = {{"loss", {.receive = [&](const TapReading& reading) {
                              if (reading.step == 33 || reading.step == 39) save_here_and_there();
                            }}}};
  model.Fit(FewExamples(), options);
  EXPECT_GT(saved.size(), 14u);
  for (const std::string& path : saved) EXPECT_EQ(FaultOf(path, GetParam(), course, true), "") << path;
}

// A receiver that throws comes behind the step: going on does not make the step again.
TEST_P(SavingThreads, GoesOnBehindAReceiverThatThrows) {
  const Course course = CourseOf(GetParam());
  const Sequential model = Compiled(GetParam());
  FitOptions options = OptionsWith({});
  options.taps = {{"loss", {.receive = [&](const TapReading& reading) {
                              if (reading.step == 23) throw std::runtime_error("enough");
                            }}}};
  EXPECT_THROW(model.Fit(FewExamples(), options), std::runtime_error);
  EXPECT_EQ(model.iterations(), 24);
  FitOptions resumed = OptionsWith({});
  resumed.resume = true;
  model.Fit(FewExamples(), resumed);
  EXPECT_TRUE(SameValues(ValuesOf(model), course.end));
}

INSTANTIATE_TEST_SUITE_P(Backends, SavingThreads, testing::ValuesIn(BackendNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace weir
