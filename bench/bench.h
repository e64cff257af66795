// What the benchmarks share: runtimes to compare, and how work is turned into GFLOP/s, GB/s and shares of the peak.
#ifndef WEIR_BENCH_BENCH_H_
#define WEIR_BENCH_BENCH_H_

#include <span>
#include <string>

#include "benchmark/benchmark.h"
#include "weir/bench/machine_peak.h"
#include "weir/core/runtime.h"

namespace weir::bench {

struct NamedRuntime {
  std::string name;
  Runtime* runtime = nullptr;
};

struct Work {
  double flops = 0;  // an iteration
  double bytes = 0;
};

// Adds the counters GFLOP/s, GB/s and the shares of the machine's peak to a finished loop.
void Report(benchmark::State& state, const Work& work, const MachinePeak& peak);

// "bench_conv/...": every op case marked for benchmarks.
void RegisterOpBenchmarks(std::span<const NamedRuntime> runtimes, const MachinePeak& peak);
// "model/...": the tutorial model's training step and inference.
void RegisterModelBenchmarks(std::span<const NamedRuntime> runtimes, const MachinePeak& peak);

}  // namespace weir::bench

#endif  // WEIR_BENCH_BENCH_H_
