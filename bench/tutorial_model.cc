#include "weir/bench/tutorial_model.h"

#include "weir/core/rng.h"
#include "weir/frontend/layers/layers.h"

namespace weir::bench {

Sequential TutorialModel(Runtime* runtime, ConvAlgorithm algorithm) {
  Sequential model({Conv2D({.filters = 32,
                            .kernel_size = {3, 3},
                            .padding = "same",
                            .activation = "relu",
                            .kernel_constraint = MaxNorm(3),
                            .input_shape = {32, 32, 3},
                            .algorithm = algorithm}),
                    Dropout(0.3),
                    Conv2D({.filters = 32,
                            .kernel_size = {3, 3},
                            .padding = "same",
                            .activation = "relu",
                            .kernel_constraint = MaxNorm(3),
                            .algorithm = algorithm}),
                    MaxPooling2D(), Flatten(),
                    Dense({.units = 512, .activation = "relu", .kernel_constraint = MaxNorm(3)}), Dropout(0.5),
                    Dense({.units = 10, .activation = "sigmoid"})});
  model.Compile({.optimizer = "adam",
                 .loss = "sparse_categorical_crossentropy",
                 .metrics = "sparse_categorical_accuracy",
                 .runtime = runtime});
  return model;
}

Tensor TutorialPictures(int64_t batch) {
  Tensor x(DType::kFloat32, {batch, 32, 32, 3});
  RandomStream random(1, 0);
  for (float& value : x.data<float>()) value = static_cast<float>(random.Uniform());
  return x;
}

Examples TutorialBatch(int64_t batch) {
  Tensor y(DType::kInt32, {batch});
  for (int64_t i = 0; i < batch; ++i) y.data<int32_t>()[static_cast<size_t>(i)] = static_cast<int32_t>(i % 10);
  return {TutorialPictures(batch), y};
}

}  // namespace weir::bench
