// One run of weir_peers: what all its parts share.
#ifndef WEIR_BENCH_PEERS_SESSION_H_
#define WEIR_BENCH_PEERS_SESSION_H_

#include <memory>
#include <optional>
#include <regex>
#include <string>

#include "weir/bench/peers/contest.h"
#include "weir/bench/peers/peer.h"
#include "weir/bench/peers/table.h"
#include "weir/core/machine_peak.h"
#include "weir/core/runtime.h"

namespace weir::peers {

struct PeersOptions {
  int threads = 0;                        // 0: all that this process may use
  std::optional<std::regex> filter = {};  // only parts whose name it is found in
  bool quick = false;
  double patience = 1;  // disturbed rounds are repeated, up to this many times the usual number of rounds
  std::string json = "", report = "";  // file and folder to write
  std::string npm = "";                // folder with node_modules; "": no ONNX Runtime
  std::string start_up = "";           // a program that predicts one picture, called as examples/06_predict is
  std::string static_program = "";     // a program whose size counts
};

struct Session {
  const PeersOptions options;
  std::unique_ptr<Runtime> runtime;  // default settings, all threads
  MachinePeak peak;                  // the largest that was seen
  Peer onednn, torch, onnx_runtime;
  Table table;

  bool Wants(const std::string& name) const { return !options.filter || std::regex_search(name, *options.filter); }
  Pace Paced(int rounds, double round_seconds) const {
    return {rounds, round_seconds, static_cast<int>(options.patience * rounds)};
  }
  // For things measured in milliseconds and few, and for the many small ones.
  Pace model_pace() const { return options.quick ? Paced(5, 0.05) : Paced(9, 0.15); }
  Pace op_pace() const { return options.quick ? Paced(5, 0.01) : Paced(9, 0.03); }
  Pace shape_pace() const { return options.quick ? Paced(3, 0.006) : Paced(5, 0.015); }
  // For a second time.
  Pace model_again_pace() const { return options.quick ? Paced(15, 0.05) : Paced(19, 0.15); }
  Pace again_pace() const { return options.quick ? Paced(15, 0.01) : Paced(19, 0.03); }
};

// The tutorial's model whole: training steps, inference, threads, batches, an epoch, memory.
void MeasureModels(Session& session);
// Its convolutions, pool and products one by one, other networks' convolutions, Winograd against the peak.
void MeasureOps(Session& session);
// Passes over memory, the plan, programs.
void MeasureMachine(Session& session);

// What `weir_peers --serve_training` is: weir's training as a program that is asked like a peer (peer_server.h), for its
// peak memory. Returns the exit code.
int ServeTraining(int threads);

}  // namespace weir::peers

#endif  // WEIR_BENCH_PEERS_SESSION_H_
