// From kernels to functions that run, without a plan around them: loading of objects, whole and damaged; processors that
// can be named; when LLVM is loaded, and what is said where it can't be.
#include <gtest/gtest.h>

#include <elf.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "llvm_test_util.h"
#include "temp_folder.h"
#include "weir/backends/llvm/codegen.h"
#include "weir/backends/llvm/jit.h"
#include "weir/backends/llvm/object_loader.h"
#include "weir/core/kernel_errors.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

// y[i] = x[i] + `number` for 16 elements; a constant vector, so that the object has sections of constants.
jit::Kernel AddKernel(float number) {
  jit::KernelBuilder b("add");
  const int x = b.Buffer({jit::IrBuffer::Kind::kInput, 0}), y = b.Buffer({jit::IrBuffer::Kind::kOutput, 0});
  jit::Val sum = b.Binary(jit::IrOp::kAdd, b.Load(x, b.I64(0), 16), b.F32(number, 16));
  b.Store(y, sum, b.I64(0));
  return b.Take();
}
// Reports label `task` of 10 classes, at row 7.
jit::Kernel ReportKernel() {
  jit::KernelBuilder b("report");
  b.ReportLabel("Test: label", b.I64(7), b.Task(), 10);
  return b.Take();
}

std::string ObjectOf(std::vector<jit::Kernel> kernels) {
  std::vector<const jit::Kernel*> pointers;
  for (const jit::Kernel& kernel : kernels) pointers.push_back(&kernel);
  const auto target = jit::FindTarget("");
  EXPECT_TRUE(target.ok()) << target.status().message();
  auto object = jit::GenerateCode(pointers, *target, jit::CodeForm::kObject);
  EXPECT_TRUE(object.ok()) << object.status().message();
  return *std::move(object);
}

void (*Erased(void (*function)(KernelErrors*, const char*, int64_t, int64_t, int64_t)))() {
  return reinterpret_cast<void (*)()>(function);
}
void Report(KernelErrors* errors, const char* what, int64_t row, int64_t label, int64_t classes) {
  errors->OutOfRange(what, row, label, 0, classes);
}
const jit::HostFunction kHost[] = {{jit::kReportLabelSymbol, Erased(&Report)}};

float RunAdd(void* function) {
  alignas(64) float x[16], y[16];
  for (int i = 0; i < 16; ++i) x[i] = static_cast<float>(i);
  const std::byte* inputs[] = {reinterpret_cast<const std::byte*>(x)};
  std::byte* outputs[] = {reinterpret_cast<std::byte*>(y)};
  reinterpret_cast<KernelFn>(function)({.state = nullptr,
                                        .inputs = inputs,
                                        .outputs = outputs,
                                        .workspace = nullptr,
                                        .scratch = nullptr,
                                        .task = 0,
                                        .errors = nullptr});
  for (int i = 1; i < 16; ++i) EXPECT_EQ(y[i], y[0] + static_cast<float>(i));
  return y[0];
}

bool LlvmIsLoaded() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("libLLVM") != std::string::npos) return true;
  }
  return false;
}

// What `body` returns, in a process of its own.
template <class Body>
int InChild(const Body& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  return WEXITSTATUS(status);
}

// First of all, since the others load it.
TEST(LlvmLibrary, IsLoadedOnlyWhereSomethingIsCompiled) {
  if (LlvmIsLoaded()) GTEST_SKIP() << "another test of this process has compiled something: run it alone";
  const TempFolder folder;
  const auto compute = [&] {
    const auto runtime = MakeLlvmRuntime({.cache_folder = folder.path()});
    const auto graph = Graph::Create();
    const Value y = Sum(Tanh(graph->Data(Tensor::Full(DType::kFloat32, {3, 50}, 0.3))), {1});
    return std::abs(runtime->Evaluate({&y, 1})[0].data<float>()[0] - 50 * std::tanh(0.3f)) < 1e-4f;
  };
  enum { kWrong, kLoaded, kNotLoaded };
  const auto loads = [&] { return !compute() ? kWrong : LlvmIsLoaded() ? kLoaded : kNotLoaded; };
  EXPECT_EQ(InChild(loads), kLoaded);
  EXPECT_EQ(InChild(loads), kNotLoaded);
  EXPECT_FALSE(LlvmIsLoaded());
}

TEST(LlvmLibrary, SaysWhereItIsMissing) {
  if (LlvmIsLoaded()) GTEST_SKIP() << "another test of this process has compiled something: run it alone";
  const TempFolder folder;
  const std::string text = folder.path() + "/text.so";
  std::ofstream(text) << "no library";
  for (const std::string& path : {folder.path() + "/missing.so", text}) {
    EXPECT_EQ(InChild([&] {
                setenv("WEIR_LLVM_LIBRARY", path.c_str(), 1);
                const auto backend = MakeLlvmBackend({});
                if (backend.ok()) {
                  // It is there, and it shows only when something is compiled.
                  const jit::Kernel kernel = AddKernel(1);
                  const jit::Kernel* kernels[] = {&kernel};
                  const auto code = jit::GenerateCode(kernels, *jit::FindTarget(""), jit::CodeForm::kObject);
                  return code.status().code() == absl::StatusCode::kUnimplemented &&
                         code.status().message().find(path) != std::string::npos;
                }
                return path != text && backend.status().code() == absl::StatusCode::kUnimplemented &&
                       backend.status().message().find("WEIR_LLVM_LIBRARY: " + path) != std::string::npos;
              }),
              1)
        << path;
  }
}

TEST(ObjectLoader, LoadsObjectsSideBySideAndCallsTheHost) {
  const std::string objects[] = {ObjectOf({AddKernel(1.5f), ReportKernel()}), ObjectOf({AddKernel(-3)})};
  const auto code = jit::LoadedCode::Load(objects, kHost);
  ASSERT_TRUE(code.ok()) << code.status().message();
  EXPECT_EQ(RunAdd((*code)->Find(0, jit::KernelSymbol(0))), 1.5f);
  EXPECT_EQ(RunAdd((*code)->Find(1, jit::KernelSymbol(0))), -3.0f);
  EXPECT_EQ((*code)->Find(1, jit::KernelSymbol(1)), nullptr);
  EXPECT_EQ((*code)->Find(0, "main"), nullptr);
  KernelErrors errors;
  reinterpret_cast<KernelFn>((*code)->Find(0, jit::KernelSymbol(1)))({.state = nullptr,
                                                                      .inputs = nullptr,
                                                                      .outputs = nullptr,
                                                                      .workspace = nullptr,
                                                                      .scratch = nullptr,
                                                                      .task = 12,
                                                                      .errors = &errors});
  EXPECT_EQ(errors.ToStatus().message(), "Test: label 12 at row 7 is outside [0, 10)");
}

// Pages of code are never writable, constants are neither writable nor executable.
TEST(ObjectLoader, CodeIsNotWritable) {
  const std::string object = ObjectOf({AddKernel(1.5f)});
  const auto code = jit::LoadedCode::Load({&object, 1}, kHost);
  ASSERT_TRUE(code.ok()) << code.status().message();
  const auto address = reinterpret_cast<uintptr_t>((*code)->Find(0, jit::KernelSymbol(0)));
  std::ifstream maps("/proc/self/maps");
  bool seen = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long long begin = 0, end = 0;
    char access[5] = "";
    ASSERT_EQ(std::sscanf(line.c_str(), "%llx-%llx %4s", &begin, &end, access), 3) << line;
    if (address < begin || address >= end) continue;
    seen = true;
    EXPECT_STREQ(access, "r-xp");
  }
  EXPECT_TRUE(seen);
}

TEST(ObjectLoader, SaysWhatIsWrong) {
  const auto message = [](const std::string& object, std::span<const jit::HostFunction> host = kHost) {
    const auto code = jit::LoadedCode::Load({&object, 1}, host);
    EXPECT_FALSE(code.ok());
    return code.ok() ? std::string() : std::string(code.status().message());
  };
  const std::string good = ObjectOf({AddKernel(1.5f), ReportKernel()});
  EXPECT_NE(message("").find("object 0 can't be loaded: no ELF file"), std::string::npos);
  EXPECT_NE(message(std::string(1000, 'x')).find("no ELF file"), std::string::npos);
  EXPECT_NE(message(good.substr(0, good.size() / 2)).find("cut off"), std::string::npos);
  EXPECT_NE(message(good, {}).find("nothing here is called 'weir_report_label'"), std::string::npos);
  std::string other = good;
  other[offsetof(Elf64_Ehdr, e_machine)] = EM_AARCH64;
  EXPECT_NE(message(other).find("x86-64"), std::string::npos);
}

// An object cut anywhere, or with any byte of its tables changed, is refused or loaded, but nothing outside of it is
// touched (the address sanitizer's part) and no memory is lost.
TEST(ObjectLoader, DamageIsNoAccident) {
  const std::string good = ObjectOf({AddKernel(1.5f), ReportKernel()});
  for (size_t bytes = 0; bytes < good.size(); ++bytes) {
    const std::string cut = good.substr(0, bytes);
    EXPECT_FALSE(jit::LoadedCode::Load({&cut, 1}, kHost).ok()) << bytes;
  }
  int refused = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    for (unsigned char bits : {0xff, 0x80, 0x01}) {
      std::string damaged = good;
      damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ bits);
      const auto code = jit::LoadedCode::Load({&damaged, 1}, kHost);
      refused += !code.ok();
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(Processors, NamedOnesAreKnownToLlvm) {
  const jit::Kernel kernel = AddKernel(1);
  const jit::Kernel* kernels[] = {&kernel};
  int made = 0;
  for (std::string_view name : jit::ProcessorNames()) {
    const auto target = jit::FindTarget(std::string(name));
    if (!target.ok()) {
      EXPECT_NE(target.status().message().find("it has no "), std::string::npos) << target.status().message();
      continue;
    }
    EXPECT_EQ(target->identity, name);
    testing::internal::CaptureStderr();
    const auto code = jit::GenerateCode(kernels, *target, jit::CodeForm::kAssembly);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << name;  // where LLVM says so
    ASSERT_TRUE(code.ok()) << code.status().message();
    EXPECT_EQ(code->find("%zmm") != std::string::npos, target->vector_parts == 1) << name;
    ++made;
  }
  EXPECT_GT(made, 0);
}

TEST(Processors, ThisOneIsTheSameEachTime) {
  const auto first = jit::FindTarget(""), second = jit::FindTarget("");
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_EQ(first->identity, second->identity);
  const auto named = jit::FindTarget("x86-64-v3");
  ASSERT_TRUE(named.ok()) << named.status().message();
  EXPECT_NE(jit::TargetKey(*first), jit::TargetKey(*named));
}

}  // namespace
}  // namespace weir
