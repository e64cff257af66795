#include "weir/bench/peers/table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>

#include "nlohmann/json.hpp"
#include "weir/core/error.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/plot/bars.h"

namespace weir::peers {
namespace {

constexpr double kLongestBar = 6;  // in the picture; more is written as a number

std::string Sentence(const Table::Setting& setting) {
  return StrCat("Measured in one run, in turn, medians; ", ProcessorName(), ", ", setting.peak.threads, " threads, ",
                setting.peak.instructions, ", peak ", NumberText(setting.peak.flops * 1e-9, 0), " GFLOP/s, triad ",
                NumberText(setting.peak.triad_bytes * 1e-9, 1), " GB/s; ", StrJoin(setting.peers, "; "), ".");
}

// Groups in the order in which they first appear.
std::vector<std::string> Groups(const std::vector<Row>& rows) {
  std::vector<std::string> groups;
  for (const Row& row : rows) {
    if (std::find(groups.begin(), groups.end(), row.group) == groups.end()) groups.push_back(row.group);
  }
  return groups;
}

// Few rows are drawn each, many as their mean.
std::vector<plot::BarGroup> Bars(const Table& table) {
  constexpr size_t kFew = 30;
  std::vector<plot::BarGroup> bars;
  for (const std::string& group : Groups(table.rows())) {
    std::vector<const Row*> rows = table.Complete(group);
    std::erase_if(rows, [](const Row* row) { return row->itself; });
    if (rows.empty()) continue;
    if (rows.size() > kFew) {
      bars.push_back({StrCat(group, ": mean of ", rows.size()), {GeometricMean(rows)}});
      continue;
    }
    for (const Row* row : rows) bars.push_back({StrCat(group, ": ", row->name), {row->ratio()}});
  }
  return bars;
}

nlohmann::ordered_json NumberJson(double value) {
  if (!std::isfinite(value)) return nullptr;
  return value;
}

}  // namespace

std::string NumberText(double value, int digits) {
  if (!std::isfinite(value)) return "";
  char text[48];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string TimeText(double seconds) {
  if (!std::isfinite(seconds)) return "";
  return seconds < 1e-3 ? NumberText(seconds * 1e6, 1) + " us" : NumberText(seconds * 1e3) + " ms";
}

double GeometricMean(const std::vector<const Row*>& rows) {
  double logs = 0;
  for (const Row* row : rows) logs += std::log(row->ratio());
  return rows.empty() ? kUnknown : std::exp(logs / static_cast<double>(rows.size()));
}

std::string DisturbedText(const std::vector<const Row*>& rows) {
  const auto count = std::count_if(rows.begin(), rows.end(), [](const Row* row) { return row->disturbed; });
  return count == 0 ? "" : StrCat(count, " disturbed by other processes");
}

const Row* Worst(const std::vector<const Row*>& rows) {
  const auto worst =
      std::min_element(rows.begin(), rows.end(), [](const Row* a, const Row* b) { return a->ratio() < b->ratio(); });
  return worst == rows.end() ? nullptr : *worst;
}

bool Line::measured() const { return std::isfinite(value); }

bool Line::met() const { return measured() && (at_least ? value >= asked : value <= asked); }

void Table::Add(Row row) {
  std::cout << StrCat(row.group, ": ", row.name, ": weir ", TimeText(row.weir),
                      std::isfinite(row.peer)
                          ? StrCat(", peer ", TimeText(row.peer), ", ratio ", NumberText(row.ratio()))
                          : std::string(),
                      row.way.empty() ? "" : StrCat(" (", row.way, ")"), row.disturbed ? " disturbed" : "",
                      row.again ? " again" : "")
            << std::endl;
  if (const Row* same = Find(row.group, row.name)) {
    rows_[static_cast<size_t>(same - rows_.data())] = std::move(row);
  } else {
    rows_.push_back(std::move(row));
  }
}

void Table::Add(Line line) {
  std::cout << StrCat(line.met()        ? "MET      "
                      : line.measured() ? "NOT MET  "
                                        : "NOT RUN  ",
                      line.what, ": ", NumberText(line.value, line.digits), " (asked ",
                      line.at_least ? ">= " : "<= ", NumberText(line.asked, line.digits), ") ", line.weir,
                      line.peer.empty() ? "" : " and " + line.peer, line.note.empty() ? "" : " " + line.note)
            << std::endl;
  const auto same = std::find_if(lines_.begin(), lines_.end(), [&](const Line& l) { return l.what == line.what; });
  if (same != lines_.end()) {
    *same = std::move(line);
  } else {
    lines_.push_back(std::move(line));
  }
}

std::vector<const Row*> Table::Complete(const std::string& group) const {
  std::vector<const Row*> complete;
  for (const Row& row : rows_) {
    if (row.group == group && std::isfinite(row.ratio())) complete.push_back(&row);
  }
  return complete;
}

const Row* Table::Find(const std::string& group, const std::string& name) const {
  const auto found =
      std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) { return row.group == group && row.name == name; });
  return found == rows_.end() ? nullptr : &*found;
}

std::string Table::Summary() const {
  std::string text = "| what | weir | peer | ratio | asked | met |\n|---|--:|--:|--:|--:|:-:|\n";
  for (const Line& line : lines_) {
    text += StrCat("| ", line.what, line.note.empty() ? "" : StrCat(" (", line.note, ")"), " | ", line.weir, " | ",
                   line.peer, " | ", NumberText(line.value, line.digits), " | ",
                   line.at_least ? "at least " : "at most ", NumberText(line.asked, line.digits), " | ",
                   line.met()        ? "yes"
                   : line.measured() ? "no"
                                     : "not measured",
                   " |\n");
  }
  return text;
}

std::string Table::Details() const {
  std::string text;
  for (const std::string& group : Groups(rows_)) {
    text += StrCat("\n### ", group, "\n\n");
    const std::vector<const Row*> complete = Complete(group);
    if (complete.size() > 1) {
      text += StrCat("Geometric mean of the ratios ", NumberText(GeometricMean(complete)), ", least ",
                     NumberText(Worst(complete)->ratio()), " (", Worst(complete)->name, ").\n\n");
    }
    text += "| what | weir | peer | ratio | peer's way |\n|---|--:|--:|--:|:--|\n";
    for (const Row& row : rows_) {
      if (row.group != group) continue;
      text += StrCat("| ", row.name, row.again ? " +" : "", row.disturbed ? " *" : "", " | ", TimeText(row.weir), " | ",
                     TimeText(row.peer), " | ", NumberText(row.ratio()), " | ", row.way, " |\n");
    }
  }
  if (std::any_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.again; })) {
    text += "\n\\+ Measured a second time, longer, because the first time it was below what is asked.\n";
  }
  if (std::any_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.disturbed; })) {
    text += "\n\\* Other processes took processors away while this was measured.\n";
  }
  return text;
}

absl::Status Table::Save(const std::string& folder, const Setting& setting) const {
  WEIR_RETURN_IF_ERROR(EnsureDirectory(folder));
  WEIR_RETURN_IF_ERROR(WriteFileAtomically(
      folder + "/peers.md", StrCat(Sentence(setting), " Ratio: the peer's time to weir's, where there is a peer.\n\n",
                                   Summary(), "\n## Details\n", Details())));
  const std::vector<plot::BarGroup> bars = Bars(*this);
  if (bars.empty()) return absl::OkStatus();  // no peer was there, or nothing was run beside one
  return plot::SaveBars({"weir"}, bars, folder + "/peers.png",
                        {.title = StrCat("weir beside its peers, ", setting.peak.threads, " threads"),
                         .x_label = "times as fast as the peer",
                         .reference = 1,
                         .limit = kLongestBar,
                         .width = 1000});
}

absl::Status Table::SaveJson(const std::string& path, const Setting& setting) const {
  nlohmann::ordered_json json;
  json["threads"] = setting.peak.threads;
  json["instructions"] = setting.peak.instructions;
  json["peak_flops"] = setting.peak.flops;
  json["triad_bytes"] = setting.peak.triad_bytes;
  json["peers"] = setting.peers;
  for (const Line& line : lines_) {
    json["lines"].push_back({{"what", line.what},
                             {"weir", line.weir},
                             {"peer", line.peer},
                             {"value", NumberJson(line.value)},
                             {"asked", line.asked},
                             {"at_least", line.at_least},
                             {"met", line.met()},
                             {"note", line.note}});
  }
  for (const Row& row : rows_) {
    json["rows"].push_back({{"group", row.group},
                            {"name", row.name},
                            {"weir_seconds", NumberJson(row.weir)},
                            {"peer_seconds", NumberJson(row.peer)},
                            {"ratio", NumberJson(row.ratio())},
                            {"way", row.way},
                            {"disturbed", row.disturbed},
                            {"again", row.again}});
  }
  return WriteFileAtomically(path, json.dump(2) + "\n");
}

}  // namespace weir::peers
