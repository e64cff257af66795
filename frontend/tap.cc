#include "weir/frontend/tap.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "weir/core/error.h"
#include "weir/core/op_def.h"

namespace weir {
namespace {

constexpr std::string_view kOutput = "/output";

bool IsGlob(const std::string& pattern) { return pattern.find_first_of("*?") != std::string::npos; }

// "inner/dense#1/kernel" -> "inner/dense/kernel".
std::string WithoutUses(const std::string& path) {
  std::string text;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '#') {
      text += path[i];
      continue;
    }
    while (i + 1 < path.size() && path[i + 1] != '/') ++i;
  }
  return text;
}

// The ways to write a value's path: in full, a layer for its output, and each without the numbers of uses.
std::vector<std::string> Spellings(const std::string& path) {
  std::vector<std::string> all{path};
  if (path.ends_with(kOutput)) all.push_back(path.substr(0, path.size() - kOutput.size()));
  for (size_t i = 0, n = all.size(); i < n; ++i) {
    if (all[i].find('#') != std::string::npos) all.push_back(WithoutUses(all[i]));
  }
  return all;
}

// Whether `pattern` is the end of `path` from a '/' on, or all of it.
bool IsTail(const std::string& path, const std::string& pattern) {
  return path == pattern ||
         (path.size() > pattern.size() && path.ends_with(pattern) && path[path.size() - pattern.size() - 1] == '/');
}

bool GlobMatches(const std::string& pattern, const std::string& path) {
  for (const std::string& spelling : Spellings(path)) {
    // A pattern may begin at any part of the path.
    for (size_t begin = 0; begin != std::string::npos;) {
      if (GlobMatch(pattern, std::string_view(spelling).substr(begin))) return true;
      const size_t slash = spelling.find('/', begin);
      begin = slash == std::string::npos ? slash : slash + 1;
    }
  }
  return false;
}

std::vector<NamedValue> AllNodes(const std::shared_ptr<Graph>& graph) {
  std::vector<NamedValue> nodes;
  for (NodeId id = 0; id < graph->size(); ++id) {
    for (size_t i = 0; i < graph->node(id).outputs.size(); ++i) {
      const std::string path = graph->Path(id);
      nodes.push_back({i == 0 ? path : StrCat(path, ".", i), graph->value({id, static_cast<int32_t>(i)})});
    }
  }
  return nodes;
}

std::vector<NamedValue> Matching(const std::string& pattern, std::span<const NamedValue> named) {
  std::vector<NamedValue> found;
  std::set<std::string> paths;
  const auto add = [&](const NamedValue& value) {
    if (paths.insert(value.path).second) found.push_back(value);
  };
  if (IsGlob(pattern)) {
    for (const NamedValue& value : named) {
      if (GlobMatches(pattern, value.path)) add(value);
    }
    return found;
  }
  for (const NamedValue& value : named) {
    if (value.path == pattern) return {value};
  }
  for (const NamedValue& value : named) {
    const std::vector<std::string> spellings = Spellings(value.path);
    if (std::any_of(spellings.begin(), spellings.end(), [&](const std::string& s) { return IsTail(s, pattern); }))
      add(value);
  }
  if (found.size() <= 1) return found;
  // Of several, the one that the model's name alone is missing from is meant: "dense" is the outer model's, not that
  // of "inner/dense".
  std::vector<NamedValue> direct;
  for (const NamedValue& value : found) {
    for (const std::string& spelling : Spellings(value.path)) {
      const size_t slash = spelling.find('/');
      if (slash != std::string::npos && spelling.substr(slash + 1) == pattern) {
        direct.push_back(value);
        break;
      }
    }
  }
  return direct.size() == 1 ? direct : found;
}

}  // namespace

std::vector<NamedValue> ResolveTap(const std::string& pattern, std::span<const NamedValue> named,
                                   const std::shared_ptr<Graph>& graph) {
  std::vector<NamedValue> found = Matching(pattern, named);
  std::vector<NamedValue> nodes;
  if (found.empty()) {
    nodes = AllNodes(graph);
    found = Matching(pattern, nodes);
  }
  if (found.empty()) {
    std::vector<std::string> known;
    for (const NamedValue& value : named) {
      const size_t slash = value.path.find('/');
      const std::string short_path = slash == std::string::npos ? value.path : value.path.substr(slash + 1);
      known.push_back(short_path.ends_with(kOutput) ? short_path.substr(0, short_path.size() - kOutput.size())
                                                    : short_path);
    }
    ThrowNotFound("Tap: ", UnknownNameMessage("value", pattern, known));
  }
  if (found.size() > 1 && !IsGlob(pattern)) {
    std::vector<std::string> paths;
    for (const NamedValue& value : found) paths.push_back(value.path);
    ThrowInvalidArgument("Tap: '", pattern, "' is ambiguous, it may be ", StrJoin(paths, ", "));
  }
  return found;
}

TapStatistics ComputeStatistics(const Tensor& tensor) {
  TapStatistics statistics;
  statistics.count = tensor.size();
  VisitDType(tensor.dtype(), [&]<class T>(T) {
    if constexpr (std::is_arithmetic_v<T>) {
      double sum = 0, low = std::numeric_limits<double>::infinity(), high = -low;
      int64_t finite = 0;
      for (T element : tensor.data<T>()) {
        const double value = static_cast<double>(element);
        statistics.zeros += value == 0;
        statistics.nans += std::isnan(value);
        statistics.infinities += std::isinf(value);
        if (std::isnan(value)) continue;
        low = std::min(low, value);
        high = std::max(high, value);
        if (std::isinf(value)) continue;
        sum += value;
        ++finite;
      }
      statistics.min = low <= high ? low : std::numeric_limits<double>::quiet_NaN();
      statistics.max = low <= high ? high : std::numeric_limits<double>::quiet_NaN();
      if (finite == 0) {
        statistics.mean = statistics.std = std::numeric_limits<double>::quiet_NaN();
        return;
      }
      statistics.mean = sum / static_cast<double>(finite);
      double squares = 0;
      for (T element : tensor.data<T>()) {
        const double difference = static_cast<double>(element) - statistics.mean;
        if (std::isfinite(difference)) squares += difference * difference;
      }
      statistics.std = std::sqrt(squares / static_cast<double>(finite));
    }
  });
  return statistics;
}

std::ostream& operator<<(std::ostream& out, const TapStatistics& s) {
  return out << "mean " << s.mean << ", std " << s.std << ", min " << s.min << ", max " << s.max << ", " << s.count
             << " elements (" << s.zeros << " zeros, " << s.nans << " NaNs, " << s.infinities << " infinities)";
}

void TapHandle::State::Set(std::vector<TapReading> latest) {
  auto fresh = std::make_shared<const std::vector<TapReading>>(std::move(latest));
  const std::lock_guard lock(mutex_);
  readings_ = std::move(fresh);
}

TapHandle::Readings TapHandle::State::Get() const {
  const std::lock_guard lock(mutex_);
  return readings_;
}

const std::vector<TapReading>& TapHandle::readings() const {
  if (state_ == nullptr) ThrowFailedPrecondition("the tap is undefined");
  shown_ = state_->Get();
  return *shown_;
}

const TapReading& TapHandle::reading() const {
  const std::vector<TapReading>& all = readings();
  if (all.size() != 1) {
    ThrowFailedPrecondition("tap '", state_->request.pattern, "' has ", all.size(),
                            all.empty() ? " readings: nothing has run yet" : " readings, expected one");
  }
  return all[0];
}

}  // namespace weir
