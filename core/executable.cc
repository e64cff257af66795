#include "weir/core/executable.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "weir/core/error.h"
#include "weir/core/float_state.h"
#include "weir/core/op_def.h"

namespace weir {
namespace {

// What a plan takes beside the memory of its runs, about: a node of the graph, and a step with its code.
constexpr int64_t kNodeBytes = 1 << 10, kStepBytes = 8 << 10;
// Bytes of a step's operands from which on its stages change their direction. What is smaller stays in the second-level
// caches anyway, and there a task should meet the thread that ran it before, even if it was one that helped out.
constexpr int64_t kTurningBytes = int64_t{2} << 20;

int64_t RoundUp(int64_t bytes, int64_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

ProfileEvent EventOf(const PlanStep& step) {
  const Graph& graph = *step.cluster.graph;
  const NodeId head = step.cluster.anchor ? *step.cluster.anchor : step.cluster.nodes.back();
  const Origin& origin = graph.node(head).origin;
  return {.layer = graph.LayerPath(origin.layer),
          .ops = Describe(step.cluster),
          .backend = step.backend,
          .kernel = step.lowering.kernel,
          .source = ShortLocation(origin.file, static_cast<int>(origin.line)),
          .backward = origin.backward,
          .flops = ClusterFlops(step.cluster),
          .bytes = ClusterBytes(step.cluster),
          .begin = {},
          .duration = {}};
}

}  // namespace

struct Executable::Context {
  BlockPool::Block block;  // the arena, and behind it scratch; while a run lasts
  BlockPool::Block kept;
  // With poisoned memory: the last step that reads a value, and what is copied behind the last step.
  absl::flat_hash_map<Ref, size_t> last_reads;
  absl::flat_hash_set<std::pair<Location::Kind, int64_t>> copied;
  std::vector<bool> prepared;  // steps whose kept workspace is made from the kept copy of its input
  std::byte* scratch = nullptr;
  std::vector<std::byte*> inputs;
  std::vector<std::byte*> outputs;
  // Addresses of all steps' operands, one after another: a step's inputs, then its outputs.
  std::vector<std::byte*> operands;
  // The way the first stage that turns goes through its tasks: the other one each run, so that a run begins with the
  // weights that the run before left in the caches.
  ThreadPool::Order order = ThreadPool::Order::kForward;

  void NoteReads(const Plan& plan) {
    for (size_t s = 0; s < plan.steps.size(); ++s) {
      const Cluster& cluster = plan.steps[s].cluster;
      for (const Ref ref : cluster.inputs) last_reads[ResolveAlias(*plan.program.graph, ref)] = s;
    }
    for (const PlanCopy& copy : plan.copies) copied.emplace(copy.from.kind, copy.from.index);
  }

  std::byte* Address(const Location& location) const {
    switch (location.kind) {
      case Location::Kind::kInput: return inputs[static_cast<size_t>(location.index)];
      case Location::Kind::kOutput: return outputs[static_cast<size_t>(location.index)];
      case Location::Kind::kArena: return block.memory.get() + location.index;
      case Location::Kind::kKept: return kept.memory.get() + location.index;
      case Location::Kind::kNone: break;
    }
    return nullptr;
  }

  // Whether the first stage of a step has nothing to do: what it would prepare is there, from the same data. Notes the
  // data if not, since the stage is going to run.
  bool IsPrepared(const PlanStep& step, size_t index, std::span<std::byte* const> operands) {
    if (step.prepared_from.kind == Location::Kind::kNone) return false;
    const auto input = static_cast<size_t>(*step.lowering.prepared_input);
    const std::byte* data = operands[input];
    std::byte* from = Address(step.prepared_from);
    const auto size = static_cast<size_t>(step.cluster.type(step.cluster.inputs[input]).bytes());
    if (prepared[index] && std::memcmp(from, data, size) == 0) return true;
    std::memcpy(from, data, size);
    prepared[index] = true;
    return false;
  }
};

Executable::Executable(Plan plan, CompileOptions options, std::shared_ptr<ByteAccount> account)
    : plan_(std::move(plan)),
      options_(std::move(options)),
      account_(account != nullptr ? std::move(account) : std::make_shared<ByteAccount>(0)),
      own_blocks_(account_) {
  const int64_t nodes = plan_.program.graph == nullptr ? 0 : plan_.program.graph->size();
  plan_bytes_ = nodes * kNodeBytes + static_cast<int64_t>(plan_.steps.size()) * kStepBytes;
  account_->fetch_add(plan_bytes_, std::memory_order_relaxed);
  // Room up to the end of a cache line, which kernels may read, and no line for two threads.
  scratch_stride_ = RoundUp(plan_.scratch_bytes + 64, 256);
  for (const PlanStep& step : plan_.steps) turning_.push_back(ClusterBytes(step.cluster) >= kTurningBytes);
  writes_inputs_ = std::find(plan_.input_written.begin(), plan_.input_written.end(), true) != plan_.input_written.end();
}

Executable::~Executable() { account_->fetch_sub(plan_bytes_, std::memory_order_relaxed); }

const TensorType& Executable::root_type(size_t i) const { return plan_.program.graph->type(plan_.program.roots[i]); }

std::unique_ptr<Executable::Context> Executable::Acquire() const {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Context> context = std::move(idle_.back());
      idle_.pop_back();
      return context;
    }
  }
  auto context = std::make_unique<Context>();
  if (plan_.kept_bytes > 0) context->kept = BlockPool(account_).Acquire(plan_.kept_bytes);
  if (options_.memory == CompileOptions::Memory::kPoison) context->NoteReads(plan_);
  context->prepared.resize(plan_.steps.size());
  size_t operands = 0;
  for (const PlanStep& step : plan_.steps) operands += step.inputs.size() + step.outputs.size();
  context->operands.resize(operands);
  context->inputs.resize(plan_.program.inputs.size());
  context->outputs.resize(plan_.roots.size());
  return context;
}

void Executable::Release(std::unique_ptr<Context> context) const {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(context));
}

void Executable::Trim() const {
  std::vector<std::unique_ptr<Context>> idle;
  {
    const std::lock_guard lock(mutex_);
    idle.swap(idle_);
  }
}

absl::Status Executable::CheckTensors(std::span<const Tensor> inputs, std::span<const Tensor> outputs) const {
  const Graph& graph = *plan_.program.graph;
  if (inputs.size() != plan_.program.inputs.size()) {
    return absl::InvalidArgumentError(StrCat("run: ", inputs.size(), " inputs given, ", plan_.program.inputs.size(), " expected"));
  }
  if (outputs.size() != plan_.roots.size()) {
    return absl::InvalidArgumentError(StrCat("run: ", outputs.size(), " outputs given, ", plan_.roots.size(), " expected"));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Ref leaf = plan_.program.inputs[i];
    if (!inputs[i].defined() || inputs[i].type() != graph.type(leaf)) {
      return absl::InvalidArgumentError(StrCat("run: input ", i, " (", graph.Path(leaf.node), ") is ",
                                               inputs[i].defined() ? StrCat(inputs[i].type()) : "undefined", ", expected ",
                                               graph.type(leaf)));
    }
  }
  WEIR_RETURN_IF_ERROR(CheckBuffers(inputs));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined()) continue;
    if (outputs[i].type() != root_type(i)) {
      return absl::InvalidArgumentError(StrCat("run: output ", i, " is ", outputs[i].type(), ", expected ", root_type(i)));
    }
  }
  return absl::OkStatus();
}

// Two operands in one buffer would be read after one of them has been overwritten.
absl::Status Executable::CheckBuffers(std::span<const Tensor> inputs) const {
  if (!writes_inputs_) return absl::OkStatus();
  std::vector<size_t> order;  // those of one buffer next to each other, variables first
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].bytes() > 0) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (inputs[a].raw() != inputs[b].raw()) return std::less<>()(inputs[a].raw(), inputs[b].raw());
    if (plan_.input_written[a] != plan_.input_written[b]) return static_cast<bool>(plan_.input_written[a]);
    return a > b;
  });
  for (size_t k = 1; k < order.size(); ++k) {
    const size_t variable = order[k - 1], other = order[k];
    if (!plan_.input_written[variable] || inputs[variable].raw() != inputs[other].raw()) continue;
    return absl::InvalidArgumentError(StrCat("run: variable ", plan_.program.graph->Path(plan_.program.inputs[variable].node),
                                             " shares its buffer with input ", other));
  }
  return absl::OkStatus();
}

absl::Status Executable::Run(std::span<Tensor> inputs, std::span<Tensor> outputs, const RunOptions& options) const {
  WEIR_RETURN_IF_ERROR(CheckTensors(inputs, outputs));
  for (size_t r = 0; r < outputs.size(); ++r) {
    const Location& place = plan_.roots[r];
    if (place.kind == Location::Kind::kInput) {
      outputs[r] = inputs[static_cast<size_t>(place.index)].Reshaped(root_type(r).shape.dims());
    } else if (!outputs[r].defined()) {
      outputs[r] = Tensor::Uninitialized(root_type(r));
    }
  }
  Touch();
  const int threads = options.pool == nullptr ? 1 : options.pool->threads();
  BlockPool& blocks = options.blocks != nullptr ? *options.blocks : own_blocks_;
  const int64_t arena = RoundUp(plan_.arena_bytes + 64, 256);
  std::unique_ptr<Context> context = Acquire();
  context->block = blocks.Acquire(arena + scratch_stride_ * threads);
  context->scratch = context->block.memory.get() + arena;
  if (options_.memory == CompileOptions::Memory::kPoison) {
    std::memset(context->block.memory.get(), 0xFF, static_cast<size_t>(arena + scratch_stride_ * threads));
  }
  for (size_t i = 0; i < inputs.size(); ++i) context->inputs[i] = inputs[i].raw();
  for (size_t r = 0; r < outputs.size(); ++r) context->outputs[r] = outputs[r].raw();
  size_t next = 0;
  for (const PlanStep& step : plan_.steps) {
    for (const Location& location : step.inputs) context->operands[next++] = context->Address(location);
    for (const Location& location : step.outputs) context->operands[next++] = context->Address(location);
  }
  absl::Status status;
  {
    const ScopedFloatState state(ScopedFloatState::Subnormals::kFlushed);
    status = RunSteps(*context, options);
  }
  blocks.Release(std::exchange(context->block, {}));
  Release(std::move(context));
  return status;
}

absl::Status Executable::RunSteps(Context& context, const RunOptions& options) const {
  struct Job {
    const Stage* stage;
    KernelCall call;
    int64_t scratch_stride;
  };
  KernelErrors errors;
  const auto turn = [](ThreadPool::Order order) {
    return order == ThreadPool::Order::kForward ? ThreadPool::Order::kBackward : ThreadPool::Order::kForward;
  };
  ThreadPool::Order order = context.order;
  context.order = turn(context.order);
  size_t next = 0;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const PlanStep& step = plan_.steps[s];
    if (options_.memory == CompileOptions::Memory::kPoison) Poison(context, s);
    const auto begin = options.profiler != nullptr ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    std::byte** operands = context.operands.data() + next;
    next += step.inputs.size() + step.outputs.size();
    std::span<const Stage> stages = step.lowering.stages;
    if (context.IsPrepared(step, s, {operands, step.inputs.size()})) stages = stages.subspan(1);
    for (const Stage& stage : stages) {
      Job job{&stage,
              {.state = stage.state.get(),
               .inputs = operands,
               .outputs = operands + step.inputs.size(),
               .workspace = context.Address(step.workspace),
               .scratch = context.scratch,
               .task = 0,
               .errors = &errors},
              scratch_stride_};
      const auto run = [](void* data, int64_t task, int worker) noexcept {
        const Job& job = *static_cast<const Job*>(data);
        KernelCall call = job.call;
        call.task = task;
        call.scratch = job.call.scratch + worker * job.scratch_stride;
        job.stage->run(call);
      };
      if (options.pool != nullptr) {
        options.pool->Run(stage.tasks, run, &job, turning_[s] ? order : ThreadPool::Order::kForward);
      } else {
        for (int64_t task = 0; task < stage.tasks; ++task) run(&job, task, 0);
      }
      if (turning_[s]) order = turn(order);
    }
    if (options.profiler != nullptr) {
      ProfileEvent event = EventOf(step);
      event.begin = begin;
      event.duration = std::chrono::steady_clock::now() - begin;
      options.profiler->Record(std::move(event));
    }
    if (errors.any()) return errors.ToStatus();
  }
  for (const PlanCopy& copy : plan_.copies) {
    std::memcpy(context.Address(copy.to), context.Address(copy.from), static_cast<size_t>(copy.bytes));
  }
  return absl::OkStatus();
}

// Before step `s`: whatever its outputs and workspace lie on is filled with NaNs, unless an input lies there too, and
// so is every arena value that no step from here on reads.
void Executable::Poison(Context& context, size_t s) const {
  const Graph& graph = *plan_.program.graph;
  const PlanStep& step = plan_.steps[s];
  const auto fill = [&](const Location& place, int64_t bytes) {
    if (place.kind == Location::Kind::kArena) std::memset(context.Address(place), 0xFF, static_cast<size_t>(bytes));
  };
  for (size_t o = 0; o < step.outputs.size(); ++o) {
    if (std::find(step.inputs.begin(), step.inputs.end(), step.outputs[o]) != step.inputs.end()) continue;
    fill(step.outputs[o], graph.type(step.cluster.outputs[o]).bytes());
  }
  if (step.lowering.workspace_bytes > 0) {
    fill(step.workspace, step.lowering.workspace_bytes);
  }
  if (s == 0) return;
  for (size_t i = 0; i < plan_.steps[s - 1].inputs.size(); ++i) {
    const Location& place = plan_.steps[s - 1].inputs[i];
    const Ref value = ResolveAlias(graph, plan_.steps[s - 1].cluster.inputs[i]);
    bool dead = std::find(plan_.steps[s - 1].outputs.begin(), plan_.steps[s - 1].outputs.end(), place) ==
                plan_.steps[s - 1].outputs.end();
    dead = dead && context.last_reads.at(value) < s && !context.copied.contains({place.kind, place.index});
    if (dead) fill(place, graph.type(value).bytes());
  }
}

}  // namespace weir
