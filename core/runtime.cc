#include "weir/core/runtime.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "absl/container/flat_hash_set.h"
#include "weir/core/error.h"
#include "weir/core/explain.h"
#include "weir/core/float_state.h"
#include "weir/core/fork_guard.h"
#include "weir/core/fingerprint.h"
#include "weir/core/passes/rewrite.h"

namespace weir {

Runtime::Runtime(OpRegistry ops, std::vector<std::unique_ptr<Backend>> backends, int threads, CompileOptions options)
    : ops_(std::move(ops)), backends_(std::move(backends)), options_(std::move(options)),
      pool_(std::make_unique<ThreadPool>(threads)), cache_limit_(DefaultCacheLimit()) {
  WEIR_CHECK(!backends_.empty(), "a runtime needs a backend");
  config_key_ = options_.Key();
  for (const std::unique_ptr<Backend>& backend : backends_) {
    backend_pointers_.push_back(backend.get());
    config_key_ += StrCat(";", backend->name(), ":", backend->config_key());
  }
}

absl::StatusOr<std::shared_ptr<const Executable>> Runtime::Compile(std::span<const Value> inputs,
                                                                   std::span<const Value> roots) {
  if (roots.empty()) return absl::InvalidArgumentError("compile: no values to compute");
  Program program{.graph = roots[0].graph, .inputs = {}, .roots = {}};
  for (std::span<const Value> values : {inputs, roots}) {
    for (const Value& value : values) {
      if (!value.defined()) return absl::InvalidArgumentError("compile: a value is undefined");
      if (value.graph != roots[0].graph) return absl::InvalidArgumentError("compile: values of different graphs");
    }
  }
  for (const Value& value : inputs) program.inputs.push_back(value.ref);
  for (const Value& value : roots) program.roots.push_back(value.ref);
  return FindOrCompile(program);
}

namespace {

// A failure that comes of a backend's being passed over says why it was.
absl::Status WithReasons(const absl::Status& failure, std::span<const Backend* const> backends) {
  std::string reasons;
  for (const Backend* backend : backends) {
    const absl::Status usable = backend->Usable();
    if (!usable.ok() && usable != failure) reasons += StrCat("; ", backend->name(), ": ", usable.message());
  }
  return absl::Status(failure.code(), StrCat(failure.message(), reasons));
}

}  // namespace

std::vector<const Backend*> Runtime::UsableBackends() {
  std::vector<const Backend*> usable;
  for (const Backend* backend : backend_pointers_) {
    const absl::Status status = backend->Usable();
    if (status.ok()) {
      usable.push_back(backend);
      continue;
    }
    std::lock_guard lock(reported_mutex_);
    if (std::find(reported_.begin(), reported_.end(), backend) != reported_.end()) continue;
    reported_.push_back(backend);
    std::fprintf(stderr, "weir: backend '%s' can't be used here, the next takes over: %s\n",
                 std::string(backend->name()).c_str(), std::string(status.message()).c_str());
  }
  return usable;
}

absl::StatusOr<std::shared_ptr<const Executable>> Runtime::FindOrCompile(const Program& program) {
  const LibraryCall call;
  WEIR_RETURN_IF_ERROR(CheckFork());
  absl::StatusOr<std::shared_ptr<const Executable>> executable =
      cache_.FindOrMake(FingerprintOf(program, config_key_), [&] { return CompileAnew(program); });
  EnforceCacheLimit();
  return executable;
}

absl::StatusOr<std::shared_ptr<const Executable>> Runtime::CompileAnew(const Program& program) {
  const ScopedFloatState state(ScopedFloatState::Subnormals::kKept);
  const auto begin = std::chrono::steady_clock::now();
  std::vector<const Backend*> backends = UsableBackends();
  if (backends.empty()) return absl::UnavailableError("compile: no backend can be used on this machine");
  absl::StatusOr<Plan> compiled = CompileProgram(program, backends, options_, *pool_);
  while (!compiled.ok()) {
    // A backend may have found out only now.
    std::vector<const Backend*> rest = UsableBackends();
    if (rest.empty() || rest.size() == backends.size()) return WithReasons(compiled.status(), backend_pointers_);
    backends = std::move(rest);
    compiled = CompileProgram(program, backends, options_, *pool_);
  }
  Plan plan = *std::move(compiled);
  if (profiler_ != nullptr) {
    profiler_->Record({.layer = "", .ops = "compile", .backend = "core", .kernel = StrCat(plan.steps.size(), " steps"),
                       .source = "", .backward = false, .flops = 0, .bytes = 0, .begin = begin,
                       .duration = std::chrono::steady_clock::now() - begin});
  }
  auto executable = std::make_shared<const Executable>(std::move(plan), options_, account_);
  if (!dump_folder_.empty()) DumpExecutable(dump_folder_, *executable, backend_pointers_);
  return executable;
}

absl::Status Runtime::Run(const Executable& executable, std::span<Tensor> inputs, std::span<Tensor> outputs) {
  const LibraryCall call;
  WEIR_RETURN_IF_ERROR(CheckFork());
  const absl::Status status =
      executable.Run(inputs, outputs, {.pool = pool_.get(), .profiler = profiler_.get(), .blocks = &blocks_});
  EnforceCacheLimit();
  return status;
}

void Runtime::SetCacheLimit(int64_t bytes) {
  if (bytes < 0) ThrowInvalidArgument("a cache limit of ", bytes, " bytes: expected 0 or more");
  cache_limit_ = bytes;
  EnforceCacheLimit();
}

void Runtime::EnforceCacheLimit() {
  if (*account_ <= cache_limit_) return;
  blocks_.Trim(1);
  while (*account_ > cache_limit_ && cache_.DropOldest()) {
  }
}

int64_t DefaultCacheLimit() {
  int64_t memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    int64_t limit = 0;  // "max" is no number
    if (std::ifstream(path) >> limit && limit > 0) memory = std::min(memory, limit);
  }
  return memory / 8;
}

namespace {

// The graph cut at values that are already computed: those become leaves.
struct Cut {
  Program program;
  std::vector<Tensor> data;
};

Cut CutAtData(const std::shared_ptr<Graph>& graph, std::span<const Value> values) {
  // Backwards from the wanted values, not past one that has data.
  std::vector<bool> wanted(static_cast<size_t>(graph->size()), false);
  absl::flat_hash_set<NodeId> known;
  for (const Value& value : values) wanted[static_cast<size_t>(value.ref.node)] = true;
  for (NodeId id = graph->size() - 1; id >= 0; --id) {
    if (!wanted[static_cast<size_t>(id)]) continue;
    const Node& node = graph->node(id);
    if (node.outputs.size() == 1 && graph->data({id, 0}).defined()) {
      known.insert(id);
      continue;
    }
    if (node.op->kind == OpKind::kLeaf) {
      ThrowFailedPrecondition("Evaluate: leaf ", graph->Path(id), " ", node.outputs[0], " has no data");
    }
    for (Ref ref : node.inputs) wanted[static_cast<size_t>(ref.node)] = true;
  }
  Cut cut;
  const std::shared_ptr<Graph> copy = Graph::Create();
  std::vector<NodeId> mapped(wanted.size(), -1);
  for (NodeId id = 0; id < static_cast<NodeId>(wanted.size()); ++id) {
    if (!wanted[static_cast<size_t>(id)]) continue;
    const Node& node = graph->node(id);
    if (known.contains(id)) {
      const Value leaf = copy->Input(node.outputs[0], node.name);
      mapped[static_cast<size_t>(id)] = leaf.ref.node;
      cut.program.inputs.push_back(leaf.ref);
      cut.data.push_back(graph->data({id, 0}));
      continue;
    }
    absl::InlinedVector<Ref, 4> inputs;
    for (Ref ref : node.inputs) inputs.push_back({mapped[static_cast<size_t>(ref.node)], ref.output});
    mapped[static_cast<size_t>(id)] = copy->AppendCopy(*graph, id, {inputs.data(), inputs.size()});
  }
  for (const Value& value : values) {
    cut.program.roots.push_back({mapped[static_cast<size_t>(value.ref.node)], value.ref.output});
  }
  cut.program.graph = copy;
  return cut;
}

}  // namespace

std::vector<Tensor> Runtime::Evaluate(std::span<const Value> values) {
  const LibraryCall call;
  ThrowIfError(CheckFork());
  std::vector<Tensor> results(values.size());
  std::vector<Value> missing;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!values[i].defined()) ThrowInvalidArgument("Evaluate: value ", i, " is undefined");
    if (values[i].graph != values[0].graph) ThrowInvalidArgument("Evaluate: values of different graphs");
    results[i] = values[i].graph->data(values[i].ref);
    if (!results[i].defined()) missing.push_back(values[i]);
  }
  if (missing.empty()) return results;
  const std::shared_ptr<Graph>& graph = values[0].graph;
  Cut cut = CutAtData(graph, missing);
  const absl::StatusOr<std::shared_ptr<const Executable>> executable = FindOrCompile(cut.program);
  ThrowIfError(executable.status());
  std::vector<Tensor> outputs(missing.size());
  ThrowIfError(Run(**executable, cut.data, outputs));
  for (size_t i = 0; i < missing.size(); ++i) graph->SetData(missing[i].ref, outputs[i]);
  for (size_t i = 0; i < values.size(); ++i) results[i] = graph->data(values[i].ref);
  return results;
}

}  // namespace weir
