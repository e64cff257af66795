#include "weir/bench/peers/contest.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <thread>

#include "weir/bench/peers/stopwatch.h"

namespace weir::peers {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxIterations = 20'000;
constexpr int64_t kEstimate = 6;  // iterations
// Thread pools of peers spin for 1 ms (ONNX Runtime) to 30 ms (OpenMP, OpenBLAS) after their work.
constexpr auto kPoll = std::chrono::milliseconds(2);
constexpr double kIdle = 0.02;  // of one processor: an idle process's share is less
constexpr auto kPatience = std::chrono::milliseconds(500);
constexpr double kLongest = 20;  // seconds after which a contest gets no more spare rounds
// A round is disturbed if a party's threads waited for a processor for more than this share of the time while other
// processes may have had more than this share of the processors. Either alone is harmless: others on an idle processor,
// or threads of a party that stand in each other's way. In a short round the system's clock can't tell what others had,
// and waiting alone decides.
constexpr double kDisturbed = 0.05;

double Since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Until the process's threads sleep. Polling does not count if the process is this one: it sleeps.
void AwaitIdle(pid_t process) {
  const auto end = Clock::now() + kPatience;
  double before = CpuSeconds(process);
  while (Clock::now() < end) {
    const auto begin = Clock::now();
    std::this_thread::sleep_for(kPoll);
    const double now = CpuSeconds(process);
    if (now - before < kIdle * Since(begin)) return;
    before = now;
  }
}

struct Round {
  std::vector<double> seconds;
  double waiting = 0;  // largest share among the parties
  double others = 0;   // share of the processors that may have gone elsewhere

  bool disturbed() const { return waiting > kDisturbed && others > kDisturbed; }
};

// What all processes but the parties' had so far.
double OthersSeconds(std::span<const Party> parties) {
  std::set<pid_t> own = {getpid()};
  for (const Party& party : parties) own.insert(party.process);
  double seconds = BusySeconds();
  for (pid_t process : own) seconds -= CpuSeconds(process);
  return seconds;
}

Round RunRound(std::span<const Party> parties, std::span<const int64_t> iterations, bool reversed) {
  Round round{.seconds = std::vector<double>(parties.size())};
  const double others = OthersSeconds(parties);
  const auto round_begin = Clock::now();
  for (size_t i = 0; i < parties.size(); ++i) {
    const size_t turn = reversed ? parties.size() - 1 - i : i;
    const Party& party = parties[turn];
    for (const Party& other : parties) {
      if (other.process != party.process) AwaitIdle(other.process);
    }
    const double waited = WaitingSeconds(party.process);
    const auto begin = Clock::now();
    round.seconds[turn] = party.run(iterations[turn]);
    round.waiting = std::max(round.waiting, (WaitingSeconds(party.process) - waited) / Since(begin));
  }
  const double processors = std::thread::hardware_concurrency();
  round.others = (OthersSeconds(parties) - others + BusyStep()) / (std::max(1.0, processors) * Since(round_begin));
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
    const double estimate = std::max(1e-9, party.run(kEstimate));
    iterations.push_back(
        std::clamp(std::llround(pace.round_seconds / estimate), 1LL, static_cast<long long>(kMaxIterations)));
  }
  std::vector<Round> calm, rough;
  const auto begin = Clock::now();
  for (int r = 0; static_cast<int>(calm.size()) < pace.rounds; ++r) {
    if (r >= pace.rounds && (r >= pace.rounds + pace.spare_rounds || Since(begin) > kLongest)) break;
    Round round = RunRound(parties, iterations, r % 2 == 1);
    (round.disturbed() ? rough : calm).push_back(std::move(round));
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
