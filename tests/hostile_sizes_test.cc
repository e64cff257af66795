// Every op that takes sizes, strides, dilations, padding, windows or axes, with numbers that no sane program gives: an
// error at the line that recorded it, which names the op, or a program that compiles, and runs if it is small, to the same
// bits everywhere. Worth most under the sanitizers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "test_runtimes.h"
#include "weir/core/error.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min(), kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kNumbers[] = {0,
                                -1,
                                -2,
                                3,
                                255,
                                46340,
                                46341,
                                int64_t{1} << 20,
                                int64_t{1} << 30,
                                (int64_t{1} << 31) - 1,
                                int64_t{1} << 31,
                                (int64_t{1} << 32) + 1,
                                int64_t{1} << 40,
                                (int64_t{1} << 61) + 1,
                                int64_t{1} << 62,
                                -(int64_t{1} << 62),
                                kMax - 1,
                                kMax,
                                kMin,
                                kMin + 1};

// A graph that is being recorded, and its leaves.
struct Recording {
  std::shared_ptr<Graph> graph = Graph::Create();
  std::vector<Value> inputs;

  Value In(Shape shape, DType dtype = DType::kFloat32) {
    inputs.push_back(graph->Input({dtype, std::move(shape)}));
    return inputs.back();
  }
};

// One number of one op: `record` puts `n` in its place.
struct HostileCase {
  std::string name;
  std::string op;  // how messages begin; "": a shape is refused before the op sees it
  std::function<Value(Recording& r, int64_t n)> record;
  bool small = true;  // worth running if its values are small: kernels make no copies of what is padded
};

using Numbers = std::vector<int64_t>;

// Lists of `axes` numbers: all hostile, or one of them.
std::vector<std::pair<std::string, std::function<Numbers(int64_t)>>> Lists(int axes, int64_t sane) {
  std::vector<std::pair<std::string, std::function<Numbers(int64_t)>>> lists;
  lists.emplace_back("all", [=](int64_t n) { return Numbers(static_cast<size_t>(axes), n); });
  if (axes == 1) return lists;
  for (int axis : {0, axes - 1}) {
    lists.emplace_back(StrCat("axis", axis), [=](int64_t n) {
      Numbers list(static_cast<size_t>(axes), sane);
      list[static_cast<size_t>(axis)] = n;
      return list;
    });
  }
  return lists;
}

Shape Spatial(int axes, int64_t size, int64_t channels) {
  Dims dims(static_cast<size_t>(axes), size);
  dims.insert(dims.begin(), 1);
  dims.push_back(channels);
  return Shape(dims);
}

void AddConvolutions(std::vector<HostileCase>& cases) {
  for (int axes = 1; axes <= 3; ++axes) {
    const std::string op = "Conv", name_of = StrCat("Conv", axes, "D");
    Dims filter(static_cast<size_t>(axes), 3);
    filter.push_back(4);
    filter.push_back(4);
    const auto add = [&](const std::string& name, bool small, auto options) {
      cases.push_back(
          {StrCat(name_of, "/", name), op,
           [=](Recording& r, int64_t n) { return Conv(r.In(Spatial(axes, 6, 4)), r.In(Shape(filter)), options(n)); },
           small});
    };
    for (const auto& [which, list] : Lists(axes, 1)) {
      for (const std::string padding : {"valid", "same"}) {
        const std::string name = StrCat(which, "/", padding);
        add("strides/" + name, true, [=](int64_t n) { return ConvOptions{.strides = list(n), .padding = padding}; });
        add("dilations/" + name, false,
            [=](int64_t n) { return ConvOptions{.padding = padding, .dilations = list(n)}; });
        add("strides and dilations/" + name, false,
            [=](int64_t n) { return ConvOptions{.strides = list(n), .padding = padding, .dilations = list(n)}; });
      }
    }
    for (const auto& [which, list] : Lists(axes, 0)) {
      add("padding/" + which, false, [=](int64_t n) { return ConvOptions{.padding_before = list(n)}; });
      add("padding and strides/" + which, false, [=](int64_t n) {
        return ConvOptions{.strides = Numbers(static_cast<size_t>(axes), 1 << 30),
                           .padding_before = list(n),
                           .padding_after = list(n)};
      });
    }
    add("groups", true, [=](int64_t n) { return ConvOptions{.groups = n}; });
    add("algorithm", true, [=](int64_t n) { return ConvOptions{.algorithm = static_cast<ConvAlgorithm>(n)}; });
  }
}

void AddPools(std::vector<HostileCase>& cases) {
  for (int axes = 1; axes <= 3; ++axes) {
    for (const bool max : {true, false}) {
      const std::string op = max ? "MaxPool" : "AveragePool", name_of = StrCat(op, axes, "D");
      const auto add = [&](const std::string& name, auto options) {
        cases.push_back({StrCat(name_of, "/", name), op, [=](Recording& r, int64_t n) {
                           const Value x = r.In(Spatial(axes, 5, 3));
                           return max ? MaxPool(x, options(n)) : AveragePool(x, options(n));
                         }});
      };
      for (const auto& [which, list] : Lists(axes, 2)) {
        for (const std::string padding : {"valid", "same"}) {
          const std::string name = StrCat(which, "/", padding);
          add("window/" + name, [=](int64_t n) { return PoolOptions{.window = list(n), .padding = padding}; });
          add("window by 1/" + name, [=](int64_t n) {
            return PoolOptions{.window = list(n), .strides = Numbers(static_cast<size_t>(axes), 1), .padding = padding};
          });
          add("strides/" + name, [=](int64_t n) { return PoolOptions{.strides = list(n), .padding = padding}; });
        }
      }
      for (const auto& [which, list] : Lists(axes, 0)) {
        add("padding/" + which,
            [=](int64_t n) { return PoolOptions{.padding_before = list(n), .padding_after = list(n)}; });
        add("padding and window/" + which, [=](int64_t n) {
          return PoolOptions{.window = Numbers(static_cast<size_t>(axes), 1 << 10),
                             .padding_before = list(n),
                             .padding_after = list(n)};
        });
      }
    }
  }
}

int Int(int64_t n) {
  return static_cast<int>(std::clamp<int64_t>(n, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()));
}

void AddMoves(std::vector<HostileCase>& cases) {
  const auto add = [&](const std::string& name, const std::string& op, auto record) {
    cases.push_back({name, op, record});
  };
  for (const auto& [which, list] : Lists(3, 1)) {
    const std::string at = "/" + which;
    add("Slice/begin" + at, "Slice",
        [=](Recording& r, int64_t n) { return Slice(r.In({4, 5, 6}), {.begin = list(n), .end = {4, 5, 6}}); });
    add("Slice/end" + at, "Slice",
        [=](Recording& r, int64_t n) { return Slice(r.In({4, 5, 6}), {.begin = {0, 0, 0}, .end = list(n)}); });
    add("Slice/strides" + at, "Slice", [=](Recording& r, int64_t n) {
      return Slice(r.In({4, 5, 6}), {.begin = {0, 1, 0}, .end = {4, 5, 6}, .strides = list(n)});
    });
    add("Slice of one/strides" + at, "Slice", [=](Recording& r, int64_t n) {
      return Slice(r.In({1, 5, 1}), {.begin = {0, 1, 0}, .end = {1, 5, 1}, .strides = list(n)});
    });
    add("Pad/before" + at, "Pad", [=](Recording& r, int64_t n) { return Pad(r.In({2, 3, 4}), list(n), {0, 0, 0}); });
    add("Pad/after" + at, "Pad", [=](Recording& r, int64_t n) { return Pad(r.In({2, 3, 4}), {1, 1, 1}, list(n)); });
    add("Reshape" + at, "Reshape", [=](Recording& r, int64_t n) {
      const Numbers dims = list(n);
      return Reshape(r.In({2, 3, 4}), dims);
    });
    add("Reshape of nothing" + at, "Reshape", [=](Recording& r, int64_t n) {
      const Numbers dims = list(n);
      return Reshape(r.In({0, 3}), dims);
    });
    add("Transpose" + at, "Transpose", [=](Recording& r, int64_t n) { return Transpose(r.In({2, 3, 4}), list(n)); });
    add("BroadcastTo" + at, "", [=](Recording& r, int64_t n) { return BroadcastTo(r.In({1, 1, 1}), Shape(list(n))); });
    add("ScatterAdd" + at, "",
        [=](Recording& r, int64_t n) { return ScatterAdd(r.In({2}, DType::kInt32), r.In({2, 1, 1}), Shape(list(n))); });
    add("Constant" + at, "",
        [=](Recording& r, int64_t n) { return r.In({1}) + Constant(*r.graph, 1, DType::kFloat32, Shape(list(n))); });
    add("Dropout" + at, "", [=](Recording& r, int64_t n) {
      return Dropout(r.In({2, 3, 4}), 0.5, r.In({}, DType::kInt64), 1, 2, Shape(list(n)));
    });
  }
  add("Reverse", "Reverse", [](Recording& r, int64_t n) { return Reverse(r.In({2, 3}), {n}); });
  add("Concatenate", "Concatenate",
      [](Recording& r, int64_t n) { return Concatenate(std::vector<Value>{r.In({2, 3}), r.In({2, 3})}, Int(n)); });
  add("Gather", "Gather",
      [](Recording& r, int64_t n) { return Gather(r.In({2, 3}), r.In({2}, DType::kInt32), Int(n)); });
  add("OneHot", "OneHot", [](Recording& r, int64_t n) { return OneHot(r.In({3, 2}, DType::kInt32), n); });
  add("RandomUniform", "",
      [](Recording& r, int64_t n) { return r.In({1}) + RandomUniform(r.In({}, DType::kInt64), Shape{n, 2}, 1, 2); });
}

void AddReductions(std::vector<HostileCase>& cases) {
  using Reduce = Value (*)(const Operand&, const Axes&, bool);
  for (const auto& [name, reduce] : std::initializer_list<std::pair<const char*, Reduce>>{
           {"Sum", Sum}, {"SumSquares", SumSquares}, {"Mean", Mean}, {"Max", Max}, {"Min", Min}}) {
    cases.push_back(
        {name, "", [reduce = reduce](Recording& r, int64_t n) { return reduce(r.In({2, 3}), {n}, false); }});
  }
  cases.push_back({"ArgMax", "Argmax", [](Recording& r, int64_t n) { return ArgMax(r.In({2, 3}), Int(n)); }});
  cases.push_back({"Softmax", "Softmax", [](Recording& r, int64_t n) { return Softmax(r.In({2, 3}), Int(n)); }});
  cases.push_back(
      {"LogSoftmax", "LogSoftmax", [](Recording& r, int64_t n) { return LogSoftmax(r.In({2, 3}), Int(n)); }});
}

std::vector<HostileCase> AllHostileCases() {
  std::vector<HostileCase> cases;
  AddConvolutions(cases);
  AddPools(cases);
  AddMoves(cases);
  AddReductions(cases);
  return cases;
}

std::vector<Tensor> SmallInputs(const Recording& r) {
  std::vector<Tensor> tensors;
  for (const Value& input : r.inputs) {
    Tensor tensor(input.type().dtype, input.shape());
    if (input.dtype() == DType::kFloat32) {
      for (int64_t i = 0; i < tensor.size(); ++i)
        tensor.data<float>()[static_cast<size_t>(i)] = static_cast<float>((5 * i) % 17 - 8);
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

int64_t LargestValue(const Graph& graph) {
  int64_t largest = 0;
  for (NodeId id = 0; id < graph.size(); ++id) {
    for (const TensorType& type : graph.node(id).outputs) largest = std::max(largest, type.shape.size());
  }
  return largest;
}

// Values of so many elements are run, and compiled: backends prepare tables as long as an axis.
constexpr int64_t kSmall = 1 << 16, kCompiled = 1 << 20;

struct Results {
  std::string error;  // what compiling or running said
  std::vector<Tensor> outputs;
};

Results CompileAndRun(Runtime& runtime, const Recording& r, std::span<const Value> roots, bool run) try {
  Results results;
  const auto executable = runtime.Compile(r.inputs, roots);
  if (!executable.ok()) return {std::string(executable.status().message()), {}};
  if (!run) return results;
  std::vector<Tensor> inputs = SmallInputs(r);
  results.outputs.resize(roots.size());
  if (const absl::Status status = runtime.Run(**executable, inputs, results.outputs); !status.ok()) {
    return {std::string(status.message()), {}};
  }
  return results;
} catch (const std::exception& error) {
  ADD_FAILURE() << "thrown while compiling or running: " << error.what();
  return {};
}

TEST(HostileSizes, AreRefusedOrMeanWhatTheySay) {
  std::vector<std::unique_ptr<Runtime>> runtimes;
  for (const std::string& target : TargetsAndReference()) {
    if (target == HighwayTargets().front() || target == "llvm" || target.empty())
      runtimes.push_back(MakeTestRuntime(target, 1));
  }
  int refused = 0, compiled = 0, ran = 0;
  for (const HostileCase& c : AllHostileCases()) {
    for (int64_t n : kNumbers) {
      SCOPED_TRACE(StrCat(c.name, " with ", n));
      Recording r;
      Value y;
      try {
        y = c.record(r, n);
      } catch (const Error& error) {
        ++refused;
        EXPECT_TRUE(error.code() == absl::StatusCode::kInvalidArgument || error.code() == absl::StatusCode::kOutOfRange)
            << error.message();
        EXPECT_LT(error.message().size(), 600u);
        if (c.op.empty()) continue;
        EXPECT_NE(error.message().find("hostile_sizes_test.cc:"), std::string::npos) << "no place: " << error.message();
        std::string lower(error.message()), op = c.op;
        for (std::string* text : {&lower, &op}) {
          std::erase(*text, '_');
          for (char& letter : *text) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
        }
        EXPECT_EQ(lower.find(op), 0u) << "no op: " << error.message();
        continue;
      }
      const int64_t largest = LargestValue(*r.graph);
      if (largest > kCompiled) continue;
      ++compiled;
      std::vector<Value> roots{y};
      const bool run = c.small && largest <= kSmall;
      ran += run;
      const Results expected = CompileAndRun(*runtimes.back(), r, roots, run);
      for (const std::unique_ptr<Runtime>& runtime : runtimes) {
        const Results results = CompileAndRun(*runtime, r, roots, run);
        EXPECT_EQ(results.error, expected.error);
        EXPECT_EQ(results.outputs.size(), expected.outputs.size());
        if (results.outputs.size() != expected.outputs.size()) continue;
        for (size_t i = 0; i < results.outputs.size(); ++i)
          EXPECT_TRUE(SameBits(results.outputs[i], expected.outputs[i]));
      }
    }
  }
  EXPECT_GT(refused, 1500);
  EXPECT_GT(compiled, 200);
  EXPECT_GT(ran, 150);
}

}  // namespace
}  // namespace weir
