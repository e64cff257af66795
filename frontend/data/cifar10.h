// CIFAR-10: 60,000 colour pictures of 32x32 in ten classes (Krizhevsky, 2009), found on the disk or downloaded. Its
// stand-in where there is neither is generated.h.
#ifndef WEIR_FRONTEND_DATA_CIFAR10_H_
#define WEIR_FRONTEND_DATA_CIFAR10_H_

#include <cstdint>
#include <string>

#include "weir/core/error.h"
#include "weir/frontend/data/dataset.h"

namespace weir::datasets {

struct Cifar10Options {
  // Where the data is: the folder with the six .bin files, a folder that contains it, or the archive. Empty: the
  // environment variable WEIR_CIFAR10 if set, else `cache_folder`. A place that is named is the only one searched.
  std::string folder = {};
  // Whether to fetch the archive into `cache_folder` if no place was named and the data is not there.
  bool download = true;
  std::string url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
  int64_t archive_bytes = 170'052'171;
  std::string archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530";
  // Empty: MD5 alone is compared.
  std::string archive_sha256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd";
  // Empty: $XDG_CACHE_HOME/weir, else ~/.cache/weir.
  std::string cache_folder = {};
  bool show_progress = true;  // on standard error
};

// Train (50,000) and test (10,000) pictures in the official order: uint8 (N, 32, 32, 3), red green blue, and labels
// 0..9. Failures, each naming the file: kNotFound "not found: looked in ..." or the one file missing; kDataLoss
// "incomplete (x of y bytes)", "checksum differs" (of an archive) or a label above 9 with its record's number;
// kFailedPrecondition for the Python version of the data; kUnavailable for the network.
absl::StatusOr<DatasetPair> LoadCifar10(const Cifar10Options& options = {});

// The official names, by label: airplane, automobile, bird, ...
const std::vector<std::string>& Cifar10ClassNames();

}  // namespace weir::datasets

#endif  // WEIR_FRONTEND_DATA_CIFAR10_H_
