// What tests of the Highway backend's lowerings share. The backend alone, below plans and executables: clusters made by
// hand are lowered for every target of this machine; their tasks run in random order on several threads, with sentinels
// round all buffers and poisoned scratch, and the results are compared bit for bit with the ops' references. Shapes are
// chosen to hurt: tails of vectors, panels and tiles, and sizes at which a lowering changes its ways.
#ifndef WEIR_TESTS_HIGHWAY_LOWERING_H_
#define WEIR_TESTS_HIGHWAY_LOWERING_H_

#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/backend.h"
#include "weir/ops/ops.h"

namespace weir {

struct Problem {
  std::string name;
  std::shared_ptr<Graph> graph = Graph::Create();
  std::vector<Value> outputs;
  std::mt19937 random{1};

  explicit Problem(std::string n) : name(std::move(n)) {}

  // A leaf of random numbers in [-1, 1), some of them zeros of either sign.
  Value Floats(const Shape& shape) {
    Tensor tensor(DType::kFloat32, shape);
    for (float& x : tensor.data<float>()) {
      const uint32_t bits = random();
      x = bits % 97 == 0 ? 0.0f : bits % 97 == 1 ? -0.0f : static_cast<float>(bits >> 8) * 0x1p-23f - 1.0f;
    }
    return graph->Data(std::move(tensor));
  }
  // Any bit patterns: all magnitudes, infinities, NaNs, but no subnormal numbers.
  Value Patterns(const Shape& shape) {
    Tensor tensor(DType::kFloat32, shape);
    for (float& x : tensor.data<float>()) {
      uint32_t bits = random();
      if ((bits & 0x7F800000u) == 0) bits = 0;
      x = std::bit_cast<float>(bits);
    }
    return graph->Data(std::move(tensor));
  }
  template <class T>
  Value Integers(const Shape& shape, int low, int high) {
    Tensor tensor(DTypeOf<T>::value, shape);
    for (T& x : tensor.data<T>())
      x = static_cast<T>(low + static_cast<int>(random() % static_cast<uint32_t>(high - low)));
    return graph->Data(std::move(tensor));
  }
};

// All nodes that the outputs need, as one cluster.
Cluster ClusterOf(const Problem& problem);

// The targets that tests run for.
std::vector<std::string> HighwayTestTargets();

class HighwayKernels : public ::testing::TestWithParam<std::string> {
 protected:
  // Baseline and SSE4 emulate fma: large problems would take minutes.
  bool slow() const { return GetParam() != "AVX3" && GetParam() != "AVX2" && GetParam() != "NEON"; }

  // Lowers the problem and runs it, with one thread and several, and each in-place pair.
  void Check(Problem& problem);

  // The problem by itself; behind it bias, activation and a second full operand, every inner value an output; and the
  // same with the last value alone, so that the anchor's own goes through scratch.
  template <class Build>
  void CheckWithEpilogues(const std::string& name, const Build& build) {
    for (int variant = 0; variant < 3; ++variant) {
      Problem problem(StrCat(name, variant == 0 ? "" : variant == 1 ? " with taps" : " with epilogue"));
      const Value y = build(problem);
      problem.outputs = {y};
      if (variant > 0) {
        const Value active = Relu(y + problem.Floats({y.shape().dim(-1)}));
        const Value moved = active * 0.5 + problem.Floats(y.shape()) * 0.25;
        const Value kept = Where(Greater(moved, 0.1), moved, Tanh(y));
        problem.outputs = variant == 1 ? std::vector<Value>{y, active, moved, kept} : std::vector<Value>{kept};
      }
      Check(problem);
      if (HasFailure()) return;
    }
  }
};

}  // namespace weir

#endif  // WEIR_TESTS_HIGHWAY_LOWERING_H_
