// Logs: named numbers of one moment (an epoch's means). History: what Fit returns, their course over the epochs.
#ifndef WEIR_FRONTEND_HISTORY_H_
#define WEIR_FRONTEND_HISTORY_H_

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir {

// Keys in the order of their making: "loss", the metrics as compiled, then the "val_" ones.
class Logs {
 public:
  using Entry = std::pair<std::string, double>;

  Logs() = default;
  explicit Logs(std::vector<Entry> entries) : entries_(std::move(entries)) {}

  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  const double* Find(std::string_view key) const;  // null if there is none
  double operator[](std::string_view key) const;   // throws Error listing the keys
  void Set(std::string_view key, double value);    // in its place, or behind the others
  const std::vector<Entry>& entries() const { return entries_; }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  size_t size() const { return entries_.size(); }

 private:
  std::vector<Entry> entries_;
};
std::ostream& operator<<(std::ostream& out, const Logs& logs);  // "loss: 1.5123 - accuracy: 0.4568"

struct History {
  std::vector<int64_t> epoch;                                       // from 0
  std::vector<std::pair<std::string, std::vector<double>>> series;  // one value an epoch that had one
  std::map<std::string, std::vector<int64_t>> series_epochs;  // of series without a value in some epochs: which had one
  bool interrupted = false;                                         // SIGINT ended the training

  const std::vector<double>& operator[](std::string_view key) const;  // throws Error listing the keys
  const std::vector<double>* Find(std::string_view key) const;
  // The epochs whose values operator[] gives; none for a key that there isn't.
  std::vector<int64_t> EpochsOf(std::string_view key) const;
  void Append(int64_t epoch_number, const Logs& logs);
  // Drops the epochs from `first` on.
  void KeepBefore(int64_t first);
};
// One row an epoch.
std::ostream& operator<<(std::ostream& out, const History& history);

}  // namespace weir

#endif  // WEIR_FRONTEND_HISTORY_H_
