// Diff: the first value, in the order of computation, that two backends, two models or two saved models compute
// otherwise from the same input: where to look when results disagree. Weights count as values, so that of two files the
// first weight that differs is found.
#ifndef WEIR_FRONTEND_DIFF_H_
#define WEIR_FRONTEND_DIFF_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/frontend/model.h"

namespace weir {

struct Difference {
  std::string path = {};       // "conv2d/pre_activation", without the model's name
  int64_t elements = 0;        // of the value
  int64_t count = 0;           // of them whose bits differ; 0 if the types do, or if only one side has the value
  std::vector<int64_t> index = {};  // of the first that differs
  double a = 0, b = 0;         // there
  double largest = 0;          // |a - b| over all that are finite on both sides
  std::string message = {};    // all of it in words
};

// Nothing if every value of a prediction of x has the same bits. Throws Error where Predict does.
std::optional<Difference> DiffModels(const Model& a, const Model& b, const std::vector<Tensor>& x);
std::optional<Difference> DiffModels(const Model& a, const Model& b, const Tensor& x);
// One model on two backends, by name ("llvm", "highway", "reference").
std::optional<Difference> DiffBackends(const Model& model, const Tensor& x, const std::string& a, const std::string& b);
// Two saved models. Fails where LoadModel does.
absl::StatusOr<std::optional<Difference>> DiffFiles(const std::string& a, const std::string& b, const Tensor& x);

}  // namespace weir

#endif  // WEIR_FRONTEND_DIFF_H_
