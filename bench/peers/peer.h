// A peer from outside: its program, the tasks it is given (peer_server.h has the protocol), and why there is none where
// it is missing.
#ifndef WEIR_BENCH_PEERS_PEER_H_
#define WEIR_BENCH_PEERS_PEER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/bench/peers/process.h"

namespace weir::peers {

class Peer {
 public:
  // `missing` tells what to install, for messages, where the program is not there or does not start. An empty command
  // is a program that was not built.
  Peer(std::string name, std::vector<std::string> command, std::string missing);

  const std::string& name() const { return name_; }  // "oneDNN"
  bool there() const { return process_.has_value(); }
  const std::string& version() const { return version_; }  // "oneDNN 2.6.3"; or why it is not there
  pid_t id() const { return process_->id(); }

  // Prepares a task; the name of the fastest way to do it. kUnimplemented if the peer can't.
  absl::StatusOr<std::string> Task(const std::string& words);
  // Seconds an iteration of the task. The process must not die: that is an Error.
  double Run(int64_t iterations);

  // A fresh process of the same peer.
  Peer Another() const { return Peer(name_, command_, missing_); }

 private:
  std::string Ask(const std::string& line);

  std::string name_;
  std::vector<std::string> command_;
  std::string missing_;
  std::string version_;
  std::optional<LineProcess> process_;
};

}  // namespace weir::peers

#endif  // WEIR_BENCH_PEERS_PEER_H_
