// The op cases marked for benchmarks, each on every backend.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "weir/bench/bench.h"
#include "weir/core/op_def.h"
#include "weir/core/runtime.h"
#include "weir/frontend/session.h"
#include "weir/tests/cases/op_case.h"

namespace weir::bench {
namespace {

// Work of a problem: flops of all its nodes, and bytes that must move (inputs and outputs once each).
Work WorkOf(const Program& program) {
  const Graph& graph = *program.graph;
  Work work;
  for (NodeId id = 0; id < graph.size(); ++id) {
    const Node& node = graph.node(id);
    std::vector<TensorType> inputs;
    for (Ref ref : node.inputs) inputs.push_back(graph.type(ref));
    work.flops += Flops(*node.op, node.attrs, inputs, {node.outputs.data(), node.outputs.size()});
  }
  for (Ref ref : program.inputs) work.bytes += static_cast<double>(graph.type(ref).bytes());
  for (Ref ref : program.roots) work.bytes += static_cast<double>(graph.type(ref).bytes());
  return work;
}

void RunCase(benchmark::State& state, const OpCase& op_case, Runtime& runtime, const MachinePeak& peak) {
  const std::shared_ptr<Graph> graph = Graph::Create();
  const std::vector<Value> leaves = RecordInputs(op_case, *graph);
  const std::vector<Value> roots = op_case.build(*graph, leaves);
  const auto executable = runtime.Compile(leaves, roots);
  if (!executable.ok()) {
    state.SkipWithError(std::string(executable.status().message()).c_str());
    return;
  }
  std::vector<Tensor> inputs = MakeInputs(op_case), outputs(roots.size());
  // Once before the clock runs: outputs get their memory, pages their first touch.
  absl::Status status = runtime.Run(**executable, inputs, outputs);
  Measure(state, WorkOf((*executable)->plan().program), peak,
          [&] { status.Update(runtime.Run(**executable, inputs, outputs)); });
  if (!status.ok()) state.SkipWithError(std::string(status.message()).c_str());
}

}  // namespace

void RegisterOpBenchmarks(std::span<const NamedRuntime> runtimes, const MachinePeak& peak) {
  static const std::vector<OpCase> cases = AllOpCases();
  for (const OpCase& op_case : cases) {
    if (!op_case.bench) continue;
    for (const NamedRuntime& named : runtimes) {
      auto* bench = benchmark::RegisterBenchmark(StrCat(op_case.name, "/", named.name).c_str(),
                                                 [&op_case, runtime = named.runtime, peak](benchmark::State& state) {
                                                   RunCase(state, op_case, *runtime, peak);
                                                 });
      bench->UseRealTime()->Unit(benchmark::kMicrosecond);
      if (named.slow()) bench->Iterations(1)->Repetitions(1);
    }
  }
}

}  // namespace weir::bench
