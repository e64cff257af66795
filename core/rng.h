// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
// A draw is a pure function of seed, stream, step and element index, so masks can be recomputed anywhere and are
// equal on every backend and for any number of threads.
#ifndef WEIR_CORE_RNG_H_
#define WEIR_CORE_RNG_H_

#include <array>
#include <cstdint>

namespace weir {

inline constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;
inline constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;
inline constexpr int kPhiloxRounds = 10;
inline constexpr int64_t kPhiloxGroup = 64;  // elements drawn from 16 neighbouring counters
inline constexpr int64_t kPhiloxLanes = 16;

constexpr std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * counter[0];
    const uint64_t p1 = static_cast<uint64_t>(kPhiloxM1) * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += kPhiloxW0;
    key[1] += kPhiloxW1;
  }
  return counter;
}

constexpr uint64_t SplitMix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// The key of a stream: different streams of one seed, and equal streams of different seeds, are unrelated.
constexpr std::array<uint32_t, 2> PhiloxKey(uint64_t seed, uint64_t stream) {
  const uint64_t key = SplitMix64(SplitMix64(seed) ^ (stream * 0xD1342543DE82EF95u + 1));
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

// 32 random bits for element `index` of the draw (key, step).
constexpr uint32_t RandomBits(std::array<uint32_t, 2> key, uint64_t step, int64_t index) {
  const uint64_t group = static_cast<uint64_t>(index) / kPhiloxGroup;
  const uint64_t within = static_cast<uint64_t>(index) % kPhiloxGroup;
  const uint64_t counter = group * kPhiloxLanes + within % kPhiloxLanes;
  return Philox({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), static_cast<uint32_t>(step),
                 static_cast<uint32_t>(step >> 32)},
                key)[within / kPhiloxLanes];
}

// Uniform in [0, 1): the top 24 bits.
constexpr float UniformFloat(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

// A sequential source for host-side work (initial weights, shuffling): draws 0, 1, 2, ... of one stream.
class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream) : key_(PhiloxKey(seed, stream)) {}

  uint32_t Bits() { return RandomBits(key_, 0, next_++); }
  // Uniform in [0, 1) with 53 bits.
  double Uniform() {
    const uint64_t high = Bits() >> 5, low = Bits() >> 6;
    return static_cast<double>(high * 67108864u + low) * 0x1p-53;
  }
  // Normal with mean 0 and variance 1 (Box-Muller).
  double Normal();
  // Uniform in 0 .. bound-1, unbiased. bound > 0.
  uint64_t Below(uint64_t bound);

 private:
  std::array<uint32_t, 2> key_;
  int64_t next_ = 0;
};

}  // namespace weir

#endif  // WEIR_CORE_RNG_H_
