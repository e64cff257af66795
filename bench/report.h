// Results for people: what Google Benchmark prints, and from the same runs a table in Markdown and a picture that set
// the backends side by side.
#ifndef WEIR_BENCH_REPORT_H_
#define WEIR_BENCH_REPORT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "weir/core/machine_peak.h"

namespace weir::bench {

// Names are "kind/case/backend". A repeated benchmark counts with the median of its repetitions.
class Report : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override;

  // Writes FOLDER/backends.md and FOLDER/backends.png. Needs runs of at least one case on both backends compared.
  absl::Status Save(const std::string& folder, const MachinePeak& peak) const;

 private:
  struct Result {
    std::vector<double> seconds;
    double flops = 0, bytes = 0;  // a second, of the last repetition
    double median() const;
  };
  using CaseResults = std::map<std::string, Result>;  // by backend

  std::string Table(const MachinePeak& peak) const;
  std::vector<std::string> CasesOf(const std::vector<std::string>& kinds) const;

  std::map<std::string, CaseResults> cases_;  // by name
};

}  // namespace weir::bench

#endif  // WEIR_BENCH_REPORT_H_
