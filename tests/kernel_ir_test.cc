// kernel_ir by itself: printing, verification, and the interpreter, against the reference. That compiled kernels give the
// reference's bits is conformance_test's subject.
#include <gtest/gtest.h>

#include "llvm_test_util.h"
#include "sanitized.h"
#include "weir/backends/llvm/kernel_interpreter.h"
#include "weir/backends/llvm/kernel_ir.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir {
namespace {

using jit::Elem;
using jit::IrBuffer;
using jit::IrOp;
using jit::Kernel;
using jit::KernelBuilder;
using jit::kNoVal;
using jit::Val;

Kernel SlidingSum() {
  KernelBuilder b("sliding sum");
  const int x = b.Buffer({IrBuffer::Kind::kInput, 0, Elem::kF32, 0});
  const int y = b.Buffer({IrBuffer::Kind::kOutput, 0, Elem::kF32, 0});
  b.Loop(b.I64(0), b.I64(8), 4, [&](Val i) {
    const Val sum = b.For(b.I64(0), b.I64(4), 1, {b.F32(0, 4)}, [&](Val j, const std::vector<Val>& acc) {
      return std::vector<Val>{b.Binary(IrOp::kAdd, acc[0], b.Load(x, b.Add(i, j), 4))};
    })[0];
    b.Store(y, sum, i);
  });
  return b.Take();
}

TEST(KernelIr, PrintsLoopsAndRuns) {
  const Kernel kernel = SlidingSum();
  EXPECT_TRUE(jit::Verify(kernel).ok());
  const std::string text = jit::ToText(kernel);
  for (const char* part : {"for %", "step 4", "carrying", "load f32x4", "add f32x4", "yield", "store f32x4"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  }
  float in[11], out[8] = {};
  for (int i = 0; i < 11; ++i) in[i] = static_cast<float>(i);
  const std::byte* inputs[] = {reinterpret_cast<const std::byte*>(in)};
  std::byte* outputs[] = {reinterpret_cast<std::byte*>(out)};
  jit::Interpret(kernel, {.state = nullptr, .inputs = inputs, .outputs = outputs, .workspace = nullptr, .scratch = nullptr,
                          .task = 0, .errors = nullptr});
  for (int i = 0; i < 8; ++i) EXPECT_EQ(out[i], static_cast<float>(4 * i + 6));
}

// Each must be refused, with a message that says why.
TEST(KernelIr, WrongKernelsAreRefused) {
  const auto refused = [](const char* reason, const std::function<void(KernelBuilder&)>& build) {
    KernelBuilder b("wrong");
    build(b);
    const absl::Status status = jit::Verify(b.Take());
    ASSERT_FALSE(status.ok()) << reason;
    EXPECT_NE(std::string(status.message()).find(reason), std::string::npos) << status.message();
  };
  refused("stores to an input", [](KernelBuilder& b) {
    b.Store(b.Buffer({IrBuffer::Kind::kInput, 0, Elem::kF32, 0}), b.F32(1), b.I64(0));
  });
  refused("in a buffer of", [](KernelBuilder& b) {
    b.Store(b.Buffer({IrBuffer::Kind::kOutput, 0, Elem::kI32, 0}), b.F32(1), b.I64(0));
  });
  refused("index of type", [](KernelBuilder& b) {
    b.Load(b.Buffer({IrBuffer::Kind::kInput, 0, Elem::kF32, 0}), b.Const({Elem::kI32, 1}, 0), 4);
  });
  refused("operands of types", [](KernelBuilder& b) { b.Binary(IrOp::kAdd, b.F32(1), b.F32(1, 4)); });
  refused("not defined for", [](KernelBuilder& b) { b.Unary(IrOp::kSqrt, b.I64(4)); });
  refused("the divisor is no constant", [](KernelBuilder& b) { b.Binary(IrOp::kDiv, b.Task(), b.Task()); });
  refused("the divisor is no constant, or 0", [](KernelBuilder& b) { b.Binary(IrOp::kRem, b.Task(), b.I64(0)); });
  refused("step 0", [](KernelBuilder& b) { b.Loop(b.I64(0), b.I64(4), 0, [](Val) {}); });
  refused("is not known here", [](KernelBuilder& b) {
    Val inner = kNoVal;
    b.Loop(b.I64(0), b.I64(4), 1, [&](Val i) { inner = b.Binary(IrOp::kAdd, i, i); });
    b.Binary(IrOp::kAdd, inner, inner);
  });
  refused("carries f32 in and f32x4 back", [](KernelBuilder& b) {
    b.For(b.I64(0), b.I64(4), 1, {b.F32(0)}, [&](Val, const std::vector<Val>&) { return std::vector<Val>{b.F32(0, 4)}; });
  });
  refused("branches of different types", [](KernelBuilder& b) {
    const Val less = b.Binary(IrOp::kLt, b.Task(), b.I64(1));
    b.Select(less, b.F32(1), b.I64(1));
  });
  refused("shift by 32", [](KernelBuilder& b) { b.Unary(IrOp::kShl, b.Const({Elem::kI32, 1}, 1), 32); });
  refused("stores to an input", [](KernelBuilder& b) {
    b.Stream(b.Buffer({IrBuffer::Kind::kInput, 0, Elem::kF32, 0}), b.F32(1, 16), b.I64(0));
  });
  refused("asks about no output", [](KernelBuilder& b) {
    b.MayStream(b.Buffer({IrBuffer::Kind::kInput, 0, Elem::kF32, 0}));
  });
  refused("no lane 4", [](KernelBuilder& b) { b.Lane(b.Iota({Elem::kI32, 4}), 4); });
}

// What the lowerings say is right before LLVM has seen it.
TEST(KernelIr, InterpretedKernelsEqualTheReference) {
  const auto reference = MakeReferenceRuntime();
  // Three threads: the thread sanitizer sees what tasks of a kernel share, which it can not in compiled code.
  const auto interpreted = MakeLlvmRuntime({.interpret = true}, 3);
  constexpr size_t kEvery = kSanitized ? 4 : 1;
  int taken = 0;
  const std::vector<OpCase> all_cases = AllOpCases();
  for (size_t i = 0; i < all_cases.size(); i += kEvery) {
    const OpCase& c = all_cases[i];
    if (c.bench_only) continue;
    const auto graph = Graph::Create();
    const std::vector<Value> inputs = RecordInputs(c, *graph), outputs = c.build(*graph, inputs);
    std::vector<Tensor> results[2];
    for (int k = 0; k < 2; ++k) {
      Runtime& runtime = k == 0 ? *reference : *interpreted;
      const auto executable = runtime.Compile(inputs, outputs);
      ASSERT_TRUE(executable.ok()) << c.name << ": " << executable.status().message();
      std::vector<Tensor> data = MakeInputs(c);
      results[k].resize(outputs.size());
      (void)runtime.Run(**executable, data, results[k]);
      for (const PlanStep& step : (*executable)->plan().steps) taken += step.backend == "llvm";
    }
    for (size_t o = 0; o < outputs.size(); ++o) EXPECT_TRUE(SameBits(results[0][o], results[1][o])) << c.name << ", output " << o;
  }
  EXPECT_GT(taken, 100);
}

}  // namespace
}  // namespace weir
