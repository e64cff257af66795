#include "weir/bench/peers/peer_server.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <limits>
#include <sstream>

#include "weir/bench/peers/stopwatch.h"

namespace weir::peers {
namespace {

// Enough for each candidate to show how fast it can be; it is chosen once a task.
constexpr int kTrials = 6;

Candidate Fastest(std::vector<Candidate> candidates) {
  if (candidates.size() == 1) return std::move(candidates.front());
  size_t best = 0;
  double best_seconds = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < candidates.size(); ++i) {
    // The best of the trials, which no other process's load can lower.
    for (int trial = 0; trial < kTrials; ++trial) {
      const double seconds = MedianSeconds(candidates[i].run, 1);
      if (seconds >= best_seconds) continue;
      best = i;
      best_seconds = seconds;
    }
  }
  return std::move(candidates[best]);
}

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

int Serve(const std::string& version, const MakeCandidates& make) {
  Candidate current;
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream in(line);
    std::string command;
    in >> command;
    if (command == "version") {
      std::cout << "version " << version << std::endl;
    } else if (command == "task") {
      std::vector<std::string> words;
      for (std::string word; in >> word;) words.push_back(word);
      current = {};
      try {
        std::vector<Candidate> candidates = make(words);
        if (candidates.empty()) {
          std::cout << "declined no implementation" << std::endl;
          continue;
        }
        current = Fastest(std::move(candidates));
        std::cout << "ready " << OneLine(current.name) << std::endl;
      } catch (const std::exception& error) {
        std::cout << "declined " << OneLine(error.what()) << std::endl;
      }
    } else if (command == "run" && current.run) {
      int iterations = 1;
      in >> iterations;
      char text[48];
      std::snprintf(text, sizeof(text), "seconds %.9g", MedianSeconds(current.run, iterations));
      std::cout << text << std::endl;
    } else {
      std::cout << "error no such command, or no task to run: " << OneLine(line) << std::endl;
    }
  }
  return 0;
}

}  // namespace weir::peers
