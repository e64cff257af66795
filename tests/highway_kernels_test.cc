// The Highway backend alone, below plans and executables: clusters made by hand are lowered for every target of this
// machine; their tasks run in random order on several threads, with sentinels round all buffers and poisoned scratch,
// and the results are compared bit for bit with the ops' references. Shapes are chosen to hurt: tails of vectors,
// panels and tiles, and sizes at which a lowering changes its ways.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "sanitized.h"
#include "weir/backends/highway/highway_backend.h"
#include "weir/ops/op_rows.h"
#include "weir/ops/conv_geometry.h"
#include "weir/ops/ops.h"
#include "weir/tests/interpret.h"

namespace weir {
namespace {

// ---- Problems -----------------------------------------------------------------------------------
struct Problem {
  std::string name;
  std::shared_ptr<Graph> graph = Graph::Create();
  std::vector<Value> outputs;
  std::mt19937 random{1};

  explicit Problem(std::string n) : name(std::move(n)) {}

  // A leaf of random numbers in [-1, 1), some of them zeros of either sign.
  Value Floats(const Shape& shape) {
    Tensor tensor(DType::kFloat32, shape);
    for (float& x : tensor.data<float>()) {
      const uint32_t bits = random();
      x = bits % 97 == 0 ? 0.0f : bits % 97 == 1 ? -0.0f : static_cast<float>(bits >> 8) * 0x1p-23f - 1.0f;
    }
    return graph->Data(std::move(tensor));
  }
  // Any bit patterns: all magnitudes, infinities, NaNs, but no subnormal numbers.
  Value Patterns(const Shape& shape) {
    Tensor tensor(DType::kFloat32, shape);
    for (float& x : tensor.data<float>()) {
      uint32_t bits = random();
      if ((bits & 0x7F800000u) == 0) bits = 0;
      x = std::bit_cast<float>(bits);
    }
    return graph->Data(std::move(tensor));
  }
  template <class T>
  Value Integers(const Shape& shape, int low, int high) {
    Tensor tensor(DTypeOf<T>::value, shape);
    for (T& x : tensor.data<T>())
      x = static_cast<T>(low + static_cast<int>(random() % static_cast<uint32_t>(high - low)));
    return graph->Data(std::move(tensor));
  }
};

// All nodes that the outputs need, as one cluster.
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

// ---- Running a lowering -------------------------------------------------------------------------
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

class HighwayKernels : public ::testing::TestWithParam<std::string> {
 protected:
  // Baseline and SSE4 emulate fma: large problems would take minutes.
  bool slow() const { return GetParam() != "AVX3" && GetParam() != "AVX2" && GetParam() != "NEON"; }

  void Check(Problem& problem) {
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

  // The problem by itself; behind it bias, activation and a second full operand, every inner value an output; and the
  // same with the last value alone, so that the anchor's own goes through scratch.
  template <class Build>
  void CheckWithEpilogues(const std::string& name, const Build& build) {
    for (int variant = 0; variant < 3; ++variant) {
      Problem problem(StrCat(name, variant == 0 ? "" : variant == 1 ? " with taps" : " with epilogue"));
      const Value y = build(problem);
      problem.outputs = {y};
      if (variant > 0) {
        const Value active = Relu(y + problem.Floats({y.shape().dim(-1)}));
        const Value moved = active * 0.5 + problem.Floats(y.shape()) * 0.25;
        const Value kept = Where(Greater(moved, 0.1), moved, Tanh(y));
        problem.outputs = variant == 1 ? std::vector<Value>{y, active, moved, kept} : std::vector<Value>{kept};
      }
      Check(problem);
      if (HasFailure()) return;
    }
  }
};

// ---- Convolution --------------------------------------------------------------------------------
struct ConvShape {
  Shape x, w;
  ConvOptions options = {};
  bool large = false;
};

std::vector<ConvShape> ConvShapes() {
  std::vector<ConvShape> shapes;
  // Channel counts around vectors and panels of every target.
  for (int64_t in : {1, 3, 5, 16}) {
    for (int64_t out : {1, 4, 7, 8, 15, 17, 31, 33, 65}) {
      shapes.push_back({{2, 5, 6, in}, {3, 3, in, out}, {.padding = "same"}});
    }
  }
  // Widths around tiles; windows, strides, dilations, paddings.
  for (int64_t width : {1, 2, 3, 11, 12, 13, 25})
    shapes.push_back({{3, 2, width, 4}, {1, 2, 4, 32}, {.padding = "same"}});
  shapes.push_back({{2, 9, 8, 6}, {3, 3, 6, 18}, {.strides = {2, 2}, .padding = "same"}});
  shapes.push_back({{2, 9, 10, 6}, {2, 3, 6, 18}, {.strides = {3, 2}, .padding = "valid"}});
  shapes.push_back({{1, 7, 7, 4}, {1, 1, 4, 9}, {.strides = {2, 3}, .padding = "valid"}});
  shapes.push_back({{2, 11, 12, 5}, {3, 2, 5, 19}, {.padding = "same", .dilations = {2, 3}}});
  shapes.push_back({{1, 6, 5, 3}, {3, 3, 3, 8}, {.padding_before = {4, 0}, .padding_after = {1, 5}}});
  shapes.push_back({{2, 4, 4, 3}, {5, 5, 3, 8}, {.padding = "same"}});
  shapes.push_back({{4, 20, 6}, {3, 6, 20}, {.strides = {2}, .padding = "same"}});
  shapes.push_back({{2, 17, 4}, {3, 4, 33}, {.padding = "causal", .dilations = {4}}});
  shapes.push_back({{2, 4, 5, 6, 3}, {2, 3, 3, 3, 17}, {.padding = "same"}});
  shapes.push_back({{1, 5, 6, 5, 3}, {2, 2, 3, 3, 9}, {.strides = {2, 1, 2}, .padding = "same"}});
  // Groups; depthwise with multipliers.
  shapes.push_back({{2, 6, 6, 12}, {3, 3, 4, 15}, {.padding = "same", .groups = 3}});
  shapes.push_back({{2, 6, 6, 33}, {3, 3, 1, 33}, {.padding = "same", .groups = 33}});
  shapes.push_back({{2, 7, 6, 16}, {3, 3, 1, 16}, {.strides = {2, 2}, .padding = "valid", .groups = 16}});
  shapes.push_back({{2, 5, 6, 7}, {3, 2, 1, 21}, {.padding = "same", .groups = 7}});
  shapes.push_back({{1, 9, 6, 4}, {3, 3, 1, 8}, {.strides = {2, 1}, .padding = "same", .groups = 4}});
  // Many images in a chunk, no images between tasks' boundaries.
  shapes.push_back({{37, 3, 3, 5}, {2, 2, 5, 6}, {.padding = "same"}});
  // Sizes at which lowerings change: cut images, several panels, huge filters, filter gradients by rows.
  shapes.push_back({{1, 40, 40, 32}, {3, 3, 32, 32}, {.padding = "same"}, true});
  shapes.push_back({{2, 33, 31, 16}, {3, 3, 16, 80}, {.padding = "same"}, true});
  shapes.push_back({{20, 4, 4, 64}, {3, 3, 64, 400}, {.padding = "same"}, true});
  shapes.push_back({{1, 2, 3, 256}, {3, 3, 256, 200}, {.padding = "same"}, true});
  shapes.push_back({{33, 8, 8, 96}, {3, 3, 96, 160}, {.padding = "same"}, true});
  shapes.push_back({{1, 30000, 8}, {5, 8, 32}, {.padding = "same"}, true});
  shapes.push_back({{1, 8, 24, 24, 16}, {3, 3, 3, 16, 32}, {.padding = "same"}, true});
  return shapes;
}

// Shapes for Winograd's algorithm, likewise.
std::vector<ConvShape> WinogradShapes() {
  const ConvOptions same{.padding = "same", .algorithm = ConvAlgorithm::kWinograd};
  const ConvOptions padded{.padding_before = {4, 0}, .padding_after = {1, 5}, .algorithm = ConvAlgorithm::kWinograd};
  std::vector<ConvShape> shapes;
  for (int64_t in : {1, 5, 17}) {
    for (int64_t out : {1, 8, 16, 33}) shapes.push_back({{2, 5, 6, in}, {3, 3, in, out}, same});
  }
  shapes.push_back({{1, 6, 5, 3}, {3, 3, 3, 8}, padded});
  // Blocks of parts of a row, of rows, and of several images; output channels cut among tasks.
  shapes.push_back({{1, 6, 190, 4}, {3, 3, 4, 9}, same});
  shapes.push_back({{2, 13, 70, 4}, {3, 3, 4, 9}, same});
  shapes.push_back({{37, 3, 3, 5}, {3, 3, 5, 6}, same});
  shapes.push_back({{1, 8, 9, 40}, {3, 3, 40, 100}, same});
  // Tasks of several blocks, large filters, filter gradients by blocks of channels with one chunk and with two.
  shapes.push_back({{17, 32, 32, 32}, {3, 3, 32, 32}, same, true});
  shapes.push_back({{3, 9, 8, 200}, {3, 3, 200, 72}, same, true});
  shapes.push_back({{5, 6, 5, 300}, {3, 3, 300, 200}, same, true});
  shapes.push_back({{66, 7, 7, 260}, {3, 3, 260, 260}, same, true});
  return shapes;
}

// kAuto stands for the direct sum here.
Value RecordConv(const Value& x, const Value& w, ConvOptions options) {
  if (options.algorithm == ConvAlgorithm::kAuto) options.algorithm = ConvAlgorithm::kDirect;
  return Conv(x, w, options);
}
// The attributes and the output's shape of a convolution.
std::pair<AttrMap, Shape> ConvRecord(const ConvShape& shape) {
  auto graph = Graph::Create();
  const Value y =
      RecordConv(graph->Input({DType::kFloat32, shape.x}), graph->Input({DType::kFloat32, shape.w}), shape.options);
  return {graph->node(y.ref.node).attrs, y.shape()};
}

class HighwayConv : public HighwayKernels {
 protected:
  void CheckForward(const std::vector<ConvShape>& shapes) {
    for (const ConvShape& shape : shapes) {
      if (shape.large && slow()) continue;
      CheckWithEpilogues(StrCat("conv ", shape.x, " * ", shape.w), [&](Problem& problem) {
        return RecordConv(problem.Floats(shape.x), problem.Floats(shape.w), shape.options);
      });
      if (HasFailure()) return;
    }
  }
  void CheckInputGradient(const std::vector<ConvShape>& shapes) {
    for (const ConvShape& shape : shapes) {
      if (shape.large && slow()) continue;
      const auto [attrs, y] = ConvRecord(shape);
      CheckWithEpilogues(StrCat("input gradient ", shape.x, " * ", shape.w),
                         [&, attrs = attrs, y = y](Problem& problem) {
                           return ConvInputGradient(problem.Floats(y), problem.Floats(shape.w), attrs, shape.x);
                         });
      if (HasFailure()) return;
    }
  }
  void CheckFilterGradient(const std::vector<ConvShape>& shapes) {
    for (const ConvShape& shape : shapes) {
      if (shape.large && slow()) continue;
      const auto [attrs, y] = ConvRecord(shape);
      CheckWithEpilogues(StrCat("filter gradient ", shape.x, " * ", shape.w),
                         [&, attrs = attrs, y = y](Problem& problem) {
                           return ConvFilterGradient(problem.Floats(shape.x), problem.Floats(y), attrs, shape.w);
                         });
      if (HasFailure()) return;
    }
  }
};

TEST_P(HighwayConv, Forward) { CheckForward(ConvShapes()); }
TEST_P(HighwayConv, InputGradient) { CheckInputGradient(ConvShapes()); }
TEST_P(HighwayConv, FilterGradient) { CheckFilterGradient(ConvShapes()); }
TEST_P(HighwayConv, WinogradForward) { CheckForward(WinogradShapes()); }
TEST_P(HighwayConv, WinogradInputGradient) { CheckInputGradient(WinogradShapes()); }
TEST_P(HighwayConv, WinogradFilterGradient) { CheckFilterGradient(WinogradShapes()); }

// ---- Products -----------------------------------------------------------------------------------
TEST_P(HighwayKernels, MatMul) {
  struct Sizes {
    int64_t m, k, n;
    bool large = false;
  };
  const Sizes all[] = {{1, 1, 1},
                       {2, 3, 4},
                       {5, 7, 17},
                       {13, 16, 33},
                       {12, 40, 64},
                       {1, 600, 20},
                       {32, 33, 10},
                       {3, 1025, 5},
                       {30, 513, 40},
                       {64, 64, 64},
                       {200, 3, 31},
                       {7, 0, 9},
                       {32, 4500, 80, true},
                       {32, 200, 1500, true},
                       {1500, 32, 200, true},
                       {700, 1100, 300, true},
                       {260, 520, 700, true},
                       {1, 5000, 300, true},
                       {100, 9000, 64, true}};
  for (const Sizes& s : all) {
    if (s.large && slow()) continue;
    for (int transposes = 0; transposes < 4; ++transposes) {
      const bool ta = (transposes & 1) != 0, tb = (transposes & 2) != 0;
      CheckWithEpilogues(StrCat("matmul ", s.m, "x", s.k, "x", s.n, ta ? " ta" : "", tb ? " tb" : ""),
                         [&](Problem& problem) {
                           const Value a = problem.Floats(ta ? Shape{s.k, s.m} : Shape{s.m, s.k});
                           const Value b = problem.Floats(tb ? Shape{s.n, s.k} : Shape{s.k, s.n});
                           return MatMul(a, b, {.transpose_a = ta, .transpose_b = tb});
                         });
      if (HasFailure()) return;
    }
  }
}

TEST_P(HighwayKernels, MatMulBatches) {
  struct Shapes {
    Shape a, b;
  };
  const Shapes all[] = {{{3, 4, 5}, {3, 5, 6}}, {{4, 5}, {7, 5, 6}}, {{2, 1, 4, 5}, {3, 5, 33}}, {{40, 9, 8}, {8, 17}}};
  for (const Shapes& s : all) {
    CheckWithEpilogues(StrCat("matmul ", s.a, " x ", s.b),
                       [&](Problem& problem) { return MatMul(problem.Floats(s.a), problem.Floats(s.b)); });
  }
}

// Sums of two products of any magnitude: every rounding of the fused multiply-add shows.
TEST_P(HighwayKernels, FmaIsRoundedOnce) {
  for (int i = 0; i < 4; ++i) {
    Problem problem("fma");
    problem.random.seed(static_cast<uint32_t>(i));
    problem.outputs = {MatMul(problem.Patterns({60, 2}), problem.Patterns({2, 70}))};
    Check(problem);
    // Close magnitudes and few bits: halfway cases.
    Problem ties("fma ties");
    const Value a = Cast(ties.Integers<int32_t>({60, 3}, -4097, 4097), DType::kFloat32) * (1.0 + 0x1p-12);
    const Value b = Cast(ties.Integers<int32_t>({3, 70}, -4097, 4097), DType::kFloat32) * (1.0 + 0x1p-12);
    const Tensor left = Interpret(a), right = Interpret(b);
    ties.outputs = {MatMul(ties.graph->Data(left), ties.graph->Data(right))};
    Check(ties);
  }
}

// ---- Pooling ------------------------------------------------------------------------------------
TEST_P(HighwayKernels, Pooling) {
  struct PoolShape {
    Shape x;
    PoolOptions options;
  };
  const PoolShape all[] = {
      {{2, 6, 8, 5}, {}},
      {{3, 7, 9, 33}, {}},
      {{2, 7, 9, 16}, {.window = {3, 3}, .strides = {2, 2}, .padding = "same"}},
      {{1, 8, 7, 4}, {.window = {2, 3}, .strides = {1, 2}}},
      {{2, 9, 9, 3}, {.window = {2, 2}, .strides = {3, 3}}},
      {{2, 5, 6, 4, 3}, {.window = {2, 2, 2}, .strides = {2, 2, 2}, .padding = "same"}},
      {{4, 15, 7}, {.window = {3}, .strides = {2}, .padding = "same"}},
      {{2, 6, 6, 4}, {.window = {3, 3}, .strides = {3, 3}, .padding_before = {1, 2}, .padding_after = {2, 1}}},
      {{3, 40, 64, 24}, {}},
      {{1, 20, 18, 19}, {.window = {17, 16}, .strides = {3, 2}}},
      {{20, 16, 16, 32}, {}}};
  for (const PoolShape& shape : all) {
    auto record = Graph::Create();
    const Value pooled = MaxPool(record->Input({DType::kFloat32, shape.x}), shape.options);
    const AttrMap& attrs = record->node(pooled.ref.node).attrs;
    const std::string name = StrCat("pool ", shape.x);
    CheckWithEpilogues("max " + name, [&](Problem& p) { return MaxPool(p.Floats(shape.x), shape.options); });
    CheckWithEpilogues("average " + name, [&](Problem& p) { return AveragePool(p.Floats(shape.x), shape.options); });
    // Any index, of cells in the padding too.
    int cells = 1;
    for (int64_t size : attrs.Ints(kWindow)) cells *= static_cast<int>(size);
    const auto any = [&, windows = pooled.shape()](Problem& p) {
      return cells <= 256 ? p.Integers<uint8_t>(windows, 0, cells) : p.Integers<int32_t>(windows, 0, cells);
    };
    CheckWithEpilogues("max gradient " + name, [&, windows = pooled.shape()](Problem& p) {
      return MaxPoolGradient(p.Floats(windows), any(p), attrs, shape.x);
    });
    CheckWithEpilogues("gather " + name, [&](Problem& p) { return MaxPoolGather(p.Floats(shape.x), any(p), attrs); });
    CheckWithEpilogues("average gradient " + name,
                       [&](Problem& p) { return AveragePoolGradient(p.Floats(pooled.shape()), attrs, shape.x); });
    Problem specials("max with specials " + name);
    const auto [values, found] = MaxPoolWithIndex(specials.Patterns(shape.x), shape.options);
    specials.outputs = {values, found};
    Check(specials);
    if (HasFailure()) return;
  }
}

// ---- Reductions and softmax ---------------------------------------------------------------------
TEST_P(HighwayKernels, Reductions) {
  struct ReduceShape {
    Shape x;
    Axes axes;
  };
  const ReduceShape all[] = {{{7}, {0}},
                             {{5, 33}, {1}},
                             {{5, 33}, {0}},
                             {{40, 3, 17}, {0, 2}},
                             {{4, 1, 5}, {1}},
                             {{3, 4, 5, 6}, {1, 3}},
                             {{3, 4, 5, 6}, {0, 2}},
                             {{2, 5000}, {1}},
                             {{1100, 70}, {0}},
                             {{300000}, {0}},
                             {{5000, 64}, {0}},
                             {{3, 2100, 33}, {1}},
                             {{70, 30, 130}, {0, 2}},
                             {{16, 9, 2, 3000}, {0, 1, 3}},
                             {{2000, 3000}, {0}},
                             {{9000, 11}, {1}}};
  for (const ReduceShape& shape : all) {
    if (slow() && shape.x.size() > 1000000) continue;
    for (int kind = 0; kind < 4; ++kind) {
      const auto build = [&](const Value& x) {
        return kind == 0   ? Sum(x, shape.axes, true)
               : kind == 1 ? SumSquares(x, shape.axes, true)
               : kind == 2 ? Max(x, shape.axes, true)
                           : Min(x, shape.axes, true);
      };
      CheckWithEpilogues(StrCat("reduce ", kind, " of ", shape.x),
                         [&](Problem& p) { return build(p.Floats(shape.x)); });
      Problem specials(StrCat("reduce ", kind, " of specials ", shape.x));
      specials.outputs = {build(specials.Patterns(shape.x))};
      Check(specials);
      if (HasFailure()) return;
    }
  }
}

TEST_P(HighwayKernels, EmptyReductions) {
  Problem sum("sum of nothing");
  sum.outputs = {Sum(sum.Floats({0, 5}), {0}) + 1.0};
  Check(sum);
  Problem max("max of nothing");
  max.outputs = {Max(max.Floats({4, 0}), {1})};
  Check(max);
  Problem nothing("no elements");
  nothing.outputs = {Relu(nothing.Floats({0, 5}))};
  Check(nothing);
  Problem filter("filter gradient without images");
  const auto [attrs, y] = ConvRecord({{0, 5, 5, 3}, {3, 3, 3, 8}, {.padding = "same"}});
  filter.outputs = {ConvFilterGradient(filter.Floats({0, 5, 5, 3}), filter.Floats(y), attrs, {3, 3, 3, 8})};
  Check(filter);
}

TEST_P(HighwayKernels, Softmax) {
  for (const Shape& shape :
       {Shape{1, 1}, Shape{5, 10}, Shape{3, 17}, Shape{2, 3, 33}, Shape{300, 100}, Shape{3, 9000}}) {
    CheckWithEpilogues(StrCat("softmax ", shape), [&](Problem& p) { return Softmax(p.Floats(shape)); });
    CheckWithEpilogues(StrCat("log softmax ", shape), [&](Problem& p) { return LogSoftmax(p.Floats(shape)); });
    Problem specials(StrCat("softmax of specials ", shape));
    specials.outputs = {Softmax(specials.Patterns(shape))};
    Check(specials);
  }
}

TEST_P(HighwayKernels, SparseCrossEntropy) {
  for (int64_t rows : {1, 7, 300}) {
    for (const int high : {10, 12}) {  // 12: labels out of range
      Problem narrow(StrCat("cross entropy i32 ", rows, " below ", high));
      narrow.outputs = {
          SparseSoftmaxCrossEntropy(narrow.Floats({rows, 10}), narrow.Integers<int32_t>({rows}, 0, high))};
      Check(narrow);
      Problem wide(StrCat("cross entropy i64 ", rows, " below ", high));
      wide.outputs = {SparseSoftmaxCrossEntropy(wide.Floats({rows, 10}),
                                                wide.Integers<int64_t>({rows}, high == 10 ? 0 : -1, high))};
      Check(wide);
    }
  }
}

TEST_P(HighwayKernels, ArgMax) {
  for (const Shape& shape : {Shape{1, 1}, Shape{9, 10}, Shape{700, 33}}) {
    Problem problem(StrCat("argmax ", shape));
    const Value index = ArgMax(problem.Patterns(shape));
    problem.outputs = {index, Equal(index, problem.Integers<int32_t>({shape.dim(0)}, 0, 10))};
    Check(problem);
    Problem last(StrCat("argmax of ties ", shape));
    last.outputs = {
        Cast(ArgMax(last.graph->Data(Interpret(Cast(last.Integers<int32_t>(shape, 0, 3), DType::kFloat32)))),
             DType::kFloat32)};
    Check(last);
  }
}

// ---- Elementwise --------------------------------------------------------------------------------
TEST_P(HighwayKernels, BroadcastOperands) {
  for (const Shape& shape :
       {Shape{1}, Shape{3, 5}, Shape{7, 4, 6}, Shape{40, 33}, Shape{3, 700}, Shape{5, 3, 1100}, Shape{64, 8, 8, 16}}) {
    const int64_t last = shape.dim(-1);
    Dims column(shape.begin(), shape.end()), inner(static_cast<size_t>(shape.rank()), 1);
    column.back() = 1;
    inner.front() = shape.dim(0);
    Problem problem(StrCat("broadcast to ", shape));
    const Value x = problem.Floats(shape);
    const Value a = x + problem.Floats({last});
    const Value b = a * problem.Floats(Shape(column)) - problem.Floats({});
    const Value c = Maximum(b, problem.Floats(Shape(inner)));
    problem.outputs = {a, b, Where(problem.Integers<bool>(Shape(column), 0, 2), c, x)};
    Check(problem);
  }
}

TEST_P(HighwayKernels, TypesAndConversions) {
  for (const int64_t count : {1, 15, 16, 17, 1000, 70000}) {
    const Shape shape{count};
    Problem problem(StrCat("types ", count));
    const Value f = problem.Patterns(shape), i = problem.Integers<int32_t>(shape, -3, 3);
    const Value u = problem.Integers<uint8_t>(shape, 0, 256), b = problem.Integers<bool>(shape, 0, 2);
    const Value pixel = Cast(u, DType::kFloat32) * (1 / 255.0);
    problem.outputs = {pixel,
                       Cast(f, DType::kInt32),
                       Cast(f, DType::kUint8),
                       Cast(f, DType::kBool),
                       Cast(i, DType::kUint8),
                       Cast(i, DType::kBool),
                       Cast(b, DType::kInt32),
                       Cast(b, DType::kUint8),
                       Cast(u, DType::kInt32),
                       Cast(i, DType::kFloat32),
                       Where(b, f, pixel),
                       Where(LogicalAnd(b, LogicalNot(Less(i, 1))), i, i * i - 7),
                       LogicalOr(b, Greater(f, 0.5)),
                       Where(b, u, Cast(i, DType::kUint8)),
                       Maximum(i, 1)};
    Check(problem);
  }
}

TEST_P(HighwayKernels, AdamInPlace) {
  for (const int64_t count : {5, 1024, 5000, 300000}) {
    if (slow() && count > 10000) continue;
    Problem problem(StrCat("adam ", count));
    const Shape shape{count};
    const Value g = problem.Floats(shape), m = problem.Floats(shape), w = problem.Floats(shape);
    const Value v = problem.graph->Data(Interpret(Square(problem.Floats(shape))));
    const Value rate = problem.Floats({});
    const Value m2 = m * 0.9 + g * 0.1, v2 = v * 0.999 + Square(g) * 0.001;
    problem.outputs = {m2, v2, w - m2 * rate / (Sqrt(v2) + 1e-7)};
    Check(problem);
  }
}

// An output may not lie over an input that a later instruction still reads.
TEST_P(HighwayKernels, InPlaceOnlyBehindTheLastRead) {
  Problem problem("late read");
  const Value x = problem.Floats({3000});
  const Value early = Exp(x);
  problem.outputs = {early, early + x};
  Check(problem);
  auto backend = MakeHighwayBackend({.target = GetParam()});
  const auto lowered = (*backend)->Lower(ClusterOf(problem));
  for (const InPlacePair& pair : std::get<Lowering>(lowered).in_place) EXPECT_EQ(pair.output, 1);
}

TEST_P(HighwayKernels, RandomNumbers) {
  for (const Shape& shape : {Shape{1}, Shape{63}, Shape{64, 3}, Shape{1000, 77}}) {
    Problem problem(StrCat("dropout ", shape));
    const Value step = problem.Integers<int64_t>({}, 3, 4);
    const Value draw = RandomUniform(step, shape, 11, 5);
    const Value x = problem.Floats(shape);
    problem.outputs = {Where(GreaterEqual(draw, 0.3), x * (1 / 0.7), 0.0), draw};
    Check(problem);
  }
}

TEST_P(HighwayKernels, ConstantsAlone) {
  for (const DType dtype : {DType::kFloat32, DType::kInt32, DType::kBool, DType::kUint8}) {
    Problem problem(StrCat("constant ", dtype));
    problem.outputs = {Constant(*problem.graph, 3, dtype, {5, 301})};
    Check(problem);
  }
}

// ---- Data movement ------------------------------------------------------------------------------
TEST_P(HighwayKernels, Movement) {
  const auto check = [&](const std::string& name, const auto& build) {
    Problem problem(name);
    problem.outputs = {build(problem)};
    Check(problem);
  };
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 5}, Shape{64, 64}, Shape{100, 37}, Shape{700, 300}}) {
    check(StrCat("transpose ", shape), [&](Problem& p) { return Transpose(p.Floats(shape)); });
    check(StrCat("transpose bytes ", shape), [&](Problem& p) { return Transpose(p.Integers<uint8_t>(shape, 0, 256)); });
    check(StrCat("transpose i64 ", shape), [&](Problem& p) { return Transpose(p.Integers<int64_t>(shape, 0, 256)); });
  }
  check("nhwc to nchw", [&](Problem& p) { return Transpose(p.Floats({3, 17, 9, 20}), {0, 3, 1, 2}); });
  check("nchw to nhwc", [&](Problem& p) { return Transpose(p.Floats({3, 20, 17, 9}), {0, 2, 3, 1}); });
  check("permute outer", [&](Problem& p) { return Transpose(p.Floats({5, 4, 33}), {1, 0, 2}); });
  check("permute four", [&](Problem& p) { return Transpose(p.Floats({5, 4, 6, 7}), {3, 1, 0, 2}); });
  check("slice", [&](Problem& p) {
    return Slice(p.Floats({9, 8, 7}), {.begin = {1, 0, 2}, .end = {8, 8, 6}, .strides = {2, 1, 3}});
  });
  check("slice rows", [&](Problem& p) { return Slice(p.Floats({90, 800}), {.begin = {10, 0}, .end = {80, 800}}); });
  check("pad", [&](Problem& p) { return Pad(p.Floats({3, 4, 5}), {1, 0, 2}, {0, 3, 1}, -1.5); });
  check("pad bytes", [&](Problem& p) { return Pad(p.Integers<uint8_t>({30, 40}, 0, 256), {1, 2}, {3, 4}, 7); });
  check("concatenate", [&](Problem& p) {
    const Value parts[] = {p.Floats({3, 4, 5}), p.Floats({3, 0, 5}), p.Floats({3, 7, 5})};
    return Concatenate(parts, 1);
  });
  check("concatenate last", [&](Problem& p) {
    const Value parts[] = {p.Floats({30, 4}), p.Floats({30, 7})};
    return Concatenate(parts, 1);
  });
  check("reverse", [&](Problem& p) { return Reverse(p.Floats({3, 40, 5}), {1, 2}); });
}

// ---- Declines -----------------------------------------------------------------------------------
TEST_P(HighwayKernels, DeclinesWithReasons) {
  auto backend = MakeHighwayBackend({.target = GetParam()});
  const auto reason = [&](Problem& problem) {
    const auto lowered = (*backend)->Lower(ClusterOf(problem));
    const Decline* decline = std::get_if<Decline>(&lowered);
    return decline == nullptr ? std::string() : decline->reason;
  };
  Problem wide("f64");
  wide.outputs = {Exp(Cast(wide.Floats({4}), DType::kFloat64))};
  EXPECT_NE(reason(wide).find("f64"), std::string::npos) << reason(wide);
  Problem product("f64 product");
  const Tensor a(DType::kFloat64, {3, 3});
  product.outputs = {MatMul(product.graph->Data(a), product.graph->Data(a))};
  EXPECT_NE(reason(product).find("f64"), std::string::npos) << reason(product);
}

std::vector<std::string> Targets() {
  std::vector<std::string> targets = HighwayTargets();
  if (kSanitized) targets.resize(1);  // the best
  return targets;
}

INSTANTIATE_TEST_SUITE_P(Targets, HighwayConv, ::testing::ValuesIn(Targets()),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Targets, HighwayKernels, ::testing::ValuesIn(Targets()),
                         [](const auto& info) { return info.param; });

TEST(HighwayBackend, NamesItsTargets) {
  ASSERT_FALSE(HighwayTargets().empty());
  const auto best = MakeHighwayBackend();
  ASSERT_TRUE(best.ok());
  EXPECT_EQ((*best)->name(), "highway");
  EXPECT_EQ((*best)->config_key(), "highway:" + HighwayTargets().front());
  const auto unknown = MakeHighwayBackend({.target = "MMX"});
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  for (const std::string& target : HighwayTargets()) {
    EXPECT_NE(std::string(unknown.status().message()).find(target), std::string::npos) << unknown.status().message();
  }
}

}  // namespace
}  // namespace weir
