// Generated pictures of ten simple kinds, with the form of CIFAR-10: for tests, and for trying everything out where
// there is neither the data set nor a network. Position, size, tilt and colours are random, so that single pixels say
// next to nothing about the kind: a linear classifier does badly, a convolutional network well.
#ifndef WEIR_FRONTEND_DATA_GENERATED_H_
#define WEIR_FRONTEND_DATA_GENERATED_H_

#include <cstdint>
#include <string>

#include "weir/frontend/data/cifar10.h"
#include "weir/frontend/data/dataset.h"

namespace weir::datasets {

// uint8 (count, 32, 32, 3) pictures with labels 0..9; every run of ten pictures has each kind once. The same seed
// gives the same bytes on any platform; picture i does not depend on the counts. Throws Error for negative counts.
DatasetPair GeneratedShapes(int64_t train_count, int64_t test_count, uint64_t seed = 0);

struct Cifar10OrGenerated {
  DatasetPair data;
  bool generated = false;
  std::string notice;  // why, for the reader; empty for CIFAR-10
};

// CIFAR-10, or if no place was named for it (options.folder, WEIR_CIFAR10) and it can't be had, generated pictures in
// its numbers (50,000 and 10,000); then the notice is written to standard error too. A named place without good data
// is the failure that LoadCifar10 returns.
absl::StatusOr<Cifar10OrGenerated> LoadCifar10OrGenerated(const Cifar10Options& options = {});

}  // namespace weir::datasets

#endif  // WEIR_FRONTEND_DATA_GENERATED_H_
