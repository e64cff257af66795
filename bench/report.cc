#include "weir/bench/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>

#include "weir/core/error.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/plot/bars.h"

namespace weir::bench {
namespace {

constexpr const char* kCompared = "llvm";
constexpr const char* kBase = "highway";
constexpr double kInCaches = 1.25;  // of the triad: more than memory could deliver
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// What belongs together in the summary: kinds of cases, by the first part of their names.
struct Group {
  const char* title;
  std::vector<std::string> kinds;
};
const std::vector<Group>& Groups() {
  static const std::vector<Group> groups = {
      {"convolution, dense, pooling",
       {"conv", "conv_input_gradient", "conv_filter_gradient", "matmul", "max_pool", "max_pool_gradient",
        "average_pool"}},
      {"fused chains that fit the second-level cache", {"fused"}},
      {"elementwise functions and reductions",
       {"exp", "tanh", "gelu", "random_uniform", "reduce_sum", "reduce_sum_squares", "softmax",
        "sparse_cross_entropy"}},
      {"chains beyond the caches", {"stream"}},
      {"the tutorial's model", {"model"}},
  };
  return groups;
}

std::string KindOf(const std::string& name) { return name.substr(0, name.find('/')); }

std::string Number(const char* format, double value) {
  if (!std::isfinite(value)) return "";
  char text[48];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}
std::string Time(double seconds) {
  if (!std::isfinite(seconds)) return "";
  return seconds < 1e-3 ? Number("%.1f us", seconds * 1e6) : Number("%.2f ms", seconds * 1e3);
}

}  // namespace

double Report::Result::median() const {
  if (seconds.empty()) return kNone;
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

void Report::ReportRuns(const std::vector<Run>& runs) {
  ConsoleReporter::ReportRuns(runs);
  for (const Run& run : runs) {
    if (run.run_type != Run::RT_Iteration || run.error_occurred) continue;
    const std::string& full = run.run_name.function_name;
    const size_t slash = full.rfind('/');
    if (slash == std::string::npos) continue;
    std::string name = full.substr(0, slash);
    if (name.rfind("bench_", 0) == 0) name = name.substr(6);
    Result& result = cases_[name][full.substr(slash + 1)];
    result.seconds.push_back(run.real_accumulated_time / static_cast<double>(std::max<int64_t>(1, run.iterations)));
    const auto counter = [&](const char* counter_name) {
      const auto found = run.counters.find(counter_name);
      return found == run.counters.end() ? kNone : found->second.value * 1e9;
    };
    result.flops = counter("GFLOP/s");
    result.bytes = counter("GB/s");
  }
}

std::vector<std::string> Report::CasesOf(const std::vector<std::string>& kinds) const {
  std::vector<std::string> names;
  for (const auto& [name, results] : cases_) {
    if (std::find(kinds.begin(), kinds.end(), KindOf(name)) != kinds.end()) names.push_back(name);
  }
  return names;
}

std::string Report::Table(const MachinePeak& peak) const {
  std::string text =
      StrCat("| case | reference | Highway | LLVM | LLVM to Highway | LLVM |\n", "|---|--:|--:|--:|--:|:--|\n");
  std::string summary;
  for (const Group& group : Groups()) {
    double logs = 0, least = std::numeric_limits<double>::infinity();
    int count = 0;
    std::string least_name;
    for (const std::string& name : CasesOf(group.kinds)) {
      const CaseResults& results = cases_.at(name);
      const auto of = [&](const char* backend) {
        const auto found = results.find(backend);
        return found == results.end() ? Result() : found->second;
      };
      const Result llvm = of(kCompared);
      const double ratio = of(kBase).median() / llvm.median();
      // The ceiling that the case is nearer to.
      const double compute = llvm.flops / peak.flops, memory = llvm.bytes / peak.triad_bytes;
      std::string share = StrCat(Number("%.0f GFLOP/s", llvm.flops * 1e-9), Number(", %.0f%% of peak", 100 * compute));
      if (memory > kInCaches) {
        share = StrCat(Number("%.1f GB/s", llvm.bytes * 1e-9), ", from the caches");
      } else if (memory > compute) {
        share = StrCat(Number("%.1f GB/s", llvm.bytes * 1e-9), Number(", %.0f%% of triad", 100 * memory));
      }
      text +=
          StrCat("| ", name, " | ", Time(of("reference").median()), " | ", Time(of(kBase).median()), " | ",
                 Time(llvm.median()), " | ", Number("%.2f", ratio), " | ", llvm.seconds.empty() ? "" : share, " |\n");
      if (!std::isfinite(ratio)) continue;
      logs += std::log(ratio);
      ++count;
      if (ratio < least) {
        least = ratio;
        least_name = name;
      }
    }
    if (count == 0) continue;
    summary += StrCat("- ", group.title, ": LLVM ", Number("%.2f", std::exp(logs / count)),
                      " times as fast as Highway (geometric mean of ", count, "), least ", Number("%.2f", least), " (",
                      least_name, ")\n");
  }
  const auto compile = [&](const char* name) {
    const auto found = cases_.find(name);
    return found == cases_.end() || !found->second.contains(kCompared) ? kNone : found->second.at(kCompared).median();
  };
  const double cold = compile("compile/training_step_cold"), cached = compile("compile/training_step_cached");
  if (std::isfinite(cold) && std::isfinite(cached)) {
    summary +=
        StrCat("- compiling the whole training step: ", Time(cold), ", from the object cache ", Time(cached), "\n");
  }
  return StrCat(text, "\n", summary);
}

absl::Status Report::Save(const std::string& folder, const MachinePeak& peak) const {
  std::vector<plot::BarGroup> bars;
  for (const Group& group : Groups()) {
    for (const std::string& name : CasesOf(group.kinds)) {
      const CaseResults& results = cases_.at(name);
      const auto base = results.find(kBase), compared = results.find(kCompared);
      if (base == results.end() || compared == results.end()) continue;
      bars.push_back({name, {base->second.median() / compared->second.median()}});
    }
  }
  if (bars.empty()) return absl::FailedPreconditionError("report: no case was run on both llvm and highway");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnavailableError(StrCat("can't make ", folder, ": ", error.message()));
  const std::string machine =
      StrCat(ProcessorName(), ", ", peak.threads, " threads, ", peak.instructions, ", peak ",
             Number("%.0f", peak.flops * 1e-9), " GFLOP/s, triad ", Number("%.0f", peak.triad_bytes * 1e-9), " GB/s");
  WEIR_RETURN_IF_ERROR(WriteFileAtomically(folder + "/backends.md",
                                           StrCat("Measured in one run, medians; ", machine, ".\n\n", Table(peak))));
  return plot::SaveBars({"LLVM"}, bars, folder + "/backends.png",
                        {.title = "LLVM against Highway: " + machine,
                         .x_label = "times as fast as Highway",
                         .reference = 1,
                         .limit = 3,
                         .width = 1000});
}

}  // namespace weir::bench
