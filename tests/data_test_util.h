// What the tests of data sets share: a folder of their own, archives, and faults with their texts.
#ifndef WEIR_TESTS_DATA_TEST_UTIL_H_
#define WEIR_TESTS_DATA_TEST_UTIL_H_

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "fault.h"
#include "temp_folder.h"
#include "weir/frontend/io/file.h"

namespace weir {

class DataTest : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("NO_PROXY", "127.0.0.1", 1);
    if (const char* variable = std::getenv("WEIR_CIFAR10"); variable != nullptr) variable_ = variable;
    ::unsetenv("WEIR_CIFAR10");
  }
  void TearDown() override {
    if (!variable_.empty()) ::setenv("WEIR_CIFAR10", variable_.c_str(), 1);
  }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  void Write(const std::string& name, const std::string& contents) const {
    ASSERT_TRUE(WriteFileAtomically(Path(name), contents).ok());
  }

  const TempFolder temp_;
  const std::filesystem::path folder_ = temp_.path();
  std::string variable_;  // what WEIR_CIFAR10 was before the test
};

// A tar archive with the members given: files, folders (names that end with a slash) and links.
struct Member {
  std::string name;
  const std::string* contents = nullptr;
  std::string symlink = {};
  std::string hardlink = {};
};
inline void WriteTar(const std::string& path, const std::vector<Member>& members) {
  archive* writer = archive_write_new();
  archive_write_set_format_ustar(writer);
  archive_write_add_filter_gzip(writer);
  archive_write_set_filter_option(writer, "gzip", "compression-level", "1");
  archive_write_set_filter_option(writer, "gzip", "timestamp", nullptr);
  ASSERT_EQ(archive_write_open_filename(writer, path.c_str()), ARCHIVE_OK);
  for (const Member& member : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, member.name.c_str());
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_filetype(entry, member.name.ends_with('/') ? AE_IFDIR : AE_IFREG);
    if (!member.symlink.empty()) {
      archive_entry_set_filetype(entry, AE_IFLNK);
      archive_entry_set_symlink(entry, member.symlink.c_str());
    }
    if (!member.hardlink.empty()) archive_entry_set_hardlink(entry, member.hardlink.c_str());
    if (member.contents != nullptr) archive_entry_set_size(entry, static_cast<la_int64_t>(member.contents->size()));
    EXPECT_EQ(archive_write_header(writer, entry), ARCHIVE_OK) << member.name;
    if (member.contents != nullptr) archive_write_data(writer, member.contents->data(), member.contents->size());
    archive_entry_free(entry);
  }
  EXPECT_EQ(archive_write_close(writer), ARCHIVE_OK);
  archive_write_free(writer);
}

}  // namespace weir

#endif  // WEIR_TESTS_DATA_TEST_UTIL_H_
