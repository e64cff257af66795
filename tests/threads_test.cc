// Models used from many threads at once: the bits are those of one thread, whatever else goes on.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "frontend_test_util.h"

namespace weir {
namespace {

constexpr int kThreads = 4;

// Runs body(t) on threads of its own, all let go at once.
void OnThreads(int threads, const std::function<void(int)>& body) {
  std::atomic<int> waiting{threads};
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      for (--waiting; waiting > 0;) std::this_thread::yield();
      body(t);
    });
  }
  for (std::thread& thread : running) thread.join();
}

Examples SmallBatch(int64_t n, uint32_t seed = 3) { return {UniformTensor({n, 8, 8, 3}, seed), Labels(n, 5)}; }

Sequential CompiledSmall(const std::string& backend, int threads = 2) {
  Sequential model = SmallModel({.seed = 7, .runtime = &TestRuntime(backend, threads)});
  model.Compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy", .metrics = "acc"});
  return model;
}

class Threads : public testing::TestWithParam<std::string> {};

TEST_P(Threads, PredictionsOfOneModel) {
  const Sequential model = CompiledSmall(GetParam());
  std::vector<Tensor> x, right;
  for (int t = 0; t < kThreads; ++t) {
    x.push_back(UniformTensor({5, 8, 8, 3}, static_cast<uint32_t>(t)));
    right.push_back(model.PredictOne(x.back()));
  }
  std::atomic<int> wrong{0};
  OnThreads(kThreads, [&](int t) {
    for (int i = 0; i < 100; ++i) {
      // Whole, and in batches of which the last is smaller.
      const int64_t batch = i % 2 == 0 ? 32 : 2;
      wrong += !BitEqual(model.PredictOne(x[static_cast<size_t>(t)], {.batch_size = batch}), right[static_cast<size_t>(t)]);
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_P(Threads, ScaledBytesEvaluationsAndExtractors) {
  const Sequential model = CompiledSmall(GetParam());
  const Model extractor(model.inputs(), OutputsOf(model.layers()));
  Tensor bytes(DType::kUint8, Shape{6, 8, 8, 3});
  for (size_t i = 0; i < bytes.data<uint8_t>().size(); ++i) bytes.data<uint8_t>()[i] = static_cast<uint8_t>(i * 37);
  const Examples data = SmallBatch(9);
  const Tensor right = model.PredictOne(bytes, {.batch_size = 4, .scale = 1 / 255.});
  const std::vector<Tensor> features = extractor.Predict(data.x);
  const Logs logs = model.Evaluate(data, {.batch_size = 4});
  std::atomic<int> wrong{0};
  OnThreads(kThreads, [&](int t) {
    for (int i = 0; i < 60; ++i) {
      switch ((t + i) % 3) {
        case 0: wrong += !BitEqual(model.PredictOne(bytes, {.batch_size = 4, .scale = 1 / 255.}), right); break;
        case 1: wrong += model.Evaluate(data, {.batch_size = 4}).entries() != logs.entries(); break;
        default: {
          const std::vector<Tensor> found = extractor.Predict(data.x);
          for (size_t l = 0; l < found.size(); ++l) wrong += !BitEqual(found[l], features[l]);
        }
      }
    }
  });
  EXPECT_EQ(wrong, 0);
}

// Each prediction is that of the weights after some step, all its batches of the same one, and later predictions of a
// thread are of no earlier step.
TEST_P(Threads, PredictionsBesideTrainingSeeWholeSteps) {
  constexpr int kSteps = 40;
  const Tensor x = UniformTensor({6, 8, 8, 3}, 11);
  const Examples batch = SmallBatch(8);
  std::vector<Tensor> after;
  {
    const Sequential alone = CompiledSmall(GetParam());
    after.push_back(alone.PredictOne(x));
    for (int step = 0; step < kSteps; ++step) {
      alone.TrainOnBatch(batch);
      after.push_back(alone.PredictOne(x));
    }
    ASSERT_FALSE(BitEqual(after[0], after[1]));
  }
  const Sequential model = CompiledSmall(GetParam());
  const Model extractor(model.inputs(), model.outputs());
  std::atomic<int> wrong{0}, distinct{0};
  std::atomic<bool> done{false};
  OnThreads(1 + kThreads, [&](int t) {
    if (t == 0) {
      for (int step = 0; step < kSteps; ++step) model.TrainOnBatch(batch);
      done = true;
      return;
    }
    size_t last = 0;
    for (bool once_more = true; once_more;) {
      once_more = !done;
      const Model& asked = t % 2 == 0 ? static_cast<const Model&>(model) : extractor;
      const Tensor y = asked.PredictOne(x, {.batch_size = t == 1 ? 4 : 32});
      size_t step = last;
      while (step < after.size() && !BitEqual(after[step], y)) ++step;
      if (step == after.size()) {
        ++wrong;
        continue;
      }
      distinct += step != last;
      last = step;
    }
    wrong += last != kSteps;
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(distinct, 0);
  EXPECT_TRUE(BitEqual(model.PredictOne(x), after.back()));
}

// Fit gives the weights it gives alone, and those who look on don't change them; averages take the weights' place within
// a step.
TEST_P(Threads, FitIsNotDisturbed) {
  const Examples data = SmallBatch(40);
  const auto train = [&](bool watched) {
    Sequential model = SmallModel({.seed = 7, .runtime = &TestRuntime(GetParam(), 2)});
    model.Compile({.optimizer = SGD({.learning_rate = 0.05, .momentum = 0.9, .use_ema = true, .ema_overwrite_frequency = 3}),
                   .loss = "sparse_categorical_crossentropy",
                   .metrics = "acc"});
    std::atomic<bool> done{false};
    std::vector<std::thread> watchers;
    for (int t = 0; watched && t < 2; ++t) {
      watchers.emplace_back([&, t] {
        TapHandle tap = model.Tap("conv2d/pre_activation");
        while (!done) {
          if (t == 0) model.Evaluate(data, {.batch_size = 8});
          if (t == 1) model.PredictOne(data.x[0], {.taps = {"**/kernel"}});
          for (const TapReading& reading : tap.readings()) ASSERT_GT(reading.value.size(), 0);
          for (const Variable& weight : model.weights()) weight.value();
          model.iterations();
        }
      });
    }
    model.Fit(data, {.batch_size = 8, .epochs = 4, .verbose = 0, .validation_split = 0.2});
    done = true;
    for (std::thread& watcher : watchers) watcher.join();
    return model;
  };
  EXPECT_TRUE(SameWeights(train(false), train(true)));
}

TEST_P(Threads, TapsOfACallAreThatCalls) {
  const Sequential model = CompiledSmall(GetParam());
  std::vector<Tensor> x, right;
  for (int t = 0; t < kThreads; ++t) {
    x.push_back(UniformTensor({2, 8, 8, 3}, static_cast<uint32_t>(t)));
    model.Predict(x.back(), {.taps = {{"conv2d/pre_activation", {.receive = [&](const TapReading& reading) {
                                         right.push_back(reading.value);
                                       }}}}});
  }
  std::atomic<int> wrong{0};
  OnThreads(kThreads, [&](int t) {
    for (int i = 0; i < 40; ++i) {
      model.Predict(x[static_cast<size_t>(t)],
                    {.taps = {{"conv2d/pre_activation", {.receive = [&](const TapReading& reading) {
                                 wrong += !BitEqual(reading.value, right[static_cast<size_t>(t)]);
                               }}}}});
    }
  });
  EXPECT_EQ(wrong, 0);
}

// Whoever comes first builds the model, draws its weights and records its programs; the others wait, and all get the
// same.
TEST_P(Threads, FirstUseOfAModel) {
  const Tensor x = UniformTensor({3, 8, 8, 3}, 5);
  const auto make = [&] {
    return Sequential({Conv2D({.filters = 4, .kernel_size = 3, .activation = "relu"}), Flatten(), Dense({.units = 6})},
                      {.seed = 9, .runtime = &TestRuntime(GetParam(), 2)});
  };
  const Tensor right = make().PredictOne(x);
  for (int round = 0; round < 5; ++round) {
    const Sequential model = make();
    std::atomic<int> wrong{0};
    OnThreads(kThreads, [&](int) { wrong += !BitEqual(model.PredictOne(x), right); });
    EXPECT_EQ(wrong, 0);
  }
}

TEST_P(Threads, ModelsAreDescribedBesideOneAnother) {
  const Sequential model = CompiledSmall(GetParam());
  const Tensor x = UniformTensor({2, 8, 8, 3}, 5);
  const Tensor right = model.PredictOne(x);
  std::atomic<int> wrong{0};
  OnThreads(kThreads, [&](int) {
    for (int i = 0; i < 10; ++i) {
      const Model extractor(model.inputs(), OutputsOf(model.layers()));
      wrong += !BitEqual(extractor.Predict(x).back(), right);
      const SymbolicTensor input = Input({8, 8, 3});
      const Model nested(input, Dense({.units = 2})(model(input)), {.runtime = &TestRuntime(GetParam(), 2)});
      wrong += nested.PredictOne(x).shape() != Shape({2, 2});
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_P(Threads, ModelsTrainBesideOneAnother) {
  const Examples data = SmallBatch(12);
  const auto train = [&] {
    const Sequential model = CompiledSmall(GetParam());
    model.Fit(data, {.batch_size = 5, .epochs = 3, .verbose = 0, .handle_interrupt = false});
    return model;
  };
  const Model right = train();
  std::atomic<int> wrong{0};
  OnThreads(kThreads, [&](int) { wrong += !SameWeights(train(), right); });
  EXPECT_EQ(wrong, 0);
}

TEST_P(Threads, OneThreadTrainsAModelAtATime) {
  const Sequential model = CompiledSmall(GetParam());
  const Examples data = SmallBatch(4);
  OnThreads(2, [&](int) {
    for (int i = 0; i < 10; ++i) model.TrainOnBatch(data);
  });
  EXPECT_EQ(model.iterations(), 20);
  std::string told, told_in_fit;
  const auto look = LambdaCallback({.on_epoch_end = [&](FitContext&, int64_t, Logs&) {
    model.TrainOnBatch(data);  // this thread's own turn
    std::thread([&] {
      try {
        model.Fit(data, {.verbose = 0});
      } catch (const Error& error) {
        told = error.what();
      }
      try {
        model.TrainOnBatch(data);
      } catch (const Error& error) {
        told_in_fit = error.what();
      }
    }).join();
  }});
  model.Fit(data, {.verbose = 0, .callbacks = {look}});
  EXPECT_EQ(model.iterations(), 22);
  EXPECT_NE(told.find("Fit: model \"sequential\" is being trained by Fit in another thread"), std::string::npos) << told;
  EXPECT_NE(told_in_fit.find("TrainOnBatch: model \"sequential\" is being"), std::string::npos) << told_in_fit;
}

INSTANTIATE_TEST_SUITE_P(Backends, Threads, testing::ValuesIn(BackendNames()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace weir
