#include "highway_lowering.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

#include "sanitized.h"
#include "weir/backends/highway/highway_backend.h"
#include "weir/core/kernel_errors.h"
#include "weir/tests/interpret.h"

namespace weir {
namespace {

constexpr std::byte kSentinel{0xFF};  // as floats: NaNs

// Memory with sentinels before and behind, the latter right behind the last byte.
struct Guarded {
  static constexpr size_t kGuard = 256;
  std::vector<std::byte> bytes;
  size_t size = 0, offset = 0;

  explicit Guarded(int64_t n)
      : bytes(static_cast<size_t>(n) + 2 * kGuard + 64, kSentinel), size(static_cast<size_t>(n)) {
    const size_t at = reinterpret_cast<uintptr_t>(bytes.data()) + kGuard;
    offset = kGuard + (64 - at % 64) % 64;
  }
  std::byte* data() { return bytes.data() + offset; }
  bool Intact() const {
    for (size_t i = 0; i < bytes.size(); ++i) {
      if ((i < offset || i >= offset + size) && bytes[i] != kSentinel) return false;
    }
    return true;
  }
};

// An input that ends right before memory that can't be touched: reading past its end is a crash.
class Input {
 public:
  explicit Input(const Tensor& tensor) : size_(static_cast<size_t>(tensor.bytes())) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (size_ + page - 1) / page * page + page;
    base_ = static_cast<std::byte*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    WEIR_CHECK(base_ != MAP_FAILED);
    WEIR_CHECK(mprotect(base_ + mapped_ - page, page, PROT_NONE) == 0);
    data_ = base_ + mapped_ - page - size_;
    std::fill(base_, data_, kSentinel);
    std::memcpy(data_, tensor.raw(), size_);
  }
  Input(Input&& other) noexcept : base_(other.base_), data_(other.data_), size_(other.size_), mapped_(other.mapped_) {
    other.base_ = nullptr;
  }
  ~Input() {
    if (base_ != nullptr) munmap(base_, mapped_);
  }
  std::byte* data() { return data_; }
  bool Intact() const {
    return std::all_of(base_, data_, [](std::byte b) { return b == kSentinel; });
  }

 private:
  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
  size_t size_ = 0, mapped_ = 0;
};

struct RunResult {
  std::vector<Tensor> outputs;
  bool intact = true;
  bool any_error = false;
};

RunResult RunLowering(const Cluster& cluster, const Lowering& lowering, const std::vector<Tensor>& inputs, int threads,
                      const InPlacePair* pair = nullptr) {
  std::vector<Input> input_memory;
  std::vector<Guarded> output_memory;
  std::vector<const std::byte*> input_pointers;
  std::vector<std::byte*> output_pointers;
  for (const Tensor& tensor : inputs) input_memory.emplace_back(tensor);
  for (Input& memory : input_memory) input_pointers.push_back(memory.data());
  for (Ref ref : cluster.outputs) output_memory.emplace_back(cluster.type(ref).bytes());
  for (Guarded& memory : output_memory) output_pointers.push_back(memory.data());
  if (pair != nullptr)
    output_pointers[static_cast<size_t>(pair->output)] = input_memory[static_cast<size_t>(pair->input)].data();

  Guarded workspace(lowering.workspace_bytes);
  KernelErrors errors;
  RunResult result;
  for (const Stage& stage : lowering.stages) {
    std::vector<int64_t> order(static_cast<size_t>(stage.tasks));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
    std::mt19937 random(7);
    std::shuffle(order.begin(), order.end(), random);
    std::atomic<size_t> next{0};
    std::atomic<bool> intact{true};
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t) {
      workers.emplace_back([&] {
        Guarded scratch(stage.scratch_bytes);
        for (size_t i = next++; i < order.size(); i = next++) {
          std::fill_n(scratch.data(), scratch.size, kSentinel);
          stage.run({stage.state.get(), input_pointers.data(), output_pointers.data(), workspace.data(), scratch.data(),
                     order[i], &errors});
          if (!scratch.Intact()) intact = false;
        }
      });
    }
    for (std::thread& worker : workers) worker.join();
    result.intact &= intact;
  }
  result.intact &= workspace.Intact();
  for (size_t i = 0; i < inputs.size(); ++i) {
    result.intact &= input_memory[i].Intact();
    const bool overwritten = pair != nullptr && pair->input == static_cast<int>(i);
    result.intact &= overwritten ||
                     std::memcmp(input_memory[i].data(), inputs[i].raw(), static_cast<size_t>(inputs[i].bytes())) == 0;
  }
  for (size_t o = 0; o < cluster.outputs.size(); ++o) {
    result.intact &= output_memory[o].Intact();
    Tensor tensor(cluster.type(cluster.outputs[o]));
    std::memcpy(tensor.raw(), output_pointers[o], static_cast<size_t>(tensor.bytes()));
    result.outputs.push_back(std::move(tensor));
  }
  result.any_error = errors.any();
  return result;
}

// Equal bits, any NaN for any other.
std::string Difference(const Tensor& got, const Tensor& expected) {
  if (got.dtype() != DType::kFloat32) return BitEqual(got, expected) ? "" : "integers differ";
  for (int64_t i = 0; i < got.size(); ++i) {
    const float x = got.data<float>()[static_cast<size_t>(i)], y = expected.data<float>()[static_cast<size_t>(i)];
    if (std::bit_cast<uint32_t>(x) != std::bit_cast<uint32_t>(y) && !(std::isnan(x) && std::isnan(y))) {
      return StrCat("element ", i, " of ", got.type(), " is ", x, ", expected ", y);
    }
  }
  return "";
}

}  // namespace

Cluster ClusterOf(const Problem& problem) {
  const Graph& graph = *problem.graph;
  Cluster cluster;
  cluster.graph = &graph;
  std::vector<bool> needed(static_cast<size_t>(graph.size()), false);
  for (const Value& value : problem.outputs) needed[static_cast<size_t>(value.ref.node)] = true;
  for (NodeId id = graph.size() - 1; id >= 0; --id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    for (Ref input : graph.node(id).inputs) needed[static_cast<size_t>(input.node)] = true;
  }
  for (NodeId id = 0; id < graph.size(); ++id) {
    const OpKind kind = graph.node(id).op->kind;
    if (!needed[static_cast<size_t>(id)] || kind == OpKind::kLeaf || kind == OpKind::kAlias) continue;
    cluster.nodes.push_back(id);
    if (kind == OpKind::kAnchor) cluster.anchor = id;
    for (Ref input : graph.node(id).inputs) {
      const OpKind from = graph.node(input.node).op->kind;
      const bool outside = from == OpKind::kLeaf || from == OpKind::kAlias;
      if (outside && cluster.input_index(input) < 0) cluster.inputs.push_back(input);
    }
  }
  if (cluster.anchor) {
    std::stable_partition(cluster.nodes.begin(), cluster.nodes.end(), [&](NodeId id) { return id == *cluster.anchor; });
  }
  for (const Value& value : problem.outputs) cluster.outputs.push_back(value.ref);
  cluster.shape = problem.outputs[0].shape();
  return cluster;
}

std::vector<std::string> HighwayTestTargets() {
  std::vector<std::string> targets = HighwayTargets();
  if (kSanitized) targets.resize(1);  // the best
  return targets;
}

void HighwayKernels::Check(Problem& problem) {
  const Cluster cluster = ClusterOf(problem);
  auto backend = MakeHighwayBackend({.target = GetParam()});
  ASSERT_TRUE(backend.ok()) << backend.status().message();
  auto lowered = (*backend)->Lower(cluster);
  if (const Decline* decline = std::get_if<Decline>(&lowered)) FAIL() << problem.name << ": " << decline->reason;
  const Lowering& lowering = std::get<Lowering>(lowered);
  const std::string what = StrCat(problem.name, " on ", GetParam(), ": ", lowering.kernel);
  Interpreter interpreter;
  const std::vector<Tensor> expected = interpreter.Evaluate(problem.outputs);
  std::vector<Tensor> inputs;
  for (Ref ref : cluster.inputs) inputs.push_back(interpreter.Evaluate(problem.graph->value(ref)));
  for (int threads : {1, 3}) {
    if (kSanitized && threads == 1) continue;
    const RunResult result = RunLowering(cluster, lowering, inputs, threads);
    EXPECT_TRUE(result.intact) << what << ": wrote outside of its buffers";
    for (size_t o = 0; o < expected.size(); ++o) {
      EXPECT_EQ(Difference(result.outputs[o], expected[o]), "") << what << ", output " << o;
    }
    EXPECT_EQ(result.any_error, interpreter.errors().any()) << what;
  }
  for (const InPlacePair& pair : lowering.in_place) {
    const RunResult result = RunLowering(cluster, lowering, inputs, 2, &pair);
    EXPECT_TRUE(result.intact) << what << ", in place";
    for (size_t o = 0; o < expected.size(); ++o) {
      EXPECT_EQ(Difference(result.outputs[o], expected[o]), "")
          << what << ", output " << o << ", with output " << pair.output << " over input " << pair.input;
    }
  }
}

}  // namespace weir
