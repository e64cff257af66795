// The progress line: Keras's bytes on a wide terminal, nothing wider than a narrow one, plain lines elsewhere, and a
// reader that leaves.
#include "weir/frontend/parts/progress.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace weir {
namespace {

// Collects what is written, at a time that the test sets.
struct Screen {
  std::string text;
  double now = 0;
  int columns = 0;
  bool terminal = true;
  bool open = true;

  ProgressOptions Options(ProgressOptions options) {
    options.output = {.write =
                          [this](std::string_view part) {
                            if (open) text += part;
                            return open;
                          },
                      .terminal = terminal,
                      .columns = [this] { return columns; }};
    options.clock = [this] { return now; };
    return options;
  }
};

// What a terminal shows: the lines, each of its greatest width ever and its last content.
struct Shown {
  std::vector<std::string> lines = {""};
  size_t widest = 0;
};

Shown Display(const std::string& text) {
  Shown shown;
  size_t at = 0;
  for (const char c : text) {
    std::string& line = shown.lines.back();
    if (c == '\n') {
      shown.lines.emplace_back();
      at = 0;
    } else if (c == '\r') {
      at = 0;
    } else if (c == '\b') {
      at -= at > 0 ? 1 : 0;
    } else {
      if (at == line.size()) line += ' ';
      line[at++] = c;
      shown.widest = std::max(shown.widest, at);
    }
  }
  return shown;
}

const LogValues kTraining = {{"loss", 1.5123}, {"sparse_categorical_accuracy", 0.4568}};
const LogValues kEpoch = {{"loss", 1.5},
                          {"sparse_categorical_accuracy", 0.4568},
                          {"val_loss", 1.2346},
                          {"val_sparse_categorical_accuracy", 0.4568}};

TEST(ProgressLine, WritesTheBytesOfKeras) {
  std::ifstream file(std::string(WEIR_TEST_DATA_DIR) + "/goldens/text/progbar_keras2.raw", std::ios::binary);
  const std::string golden{std::istreambuf_iterator<char>(file), {}};
  const size_t separator = golden.find("---v2");
  ASSERT_NE(separator, std::string::npos);

  Screen screen;
  ProgressLine line(screen.Options({.steps = 1563}));
  screen.now = 2;
  line.Update(1, kTraining);
  screen.now = 10.1;
  line.Update(782, kTraining);
  screen.now = 18;
  line.Update(1563, kTraining);
  line.Finish(
      1563,
      LogValues{{"loss", 1.5}, {"sparse_categorical_accuracy", 0.4568}, {"val_loss", 1.2346}, {"val_x", 1.2345e-4}});
  EXPECT_EQ(screen.text, golden.substr(0, separator));

  Screen plain;
  ProgressLine quiet(plain.Options({.steps = 1563, .verbose = 2}));
  plain.now = 10;
  quiet.Update(1, kTraining);
  quiet.Finish(1563, LogValues{{"loss", 1.5}, {"acc", 0.4568}, {"val_loss", 1.2346}});
  EXPECT_EQ(plain.text, golden.substr(golden.find('\n', separator) + 1));
}

TEST(ProgressLine, NeverWiderThanTheTerminal) {
  for (const int columns : {1, 2, 5, 12, 20, 40, 60, 80, 100, 120, 200}) {
    Screen screen;
    screen.columns = columns;
    ProgressLine line(screen.Options({.steps = 1563, .epoch = 2, .epochs = 25}));
    screen.text.clear();  // without "Epoch 3/25"
    for (int64_t step = 1; step <= 1563; ++step) {
      screen.now += step == 1 ? 100 : 0.012;
      line.Update(step, kTraining);
    }
    EXPECT_EQ(Display(screen.text).lines.size(), 1u) << columns << ": one line rewritten";
    line.Finish(1563, kEpoch);
    const Shown shown = Display(screen.text);
    EXPECT_LE(shown.widest, static_cast<size_t>(columns));
    if (columns >= 60) {
      for (const auto& [name, value] : kEpoch) {
        EXPECT_NE(screen.text.rfind(name + ": " + FormatLogValue(value)), std::string::npos) << columns << name;
      }
    }
  }
}

TEST(ProgressLine, NarrowTerminalShortensTheBarThenDropsMetrics) {
  Screen screen;
  screen.columns = 80;
  ProgressLine line(screen.Options({.steps = 1563}));
  screen.now = 2;
  line.Update(1, kTraining);
  screen.now = 10.1;
  line.Update(782, kTraining);
  EXPECT_EQ(Display(screen.text).lines[0],
            " 782/1563 [=>..] - ETA: 8s - loss: 1.5123 - sparse_categorical_accuracy: 0.4568");
  screen.columns = 50;
  screen.now = 11;
  line.Update(900, kTraining);
  const std::string last = screen.text.substr(screen.text.rfind('\r') + 1);
  EXPECT_EQ(last, " 900/1563 [=====>......] - ETA: 6s - loss: 1.5123");
  screen.columns = 80;
  screen.now = 18;
  line.Finish(1563, kEpoch);
  const Shown shown = Display(screen.text);
  ASSERT_EQ(shown.lines.size(), 4u);
  EXPECT_EQ(shown.lines[1], "    - sparse_categorical_accuracy: 0.4568 - val_loss: 1.2346");
  EXPECT_EQ(shown.lines[2], "    - val_sparse_categorical_accuracy: 0.4568");
}

TEST(ProgressLine, AtMostTenUpdatesASecond) {
  Screen screen;
  ProgressLine line(screen.Options({.steps = 1000}));
  for (int64_t step = 1; step <= 1000; ++step) {
    screen.now += 0.001;
    line.Update(step, kTraining);
  }
  const auto draws = std::count(screen.text.begin(), screen.text.end(), '\r');
  EXPECT_GE(draws, 8);
  EXPECT_LE(draws, 11);
}

TEST(ProgressLine, ElsewhereThanOnATerminalOnePlainLineAnEpoch) {
  for (const int verbose : {1, 2}) {
    Screen screen;
    screen.terminal = false;
    ProgressLine line(screen.Options({.steps = 100, .epoch = 0, .epochs = 3, .verbose = verbose}));
    for (int64_t step = 1; step <= 100; ++step) {
      screen.now += 0.5;
      EXPECT_FALSE(line.WantsUpdate());
      line.Update(step, kTraining);
    }
    line.Finish(100, kTraining);
    EXPECT_EQ(
        screen.text,
        "Epoch 1/3 - 100/100 - 50s - loss: 1.5123 - sparse_categorical_accuracy: 0.4568 - 50s/epoch - 500ms/step\n");
  }
  Screen screen;
  ProgressLine silent(screen.Options({.steps = 1, .epochs = 3, .verbose = 0}));
  silent.Update(1, kTraining);
  silent.Finish(1, kTraining);
  EXPECT_EQ(screen.text, "");
}

TEST(ProgressLine, MessagesGoBelowTheBar) {
  Screen screen;
  ProgressLine line(screen.Options({.steps = 2, .epochs = 2}));
  screen.now = 1;
  line.Update(2, {});
  line.Message("Epoch 1: saved");
  line.Finish(2, {});
  EXPECT_EQ(Display(screen.text).lines,
            (std::vector<std::string>{"Epoch 1/2", "2/2 [==============================] - ETA: 0s", "Epoch 1: saved",
                                      "2/2 [==============================] - 1s 500ms/step", ""}));
}

TEST(ProgressLine, UnknownNumberOfSteps) {
  Screen screen;
  ProgressLine line(screen.Options({.steps = 0}));
  screen.now = 2;
  line.Update(1, {});
  EXPECT_EQ(screen.text, "\r      1/Unknown - 2s 2s/step");
  screen.now = 3;
  line.Finish(2, {});
  EXPECT_EQ(Display(screen.text).lines[0], "2/2 [==============================] - 3s 1s/step");
}

TEST(ProgressLine, QuietOnceNobodyReads) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const ProgressOutput output = DescriptorOutput(ends[1]);
  EXPECT_FALSE(output.terminal);
  EXPECT_TRUE(output.write("first\n"));
  char text[8] = {};
  EXPECT_EQ(read(ends[0], text, sizeof(text)), 6);
  close(ends[0]);
  ProgressLine line({.steps = 1, .verbose = 2, .output = output});
  line.Finish(1, kTraining);
  EXPECT_TRUE(line.closed());
  line.Finish(1, kTraining);
  close(ends[1]);
  // No signal is left behind for others.
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
}

TEST(ProgressLine, Numbers) {
  EXPECT_EQ(FormatLogValue(0), "0.0000e+00");
  EXPECT_EQ(FormatLogValue(1e-3), "1.0000e-03");
  EXPECT_EQ(FormatLogValue(-1.5), "-1.5000");
  EXPECT_EQ(FormatStepTime(1.4, "step"), "1s/step");
  EXPECT_EQ(FormatStepTime(0.0102, "step"), "10ms/step");
  EXPECT_EQ(FormatStepTime(12.3e-6, "step"), "12us/step");
}

}  // namespace
}  // namespace weir
