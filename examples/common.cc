#include "weir/examples/common.h"

#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/flags/usage.h"
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
  const std::string path = absl::GetFlag(FLAGS_profile);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  absl::Status written = folder.empty() ? absl::OkStatus() : EnsureDirectory(folder);
  if (written.ok()) written = WriteFileAtomically(path, TheProfiler()->ChromeTrace());
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

bool AsksForHelp(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--") return false;
    if (word == "--help" || word == "-help" || word == "-h") return true;
  }
  return false;
}

// The flags of this program's own files, wherever they are defined; not those of libraries. (Abseil's own --help ends with
// exit code 1.)
[[noreturn]] void PrintHelp(const std::string& program, const std::string& usage) {
  std::cout << program << ": " << usage << "\n\n";
  std::map<std::string, const absl::CommandLineFlag*> flags;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (flag->Filename().find("examples/") != std::string::npos) flags.emplace(std::string(name), flag);
  }
  for (const auto& [name, flag] : flags) {
    std::cout << "  --" << name << "  " << flag->Help();
    if (const std::string value = flag->DefaultValue(); !value.empty()) std::cout << " (default: " << value << ")";
    std::cout << "\n";
  }
  std::cout << std::flush;
  std::exit(0);
}

}  // namespace

void Start(int argc, char** argv, const std::string& usage, const std::string& backend) {
  const std::string program = std::filesystem::path(argv[0]).filename().string();
  if (AsksForHelp(argc, argv)) PrintHelp(program, usage);
  absl::SetProgramUsageMessage(usage);
  signal(SIGPIPE, SIG_IGN);
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  if (words.size() > 1) {
    std::cerr << "error: '" << words[1] << "' is no flag; --help lists them\n";
    std::exit(1);
  }
  const std::string wanted = absl::GetFlag(FLAGS_backend);
  if (wanted == "list") ListBackends();
  ExitIfError(SetDefaultRuntime({.backend = wanted.empty() ? backend : wanted, .threads = absl::GetFlag(FLAGS_threads)}));
  if (!absl::GetFlag(FLAGS_profile).empty()) {
    ExitIfError(CheckCanWrite(absl::GetFlag(FLAGS_profile)));
    TheProfiler() = std::make_shared<Profiler>();
    DefaultRuntime().SetProfiler(TheProfiler());
    std::atexit(WriteProfile);
  }
}

void ExitIfOutside(const std::string& flag, int64_t value, int64_t count, const std::string& what) {
  if (value >= 0 && value < count) return;
  std::cerr << "error: --" << flag << "=" << value << ": expected 0 to " << count - 1 << " (there are " << count << " " << what << ")\n";
  std::exit(1);
}

bool Quick() { return absl::GetFlag(FLAGS_quick); }

void ExitIfError(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << "error: " << std::string(status.message()) << "\n";
  std::exit(1);
}

void SavedAtEnd::Save() {
  const std::string folder = std::exchange(folder_, "");
  if (!folder.empty()) ExitIfError(model_.Save(folder));
}

SavedAtEnd::~SavedAtEnd() {
  if (folder_.empty()) return;
  // The error that ends the scope is the one to be told; this one is told besides.
  try {
    if (model_.iterations() == 0) return;
    const absl::Status saved = model_.Save(folder_);
    if (!saved.ok()) std::cerr << "error: " << std::string(saved.message()) << "\n";
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
  }
}

int Failed(const std::exception& error) {
  std::cerr << "error: " << error.what() << "\n";
  return 1;
}

}  // namespace weir::examples
