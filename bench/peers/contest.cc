#include "weir/bench/peers/contest.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <thread>

#include "weir/bench/peers/stopwatch.h"

namespace weir::peers {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxIterations = 20'000;
// Thread pools of peers spin for 1 ms (ONNX Runtime) to 30 ms (OpenMP, OpenBLAS) after their work.
constexpr auto kPoll = std::chrono::milliseconds(2);
constexpr double kIdle = 0.02;  // of one processor: an idle process's share is less
constexpr auto kPatience = std::chrono::milliseconds(500);
// Share of a round that threads may have waited for a processor. A wake-up costs microseconds, a time slice of somebody
// else milliseconds.
constexpr double kDisturbed = 0.05;

// Until the process's threads sleep. Polling does not count if the process is this one: it sleeps.
void AwaitIdle(pid_t process) {
  const auto end = Clock::now() + kPatience;
  double before = CpuSeconds(process);
  while (Clock::now() < end) {
    const auto begin = Clock::now();
    std::this_thread::sleep_for(kPoll);
    const double now = CpuSeconds(process);
    if (now - before < kIdle * std::chrono::duration<double>(Clock::now() - begin).count()) return;
    before = now;
  }
}

struct Round {
  std::vector<double> seconds;
  double waiting = 0;  // the largest share among the parties
};

Round RunRound(std::span<const Party> parties, std::span<const int64_t> iterations, bool reversed) {
  Round round{.seconds = std::vector<double>(parties.size())};
  for (size_t i = 0; i < parties.size(); ++i) {
    const size_t turn = reversed ? parties.size() - 1 - i : i;
    const Party& party = parties[turn];
    for (const Party& other : parties) {
      if (other.process != party.process) AwaitIdle(other.process);
    }
    const double waited = WaitingSeconds(party.process);
    const auto begin = Clock::now();
    round.seconds[turn] = party.run(iterations[turn]);
    const double length = std::chrono::duration<double>(Clock::now() - begin).count();
    round.waiting = std::max(round.waiting, (WaitingSeconds(party.process) - waited) / length);
  }
  return round;
}

}  // namespace

Party WeirParty(std::function<void()> body) {
  return {[body = std::move(body)](int64_t iterations) { return MedianSeconds(body, iterations); }, getpid()};
}

Party PeerParty(Peer& peer) {
  return {[&peer](int64_t iterations) { return peer.Run(iterations); }, peer.id()};
}

Outcome Compete(std::span<const Party> parties, const Pace& pace) {
  std::vector<int64_t> iterations;
  for (const Party& party : parties) {
    party.run(1);
    const double estimate = std::max(1e-9, party.run(1));
    iterations.push_back(
        std::clamp(std::llround(pace.round_seconds / estimate), 1LL, static_cast<long long>(kMaxIterations)));
  }
  std::vector<Round> calm, rough;
  for (int r = 0; r < pace.rounds + pace.spare_rounds && static_cast<int>(calm.size()) < pace.rounds; ++r) {
    Round round = RunRound(parties, iterations, r % 2 == 1);
    (round.waiting <= kDisturbed ? calm : rough).push_back(std::move(round));
  }
  Outcome outcome;
  // The least disturbed ones make up for what is missing.
  std::sort(rough.begin(), rough.end(), [](const Round& a, const Round& b) { return a.waiting < b.waiting; });
  for (Round& round : rough) {
    if (static_cast<int>(calm.size()) == pace.rounds) break;
    outcome.disturbed = true;
    calm.push_back(std::move(round));
  }
  for (size_t p = 0; p < parties.size(); ++p) {
    std::vector<double> seconds;
    for (const Round& round : calm) seconds.push_back(round.seconds[p]);
    outcome.seconds.push_back(Median(std::move(seconds)));
  }
  return outcome;
}

}  // namespace weir::peers
