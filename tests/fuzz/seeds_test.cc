// The fuzz targets with the seeds that the fuzzer begins from: seeds/TARGET/good* are accepted, bad* are refused, and
// no beginning of either does harm.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "weir/tests/fuzz/targets.h"

namespace weir::fuzz {
namespace {

class SeedsTest : public testing::TestWithParam<Target> {};

TEST_P(SeedsTest, AreReadAsTheirNamesSay) {
  const std::filesystem::path folder = std::filesystem::path(WEIR_SOURCE_DIR) / "tests/fuzz/seeds" / GetParam().name;
  int good = 0, bad = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const bool expected = name.starts_with("good");
    ASSERT_TRUE(expected || name.starts_with("bad")) << name;
    EXPECT_EQ(GetParam().run(bytes), expected) << name;
    ++(expected ? good : bad);
    const size_t step = std::max<size_t>(1, bytes.size() / 16);
    for (size_t size = 0; size < bytes.size(); size += step) GetParam().run(std::string_view(bytes).substr(0, size));
  }
  EXPECT_GT(good, 0) << folder;
  EXPECT_GT(bad, 0) << folder;
}

INSTANTIATE_TEST_SUITE_P(Targets, SeedsTest, testing::ValuesIn(kTargets),
                         [](const testing::TestParamInfo<Target>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace weir::fuzz
