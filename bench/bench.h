// What the benchmarks share: runtimes to compare, and how work is turned into GFLOP/s, GB/s and shares of the peak.
#ifndef WEIR_BENCH_BENCH_H_
#define WEIR_BENCH_BENCH_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include "benchmark/benchmark.h"
#include "weir/core/machine_peak.h"
#include "weir/core/runtime.h"

namespace weir::bench {

struct NamedRuntime {
  std::string name;
  Runtime* runtime = nullptr;

  // The arbiter of results takes its time: once is enough to see how much.
  bool slow() const { return name == "reference"; }
};

struct Work {
  double flops = 0;  // an iteration
  double bytes = 0;
};

// Runs the benchmark's loop over `body` and adds the counters GFLOP/s, GB/s and the shares of the machine's peaks.
template <class F>
void Measure(benchmark::State& state, const Work& work, const MachinePeak& peak, F&& body) {
  const auto begin = std::chrono::steady_clock::now();
  for (auto _ : state) body();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() /
                         static_cast<double>(std::max<int64_t>(1, static_cast<int64_t>(state.iterations())));
  if (work.flops > 0) {
    state.counters["GFLOP/s"] = work.flops / seconds * 1e-9;
    state.counters["%peak"] = 100 * work.flops / seconds / peak.flops;
  }
  if (work.bytes > 0) {
    state.counters["GB/s"] = work.bytes / seconds * 1e-9;
    state.counters["%triad"] = 100 * work.bytes / seconds / peak.triad_bytes;
  }
}

// "bench_conv/...": every op case marked for benchmarks.
void RegisterOpBenchmarks(std::span<const NamedRuntime> runtimes, const MachinePeak& peak);
// "model/...": the tutorial model's training step and inference.
void RegisterModelBenchmarks(std::span<const NamedRuntime> runtimes, const MachinePeak& peak);
// "compile/...": compiling the training step, with and without the object cache.
void RegisterCompileBenchmarks(std::span<const NamedRuntime> runtimes);

}  // namespace weir::bench

#endif  // WEIR_BENCH_BENCH_H_
