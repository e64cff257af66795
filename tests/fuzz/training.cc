// What callbacks read: the file that CSVLogger goes on with, and the patterns of checkpoints' paths.
#include <cmath>
#include <iterator>
#include <limits>

#include "weir/frontend/checkpoint_path.h"
#include "weir/frontend/layers/layers.h"
#include "weir/frontend/sequential.h"
#include "weir/tests/fuzz/runtime.h"
#include "weir/tests/fuzz/scratch.h"
#include "weir/tests/fuzz/targets.h"

namespace weir::fuzz {
namespace {

size_t CountOf(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

}  // namespace

bool CsvLog(std::string_view bytes) {
  static const Scratch scratch;
  static const Model model = [] {
    const Sequential made({Dense({.units = 1, .input_shape = {1}})}, {.runtime = &SmallRuntime()});
    made.Compile({.optimizer = "sgd", .loss = "mse"});
    return made;
  }();
  static const Tensor x(DType::kFloat32, {1, 1}), y(DType::kFloat32, {1, 1});
  const std::string path = scratch.Write("log.csv", bytes);
  try {
    const CallbackPtr log = CSVLogger({.path = path, .append = true});
    model.Fit(x, y, {.verbose = 0, .callbacks = {log}, .handle_interrupt = false});
  } catch (const Error&) {
    return false;
  }
  std::ifstream file(path, std::ios::binary);
  const std::string now((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Require(now.starts_with(bytes), "what was in the log stays there");
  const std::string_view added = std::string_view(now).substr(bytes.size());
  Require(added.ends_with("\r\n"), "a row is a line of its own");
  const std::string_view row = added.substr(added.find('0'));
  Require(CountOf(row, ",") <= CountOf(bytes, ",") + 1, "a row has no more cells than the header");
  return true;
}

bool CheckpointPattern(std::string_view bytes) {
  constexpr double kValues[] = {0.25, -1.5e-7, -0.0, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, NAN, -NAN,
                                INFINITY, -INFINITY};
  constexpr int64_t kEpochs[] = {1, 12, int64_t{1} << 53, std::numeric_limits<int64_t>::max()};
  if (bytes.empty()) return false;
  const auto choice = static_cast<uint8_t>(bytes[0]);
  const std::string pattern(bytes.substr(1));
  const double value = kValues[choice % std::size(kValues)];
  const int64_t epoch = kEpochs[choice / std::size(kValues) % std::size(kEpochs)];
  try {
    Logs logs;
    for (const std::string& key : CheckpointPathKeys(pattern)) logs.Set(key, value);
    const std::string path = CheckpointPath(pattern, epoch, logs);
    Require(path.find('\0') == std::string::npos, "a path has no NUL");
    // The longest of a number is a double in full, with the precision asked for.
    Require(path.size() <= pattern.size() + CountOf(pattern, "{") * 400, "a path is as long as its pattern says");
    if (pattern.find('{') == std::string::npos) Require(path == pattern, "a path without fields is itself");
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace weir::fuzz
