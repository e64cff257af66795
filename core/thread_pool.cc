#include "weir/core/thread_pool.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <new>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/float_state.h"
#include "weir/core/fork_guard.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace weir {
namespace {

// The gate: workers inside, whether it is closed, and the number of the job above.
constexpr uint64_t kClosed = uint64_t{1} << 31, kInside = kClosed - 1, kNextJob = uint64_t{1} << 32;

// How long a worker looks for the next stage of a plan before it sleeps: longer than the gap between two stages of a
// step, short against anything a user would notice.
constexpr std::chrono::microseconds kSpin{50};

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// Moves thread `worker` of `threads` away from processor `maker` if it is there, and leaves it free to move on. The
// system may start a thread where its maker runs, and take tens of milliseconds to find that another processor idles.
void MoveApart(int maker, int worker, int threads) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (maker < 0 || sched_getcpu() != maker || sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  std::vector<size_t> cpus;  // from the maker's on
  for (size_t i = 0; i < CPU_SETSIZE; ++i) {
    if (const size_t cpu = (static_cast<size_t>(maker) + i) % CPU_SETSIZE; CPU_ISSET(cpu, &allowed))
      cpus.push_back(cpu);
  }
  // Spread, so that two threads are not two halves of a core.
  const size_t step = std::max<size_t>(1, cpus.size() / static_cast<size_t>(threads));
  if (cpus.size() < 2) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpus[static_cast<size_t>(worker) * step % cpus.size()], &one);
  if (sched_setaffinity(0, sizeof(one), &one) == 0) sched_setaffinity(0, sizeof(allowed), &allowed);
}

int CheckedThreads(int threads) {
  if (threads <= kMaxThreads) return threads;
  ThrowInvalidArgument("a pool of ", threads, " threads: expected at most ", kMaxThreads);
}

// What the system allows, as far as it says so.
std::string ThreadLimits() {
  const auto text = [](const std::string& value) { return value.empty() ? "unknown" : value; };
  std::string user = "unlimited", group;
  rlimit limit{};
  if (getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) user = std::to_string(limit.rlim_cur);
  std::ifstream("/sys/fs/cgroup/pids.max") >> group;
  std::string memory = "unlimited";
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) memory = HumanBytes(limit.rlim_cur);
  return StrCat("limits: ", user, " threads of this user (ulimit -u), ", text(group), " of this cgroup (pids.max), ",
                memory, " of address space (ulimit -v)");
}

// CPUs of the cgroup quota (version 2, then 1), or 0 if there is none.
double CgroupCpus() {
  double quota = -1, period = 0;
  if (std::ifstream file("/sys/fs/cgroup/cpu.max"); file) {
    std::string text;
    file >> text >> period;
    if (text == "max" || period <= 0) return 0;
    std::istringstream(text) >> quota;
  } else {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

}  // namespace

int DefaultThreads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cpus = CPU_COUNT(&set);
  if (const double quota = CgroupCpus(); quota > 0) cpus = std::min(cpus, static_cast<int>(std::ceil(quota)));
  return std::max(1, cpus);
}

ThreadPool::ThreadPool(int threads)
    : threads_(CheckedThreads(threads > 0 ? threads : DefaultThreads())),
      parts_(static_cast<size_t>(threads_)),
      gate_(kClosed) {}

ThreadPool::~ThreadPool() {
  if (started_ && fork_generation_ != ForkGeneration()) ForgetWorkers();
  {
    std::lock_guard lock(sleep_mutex_);
    stop_.store(true, std::memory_order_seq_cst);
    gate_.fetch_add(kNextJob, std::memory_order_seq_cst);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// Workers start with the first job that can use them, so a program that never computes has none.
void ThreadPool::StartWorkers() {
  if (started_ && fork_generation_ != ForkGeneration()) ForgetWorkers();
  if (started_) return;
  started_ = true;
  fork_generation_ = ForkGeneration();
  const int cpu = sched_getcpu();
  try {
    for (int worker = 1; worker < threads_; ++worker) {
      workers_.emplace_back([this, worker, cpu] {
        MoveApart(cpu, worker, threads_);
        WorkerLoop(worker);
      });
    }
  } catch (const std::system_error& error) {
    const std::string text = StrCat("weir: ", workers_.size() + 1, " of ", threads_, " threads could be started (",
                                    error.code().message(), "; ", ThreadLimits(), "): going on with these\n");
    std::fputs(text.c_str(), stderr);
  }
}

// In a child process: the workers stayed behind in the parent, some of them asleep or about to be. Handles and what they
// wait with are left alone for ever, since waiting for them to end, or for sleepers to leave, would never end.
void ThreadPool::ForgetWorkers() {
  static std::vector<std::vector<std::thread>>& left_behind = *new std::vector<std::vector<std::thread>>;
  left_behind.push_back(std::move(workers_));
  workers_.clear();
  started_ = false;
  new (&sleep_mutex_) std::mutex;
  new (&wake_) std::condition_variable;
  sleeping_.store(0, std::memory_order_relaxed);
  gate_.store(kClosed, std::memory_order_relaxed);
}

void ThreadPool::RunTasks(int worker) {
  for (size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[(static_cast<size_t>(worker) + i) % parts_.size()];
    const int64_t tasks = part.end - part.begin;
    for (int64_t t = part.taken.fetch_add(1, std::memory_order_relaxed); t < tasks;
         t = part.taken.fetch_add(1, std::memory_order_relaxed)) {
      run_(context_, order_ == Order::kForward ? part.begin + t : part.end - 1 - t, worker);
    }
  }
}

void ThreadPool::Run(int64_t tasks, TaskFn run, void* context, Order order) {
  if (tasks <= 0) return;
  std::unique_lock owner(owner_, std::defer_lock);
  if (threads_ == 1 || tasks == 1 || !owner.try_lock()) {
    for (int64_t t = 0; t < tasks; ++t) run(context, order == Order::kForward ? t : tasks - 1 - t, 0);
    return;
  }
  StartWorkers();
  run_ = run;
  context_ = context;
  order_ = order;
  for (int64_t i = 0; i < threads_; ++i) {
    Part& part = parts_[static_cast<size_t>(i)];
    part.taken.store(0, std::memory_order_relaxed);
    part.begin = tasks * i / threads_;
    part.end = tasks * (i + 1) / threads_;
  }
  gate_.fetch_add(kNextJob - kClosed, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) > 0) {
    { std::lock_guard lock(sleep_mutex_); }
    wake_.notify_all();
  }
  RunTasks(0);
  // All tasks are taken: whoever comes now is too late, and need not be waited for.
  uint64_t gate = gate_.fetch_or(kClosed, std::memory_order_acquire);
  for (int spins = 0; (gate & kInside) != 0; ++spins) {
    if (spins < 4000) {
      Pause();
    } else {
      std::this_thread::yield();
    }
    gate = gate_.load(std::memory_order_acquire);
  }
}

void ThreadPool::WorkerLoop(int worker) {
  const ScopedFloatState state(ScopedFloatState::Subnormals::kFlushed);
  uint64_t seen = 0;
  const auto waits = [&](std::memory_order order) { return gate_.load(order) / kNextJob == seen; };
  while (true) {
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    while (waits(std::memory_order_acquire)) {
      for (int i = 0; i < 64 && waits(std::memory_order_acquire); ++i) Pause();
      if (!waits(std::memory_order_acquire) || std::chrono::steady_clock::now() < deadline) continue;
      std::unique_lock lock(sleep_mutex_);
      sleeping_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] { return !waits(std::memory_order_seq_cst); });
      sleeping_.fetch_sub(1, std::memory_order_seq_cst);
    }
    const uint64_t gate = gate_.fetch_add(1, std::memory_order_acquire);
    seen = gate / kNextJob;
    if (stop_.load(std::memory_order_acquire)) return;
    if ((gate & kClosed) == 0) RunTasks(worker);
    gate_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace weir
