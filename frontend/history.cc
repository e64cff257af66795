#include "weir/frontend/history.h"

#include "weir/core/error.h"
#include "weir/frontend/parts/progress.h"

namespace weir {
namespace {

template <class Entries>
[[noreturn]] void ThrowNoKey(std::string_view key, const Entries& entries) {
  std::vector<std::string> known;
  for (const auto& entry : entries) known.push_back(entry.first);
  ThrowNotFound(UnknownNameMessage("key", key, known));
}

}  // namespace

const double* Logs::Find(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (entry.first == key) return &entry.second;
  }
  return nullptr;
}

double Logs::operator[](std::string_view key) const {
  const double* found = Find(key);
  if (found == nullptr) ThrowNoKey(key, entries_);
  return *found;
}

void Logs::Set(std::string_view key, double value) {
  for (Entry& entry : entries_) {
    if (entry.first == key) {
      entry.second = value;
      return;
    }
  }
  entries_.emplace_back(key, value);
}

std::ostream& operator<<(std::ostream& out, const Logs& logs) {
  bool first = true;
  for (const auto& [key, value] : logs) {
    out << (first ? "" : " - ") << key << ": " << FormatLogValue(value);
    first = false;
  }
  return out;
}

const std::vector<double>* History::Find(std::string_view key) const {
  for (const auto& entry : series) {
    if (entry.first == key) return &entry.second;
  }
  return nullptr;
}

const std::vector<double>& History::operator[](std::string_view key) const {
  const std::vector<double>* found = Find(key);
  if (found == nullptr) ThrowNoKey(key, series);
  return *found;
}

void History::Append(int64_t epoch_number, const Logs& logs) {
  epoch.push_back(epoch_number);
  for (const auto& [key, value] : logs) {
    bool found = false;
    for (auto& entry : series) {
      if (entry.first != key) continue;
      entry.second.push_back(value);
      found = true;
    }
    if (!found) series.push_back({key, {value}});
  }
}

std::ostream& operator<<(std::ostream& out, const History& history) {
  for (size_t i = 0; i < history.epoch.size(); ++i) {
    out << "epoch " << history.epoch[i];
    for (const auto& [key, values] : history.series) {
      // A series that is shorter has no value in some epochs; which, it does not know.
      if (values.size() == history.epoch.size()) out << " - " << key << ": " << FormatLogValue(values[i]);
    }
    out << "\n";
  }
  for (const auto& [key, values] : history.series) {
    if (values.size() == history.epoch.size()) continue;
    out << key << ":";
    for (double value : values) out << " " << FormatLogValue(value);
    out << "\n";
  }
  if (history.interrupted) out << "(interrupted)\n";
  return out;
}

}  // namespace weir
