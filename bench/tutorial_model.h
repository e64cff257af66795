// The tutorial's model and batches for it: random pictures, labels in turn.
#ifndef WEIR_BENCH_TUTORIAL_MODEL_H_
#define WEIR_BENCH_TUTORIAL_MODEL_H_

#include <cstdint>

#include "weir/core/runtime.h"
#include "weir/frontend/examples.h"
#include "weir/frontend/sequential.h"
#include "weir/ops/ops.h"

namespace weir::bench {

// `algorithm` is that of both convolutions.
Sequential TutorialModel(Runtime* runtime, ConvAlgorithm algorithm = ConvAlgorithm::kAuto);
Tensor TutorialPictures(int64_t batch);
Examples TutorialBatch(int64_t batch);

}  // namespace weir::bench

#endif  // WEIR_BENCH_TUTORIAL_MODEL_H_
