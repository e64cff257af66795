#include "weir/core/explain.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <vector>

namespace weir {
namespace {

std::string Number(double value, const char* unit) {
  static constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T"};
  int prefix = 0;
  for (; value >= 1000 && prefix < 4; ++prefix) value /= 1000;
  char text[48];
  std::snprintf(text, sizeof(text), "%.3g %s%s", value, kPrefixes[prefix], unit);
  return text;
}

std::string Micros(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f us", seconds * 1e6);
  return text;
}

// Mean seconds of each step; empty without events of a whole run.
std::vector<double> MeanTimes(std::span<const ProfileEvent> events, size_t steps) {
  std::vector<double> seconds(steps, 0);
  size_t seen = 0;
  for (const ProfileEvent& event : events) {
    if (event.backend == "core" || steps == 0) continue;
    seconds[seen++ % steps] += std::chrono::duration<double>(event.duration).count();
  }
  if (steps == 0 || seen < steps) return {};
  for (double& time : seconds) time /= static_cast<double>(seen / steps);
  return seconds;
}

std::string Indented(const std::string& text, const char* indent) {
  std::string result;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    result += StrCat(indent, text.substr(begin, end - begin), "\n");
    begin = end + 1;
  }
  return result;
}

std::string ExplainStep(const PlanStep& step, std::span<const Backend* const> backends, double seconds,
                        const ExplainOptions& options) {
  const double flops = ClusterFlops(step.cluster), bytes = ClusterBytes(step.cluster);
  std::string text =
      StrCat(Describe(step.cluster), " ", step.cluster.shape, "\n  by ", step.backend, ": ", step.lowering.kernel,
             "\n  work: ", Number(flops, "FLOP"), ", ", Number(bytes, "B"), " in and out");
  if (seconds > 0) {
    text += StrCat("\n  time: ", Micros(seconds), ", ", Number(flops / seconds, "FLOP/s"), ", ",
                   Number(bytes / seconds, "B/s"));
    if (options.peak_flops > 0 && options.peak_bytes > 0) {
      const double least = std::max(flops / options.peak_flops, bytes / options.peak_bytes);
      char share[64];
      std::snprintf(share, sizeof(share), ", %.0f%% of the roofline (%s-bound)", 100 * least / seconds,
                    flops / options.peak_flops > bytes / options.peak_bytes ? "compute" : "memory");
      text += share;
    }
  }
  text += "\n";
  for (const std::string& reason : step.not_joined) text += StrCat("  ends before ", reason, "\n");
  for (const std::string& reason : step.declined) text += StrCat("  declined by ", reason, "\n");
  if (options.code) {
    for (const Backend* backend : backends) {
      if (backend->name() == step.backend) text += Indented(backend->Show(step.lowering, *options.code), "    ");
    }
  }
  return text;
}

}  // namespace

std::string Explain(const Executable& executable, std::span<const Backend* const> backends,
                    const ExplainOptions& options) {
  const std::vector<PlanStep>& steps = executable.plan().steps;
  const std::vector<double> seconds = MeanTimes(options.events, steps.size());
  std::string text;
  for (size_t s = 0; s < steps.size(); ++s) {
    text += StrCat("step ", s, ": ", ExplainStep(steps[s], backends, seconds.empty() ? 0 : seconds[s], options));
  }
  return text;
}

void DumpExecutable(const std::string& folder, const Executable& executable, std::span<const Backend* const> backends) {
  static std::atomic<int> serial{0};
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const std::string path = StrCat(folder, "/plan_", serial++, ".txt");
  std::ofstream file(path);
  file << ToText(executable.plan()) << "\n" << Explain(executable, backends, {.code = CodeView::kLoops});
  file.close();
  if (!file) std::fprintf(stderr, "weir: can't write %s\n", path.c_str());
}

}  // namespace weir
