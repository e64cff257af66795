#include "weir/core/profiler.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "weir/core/strings.h"

namespace weir {
namespace {

std::string JsonText(const std::string& text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(c));
      quoted += escaped;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

void Profiler::Record(ProfileEvent event) {
  std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
}

void Profiler::Clear() {
  std::lock_guard lock(mutex_);
  events_.clear();
}

std::vector<ProfileEvent> Profiler::events() const {
  std::lock_guard lock(mutex_);
  return events_;
}

std::string Profiler::Table(int rows) const {
  struct Row {
    const ProfileEvent* first;
    int64_t calls = 0;
    double seconds = 0, flops = 0, bytes = 0;
  };
  const std::vector<ProfileEvent> events = this->events();
  std::map<std::string, Row> groups;
  double total = 0;
  for (const ProfileEvent& event : events) {
    Row& row = groups.try_emplace(StrCat(event.layer, "|", event.ops, "|", event.backward, "|", event.kernel), Row{&event}).first->second;
    const double seconds = std::chrono::duration<double>(event.duration).count();
    ++row.calls;
    row.seconds += seconds;
    row.flops += event.flops;
    row.bytes += event.bytes;
    total += seconds;
  }
  std::vector<Row> sorted;
  for (const auto& [key, row] : groups) sorted.push_back(row);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Row& a, const Row& b) { return a.seconds > b.seconds; });
  char line[512];
  std::snprintf(line, sizeof(line), "%10s %6s %7s %10s %9s %8s  %-9s %-8s %-28s %s\n", "total ms", "share", "calls", "mean us",
                "GFLOP/s", "GB/s", "backend", "pass", "layer", "ops [kernel] source");
  std::string table = line;
  for (size_t i = 0; i < sorted.size() && static_cast<int>(i) < rows; ++i) {
    const Row& row = sorted[i];
    std::snprintf(line, sizeof(line), "%10.3f %5.1f%% %7lld %10.1f %9.2f %8.2f  %-9s %-8s %-28s ", row.seconds * 1e3,
                  total > 0 ? 100 * row.seconds / total : 0, static_cast<long long>(row.calls),
                  row.seconds * 1e6 / static_cast<double>(row.calls), row.seconds > 0 ? row.flops / row.seconds * 1e-9 : 0,
                  row.seconds > 0 ? row.bytes / row.seconds * 1e-9 : 0, row.first->backend.c_str(),
                  row.first->backward ? "backward" : "forward", row.first->layer.empty() ? "-" : row.first->layer.c_str());
    table += StrCat(line, row.first->ops, " [", row.first->kernel, "] ", row.first->source, "\n");
  }
  if (static_cast<int>(sorted.size()) > rows) table += StrCat("  ... ", sorted.size() - static_cast<size_t>(rows), " more\n");
  std::snprintf(line, sizeof(line), "%10.3f ms in all\n", total * 1e3);
  return table + line;
}

std::string Profiler::ChromeTrace() const {
  const std::vector<ProfileEvent> events = this->events();
  std::string trace = "{\"traceEvents\":[";
  const auto start = events.empty() ? std::chrono::steady_clock::time_point() : events.front().begin;
  const char* separator = "\n";
  for (const ProfileEvent& event : events) {
    char times[96];
    std::snprintf(times, sizeof(times), "\"ts\":%.3f,\"dur\":%.3f",
                  std::chrono::duration<double, std::micro>(event.begin - start).count(),
                  std::chrono::duration<double, std::micro>(event.duration).count());
    trace += StrCat(separator, "{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"name\":", JsonText(event.ops),
                    ",\"cat\":", JsonText(event.backward ? "backward" : "forward"), ",", times,
                    ",\"args\":{\"layer\":", JsonText(event.layer), ",\"backend\":", JsonText(event.backend),
                    ",\"kernel\":", JsonText(event.kernel), ",\"source\":", JsonText(event.source),
                    ",\"flops\":", event.flops, ",\"bytes\":", event.bytes, "}}");
    separator = ",\n";
  }
  return trace + "\n],\"displayTimeUnit\":\"ms\"}\n";
}

}  // namespace weir
