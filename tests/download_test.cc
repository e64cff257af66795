// Downloads that break, checksums, and archives that are damaged or mean harm.
#include <signal.h>
#include <sys/wait.h>

#include "data_test_util.h"
#include "http_server.h"
#include "weir/frontend/data/archive.h"
#include "weir/frontend/data/checksum.h"
#include "weir/frontend/data/download.h"

namespace weir {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;

using ChecksumTest = DataTest;

TEST_F(ChecksumTest, Md5OfKnownTexts) {
  Write("empty", "");
  Write("abc", "abc");
  EXPECT_EQ(*Md5OfFile(Path("empty")), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(*Md5OfFile(Path("abc")), "900150983cd24fb0d6963f7d28e17f72");
  Write("a", std::string(1'000'000, 'a'));
  EXPECT_EQ(*Md5OfFile(Path("a")), "7707d6ae4e027c70eea2a935c2296f21");
}

TEST_F(ChecksumTest, Sha256OfKnownTexts) {
  Write("empty", "");
  Write("abc", "abc");
  EXPECT_EQ(*Sha256OfFile(Path("empty")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(*Sha256OfFile(Path("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Write("a", std::string(3'000'000, 'a'));
  EXPECT_NE(*Sha256OfFile(Path("a")), *Sha256OfFile(Path("abc")));
  EXPECT_EQ(Sha256OfFile(Path("absent")).status().code(), StatusCode::kNotFound);
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

TEST_F(DownloadTest, Sha256IsComparedBesideMd5) {
  Server server({Serves(contents_)});
  DownloadRequest request{.url = server.Url(),
                          .path = Path("x"),
                          .bytes = 300'000,
                          .md5 = md5_,
                          .sha256 = std::string(64, '0'),
                          .show_progress = false};
  EXPECT_FAULT(Download(request), StatusCode::kDataLoss, "checksum differs (SHA-256 ");
  EXPECT_FALSE(fs::exists(Path("x")) || fs::exists(Path("x.part")));
  request.sha256 = *Sha256OfFile(Path("original"));
  EXPECT_TRUE(Download(request).ok());
  ExpectWhole();
}

// `openssl s_server` on 127.0.0.1 with a certificate of its own. Each file of its folder is a whole answer.
class TlsServer {
 public:
  explicit TlsServer(const std::string& folder) : folder_(folder) {
    const std::string make = StrCat("cd '", folder, "' && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                                    "-keyout key.pem -out cert.pem -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 "
                                    ">log 2>&1");
    EXPECT_EQ(std::system(make.c_str()), 0);
    // A port that is free now.
    const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(probe, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size), 0);
    ::close(probe);
    port_ = ntohs(address.sin_port);
    const std::string command = StrCat("cd '", folder, "' && exec openssl s_server -accept 127.0.0.1:", port_, " -key key.pem -cert cert.pem -HTTP -quiet >log 2>&1");
    child_ = ::fork();
    if (child_ == 0) {
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    for (int attempt = 0; attempt < 1000; ++attempt) {
      const int connection = ::socket(AF_INET, SOCK_STREAM, 0);
      const bool up = ::connect(connection, reinterpret_cast<sockaddr*>(&address), size) == 0;
      ::close(connection);
      if (up) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << "openssl s_server does not listen";
  }
  ~TlsServer() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  std::string Url(const std::string& file) const { return StrCat("https://127.0.0.1:", port_, "/", file); }
  std::string certificates() const { return folder_ + "/cert.pem"; }

 private:
  std::string folder_;
  int port_ = 0;
  pid_t child_ = -1;
};

TEST_F(DownloadTest, HttpsIsNeverFollowedToHttp) {
  Server open({Serves(contents_)});
  fs::create_directory(Path("tls"));
  const auto answer = [&](const std::string& file, const std::string& text) { Write("tls/" + file, text); };
  answer("file", StrCat("HTTP/1.0 200 OK\r\nContent-Length: ", contents_.size(), "\r\n\r\n", contents_));
  answer("open", StrCat("HTTP/1.0 302 Found\r\nLocation: ", open.Url(), "\r\nContent-Length: 0\r\n\r\n"));
  const TlsServer server(Path("tls"));
  answer("protected", StrCat("HTTP/1.0 302 Found\r\nLocation: ", server.Url("file"), "\r\nContent-Length: 0\r\n\r\n"));
  const auto fetch = [&](const std::string& url) {
    return Download({.url = url,
                     .path = Path("x"),
                     .bytes = static_cast<int64_t>(contents_.size()),
                     .md5 = md5_,
                     .certificates = server.certificates(),
                     .attempts = 2,
                     .show_progress = false});
  };
  EXPECT_FAULT(fetch(server.Url("open")), StatusCode::kUnavailable, "points away from https, which is not followed");
  EXPECT_FALSE(fs::exists(Path("x")));
  EXPECT_TRUE(open.requests().empty()) << "the open server was asked";
  std::string shouted = server.Url("open");
  shouted.replace(0, 5, "HTTPS");
  EXPECT_FAULT(fetch(shouted), StatusCode::kUnavailable, "points away from https");
  EXPECT_TRUE(open.requests().empty());
  // From https to https, and from http on, it is.
  const absl::Status followed = fetch(server.Url("protected"));
  EXPECT_TRUE(followed.ok()) << followed;
  ExpectWhole();
  fs::remove(Path("x"));
  Server pointing({[&](const std::string&) {
    return StrCat("HTTP/1.1 302 Found\r\nLocation: ", server.Url("file"), "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  }});
  const absl::Status upwards = fetch(pointing.Url());
  EXPECT_TRUE(upwards.ok()) << upwards;
  // Without its certificate the server is not believed.
  EXPECT_FAULT(Download({.url = server.Url("file"), .path = Path("y"), .bytes = 300'000, .md5 = md5_, .attempts = 1, .show_progress = false}),
               StatusCode::kUnavailable, "certificate");
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

}  // namespace
}  // namespace weir
