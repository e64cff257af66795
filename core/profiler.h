// Where the time of runs goes: one event a plan step, attributed to layer, ops, direction and source line; printed as
// a table or written as a trace for Chrome's viewer (chrome://tracing, Perfetto).
#ifndef WEIR_CORE_PROFILER_H_
#define WEIR_CORE_PROFILER_H_

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>


namespace weir {

struct ProfileEvent {
  std::string layer;     // "sequential/conv2d"; "" outside of layers
  std::string ops;       // "conv+add+relu"
  std::string backend;   // "highway"; "core" for compilation
  std::string kernel;    // the lowering's own text
  std::string source;    // "model.cc:41"
  bool backward = false;
  double flops = 0;
  double bytes = 0;      // that must move: inputs and outputs once each
  std::chrono::steady_clock::time_point begin;
  std::chrono::nanoseconds duration{0};
};

// Safe for several threads. Recording costs a lock and a copy a step; a run without a profiler records nothing.
class Profiler {
 public:
  void Record(ProfileEvent event);
  void Clear();
  std::vector<ProfileEvent> events() const;

  // One row a (layer, ops, direction): calls, total and mean time, share, GFLOP/s, GB/s; longest first, at most
  // `rows` of them.
  std::string Table(int rows = 40) const;
  // The Chrome trace format (JSON).
  std::string ChromeTrace() const;

 private:
  mutable std::mutex mutex_;
  std::vector<ProfileEvent> events_;
};

}  // namespace weir

#endif  // WEIR_CORE_PROFILER_H_
