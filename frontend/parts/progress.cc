// The progress line: see progress.h. Layout and rounding are those of Keras 2's progress bar.
#include "weir/frontend/parts/progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "weir/core/strings.h"

namespace weir {
namespace {

constexpr int kBarWidth = 30;     // Keras's
constexpr int kNarrowestBar = 3;  // below this a metric is dropped instead
constexpr double kSecondsBetweenDraws = 0.1;

template <class... Args>
std::string Format(const char* format, Args... args) {
  char text[64];
  const int length = std::snprintf(text, sizeof(text), format, args...);
  return std::string(text, static_cast<size_t>(std::clamp(length, 0, static_cast<int>(sizeof(text)) - 1)));
}

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// "  12/1563", the step right-aligned; "     12/Unknown" without a known number of steps.
std::string Counter(int64_t current, int64_t steps) {
  if (steps <= 0) return Format("%7lld/Unknown", static_cast<long long>(current));
  const std::string total = StrCat(steps), number = StrCat(current);
  return std::string(total.size() > number.size() ? total.size() - number.size() : 0, ' ') + number + "/" + total;
}

// "[====>.....]" with `width` characters inside.
std::string Bar(int64_t current, int64_t steps, int width) {
  const double progress = static_cast<double>(current) / static_cast<double>(steps);
  const int done = std::clamp(static_cast<int>(width * progress), 0, width);
  std::string bar = "[";
  if (done > 0) {
    bar.append(static_cast<size_t>(done - 1), '=');
    bar += current < steps ? '>' : '=';
  }
  bar.append(static_cast<size_t>(width - done), '.');
  return bar + "]";
}

std::string Eta(double seconds) {
  const int64_t s = static_cast<int64_t>(std::clamp(seconds, 0.0, 1e15));
  if (seconds > 3600) {
    return Format("%lld:%02lld:%02lld", static_cast<long long>(s / 3600), static_cast<long long>(s % 3600 / 60),
                  static_cast<long long>(s % 60));
  }
  if (seconds > 60) return Format("%lld:%02lld", static_cast<long long>(s / 60), static_cast<long long>(s % 60));
  return Format("%llds", static_cast<long long>(s));
}

std::string Entry(const std::pair<std::string, double>& value) {
  return StrCat(" - ", value.first, ": ", FormatLogValue(value.second));
}

// What fits into a line, and the metrics that don't.
struct Layout {
  std::string line;
  std::vector<std::string> left_out;
};

// `limit` characters at most; 0 for any number. First the bar gets shorter, then metrics are left out from the end.
Layout FitLine(int64_t current, int64_t steps, const std::string& tail, std::vector<std::string> entries,
               size_t limit) {
  const std::string counter = Counter(current, steps);
  const bool has_bar = steps > 0;
  const size_t fixed = counter.size() + (has_bar ? std::string(" []").size() : 0) + tail.size();
  size_t shown = entries.size();
  size_t length = fixed;
  for (const std::string& entry : entries) length += entry.size();
  const size_t narrowest = has_bar ? kNarrowestBar : 0;
  while (limit != 0 && shown > 0 && length + narrowest > limit) length -= entries[--shown].size();

  Layout layout;
  layout.line = counter;
  if (has_bar && (limit == 0 || length + 1 <= limit)) {
    const size_t room = limit == 0 ? kBarWidth : std::min<size_t>(kBarWidth, limit - length);
    layout.line += " " + Bar(current, steps, static_cast<int>(room));
  }
  layout.line += tail;
  for (size_t i = 0; i < shown; ++i) layout.line += entries[i];
  layout.left_out.assign(entries.begin() + static_cast<std::ptrdiff_t>(shown), entries.end());
  if (limit != 0 && layout.line.size() > limit) layout.line.resize(limit);
  return layout;
}

// Entries on indented lines of at most `limit` characters, each preceded by a line break.
std::string ContinuationLines(const std::vector<std::string>& entries, size_t limit) {
  const std::string indent = "   ";
  std::string text, line;
  for (const std::string& entry : entries) {
    if (line.empty() || line.size() + entry.size() > limit) {
      text += line;
      line = "\n" + (indent + entry).substr(0, limit);
    } else {
      line += entry;
    }
  }
  return text + line;
}

}  // namespace

std::string FormatLogValue(double value) {
  return std::abs(value) > 1e-3 ? Format("%.4f", value) : Format("%.4e", value);
}

std::string FormatStepTime(double seconds, std::string_view unit) {
  std::string number;
  if (seconds >= 1 || seconds == 0) {
    number = Format("%.0fs", seconds);
  } else if (seconds >= 1e-3) {
    number = Format("%.0fms", seconds * 1e3);
  } else {
    number = Format("%.0fus", seconds * 1e6);
  }
  return StrCat(number, "/", unit);
}

ProgressLine::ProgressLine(ProgressOptions options) : options_(std::move(options)) {
  if (!options_.output.write) options_.output = StandardOutput();
  if (!options_.clock) options_.clock = SteadySeconds;
  start_ = options_.clock();
  // Elsewhere than on a terminal the epoch's number is part of its one line.
  if (options_.verbose > 0 && options_.epochs > 1 && options_.output.terminal) {
    Write(StrCat("Epoch ", options_.epoch + 1, "/", options_.epochs, "\n"));
  }
}

bool ProgressLine::WantsUpdate() const {
  return bar() && !closed_ && (!drawn_ || options_.clock() - last_draw_ >= kSecondsBetweenDraws);
}

void ProgressLine::Update(int64_t current, std::span<const std::pair<std::string, double>> values) {
  if (!bar() || closed_) return;
  const double now = options_.clock();
  if (drawn_ && now - last_draw_ < kSecondsBetweenDraws) {
    if (current == 1) first_step_end_ = now;
    return;
  }
  Draw(current, now, values, /*final=*/false);
}

void ProgressLine::Finish(int64_t current, std::span<const std::pair<std::string, double>> values) {
  if (options_.verbose <= 0 || closed_) return;
  const double now = options_.clock();
  if (options_.steps <= 0) options_.steps = current;
  if (bar()) {
    Draw(current, now, values, /*final=*/true);
  } else {
    Write(PlainLine(current, now, values));
  }
}

void ProgressLine::Message(std::string_view text) {
  Write(StrCat(visible_ > 0 ? "\n" : "", text, "\n"));
  visible_ = 0;
}

// Seconds a step, without the first one (which compiles) if there are more.
double ProgressLine::StepSeconds(int64_t current, double now) {
  if (current <= 0) return 0;
  const double seconds = first_step_end_ >= 0 && current > 1
                             ? (now - first_step_end_) / static_cast<double>(current - 1)
                             : (now - start_) / static_cast<double>(current);
  if (current == 1 && first_step_end_ < 0) first_step_end_ = now;
  return seconds;
}

void ProgressLine::Draw(int64_t current, double now, std::span<const std::pair<std::string, double>> values,
                        bool final) {
  const double step_seconds = StepSeconds(current, now);
  std::string tail = " - ";
  if (final || options_.steps <= 0) {
    tail += Format("%.0fs ", now - start_) + FormatStepTime(step_seconds, "step");
  } else {
    tail += "ETA: " + Eta(step_seconds * static_cast<double>(options_.steps - current));
  }
  std::vector<std::string> entries;
  for (const auto& value : values) entries.push_back(Entry(value));

  // The last column stays free: some terminals wrap as soon as it is written.
  const int columns = options_.output.columns ? options_.output.columns() : 0;
  const size_t limit = columns > 1 ? static_cast<size_t>(columns - 1) : static_cast<size_t>(std::max(columns, 0));
  const Layout layout = FitLine(current, options_.steps, tail, std::move(entries), limit);

  std::string text(visible_, '\b');
  text += "\r" + layout.line;
  if (visible_ > layout.line.size()) {
    size_t blanks = visible_ - layout.line.size();
    if (limit != 0) blanks = std::min(blanks, limit - layout.line.size());
    text.append(blanks, ' ');
  }
  if (final) text += ContinuationLines(layout.left_out, limit) + "\n";
  visible_ = final ? 0 : layout.line.size();
  drawn_ = true;
  last_draw_ = now;
  Write(text);
}

// Keras's line for verbose = 2: "1563/1563 - 10s - loss: 1.5000 - 10s/epoch - 6ms/step".
std::string ProgressLine::PlainLine(int64_t current, double now,
                                    std::span<const std::pair<std::string, double>> values) const {
  std::string line;
  if (options_.epochs > 1 && !options_.output.terminal) {
    line = StrCat("Epoch ", options_.epoch + 1, "/", options_.epochs, " - ");
  }
  const double seconds = now - start_;
  line += Counter(current, options_.steps) + Format(" - %.0fs", seconds);
  for (const auto& value : values) line += Entry(value);
  const double steps = static_cast<double>(std::max<int64_t>(options_.steps, 1));
  return StrCat(line, " - ", FormatStepTime(seconds, "epoch"), " - ", FormatStepTime(seconds / steps, "step"), "\n");
}

void ProgressLine::Write(std::string_view text) {
  if (!closed_ && !options_.output.write(text)) closed_ = true;
}

}  // namespace weir
