// From kernels to functions that run, without a plan around them: what is linked, named and freed by the plug-in, what
// debuggers and profilers see of it, processors, when the plug-in is loaded, and what happens where it can't be used.
#include <gtest/gtest.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "llvm_test_util.h"
#include "sanitized.h"
#include "temp_folder.h"
#include "weir/backends/highway/highway_backend.h"
#include "weir/backends/llvm/jit.h"
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

float RunAdd(KernelFn function) {
  alignas(64) float x[16], y[16];
  for (int i = 0; i < 16; ++i) x[i] = static_cast<float>(i);
  const std::byte* inputs[] = {reinterpret_cast<const std::byte*>(x)};
  std::byte* outputs[] = {reinterpret_cast<std::byte*>(y)};
  function({.state = nullptr, .inputs = inputs, .outputs = outputs, .workspace = nullptr, .scratch = nullptr, .task = 0,
            .errors = nullptr});
  for (int i = 1; i < 16; ++i) EXPECT_EQ(y[i], y[0] + static_cast<float>(i));
  return y[0];
}

bool PluginIsLoaded() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("weir_llvm.so") != std::string::npos) return true;
  }
  return false;
}

// How the pages at an address may be used: "r-xp"; "" for those that are not mapped.
std::string AccessOf(const void* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long long begin = 0, end = 0;
    char access[5] = "";
    EXPECT_EQ(std::sscanf(line.c_str(), "%llx-%llx %4s", &begin, &end, access), 3) << line;
    const auto at = reinterpret_cast<uintptr_t>(address);
    if (at >= begin && at < end) return access;
  }
  return "";
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

std::unique_ptr<Runtime> MakeLlvmAndHighwayRuntime(LlvmOptions options = {}) {
  OpRegistry ops;
  RegisterAllOps(ops);
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(*MakeLlvmBackend(options));
  backends.push_back(*MakeHighwayBackend({}));
  backends.push_back(MakeReferenceBackend());
  return std::make_unique<Runtime>(std::move(ops), std::move(backends), 1);
}

// Whether it computes, and which backend did.
bool Computes(Runtime& runtime, std::string_view backend) {
  const auto graph = Graph::Create();
  const Value x = graph->Input({DType::kFloat32, {3, 50}});
  const Value inputs[] = {x}, roots[] = {Sum(Tanh(x), {1})};
  const auto executable = runtime.Compile(inputs, roots);
  if (!executable.ok()) return false;
  std::vector<Tensor> in = {Tensor::Full(DType::kFloat32, {3, 50}, 0.3)}, out(1);
  if (!runtime.Run(**executable, in, out).ok()) return false;
  for (const PlanStep& step : (*executable)->plan().steps) {
    if (step.backend != backend) return false;
  }
  return std::abs(out[0].data<float>()[0] - 50 * std::tanh(0.3f)) < 1e-4f;
}

// First of all, since the others load it.
TEST(LlvmPlugin, IsLoadedWhenTheFirstProgramIsCompiled) {
  if (PluginIsLoaded()) GTEST_SKIP() << "another test of this process has compiled something: run it alone";
  EXPECT_EQ(InChild([] {
              const auto runtime = MakeLlvmAndHighwayRuntime();
              if (PluginIsLoaded()) return 1;
              return Computes(*runtime, "llvm") && PluginIsLoaded() ? 0 : 2;
            }),
            0);
  EXPECT_FALSE(PluginIsLoaded());
}

TEST(LlvmPlugin, SaysWhereItIsMissing) {
  if (PluginIsLoaded()) GTEST_SKIP() << "another test of this process has compiled something: run it alone";
  const TempFolder folder;
  EXPECT_EQ(InChild([&] {
              const std::string path = folder.path() + "/missing.so";
              setenv("WEIR_LLVM_LIBRARY", path.c_str(), 1);
              const auto backend = MakeLlvmBackend({});
              return backend.status().code() == absl::StatusCode::kUnimplemented &&
                     backend.status().message().find("WEIR_LLVM_LIBRARY: there is no " + path) != std::string::npos;
            }),
            1);
}

// It is there, and can't be used: Highway takes over, and one line says why.
TEST(LlvmPlugin, HighwayTakesOverFromOneThatCanNotBeUsed) {
  if (PluginIsLoaded()) GTEST_SKIP() << "another test of this process has compiled something: run it alone";
  const TempFolder folder;
  const std::string text = folder.path() + "/text.so";
  std::ofstream(text) << "no library";
  for (const std::string& path : {text, std::string("libm.so.6")}) {
    EXPECT_EQ(InChild([&] {
                setenv("WEIR_LLVM_LIBRARY", path == text ? path.c_str() : "/lib/x86_64-linux-gnu/libm.so.6", 1);
                testing::internal::CaptureStderr();
                const auto runtime = MakeLlvmAndHighwayRuntime();
                const bool computes = Computes(*runtime, "highway") && Computes(*runtime, "highway");
                const std::string said = testing::internal::GetCapturedStderr();
                if (!computes) return 1;
                if (said.find("the next takes over: LLVM: WEIR_LLVM_LIBRARY: ") == std::string::npos) return 2;
                return std::count(said.begin(), said.end(), '\n') == 1 ? 0 : 3;
              }),
              0)
        << path;
  }
}

// From now on mprotect refuses pages that may be executed.
bool ForbidExecutablePages() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mprotect, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program = {static_cast<unsigned short>(std::size(filter)), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(LlvmPlugin, HighwayTakesOverWhereMemoryMayNotBeExecuted) {
  constexpr int kNoFilter = 77;
  const int result = InChild([] {
    if (!ForbidExecutablePages()) return kNoFilter;
    testing::internal::CaptureStderr();
    const auto runtime = MakeLlvmAndHighwayRuntime();
    const bool computes = Computes(*runtime, "highway") && Computes(*runtime, "highway");
    const std::string said = testing::internal::GetCapturedStderr();
    std::fputs(said.c_str(), stderr);
    if (!computes) return 1;
    if (said.find("can't be used here, the next takes over: LLVM: compiled kernels can't be linked: ") == std::string::npos) return 2;
    return std::count(said.begin(), said.end(), '\n') == 1 ? 0 : 3;
  });
  if (result == kNoFilter) GTEST_SKIP() << "this machine lets no process filter its calls";
  EXPECT_EQ(result, 0);
}

TEST(LlvmPlugin, HighwayTakesOverWhereThereIsNoAddressSpace) {
  if (kSanitized) GTEST_SKIP() << "sanitizers take all address space there is";
  if (PluginIsLoaded()) GTEST_SKIP() << "another test of this process has compiled something: run it alone";
  EXPECT_EQ(InChild([] {
              testing::internal::CaptureStderr();
              const auto runtime = MakeLlvmAndHighwayRuntime();
              long pages = 0;
              std::ifstream("/proc/self/statm") >> pages;
              const rlim_t bytes = static_cast<rlim_t>(pages) * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (16u << 20);
              const rlimit limit = {bytes, bytes};
              if (setrlimit(RLIMIT_AS, &limit) != 0) return 4;
              const bool computes = Computes(*runtime, "highway");
              const std::string said = testing::internal::GetCapturedStderr();
              std::fputs(said.c_str(), stderr);
              if (!computes) return 1;
              return said.find("the next takes over: LLVM: ") != std::string::npos ? 0 : 2;
            }),
            0);
}

// A fall-back that the user forbids is an error that says why there was one.
TEST(LlvmPlugin, ForbiddenFallBacksAreErrors) {
  if (PluginIsLoaded()) GTEST_SKIP() << "another test of this process has compiled something: run it alone";
  const TempFolder folder;
  EXPECT_EQ(InChild([&] {
              const std::string path = folder.path() + "/text.so";
              std::ofstream(path) << "no library";
              setenv("WEIR_LLVM_LIBRARY", path.c_str(), 1);
              OpRegistry ops;
              RegisterAllOps(ops);
              std::vector<std::unique_ptr<Backend>> backends;
              backends.push_back(*MakeLlvmBackend({}));
              backends.push_back(*MakeHighwayBackend({}));
              Runtime runtime(std::move(ops), std::move(backends), 1, {.forbid = {"highway", "reference"}});
              const auto graph = Graph::Create();
              const Value x = graph->Input({DType::kFloat32, {50}});
              const Value inputs[] = {x}, roots[] = {x + 1};
              const auto executable = runtime.Compile(inputs, roots);
              const std::string message(executable.status().message());
              return executable.status().code() == absl::StatusCode::kFailedPrecondition &&
                             message.find("falls back to highway, which is forbidden") != std::string::npos &&
                             message.find(path) != std::string::npos
                         ? 0
                         : 1;
            }),
            0);
}

class JitTest : public testing::Test {
 protected:
  jit::Compiled Compile(const jit::Jit& jit, std::span<const jit::NamedKernel> kernels) {
    auto compiled = jit.Compile(kernels, pool_);
    EXPECT_TRUE(compiled.ok()) << compiled.status().message();
    return compiled.ok() ? *std::move(compiled) : jit::Compiled{};
  }

  ThreadPool pool_{2};
};

TEST_F(JitTest, LinksKernelsThatCallTheHost) {
  const jit::Jit jit("", nullptr);
  const jit::Kernel add = AddKernel(1.5f), report = ReportKernel();
  const jit::NamedKernel kernels[] = {{&add, "dense.add"}, {&report, "loss"}};
  const jit::Compiled compiled = Compile(jit, kernels);
  ASSERT_EQ(compiled.functions.size(), 2u);
  EXPECT_EQ(RunAdd(compiled.functions[0]), 1.5f);
  KernelErrors errors;
  compiled.functions[1]({.state = nullptr, .inputs = nullptr, .outputs = nullptr, .workspace = nullptr, .scratch = nullptr,
                         .task = 12, .errors = &errors});
  EXPECT_EQ(errors.ToStatus().message(), "Test: label 12 at row 7 is outside [0, 10)");
}

TEST_F(JitTest, EqualKernelsAreCompiledOnceAndEqualNamesAreToldApart) {
  const TempFolder folder;
  const jit::Jit jit("", std::make_shared<const jit::ObjectCache>(folder.path(), int64_t{1} << 30));
  const jit::Kernel one = AddKernel(1), same = AddKernel(1), other = AddKernel(2);
  const jit::NamedKernel kernels[] = {{&one, "add"}, {&other, "add"}, {&same, "add_1"}};
  const jit::Compiled compiled = Compile(jit, kernels);
  ASSERT_EQ(compiled.functions.size(), 3u);
  EXPECT_EQ(compiled.functions[0], compiled.functions[2]);
  EXPECT_NE(compiled.functions[0], compiled.functions[1]);
  EXPECT_EQ(RunAdd(compiled.functions[0]), 1.0f);
  EXPECT_EQ(RunAdd(compiled.functions[1]), 2.0f);
}

// Plans of the same kernels live side by side; each one's code goes with it, and is never writable while it can run.
TEST_F(JitTest, CodeIsNotWritableAndGoesWithItsPlan) {
  const TempFolder folder;
  const jit::Jit jit("", std::make_shared<const jit::ObjectCache>(folder.path(), int64_t{1} << 30));
  const jit::Kernel kernel = AddKernel(1.5f);
  const jit::NamedKernel kernels[] = {{&kernel, "add"}};
  jit::Compiled first = Compile(jit, kernels), second = Compile(jit, kernels);
  ASSERT_EQ(folder.Files().size(), 1u);  // the second came from the cache
  const auto first_code = reinterpret_cast<const void*>(first.functions[0]);
  EXPECT_NE(first.functions[0], second.functions[0]);
  EXPECT_EQ(AccessOf(first_code), "r-xp");
  first = {};
  EXPECT_NE(AccessOf(first_code), "r-xp");
  EXPECT_EQ(RunAdd(second.functions[0]), 1.5f);
}

// Plans that come and go leave nothing behind: not code, not what debuggers are told of it.
TEST_F(JitTest, MemoryOfPlansComesBack) {
  const TempFolder folder;
  const jit::Jit jit("", std::make_shared<const jit::ObjectCache>(folder.path(), int64_t{1} << 30));
  const jit::Kernel kernel = AddKernel(1.5f);
  const jit::NamedKernel kernels[] = {{&kernel, "add"}};
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    int lines = 0;
    for (std::string line; std::getline(maps, line);) ++lines;
    return lines;
  };
  for (int i = 0; i < 20; ++i) Compile(jit, kernels);
  const int before = mappings();
  for (int i = 0; i < 300; ++i) Compile(jit, kernels);
  EXPECT_LE(mappings(), before + 20);
}

// One session compiles for all threads, each of which may do another's work: every plan has its own kernels all the same,
// and takes all of its own along when it goes.
TEST_F(JitTest, PlansOfManyThreads) {
  const jit::Jit jit("", nullptr);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        const float number = static_cast<float>(100 * t + i);
        const jit::Kernel kernel = AddKernel(number), other = AddKernel(-number);
        const jit::NamedKernel kernels[] = {{&kernel, "add"}, {&other, "other"}};
        const auto code = Compile(jit, kernels);
        wrong += RunAdd(code.functions[0]) != number || RunAdd(code.functions[1]) != -number;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// An object that the cache gave and that is none: an error, and the JIT goes on.
TEST_F(JitTest, ObjectsThatAreCutAreRefused) {
  const auto plugin = jit::LoadPlugin();
  ASSERT_TRUE(plugin.ok()) << plugin.status().message();
  const auto facts = (*plugin)->describe_processor("");
  ASSERT_TRUE(facts.ok());
  const auto linker = (*plugin)->make_linker(*facts, {});
  ASSERT_TRUE(linker.ok()) << linker.status().message();
  const jit::Kernel kernel = AddKernel(1.5f);
  const jit::NamedKernel kernels[] = {{&kernel, "add"}};
  std::string object;
  {
    const auto plan = (*linker)->NewPlan();
    ASSERT_TRUE(plan.ok());
    ASSERT_TRUE((*plan)->CompileAndLink(kernels, &object).ok());
  }
  ASSERT_GT(object.size(), 100u);
  for (const std::string& bad : {std::string(), std::string(1000, 'x'), object.substr(0, 64), object.substr(0, object.size() / 2)}) {
    const auto plan = (*linker)->NewPlan();
    ASSERT_TRUE(plan.ok());
    const auto linked = (*plan)->Link(kernels, bad);
    ASSERT_FALSE(linked.ok());
    EXPECT_NE(linked.status().message().find("can't be linked: "), std::string::npos) << linked.status().message();
  }
  const auto plan = (*linker)->NewPlan();
  ASSERT_TRUE(plan.ok());
  const auto linked = (*plan)->Link(kernels, object);
  ASSERT_TRUE(linked.ok()) << linked.status().message();
  EXPECT_EQ(RunAdd((*linked)[0]), 1.5f);
}

// Of all that LLVM knows, those that have what kernels need and this machine can run compile for what they have.
TEST_F(JitTest, ProcessorsAreWhatLlvmKnowsOfThem) {
  const auto unknown = jit::FindTarget("z80");
  ASSERT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(unknown.status().message().find("sapphirerapids"), std::string::npos) << unknown.status().message();
  const jit::Kernel kernel = AddKernel(1);
  const jit::NamedKernel kernels[] = {{&kernel, "add"}};
  int made = 0;
  for (const char* name : {"x86-64", "nehalem", "x86-64-v3", "x86-64-v4", "haswell", "znver3", "znver4", "znver5",
                           "alderlake", "skylake-avx512", "sapphirerapids", "graniterapids"}) {
    const jit::Jit jit(name, nullptr);
    if (!jit.target().ok()) {
      EXPECT_NE(jit.target().status().message().find(" has no "), std::string::npos) << jit.target().status().message();
      continue;
    }
    testing::internal::CaptureStderr();
    const auto code = jit.Show(kernels, jit::CodeForm::kAssembly);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << name;  // where LLVM says what it doesn't know
    ASSERT_TRUE(code.ok()) << code.status().message();
    EXPECT_EQ(code->find("%zmm") != std::string::npos, jit.target()->vector_parts == 1) << name;
    EXPECT_EQ(RunAdd(Compile(jit, kernels).functions[0]), 1.0f) << name;
    ++made;
  }
  EXPECT_GT(made, 0);
}

TEST_F(JitTest, ThisProcessorIsTheSameEachTime) {
  const auto first = jit::FindTarget(""), second = jit::FindTarget("");
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_EQ(first->identity, second->identity);
  const auto named = jit::FindTarget("x86-64-v3");
  ASSERT_TRUE(named.ok()) << named.status().message();
  EXPECT_NE(first->identity, named->identity);
}

}  // namespace
}  // namespace weir
