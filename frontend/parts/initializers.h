// Initializers: how a new weight gets its values. A layer option takes a name ("he_normal"), one of the functions
// below (HeNormal({.seed = 7})) or a function of one's own:
//
//   Dense({.units = 10, .kernel_initializer = TruncatedNormal({.stddev = 0.01})})
#ifndef WEIR_FRONTEND_PARTS_INITIALIZERS_H_
#define WEIR_FRONTEND_PARTS_INITIALIZERS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "weir/core/rng.h"
#include "weir/core/tensor.h"

namespace weir {

class Initializer {
 public:
  // Returns float32 values of the given shape.
  using Function = std::function<Tensor(const Shape& shape, RandomStream& stream)>;

  Initializer() = default;               // none
  Initializer(const char* name);         // NOLINT: throws Error for an unknown name
  Initializer(const std::string& name);  // NOLINT
  // One's own: in a file by its name, if that is registered (custom.h).
  Initializer(std::string name, Function function);

  bool defined() const { return state_ != nullptr; }
  const std::string& class_name() const;  // "GlorotUniform"; "" for none

  // float32 values of the given shape. Draws come from `stream`, or, if the initializer has a seed, from that alone:
  // then each call gives the same values. Throws Error for a shape it can't do, or if there is no initializer.
  Tensor operator()(const Shape& shape, RandomStream& stream) const;

  nlohmann::json ToJson() const;  // null for none
  static Initializer FromJson(const nlohmann::json& json);

 private:
  struct State;
  friend Initializer MakeInitializer(const std::string& class_name, nlohmann::json config, std::optional<int64_t> seed,
                                     Function function);

  std::shared_ptr<const State> state_;
};

Initializer Zeros();
Initializer Ones();
Initializer Constant(double value = 0);

struct RandomNormalOptions {
  double mean = 0;
  double stddev = 0.05;
  std::optional<int64_t> seed = {};
};
Initializer RandomNormal(const RandomNormalOptions& options = {});
// Normal, but draws beyond two standard deviations are drawn anew.
Initializer TruncatedNormal(const RandomNormalOptions& options = {});

struct RandomUniformOptions {
  double minval = -0.05;
  double maxval = 0.05;
  std::optional<int64_t> seed = {};
};
Initializer RandomUniform(const RandomUniformOptions& options = {});

// Variance scale / max(1, n), n being fan_in, fan_out or, for "fan_avg", their mean. "uniform" draws from
// U(-sqrt(3 v), sqrt(3 v)); "truncated_normal" makes up for the variance that truncation takes.
struct VarianceScalingOptions {
  double scale = 1;
  std::string mode = "fan_in";                    // "fan_in", "fan_out", "fan_avg"
  std::string distribution = "truncated_normal";  // "truncated_normal", "untruncated_normal", "uniform"
  std::optional<int64_t> seed = {};
};
Initializer VarianceScaling(const VarianceScalingOptions& options = {});

// The named cases of variance scaling. Glorot: scale 1, fan_avg; He: 2, fan_in; Lecun: 1, fan_in.
struct SeedOptions {
  std::optional<int64_t> seed = {};
};
Initializer GlorotUniform(const SeedOptions& options = {});
Initializer GlorotNormal(const SeedOptions& options = {});
Initializer HeUniform(const SeedOptions& options = {});
Initializer HeNormal(const SeedOptions& options = {});
Initializer LecunUniform(const SeedOptions& options = {});
Initializer LecunNormal(const SeedOptions& options = {});

// gain times a matrix with orthonormal rows or columns; the last axis is the columns. Rank >= 2.
struct OrthogonalOptions {
  double gain = 1;
  std::optional<int64_t> seed = {};
};
Initializer Orthogonal(const OrthogonalOptions& options = {});

// gain on the diagonal. Rank 2.
Initializer Identity(double gain = 1);

// Inputs and outputs that one unit of a weight of this shape is connected to. Rank 1: (n, n); rank 2: (rows,
// columns); higher: the last two axes, each times the product of all axes before them.
struct Fans {
  double in = 1;
  double out = 1;
};
Fans ComputeFans(const Shape& shape);

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_INITIALIZERS_H_
