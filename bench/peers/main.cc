// weir_peers: weir beside oneDNN, libtorch and ONNX Runtime: the same work on the same shapes, in one run, in turn,
// medians and ratios. The peers are programs of their own, found beside this one; what is missing is left out, and the
// table says so. --help lists its flags.
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <regex>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "weir/bench/peers/session.h"
#include "weir/core/error.h"
#include "weir/frontend/session.h"

ABSL_FLAG(int, threads, 0, "threads of weir and its peers; 0: all that this process may use");
ABSL_FLAG(
    std::string, filter, "",
    "regular expression: only parts whose name it is found in: training/batch32, inference/batch1, threads, batches, "
    "epoch, memory, tutorial/conv32/forward/batch32, tutorial/pool, tutorial/dense8192, networks32/ResNet-18, "
    "\"networks224/.*depthwise .*/filter_gradient\", passes, plan, start_up, size");
ABSL_FLAG(bool, quick, false, "fewer and shorter rounds, a part of an epoch");
ABSL_FLAG(double, patience, 1,
          "rounds that other processes disturbed are repeated, up to so many times as there are rounds");
ABSL_FLAG(std::string, json, "", "file for the results, for programs");
ABSL_FLAG(std::string, report, "", "folder for peers.md and peers.png");
ABSL_FLAG(std::string, npm, "",
          "folder where npm has installed onnxruntime-node and onnx-proto; empty: no ONNX Runtime");
ABSL_FLAG(std::string, start_up, "", "times this program from start to exit, called as examples/06_predict is");
ABSL_FLAG(std::string, static_program, "", "reports the size of this program, stripped");
ABSL_FLAG(bool, serve_training, false, "trains and answers as a peer does: what measures its own memory calls this");

namespace weir::peers {
namespace {

namespace fs = std::filesystem;

// Peers built beside this program; nothing if one was not.
std::vector<std::string> Built(const std::string& name, std::vector<std::string> arguments = {}) {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / name;
  if (!fs::exists(program)) return {};
  arguments.insert(arguments.begin(), program.string());
  return arguments;
}

std::vector<std::string> NodeScript(const PeersOptions& options, int threads) {
  if (options.npm.empty() || !fs::exists(fs::path(options.npm) / "node_modules/onnxruntime-node")) return {};
  return {"node", WEIR_PEERS_FOLDER "/onnx_runtime_peer.mjs", options.npm, std::to_string(threads)};
}

void Run(const PeersOptions& options) {
  auto runtime = MakeRuntime({.threads = options.threads});
  ThrowIfError(runtime.status());
  const int threads = (*runtime)->threads();
  // What the peers' thread pools go by.
  for (const char* variable : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}) {
    setenv(variable, std::to_string(threads).c_str(), 1);
  }
  Session session = {
      .options = options,
      .runtime = *std::move(runtime),
      .peak = MeasurePeak(threads),
      .onednn = Peer("oneDNN", Built("weir_peer_onednn"), "install libdnnl-dev"),
      .torch = Peer("libtorch", Built("weir_peer_torch", {std::to_string(threads)}), "install libtorch-dev"),
      .onnx_runtime = Peer("ONNX Runtime", NodeScript(options, threads),
                           "install node and, with npm, onnxruntime-node and onnx-proto; then --npm=FOLDER"),
      .table = {},
  };
  const std::vector<std::string> peers = {session.onednn.version(), session.torch.version(),
                                          session.onnx_runtime.version()};
  std::cout << StrJoin(peers, "\n") << "\n"
            << threads << " threads, " << session.peak.instructions << ", peak "
            << NumberText(session.peak.flops * 1e-9, 0) << " GFLOP/s, triad "
            << NumberText(session.peak.triad_bytes * 1e-9, 1) << " GB/s" << std::endl;
  MeasureModels(session);
  MeasureOps(session);
  MeasureMachine(session);
  std::cout << "\n" << session.table.Summary();
  const Table::Setting setting = {session.peak, peers};
  if (!options.report.empty()) ThrowIfError(session.table.Save(options.report, setting));
  if (!options.json.empty()) ThrowIfError(session.table.SaveJson(options.json, setting));
}

// What --filter says, if it is a regular expression.
std::optional<std::regex> FilterOf(const std::string& filter) {
  if (filter.empty()) return std::nullopt;
  try {
    return std::regex(filter);
  } catch (const std::regex_error& error) {
    ThrowInvalidArgument("--filter=", filter, " is no regular expression: ", error.what());
  }
}

}  // namespace
}  // namespace weir::peers

int main(int argc, char** argv) {
  absl::FlagsUsageConfig config;
  config.contains_help_flags = [](absl::string_view file) {
    return std::string(file.data(), file.size()).find("bench/peers/") != std::string::npos;
  };
  absl::SetFlagsUsageConfig(config);
  absl::SetProgramUsageMessage("weir beside oneDNN, libtorch and ONNX Runtime, in turn in one run");
  if (const auto words = absl::ParseCommandLine(argc, argv); words.size() > 1) {
    std::cerr << "weir_peers: unknown argument " << words[1] << "\n";
    return 2;
  }
  try {
    if (absl::GetFlag(FLAGS_serve_training)) return weir::peers::ServeTraining(absl::GetFlag(FLAGS_threads));
    weir::peers::Run({.threads = absl::GetFlag(FLAGS_threads),
                      .filter = weir::peers::FilterOf(absl::GetFlag(FLAGS_filter)),
                      .quick = absl::GetFlag(FLAGS_quick),
                      .patience = absl::GetFlag(FLAGS_patience),
                      .json = absl::GetFlag(FLAGS_json),
                      .report = absl::GetFlag(FLAGS_report),
                      .npm = absl::GetFlag(FLAGS_npm),
                      .start_up = absl::GetFlag(FLAGS_start_up),
                      .static_program = absl::GetFlag(FLAGS_static_program)});
  } catch (const std::exception& error) {
    std::cerr << "weir_peers: " << error.what() << "\n";
    return 1;
  }
}
