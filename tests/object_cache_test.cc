// The cache of compiled objects: what it keeps, its bound, many threads and processes, damage.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "llvm_test_util.h"
#include "temp_folder.h"
#include "weir/backends/llvm/object_cache.h"
#include "weir/ops/ops.h"

namespace weir {
namespace {

namespace fs = std::filesystem;

TEST(ObjectCache, KeepsWhatItWasGivenAndNothingElse) {
  const TempFolder folder;
  const jit::ObjectCache cache(folder.path() + "/deep/er", 1 << 20);
  EXPECT_FALSE(cache.Find("a").has_value());
  cache.Store("a", "object a");
  EXPECT_EQ(cache.Find("a"), "object a");
  EXPECT_FALSE(cache.Find("b").has_value());
  const std::string path = cache.PathOf("a");
  const auto damage = [&](const std::function<void(std::string&)>& change) {
    cache.Store("a", "object a");
    std::string bytes;
    {
      std::ifstream file(path, std::ios::binary);
      bytes.assign(std::istreambuf_iterator<char>(file), {});
    }
    change(bytes);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    EXPECT_FALSE(cache.Find("a").has_value());
  };
  damage([](std::string& bytes) { bytes.clear(); });
  damage([](std::string& bytes) { bytes.resize(bytes.size() - 1); });
  damage([](std::string& bytes) { bytes.resize(10); });
  damage([](std::string& bytes) { bytes.back() ^= 1; });
  damage([](std::string& bytes) { bytes[0] = 'X'; });
  damage([&](std::string& bytes) {  // the entry of another key under this name
    cache.Store("b", "object b");
    std::ifstream file(cache.PathOf("b"), std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  });
  cache.Store("a", "object a");
  EXPECT_EQ(cache.Find("a"), "object a");
}

TEST(ObjectCache, FoldersThatCanNotBeWrittenAreFine) {
  const TempFolder folder;
  std::ofstream(folder.path() + "/file") << "x";
  const jit::ObjectCache cache(folder.path() + "/file", 1 << 20);  // not a folder at all
  cache.Store("a", "object");
  EXPECT_FALSE(cache.Find("a").has_value());
}

TEST(ObjectCache, StaysBelowItsBound) {
  const TempFolder folder;
  const jit::ObjectCache cache(folder.path(), 10000);
  for (int i = 0; i < 30; ++i) cache.Store(std::to_string(i), std::string(1000, 'x'));
  int64_t bytes = 0;
  for (const fs::path& file : folder.Files()) bytes += static_cast<int64_t>(fs::file_size(file));
  EXPECT_LE(bytes, 10000);
  EXPECT_GT(bytes, 0);
}

TEST(ObjectCache, ManyThreadsMayShareIt) {
  const TempFolder folder;
  const std::string object(100000, 'o');
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const jit::ObjectCache cache(folder.path(), int64_t{1} << 30);
      for (int i = 0; i < 50; ++i) {
        cache.Store("key", object);
        const std::optional<std::string> found = cache.Find("key");
        EXPECT_TRUE(found.has_value() && *found == object);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(folder.Files().size(), 1u);
}

// Processes that start at once: all compute the same, whoever compiles, reads or replaces the entry.
TEST(ObjectCache, ManyProcessesMayShareIt) {
  const TempFolder folder;
  const auto compute = [&] {
    const auto runtime = MakeLlvmRuntime({.cache_folder = folder.path()});
    const auto graph = Graph::Create();
    const Value y = Sum(Tanh(graph->Data(Tensor::Full(DType::kFloat32, {3, 50}, 0.3))), {1});
    return runtime->Evaluate({&y, 1})[0];
  };
  std::vector<pid_t> children;
  for (int c = 0; c < 6; ++c) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      bool same = true;
      const Tensor first = compute();
      for (int i = 0; i < 3; ++i) same &= BitEqual(compute(), first);
      _exit(same && std::abs(first.data<float>()[0] - 50 * std::tanh(0.3f)) < 1e-4f ? 0 : 1);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_EQ(folder.Files().size(), 1u);  // no temporary file is left
}

TEST(ObjectCache, PlansComeBackFromItWithTheSameBits) {
  const TempFolder folder;
  Tensor results[3];
  for (int k = 0; k < 3; ++k) {
    if (k == 2) {  // damaged: compiled again
      for (const fs::path& file : folder.Files()) fs::resize_file(file, fs::file_size(file) / 2);
    }
    const auto runtime = MakeLlvmRuntime({.cache_folder = folder.path()});
    const auto graph = Graph::Create();
    const Value y = Sum(Tanh(graph->Data(Tensor::Full(DType::kFloat32, {3, 50}, 0.3))), {1});
    results[k] = runtime->Evaluate({&y, 1})[0];
    EXPECT_EQ(folder.Files().size(), 1u);
  }
  EXPECT_TRUE(BitEqual(results[0], results[1]));
  EXPECT_TRUE(BitEqual(results[0], results[2]));
}

}  // namespace
}  // namespace weir
