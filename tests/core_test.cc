// Data types, strings, thread pool, plan cache and profiler: core without ops.
#include <gtest/gtest.h>

#include <sched.h>
#include <time.h>

#include <atomic>
#include <cfloat>
#include <filesystem>
#include <memory>
#include <thread>

#include "weir/core/error.h"
#include "weir/core/plan_cache.h"
#include "weir/core/profiler.h"
#include "weir/core/rng.h"
#include "weir/core/tensor.h"
#include "weir/core/float_state.h"
#include "weir/core/thread_pool.h"

namespace weir {
namespace {

TEST(Shape, CountsIn64Bits) {
  EXPECT_EQ((Shape{46341, 46341, 1, 1}).size(), int64_t{2147488281});
  const Shape large{46342, 46341, 2};
  EXPECT_EQ(large.Strides()[0], 92682);
  EXPECT_EQ(large.size(), int64_t{46342} * 46341 * 2);
}

TEST(Shape, RefusesWhatDoesNotFit63Bits) {
  EXPECT_THROW((Shape{4194305, 4194305, 211106198978564}), Error);
  EXPECT_THROW((Shape{int64_t{1} << 32, int64_t{1} << 32}), Error);
  EXPECT_THROW((Shape{int64_t{1} << 62, 0, int64_t{1} << 62}), Error);
  EXPECT_THROW((Shape{3, -1}), Error);
  EXPECT_EQ((Shape{int64_t{1} << 40, 0}).size(), 0);
}

TEST(Shape, Broadcasts) {
  EXPECT_EQ(BroadcastShapes({8, 1, 3}, {5, 1}, "Add"), (Shape{8, 5, 3}));
  EXPECT_EQ(BroadcastShapes({}, {2, 2}, "Add"), (Shape{2, 2}));
  EXPECT_EQ(BroadcastShapes({0, 1}, {1, 4}, "Add"), (Shape{0, 4}));
  try {
    BroadcastShapes({8, 2}, {3}, "Add");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "Add: shapes [8,2] and [3] do not broadcast (2 against 3 on axis -1)");
  }
}

TEST(DType, Promotes) {
  EXPECT_EQ(Promote(DType::kUint8, DType::kFloat32), DType::kFloat32);
  EXPECT_EQ(Promote(DType::kUint8, DType::kInt32), DType::kInt32);
  EXPECT_EQ(Promote(DType::kBool, DType::kUint8), DType::kUint8);
  EXPECT_THROW(ParseDType("flot32"), Error);
  EXPECT_EQ(ParseDType("float32"), DType::kFloat32);
}

TEST(Tensor, SharesAndViews) {
  const Tensor a = Tensor::Of<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(a[1].shape(), (Shape{3}));
  EXPECT_EQ(a[1].at<float>({2}), 5);
  EXPECT_EQ(a.Reshaped({3, -1}).shape(), (Shape{3, 2}));
  EXPECT_EQ(a.Rows(1, 2).at<float>({0, 0}), 3);
  EXPECT_THROW(a.Reshaped({4, 2}), Error);
  EXPECT_THROW(a.data<int32_t>(), Error);
  EXPECT_THROW(a.at<float>({2, 0}), Error);
  EXPECT_TRUE(BitEqual(a.Cast(DType::kFloat64).Cast(DType::kFloat32), a));
  Tensor b = a;
  b.data<float>()[0] = 7;
  EXPECT_EQ(a.at<float>({0, 0}), 7);  // copies share
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.raw()) % 64, 0u);
}

TEST(Tensor, RefusesImpossibleMemory) {
  EXPECT_THROW(Tensor(DType::kFloat32, Shape{int64_t{1} << 45}), Error);
}

TEST(Strings, Globs) {
  EXPECT_TRUE(GlobMatch("conv2d*", "conv2d_1"));
  EXPECT_FALSE(GlobMatch("conv2d*", "conv2d/kernel"));
  EXPECT_TRUE(GlobMatch("**/conv2d*/pre_activation", "sequential/block/conv2d_1/pre_activation"));
  EXPECT_TRUE(GlobMatch("**/conv2d", "conv2d"));
  EXPECT_FALSE(GlobMatch("**/conv2d", "xconv2d"));
  EXPECT_TRUE(GlobMatch("**", "a/b/c"));
  EXPECT_TRUE(GlobMatch("dense_?", "dense_1"));
  EXPECT_FALSE(GlobMatch("dense_?", "dense_"));
}

TEST(Strings, NamesTheNearest) {
  const std::vector<std::string> known{"elu", "relu", "sigmoid"};
  EXPECT_EQ(UnknownNameMessage("activation", "rellu", known),
            "unknown activation 'rellu' (did you mean 'relu'?); known: elu, relu, sigmoid");
  EXPECT_EQ(UnknownNameMessage("activation", "conv2d", known), "unknown activation 'conv2d'; known: elu, relu, sigmoid");
}

TEST(Strings, Numbers) {
  EXPECT_EQ(WithThousandsCommas(4210090), "4,210,090");
  EXPECT_EQ(WithThousandsCommas(-1234), "-1,234");
  EXPECT_EQ(WithThousandsCommas(999), "999");
  EXPECT_EQ(HumanBytes(16840360), "16.06 MB");
}

// The published vectors of Philox4x32-10 (Random123, kat_vectors).
TEST(Random, IsPhilox) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}), (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, StreamsDiffer) {
  RandomStream a(1, 0), b(1, 1), again(1, 0);
  EXPECT_NE(a.Bits(), b.Bits());
  EXPECT_NE(a.Bits(), a.Bits());
  EXPECT_EQ(again.Bits(), RandomStream(1, 0).Bits());
  double sum = 0, squares = 0;
  RandomStream normal(3, 0);
  for (int i = 0; i < 20000; ++i) {
    const double x = normal.Normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / 20000, 0, 0.03);
  EXPECT_NEAR(squares / 20000, 1, 0.05);
}

int ThreadsOfProcess() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (int64_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      for (int repeat = 0; repeat < 20; ++repeat) {
        const auto order = repeat % 2 == 0 ? ThreadPool::Order::kForward : ThreadPool::Order::kBackward;
        const auto count = [&](int64_t task, int worker) {
          EXPECT_LT(worker, threads);
          runs[static_cast<size_t>(task)].fetch_add(1);
        };
        pool.ParallelFor(tasks, count, order);
      }
      for (const auto& count : runs) EXPECT_EQ(count.load(), 20);
    }
  }
}

TEST(ThreadPool, GoesBackward) {
  for (int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<std::vector<int64_t>> seen(static_cast<size_t>(threads));
    const auto note = [&](int64_t task, int worker) { seen[static_cast<size_t>(worker)].push_back(task); };
    pool.ParallelFor(60, note, ThreadPool::Order::kBackward);
    if (threads == 1) {
      ASSERT_EQ(seen[0].size(), 60u);
      EXPECT_EQ(seen[0].front(), 59);
    }
    // Within each part the tasks that a worker got descend.
    for (const auto& tasks : seen) {
      for (size_t i = 1; i < tasks.size(); ++i) {
        if (tasks[i] * threads / 60 == tasks[i - 1] * threads / 60) {
          EXPECT_LT(tasks[i], tasks[i - 1]);
        }
      }
    }
  }
}

TEST(ThreadPool, OneThreadStartsNone) {
  const int before = ThreadsOfProcess();
  ThreadPool pool(1);
  std::atomic<int> most{0};
  pool.ParallelFor(100, [&](int64_t, int) { most = std::max(most.load(), ThreadsOfProcess()); });
  EXPECT_EQ(most.load(), before);
  ThreadPool unused(8);
  EXPECT_EQ(ThreadsOfProcess(), before) << "a pool that computed nothing has started threads";
}

TEST(ThreadPool, SeveralCallersAtOnce) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 200; ++repeat) pool.ParallelFor(16, [&](int64_t task, int) { sum += task; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 4 * 200 * 120);
}

// More workers than processors: many come when a job is over, or the next one has begun.
TEST(ThreadPool, LateWorkersMeetNoJobThatIsOver) {
  ThreadPool pool(8);
  for (int64_t job = 0; job < 3000; ++job) {
    const int64_t tasks = 2 + job % 9;
    auto sum = std::make_unique<std::atomic<int64_t>>(0);
    const auto add = [&sum, job](int64_t task, int) { *sum += job + task; };
    pool.ParallelFor(tasks, add);
    ASSERT_EQ(sum->load(), tasks * job + tasks * (tasks - 1) / 2);
    if (job % 500 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

// They may be moved as they start, but are not held there.
TEST(ThreadPool, WorkersMayRunWhereTheirMakerMay) {
  const auto allowed = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    EXPECT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    return set;
  };
  const cpu_set_t own = allowed();
  ThreadPool pool(3);
  std::atomic<int> seen = 0;  // bit by thread
  for (int job = 0; job < 1000 && seen != 7; ++job) {
    pool.ParallelFor(6, [&](int64_t, int worker) {
      const cpu_set_t set = allowed();
      EXPECT_TRUE(CPU_EQUAL(&set, &own));
      seen |= 1 << worker;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    });
  }
  EXPECT_EQ(seen, 7);
}

TEST(ThreadPool, IdleCostsNothing) {
  ThreadPool pool(4);
  pool.ParallelFor(64, [](int64_t, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto cpu = [] {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  const double before = cpu();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LT(cpu() - before, 0.01 * 0.5 + 0.002);
}

TEST(ThreadPool, DefaultRespectsAffinity) {
  std::atomic<int> threads{0};
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    threads = DefaultThreads();
  }).join();
  EXPECT_EQ(threads.load(), 1);
}

TEST(ThreadPool, FlushesDenormalsAndRestoresTheHost) {
  volatile float tiny = FLT_MIN;
  {
    const ScopedFloatState state(ScopedFloatState::Subnormals::kFlushed);
    EXPECT_EQ(tiny * 0.5f, 0.0f);
  }
  EXPECT_GT(tiny * 0.5f, 0.0f);
  ThreadPool pool(2);
  std::atomic<int> denormals_in_worker{0};
  for (int repeat = 0; repeat < 50; ++repeat) {
    pool.ParallelFor(8, [&](int64_t, int worker) {
      if (worker != 0 && tiny * 0.5f > 0.0f) ++denormals_in_worker;
    });
  }
  EXPECT_EQ(denormals_in_worker.load(), 0);
}

TEST(PlanCache, DropsTheOneUnusedForLongest) {
  PlanCache cache(2);
  const auto make = [] { return std::make_shared<const Executable>(Plan{}, CompileOptions{}); };
  cache.Insert({1, 1}, make());
  cache.Insert({2, 2}, make());
  EXPECT_NE(cache.Find({1, 1}), nullptr);
  cache.Insert({3, 3}, make());
  EXPECT_EQ(cache.Find({2, 2}), nullptr);
  EXPECT_NE(cache.Find({1, 1}), nullptr);
  EXPECT_NE(cache.Find({3, 3}), nullptr);
  EXPECT_EQ(cache.size(), 2u);
}

TEST(Profiler, TableAndTrace) {
  Profiler profiler;
  profiler.Record({.layer = "sequential/conv2d", .ops = "conv+relu", .backend = "highway", .kernel = "direct \"8x2\"",
                   .source = "a.cc:3", .backward = false, .flops = 2e9, .bytes = 1e6, .begin = {},
                   .duration = std::chrono::milliseconds(10)});
  const std::string table = profiler.Table();
  EXPECT_NE(table.find("sequential/conv2d"), std::string::npos);
  EXPECT_NE(table.find("200.00"), std::string::npos) << table;  // GFLOP/s
  const std::string trace = profiler.ChromeTrace();
  EXPECT_NE(trace.find("\"dur\":10000.000"), std::string::npos) << trace;
  EXPECT_NE(trace.find("direct \\\"8x2\\\""), std::string::npos);
}

}  // namespace
}  // namespace weir
