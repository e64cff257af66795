// One file from the network, of known length and checksum: resumable, verified, never half there. Private to the data
// library.
#ifndef WEIR_FRONTEND_DATA_DOWNLOAD_H_
#define WEIR_FRONTEND_DATA_DOWNLOAD_H_

#include <cstdint>
#include <string>

#include "weir/core/error.h"

namespace weir {

struct DownloadRequest {
  std::string url = {};  // http or https; one of https is not followed to http
  std::string path = {};
  int64_t bytes = 0;     // length of the whole file
  std::string md5 = {};  // hexadecimal
  std::string sha256 = {};  // likewise; empty where none is published: then MD5 alone is compared
  // File of the certificates (PEM) that a server may be vouched for by; empty: the system's.
  std::string certificates = {};
  // Connections without any progress before giving up; one that brought something does not count.
  int attempts = 3;
  bool show_progress = true;  // a bar on standard error if that is a terminal, else one line
};

// Whether `path` has the length and checksums (no `sha256`: MD5 alone): kDataLoss "incomplete (x of y bytes)" or
// "checksum differs", kNotFound.
absl::Status VerifyFile(const std::string& path, int64_t bytes, const std::string& md5,
                        const std::string& sha256 = {});

// Fetches into "<path>.part", continuing what an earlier call left there, verifies and renames to `path`. What was
// received is kept after a broken connection (kUnavailable "incomplete (x of y bytes)") and removed if its checksum
// differs (kDataLoss), so that no later run trips over it.
absl::Status Download(const DownloadRequest& request);

}  // namespace weir

#endif  // WEIR_FRONTEND_DATA_DOWNLOAD_H_
