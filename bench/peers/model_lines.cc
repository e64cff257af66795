// The tutorial's model whole, beside libtorch and ONNX Runtime and beside itself.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "weir/bench/peers/peer_server.h"
#include "weir/bench/peers/session.h"
#include "weir/bench/peers/stopwatch.h"
#include "weir/bench/tutorial_model.h"
#include "weir/core/machine_peak.h"
#include "weir/frontend/data/generated.h"
#include "weir/frontend/session.h"

namespace weir::peers {
namespace {

using bench::TutorialBatch;
using bench::TutorialModel;
using bench::TutorialPictures;

constexpr int64_t kBatch = 32;    // the tutorial's
constexpr int kMemorySteps = 20;  // memory has grown to its peak long before

Party Training(Runtime& runtime, int64_t batch) {
  return WeirParty([model = TutorialModel(&runtime), data = TutorialBatch(batch)] { model.TrainOnBatch(data); });
}

Party Inference(Runtime& runtime, int64_t batch, ConvAlgorithm algorithm) {
  return WeirParty([model = TutorialModel(&runtime, algorithm), x = TutorialPictures(batch), batch] {
    (void)model.PredictOne(x, {.batch_size = batch});
  });
}

// A peer in a contest, or why it is not there.
struct Entry {
  std::string way;
  bool competes = false;
};
Entry Enter(Peer& peer, const std::string& task, std::vector<Party>& parties) {
  if (!peer.there()) return {peer.version()};
  const absl::StatusOr<std::string> way = peer.Task(task);
  if (!way.ok()) return {StrCat(peer.name(), ": ", std::string(way.status().message()))};
  parties.push_back(PeerParty(peer));
  return {StrCat(peer.name(), " ", *way), true};
}

// A line about a row's ratio.
void AddRatio(Session& session, Row row, const std::string& what, double asked, std::string note = {}) {
  Line line = {.what = what,
               .weir = TimeText(row.weir),
               .peer = TimeText(row.peer),
               .value = row.ratio(),
               .asked = asked,
               .note = std::isfinite(row.ratio()) ? std::move(note) : row.way};
  if (line.measured() && row.disturbed) line.note = "disturbed by other processes";
  session.table.Add(std::move(row));
  session.table.Add(std::move(line));
}

void TrainingSteps(Session& session, const Pace& pace) {
  for (const auto& [batch, asked] : {std::pair<int64_t, double>{32, 4.5}, {128, 4.0}}) {
    if (!session.Wants(StrCat("training/batch", batch))) continue;
    std::vector<Party> parties = {Training(*session.runtime, batch)};
    const Entry torch = Enter(session.torch, StrCat("training ", batch, " any"), parties);
    const Outcome outcome = Compete(parties, pace);
    AddRatio(session,
             {.group = "Training step",
              .name = StrCat("batch ", batch),
              .weir = outcome.seconds[0],
              .peer = torch.competes ? outcome.seconds[1] : kUnknown,
              .way = torch.way,
              .disturbed = outcome.disturbed},
             StrCat("training step, batch ", batch, ", to libtorch"), asked);
  }
}

void Predictions(Session& session, const Pace& pace) {
  for (int64_t batch : {1, 32, 256}) {
    if (!session.Wants(StrCat("inference/batch", batch))) continue;
    std::vector<Party> parties = {Inference(*session.runtime, batch, ConvAlgorithm::kAuto),
                                  Inference(*session.runtime, batch, ConvAlgorithm::kDirect)};
    const Entry onnx = Enter(session.onnx_runtime, StrCat("inference ", batch), parties);
    const Entry torch = Enter(session.torch, StrCat("inference ", batch, " any"), parties);
    const Outcome outcome = Compete(parties, pace);
    const double onnx_seconds = onnx.competes ? outcome.seconds[2] : kUnknown;
    const auto row = [&](const char* group, double weir, double peer, const std::string& way) {
      return Row{.group = group,
                 .name = StrCat("batch ", batch),
                 .weir = weir,
                 .peer = peer,
                 .way = way,
                 .disturbed = outcome.disturbed};
    };
    AddRatio(session, row("Inference", outcome.seconds[0], onnx_seconds, onnx.way),
             StrCat("inference, batch ", batch, ", to ONNX Runtime"), 1.6);
    AddRatio(session, row("Inference with kDirect", outcome.seconds[1], onnx_seconds, onnx.way),
             StrCat("inference with kDirect, batch ", batch, ", to ONNX Runtime"), 1.0);
    session.table.Add(row("Inference beside libtorch", outcome.seconds[0],
                          torch.competes ? outcome.seconds.back() : kUnknown, torch.way));
  }
  if (!session.Wants("inference/call")) return;
  std::vector<Party> parties;
  // How much of the peer's time is the way from Node into it: to be held against the time of batch 1.
  if (const Entry call = Enter(session.onnx_runtime, "nothing", parties); call.competes) {
    session.table.Add(Row{.group = "Inference",
                          .name = "a call that computes nothing",
                          .peer = Compete(parties, pace).seconds[0],
                          .way = call.way});
  }
}

void Threads(Session& session, const Pace& pace) {
  const int threads = session.runtime->threads();
  if (threads == 1 || !session.Wants("threads")) return;
  auto single = MakeRuntime({.threads = 1});
  ThrowIfError(single.status());
  const std::vector<Party> parties = {Training(*session.runtime, kBatch), Training(**single, kBatch)};
  const Outcome outcome = Compete(parties, pace);
  // How far memory alone lets threads help each other, where a step waits for it.
  Triad together(threads), alone(1);
  const std::vector<Party> passes = {WeirParty([&] { together.Run(); }), WeirParty([&] { alone.Run(); })};
  const Outcome memory = Compete(passes, pace);
  const Row triad = {.group = "Threads",
                     .name = "the triad over memory",
                     .weir = memory.seconds[0],
                     .peer = memory.seconds[1] * together.bytes() / alone.bytes(),
                     .way = "one thread",
                     .disturbed = memory.disturbed,
                     .itself = true};
  session.table.Add(triad);
  AddRatio(session,
           {.group = "Threads",
            .name = StrCat("training step, batch ", kBatch),
            .weir = outcome.seconds[0],
            .peer = outcome.seconds[1],
            .way = "weir, one thread",
            .disturbed = outcome.disturbed,
            .itself = true},
           StrCat("training step, batch ", kBatch, ", ", threads, " threads over one"), 0.95 * threads,
           StrCat("memory alone: ", NumberText(triad.ratio(), 2)));
}

void BatchSizes(Session& session, const Pace& pace) {
  if (!session.Wants("batches")) return;
  // Medians of equal work differ by this much from run to run.
  constexpr double kNoise = 0.02;
  const std::vector<int64_t> batches = {32, 64, 128, 256, 512, 1024};
  std::vector<Party> parties;
  for (int64_t batch : batches) parties.push_back(Training(*session.runtime, batch));
  const Outcome outcome = Compete(parties, pace);
  const auto a_picture = [&](size_t i) { return outcome.seconds[i] / static_cast<double>(batches[i]); };
  size_t worst = 1;
  for (size_t i = 0; i < batches.size(); ++i) {
    if (i > 0 && a_picture(i) > a_picture(worst)) worst = i;
    session.table.Add(Row{.group = "Training, time a picture",
                          .name = StrCat("batch ", batches[i]),
                          .weir = a_picture(i),
                          .peer = a_picture(0),
                          .way = "weir, batch 32",
                          .disturbed = outcome.disturbed,
                          .itself = true});
  }
  session.table.Add(Line{.what = "training, time a picture from batch 32 to 1024: largest to that of 32",
                         .weir = TimeText(a_picture(worst)),
                         .peer = TimeText(a_picture(0)),
                         .value = a_picture(worst) / a_picture(0),
                         .asked = 1 + kNoise,
                         .at_least = false,
                         .note = StrCat("batch ", batches[worst])});
}

// CIFAR-10 where it is named, else as many generated pictures of its form.
Dataset EpochData(int64_t count) {
  if (std::getenv("WEIR_CIFAR10") == nullptr) return datasets::GeneratedShapes(count, 0).train;
  auto data = datasets::LoadCifar10();
  ThrowIfError(data.status());
  return data->train.Take(count);
}

void Epoch(Session& session) {
  if (!session.Wants("epoch")) return;
  const bool quick = session.options.quick;
  const Dataset data = EpochData(quick ? 6400 : 50'000);
  const int64_t steps = (data.size() + kBatch - 1) / kBatch;
  const Sequential model = TutorialModel(session.runtime.get());
  const Examples batch = TutorialBatch(kBatch);
  FitOptions fit = {.batch_size = kBatch,
                    .epochs = 1,
                    .scale = 1 / 255.0,
                    .output = {.write = [](std::string_view) { return true; }, .terminal = false, .columns = {}}};
  model.Fit(data.Take(kBatch + data.size() % kBatch), fit);  // compiles, also for the smaller last batch
  const auto step_seconds = [&] { return MedianSeconds([&] { model.TrainOnBatch(batch); }, quick ? 30 : 100); };
  std::vector<double> ratios, epochs;
  // A whole epoch is long enough to be its own average.
  for (int repeat = 0; repeat < (quick ? 3 : 1); ++repeat) {
    const double before = step_seconds();
    const auto begin = std::chrono::steady_clock::now();
    model.Fit(data, fit);
    epochs.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    ratios.push_back(epochs.back() / (static_cast<double>(steps) * (before + step_seconds()) / 2));
  }
  const double epoch = Median(epochs), ratio = Median(ratios);
  session.table.Add(
      Line{.what = StrCat("an epoch of ", data.size(), " pictures (", data.name, ") to ", steps, " steps"),
           .weir = StrCat(NumberText(epoch), " s"),
           .peer = StrCat(NumberText(epoch / ratio), " s"),
           .value = ratio,
           .asked = 1.10,
           .at_least = false});
}

void Memory(Session& session) {
  if (!session.Wants("memory")) return;
  // Each in a process that does nothing else.
  const auto peak = [](Peer peer, const std::string& layout) {
    ThrowIfError(peer.Task(StrCat("training ", kBatch, " ", layout)).status());
    peer.Run(kMemorySteps - 1);  // a run begins with one that does not count
    return PeakBytes(peer.id());
  };
  const auto bytes = [](double count) { return HumanBytes(static_cast<int64_t>(count)); };
  Line line = {.what = "peak memory of a training process, to libtorch's", .asked = 0.5, .at_least = false};
  Peer self("weir", {"/proc/self/exe", "--serve_training", StrCat("--threads=", session.runtime->threads())},
            "this program can't be started once more");
  if (!self.there() || !session.torch.there()) {
    line.note = self.there() ? session.torch.version() : self.version();
  } else {
    const double weir = peak(std::move(self), "");
    // In the layout that needs less.
    const double torch =
        std::min(peak(session.torch.Another(), "contiguous"), peak(session.torch.Another(), "channels_last"));
    line.weir = bytes(weir);
    line.peer = bytes(torch);
    line.value = weir / torch;
  }
  session.table.Add(std::move(line));
}

}  // namespace

int ServeTraining(int threads) {
  auto runtime = MakeRuntime({.threads = threads});
  ThrowIfError(runtime.status());
  return Serve("weir", [&](const std::vector<std::string>&) {
    return std::vector<Candidate>{{"training", [model = TutorialModel(runtime->get()), batch = TutorialBatch(kBatch)] {
                                     model.TrainOnBatch(batch);
                                   }}};
  });
}

void MeasureModels(Session& session) {
  using Part = void (*)(Session&, const Pace&);
  std::vector<Part> again;
  const auto measure = [&](Part part) {
    const size_t before = session.table.lines().size();
    part(session, session.model_pace());
    const std::span<const Line> lines = std::span(session.table.lines()).subspan(before);
    const auto missed = [](const Line& line) { return line.measured() && !line.met(); };
    if (std::any_of(lines.begin(), lines.end(), missed)) again.push_back(part);
  };
  measure(TrainingSteps);
  Epoch(session);
  measure(Predictions);
  measure(Threads);
  measure(BatchSizes);
  Memory(session);
  // What missed a line, once more and longer: that counts.
  for (const Part part : again) part(session, session.model_again_pace());
}

}  // namespace weir::peers
