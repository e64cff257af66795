// weir_bench: measures the machine's peak, then every op case marked for benchmarks and the tutorial model, on each
// backend side by side. Flags are Google Benchmark's (--benchmark_filter, --benchmark_out, ...), --threads=N and
// --report=FOLDER, which writes a table (backends.md) and a picture (backends.png) from the same runs. --floors=BATCH
// measures nothing of that, but prints a table of what each part of a training step takes and could take.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"
#include "weir/bench/bench.h"
#include "weir/bench/floors.h"
#include "weir/bench/report.h"
#include "weir/frontend/session.h"

int main(int argc, char** argv) {
  using namespace weir;
  benchmark::Initialize(&argc, argv);
  int threads = 0, floors = 0;
  std::string report_folder;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--threads=", 10) == 0) {
      threads = std::atoi(argv[i] + 10);
    } else if (std::strncmp(argv[i], "--floors=", 9) == 0) {
      floors = std::atoi(argv[i] + 9);
    } else if (std::strncmp(argv[i], "--report=", 9) == 0) {
      report_folder = argv[i] + 9;
    } else {
      std::cerr << "weir_bench: unknown argument " << argv[i] << "\n";
      return 2;
    }
  }
  if (floors > 0) {
    auto runtime = MakeRuntime({.threads = threads});
    if (!runtime.ok()) {
      std::cerr << std::string(runtime.status().message()) << "\n";
      return 1;
    }
    std::cout << bench::FloorsTable(**runtime, floors, MeasurePeak((*runtime)->threads()));
    return 0;
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
  const MachinePeak peak = MeasurePeak(runtimes.front()->threads());
  std::printf("%d threads, %s: peak %.0f GFLOP/s, triad %.1f GB/s\n", peak.threads, peak.instructions.c_str(),
              peak.flops * 1e-9, peak.triad_bytes * 1e-9);
  bench::RegisterOpBenchmarks(named, peak);
  bench::RegisterModelBenchmarks(named, peak);
  bench::RegisterCompileBenchmarks(named);
  bench::Report report;
  benchmark::RunSpecifiedBenchmarks(&report);
  benchmark::Shutdown();
  if (report_folder.empty()) return 0;
  if (const absl::Status saved = report.Save(report_folder, peak); !saved.ok()) {
    std::cerr << "weir_bench: " << std::string(saved.message()) << "\n";
    return 1;
  }
}
