// Every backend equals the reference bit for bit: all op cases, on every Highway target of this machine and compiled
// with LLVM for it and for AVX2, for several numbers of threads, fused and not, with a prologue, with an epilogue and
// taps inside it, with poisoned memory and with sentinels round the buffers.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "sanitized.h"
#include "test_runtimes.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

const std::vector<OpCase>& Cases() {
  static const std::vector<OpCase> cases = AllOpCases();
  return cases;
}

// One recorded problem: a case as it is, or with an epilogue behind it.
struct Recorded {
  std::shared_ptr<Graph> graph = Graph::Create();
  std::vector<Value> inputs;
  std::vector<Value> outputs;
  std::vector<Tensor> data;
};

Recorded Record(const OpCase& c) {
  Recorded recorded;
  recorded.inputs = RecordInputs(c, *recorded.graph);
  recorded.outputs = c.build(*recorded.graph, recorded.inputs);
  recorded.data = MakeInputs(c);
  return recorded;
}

// Computation ahead of an anchor's operand, which may be wanted in memory or not; nullopt if the case has no anchor.
std::optional<Recorded> RecordWithPrologue(const OpCase& c, const OpRegistry& ops, bool tapped) {
  const OpDef* op = ops.Find(c.op);
  if (op == nullptr || op->kind != OpKind::kAnchor || c.inputs.empty()) return std::nullopt;
  Recorded recorded;
  recorded.inputs = RecordInputs(c, *recorded.graph);
  recorded.data = MakeInputs(c);
  std::vector<Value> operands = recorded.inputs;
  Value& x = operands[0];
  if (x.dtype() != DType::kFloat32) return std::nullopt;
  Tensor row(DType::kFloat32, x.shape().rank() == 0 ? Shape{} : Shape{x.shape().dim(-1)});
  for (int64_t i = 0; i < row.size(); ++i) row.data<float>()[static_cast<size_t>(i)] = 0.125f * static_cast<float>(i % 7 - 3);
  recorded.data.push_back(row);
  recorded.inputs.push_back(recorded.graph->Input(row.type()));
  const Value moved = x * 1.25 + recorded.inputs.back();
  x = Where(Greater(moved, 0.25), moved, x - 0.5);
  recorded.outputs = c.build(*recorded.graph, operands);
  if (tapped) recorded.outputs.insert(recorded.outputs.end(), {x, moved});
  return recorded;
}

// What an anchor is followed by in practice, and every inner value tapped.
Recorded RecordWithEpilogue(const OpCase& c) {
  Recorded recorded = Record(c);
  const std::vector<Value> outputs = recorded.outputs;
  for (const Value& y : outputs) {
    if (y.dtype() != DType::kFloat32) continue;
    const Shape& shape = y.shape();
    const Shape row = shape.rank() == 0 ? Shape{} : Shape{shape.dim(-1)};
    const auto extra = [&](const Shape& s, float scale) {
      Tensor tensor(DType::kFloat32, s);
      for (int64_t i = 0; i < s.size(); ++i) tensor.data<float>()[static_cast<size_t>(i)] = scale * static_cast<float>(i % 13 - 6);
      recorded.data.push_back(tensor);
      recorded.inputs.push_back(recorded.graph->Input(tensor.type()));
      return recorded.inputs.back();
    };
    const Value biased = y + extra(row, 0.125f);
    const Value active = Relu(biased);
    const Value moved = active + (extra(shape, 0.25f) - active) * 0.1;
    const Value kept = Where(Greater(moved, 0.25), moved * 1.25, 0.0);
    for (const Value& value : {biased, active, moved, kept}) recorded.outputs.push_back(value);
  }
  return recorded;
}

// Values `guard` elements inside of a larger buffer full of sentinels.
constexpr int64_t kGuard = 64;

Tensor Guarded(const TensorType& type, Tensor& whole) {
  whole = Tensor(type.dtype, Shape{type.shape.size() + 2 * kGuard});
  std::fill_n(whole.raw(), whole.bytes(), std::byte{0xA5});
  return whole.Rows(kGuard, kGuard + type.shape.size()).Reshaped(type.shape.dims());
}

bool SentinelsIntact(const Tensor& whole, const TensorType& type) {
  const int64_t guard = kGuard * SizeOf(type.dtype);
  for (int64_t i = 0; i < guard; ++i) {
    if (whole.raw()[i] != std::byte{0xA5} || whole.raw()[whole.bytes() - 1 - i] != std::byte{0xA5}) return false;
  }
  return true;
}

std::vector<Tensor> RunGuarded(Runtime& runtime, const Recorded& recorded, const std::string& what) {
  const auto executable = runtime.Compile(recorded.inputs, recorded.outputs);
  EXPECT_TRUE(executable.ok()) << what << ": " << executable.status().message();
  if (!executable.ok()) return {};
  std::vector<Tensor> whole_inputs(recorded.data.size()), whole_outputs(recorded.outputs.size());
  std::vector<Tensor> inputs, outputs;
  for (size_t i = 0; i < recorded.data.size(); ++i) {
    inputs.push_back(Guarded(recorded.data[i].type(), whole_inputs[i]));
    std::copy_n(recorded.data[i].raw(), recorded.data[i].bytes(), inputs.back().raw());
  }
  for (size_t o = 0; o < recorded.outputs.size(); ++o) outputs.push_back(Guarded(recorded.outputs[o].type(), whole_outputs[o]));
  const absl::Status status = runtime.Run(**executable, inputs, outputs);
  EXPECT_TRUE(status.ok()) << what << ": " << status.message();
  for (size_t o = 0; o < outputs.size(); ++o) {
    EXPECT_TRUE(SentinelsIntact(whole_outputs[o], outputs[o].type())) << what << ": wrote outside of output " << o;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool variable = (*executable)->plan().input_written[i];
    EXPECT_TRUE(variable || BitEqual(inputs[i], recorded.data[i])) << what << ": changed input " << i;
    EXPECT_TRUE(SentinelsIntact(whole_inputs[i], inputs[i].type())) << what << ": wrote outside of input " << i;
  }
  return outputs;
}

void ExpectSame(const std::vector<Tensor>& got, const std::vector<Tensor>& expected, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t o = 0; o < got.size(); ++o) EXPECT_TRUE(SameBits(got[o], expected[o])) << what << ", output " << o;
}

// What a sanitizer can find is in one setting as in another, in one of Highway's targets as in another (and
// highway_kernels_test looks for it as well), and not in generated code, which is not instrumented: of that, some cases
// are run for what calls it.
constexpr int kEveryCase = kSanitized ? 2 : 1, kEveryGenerated = kSanitized ? 4 : 1;

class Conformance : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(Conformance, EqualsTheReference) {
  const auto& [target, op] = GetParam();
  auto reference = MakeTestRuntime("", 1, {.optimize = false, .fuse = false});
  struct Setting {
    std::string name;
    std::unique_ptr<Runtime> runtime;
    bool fused = true;
  };
  std::vector<Setting> settings;
  const bool llvm = target.rfind("llvm", 0) == 0;
  settings.push_back({"fused, 3 threads", MakeTestRuntime(target, 3)});
  if (!llvm || !kSanitized) {
    settings.push_back({"not fused, 2 threads", MakeTestRuntime(target, 2, {.fuse = false}), false});
  }
  if (!kSanitized) {
    settings.push_back({"fused, 1 thread", MakeTestRuntime(target, 1)});
    settings.push_back({"poisoned, 8 threads", MakeTestRuntime(target, 8, {.memory = CompileOptions::Memory::kPoison})});
  }
  int cases = 0;
  for (const OpCase& c : Cases()) {
    if (c.op != op || c.bench_only) continue;
    ++cases;
    if ((cases - 1) % (llvm ? kEveryGenerated : kEveryCase) != 0) continue;
    // Not fused, what stands round an anchor are kernels with cases of their own. Compiling them anew for every case
    // is half of the time with LLVM: there the first case has it.
    const bool apart = !llvm || cases == 1;
    const auto check = [&](const Recorded& recorded, const char* form) {
      const std::vector<Tensor> expected = RunGuarded(*reference, recorded, c.name);
      for (const Setting& setting : settings) {
        if (!setting.fused && !apart && *form != '\0') continue;
        const std::string what = StrCat(c.name, form, " on ", target, ", ", setting.name);
        ExpectSame(RunGuarded(*setting.runtime, recorded, what), expected, what);
      }
    };
    check(Record(c), "");
    check(RecordWithEpilogue(c), " with epilogue");
    for (const bool tapped : {false, true}) {
      if (!llvm || kSanitized) break;  // Highway has no prologues
      if (const auto recorded = RecordWithPrologue(c, reference->ops(), tapped)) {
        check(*recorded, tapped ? " with tapped prologue" : " with prologue");
      }
    }
    if (HasFailure()) return;  // one problem's report is enough to start from
  }
  EXPECT_GT(cases, 0);
}

std::vector<std::string> OpsOfCases() {
  std::set<std::string> ops;
  for (const OpCase& c : Cases()) {
    if (!c.bench_only) ops.insert(c.op);
  }
  return {ops.begin(), ops.end()};
}

INSTANTIATE_TEST_SUITE_P(All, Conformance,
                         ::testing::Combine(::testing::ValuesIn(Targets()), ::testing::ValuesIn(OpsOfCases())),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::get<1>(info.param); });

// A NaN weight at the window's first tap, which falls into padding at y's first position and at dx's last: it reaches
// them where padding takes part in the sums, and nothing where it is left out.
class Padding : public ::testing::TestWithParam<std::string> {};

TEST_P(Padding, TakesPartByTheShareOfPairsInside) {
  auto runtime = MakeTestRuntime(GetParam(), 2);
  struct Problem {
    Shape x, filter;
    bool takes_part;
    ConvOptions options = {.padding = "same", .algorithm = ConvAlgorithm::kDirect};
  };
  for (const Problem& p : {
           Problem{{32, 1, 1, 8}, {3, 3, 8, 16}, false},
           Problem{{9, 2, 2, 8}, {3, 3, 8, 16}, false},
           Problem{{2, 4, 4, 8}, {3, 3, 8, 16}, false},  // 100 of 144 pairs are inside,
           Problem{{2, 5, 4, 8}, {3, 3, 8, 16}, true},   // 130 of 180,
           Problem{{2, 8, 8, 8}, {3, 3, 8, 16}, true},   // 484 of 576,
           Problem{{2, 7, 5}, {3, 5, 16}, true},         // 19 of 21
           Problem{{2, 3, 5}, {5, 5, 16}, false},        // 9 of 15
           Problem{{2, 2, 2, 8}, {3, 3, 1, 8}, true, {.padding = "same", .groups = 8}},  // depthwise
       }) {
    ConvOptions options = p.options;
    options.algorithm = ConvAlgorithm::kDirect;
    Tensor weights(DType::kFloat32, p.filter), x(DType::kFloat32, p.x);
    std::fill(weights.data<float>().begin(), weights.data<float>().end(), 0.5f);
    std::fill(x.data<float>().begin(), x.data<float>().end(), 1.0f);
    const int64_t tap = p.filter.dim(-1) * p.filter.dim(-2);
    std::fill_n(weights.data<float>().begin(), tap, std::nanf(""));
    const auto graph = Graph::Create();
    const Value vx = graph->Input(x.type()), vw = graph->Input(weights.type());
    const Value y = Conv(vx, vw, options);
    Tensor dy(DType::kFloat32, y.shape());
    std::fill(dy.data<float>().begin(), dy.data<float>().end(), 1.0f);
    const Value vdy = graph->Input(dy.type());
    const Value dx = ConvInputGradient(vdy, vw, graph->node(y.ref.node).attrs, p.x);
    const std::vector<Value> inputs = {vx, vw, vdy}, outputs = {y, dx};
    const auto executable = runtime->Compile(inputs, outputs);
    ASSERT_TRUE(executable.ok()) << executable.status().message();
    std::vector<Tensor> data = {x, weights, dy}, results(2);
    ASSERT_TRUE(runtime->Run(**executable, data, results).ok());
    EXPECT_EQ(std::isnan(results[0].data<float>().front()), p.takes_part) << "y of " << x.type() << weights.type();
    EXPECT_EQ(std::isnan(results[1].data<float>().back()), p.takes_part) << "dx of " << x.type() << weights.type();
  }
}

INSTANTIATE_TEST_SUITE_P(All, Padding, ::testing::ValuesIn(TargetsAndReference()),
                         [](const auto& info) { return info.param.empty() ? "reference" : info.param; });

TEST(Coverage, EveryOpHasCases) {
  OpRegistry ops;
  RegisterAllOps(ops);
  std::set<std::string> covered;
  for (const OpCase& c : Cases()) {
    if (!c.bench_only) covered.insert(c.op);
  }
  for (const OpDef* op : ops.all()) {
    if (op->kind == OpKind::kLeaf) continue;
    EXPECT_TRUE(covered.contains(std::string(op->name))) << op->name << " has no case";
  }
}

// What is worth timing must not fall back to the reference unseen.
TEST(Coverage, HighwayTakesEveryBenchCase) {
  auto runtime = MakeTestRuntime(HighwayTargets().front(), 1, {.forbid = {"reference"}});
  int cases = 0;
  for (const OpCase& c : Cases()) {
    if (!c.bench) continue;
    ++cases;
    const auto graph = Graph::Create();
    const std::vector<Value> inputs = RecordInputs(c, *graph);
    const std::vector<Value> outputs = c.build(*graph, inputs);
    const auto executable = runtime->Compile(inputs, outputs);
    EXPECT_TRUE(executable.ok()) << c.name << ": " << executable.status().message();
  }
  EXPECT_GT(cases, 10);
}

#ifdef WEIR_HAS_LLVM
// As of the cases that are run, MakeTestRuntime sees to it.
TEST(Coverage, LlvmTakesEveryBenchCase) {
  if (!MakeLlvmBackend({}).ok()) GTEST_SKIP() << "no processor for it";
  auto runtime = MakeTestRuntime("llvm", 1);
  int cases = 0;
  for (const OpCase& c : Cases()) {
    if (!c.bench_only) continue;
    ++cases;
    const auto graph = Graph::Create();
    const std::vector<Value> inputs = RecordInputs(c, *graph), outputs = c.build(*graph, inputs);
    const auto executable = runtime->Compile(inputs, outputs);
    EXPECT_TRUE(executable.ok()) << c.name << ": " << executable.status().message();
    runtime->cache().Clear();
  }
  EXPECT_GT(cases, 10);
}
#endif

TEST(Coverage, UnknownAndUnavailableTargetsAreErrors) {
  const auto unknown = MakeHighwayBackend({.target = "AVX9"});
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(std::string(unknown.status().message()).find(HighwayTargets().front()), std::string::npos)
      << unknown.status().message();
}

}  // namespace
}  // namespace weir
