// weir_peers: weir beside oneDNN, libtorch and ONNX Runtime: the same work on the same shapes, in one run, in turn,
// medians and ratios. The peers are programs of their own, found beside this one; what is missing is left out, and the
// table says so.
//
//   --threads=N          of weir and its peers; default: all that this process may use
//   --filter=REGEX       only parts whose name matches: training, inference, threads, batches, epoch, memory, tutorial,
//                        networks32, networks224, passes, plan, start_up, size
//   --quick              fewer and shorter rounds, a part of an epoch
//   --patience=N         repeats rounds that other processes disturbed, up to N times as many as there are; default 1
//   --json=FILE          results for programs
//   --report=FOLDER      writes peers.md and peers.png
//   --npm=FOLDER         where onnxruntime-node and onnx-proto are installed
//   --start-up=PROGRAM   times this program, called as examples/06_predict is
//   --static=PROGRAM     reports the size of this program, stripped
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include "weir/bench/peers/session.h"
#include "weir/core/error.h"
#include "weir/frontend/session.h"

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

}  // namespace
}  // namespace weir::peers

int main(int argc, char** argv) {
  weir::peers::PeersOptions options;
  bool serve = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value = [&](const std::string& flag, std::string& target) {
      if (argument.compare(0, flag.size(), flag) != 0) return false;
      target = argument.substr(flag.size());
      return true;
    };
    std::string threads, patience;
    if (value("--threads=", threads)) {
      options.threads = std::atoi(threads.c_str());
    } else if (value("--patience=", patience)) {
      options.patience = std::atof(patience.c_str());
    } else if (argument == "--quick") {
      options.quick = true;
    } else if (argument == "--serve-training") {
      serve = true;
    } else if (!value("--filter=", options.filter) && !value("--json=", options.json) &&
               !value("--report=", options.report) && !value("--npm=", options.npm) &&
               !value("--start-up=", options.start_up) && !value("--static=", options.static_program)) {
      std::cerr << "weir_peers: unknown argument " << argument << "\n";
      return 2;
    }
  }
  try {
    if (serve) return weir::peers::ServeTraining(options.threads);
    weir::peers::Run(options);
  } catch (const std::exception& error) {
    std::cerr << "weir_peers: " << error.what() << "\n";
    return 1;
  }
}
