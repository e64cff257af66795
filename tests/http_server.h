// A server for tests of downloads: answers as it is told, breaks off where it is told.
#ifndef WEIR_TESTS_HTTP_SERVER_H_
#define WEIR_TESTS_HTTP_SERVER_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "weir/core/strings.h"

namespace weir {

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
inline size_t RangeStart(const std::string& request) {
  const size_t at = request.find("Range: bytes=");
  return at == std::string::npos ? 0 : std::strtoull(request.c_str() + at + 13, nullptr, 10);
}

// Serves `contents`, continued where a range asks for it; the connection breaks after `most` bytes of the body.
inline Answer Serves(const std::string& contents, size_t most = std::string::npos) {
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
inline Answer ServesWithoutRanges(const std::string& contents) {
  return [=](const std::string&) {
    return StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", contents.size(), "\r\nConnection: close\r\n\r\n", contents);
  };
}
inline Answer Fails(int code) {
  return [=](const std::string&) { return StrCat("HTTP/1.1 ", code, " No\r\nContent-Length: 4\r\n\r\nnope"); };
}

}  // namespace weir

#endif  // WEIR_TESTS_HTTP_SERVER_H_
