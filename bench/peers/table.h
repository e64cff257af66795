// What was measured, and how it stands to what was asked: kept while it is measured, then written as Markdown, JSON and
// a picture.
#ifndef WEIR_BENCH_PEERS_TABLE_H_
#define WEIR_BENCH_PEERS_TABLE_H_

#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "weir/core/machine_peak.h"

namespace weir::peers {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// One measurement of weir beside a peer (or beside itself in another setting).
struct Row {
  std::string group;  // rows of one group stand together
  std::string name;
  double weir = kUnknown, peer = kUnknown;  // seconds
  std::string way = {};                     // what the peer ran, or why it did not
  bool disturbed = false;
  bool itself = false;  // the peer is weir in another setting: no bar in the picture
  bool again = false;   // measured a second time, longer

  double ratio() const { return peer / weir; }
};

// One of the things that weir must reach.
struct Line {
  std::string what;
  std::string weir = {}, peer = {};  // as text, with units
  double value = kUnknown;           // what is asked about: mostly a ratio
  double asked = 0;
  bool at_least = true;   // else at most
  int digits = 2;         // of both, after the point
  std::string note = {};  // which case decided, or why there is no value

  bool measured() const;
  bool met() const;
};

class Table {
 public:
  // All print a line at once, so that a long run can be watched. A row takes the place of one of its group and name, a
  // line that of one about the same.
  void Add(Row row);
  void Add(Line line);

  const std::vector<Row>& rows() const { return rows_; }
  const std::vector<Line>& lines() const { return lines_; }
  // Rows of a group that have both times.
  std::vector<const Row*> Complete(const std::string& group) const;
  const Row* Find(const std::string& group, const std::string& name) const;  // null if there is none

  struct Setting {
    MachinePeak peak;
    std::vector<std::string> peers;  // versions, or why they are missing
  };
  // FOLDER/peers.md (what was asked first, details below the heading "## Details") and FOLDER/peers.png.
  absl::Status Save(const std::string& folder, const Setting& setting) const;
  absl::Status SaveJson(const std::string& path, const Setting& setting) const;
  std::string Summary() const;

 private:
  std::string Details() const;

  std::vector<Row> rows_;
  std::vector<Line> lines_;
};

// "1.23 ms", "45.6 us"; "" for NaN.
std::string TimeText(double seconds);
// With `digits` after the point; "" for NaN.
std::string NumberText(double value, int digits = 2);

// Of the rows' ratios. NaN if there are none.
double GeometricMean(const std::vector<const Row*>& rows);
// "12 disturbed by other processes"; "" if none is.
std::string DisturbedText(const std::vector<const Row*>& rows);
// The row with the smallest ratio; null if there are none.
const Row* Worst(const std::vector<const Row*>& rows);

}  // namespace weir::peers

#endif  // WEIR_BENCH_PEERS_TABLE_H_
