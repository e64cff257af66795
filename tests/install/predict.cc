// Builds a small model and predicts with it: what a program that embeds weir does.
#include <cstdio>

#include "weir/frontend/layers/layers.h"
#include "weir/frontend/sequential.h"

int main() {
  const weir::Sequential model({weir::Conv2D({.filters = 4, .kernel_size = 3, .activation = "relu", .input_shape = {8, 8, 3}}),
                                weir::Flatten(), weir::Dense({.units = 10, .activation = "softmax"})});
  const weir::Tensor scores = model.PredictOne(weir::Tensor::Full(weir::DType::kFloat32, {2, 8, 8, 3}, 0.5));
  float sum = 0;
  for (float score : scores.data<float>()) sum += score;
  std::printf("%s, scores of a picture add up to %.3f\n", weir::PythonTuple(scores.shape()).c_str(), static_cast<double>(sum / 2));
  return scores.shape() == weir::Shape{2, 10} && sum > 1.99f && sum < 2.01f ? 0 : 1;
}
