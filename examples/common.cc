#include "weir/examples/common.h"

#include <cstdlib>
#include <iostream>
#include <memory>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "weir/core/strings.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/session.h"

ABSL_FLAG(std::string, backend, "",
          "what computes: auto, llvm, highway or reference; empty: WEIR_BACKEND, or auto; list: says what auto is, and ends");
ABSL_FLAG(int, threads, 0, "threads to compute on; 0: all that this process may use, or WEIR_THREADS");
ABSL_FLAG(std::string, profile, "", "file for a trace of every step (chrome://tracing reads it); a table goes to standard error");
ABSL_FLAG(bool, quick, false, "a few seconds instead of the real thing");

namespace weir::examples {
namespace {

// Never destroyed: it is read when the program ends, after the default runtime may be gone.
std::shared_ptr<Profiler>& TheProfiler() {
  static auto* profiler = new std::shared_ptr<Profiler>();
  return *profiler;
}

// At the program's end, if --profile was given.
void WriteProfile() {
  std::cerr << TheProfiler()->Table();
  const absl::Status written = WriteFileAtomically(absl::GetFlag(FLAGS_profile), TheProfiler()->ChromeTrace());
  if (!written.ok()) std::cerr << "error: " << std::string(written.message()) << "\n";
}

[[noreturn]] void ListBackends() {
  std::cout << "backends of this build: " << StrJoin(BackendNames(), ", ") << "\n";
  const absl::StatusOr<BackendPolicy> policy = PolicyFor("auto");
  ExitIfError(policy.status());
  std::cout << "auto: " << StrJoin(policy->order, ", then ") << " (" << policy->reason << ")\n";
  const absl::StatusOr<std::unique_ptr<Runtime>> runtime = MakeRuntime({.backend = "auto"});
  ExitIfError(runtime.status());
  for (const Backend* backend : (*runtime)->backends()) {
    const std::string key = backend->config_key();  // with a long list of features behind ":+"
    std::cout << "  " << backend->name() << " " << key.substr(0, key.find(":+")) << "\n";
  }
  std::exit(0);
}

}  // namespace

void Start(int argc, char** argv, const std::string& usage, const std::string& backend) {
  // --help lists the flags of this program's own files, wherever they are defined; not those of libraries.
  absl::FlagsUsageConfig config;
  config.contains_help_flags = [](absl::string_view file) {
    return std::string(file.data(), file.size()).find("examples/") != std::string::npos;
  };
  absl::SetFlagsUsageConfig(config);
  absl::SetProgramUsageMessage(usage);
  absl::ParseCommandLine(argc, argv);
  const std::string wanted = absl::GetFlag(FLAGS_backend);
  if (wanted == "list") ListBackends();
  ExitIfError(SetDefaultRuntime({.backend = wanted.empty() ? backend : wanted, .threads = absl::GetFlag(FLAGS_threads)}));
  if (!absl::GetFlag(FLAGS_profile).empty()) {
    TheProfiler() = std::make_shared<Profiler>();
    DefaultRuntime().SetProfiler(TheProfiler());
    std::atexit(WriteProfile);
  }
}

bool Quick() { return absl::GetFlag(FLAGS_quick); }

void ExitIfError(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << "error: " << std::string(status.message()) << "\n";
  std::exit(1);
}

}  // namespace weir::examples
