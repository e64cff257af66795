// What a peer's program does: it answers on standard output the tasks and questions that weir_peers asks on standard
// input, one line each. It knows nothing of weir. onnx_runtime_peer.mjs speaks the same.
//
//   version          -> version TEXT                   of the peer
//   task WORDS...    -> ready NAME | declined REASON   what to run, and which way of running it was the fastest
//   run ITERATIONS   -> seconds S                      median of as many runs, after one that does not count
#ifndef WEIR_BENCH_PEERS_PEER_SERVER_H_
#define WEIR_BENCH_PEERS_PEER_SERVER_H_

#include <functional>
#include <string>
#include <vector>

namespace weir::peers {

// One way to do the task.
struct Candidate {
  std::string name;
  std::function<void()> run;
};

// Makes the ways to do the task of these words; none if it can't be done. What they need is kept alive by `run`. An
// exception declines the task with its text.
using MakeCandidates = std::function<std::vector<Candidate>(const std::vector<std::string>& words)>;

// Until standard input ends; returns the exit code.
int Serve(const std::string& version, const MakeCandidates& make);

}  // namespace weir::peers

#endif  // WEIR_BENCH_PEERS_PEER_SERVER_H_
