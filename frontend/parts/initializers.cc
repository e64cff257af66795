// Initializers: see initializers.h. All draw on the host, once, when a model is built.
#include "weir/frontend/parts/initializers.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "weir/frontend/parts/custom.h"
#include "weir/frontend/parts/keras_config.h"

namespace weir {

using nlohmann::json;

struct Initializer::State {
  std::string class_name;
  json config;
  std::optional<int64_t> seed;
  Function function;
  bool built_in = true;
};

Initializer MakeInitializer(const std::string& class_name, json config, std::optional<int64_t> seed,
                            Initializer::Function function) {
  Initializer initializer;
  initializer.state_ = std::make_shared<Initializer::State>(
      Initializer::State{class_name, std::move(config), seed, std::move(function)});
  return initializer;
}

namespace {

// Standard deviation of a normal distribution cut at two standard deviations.
constexpr double kTruncatedNormalStddev = 0.87962566103423978;

template <class Draw>
Tensor Fill(const Shape& shape, Draw draw) {
  Tensor tensor(DType::kFloat32, shape);
  for (float& element : tensor.data<float>()) element = static_cast<float>(draw());
  return tensor;
}

Tensor FillUniform(const Shape& shape, RandomStream& stream, double low, double high) {
  // 24 random bits an element, as many as a float32 holds.
  return Fill(shape, [&] { return low + (high - low) * static_cast<double>(UniformFloat(stream.Bits())); });
}

Tensor FillNormal(const Shape& shape, RandomStream& stream, double mean, double stddev) {
  return Fill(shape, [&] { return mean + stddev * stream.Normal(); });
}

Tensor FillTruncatedNormal(const Shape& shape, RandomStream& stream, double mean, double stddev) {
  return Fill(shape, [&] {
    double draw = stream.Normal();
    while (std::abs(draw) > 2) draw = stream.Normal();
    return mean + stddev * draw;
  });
}

double Dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// `columns` orthonormal vectors of `rows` >= columns elements, one after the other: the Q of the QR decomposition of
// a matrix of normal draws, with the signs that make R's diagonal positive. Gram-Schmidt gives those signs; each
// vector is orthogonalised twice, after which it is orthogonal to rounding.
std::vector<double> OrthonormalColumns(size_t rows, size_t columns, RandomStream& stream) {
  std::vector<double> q(rows * columns);
  // Row by row, so that the matrix of draws is filled in the order of its elements.
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) q[c * rows + r] = stream.Normal();
  }
  for (size_t c = 0; c < columns; ++c) {
    const std::span<double> column(&q[c * rows], rows);
    for (int pass = 0; pass < 2; ++pass) {
      for (size_t before = 0; before < c; ++before) {
        const std::span<const double> other(&q[before * rows], rows);
        const double part = Dot(column, other);
        for (size_t r = 0; r < rows; ++r) column[r] -= part * other[r];
      }
    }
    const double norm = std::sqrt(Dot(column, column));
    for (double& element : column) element /= norm;
  }
  return q;
}

Tensor FillOrthogonal(const Shape& shape, RandomStream& stream, double gain) {
  if (shape.rank() < 2) ThrowInvalidArgument("Orthogonal: shape ", shape, " has fewer than two axes");
  Tensor tensor(DType::kFloat32, shape);
  if (shape.size() == 0) return tensor;
  const size_t columns = static_cast<size_t>(shape[-1]);
  const size_t rows = static_cast<size_t>(shape.size()) / columns;
  const size_t longer = std::max(rows, columns), shorter = std::min(rows, columns);
  const std::vector<double> q = OrthonormalColumns(longer, shorter, stream);
  const std::span<float> out = tensor.data<float>();
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      const double element = rows >= columns ? q[c * longer + r] : q[r * longer + c];
      out[r * columns + c] = static_cast<float>(gain * element);
    }
  }
  return tensor;
}

Tensor FillIdentity(const Shape& shape, double gain) {
  if (shape.rank() != 2) ThrowInvalidArgument("Identity: shape ", shape, " does not have two axes");
  Tensor tensor(DType::kFloat32, shape);
  for (int64_t i = 0; i < std::min(shape[0], shape[1]); ++i) {
    tensor.data<float>()[static_cast<size_t>(i * shape[1] + i)] = static_cast<float>(gain);
  }
  return tensor;
}

Tensor FillVarianceScaling(const VarianceScalingOptions& options, const Shape& shape, RandomStream& stream) {
  const Fans fans = ComputeFans(shape);
  double n = (fans.in + fans.out) / 2;
  if (options.mode == "fan_in") n = fans.in;
  if (options.mode == "fan_out") n = fans.out;
  const double variance = options.scale / std::max(1.0, n);
  if (options.distribution == "uniform") {
    const double limit = std::sqrt(3 * variance);
    return FillUniform(shape, stream, -limit, limit);
  }
  if (options.distribution == "untruncated_normal") return FillNormal(shape, stream, 0, std::sqrt(variance));
  return FillTruncatedNormal(shape, stream, 0, std::sqrt(variance) / kTruncatedNormalStddev);
}

// A named case of variance scaling; only the seed is its own, so only that is in its config.
Initializer NamedScaling(const std::string& class_name, const VarianceScalingOptions& options) {
  json config = {{"seed", JsonOptional(options.seed)}, {"input_axes", nullptr}, {"output_axes", nullptr}};
  return MakeInitializer(
      class_name, std::move(config), options.seed,
      [options](const Shape& shape, RandomStream& stream) { return FillVarianceScaling(options, shape, stream); });
}

// An integer seed; Keras also writes the state of a generator, which stands for none.
std::optional<int64_t> SeedOf(const KerasConfig& config) {
  return config.Has("seed") && config.json().at("seed").is_number_integer() ? config.OptionalInt("seed") : std::nullopt;
}

template <Initializer (*make)(const SeedOptions&)>
Initializer WithSeed(const KerasConfig& config) {
  return make({.seed = SeedOf(config)});
}

RandomNormalOptions NormalOptions(const KerasConfig& config) {
  return {.mean = config.Number("mean", 0), .stddev = config.Number("stddev", 0.05), .seed = SeedOf(config)};
}

std::span<const KnownPart<Initializer>> KnownInitializers() {
  using Config = KerasConfig;
  static const std::vector<KnownPart<Initializer>>& known = *new std::vector<KnownPart<Initializer>>{
      {"constant", "Constant", [](const Config& c) { return Constant(c.Number("value", 0)); }},
      {"glorot_normal", "GlorotNormal", WithSeed<GlorotNormal>},
      {"glorot_uniform", "GlorotUniform", WithSeed<GlorotUniform>},
      {"he_normal", "HeNormal", WithSeed<HeNormal>},
      {"he_uniform", "HeUniform", WithSeed<HeUniform>},
      {"identity", "Identity", [](const Config& c) { return Identity(c.Number("gain", 1)); }},
      {"lecun_normal", "LecunNormal", WithSeed<LecunNormal>},
      {"lecun_uniform", "LecunUniform", WithSeed<LecunUniform>},
      {"ones", "Ones", [](const Config&) { return Ones(); }},
      {"orthogonal", "Orthogonal",
       [](const Config& c) { return Orthogonal({.gain = c.Number("gain", 1), .seed = SeedOf(c)}); }},
      {"random_normal", "RandomNormal", [](const Config& c) { return RandomNormal(NormalOptions(c)); }},
      {"random_uniform", "RandomUniform",
       [](const Config& c) {
         return RandomUniform(
             {.minval = c.Number("minval", -0.05), .maxval = c.Number("maxval", 0.05), .seed = SeedOf(c)});
       }},
      {"truncated_normal", "TruncatedNormal", [](const Config& c) { return TruncatedNormal(NormalOptions(c)); }},
      {"variance_scaling", "VarianceScaling",
       [](const Config& c) {
         return VarianceScaling({.scale = c.Number("scale", 1),
                                 .mode = c.String("mode", "fan_in"),
                                 .distribution = c.String("distribution", "truncated_normal"),
                                 .seed = SeedOf(c)});
       }},
      {"zeros", "Zeros", [](const Config&) { return Zeros(); }},
      {"normal", "", [](const Config& c) { return RandomNormal(NormalOptions(c)); }, true},
      {"uniform", "", [](const Config&) { return RandomUniform(); }, true},
      {"zero", "", [](const Config&) { return Zeros(); }, true},
      {"one", "", [](const Config&) { return Ones(); }, true},
      {"IdentityInitializer", "", [](const Config& c) { return Identity(c.Number("gain", 1)); }, true},
      {"OrthogonalInitializer", "",
       [](const Config& c) { return Orthogonal({.gain = c.Number("gain", 1), .seed = SeedOf(c)}); }, true},
  };
  return known;
}

void CheckStddev(const std::string& class_name, double stddev) {
  if (!(stddev >= 0)) ThrowInvalidArgument(class_name, ": stddev is ", stddev, ", expected at least 0");
}

}  // namespace

Initializer::Initializer(const char* name) : Initializer(std::string(name)) {}

Initializer::Initializer(const std::string& name)
    : Initializer(MakeKnownPart<Initializer>("initializer", "RegisterInitializer", KnownInitializers(),
                                             KerasConfig(name, json::object()))) {}

Initializer::Initializer(std::string name, Function function)
    : state_(std::make_shared<State>(State{std::move(name), json::object(), {}, std::move(function), false})) {}

void RegisterInitializer(const std::string& name, Initializer::Function function) {
  CheckOwnName("RegisterInitializer", name, FindKnownPart(KnownInitializers(), name) != nullptr, function != nullptr);
  OwnParts<Initializer>::Add(name, [name, function = std::move(function)](const KerasConfig&) {
    return Initializer(name, function);
  });
}

const std::string& Initializer::class_name() const {
  static const std::string& none = *new std::string;
  return defined() ? state_->class_name : none;
}

Tensor Initializer::operator()(const Shape& shape, RandomStream& stream) const {
  if (!defined()) ThrowInvalidArgument("there is no initializer for a weight of shape ", shape);
  if (!state_->seed.has_value()) return state_->function(shape, stream);
  RandomStream own(static_cast<uint64_t>(*state_->seed), 0);
  return state_->function(shape, own);
}

json Initializer::ToJson() const {
  if (!defined()) return nullptr;
  if (!state_->built_in) {
    NoteUnlessRegistered<Initializer>("initializer", state_->class_name, "RegisterInitializer");
    return state_->class_name;
  }
  return MakeKerasObject("keras.initializers", state_->class_name, state_->config);
}

Initializer Initializer::FromJson(const json& json) {
  const std::optional<KerasConfig> config = ParseKerasObject("initializer", json);
  if (!config.has_value()) return {};
  return MakeKnownPart<Initializer>("initializer", "RegisterInitializer", KnownInitializers(), *config);
}

Initializer Zeros() {
  return MakeInitializer("Zeros", json::object(), {},
                         [](const Shape& shape, RandomStream&) { return Tensor(DType::kFloat32, shape); });
}

Initializer Ones() {
  return MakeInitializer("Ones", json::object(), {},
                         [](const Shape& shape, RandomStream&) { return Tensor::Full(DType::kFloat32, shape, 1); });
}

Initializer Constant(double value) {
  return MakeInitializer("Constant", {{"value", value}}, {}, [value](const Shape& shape, RandomStream&) {
    return Tensor::Full(DType::kFloat32, shape, value);
  });
}

Initializer RandomNormal(const RandomNormalOptions& options) {
  CheckStddev("RandomNormal", options.stddev);
  return MakeInitializer("RandomNormal",
                         {{"mean", options.mean}, {"stddev", options.stddev}, {"seed", JsonOptional(options.seed)}},
                         options.seed, [options](const Shape& shape, RandomStream& stream) {
                           return FillNormal(shape, stream, options.mean, options.stddev);
                         });
}

Initializer TruncatedNormal(const RandomNormalOptions& options) {
  CheckStddev("TruncatedNormal", options.stddev);
  return MakeInitializer("TruncatedNormal",
                         {{"mean", options.mean}, {"stddev", options.stddev}, {"seed", JsonOptional(options.seed)}},
                         options.seed, [options](const Shape& shape, RandomStream& stream) {
                           return FillTruncatedNormal(shape, stream, options.mean, options.stddev);
                         });
}

Initializer RandomUniform(const RandomUniformOptions& options) {
  if (!(options.minval <= options.maxval)) {
    ThrowInvalidArgument("RandomUniform: minval ", options.minval, " is above maxval ", options.maxval);
  }
  return MakeInitializer("RandomUniform",
                         {{"minval", options.minval}, {"maxval", options.maxval}, {"seed", JsonOptional(options.seed)}},
                         options.seed, [options](const Shape& shape, RandomStream& stream) {
                           return FillUniform(shape, stream, options.minval, options.maxval);
                         });
}

Initializer VarianceScaling(const VarianceScalingOptions& given) {
  VarianceScalingOptions options = given;
  if (options.distribution == "normal") options.distribution = "truncated_normal";
  const std::vector<std::string> modes = {"fan_in", "fan_out", "fan_avg"};
  const std::vector<std::string> distributions = {"truncated_normal", "untruncated_normal", "uniform"};
  if (std::find(modes.begin(), modes.end(), options.mode) == modes.end()) {
    ThrowInvalidArgument("VarianceScaling: ", UnknownNameMessage("mode", options.mode, modes));
  }
  if (std::find(distributions.begin(), distributions.end(), options.distribution) == distributions.end()) {
    ThrowInvalidArgument("VarianceScaling: ", UnknownNameMessage("distribution", options.distribution, distributions));
  }
  if (!(options.scale > 0)) {
    ThrowInvalidArgument("VarianceScaling: scale is ", options.scale, ", expected above 0");
  }
  json config = {{"scale", options.scale},
                 {"mode", options.mode},
                 {"distribution", options.distribution},
                 {"seed", JsonOptional(options.seed)},
                 {"input_axes", nullptr},
                 {"output_axes", nullptr}};
  return MakeInitializer(
      "VarianceScaling", std::move(config), options.seed,
      [options](const Shape& shape, RandomStream& stream) { return FillVarianceScaling(options, shape, stream); });
}

Initializer GlorotUniform(const SeedOptions& options) {
  return NamedScaling("GlorotUniform",
                      {.scale = 1, .mode = "fan_avg", .distribution = "uniform", .seed = options.seed});
}
Initializer GlorotNormal(const SeedOptions& options) {
  return NamedScaling("GlorotNormal", {.scale = 1, .mode = "fan_avg", .seed = options.seed});
}
Initializer HeUniform(const SeedOptions& options) {
  return NamedScaling("HeUniform", {.scale = 2, .distribution = "uniform", .seed = options.seed});
}
Initializer HeNormal(const SeedOptions& options) {
  return NamedScaling("HeNormal", {.scale = 2, .seed = options.seed});
}
Initializer LecunUniform(const SeedOptions& options) {
  return NamedScaling("LecunUniform", {.scale = 1, .distribution = "uniform", .seed = options.seed});
}
Initializer LecunNormal(const SeedOptions& options) {
  return NamedScaling("LecunNormal", {.scale = 1, .seed = options.seed});
}

Initializer Orthogonal(const OrthogonalOptions& options) {
  return MakeInitializer(
      "Orthogonal", {{"gain", options.gain}, {"seed", JsonOptional(options.seed)}}, options.seed,
      [options](const Shape& shape, RandomStream& stream) { return FillOrthogonal(shape, stream, options.gain); });
}

Initializer Identity(double gain) {
  return MakeInitializer("Identity", {{"gain", gain}}, {},
                         [gain](const Shape& shape, RandomStream&) { return FillIdentity(shape, gain); });
}

Fans ComputeFans(const Shape& shape) {
  const int rank = shape.rank();
  if (rank == 0) return {1, 1};
  const double last = static_cast<double>(shape[-1]);
  if (rank == 1) return {last, last};
  double field = 1;
  for (int axis = 0; axis < rank - 2; ++axis) field *= static_cast<double>(shape[axis]);
  return {static_cast<double>(shape[-2]) * field, last * field};
}

}  // namespace weir
