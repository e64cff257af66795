// How long the tutorial's training step takes to compile: passes and code generation, without and with the object
// cache. The plan cache is emptied before each round.
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "benchmark/benchmark.h"
#include "weir/bench/bench.h"
#include "weir/bench/tutorial_model.h"
#include "weir/frontend/session.h"

namespace weir::bench {
namespace {

namespace fs = std::filesystem;

void CompileTrainingStep(benchmark::State& state, const std::string& backend, int threads, const std::string& cache) {
  auto runtime = MakeRuntime({.backend = backend, .threads = threads, .jit_cache = cache});
  if (!runtime.ok()) {
    state.SkipWithError(std::string(runtime.status().message()).c_str());
    return;
  }
  const Sequential model = TutorialModel(runtime->get());
  model.TrainOnBatch(TutorialBatch(32));
  const Program program = (*runtime)->cache().Executables().front()->plan().program;
  const auto graph = std::const_pointer_cast<Graph>(program.graph);
  std::vector<Value> inputs, roots;
  for (Ref ref : program.inputs) inputs.push_back({graph, ref});
  for (Ref ref : program.roots) roots.push_back({graph, ref});
  (void)(*runtime)->Compile(inputs, roots);  // what the object cache is to know
  for (auto _ : state) {
    (*runtime)->cache().Clear();
    if (const auto executable = (*runtime)->Compile(inputs, roots); !executable.ok()) {
      state.SkipWithError(std::string(executable.status().message()).c_str());
      return;
    }
  }
}

}  // namespace

void RegisterCompileBenchmarks(std::span<const NamedRuntime> runtimes) {
  for (const NamedRuntime& named : runtimes) {
    const auto add = [&](const std::string& name, bool cached) {
      benchmark::RegisterBenchmark(
          StrCat("compile/", name, "/", named.name).c_str(),
          [backend = named.name, threads = named.runtime->threads(), cached](benchmark::State& state) {
            std::string folder = (fs::temp_directory_path() / "weir_bench_XXXXXX").string();
            const bool made = cached && mkdtemp(folder.data()) != nullptr;
            CompileTrainingStep(state, backend, threads, made ? folder : "off");
            std::error_code ignored;
            if (made) fs::remove_all(folder, ignored);
          })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    };
    add("training_step_cold", false);
    if (named.name == "llvm") add("training_step_cached", true);
  }
}

}  // namespace weir::bench
