// CIFAR-10 in every place and state people have it in.
#include "data_test_util.h"
#include "http_server.h"
#include "weir/frontend/data/checksum.h"
#include "weir/frontend/data/cifar10.h"
#include "weir/frontend/data/generated.h"

namespace weir {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;
using datasets::Cifar10Options;
using datasets::LoadCifar10;

constexpr int64_t kRecordBytes = 3073;
constexpr int64_t kFileBytes = 30'730'000;
const std::vector<std::string> kFiles = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                         "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

// Record r: label r % 10, red plane r % 251, green plane the row, blue plane the column.
std::string Records() {
  std::string contents(kFileBytes, '\0');
  for (int64_t r = 0; r < 10'000; ++r) {
    char* record = contents.data() + r * kRecordBytes;
    record[0] = static_cast<char>(r % 10);
    std::fill_n(record + 1, 1024, static_cast<char>(r % 251));
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 32; ++x) {
        record[1 + 1024 + y * 32 + x] = static_cast<char>(y);
        record[1 + 2048 + y * 32 + x] = static_cast<char>(x);
      }
    }
  }
  return contents;
}

std::vector<Member> CifarMembers(const std::string& records, const std::string& names) {
  std::vector<Member> members = {{"cifar-10-batches-bin/"}, {"cifar-10-batches-bin/batches.meta.txt", &names}};
  for (const std::string& file : kFiles) members.push_back({"cifar-10-batches-bin/" + file, &records});
  members.push_back({"cifar-10-batches-bin/readme.html", &names});
  return members;
}

void ExpectCifar(const absl::StatusOr<DatasetPair>& pair) {
  ASSERT_TRUE(pair.ok()) << pair.status();
  ASSERT_EQ(pair->train.images.type(), (TensorType{DType::kUint8, {50'000, 32, 32, 3}}));
  ASSERT_EQ(pair->test.images.type(), (TensorType{DType::kUint8, {10'000, 32, 32, 3}}));
  EXPECT_EQ(pair->train.name, "CIFAR-10");
  for (const int64_t i : {0, 1, 9'999, 10'000, 33'333, 49'999}) {
    EXPECT_EQ(pair->train.label(i), i % 10'000 % 10);
    for (const int64_t y : {0, 17}) {
      EXPECT_EQ(pair->train.images.at<uint8_t>({i, y, 31, 0}), i % 10'000 % 251);
      EXPECT_EQ(pair->train.images.at<uint8_t>({i, y, 31, 1}), y);
      EXPECT_EQ(pair->train.images.at<uint8_t>({i, y, 31, 2}), 31);
    }
  }
  EXPECT_EQ(pair->test.class_name(7), "horse");
}

class CifarTest : public DataTest {
 protected:
  // The six files as links to one.
  void MakeFolder(const fs::path& folder) {
    fs::create_directories(folder);
    if (records_.empty()) records_ = Records();
    ASSERT_TRUE(WriteFileAtomically((folder / kFiles[0]).string(), records_).ok());
    for (size_t i = 1; i < kFiles.size(); ++i) fs::create_hard_link(folder / kFiles[0], folder / kFiles[i]);
  }
  // Replaces a link by a file of its own.
  void Replace(const fs::path& path, const std::string& contents) {
    fs::remove(path);
    ASSERT_TRUE(WriteFileAtomically(path.string(), contents).ok());
  }

  std::string records_;
};

TEST_F(CifarTest, FindsTheFolderFromWhereverThePathPoints) {
  MakeFolder(folder_ / "data/cifar-10-batches-bin");
  ExpectCifar(LoadCifar10({.folder = Path("data")}));
  ExpectCifar(LoadCifar10({.folder = Path("data/cifar-10-batches-bin")}));
  ::setenv("WEIR_CIFAR10", Path("data").c_str(), 1);
  EXPECT_TRUE(LoadCifar10().ok());
  ::setenv("WEIR_CIFAR10", "/no/such/place", 1);
  EXPECT_FAULT(LoadCifar10().status(), StatusCode::kNotFound, "looked in /no/such/place");
  EXPECT_FAULT(datasets::LoadCifar10OrGenerated().status(), StatusCode::kNotFound, "/no/such/place");
  EXPECT_TRUE(LoadCifar10({.folder = Path("data")}).ok()) << "the argument wins";
  ::unsetenv("WEIR_CIFAR10");
  EXPECT_TRUE(LoadCifar10({.download = false, .cache_folder = Path("data")}).ok());
  // Folder inside folder, as some unpackers leave it.
  fs::create_directories(folder_ / "twice/cifar-10-batches-bin");
  fs::rename(folder_ / "data/cifar-10-batches-bin", folder_ / "twice/cifar-10-batches-bin/cifar-10-batches-bin");
  EXPECT_TRUE(LoadCifar10({.folder = Path("twice")}).ok());
}

TEST_F(CifarTest, FaultsOfAFolderAreToldApart) {
  EXPECT_FAULT(LoadCifar10({.folder = Path("absent")}).status(), StatusCode::kNotFound,
               "not found: looked in " + Path("absent"));
  fs::create_directories(folder_ / "empty");
  EXPECT_FAULT(LoadCifar10({.folder = Path("empty")}).status(), StatusCode::kNotFound,
               "not found: looked in " + Path("empty"));
  fs::create_directories(folder_ / "python/cifar-10-batches-py");
  Write("python/cifar-10-batches-py/data_batch_1", "pickle");
  EXPECT_FAULT(LoadCifar10({.folder = Path("python")}).status(), StatusCode::kFailedPrecondition, "Python version");
  EXPECT_FAULT(LoadCifar10({.folder = Path("python/cifar-10-batches-py")}).status(), StatusCode::kFailedPrecondition,
               "Python version");

  MakeFolder(folder_ / "d");
  fs::remove(folder_ / "d/data_batch_4.bin");
  EXPECT_FAULT(LoadCifar10({.folder = Path("d")}).status(), StatusCode::kNotFound, Path("d/data_batch_4.bin"));
  Replace(folder_ / "d/data_batch_4.bin", records_.substr(0, kFileBytes - 1));
  EXPECT_FAULT(LoadCifar10({.folder = Path("d")}).status(), StatusCode::kDataLoss,
               Path("d/data_batch_4.bin") + ": incomplete (30729999 of 30730000 bytes)");
  Replace(folder_ / "d/data_batch_4.bin", records_ + "x");
  EXPECT_FAULT(LoadCifar10({.folder = Path("d")}).status(), StatusCode::kDataLoss,
               "too long (30730001 bytes, expected 30730000)");
  records_[1234 * kRecordBytes] = 10;
  Replace(folder_ / "d/data_batch_4.bin", records_);
  EXPECT_FAULT(LoadCifar10({.folder = Path("d")}).status(), StatusCode::kDataLoss,
               Path("d/data_batch_4.bin") + ": record 1234 has label 10, expected 0..9");
}

TEST_F(CifarTest, ReadsTheArchiveItself) {
  const std::string names = "airplane\n";
  const std::string archive = Path("cifar-10-binary.tar.gz");
  WriteTar(archive, CifarMembers(Records(), names));
  Cifar10Options options{.archive_bytes = static_cast<int64_t>(fs::file_size(archive)),
                         .archive_md5 = *Md5OfFile(archive),
                         .archive_sha256 = *Sha256OfFile(archive)};
  options.folder = archive;
  ExpectCifar(LoadCifar10(options));
  options.folder = folder_.string();
  EXPECT_TRUE(LoadCifar10(options).ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "nothing is unpacked beside it";

  std::string whole = *ReadFile(archive);
  whole[whole.size() / 2] ^= 1;
  Write("flipped.tar.gz", whole);
  options.folder = Path("flipped.tar.gz");
  EXPECT_FAULT(LoadCifar10(options).status(), StatusCode::kDataLoss, "checksum differs");
  Write("cut.tar.gz", whole.substr(0, whole.size() / 3));
  options.folder = Path("cut.tar.gz");
  EXPECT_FAULT(LoadCifar10(options).status(), StatusCode::kDataLoss,
               StrCat("incomplete (", whole.size() / 3, " of ", whole.size(), " bytes)"));
  const std::string pickle = "pickle";
  WriteTar(Path("python.tar.gz"), {{"cifar-10-batches-py/"}, {"cifar-10-batches-py/data_batch_1", &pickle}});
  options.folder = Path("python.tar.gz");
  EXPECT_FAULT(LoadCifar10(options).status(), StatusCode::kFailedPrecondition, "Python version");
}

TEST_F(CifarTest, DownloadsIntoTheCacheAndReadsItFromThere) {
  const std::string names = "airplane\n";
  WriteTar(Path("archive"), CifarMembers(Records(), names));
  const std::string archive = *ReadFile(Path("archive"));
  Cifar10Options options{.archive_bytes = static_cast<int64_t>(archive.size()),
                         .archive_md5 = *Md5OfFile(Path("archive")),
                         .archive_sha256 = {},
                         .cache_folder = Path("cache"),
                         .show_progress = false};
  {
    // A broken connection and an incomplete folder from elsewhere do not block it.
    fs::create_directories(folder_ / "cache/cifar-10-batches-bin");
    Write("cache/cifar-10-batches-bin/data_batch_1.bin", "partial");
    Server server({Serves(archive, archive.size() / 2), Serves(archive)});
    options.url = server.Url("cifar-10-binary.tar.gz");
    ExpectCifar(LoadCifar10(options));
    EXPECT_EQ(server.requests().size(), 2u);
  }
  options.url = "http://127.0.0.1:1/";
  EXPECT_TRUE(LoadCifar10(options).ok()) << "the second run needs no network";
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "cache")) {
    if (entry.is_regular_file()) files.push_back(entry.path().filename().string());
  }
  EXPECT_EQ(files.size(), 8u) << "six files, the names and the lock: " << StrJoin(files, " ");

  options.cache_folder = Path("other");
  options.download = false;
  EXPECT_FAULT(LoadCifar10(options).status(), StatusCode::kNotFound, "not found: looked in " + Path("other"));
  EXPECT_FALSE(fs::exists(Path("other")));
}

TEST_F(CifarTest, ADownloadThatFailsSaysWhereItLooked) {
  Server server({Fails(404)});
  const Cifar10Options options{.url = server.Url(), .cache_folder = Path("cache"), .show_progress = false};
  const absl::Status status = LoadCifar10(options).status();
  EXPECT_FAULT(status, StatusCode::kUnavailable, "not found: looked in " + Path("cache"));
  EXPECT_FAULT(status, StatusCode::kUnavailable, "HTTP status 404");
  testing::internal::CaptureStderr();
  const absl::StatusOr<datasets::Cifar10OrGenerated> stand_in = datasets::LoadCifar10OrGenerated(options);
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(stand_in.ok()) << stand_in.status();
  EXPECT_TRUE(stand_in->generated);
  EXPECT_EQ(stand_in->data.train.name, "generated shapes");
  EXPECT_EQ(stand_in->data.train.size(), 50'000);
  EXPECT_NE(said.find("generated pictures"), std::string::npos) << said;
  EXPECT_NE(said.find("404"), std::string::npos) << said;
  EXPECT_EQ(said, stand_in->notice + "\n");
}

// Checks of the published data, where WEIR_CIFAR10 says where it is.
TEST(RealCifarTest, FirstPicturesAreTheOnesPublished) {
  const char* folder = std::getenv("WEIR_CIFAR10");
  if (folder == nullptr) {
    std::printf("WEIR_CIFAR10 is not set: the published data is not checked\n");
    return;
  }
  const absl::StatusOr<DatasetPair> pair = LoadCifar10({.folder = folder});
  ASSERT_TRUE(pair.ok()) << pair.status();
  EXPECT_EQ(pair->train.class_name(0), "frog");
  EXPECT_EQ(pair->train.class_name(7), "horse");
  EXPECT_EQ(pair->test.class_name(0), "cat");
  // Upper left pixel of training image 0.
  EXPECT_EQ(pair->train.images.at<uint8_t>({0, 0, 0, 0}), 59);
  EXPECT_EQ(pair->train.images.at<uint8_t>({0, 0, 0, 1}), 62);
  EXPECT_EQ(pair->train.images.at<uint8_t>({0, 0, 0, 2}), 63);
  std::vector<int> counts(10);
  for (const int32_t label : pair->train.labels.data<int32_t>()) ++counts.at(label);
  for (const int count : counts) EXPECT_EQ(count, 5000);
}

}  // namespace
}  // namespace weir
