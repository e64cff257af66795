#include "weir/frontend/data/download.h"

#include <curl/curl.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

#include "weir/frontend/data/checksum.h"
#include "weir/frontend/io/file.h"

namespace weir {
namespace {

// A connection slower than this for so long is taken for dead.
constexpr long kMinBytesPerSecond = 1024;
constexpr long kMaxSlowSeconds = 30;
constexpr long kConnectSeconds = 20;
// Before the second attempt without progress; doubled for each further one.
constexpr std::chrono::milliseconds kFirstPause(250);

struct Transfer {
  const DownloadRequest* request = nullptr;
  std::FILE* file = nullptr;
  int64_t offset = 0;  // bytes of the file that were there before this connection
  int64_t received = 0;
  bool too_long = false;
  int write_error = 0;
  bool draw = false;
  std::chrono::steady_clock::time_point started = {};
  std::chrono::steady_clock::time_point drawn = {};
};

size_t OnData(char* data, size_t size, size_t count, void* user) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  const size_t bytes = size * count;
  if (transfer.offset + transfer.received + static_cast<int64_t>(bytes) > transfer.request->bytes) {
    transfer.too_long = true;
    return 0;
  }
  if (std::fwrite(data, 1, bytes, transfer.file) != bytes) {
    transfer.write_error = errno;
    return 0;
  }
  transfer.received += static_cast<int64_t>(bytes);
  return bytes;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  const auto now = std::chrono::steady_clock::now();
  if (!transfer.draw || now - transfer.drawn < std::chrono::milliseconds(100)) return 0;
  transfer.drawn = now;
  constexpr int kWidth = 30;
  const int64_t done = transfer.offset + transfer.received;
  const int filled = static_cast<int>(kWidth * done / std::max<int64_t>(1, transfer.request->bytes));
  const double seconds = std::chrono::duration<double>(now - transfer.started).count();
  std::fprintf(stderr, "\r[%s%s] %s of %s, %s/s ", std::string(filled, '=').c_str(),
               std::string(kWidth - filled, ' ').c_str(), HumanBytes(done).c_str(),
               HumanBytes(transfer.request->bytes).c_str(),
               HumanBytes(static_cast<int64_t>(transfer.received / std::max(seconds, 0.001))).c_str());
  return 0;
}

int64_t SizeOrZero(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

void Remove(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

std::string Incomplete(int64_t have, int64_t want) { return StrCat("incomplete (", have, " of ", want, " bytes)"); }

struct Connection {
  absl::Status status = {};  // of the connection, or of writing what came
  int64_t received = 0;      // bytes
  bool retry = true;         // whether another connection may do better
  bool restart = false;      // whether it must begin from nothing
};

bool IsHttps(const std::string& url) {
  // Schemes are of either case.
  return url.size() > 6 && ::strncasecmp(url.c_str(), "https:", 6) == 0;
}

// One connection that appends to `part` what is missing.
Connection Connect(const DownloadRequest& request, const std::string& part) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), &curl_easy_cleanup);
  if (initialised != CURLE_OK || curl == nullptr) return {absl::InternalError("libcurl does not start"), 0, false};
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(part.c_str(), "ab"), &std::fclose);
  if (file == nullptr) return {ErrnoStatus(errno, part, "open for writing failed"), 0, false};

  Transfer transfer{.request = &request, .file = file.get(), .offset = SizeOrZero(part)};
  transfer.draw = request.show_progress && ::isatty(STDERR_FILENO) == 1;
  transfer.started = std::chrono::steady_clock::now();
  char reason[CURL_ERROR_SIZE] = "";
  const auto set = [&](auto option, auto value) { curl_easy_setopt(curl.get(), option, value); };
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  // What was asked for over a protected connection does not come over an open one, wherever the server points to.
  set(CURLOPT_REDIR_PROTOCOLS_STR, IsHttps(request.url) ? "https" : "http,https");
  if (!request.certificates.empty()) set(CURLOPT_CAINFO, request.certificates.c_str());
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, 10L);
  set(CURLOPT_FAILONERROR, 1L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  set(CURLOPT_LOW_SPEED_LIMIT, kMinBytesPerSecond);
  set(CURLOPT_LOW_SPEED_TIME, kMaxSlowSeconds);
  set(CURLOPT_USERAGENT, "weir");
  set(CURLOPT_ERRORBUFFER, static_cast<char*>(reason));
  set(CURLOPT_WRITEFUNCTION, &OnData);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &OnProgress);
  set(CURLOPT_XFERINFODATA, static_cast<void*>(&transfer));
  set(CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(transfer.offset));

  const CURLcode code = curl_easy_perform(curl.get());
  if (transfer.draw) std::fprintf(stderr, "\n");
  long http = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &http);
  Connection result{.received = transfer.received};
  if (std::fflush(file.get()) != 0 && transfer.write_error == 0) transfer.write_error = errno;
  if (transfer.write_error != 0) {
    result.status = ErrnoStatus(transfer.write_error, part, "write failed");
    result.retry = false;
  } else if (transfer.too_long) {
    result.status = absl::DataLossError(StrCat(request.url, ": is longer than the ", request.bytes, " bytes expected"));
    result.retry = result.restart = transfer.offset > 0;
  } else if (http == 416) {
    result.status =
        absl::UnavailableError(StrCat(request.url, ": the server has no more than ", transfer.offset, " bytes"));
    result.retry = false;
  } else if (code == CURLE_RANGE_ERROR) {
    result.status = absl::UnavailableError(StrCat(request.url, ": the server can't continue a download"));
    result.restart = true;
  } else if (code == CURLE_HTTP_RETURNED_ERROR) {
    result.status = absl::UnavailableError(StrCat(request.url, ": HTTP status ", http));
    result.retry = http >= 500;
  } else if (code == CURLE_UNSUPPORTED_PROTOCOL && IsHttps(request.url)) {
    result.status = absl::UnavailableError(StrCat(request.url, ": points away from https, which is not followed"));
    result.retry = false;
  } else if (code != CURLE_OK) {
    result.status =
        absl::UnavailableError(StrCat(request.url, ": ", reason[0] != '\0' ? reason : curl_easy_strerror(code)));
    result.retry = code != CURLE_UNSUPPORTED_PROTOCOL && code != CURLE_URL_MALFORMAT;
  }
  return result;
}

// Connects until `part` has its length.
absl::Status Fetch(const DownloadRequest& request, const std::string& part) {
  if (SizeOrZero(part) > request.bytes) Remove(part);
  int restarts = 0;
  for (int fruitless = 0; SizeOrZero(part) < request.bytes;) {
    if (fruitless > 0) std::this_thread::sleep_for(kFirstPause * (1 << std::min(fruitless - 1, 6)));
    const Connection connection = Connect(request, part);
    if (connection.restart) {
      Remove(part);
      ++restarts;
    }
    const int64_t have = SizeOrZero(part);
    if (have == request.bytes && connection.status.ok()) break;
    fruitless = connection.received > 0 ? 0 : fruitless + 1;
    if (connection.retry && fruitless < request.attempts && restarts < request.attempts) continue;
    if (connection.status.code() == absl::StatusCode::kDataLoss) {
      Remove(part);
      return connection.status;
    }
    if (have == 0 && !connection.status.ok()) return connection.status;
    return absl::UnavailableError(StrCat(part, ": ", Incomplete(have, request.bytes),
                                         "; the next attempt continues there; ",
                                         connection.status.ok() ? StrCat(request.url, ": the server sent no more")
                                                                : std::string(connection.status.message())));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyFile(const std::string& path, int64_t bytes, const std::string& md5, const std::string& sha256) {
  WEIR_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  if (file.size() < bytes) return absl::DataLossError(StrCat(path, ": ", Incomplete(file.size(), bytes)));
  if (file.size() > bytes) {
    return absl::DataLossError(StrCat(path, ": too long (", file.size(), " bytes, expected ", bytes, ")"));
  }
  WEIR_ASSIGN_OR_RETURN(const std::string found, Md5OfFile(path));
  if (found != md5) {
    return absl::DataLossError(StrCat(path, ": checksum differs (MD5 ", found, ", expected ", md5, ")"));
  }
  if (sha256.empty()) return absl::OkStatus();
  WEIR_ASSIGN_OR_RETURN(const std::string found_sha256, Sha256OfFile(path));
  if (found_sha256 != sha256) {
    return absl::DataLossError(StrCat(path, ": checksum differs (SHA-256 ", found_sha256, ", expected ", sha256, ")"));
  }
  return absl::OkStatus();
}

absl::Status Download(const DownloadRequest& request) {
  const std::string part = request.path + ".part";
  if (request.show_progress) {
    std::fprintf(stderr, "downloading %s (%s)\n", request.url.c_str(), HumanBytes(request.bytes).c_str());
  }
  // What lay there before may be of another file: then a second, whole download decides.
  const bool continued = SizeOrZero(part) > 0;
  for (int attempt = 0;; ++attempt) {
    WEIR_RETURN_IF_ERROR(Fetch(request, part));
    const absl::Status verified = VerifyFile(part, request.bytes, request.md5, request.sha256);
    if (verified.ok()) break;
    Remove(part);
    if (!continued || attempt > 0) {
      return absl::Status(verified.code(),
                          StrCat(verified.message(), "; downloaded from ", request.url, " and removed"));
    }
  }
  std::error_code error;
  std::filesystem::rename(part, request.path, error);
  if (error) return ErrnoStatus(error.value(), request.path, "rename failed");
  return absl::OkStatus();
}

}  // namespace weir
