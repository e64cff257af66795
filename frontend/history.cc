#include "weir/frontend/history.h"

#include <algorithm>

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

std::vector<int64_t> History::EpochsOf(std::string_view key) const {
  if (Find(key) == nullptr) return {};
  const auto some = series_epochs.find(std::string(key));
  return some == series_epochs.end() ? epoch : some->second;
}

void History::Append(int64_t epoch_number, const Logs& logs) {
  // A series without a value now has one in some epochs only.
  for (const auto& entry : series) {
    if (!logs.Has(entry.first)) series_epochs.try_emplace(entry.first, epoch);
  }
  for (const auto& [key, value] : logs) {
    if (Find(key) == nullptr) {
      series.push_back({key, {}});
      if (!epoch.empty()) series_epochs[key] = {};
    }
    for (auto& entry : series) {
      if (entry.first == key) entry.second.push_back(value);
    }
    const auto some = series_epochs.find(key);
    if (some != series_epochs.end()) some->second.push_back(epoch_number);
  }
  epoch.push_back(epoch_number);
}

void History::KeepBefore(int64_t first) {
  const auto cut = [&](const std::vector<int64_t>& epochs) {
    size_t keep = 0;
    while (keep < epochs.size() && epochs[keep] < first) ++keep;
    return keep;
  };
  for (auto& [key, values] : series) values.resize(std::min(values.size(), cut(EpochsOf(key))));
  for (auto& [key, epochs] : series_epochs) epochs.resize(cut(epochs));
  epoch.resize(cut(epoch));
  interrupted = false;
  std::erase_if(series, [](const auto& entry) { return entry.second.empty(); });
  std::erase_if(series_epochs, [&](const auto& entry) { return entry.second.empty(); });
}

std::ostream& operator<<(std::ostream& out, const History& history) {
  for (const int64_t epoch : history.epoch) {
    out << "epoch " << epoch;
    for (const auto& [key, values] : history.series) {
      const std::vector<int64_t> epochs = history.EpochsOf(key);
      const auto at = static_cast<size_t>(std::find(epochs.begin(), epochs.end(), epoch) - epochs.begin());
      if (at < values.size()) out << " - " << key << ": " << FormatLogValue(values[at]);
    }
    out << "\n";
  }
  if (history.interrupted) out << "(interrupted)\n";
  return out;
}

}  // namespace weir
