// Weir against the machine: passes over memory, the plan's arena, programs' start and size.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "weir/bench/peers/process.h"
#include "weir/bench/peers/session.h"
#include "weir/bench/peers/stopwatch.h"
#include "weir/bench/tutorial_model.h"
#include "weir/core/error.h"
#include "weir/frontend/data/generated.h"
#include "weir/frontend/pictures/image.h"
#include "weir/frontend/session.h"
#include "weir/ops/ops.h"
#include "weir/tests/cases/op_case.h"

namespace weir::peers {
namespace {

namespace fs = std::filesystem;

// Elements of a pass: 200 MB an array, beyond every cache of a second level and most of a third.
constexpr int64_t kElements = 50'331'648;
constexpr int64_t kParameters = 4'194'304;  // of the tutorial's large dense layer: what its optimizer passes over

using Values = std::vector<Value>;

std::vector<OpCase> Passes() {
  const Shape large = {kElements}, weights = {kParameters};
  return {
      {.name = "relu",
       .op = "relu",
       .inputs = {{large}},
       .build = [](Graph&, std::span<const Value> v) { return Values{Relu(v[0])}; }},
      {.name = "scale, add, relu",
       .op = "add",
       .inputs = {{large}, {large}},
       .build = [](Graph&, std::span<const Value> v) { return Values{Relu(v[0] * 0.5 + v[1])}; }},
      {.name = "dropout",
       .op = "random_uniform",
       .inputs = {{large}, {DType::kInt64, {}, Fill::kStep}},
       .build = [](Graph&, std::span<const Value> v) { return Values{Dropout(v[0], 0.3, v[1], 7, 5)}; }},
      {.name = "Adam's update",
       .op = "add",
       .inputs = {{weights}, {weights}, {weights}, {weights, Fill::kPositive}},
       .build =
           [](Graph&, std::span<const Value> v) {
             const Value m = v[2] + (v[1] - v[2]) * 0.1, s = v[3] + (Square(v[1]) - v[3]) * 0.001;
             return Values{v[0] - 0.001 * m / (Sqrt(s) + 1e-7), m, s};
           }},
      {.name = "SGD's update with momentum",
       .op = "add",
       .inputs = {{weights}, {weights}, {weights}},
       .build =
           [](Graph&, std::span<const Value> v) {
             const Value m = v[2] * 0.9 - 0.01 * v[1];
             return Values{v[0] + m, m};
           }},
  };
}

// A pass and a triad in turn: bandwidth changes with what the machine's other guests do.
struct PassRates {
  double seconds = 0;          // of the pass
  double pass = 0, triad = 0;  // bytes a second; of the pass, its inputs and outputs once each
  bool disturbed = false;
};
PassRates MeasurePass(Session& session, const OpCase& pass, Triad& triad) {
  const std::shared_ptr<Graph> graph = Graph::Create();
  const std::vector<Value> leaves = RecordInputs(pass, *graph);
  const std::vector<Value> roots = pass.build(*graph, leaves);
  const auto executable = session.runtime->Compile(leaves, roots);
  ThrowIfError(executable.status());
  std::vector<Tensor> inputs = MakeInputs(pass), outputs(roots.size());
  const Party parties[] = {WeirParty([&] { ThrowIfError(session.runtime->Run(**executable, inputs, outputs)); }),
                           WeirParty([&] { triad.Run(); })};
  const Outcome outcome = Compete(parties, session.model_pace());
  double bytes = 0;
  for (const Value& value : leaves) bytes += static_cast<double>(value.type().bytes());
  for (const Value& value : roots) bytes += static_cast<double>(value.type().bytes());
  return {outcome.seconds[0], bytes / outcome.seconds[0], triad.bytes() / outcome.seconds[1], outcome.disturbed};
}

void MemoryPasses(Session& session) {
  if (!session.Wants("passes")) return;
  double least = std::numeric_limits<double>::infinity(), least_rate = 0, its_triad = 0;
  std::string least_name;
  Triad triad(session.runtime->threads());
  for (const OpCase& pass : Passes()) {
    const PassRates rates = MeasurePass(session, pass, triad);
    session.table.Add(Row{.group = "Passes over memory beside the triad",
                          .name = StrCat(pass.name, ", ", pass.inputs[0].type.shape[0], " elements, ",
                                         NumberText(rates.pass * 1e-9, 1), " GB/s"),
                          .weir = rates.seconds,
                          .peer = rates.seconds * rates.pass / rates.triad,
                          .way = StrCat("triad ", NumberText(rates.triad * 1e-9, 1), " GB/s"),
                          .disturbed = rates.disturbed});
    if (rates.pass / rates.triad < least) {
      least = rates.pass / rates.triad;
      least_rate = rates.pass;
      its_triad = rates.triad;
      least_name = pass.name;
    }
  }
  session.table.Add(Line{.what = "elementwise and optimizer passes: least share of the triad's bandwidth",
                         .weir = StrCat(NumberText(least_rate * 1e-9, 1), " GB/s"),
                         .peer = StrCat(NumberText(its_triad * 1e-9, 1), " GB/s"),
                         .value = least,
                         .asked = 0.9,
                         .note = least_name});
}

void PlanMemory(Session& session) {
  if (!session.Wants("plan")) return;
  auto runtime = MakeRuntime({.threads = session.runtime->threads()});
  ThrowIfError(runtime.status());
  bench::TutorialModel(runtime->get()).TrainOnBatch(bench::TutorialBatch(32));
  const Plan& plan = (*runtime)->cache().Executables().front()->plan();
  session.table.Add(Line{.what = "the training step's arena to the largest set of live values",
                         .weir = HumanBytes(plan.arena_bytes),
                         .peer = HumanBytes(plan.live_bytes),
                         .value = static_cast<double>(plan.arena_bytes) / static_cast<double>(plan.live_bytes),
                         .asked = 1.15,
                         .at_least = false});
}

// A folder of its own, gone with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((fs::temp_directory_path() / "weir_peers_XXXXXX").string()) {
    if (mkdtemp(path_.data()) == nullptr) ThrowFailedPrecondition("can't make ", path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// `program` is called as 06_predict is: --model=FOLDER --image=FILE.
void StartUp(Session& session, const std::string& program) {
  if (!session.Wants("start_up") || !fs::exists(program)) return;
  constexpr int kStarts = 10;
  const TemporaryFolder folder;
  const std::string model = folder.path() + "/model", picture = folder.path() + "/picture.png";
  ThrowIfError(bench::TutorialModel(session.runtime.get()).Save(model));
  ThrowIfError(SavePng(datasets::GeneratedShapes(1, 0).train.images[0], picture));
  Line line = {.what = "start to exit of a program that predicts one picture, milliseconds",
               .asked = 50,
               .at_least = false,
               .digits = 1};
  std::vector<double> seconds;
  for (int start = 0; start <= kStarts; ++start) {
    const absl::StatusOr<double> run = RunSeconds({program, "--model=" + model, "--image=" + picture});
    if (!run.ok()) {
      line.note = std::string(run.status().message());
      session.table.Add(std::move(line));
      return;
    }
    if (start > 0) seconds.push_back(*run);  // the first reads the program from the disk
  }
  line.value = 1e3 * Median(seconds);
  line.weir = TimeText(Median(seconds));
  session.table.Add(std::move(line));
}

void ProgramSize(Session& session, const std::string& program) {
  if (!session.Wants("size") || !fs::exists(program)) return;
  const TemporaryFolder folder;
  const std::string stripped = folder.path() + "/stripped";
  ThrowIfError(RunSeconds({"strip", "-o", stripped, program}).status());
  const auto bytes = static_cast<double>(fs::file_size(stripped));
  session.table.Add(Line{.what = "a stripped static program with the Highway backend, megabytes",
                         .weir = HumanBytes(static_cast<int64_t>(bytes)),
                         .value = bytes / (1024 * 1024),
                         .asked = 12,
                         .at_least = false,
                         .digits = 1});
}

}  // namespace

void MeasureMachine(Session& session) {
  MemoryPasses(session);
  PlanMemory(session);
  StartUp(session, session.options.start_up);
  ProgramSize(session, session.options.static_program);
}

}  // namespace weir::peers
