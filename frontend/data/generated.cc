#include "weir/frontend/data/generated.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace weir::datasets {
namespace {

constexpr int kSide = 32;
constexpr int kChannels = 3;
constexpr int kKinds = 10;
constexpr int kImageBytes = kSide * kSide * kChannels;

enum Kind { kDisc, kRing, kSquare, kTriangle, kCross, kStar, kHorizontal, kVertical, kDiagonal, kCheckerboard };

using Colour = std::array<double, kChannels>;

// splitmix64 (Steele, Lea, Flood 2014). All that is derived from it uses operations that IEEE 754 rounds exactly, so
// the pictures are the same everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  Random(uint64_t seed, uint64_t stream, uint64_t index) : state_(seed) {
    state_ = Next() ^ stream * 0xd1342543de82ef95u;
    state_ = Next() ^ index * 0xaf251af3b0f025b5u;
    Next();
  }

  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  // In [low, high).
  double Uniform(double low, double high) { return low + (high - low) * (static_cast<double>(Next() >> 11) * 0x1p-53); }
  // In [0, count), for counts so small that the bias of the remainder does not matter.
  int Below(int count) { return static_cast<int>((Next() >> 32) % static_cast<uint64_t>(count)); }
  Colour AnyColour() { return {Uniform(0, 256), Uniform(0, 256), Uniform(0, 256)}; }

 private:
  uint64_t state_;
};

double Distance(const Colour& a, const Colour& b) {
  return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
}

// A direction within about 2 * atan(spread) of the x axis, from the rational points of the circle.
struct Direction {
  double x = 1;
  double y = 0;
};
Direction Tilt(Random& random, double spread) {
  const double t = random.Uniform(-spread, spread);
  return {(1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)};
}

struct Figure {
  Kind kind = kDisc;
  double x = 0, y = 0;  // centre, pixels
  double radius = 1;    // pixels
  Direction direction = {};
  double frequency = 1;  // stripes per radius
  double phase_u = 0, phase_v = 0;
  double sign = 1;  // which diagonal
};

bool Odd(double x) {
  const double half = std::floor(x) / 2;
  return half != std::floor(half);
}

// Whether a point of the picture lies in the figure.
bool Inside(const Figure& figure, double x, double y) {
  const double dx = (x - figure.x) / figure.radius;
  const double dy = (y - figure.y) / figure.radius;
  const double u = dx * figure.direction.x + dy * figure.direction.y;
  const double v = dy * figure.direction.x - dx * figure.direction.y;
  const double au = std::abs(u);
  const double av = std::abs(v);
  const bool in_window = std::max(au, av) <= 1;
  switch (figure.kind) {
    case kDisc: return u * u + v * v <= 1;
    case kRing: return u * u + v * v <= 1 && u * u + v * v >= 0.36;
    case kSquare: return std::max(au, av) <= 0.85;
    case kTriangle: return v <= 0.8 && v >= -1 && au <= (v + 1) * 0.58;
    case kCross: return (au <= 0.3 && av <= 1) || (av <= 0.3 && au <= 1);
    case kStar: return std::sqrt(au) + std::sqrt(av) <= 1.1;
    case kHorizontal: return in_window && Odd(v * figure.frequency + figure.phase_v);
    case kVertical: return in_window && Odd(u * figure.frequency + figure.phase_u);
    case kDiagonal: return in_window && Odd((u + figure.sign * v) * figure.frequency * 0.7 + figure.phase_u);
    case kCheckerboard:
      return in_window && Odd(u * figure.frequency + figure.phase_u) != Odd(v * figure.frequency + figure.phase_v);
  }
  return false;
}

class Picture {
 public:
  // A ramp between two colours in a random direction with a coarse random texture on it.
  void Background(Random& random, const Colour& from, const Colour& to) {
    constexpr int kGrid = 5;
    std::array<double, kGrid * kGrid> texture;
    for (double& value : texture) value = random.Uniform(-28, 28);
    const double ax = random.Uniform(-1, 1);
    const double ay = random.Uniform(-1, 1);
    const double reach = std::abs(ax) + std::abs(ay) + 1e-3;
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const double px = (2.0 * x - kSide + 1) / kSide;
        const double py = (2.0 * y - kSide + 1) / kSide;
        const double t = 0.5 + 0.5 * (ax * px + ay * py) / reach;
        const int gx = x / 8;
        const int gy = y / 8;
        const double fx = x % 8 / 8.0;
        const double fy = y % 8 / 8.0;
        const double* corner = &texture[gy * kGrid + gx];
        const double bump = (corner[0] * (1 - fx) + corner[1] * fx) * (1 - fy) +
                            (corner[kGrid] * (1 - fx) + corner[kGrid + 1] * fx) * fy;
        for (int c = 0; c < kChannels; ++c) pixels_[y][x][c] = from[c] * (1 - t) + to[c] * t + bump;
      }
    }
  }

  void Draw(const Figure& figure, const Colour& colour, double opacity) {
    // No figure reaches beyond the corner of its window.
    const double reach = figure.radius * 1.45 + 1;
    const int x0 = std::max(0, static_cast<int>(figure.x - reach));
    const int x1 = std::min(kSide - 1, static_cast<int>(figure.x + reach));
    const int y0 = std::max(0, static_cast<int>(figure.y - reach));
    const int y1 = std::min(kSide - 1, static_cast<int>(figure.y + reach));
    for (int y = y0; y <= y1; ++y) {
      for (int x = x0; x <= x1; ++x) {
        int hits = 0;
        for (const double sy : {0.25, 0.75}) {
          for (const double sx : {0.25, 0.75}) hits += Inside(figure, x + sx, y + sy) ? 1 : 0;
        }
        Blend(x, y, colour, opacity * hits / 4);
      }
    }
  }

  // A short stroke or a speck, as clutter.
  void Clutter(Random& random) {
    const Colour colour = random.AnyColour();
    const double x = random.Uniform(0, kSide);
    const double y = random.Uniform(0, kSide);
    const double dx = random.Uniform(-1, 1);
    const double dy = random.Uniform(-1, 1);
    const int length = 1 + random.Below(6);
    for (int i = 0; i < length; ++i) {
      const int px = static_cast<int>(x + dx * i);
      const int py = static_cast<int>(y + dy * i);
      if (px >= 0 && px < kSide && py >= 0 && py < kSide) Blend(px, py, colour, 0.8);
    }
  }

  void Store(Random& random, uint8_t* destination) const {
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        uint64_t bits = random.Next();
        for (int c = 0; c < kChannels; ++c) {
          // Two uniform numbers added: noise of mean 0, at most 15.
          const int noise = static_cast<int>(bits & 15) + static_cast<int>(bits >> 4 & 15) - 15;
          bits >>= 16;
          const double value = std::clamp(std::floor(pixels_[y][x][c] + noise + 0.5), 0.0, 255.0);
          *destination++ = static_cast<uint8_t>(value);
        }
      }
    }
  }

 private:
  void Blend(int x, int y, const Colour& colour, double weight) {
    for (int c = 0; c < kChannels; ++c) pixels_[y][x][c] += (colour[c] - pixels_[y][x][c]) * weight;
  }

  double pixels_[kSide][kSide][kChannels];
};

Figure AnyFigure(Random& random, Kind kind) {
  Figure figure{.kind = kind};
  figure.radius = random.Uniform(6, 11);
  figure.x = random.Uniform(figure.radius - 1, kSide - figure.radius + 1);
  figure.y = random.Uniform(figure.radius - 1, kSide - figure.radius + 1);
  // Stripes are told apart by their direction, so they tilt less.
  figure.direction = Tilt(random, kind >= kHorizontal ? 0.07 : 0.2);
  // Stripes of 2.2 to 3.7 pixels.
  figure.frequency = figure.radius / random.Uniform(2.2, 3.7);
  figure.phase_u = random.Uniform(0, 2);
  figure.phase_v = random.Uniform(0, 2);
  figure.sign = random.Below(2) == 0 ? 1 : -1;
  return figure;
}

void Generate(uint64_t seed, uint64_t split, int64_t index, Kind kind, uint8_t* destination) {
  Random random(seed, split, static_cast<uint64_t>(index));
  const Colour from = random.AnyColour();
  Colour to = random.AnyColour();
  Colour colour = random.AnyColour();
  // The figure must stand out from the whole ramp, not only from its ends.
  const auto stands_out = [&] {
    const Colour middle = {(from[0] + to[0]) / 2, (from[1] + to[1]) / 2, (from[2] + to[2]) / 2};
    return std::min({Distance(colour, from), Distance(colour, to), Distance(colour, middle)}) >= 170;
  };
  while (!stands_out()) {
    to = random.AnyColour();
    colour = random.AnyColour();
  }
  Picture picture;
  picture.Background(random, from, to);
  const int behind = 2 + random.Below(5);
  for (int i = 0; i < behind; ++i) picture.Clutter(random);
  picture.Draw(AnyFigure(random, kind), colour, random.Uniform(0.75, 1));
  const int before = 1 + random.Below(3);
  for (int i = 0; i < before; ++i) picture.Clutter(random);
  picture.Store(random, destination);
}

Dataset GenerateSplit(uint64_t seed, uint64_t split, int64_t count) {
  if (count < 0) ThrowInvalidArgument("GeneratedShapes: ", count, " pictures asked for");
  Dataset dataset;
  dataset.images = Tensor::Uninitialized({DType::kUint8, {count, kSide, kSide, kChannels}});
  dataset.labels = Tensor::Uninitialized({DType::kInt32, {count}});
  dataset.class_names = {"disc", "ring",       "square",   "triangle", "cross",
                         "star", "horizontal", "vertical", "diagonal", "checkerboard"};
  dataset.name = "generated shapes";
  const std::span<uint8_t> pixels = dataset.images.data<uint8_t>();
  const std::span<int32_t> labels = dataset.labels.data<int32_t>();
  std::array<int, kKinds> order;
  for (int64_t i = 0; i < count; ++i) {
    if (i % kKinds == 0) {
      Random random(seed, split + 2, static_cast<uint64_t>(i / kKinds));
      std::iota(order.begin(), order.end(), 0);
      for (int k = kKinds - 1; k > 0; --k) std::swap(order[k], order[random.Below(k + 1)]);
    }
    labels[i] = order[i % kKinds];
    Generate(seed, split, i, static_cast<Kind>(labels[i]), pixels.data() + i * kImageBytes);
  }
  return dataset;
}

}  // namespace

DatasetPair GeneratedShapes(int64_t train_count, int64_t test_count, uint64_t seed) {
  return {GenerateSplit(seed, 0, train_count), GenerateSplit(seed, 1, test_count)};
}

absl::StatusOr<Cifar10OrGenerated> LoadCifar10OrGenerated(const Cifar10Options& options) {
  absl::StatusOr<DatasetPair> loaded = LoadCifar10(options);
  if (loaded.ok()) return Cifar10OrGenerated{*std::move(loaded), false, ""};
  if (!options.folder.empty() || secure_getenv("WEIR_CIFAR10") != nullptr) return loaded.status();
  Cifar10OrGenerated result{GeneratedShapes(50'000, 10'000), true, ""};
  result.notice = StrCat(
      "NOTE: these are generated pictures of ten shapes, not CIFAR-10, and accuracies are not "
      "comparable. Reason: ",
      loaded.status().message());
  std::fprintf(stderr, "%s\n", result.notice.c_str());
  return result;
}

}  // namespace weir::datasets
