// How every party's rounds are timed, weir's and the peers' alike (onnx_runtime_peer.mjs does the same in its words).
#ifndef WEIR_BENCH_PEERS_STOPWATCH_H_
#define WEIR_BENCH_PEERS_STOPWATCH_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace weir::peers {

// The middle one; of an even number the larger of the two.
inline double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Of a run of `body`: the median of `iterations` runs, at least one, after half as many, at least one, that wake threads
// and fill caches. (Last-level caches that take in what others throw out need several passes until they hold it.)
template <class F>
double MedianSeconds(const F& body, int64_t iterations) {
  for (int64_t i = 0; i < std::max<int64_t>(1, iterations / 2); ++i) body();
  std::vector<double> seconds(static_cast<size_t>(std::max<int64_t>(1, iterations)));
  for (double& s : seconds) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return Median(std::move(seconds));
}

}  // namespace weir::peers

#endif  // WEIR_BENCH_PEERS_STOPWATCH_H_
