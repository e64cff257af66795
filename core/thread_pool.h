// A pool of worker threads for the stages of a plan. A job is `tasks` independent calls. Each thread begins with its own
// part of them, neighbours, so that it finds in its caches what it left there a stage before; whoever is done helps the
// others. So a task must not depend on which thread runs it. A worker that comes when all tasks are taken, because it
// slept or has no processor, is not waited for. With one thread no thread is ever started. Waiting workers spin for some
// microseconds and then sleep, so an idle pool costs nothing. In a child process made by fork the workers are started anew.
#ifndef WEIR_CORE_THREAD_POOL_H_
#define WEIR_CORE_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace weir {

// min(CPUs this process may run on, cgroup quota rounded up), at least 1.
int DefaultThreads();

// More than this is a mistake, not a machine.
inline constexpr int kMaxThreads = 4096;

class ThreadPool {
 public:
  // 0: DefaultThreads(). The calling thread counts as one, so threads - 1 are started. Where the system gives fewer, a
  // warning says how many of how many and what the limits are, and those do the work. Throws Error above kMaxThreads.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // The way each thread goes through its part. A stage that goes the other way than the one before it meets first what
  // that one touched last, which is what its caches still hold.
  enum class Order { kForward, kBackward };

  // run(context, task, worker) for every task in [0, tasks), worker in [0, threads()); returns when all are done.
  // Several threads may call it at once: one gets the workers, the others run their tasks themselves as worker 0.
  using TaskFn = void (*)(void* context, int64_t task, int worker) noexcept;
  void Run(int64_t tasks, TaskFn run, void* context, Order order = Order::kForward);

  template <class F>
  void ParallelFor(int64_t tasks, F&& body, Order order = Order::kForward) {
    Run(tasks, [](void* context, int64_t task, int worker) noexcept { (*static_cast<std::remove_reference_t<F>*>(context))(task, worker); },
        const_cast<void*>(static_cast<const void*>(&body)), order);
  }

 private:
  void WorkerLoop(int worker);
  void RunTasks(int worker);
  void StartWorkers();
  void ForgetWorkers();

  const int threads_;
  std::vector<std::thread> workers_;
  bool started_ = false;         // if all could be
  uint64_t fork_generation_ = 0;  // of the process that has the workers
  std::mutex owner_;        // held by the caller whose job the workers run

  // The job: written by its owner while nobody is behind the gate, read by workers that have found it open.
  alignas(64) TaskFn run_ = nullptr;
  void* context_ = nullptr;
  Order order_ = Order::kForward;
  struct alignas(64) Part {
    std::atomic<int64_t> taken{0};
    int64_t begin = 0, end = 0;
  };
  std::vector<Part> parts_;  // of the tasks, one a thread
  // Number of the job, whether it is closed to workers that come late, and how many are inside.
  alignas(64) std::atomic<uint64_t> gate_;
  alignas(64) std::atomic<bool> stop_{false};
  std::atomic<int> sleeping_{0};
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
};

}  // namespace weir

#endif  // WEIR_CORE_THREAD_POOL_H_
