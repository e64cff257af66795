// The cache of compiled objects: what it keeps, its bound, many threads and processes, damage.
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/stat.h>
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

// What another user could have put there is not run: the folder is the user's alone, and so is each entry.
class StrangeEntries : public testing::Test {
 protected:
  StrangeEntries() { cache_.Store("key", "object"); }

  // Nothing is found, nothing hangs, and a new object takes its place where that may be.
  void ExpectNothing(const char* what) {
    EXPECT_FALSE(cache_.Find("key").has_value()) << what;
  }
  void ExpectReplaced(const char* what) {
    ExpectNothing(what);
    cache_.Store("key", "object");
    EXPECT_EQ(cache_.Find("key"), "object") << what;
  }

  const TempFolder outer_;
  const std::string folder_ = outer_.path() + "/cache";
  const jit::ObjectCache cache_{folder_, int64_t{1} << 30};
  const std::string path_ = cache_.PathOf("key");
};

TEST_F(StrangeEntries, TheFolderIsTheUsersAlone) {
  struct stat info;
  ASSERT_EQ(stat(folder_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(cache_.Find("key"), "object");
  for (mode_t mode : {0770, 0707}) {
    chmod(folder_.c_str(), mode);
    ExpectNothing("a folder that others may write");
    cache_.Store("other", "object");
    chmod(folder_.c_str(), 0700);
    EXPECT_FALSE(cache_.Find("other").has_value());
  }
  EXPECT_EQ(cache_.Find("key"), "object");
}

TEST_F(StrangeEntries, FilesThatOthersMayWriteAreNotUsed) {
  for (mode_t mode : {0660, 0606, 0666}) {
    chmod(path_.c_str(), mode);
    ExpectReplaced("a file that others may write");
  }
}

TEST_F(StrangeEntries, FilesOfOtherUsersAreNotUsed) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(chown(path_.c_str(), 1, 1), 0);
  ExpectReplaced("another user's file");
  ASSERT_EQ(chown(folder_.c_str(), 1, 1), 0);
  ExpectNothing("another user's folder");
}

TEST_F(StrangeEntries, LinksAreNotFollowed) {
  const std::string elsewhere = outer_.path() + "/elsewhere";
  fs::rename(path_, elsewhere);
  fs::create_symlink(elsewhere, path_);
  ExpectReplaced("a link");
  EXPECT_FALSE(fs::is_symlink(path_));
  // Nor are those of temporary names: whatever stands there is left alone.
  std::ofstream(elsewhere) << "precious";
  for (int serial = 0; serial < 2000; ++serial) {
    fs::create_symlink(elsewhere, path_ + "." + std::to_string(getpid()) + "." + std::to_string(serial) + ".tmp");
  }
  cache_.Store("key", "another object");
  std::ifstream file(elsewhere);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "precious");
}

TEST_F(StrangeEntries, WhatIsNoRegularFileIsNone) {
  fs::remove(path_);
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  ExpectReplaced("a FIFO");
  fs::remove(path_);
  fs::create_directory(path_);
  ExpectNothing("a folder");
  cache_.Store("key", "object");  // can't take the folder's place, and does no harm
  ExpectNothing("a folder");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);  // and no temporary file
}

TEST_F(StrangeEntries, HugeFilesAreNotRead) {
  ASSERT_EQ(truncate(path_.c_str(), int64_t{3} << 30), 0);
  ExpectReplaced("3 GB of nothing");
}

// The process is not ended by a limit on the size of its files.
TEST_F(StrangeEntries, FilesThatMayNotGrowAreNotWritten) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const rlimit limit = {1024, 1024};
    setrlimit(RLIMIT_FSIZE, &limit);
    cache_.Store("large", std::string(100000, 'x'));
    _exit(cache_.Find("large").has_value() ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
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
