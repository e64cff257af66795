// Child processes made by fork(), and threads that can't be had.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <thread>

#include "frontend_test_util.h"
#include "sanitized.h"

namespace {
// Set in a child made while another thread was at work: what that thread held is nobody's there.
bool leaks_are_expected = false;
}  // namespace

// The leak sanitizer asks for it before it looks.
extern "C" int __lsan_is_turned_off() { return leaks_are_expected ? 1 : 0; }

namespace weir {
namespace {

// What became of a child that ran `body` and exits with what it returns: its exit code, or -1 if it was killed or hung.
int RunChild(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    int code = 99;
    try {
      code = body();
    } catch (const Error& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
      code = error.code() == absl::StatusCode::kFailedPrecondition ? 42 : 98;
    }
    exit(code);  // with all destructors of static objects
  }
  int status = 0;
  for (int i = 0; i < 3000; ++i) {
    if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return -1;
}

Sequential Small(Runtime& runtime) {
  Sequential model = SmallModel({.seed = 7, .runtime = &runtime});
  model.Compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy"});
  return model;
}

class Fork : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "the thread sanitizer ends children that start threads";
#endif
  }
};

TEST_P(Fork, ChildPredictsTrainsAndExits) {
  const Sequential model = Small(TestRuntime(GetParam(), 4));
  const Tensor x = UniformTensor({16, 8, 8, 3}, 1);
  const Tensor right = model.PredictOne(x);
  for (int round = 0; round < 10; ++round) {
    model.PredictOne(x);  // workers are awake, or about to sleep
    EXPECT_EQ(RunChild([&] {
                if (!BitEqual(model.PredictOne(x), right)) return 1;
                if (!BitEqual(model.PredictOne(x, {.batch_size = 3}), right)) return 2;  // compiled in the child
                model.TrainOnBatch({x, Labels(16, 5)});
                return BitEqual(model.PredictOne(x), right) ? 3 : 0;
              }),
              0);
    EXPECT_TRUE(BitEqual(model.PredictOne(x), right));
  }
}

TEST_P(Fork, ChildThatOnlyExits) {
  const Sequential model = Small(TestRuntime(GetParam(), 4));
  model.PredictOne(UniformTensor({16, 8, 8, 3}, 1));
  for (int round = 0; round < 5; ++round) EXPECT_EQ(RunChild([] { return 0; }), 0);
}

TEST_P(Fork, ChildOfACallback) {
  const Sequential model = Small(TestRuntime(GetParam(), 2));
  int code = -2;
  const auto forks = LambdaCallback({.on_epoch_end = [&](FitContext&, int64_t, Logs&) {
    code = RunChild([&] { return model.PredictOne(UniformTensor({2, 8, 8, 3}, 1)).size() == 10 ? 0 : 1; });
  }});
  model.Fit({UniformTensor({4, 8, 8, 3}, 1), Labels(4, 5)}, {.verbose = 0, .callbacks = {forks}});
  EXPECT_EQ(code, 0);
}

// What another thread was in the middle of stays half done in the child: it gets an error, and never hangs.
TEST_P(Fork, BesideAnotherThreadsTraining) {
  const Sequential model = Small(TestRuntime(GetParam(), 2));
  const Tensor x = UniformTensor({16, 8, 8, 3}, 1);
  const Examples data(x, Labels(16, 5));
  std::atomic<bool> done{false}, begun{false};
  std::thread trains([&] {
    const auto note = LambdaCallback({.on_batch_end = [&](FitContext& fit, int64_t, const Logs&) {
      begun = true;
      if (done) fit.StopTraining();
    }});
    model.Fit(data, {.batch_size = 4, .epochs = 1'000'000, .verbose = 0, .callbacks = {note}, .handle_interrupt = false});
  });
  while (!begun) std::this_thread::yield();
  const Sequential other = Small(TestRuntime(GetParam(), 2));
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(RunChild([&] {
                leaks_are_expected = true;
                return other.PredictOne(x).size() == 0 ? 1 : 0;
              }),
              42);
    EXPECT_EQ(RunChild([&] {
                leaks_are_expected = true;
                return model.weights()[0].value().size() == 0 ? 1 : 0;
              }),
              42);
  }
  done = true;
  trains.join();
}

// Making a weight's first value is work of the library's, too.
TEST_P(Fork, WhileAnotherThreadMakesAWeight) {
  std::atomic<bool> begun{false}, done{false};
  const Initializer slow("slow", [&](const Shape& shape, RandomStream&) {
    begun = true;
    while (!done) std::this_thread::yield();
    return Tensor(DType::kFloat32, shape);
  });
  const Sequential model({Dense(2, {.kernel_initializer = slow, .input_shape = {3}})},
                         {.runtime = &TestRuntime(GetParam(), 2)});
  std::thread reads([&] { model.weights()[0].value(); });
  while (!begun) std::this_thread::yield();
  EXPECT_EQ(RunChild([&] {
              leaks_are_expected = true;
              return model.weights()[0].value().size() == 0 ? 1 : 0;
            }),
            42);
  done = true;
  reads.join();
}

INSTANTIATE_TEST_SUITE_P(Backends, Fork, testing::ValuesIn(BackendNames()), [](const auto& info) { return info.param; });

TEST(ThreadLimits, NonsenseIsRefused) {
  for (int threads : {-1, kMaxThreads + 1, 1'000'000}) {
    const auto made = MakeRuntime({.backend = "reference", .threads = threads});
    ASSERT_FALSE(made.ok());
    EXPECT_NE(made.status().message().find(std::to_string(threads)), std::string::npos) << made.status();
    EXPECT_NE(made.status().message().find("4096"), std::string::npos) << made.status();
  }
  for (const char* text : {"0", "-1", "abc", "4x", "1e3", "1000000", "99999999999999999999"}) {
    setenv("WEIR_THREADS", text, 1);
    const auto made = MakeRuntime({.backend = "reference"});
    ASSERT_FALSE(made.ok()) << text;
    EXPECT_EQ(made.status().message(), StrCat("WEIR_THREADS=", text, ": expected a number of threads, 1 to 4096"));
  }
  unsetenv("WEIR_THREADS");
  EXPECT_THROW(ThreadPool(1'000'000), Error);
}

// Address space for a few stacks only: the work is done by the threads there are.
TEST(ThreadLimits, FewerThreadsDoTheWork) {
  if (kSanitized) GTEST_SKIP() << "sanitizers need the address space";
  EXPECT_EQ(RunChild([] {
              int64_t pages = 0;
              std::ifstream("/proc/self/statm") >> pages;
              rlimit limit{};
              getrlimit(RLIMIT_AS, &limit);
              limit.rlim_cur = static_cast<rlim_t>(pages * 4096 + (int64_t{40} << 20));
              if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
              testing::internal::CaptureStderr();
              ThreadPool pool(64);
              std::atomic<int64_t> sum{0};
              for (int i = 0; i < 10; ++i) pool.ParallelFor(1000, [&](int64_t task, int) { sum += task; });
              const std::string told = testing::internal::GetCapturedStderr();
              if (sum != 10 * 999 * 500) return 2;
              // Once, with both numbers.
              if (told.find(" of 64 threads could be started") == std::string::npos) return 3;
              if (told.find("weir:", 10) != std::string::npos) return 4;
              return told.find("ulimit -u") != std::string::npos ? 0 : 5;
            }),
            0);
}

}  // namespace
}  // namespace weir
