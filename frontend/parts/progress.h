// ProgressLine: what fit and evaluate print. On a terminal, the progress bar of Keras 2, one line rewritten in place
// and never wider than the terminal; elsewhere one plain line an epoch, without control characters.
#ifndef WEIR_FRONTEND_PARTS_PROGRESS_H_
#define WEIR_FRONTEND_PARTS_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir {

// Where text for the user goes.
struct ProgressOutput {
  // False once nobody reads any more (closed pipe); the writer then stays quiet.
  std::function<bool(std::string_view text)> write;
  bool terminal = false;
  // The terminal's width now; 0 if unknown. Not called unless `terminal`.
  std::function<int()> columns;
};

// Writes to a file descriptor without dying of SIGPIPE; what stdout and std::cout hold back goes first if it is 1.
ProgressOutput DescriptorOutput(int descriptor);
// DescriptorOutput(1).
ProgressOutput StandardOutput();

// A name and a value, as "loss: 1.5123" shows them.
using LogValues = std::vector<std::pair<std::string, double>>;

struct ProgressOptions {
  int64_t steps = 0;                   // of one epoch; 0 if unknown
  int64_t epoch = 0;                   // from 0
  int64_t epochs = 1;                  // "Epoch 1/25" is written if more than 1
  int verbose = 1;                     // 0: nothing; 1: the bar; 2: one line when the epoch ends
  ProgressOutput output = {};          // default: StandardOutput()
  std::function<double()> clock = {};  // seconds; default: a steady clock
};

class ProgressLine {
 public:
  // Writes "Epoch 1/25" if there is more than one. The time counts from here.
  explicit ProgressLine(ProgressOptions options);

  // After step `current` (from 1), with values as they are so far. Writes at most ten times a second; cheap
  // otherwise.
  void Update(int64_t current, std::span<const std::pair<std::string, double>> values);

  // Whether an Update now would write: for callers to whom the values cost something.
  bool WantsUpdate() const;

  // Ends the epoch's line. `current` is the number of steps done.
  void Finish(int64_t current, std::span<const std::pair<std::string, double>> values);

  // A line of other text (a callback's message), below the bar, which is drawn anew afterwards.
  void Message(std::string_view text);

  // Whether nobody reads any more.
  bool closed() const { return closed_; }

 private:
  bool bar() const { return options_.verbose == 1 && options_.output.terminal; }
  double StepSeconds(int64_t current, double now);
  void Draw(int64_t current, double now, std::span<const std::pair<std::string, double>> values, bool final);
  std::string PlainLine(int64_t current, double now, std::span<const std::pair<std::string, double>> values) const;
  void Write(std::string_view text);

  ProgressOptions options_;
  double start_ = 0;
  double first_step_end_ = -1;  // clock after the first step; -1 before it
  double last_draw_ = 0;
  bool drawn_ = false;
  size_t visible_ = 0;  // characters of the line on the terminal, without padding
  bool closed_ = false;
};

// 1.5 -> "1.5000", 0.0001 -> "1.0000e-04".
std::string FormatLogValue(double value);
// 0.0102 -> "10ms/step".
std::string FormatStepTime(double seconds, std::string_view unit);

}  // namespace weir

#endif  // WEIR_FRONTEND_PARTS_PROGRESS_H_
