// weir_bench: measures the machine's peak, then every op case marked for benchmarks and the tutorial model, on each
// backend side by side. Flags are Google Benchmark's (--benchmark_filter, --benchmark_out, ...) and --threads=N.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"
#include "weir/bench/bench.h"
#include "weir/frontend/session.h"

int main(int argc, char** argv) {
  using namespace weir;
  benchmark::Initialize(&argc, argv);
  int threads = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--threads=", 10) == 0) {
      threads = std::atoi(argv[i] + 10);
    } else {
      std::cerr << "weir_bench: unknown argument " << argv[i] << "\n";
      return 2;
    }
  }
  std::vector<std::unique_ptr<Runtime>> runtimes;
  std::vector<bench::NamedRuntime> named;
  for (const std::string& name : BackendNames()) {
    auto runtime = MakeRuntime({.backend = name, .threads = threads});
    if (!runtime.ok()) {
      std::cerr << std::string(runtime.status().message()) << "\n";
      return 1;
    }
    runtimes.push_back(*std::move(runtime));
    named.push_back({name, runtimes.back().get()});
  }
  const bench::MachinePeak peak = bench::MeasurePeak(runtimes.front()->threads());
  std::printf("%d threads, %s: peak %.0f GFLOP/s, triad %.1f GB/s\n", peak.threads, peak.instructions.c_str(),
              peak.flops * 1e-9, peak.triad_bytes * 1e-9);
  bench::RegisterOpBenchmarks(named, peak);
  bench::RegisterModelBenchmarks(named, peak);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
