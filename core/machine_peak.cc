#include "weir/core/machine_peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "weir/core/memory_block.h"
#include "weir/core/strings.h"

namespace weir {
namespace {

using Clock = std::chrono::steady_clock;

// Enough independent chains to cover the latency of an fma on two ports.
constexpr int kChains = 12;
// About 30 ms a measurement: long against starting threads and the ramp of the clock.
constexpr int64_t kRounds = 20'000'000;

// Runs `body` on all threads at once, `repeats` times after a warm-up in which the clock settles; median seconds. The
// median, since that is what benchmarks report too: a best of many would be a clock that no kernel keeps.
template <class F>
double MedianSeconds(int threads, int repeats, const F& body) {
  std::vector<double> seconds;
  for (int repeat = 0; repeat < 2 * repeats; ++repeat) {
    const auto begin = Clock::now();
    std::vector<std::thread> workers;
    for (int t = 1; t < threads; ++t) workers.emplace_back([&, t] { body(t); });
    body(0);
    for (std::thread& worker : workers) worker.join();
    if (repeat >= repeats) seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

#if defined(__x86_64__)

[[gnu::target("avx512f")]] float FmaChains512(int64_t rounds) {
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_fmadd_ps(sums[i], a, b);
  }
  __m512 total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_ps(total, sums[i]);
  return _mm512_cvtss_f32(total);
}

[[gnu::target("avx2,fma")]] float FmaChains256(int64_t rounds) {
  __m256 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm256_fmadd_ps(sums[i], a, b);
  }
  __m256 total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm256_add_ps(total, sums[i]);
  return _mm256_cvtss_f32(total);
}

#endif

float MulAddChains(int64_t rounds) {
  float sums[kChains] = {};
  for (int64_t r = 0; r < rounds; ++r) {
    for (float& sum : sums) sum = sum * 0.999f + 0.001f;
  }
  float total = 0;
  for (float sum : sums) total += sum;
  return total;
}

void TriadOf(float* a, const float* b, const float* c, int64_t size) {
#if defined(__x86_64__)
  const __m128 s = _mm_set1_ps(0.5f);
  for (int64_t i = 0; i < size; i += 4) {
    _mm_stream_ps(a + i, _mm_add_ps(_mm_load_ps(b + i), _mm_mul_ps(s, _mm_load_ps(c + i))));
  }
  _mm_sfence();
#else
  for (int64_t i = 0; i < size; ++i) a[i] = b[i] + 0.5f * c[i];
#endif
}

// Of an array, for all threads together: 128 MiB.
constexpr int64_t kTriadElements = int64_t{32} << 20;

}  // namespace

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line, name, family, model;
  const auto take = [&](const std::string& key, std::string& value) {
    // "model name\t: AMD EPYC"
    const size_t colon = line.find(':');
    if (colon == std::string::npos || colon + 2 > line.size() || !value.empty()) return;
    if (line.substr(0, line.find_first_of("\t:")) == key) value = line.substr(colon + 2);
  };
  while (std::getline(file, line) && !line.empty()) {  // the first processor's lines
    take("model name", name);
    take("cpu family", family);
    take("model", model);
  }
  if (name.empty()) return "unknown processor";
  if (family.empty()) return name;
  return StrCat(name, " (family ", family, ", model ", model, ")");
}

Triad::Triad(int threads) : threads_(threads), share_(kTriadElements / threads / 16 * 16) {
  for (auto& array : arrays_) {
    array = AllocateBlock(kTriadElements * sizeof(float), /*zero=*/false);
    std::fill_n(reinterpret_cast<float*>(array.get()), kTriadElements, 1.0f);
  }
}

void Triad::RunPart(int thread) {
  const auto part = [&](int i) { return reinterpret_cast<float*>(arrays_[i].get()) + thread * share_; };
  TriadOf(part(0), part(1), part(2), share_);
}

void Triad::Run() {
  std::vector<std::thread> others;
  for (int t = 1; t < threads_; ++t) others.emplace_back([this, t] { RunPart(t); });
  RunPart(0);
  for (std::thread& other : others) other.join();
}

MachinePeak MeasurePeak(int threads) {
  MachinePeak peak;
  peak.threads = threads;
  volatile float sink = 0;
  int lanes = 1;
  float (*chains)(int64_t) = MulAddChains;
  peak.instructions = "baseline";
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    lanes = 16;
    chains = FmaChains512;
    peak.instructions = "AVX-512";
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    lanes = 8;
    chains = FmaChains256;
    peak.instructions = "AVX2";
  }
#endif
  const double seconds = MedianSeconds(threads, 7, [&](int) { sink = sink + chains(kRounds); });
  peak.flops = 2.0 * kChains * lanes * static_cast<double>(kRounds) * threads / seconds;

  Triad triad(threads);
  const double seconds_of_triad = MedianSeconds(threads, 5, [&](int t) { triad.RunPart(t); });
  peak.triad_bytes = triad.bytes() / seconds_of_triad;
  return peak;
}

}  // namespace weir
