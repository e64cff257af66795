// Any pattern of assignments that read one another is stored as ops.h promises: every new value is computed from old
// ones, and stored after every read of the old value. Random programs against a simulation without assignments, on every
// backend, for every mode of memory.
#include <gtest/gtest.h>

#include <random>

#include "test_runtimes.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

const Shape kShape = {6, 5};

Tensor Ramp(int seed) {
  Tensor tensor(DType::kFloat32, kShape);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    tensor.data<float>()[static_cast<size_t>(i)] = 0.125f * static_cast<float>((i * 7 + seed * 5) % 23 - 11);
  }
  return tensor;
}

std::vector<Tensor> CloneAll(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> copies;
  for (const Tensor& tensor : tensors) copies.push_back(tensor.Clone());
  return copies;
}

// Leaves, what is computed from them, and which value each assigned leaf takes.
struct Updates {
  std::shared_ptr<Graph> graph = Graph::Create();
  std::vector<Value> leaves;
  std::vector<std::pair<size_t, Value>> assigned;  // leaf, new value: in the order of recording
  std::vector<Value> roots;                        // further values that are asked for

  Value Leaf() {
    leaves.push_back(graph->Input({DType::kFloat32, kShape}));
    return leaves.back();
  }
};

// Runs the updates three times on `runtime` and compares leaves and roots with the simulation.
void Check(const Updates& updates, Runtime& runtime, Runtime& reference, const std::string& what) {
  std::vector<Value> plain = updates.roots, roots = updates.roots;
  for (const auto& [leaf, value] : updates.assigned) {
    plain.push_back(value);
    roots.push_back(Assign(updates.leaves[leaf], value));
  }
  const auto simulated = reference.Compile(updates.leaves, plain), made = runtime.Compile(updates.leaves, roots);
  ASSERT_TRUE(simulated.ok() && made.ok()) << what << made.status().message();
  std::vector<Tensor> expected, data;
  for (size_t i = 0; i < updates.leaves.size(); ++i) expected.push_back(Ramp(static_cast<int>(i)));
  data = CloneAll(expected);
  for (int step = 0; step < 3; ++step) {
    std::vector<Tensor> right(plain.size()), got(roots.size());
    ASSERT_TRUE(reference.Run(**simulated, expected, right).ok());
    right = CloneAll(right);
    for (size_t i = 0; i < updates.assigned.size(); ++i) {
      expected[updates.assigned[i].first] = right[updates.roots.size() + i].Clone();
    }
    ASSERT_TRUE(runtime.Run(**made, data, got).ok());
    for (size_t r = 0; r < roots.size(); ++r) {
      ASSERT_TRUE(SameBits(got[r], right[r])) << what << ", root " << r << ", step " << step << "\n"
                                              << ToText((*made)->plan());
    }
    for (size_t i = 0; i < data.size(); ++i) {
      ASSERT_TRUE(SameBits(data[i], expected[i])) << what << ", leaf " << i << ", step " << step << "\n"
                                                  << ToText((*made)->plan());
    }
  }
}

Updates Random(uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  Updates updates;
  const size_t leaves = 2 + below(4);
  for (size_t i = 0; i < leaves; ++i) updates.Leaf();
  std::vector<Value> pool = updates.leaves;
  const auto any = [&] { return pool[below(pool.size())]; };
  for (size_t i = 0, count = 3 + below(9); i < count; ++i) {
    const Value a = any(), b = any();
    switch (below(8)) {
      case 0: pool.push_back(Tanh(a + b)); break;
      case 1: pool.push_back(a - 0.5 * b); break;
      case 2: pool.push_back(a * Tanh(Sum(b))); break;
      case 3: pool.push_back(a - Mean(b, {0}, /*keep_dims=*/true)); break;
      case 4: pool.push_back(Tanh(a) / Sqrt(Mean(Square(b)) + 1)); break;
      case 5: pool.push_back(Reshape(Reshape(a, {5, 6}), {6, 5})); break;
      case 6: pool.push_back(Tanh(MatMul(a, MatMul(b, a, {.transpose_a = true})))); break;
      default: pool.push_back(Where(Less(a, b), b, 0.25 * a)); break;
    }
  }
  // Which leaves, in which order: assignments are planned in the order in which they are recorded.
  std::vector<size_t> order(leaves);
  for (size_t i = 0; i < leaves; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  for (size_t i = 0, count = 1 + below(leaves); i < count; ++i) {
    updates.assigned.push_back({order[i], below(3) == 0 ? any() : pool[pool.size() - 1 - below(pool.size() / 2)]});
  }
  for (size_t i = 0, count = below(3); i < count; ++i) updates.roots.push_back(any());
  return updates;
}

class Assignments : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Runtime> reference_ =
      MakeTestRuntime("", 1, {.optimize = false, .fuse = false, .memory = CompileOptions::Memory::kNoReuse});
};

TEST_P(Assignments, RandomPatternsEqualTheSimulation) {
  using Memory = CompileOptions::Memory;
  const bool llvm = GetParam().rfind("llvm", 0) == 0;
  const uint32_t count = kSanitized || llvm ? 40 : 400;
  for (const CompileOptions& options :
       {CompileOptions{}, CompileOptions{.fuse = false}, CompileOptions{.memory = Memory::kPoison},
        CompileOptions{.memory = Memory::kNoReuse}}) {
    if (llvm && options.memory == Memory::kNoReuse) continue;
    const auto runtime = MakeTestRuntime(GetParam(), 2, options);
    for (uint32_t seed = 0; seed < count && !HasFailure(); ++seed) {
      Check(Random(seed), *runtime, *reference_, StrCat("seed ", seed, ", ", options.Key()));
      runtime->cache().Clear();
    }
  }
}

TEST_P(Assignments, PairsThatReadOneAnother) {
  using Pair = std::pair<Value, Value> (*)(const Value& a, const Value& w);
  const std::pair<const char*, Pair> pairs[] = {
      {"Fibonacci", [](const Value& a, const Value& w) { return std::pair(w, a + w); }},
      {"swap", [](const Value& a, const Value& w) { return std::pair(w, a); }},
      {"stage of the other", [](const Value& a, const Value& w) { return std::pair(w + 1, w + 1 + a); }},
      {"sums", [](const Value& a, const Value& w) { return std::pair(a + Sum(w), (a + Sum(w)) * Sum(a + Sum(w))); }},
      {"normalised",
       [](const Value& a, const Value& w) {
         const Value centred = a - Mean(w);
         return std::pair(centred, centred / Sqrt(Mean(Square(centred))));
       }},
      {"the same", [](const Value& a, const Value& w) { return std::pair(a * 0.5 + w, a * 0.5 + w); }},
      {"itself", [](const Value& a, const Value& w) { return std::pair(a, w + a); }},
  };
  const auto runtime = MakeTestRuntime(GetParam(), 2);
  for (const auto& [name, pair] : pairs) {
    for (const bool turned : {false, true}) {
      Updates updates;
      const Value a = updates.Leaf(), w = updates.Leaf();
      const auto [new_a, new_w] = pair(a, w);
      updates.assigned = {{0, new_a}, {1, new_w}};
      if (turned) std::swap(updates.assigned[0], updates.assigned[1]);
      Check(updates, *runtime, *reference_, StrCat(name, turned ? ", turned" : ""));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Assignments, ::testing::ValuesIn(TargetsAndReference()),
                         [](const auto& info) { return info.param.empty() ? "reference" : info.param; });

TEST(SharedBuffers, AVariableMayNotShareItsBuffer) {
  for (const bool first : {true, false}) {
    Updates updates;
    const Value a = updates.Leaf(), b = updates.Leaf();
    const auto runtime = MakeTestRuntime("", 1);
    const std::vector<Value> roots = {Assign(first ? a : b, a + b)};
    const auto made = runtime->Compile(updates.leaves, roots);
    ASSERT_TRUE(made.ok());
    std::vector<Tensor> data(2, Ramp(1)), outputs(1);
    const absl::Status status = runtime->Run(**made, data, outputs);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << first << status.message();
    EXPECT_NE(status.message().find("shares its buffer"), absl::string_view::npos) << status.message();
  }
}

}  // namespace
}  // namespace weir
