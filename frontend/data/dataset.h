// Labelled pictures in memory: what the loaders return and Fit takes. Copies share the elements, as tensors do.
#ifndef WEIR_FRONTEND_DATA_DATASET_H_
#define WEIR_FRONTEND_DATA_DATASET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "weir/core/tensor.h"

namespace weir {

struct Dataset {
  Tensor images;                         // uint8 (0..255) or float32, (N, height, width, channels)
  Tensor labels;                         // int32, (N)
  std::vector<std::string> class_names;  // label i is class_names[i]
  std::string name;                      // what the pictures are: "CIFAR-10", "generated shapes"

  int64_t size() const { return images.defined() ? images.shape()[0] : 0; }

  // Picture `i` as float32 (1, height, width, channels), the batch axis in front as models want it; the elements'
  // range is that of `images`. Shares the elements of float32 images. Throws Error if `i` is out of range.
  Tensor image(int64_t i) const;
  int32_t label(int64_t i) const;
  // The class name of picture `i`, or its label in digits if there is no such name.
  std::string class_name(int64_t i) const;

  // A copy as float32 with every element multiplied by `factor`, in double precision and rounded once, so that
  // Scaled(1.0 / 255) and Scaled(1.0f / 255) agree with division by 255 within one unit in the last place.
  Dataset Scaled(double factor) const;

  // Pictures [begin, end), sharing the elements; throws Error if out of range. Take gives the first `count`, or all
  // if there are fewer.
  Dataset Slice(int64_t begin, int64_t end) const;
  Dataset Take(int64_t count) const;
};

struct DatasetPair {
  Dataset train;
  Dataset test;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_DATA_DATASET_H_
