// Saving among faults: kills, full disks, several writers, readers beside writers, links, modes, mount points.
#include <signal.h>
#include <sys/file.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>

#include <atomic>
#include <thread>

#include "saving_test_util.h"
#include "weir/frontend/io/folder.h"

namespace weir {
namespace {

// A compiled model after `steps` steps, so that weights, counters and optimizer state tell them apart.
Model After(int steps) {
  // One thread: a forked child has no others.
  const Sequential model(
      {Dense({.units = 24, .activation = "relu", .kernel_initializer = GlorotUniform({.seed = 1}), .input_shape = {16}}), Dense({.units = 4, .kernel_initializer = GlorotUniform({.seed = 2})})},
      {.runtime = &TestRuntime("highway", 1)});
  model.Compile({.optimizer = "adam", .loss = "mse"});
  for (int i = 0; i < steps; ++i) model.TrainOnBatch({UniformTensor({4, 16}, 1), UniformTensor({4, 4}, 2)});
  return model;
}

// Whether `loaded` is wholly the model of one of the steps.
bool IsOneOf(const Model& loaded, const std::vector<Model>& models) {
  for (const Model& model : models) {
    if (model.iterations() == loaded.iterations()) return SameWeights(model, loaded);
  }
  return false;
}

int CountEntries(const std::string& path) {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(path)) ++count;
  return count;
}

mode_t ModeOf(const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

// A process that saves the models in turn, for ever.
pid_t ForkSaver(const std::vector<Model>& models, const std::string& path, const std::string& working_folder = "") {
  const pid_t child = fork();
  if (child != 0) return child;
  if (!working_folder.empty() && chdir(working_folder.c_str()) != 0) _exit(2);
  for (size_t i = 0;; ++i) {
    if (!models[i % models.size()].Save(path).ok()) _exit(1);
  }
}

void Kill(pid_t child) {
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "saving failed: exit " << WEXITSTATUS(status);
}

TEST(Saving, KillsLeaveAWholeModelAndTheNextSaveCleansUp) {
  TempFolder folder;
  const std::vector<Model> models{After(1), After(2)};
  ASSERT_TRUE(models[0].Save(folder / "m").ok());
  for (int i = 0; i < 40; ++i) {
    const pid_t child = ForkSaver(models, folder / "m");
    usleep(static_cast<useconds_t>(300 + 700 * i));
    Kill(child);
    const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(IsOneOf(*loaded, models));
  }
  ASSERT_TRUE(models[1].Save(folder / "m").ok());
  EXPECT_EQ(CountEntries(folder.path()), 1) << "litter is left";
}

TEST(Saving, KillsInAFolderThatStays) {
  // The working folder can't be exchanged for another one: the same holds, by other means.
  TempFolder folder;
  const std::vector<Model> models{After(1), After(2)};
  fs::create_directory(folder / "m");
  struct stat before = {}, after = {};
  ASSERT_EQ(stat((folder / "m").c_str(), &before), 0);
  ASSERT_TRUE(models[0].Save(folder / "m").ok());
  ASSERT_EQ(stat((folder / "m").c_str(), &before), 0);
  for (int i = 0; i < 40; ++i) {
    const pid_t child = ForkSaver(models, ".", folder / "m");
    usleep(static_cast<useconds_t>(300 + 700 * i));
    Kill(child);
    const absl::StatusOr<Model> loaded = LoadModel(folder / "m");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(IsOneOf(*loaded, models));
    EXPECT_TRUE(LoadModel(folder / "m", {}, false).ok());
    EXPECT_TRUE(models[0].LoadWeights(folder / "m", true).ok());
    ASSERT_TRUE(models[0].LoadWeights(folder / "m").ok());
    const Model fresh = After(1);
    for (size_t w = 0; w < fresh.weights().size(); ++w) models[0].weights()[w].Assign(fresh.weights()[w].value());
  }
  ASSERT_EQ(stat((folder / "m").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  const int child = fork();
  if (child == 0) _exit(chdir((folder / "m").c_str()) != 0 || !models[1].Save(".").ok() ? 1 : 0);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(CountEntries(folder / "m"), 2) << "litter is left";
  // A save from outside is of the usual kind again.
  ASSERT_TRUE(models[1].Save(folder / "m").ok());
  EXPECT_TRUE(fs::exists(folder / "m/weights.safetensors"));
  EXPECT_TRUE(IsOneOf(*LoadModel(folder / "m"), models));
}

TEST(Saving, FirstSavesThatCoincide) {
  const std::vector<Model> models{After(1), After(2), After(3), After(4)};
  for (int round = 0; round < 20; ++round) {
    TempFolder folder;
    std::vector<std::thread> threads;
    std::vector<absl::Status> results(models.size());
    std::atomic<int> ready{0};
    for (size_t i = 0; i < models.size(); ++i) {
      threads.emplace_back([&, i] {
        ++ready;
        while (ready < static_cast<int>(models.size())) {
        }
        results[i] = models[i].Save(folder / "new/m");
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
    const absl::StatusOr<Model> loaded = LoadModel(folder / "new/m");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(IsOneOf(*loaded, models));
    EXPECT_EQ(CountEntries(folder / "new"), 1);
  }
}

// Two processes that save while this one loads.
void ExpectReadersSeeWholeModels(const std::string& path, const std::string& save_as, const std::string& working_folder) {
  const std::vector<Model> models{After(1), After(2), After(3)};
  ASSERT_TRUE(models[0].Save(path).ok());
  const pid_t first = ForkSaver(models, save_as, working_folder);
  const pid_t second = ForkSaver({models[2], models[0]}, save_as, working_folder);
  int different = 0;
  int64_t last = -1;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  for (int i = 0; i < 50 || std::chrono::steady_clock::now() < end; ++i) {
    const absl::StatusOr<Model> loaded = LoadModel(path);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    if (!loaded.ok()) break;
    EXPECT_TRUE(IsOneOf(*loaded, models));
    different += loaded->iterations() != last;
    last = loaded->iterations();
  }
  EXPECT_GT(different, 3) << "the writers did not write";
  Kill(first);
  Kill(second);
}

TEST(Saving, ReadersBesideTwoWriters) {
  TempFolder folder;
  ExpectReadersSeeWholeModels(folder / "m", folder / "m", "");
}

TEST(Saving, ReadersBesideTwoWritersInAFolderThatStays) {
  TempFolder folder;
  ExpectReadersSeeWholeModels(folder / "m", ".", folder / "m");
}

TEST(Saving, AFullDiskLeavesTheOldModel) {
  TempFolder folder;
  const Model old = After(1);
  // Larger than the limit: weights that don't fit, or a configuration that doesn't.
  const Model large = Sequential({Dense({.units = 4000, .input_shape = {16}})}, {.runtime = &TestRuntime("highway", 1)});
  fs::create_directory(folder / "stays");
  ASSERT_TRUE(old.Save(folder / "m").ok());
  ASSERT_TRUE(old.Save(folder / "stays").ok());
  for (const bool stays : {false, true}) {
    const std::string path = folder / (stays ? "stays" : "m");
    const int child = fork();
    if (child == 0) {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{20'000, 20'000};
      setrlimit(RLIMIT_FSIZE, &limit);
      if (stays && chdir(path.c_str()) != 0) _exit(2);
      const absl::Status status = large.Save(stays ? "." : path);
      _exit(status.code() == absl::StatusCode::kResourceExhausted && Says(status, "weights") ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0) << path;
    const absl::StatusOr<Model> loaded = LoadModel(path);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(SameWeights(old, *loaded));
    EXPECT_EQ(CountEntries(path), 2);
  }
  EXPECT_EQ(CountEntries(folder.path()), 2) << "a temporary is left";
}

TEST(Saving, AMountPointAsFolder) {
  TempFolder folder;
  fs::create_directory(folder / "mount");
  // In a child with a mount of its own, where that is allowed.
  const int child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("weir", (folder / "mount").c_str(), "tmpfs", 0, "size=300k") != 0) {
      _exit(77);
    }
    const std::vector<Model> models{After(1), After(2), After(3)};
    for (const Model& model : models) {
      if (!model.Save(folder / "mount").ok()) _exit(1);
      const absl::StatusOr<Model> loaded = LoadModel(folder / "mount");
      if (!loaded.ok() || !SameWeights(model, *loaded)) _exit(2);
    }
    if (CountEntries(folder / "mount") != 2) _exit(3);
    // A disk that is really full.
    const Model large = Sequential({Dense({.units = 8000, .input_shape = {16}})}, {.runtime = &TestRuntime("highway", 1)});
    if (large.Save(folder / "mount").code() != absl::StatusCode::kResourceExhausted) _exit(4);
    const absl::StatusOr<Model> loaded = LoadModel(folder / "mount");
    _exit(loaded.ok() && SameWeights(models[2], *loaded) ? 0 : 5);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "nothing may be mounted here";
  EXPECT_EQ(status, 0) << "exit " << WEXITSTATUS(status);
}

TEST(Saving, LinksAndModesAreKept) {
  TempFolder folder;
  const Model model = After(1), next = After(2);
  ASSERT_TRUE(model.Save(folder / "real").ok());
  fs::create_directory_symlink("real", folder / "link");
  chmod((folder / "real").c_str(), 0750);
  chmod((folder / "real/config.json").c_str(), 0600);
  chmod((folder / "real/weights.safetensors").c_str(), 0640);
  ASSERT_TRUE(next.Save(folder / "link").ok());
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_FALSE(fs::is_symlink(folder / "real"));
  EXPECT_TRUE(SameWeights(next, *LoadModel(folder / "real")));
  EXPECT_EQ(ModeOf(folder / "real"), 0750u);
  EXPECT_EQ(ModeOf(folder / "real/config.json"), 0600u);
  EXPECT_EQ(ModeOf(folder / "real/weights.safetensors"), 0640u);
  // A link to where nothing is yet, and links in a circle.
  fs::create_symlink(folder / "deep/er/model", folder / "ahead");
  ASSERT_TRUE(model.Save(folder / "ahead").ok());
  EXPECT_TRUE(fs::is_symlink(folder / "ahead"));
  EXPECT_TRUE(SameWeights(model, *LoadModel(folder / "deep/er/model")));
  fs::create_symlink("b", folder / "a");
  fs::create_symlink("a", folder / "b");
  EXPECT_FALSE(model.Save(folder / "a").ok());
  // New folders have the mode that the process gives.
  const mode_t mask = umask(027);
  ASSERT_TRUE(model.Save(folder / "masked").ok());
  umask(mask);
  EXPECT_EQ(ModeOf(folder / "masked"), 0750u);
  EXPECT_EQ(ModeOf(folder / "masked/config.json"), 0640u);
  // Weights alone: a link to a file stays, whether that file is there or not.
  fs::create_symlink("w1", folder / "w");
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(model.SaveWeights(folder / "w").ok());
  EXPECT_TRUE(fs::is_symlink(folder / "w"));
  EXPECT_TRUE(fs::is_regular_file(folder / "w1"));
}

TEST(Saving, LitterOfOthersAndWhatIsInUseStays) {
  TempFolder folder;
  const Model model = After(1);
  // Left by killed saves of this path; one that somebody still writes; and things of the user's own.
  fs::create_directory(folder / "m.weir-abc012.tmp");
  WriteBytes(folder / "m.weir-abc012.tmp/config.json", "{");
  fs::create_directory(folder / "m.weir-inuse0.tmp");
  fs::create_directory(folder / "m.weir-ABC012.tmp");
  fs::create_directory(folder / "m.backup.tmp");
  fs::create_directory(folder / "other.weir-abc012.tmp");
  WriteBytes(folder / "w.weir-abc012.tmp", "half");
  const int used = open((folder / "m.weir-inuse0.tmp").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(used, LOCK_EX | LOCK_NB), 0);
  ASSERT_TRUE(model.Save(folder / "m").ok());
  EXPECT_FALSE(fs::exists(folder / "m.weir-abc012.tmp"));
  for (const char* name : {"m.weir-inuse0.tmp", "m.weir-ABC012.tmp", "m.backup.tmp", "other.weir-abc012.tmp", "w.weir-abc012.tmp"}) {
    EXPECT_TRUE(fs::exists(folder / name)) << name;
  }
  ASSERT_TRUE(model.SaveWeights(folder / "w").ok());
  EXPECT_FALSE(fs::exists(folder / "w.weir-abc012.tmp"));
  close(used);
  ASSERT_TRUE(model.Save(folder / "m").ok());
  EXPECT_FALSE(fs::exists(folder / "m.weir-inuse0.tmp"));
}

TEST(Saving, FoldersOfOtherThingsAreNotReplaced) {
  TempFolder folder;
  const Model model = After(1);
  for (const char* name : {"notes.txt", "weights-backup.safetensors", "config.json.bak", "weights.safetensors.tmp"}) {
    const std::string path = folder / StrCat("of_", name);
    fs::create_directory(path);
    WriteBytes(path + "/" + name, "important");
    const absl::Status status = model.Save(path);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << name;
    EXPECT_TRUE(Says(status, name)) << status;
    EXPECT_EQ(ReadBytes(path + "/" + name), "important");
  }
  fs::create_directory(folder / "empty");
  EXPECT_TRUE(model.Save(folder / "empty").ok());
  EXPECT_TRUE(model.Save(folder / "slashes///").ok());
  EXPECT_TRUE(LoadModel(folder / "slashes").ok());
  EXPECT_TRUE(LoadModel(folder / "slashes/").ok());
}

TEST(Saving, WhereNoModelIsTheMessageSaysSo) {
  TempFolder folder;
  fs::create_directory(folder / "empty");
  WriteBytes(folder / "file", "text");
  for (const char* name : {"none", "empty", "file", "file/below"}) {
    const absl::Status status = LoadModel(folder / name).status();
    EXPECT_TRUE(Says(status, StrCat("No saved model at ", folder / name))) << status;
  }
  const Model model = After(1);
  EXPECT_TRUE(Says(model.LoadWeights(folder / "empty").status(), "No saved model at ")) << model.LoadWeights(folder / "empty").status();
  // Names of weights lead nowhere else.
  ASSERT_TRUE(model.Save(folder / "m").ok());
  const NamedTensors tensors = TensorsOf(folder / "m");
  nlohmann::json config = nlohmann::json::parse(ReadBytes(folder / "m/config.json"));
  for (const nlohmann::json& name : {nlohmann::json("../m/weights.safetensors"), nlohmann::json("/etc/passwd"), nlohmann::json(3), nlohmann::json("weights.weir-../..a.safetensors")}) {
    config["weights_file"] = name;
    WriteModel(folder / "bad", config.dump(), tensors);
    EXPECT_TRUE(Says(LoadModel(folder / "bad").status(), "weights_file")) << LoadModel(folder / "bad").status();
  }
  // Nor does a pipe or a folder in a file's place keep anybody waiting.
  fs::remove(folder / "bad/config.json");
  ASSERT_EQ(mkfifo((folder / "bad/config.json").c_str(), 0600), 0);
  EXPECT_EQ(LoadModel(folder / "bad").status().code(), absl::StatusCode::kFailedPrecondition);
  fs::remove(folder / "bad/config.json");
  fs::create_directory(folder / "bad/config.json");
  EXPECT_EQ(LoadModel(folder / "bad").status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace weir
