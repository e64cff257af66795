#include "weir/bench/peers/peer.h"

#include <sstream>

#include "weir/core/error.h"

namespace weir::peers {
namespace {

// The rest of an answer that begins with `word`; nothing if it begins otherwise.
std::optional<std::string> After(const std::string& word, const std::string& answer) {
  if (answer.compare(0, word.size() + 1, word + " ") != 0) return std::nullopt;
  return answer.substr(word.size() + 1);
}

}  // namespace

Peer::Peer(std::string name, std::vector<std::string> command, std::string missing)
    : name_(std::move(name)), command_(std::move(command)), missing_(std::move(missing)) {
  version_ = StrCat(name_, " is missing: ", missing_);
  if (command_.empty()) return;
  absl::StatusOr<LineProcess> process = LineProcess::Start(command_);
  if (!process.ok()) return;
  const absl::StatusOr<std::string> answer = process->Ask("version");
  if (!answer.ok()) return;
  if (const std::optional<std::string> version = After("version", *answer)) {
    version_ = *version;
    process_.emplace(*std::move(process));
  }
}

std::string Peer::Ask(const std::string& line) {
  absl::StatusOr<std::string> answer = process_->Ask(line);
  if (!answer.ok()) ThrowFailedPrecondition(name_, " at '", line, "': ", std::string(answer.status().message()));
  return *std::move(answer);
}

absl::StatusOr<std::string> Peer::Task(const std::string& words) {
  const std::string answer = Ask("task " + words);
  if (const std::optional<std::string> way = After("ready", answer)) return *way;
  if (const std::optional<std::string> reason = After("declined", answer)) return absl::UnimplementedError(*reason);
  ThrowFailedPrecondition(name_, " answered '", answer, "'");
}

double Peer::Run(int64_t iterations) {
  const std::string answer = Ask(StrCat("run ", iterations));
  const std::optional<std::string> rest = After("seconds", answer);
  double seconds = 0;
  if (!rest || !(std::istringstream(*rest) >> seconds)) ThrowFailedPrecondition(name_, " answered '", answer, "'");
  return seconds;
}

}  // namespace weir::peers
