// Who may include what: the seams of the architecture, checked over every source file.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Include {
  std::string file;    // relative to the source folder
  std::string target;  // between the quotes or angle brackets
};

std::vector<Include> IncludesUnder(const std::vector<std::string>& folders) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  const fs::path root = WEIR_SOURCE_DIR;
  std::vector<Include> includes;
  for (const std::string& folder : folders) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cc") continue;
      std::ifstream file(entry.path());
      std::smatch match;
      for (std::string line; std::getline(file, line);) {
        if (std::regex_search(line, match, kInclude)) {
          includes.push_back({fs::relative(entry.path(), root).string(), match[1]});
        }
      }
    }
  }
  return includes;
}

bool StartsWith(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

// Every include of weir's own files from `folders` must start with one of `allowed`.
void ExpectOnly(const std::vector<std::string>& folders, const std::vector<std::string>& allowed) {
  int seen = 0;
  for (const Include& include : IncludesUnder(folders)) {
    ++seen;
    if (!StartsWith(include.target, "weir/")) continue;
    bool ok = false;
    for (const std::string& prefix : allowed) ok |= StartsWith(include.target, prefix);
    EXPECT_TRUE(ok) << include.file << " includes " << include.target;
  }
  EXPECT_GT(seen, 0) << "no sources found";
}

TEST(IncludeRules, CoreKnowsOnlyItselfAndAbseil) {
  ExpectOnly({"core"}, {"weir/core/"});
  for (const Include& include : IncludesUnder({"core"})) {
    const bool library = include.target.find('/') != std::string::npos;
    EXPECT_TRUE(!library || StartsWith(include.target, "weir/core/") || StartsWith(include.target, "absl/") ||
                StartsWith(include.target, "sys/"))
        << include.file << " includes " << include.target;
  }
}

TEST(IncludeRules, PassesDoNotIncludeEachOther) {
  for (const Include& include : IncludesUnder({"core/passes"})) {
    if (!StartsWith(include.target, "weir/core/passes/")) continue;
    const std::string own = "weir/" + include.file.substr(0, include.file.rfind('.')) + ".h";
    // rewrite is the frame of passes, and lowering takes what fusion makes.
    const bool frame = include.target == "weir/core/passes/rewrite.h" ||
                       (include.file.find("lower.") != std::string::npos && include.target == "weir/core/passes/fuse.h");
    EXPECT_TRUE(include.target == own || frame) << include.file << " includes " << include.target;
  }
}

TEST(IncludeRules, OnlyCompileKnowsThePasses) {
  for (const Include& include : IncludesUnder({"core"})) {
    if (!StartsWith(include.target, "weir/core/passes/") || StartsWith(include.file, "core/passes/")) continue;
    EXPECT_TRUE(include.file == "core/compile.cc" || include.target == "weir/core/passes/rewrite.h")
        << include.file << " includes " << include.target;
  }
}

TEST(IncludeRules, OpsKnowCore) { ExpectOnly({"ops"}, {"weir/core/", "weir/ops/"}); }

TEST(IncludeRules, BackendsKnowNeitherEachOtherNorTheFrontend) {
  ExpectOnly({"backends/reference"}, {"weir/core/", "weir/ops/", "weir/backends/reference/"});
  const auto rules = [](const char* own) {
    return std::vector<std::string>{"weir/core/", "weir/ops/attrs.h", "weir/ops/box_copy.h", "weir/ops/canonical_order.h",
                                    "weir/ops/conv_geometry.h", "weir/ops/reduce_geometry.h", "weir/ops/scalar_",
                                    "weir/ops/winograd", own};
  };
  ExpectOnly({"backends/highway"}, rules("weir/backends/highway/"));
  ExpectOnly({"backends/llvm"}, rules("weir/backends/llvm/"));
}

// Of LLVM only the plug-in knows, and of ORC one file in it; what it is made of, nobody else includes.
TEST(IncludeRules, LlvmStaysInThePlugin) {
  for (const Include& include : IncludesUnder({"core", "ops", "backends", "frontend", "examples", "tests", "bench"})) {
    const std::string where = include.file + " includes " + include.target;
    const bool plugin = StartsWith(include.file, "backends/llvm/codegen/");
    const bool llvm = StartsWith(include.target, "llvm/") || StartsWith(include.target, "llvm-c/");
    if (llvm || StartsWith(include.target, "weir/backends/llvm/codegen/")) EXPECT_TRUE(plugin) << where;
    if (StartsWith(include.target, "llvm/ExecutionEngine/")) EXPECT_EQ(include.file, "backends/llvm/codegen/orc.cc") << where;
    if (!plugin || !StartsWith(include.target, "weir/")) continue;
    EXPECT_TRUE(StartsWith(include.target, "weir/core/") || StartsWith(include.target, "weir/backends/llvm/codegen/") ||
                include.target == "weir/backends/llvm/plugin.h" || include.target == "weir/backends/llvm/kernel_ir.h")
        << where;
  }
}

TEST(IncludeRules, HighwayStaysInItsKernels) {
  for (const Include& include : IncludesUnder({"core", "ops", "backends", "frontend", "examples"})) {
    if (!StartsWith(include.target, "hwy/")) continue;
    EXPECT_TRUE(StartsWith(include.file, "backends/highway/kernels/")) << include.file << " includes " << include.target;
  }
}

TEST(IncludeRules, OnlyTheSessionMakesBackends) {
  ExpectOnly({"examples"}, {"weir/core/", "weir/ops/", "weir/frontend/", "weir/examples/"});
  for (const Include& include : IncludesUnder({"frontend"})) {
    if (!StartsWith(include.target, "weir/backends/")) continue;
    EXPECT_EQ(include.file, "frontend/session.cc") << include.file << " includes " << include.target;
  }
}

TEST(IncludeRules, NothingIncludesTestsOrPrograms) {
  for (const Include& include : IncludesUnder({"core", "ops", "backends", "frontend"})) {
    for (const char* leaf : {"weir/tests/", "weir/bench/", "weir/examples/"}) {
      EXPECT_FALSE(StartsWith(include.target, leaf)) << include.file << " includes " << include.target;
    }
  }
}

}  // namespace
