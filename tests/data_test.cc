// Data sets: CIFAR-10 in every place and state people have it in, downloads that break, and generated pictures.
#include <archive.h>
#include <archive_entry.h>
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>

#include "temp_folder.h"
#include "weir/frontend/data/archive.h"
#include "weir/frontend/data/checksum.h"
#include "weir/frontend/data/cifar10.h"
#include "weir/frontend/data/download.h"
#include "weir/frontend/data/generated.h"
#include "weir/frontend/io/file.h"

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

bool Contains(const absl::Status& status, const std::string& text) {
  return std::string(status.message()).find(text) != std::string::npos;
}
#define EXPECT_FAULT(status, expected_code, text)                                              \
  do {                                                                                         \
    const absl::Status weir_fault = (status);                                                  \
    EXPECT_EQ(weir_fault.code(), expected_code) << weir_fault;                                 \
    EXPECT_TRUE(Contains(weir_fault, text)) << weir_fault << "\nlacks: " << std::string(text); \
  } while (false)

// One connection's behaviour: gets the request, gives the bytes to send before the connection is closed.
using Answer = std::function<std::string(const std::string& request)>;

// An HTTP server on 127.0.0.1 that answers its n-th connection with the n-th answer, later ones with the last.
class Server {
 public:
  explicit Server(std::vector<Answer> answers) : answers_(std::move(answers)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 8), 0);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~Server() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }

  std::string Url(const std::string& file = "file") const { return StrCat("http://127.0.0.1:", port_, "/", file); }
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void Serve() {
    while (true) {
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      std::string request;
      char buffer[4096];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const ssize_t count = ::recv(connection, buffer, sizeof(buffer), 0);
        if (count <= 0) break;
        request.append(buffer, static_cast<size_t>(count));
      }
      size_t index = 0;
      {
        const std::lock_guard lock(mutex_);
        index = std::min(requests_.size(), answers_.size() - 1);
        requests_.push_back(request);
      }
      const std::string answer = answers_[index](request);
      for (size_t sent = 0; sent < answer.size();) {
        const ssize_t count = ::send(connection, answer.data() + sent, answer.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) break;
        sent += static_cast<size_t>(count);
      }
      ::close(connection);
    }
  }

  std::vector<Answer> answers_;
  int listener_ = -1;
  int port_ = 0;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

// First byte asked for by a Range header; 0 without one.
size_t RangeStart(const std::string& request) {
  const size_t at = request.find("Range: bytes=");
  return at == std::string::npos ? 0 : std::strtoull(request.c_str() + at + 13, nullptr, 10);
}

// Serves `contents`, continued where a range asks for it; the connection breaks after `most` bytes of the body.
Answer Serves(const std::string& contents, size_t most = std::string::npos) {
  return [=](const std::string& request) {
    const size_t start = RangeStart(request);
    if (start >= contents.size()) return std::string("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n");
    const std::string head = start == 0 ? std::string("HTTP/1.1 200 OK\r\n")
                                        : StrCat("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes ", start, "-",
                                                 contents.size() - 1, "/", contents.size(), "\r\n");
    return StrCat(head, "Content-Length: ", contents.size() - start, "\r\nConnection: close\r\n\r\n",
                  contents.substr(start, most));
  };
}
Answer ServesWithoutRanges(const std::string& contents) {
  return [=](const std::string&) {
    return StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", contents.size(), "\r\nConnection: close\r\n\r\n", contents);
  };
}
Answer Fails(int code) {
  return [=](const std::string&) { return StrCat("HTTP/1.1 ", code, " No\r\nContent-Length: 4\r\n\r\nnope"); };
}

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
  const fs::path folder_ = temp_.path();
  std::string variable_;  // what WEIR_CIFAR10 was before the test
};

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

// A tar archive with the members given; `kind` per member is "" for a file, else a link's target.
struct Member {
  std::string name;
  const std::string* contents = nullptr;
  std::string symlink = {};
  std::string hardlink = {};
};
void WriteTar(const std::string& path, const std::vector<Member>& members) {
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

TEST(DatasetTest, ImagesLabelsAndSlices) {
  Dataset data{
      Tensor::Of<uint8_t>({3, 1, 2, 1}, {1, 2, 3, 4, 5, 255}), Tensor::Of<int32_t>({3}, {0, 1, 7}), {"a", "b"}, "x"};
  EXPECT_EQ(data.size(), 3);
  EXPECT_TRUE(BitEqual(data.image(1), Tensor::Of<float>({1, 1, 2, 1}, {3, 4})));
  EXPECT_EQ(data.class_name(1), "b");
  EXPECT_EQ(data.class_name(2), "7");
  EXPECT_THROW(data.image(3), Error);
  EXPECT_THROW(data.label(-1), Error);
  const Dataset slice = data.Slice(1, 3);
  EXPECT_EQ(slice.size(), 2);
  EXPECT_EQ(slice.label(0), 1);
  EXPECT_EQ(slice.images.raw(), data.images.raw() + 2) << "slices share the elements";
  EXPECT_EQ(data.Take(2).size(), 2);
  EXPECT_EQ(data.Take(99).size(), 3);
  EXPECT_EQ(data.Take(0).size(), 0);
  EXPECT_THROW(data.Slice(2, 4), Error);
  EXPECT_EQ(Dataset().size(), 0);
}

TEST(DatasetTest, ScalingAgreesWithDivision) {
  std::vector<uint8_t> bytes(256);
  for (int i = 0; i < 256; ++i) bytes[i] = static_cast<uint8_t>(i);
  const Dataset data{Tensor::Of<uint8_t>({1, 16, 16, 1}, bytes), Tensor::Of<int32_t>({1}, {0}), {}, "x"};
  for (const double factor : {1.0 / 255, static_cast<double>(1.0f / 255)}) {
    const Dataset scaled = data.Scaled(factor);
    ASSERT_EQ(scaled.images.dtype(), DType::kFloat32);
    for (int i = 0; i < 256; ++i) {
      const float value = scaled.images.data<float>()[i];
      const float exact = static_cast<float>(i) / 255.0f;
      EXPECT_LE(value, std::nextafter(exact, 2.0f)) << i;
      EXPECT_GE(value, std::nextafter(exact, -1.0f)) << i;
    }
  }
  EXPECT_EQ(data.Scaled(1.0 / 255).image(0).data<float>()[255], 1.0f);
  EXPECT_EQ(data.Scaled(2).Scaled(0.5).image(0).data<float>()[7], 7.0f);
}

using ChecksumTest = DataTest;

TEST_F(ChecksumTest, Md5OfKnownTexts) {
  Write("empty", "");
  Write("abc", "abc");
  EXPECT_EQ(*Md5OfFile(Path("empty")), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(*Md5OfFile(Path("abc")), "900150983cd24fb0d6963f7d28e17f72");
  Write("a", std::string(1'000'000, 'a'));
  EXPECT_EQ(*Md5OfFile(Path("a")), "7707d6ae4e027c70eea2a935c2296f21");
}

class DownloadTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    contents_.resize(300'000);
    for (size_t i = 0; i < contents_.size(); ++i) contents_[i] = static_cast<char>(i * 2654435761u >> 13);
    Write("original", contents_);
    md5_ = *Md5OfFile(Path("original"));
  }
  absl::Status Fetch(const Server& server, int attempts = 2) const {
    return Download({.url = server.Url(),
                     .path = Path("x"),
                     .bytes = static_cast<int64_t>(contents_.size()),
                     .md5 = md5_,
                     .attempts = attempts,
                     .show_progress = false});
  }
  void ExpectWhole() const {
    EXPECT_EQ(*ReadFile(Path("x")), contents_);
    EXPECT_FALSE(fs::exists(Path("x.part")));
  }

  std::string contents_;
  std::string md5_;
};

TEST_F(DownloadTest, FetchesAndVerifies) {
  Server server({Serves(contents_)});
  const absl::Status status = Fetch(server);
  ASSERT_TRUE(status.ok()) << status;
  ExpectWhole();
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(DownloadTest, ContinuesABrokenConnectionInOneCall) {
  Server server({Serves(contents_, 100'000), Serves(contents_, 150'000), Serves(contents_)});
  const absl::Status status = Fetch(server);
  ASSERT_TRUE(status.ok()) << status;
  ExpectWhole();
  ASSERT_EQ(server.requests().size(), 3u);
  EXPECT_EQ(RangeStart(server.requests()[1]), 100'000u);
  EXPECT_EQ(RangeStart(server.requests()[2]), 250'000u);
}

TEST_F(DownloadTest, ContinuesInALaterRun) {
  {
    Server server({Serves(contents_, 100'000), Fails(503)});
    EXPECT_FAULT(Fetch(server), StatusCode::kUnavailable, "incomplete (100000 of 300000 bytes)");
  }
  EXPECT_FALSE(fs::exists(Path("x")));
  Server server({Serves(contents_)});
  const absl::Status status = Fetch(server);
  ASSERT_TRUE(status.ok()) << status;
  ExpectWhole();
  ASSERT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(RangeStart(server.requests()[0]), 100'000u);
}

TEST_F(DownloadTest, AServerWithoutRangesIsAskedForAll) {
  Write("x.part", contents_.substr(0, 1000));
  Server server({ServesWithoutRanges(contents_)});
  const absl::Status status = Fetch(server);
  ASSERT_TRUE(status.ok()) << status;
  ExpectWhole();
}

TEST_F(DownloadTest, AWholePartNeedsNoNetwork) {
  Write("x.part", contents_);
  const absl::Status status = Download(
      {.url = "http://127.0.0.1:1/", .path = Path("x"), .bytes = 300'000, .md5 = md5_, .show_progress = false});
  ASSERT_TRUE(status.ok()) << status;
  ExpectWhole();
}

TEST_F(DownloadTest, ForeignRestIsReplaced) {
  for (const size_t size : {size_t{1000}, size_t{300'000}, size_t{400'000}}) {
    Write("x.part", std::string(size, 'z'));
    Server server({Serves(contents_)});
    const absl::Status status = Fetch(server);
    ASSERT_TRUE(status.ok()) << size << ": " << status;
    ExpectWhole();
  }
}

TEST_F(DownloadTest, AFlippedByteIsAChecksumErrorAndLeavesNothing) {
  std::string flipped = contents_;
  flipped[123'456] ^= 1;
  Server server({Serves(flipped)});
  EXPECT_FAULT(Fetch(server), StatusCode::kDataLoss, "checksum differs");
  EXPECT_FALSE(fs::exists(Path("x")));
  EXPECT_FALSE(fs::exists(Path("x.part")));
}

TEST_F(DownloadTest, AShortFileIsIncomplete) {
  // The server believes that this is all there is.
  Server server({Serves(contents_.substr(0, 120'000))});
  EXPECT_FAULT(Fetch(server), StatusCode::kUnavailable, "incomplete (120000 of 300000 bytes)");
  EXPECT_FALSE(fs::exists(Path("x")));
}

TEST_F(DownloadTest, ALongFileIsRefused) {
  Server server({Serves(contents_ + "x")});
  EXPECT_FAULT(Fetch(server), StatusCode::kDataLoss, "longer than the 300000 bytes");
  EXPECT_FALSE(fs::exists(Path("x.part")));
}

TEST_F(DownloadTest, FaultsOfTheServer) {
  {
    Server server({Fails(404)});
    EXPECT_FAULT(Fetch(server), StatusCode::kUnavailable, "HTTP status 404");
    EXPECT_EQ(server.requests().size(), 1u) << "404 is not tried again";
  }
  EXPECT_FALSE(fs::exists(Path("x"))) << "an error page is no data";
  {
    Server server({Fails(500), Serves(contents_)});
    EXPECT_TRUE(Fetch(server).ok());
  }
  EXPECT_FAULT(Download({.url = "http://127.0.0.1:1/",
                         .path = Path("y"),
                         .bytes = 1,
                         .md5 = md5_,
                         .attempts = 1,
                         .show_progress = false}),
               StatusCode::kUnavailable, "127.0.0.1");
  EXPECT_FAULT(
      Download({.url = "file:///etc/hostname", .path = Path("y"), .bytes = 1, .md5 = md5_, .show_progress = false}),
      StatusCode::kUnavailable, "file");
  EXPECT_FAULT(
      Download(
          {.url = "http://127.0.0.1:1/", .path = Path("no/folder/y"), .bytes = 1, .md5 = md5_, .show_progress = false}),
      StatusCode::kNotFound, "no/folder");
}

TEST_F(DownloadTest, VerifyTellsTheThreeCausesApart) {
  EXPECT_TRUE(VerifyFile(Path("original"), 300'000, md5_).ok());
  EXPECT_FAULT(VerifyFile(Path("original"), 300'001, md5_), StatusCode::kDataLoss,
               "incomplete (300000 of 300001 bytes)");
  EXPECT_FAULT(VerifyFile(Path("original"), 299'999, md5_), StatusCode::kDataLoss,
               "too long (300000 bytes, expected 299999)");
  EXPECT_FAULT(VerifyFile(Path("original"), 300'000, std::string(32, '0')), StatusCode::kDataLoss, "checksum differs");
  EXPECT_FAULT(VerifyFile(Path("absent"), 1, md5_), StatusCode::kNotFound, "absent");
}

using ArchiveTest = DataTest;

TEST_F(ArchiveTest, RefusesWhatLeavesTheFolder) {
  const std::string text = "text";
  const auto read = [&](const std::vector<Member>& members, const ArchiveLimits& limits = {}) {
    WriteTar(Path("x.tar.gz"), members);
    std::string all;
    const absl::Status status = ReadArchive(Path("x.tar.gz"), limits,
                                            {.wanted = [](const std::string&) { return absl::StatusOr<int64_t>(1000); },
                                             .data =
                                                 [&](const std::string& name, std::string_view piece) {
                                                   all += StrCat(name, "=", piece, ";");
                                                   return absl::OkStatus();
                                                 }});
    if (!status.ok()) {
      EXPECT_TRUE(all.empty()) << all;
    } else {
      EXPECT_EQ(all, "a/b=text;");
    }
    return status;
  };
  EXPECT_TRUE(read({{"a/"}, {"a/b", &text}}).ok());
  EXPECT_FAULT(read({{"../evil", &text}}), StatusCode::kInvalidArgument, "'../evil'");
  EXPECT_FAULT(read({{"a/../../evil", &text}}), StatusCode::kInvalidArgument, "points out of the folder");
  EXPECT_FAULT(read({{"/tmp/evil", &text}}), StatusCode::kInvalidArgument, "points out of the folder");
  EXPECT_FAULT(read({{.name = "link", .symlink = "/etc"}}), StatusCode::kInvalidArgument, "is a link");
  EXPECT_FAULT(read({{.name = "link", .hardlink = "/etc/passwd"}}), StatusCode::kInvalidArgument, "is a link");
  EXPECT_FAULT(read({{"a/b", &text}}, {.total_bytes = 3}), StatusCode::kResourceExhausted, "more than 3 bytes");
  EXPECT_FAULT(read({{"a/"}, {"b/"}, {"c/"}}, {.members = 2}), StatusCode::kResourceExhausted, "more than 2 members");
  const std::string large(2000, 'x');
  EXPECT_FAULT(read({{"a/b", &large}}), StatusCode::kResourceExhausted, "more than 1000 bytes");
}

TEST_F(ArchiveTest, CutOrForeignFilesAreErrors) {
  const std::string text(100'000, 'x');
  WriteTar(Path("x"), {{"a", &text}, {"b", &text}});
  const std::string whole = *ReadFile(Path("x"));
  const ArchiveVisitor skip = {.wanted = [](const std::string&) { return absl::StatusOr<int64_t>(-1); }, .data = {}};
  EXPECT_TRUE(ReadArchive(Path("x"), {}, skip).ok());
  for (const size_t size : {size_t{0}, size_t{5}, whole.size() / 3, whole.size() / 2}) {
    Write("cut", whole.substr(0, size));
    EXPECT_EQ(ReadArchive(Path("cut"), {}, skip).code(), StatusCode::kDataLoss) << size;
  }
  Write("text", std::string(2000, 'q'));
  EXPECT_FAULT(ReadArchive(Path("text"), {}, skip), StatusCode::kDataLoss, "text");
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
                         .archive_md5 = *Md5OfFile(archive)};
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

constexpr uint64_t kTrainHash = 7366855869736245414u;
constexpr uint64_t kTestHash = 8675735256978617114u;

// FNV-1a.
uint64_t Hash(const Tensor& tensor) {
  uint64_t hash = 14695981039346656037u;
  for (int64_t i = 0; i < tensor.bytes(); ++i)
    hash = (hash ^ std::to_integer<uint64_t>(tensor.raw()[i])) * 1099511628211u;
  return hash;
}

TEST(GeneratedTest, FormAndDeterminism) {
  const DatasetPair pair = datasets::GeneratedShapes(1000, 200, 7);
  EXPECT_EQ(pair.train.images.type(), (TensorType{DType::kUint8, {1000, 32, 32, 3}}));
  EXPECT_EQ(pair.test.labels.type(), (TensorType{DType::kInt32, {200}}));
  EXPECT_EQ(pair.train.class_names.size(), 10u);
  EXPECT_EQ(pair.train.name.find("CIFAR"), std::string::npos);
  std::vector<int> counts(10);
  for (const int32_t label : pair.train.labels.data<int32_t>()) ++counts.at(label);
  for (const int count : counts) EXPECT_EQ(count, 100);
  // The bytes are part of the promise: the same on every platform.
  EXPECT_EQ(Hash(pair.train.images), kTrainHash);
  EXPECT_EQ(Hash(pair.test.images), kTestHash);
  const DatasetPair fewer = datasets::GeneratedShapes(10, 0, 7);
  EXPECT_TRUE(BitEqual(fewer.train.images, pair.train.images.Rows(0, 10).Clone()));
  EXPECT_EQ(fewer.test.size(), 0);
  EXPECT_NE(Hash(datasets::GeneratedShapes(10, 0, 8).train.images), Hash(fewer.train.images));
  EXPECT_THROW(datasets::GeneratedShapes(-1, 0), Error);
}

// Softmax regression on the pixels: what a classifier without convolutions can get.
TEST(GeneratedTest, ALinearClassifierDoesBadly) {
  const DatasetPair pair = datasets::GeneratedShapes(3000, 1000, 1);
  constexpr int kFeatures = 3072;
  constexpr int kClasses = 10;
  std::vector<float> weights(kFeatures * kClasses);
  const auto scores = [&](const uint8_t* pixels, float* result) {
    std::fill_n(result, kClasses, 0.0f);
    for (int f = 0; f < kFeatures; ++f) {
      const float x = static_cast<float>(pixels[f]) / 127.5f - 1;
      for (int c = 0; c < kClasses; ++c) result[c] += x * weights[f * kClasses + c];
    }
  };
  for (int epoch = 0; epoch < 5; ++epoch) {
    for (int64_t i = 0; i < pair.train.size(); ++i) {
      const uint8_t* pixels = pair.train.images.data<uint8_t>().data() + i * kFeatures;
      float p[kClasses];
      scores(pixels, p);
      const float most = *std::max_element(p, p + kClasses);
      float sum = 0;
      for (float& value : p) sum += value = std::exp(value - most);
      for (int c = 0; c < kClasses; ++c) p[c] = p[c] / sum - (c == pair.train.label(i) ? 1 : 0);
      for (int f = 0; f < kFeatures; ++f) {
        const float x = static_cast<float>(pixels[f]) / 127.5f - 1;
        for (int c = 0; c < kClasses; ++c) weights[f * kClasses + c] -= 0.0005f * x * p[c];
      }
    }
  }
  int right = 0;
  for (int64_t i = 0; i < pair.test.size(); ++i) {
    float s[kClasses];
    scores(pair.test.images.data<uint8_t>().data() + i * kFeatures, s);
    right += std::max_element(s, s + kClasses) - s == pair.test.label(i) ? 1 : 0;
  }
  EXPECT_LT(right, 300) << "of 1000";
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
