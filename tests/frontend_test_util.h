// What the tests of the frontend share: runtimes by backend, the tutorial's model with weights and data by formula.
#ifndef WEIR_TESTS_FRONTEND_TEST_UTIL_H_
#define WEIR_TESTS_FRONTEND_TEST_UTIL_H_

#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>

#include "parts_test_util.h"
#include "temp_folder.h"
#include "weir/frontend/layers/layers.h"
#include "weir/frontend/model.h"
#include "weir/frontend/model_files.h"
#include "weir/frontend/sequential.h"
#include "weir/frontend/session.h"

namespace weir {

// Kept for the whole program, so that plans are compiled once.
inline Runtime& TestRuntime(const std::string& backend, int threads) {
  static std::map<std::pair<std::string, int>, std::unique_ptr<Runtime>> made;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  std::unique_ptr<Runtime>& runtime = made[{backend, threads}];
  if (runtime == nullptr) {
    absl::StatusOr<std::unique_ptr<Runtime>> fresh = MakeRuntime({.backend = backend, .threads = threads, .jit_cache = "off"});
    EXPECT_TRUE(fresh.ok()) << fresh.status();
    runtime = *std::move(fresh);
  }
  return *runtime;
}

// n numbers in [0, 1), reproducible anywhere: see tutorial_10_steps.json, "generation".
inline std::vector<double> Uniforms(int64_t n, uint32_t seed) {
  std::vector<double> values;
  values.reserve(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    uint32_t h = static_cast<uint32_t>(i) * 2654435761u + seed * 40503u + 12345u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    h *= 3266489917u;
    h ^= h >> 16;
    values.push_back(h / 4294967296.0);
  }
  return values;
}

inline Tensor UniformTensor(const Shape& shape, uint32_t seed) {
  Tensor tensor(DType::kFloat32, shape);
  const std::vector<double> values = Uniforms(shape.size(), seed);
  for (size_t i = 0; i < values.size(); ++i) tensor.data<float>()[i] = static_cast<float>(values[i]);
  return tensor;
}

inline Tensor Labels(int64_t n, int64_t classes, int64_t start = 0) {
  Tensor labels(DType::kInt32, Shape{n});
  for (int64_t i = 0; i < n; ++i)
    labels.data<int32_t>()[static_cast<size_t>(i)] = static_cast<int32_t>((7 * i + start) % classes);
  return labels;
}

// The model of the tutorial; dropout 0 for comparisons with results that have none.
inline Sequential TutorialModel(const ModelOptions& options = {}, bool dropout = true) {
  return Sequential(
      {Conv2D({.filters = 32,
               .kernel_size = {3, 3},
               .padding = "same",
               .activation = "relu",
               .kernel_constraint = MaxNorm(3),
               .input_shape = {32, 32, 3}}),
       Dropout(dropout ? 0.3 : 0),
       Conv2D({.filters = 32,
               .kernel_size = {3, 3},
               .padding = "same",
               .activation = "relu",
               .kernel_constraint = MaxNorm(3)}),
       MaxPooling2D(), Flatten(), Dense({.units = 512, .activation = "relu", .kernel_constraint = MaxNorm(3)}),
       Dropout(dropout ? 0.5 : 0), Dense({.units = 10, .activation = "sigmoid"})},
      options);
}

inline void CompileTutorial(const Model& model) {
  model.Compile(
      {.optimizer = "adam", .loss = "sparse_categorical_crossentropy", .metrics = {"sparse_categorical_accuracy"}});
}

// A small model of the same kind, for what needs many steps.
inline Sequential SmallModel(const ModelOptions& options = {}, double dropout = 0.25) {
  return Sequential({Conv2D({.filters = 4,
                             .kernel_size = 3,
                             .padding = "same",
                             .activation = "relu",
                             .kernel_constraint = MaxNorm(3),
                             .input_shape = {8, 8, 3}}),
                     MaxPooling2D(), Flatten(), Dropout(dropout), Dense({.units = 5, .activation = "sigmoid"})},
                    options);
}

inline bool SameWeights(const Model& a, const Model& b) {
  const std::vector<Variable> left = a.weights(), right = b.weights();
  if (left.size() != right.size()) return false;
  for (size_t i = 0; i < left.size(); ++i) {
    if (!BitEqual(left[i].value(), right[i].value())) return false;
  }
  return true;
}

}  // namespace weir

#endif  // WEIR_TESTS_FRONTEND_TEST_UTIL_H_
