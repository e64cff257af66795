// Parties timed in turn, so that all meet the machine in the same moods: rounds, in each of which every party runs for
// a while and the others are idle.
#ifndef WEIR_BENCH_PEERS_CONTEST_H_
#define WEIR_BENCH_PEERS_CONTEST_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "weir/bench/peers/peer.h"

namespace weir::peers {

struct Party {
  std::function<double(int64_t iterations)> run;  // seconds an iteration, as MedianSeconds measures
  pid_t process = 0;                              // whose threads run it
};

// One that calls `body` in this process.
Party WeirParty(std::function<void()> body);
// One that runs the task which the peer was given last. The peer must outlive it.
Party PeerParty(Peer& peer);

struct Pace {
  int rounds = 0;
  double round_seconds = 0;  // of one party
  int spare_rounds = 0;      // for rounds that other processes disturbed
};

struct Outcome {
  std::vector<double> seconds;  // medians over the rounds, by party
  // Other processes took the processors away and would not let be: these times are worth less.
  bool disturbed = false;
};

// A round in which others took processors away is repeated as long as there are spare rounds.
Outcome Compete(std::span<const Party> parties, const Pace& pace);

}  // namespace weir::peers

#endif  // WEIR_BENCH_PEERS_CONTEST_H_
